"""What takes a key out of whatever quotes it."""

import base64
from urllib.parse import quote

import pytest
from marked import KEY

import tpwidgets as tp
from tpwidgets.errors import SettingsError
from tpwidgets.masking import MASK, Mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [(f"no {KEY}!", f"no {MASK}!"), (f"?key={quote(KEY, safe='')}&x", f"?key={MASK}&x"),
     (f"cut off {KEY[:20]}…", f"cut off {MASK}…"), (f"…{KEY[9:]} is bad", f"…{MASK} is bad"),
     (f"{KEY}{KEY}", MASK * 2), (KEY[:7], KEY[:7]), ("nothing in it", "nothing in it"), ("", "")],
)  # fmt: skip
def test_a_mask(text: str, masked: str) -> None:
    assert Mask([("Authorization", f"Bearer {KEY}")])(text) == masked


@pytest.mark.parametrize("before", ["", "x", "xy", "Bearer "])
@pytest.mark.parametrize("after", ["", ":", "yy", "zzz"])
def test_a_mask_finds_a_key_amid_what_is_packed(before: str, after: str) -> None:
    packed = base64.b64encode(f"{before}{KEY}{after}".encode()).decode()
    shown = Mask([("Authorization", f"Bearer {KEY}")])(f"no {packed}")
    assert shown.startswith("no ")
    assert MASK in shown
    # of what stands around it whole groups may stay, and one at each seam
    assert len(shown.replace(MASK, "")) <= len("no ") + 4 * (len(before + after) // 3 + 2)


def test_a_mask_leaves_alone_what_is_no_secret() -> None:
    mask = Mask([("x-model", "llama-3.3-70b-instruct"), ("anthropic-version", "2023-06-01"),
                 ("x-key", "abc")])  # fmt: skip
    said = "llama-3.3-70b-instruct speaks 2023-06-01, abc"
    assert mask(said) == said


@pytest.mark.parametrize("pair", ["user:hunter2hunter2", "hunter2hunter2:", "hunter2hunter2:x"])
def test_a_password_is_masked_by_itself_too(pair: str) -> None:
    mask = tp.Endpoint(f"http://{pair}@host").mask()
    packed = base64.b64encode(pair.encode()).decode()
    shown = mask(f"{packed} user hunter2hunter2 failed")
    assert "hunter2" not in shown or pair.endswith(":x")
    assert packed not in shown
    assert "user" in shown


@pytest.mark.parametrize(
    "url",
    ["http://user:12/SECRET@host/v1", "http://user:12#SECRET@host", "http://user:12?SECRET@host",
     "http://user:SEC/RET@host", "ftp://user:SECRET@host", "http://user:SECRET@[host"],
)  # fmt: skip
def test_a_password_that_cuts_a_url_short_is_refused_without_an_echo(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^url") as caught:
        tp.Endpoint(url)
    assert "SEC" not in str(caught.value)
    assert "RET" not in str(caught.value)


def test_urls_that_hold_no_password_are_taken() -> None:
    for url in ("http://vllm:8000/v1/@cf/x", "http://localhost:1/a@b", "https://h.com:443/?a=b@c"):
        assert tp.Endpoint(url).headers == {}
