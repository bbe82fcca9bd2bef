"""Settings are refused by name, and a secret among them is shown nowhere."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hostile import PATIENCE_S, Api, Server

from tpwidgets.endpoints.endpoint import Endpoint, resolve
from tpwidgets.endpoints.probe import prepare
from tpwidgets.errors import SettingsError
from tpwidgets.workload.loads import Load
from tpwidgets.workload.prompts import Workload

pytestmark = pytest.mark.quick

KEY = "sk-MARKED-0123456789abcdef"


@pytest.mark.parametrize(
    "value", [0, -1, math.nan, math.inf, "64-1", 1.5, True, "", "x", (), [1, 0], None, b"12",
              "1-99999", "9" * 5000, "1-" + "9" * 5000, {"a": 1}, 10**30],
)  # fmt: skip
def test_concurrency_is_refused_by_name(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"^concurrency") as caught:
        Load.of(value)
    assert len(str(caught.value)) < 6000


def test_concurrency_as_people_write_it() -> None:
    for value in ("1-64", " 1 - 64 ", "1–64", "1,2,4,8,16,32,64", (1, 2, 4, 8, 16, 32, 64)):
        assert Load.of(value).concurrency == (1, 2, 4, 8, 16, 32, 64)
    assert Load.of(16.0).concurrency == (16,)
    assert Load.of([4, 4, 2]).concurrency == (4, 2)
    assert Load.of("3-10").concurrency == (3, 6, 10)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("prompt_tokens", lambda: Workload.of(-5, 1)),
        ("prompt_tokens", lambda: Workload.of("256", 1)),
        ("output_tokens", lambda: Workload.of(1, math.nan)),
        ("output_tokens", lambda: Workload.of(1, 0)),
        ("requests", lambda: Load.of(1, requests=0)),
        ("seconds", lambda: Load.of(1, seconds=-1)),
        ("seconds", lambda: Load.of(1, seconds=math.inf)),
        ("url", lambda: Endpoint("ftp://host")),
        ("url", lambda: Endpoint("")),
        ("url", lambda: Endpoint("http://")),
        ("url", lambda: Endpoint("http://host:port")),
        ("url", lambda: Endpoint("http://[::1")),
        ("url", lambda: Endpoint(7)),  # type: ignore[arg-type]
        ("protocol", lambda: Endpoint("http://x", protocol="grpc")),
        ("extra_body", lambda: Endpoint("http://x", extra_body={"a": object()})),
        ("headers", lambda: Endpoint("http://x", headers={"a": "b\r\nc: d"})),
        ("headers", lambda: Endpoint("http://x", headers={"a b": "c"})),
        ("headers", lambda: Endpoint("http://x", headers={"a": 1})),  # type: ignore[dict-item]
        ("headers", lambda: Endpoint("http://x", headers="a: b")),  # type: ignore[arg-type]
    ],
)
def test_settings_are_refused_by_name(name: str, make: Callable[[], Any]) -> None:
    with pytest.raises(SettingsError, match=f"^{name}"):
        make()


@pytest.mark.parametrize(
    ("extra_body", "said"),
    [
        ({"max_tokens": 9000}, "extra_body sets max_tokens: use output_tokens instead"),
        ({"max_tokens": None}, "extra_body sets max_tokens: use output_tokens instead"),
        ({"max_completion_tokens": 9}, "sets max_completion_tokens: use output_tokens instead"),
        ({"max_output_tokens": 9}, "sets max_output_tokens: use output_tokens instead"),
        ({"n_predict": -1}, "sets n_predict: use output_tokens instead"),
        ({"options": {"num_predict": -1}}, r"sets options\.num_predict: use output_tokens instead"),
        (
            {"generationConfig": {"topK": 1, "maxOutputTokens": 9}},
            r"sets generationConfig\.maxOutputTokens: use output_tokens instead",
        ),
        ({"generationConfig": {"candidateCount": 4}}, r"candidateCount: use batch instead"),
        ({"n": 8}, "sets n: use batch instead"),
        ({"best_of": 8}, "sets best_of: use batch instead"),
    ],
)
def test_nothing_beside_the_settings_makes_answers_longer_or_more(
    extra_body: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        Endpoint("http://x", extra_body=extra_body)
    with pytest.raises(SettingsError, match=said):
        resolve(Endpoint("http://x"), extra_body=extra_body)


def test_other_fields_in_the_body_are_the_users_own() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    extra_body = {
        "min_tokens": 3, "ignore_eos": False, "dimensions": 64, "options": {"num_ctx": 8192},
        "generationConfig": None, "tools": [{"function": {"parameters": schema}}],
        "metadata": {"n": 1},
    }  # fmt: skip
    assert Endpoint("http://x", extra_body=extra_body).extra_body == extra_body


@pytest.mark.parametrize("timeout_s", [0, -1, math.nan, True, "60"])
def test_a_time_limit_is_refused_by_name(timeout_s: Any) -> None:
    import tpwidgets as tp

    with pytest.raises(SettingsError, match=r"^timeout_s"):
        tp.measure("http://127.0.0.1:9", timeout_s=timeout_s)


# --- secrets --------------------------------------------------------------------------------------


def test_a_key_instead_of_its_name_is_refused_without_an_echo() -> None:
    with pytest.raises(SettingsError, match="api_key_env") as caught:
        Endpoint("http://x", api_key_env=KEY)
    assert KEY not in str(caught.value)


def test_a_header_that_can_not_be_sent_is_refused_without_an_echo() -> None:
    for headers in ({"x": f"{KEY}\n{KEY}"}, {"x": f"{KEY}é"}, {f"{KEY} ": "x"}):
        with pytest.raises(SettingsError) as caught:
            Endpoint("http://x", headers=headers)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [f"http://user:{KEY}@host/v1", f"http://{KEY}@host/v1", f"http://host/v1?key={KEY}",
     f"http://host/v1?api-version=1&api-key={KEY}"],
)  # fmt: skip
def test_a_secret_in_the_url_is_shown_nowhere(url: str) -> None:
    import tpwidgets as tp

    endpoint = Endpoint(url)
    measurement = tp.start(endpoint, timeout_s=5)
    measurement.stop()
    run = measurement.wait(PATIENCE_S)
    for shown in (repr(endpoint), endpoint.label, endpoint.url, repr(run), str(run.conditions),
                  repr(measurement), run.title):  # fmt: skip
        assert KEY not in shown
    for bad in (url.replace("host", "[host"), url.replace("http", "ftp")):
        with pytest.raises(SettingsError) as caught:
            Endpoint(bad)
        assert KEY not in str(caught.value)


def test_what_is_not_shown_is_sent() -> None:
    with Server(Api()) as server:
        url = server.url.replace("//", f"//user:{KEY}@") + f"?api-version=1&key={KEY}"
        for target in (Endpoint(url), resolve(Endpoint(url), headers={"x-more": "1"})):
            prepare(target, Workload(), PATIENCE_S)
            request = server.requests[-1]
            assert request.headers["authorization"].startswith("Basic ")
            assert request.target == f"/v1/chat/completions?api-version=1&key={KEY}"
        assert request.headers["x-more"] == "1"


def test_a_header_of_ones_own_replaces_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TP_KEY", KEY)
    sent = Endpoint("http://x", api_key_env="TP_KEY", headers={"authorization": "mine"})
    assert sent.auth_headers() == {"authorization": "mine"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("api.example.com/v1", "https://api.example.com/v1"),
        ("api.example.com:443/v1", "https://api.example.com:443/v1"),
        ("gpu.example.com:8000/v1", "http://gpu.example.com:8000/v1"),
        ("localhost:8000", "http://localhost:8000"),
        ("192.168.1.7/v1", "http://192.168.1.7/v1"),
        ("gpu-box/v1", "http://gpu-box/v1"),
        ("http://api.example.com/v1", "http://api.example.com/v1"),
    ],
)
def test_without_a_scheme_nothing_goes_to_strangers_in_clear(typed: str, meant: str) -> None:
    assert Endpoint(typed).url == meant
