"""Nobody else's server gets a big load unasked: in code, in the dashboard, in a terminal."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hostile import Api, Server

import tpwidgets as tp
from tpwidgets import cli
from tpwidgets.endpoints.endpoint import Endpoint
from tpwidgets.errors import SettingsError
from tpwidgets.measuring import politeness
from tpwidgets.measuring.politeness import NotConfirmed, Outlook, ask_first, nearby
from tpwidgets.words import thousands
from tpwidgets.workload.loads import Load
from tpwidgets.workload.prompts import Workload


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("localhost", True),
        ("127.0.0.1:8000", True),
        ("127.8.9.1", True),
        ("[::1]:8000", True),
        ("0.0.0.0:8000", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("172.31.255.255", True),
        ("192.168.1.20:11434", True),
        ("[fd12::1]", True),
        ("[::ffff:10.0.0.1]", True),
        ("gpu-box.local", True),
        ("vllm", True),
        ("172.32.0.1", False),
        ("11.0.0.1", False),
        ("192.169.1.1", False),
        ("8.8.8.8", False),
        ("[2606:4700::1]", False),
        ("[::ffff:8.8.8.8]", False),
        ("api.example.com", False),
        ("10.0.0.1.example.com", False),
        ("localhost.example.com", False),
        ("local", True),
        ("134744072", False),
    ],
)
def test_ones_own_network_is_not_asked_for(host: str, near: bool) -> None:
    assert nearby(Endpoint(f"http://{host}/v1")) is near


@pytest.mark.parametrize(
    ("load", "how", "requests"),
    [
        # 50 tokens a second each: a request of 100 takes two, and a window is open for ten
        (Load((4, 64)), "about", 4 + 20 + 64 + 320),
        (Load((1,)), "at least", 1 + 6),
        (Load((4,), requests=100), "at least", 104),
        (Load((4,), requests=100, seconds=9.0), "up to", 104),
        (Load((4, 8), seconds=60.0), "about", 12 + 12 * 30),
    ],
)
def test_what_will_be_sent_is_reckoned(load: Load, how: str, requests: int) -> None:
    sent = Outlook.of(Workload(900, 100), load, tp.Price.per_token(10.0, 2.0))
    assert (sent.how, sent.requests) == (how, requests)
    assert sent.tokens == requests * 1000
    assert sent.usd == pytest.approx(requests * (900 * 2 + 100 * 10) / 1e6)
    assert sent.concurrency == max(load.concurrency)


@pytest.mark.parametrize(
    ("protocol", "output_tokens", "load", "how", "requests"),
    [
        (None, 1000, Load((8,)), "at least", 8 + 16),
        (None, 1, Load((8,)), "about", 8 + 800),
        ("embeddings", 1000, Load((8,)), "about", 8 + 800),
        ("embeddings", 1000, Load((8,), seconds=60.0), "about", 8 + 4800),
        ("embeddings", 1000, Load((8,), requests=20), "at least", 8 + 20),
        (None, 1000, Load((1,), seconds=1.0), "about", 1),
    ],
)
def test_what_is_answered_at_once_is_asked_again_until_the_window_closes(
    protocol: str | None, output_tokens: int, load: Load, how: str, requests: int
) -> None:
    sent = Outlook.of(Workload(100, output_tokens), load, protocol=protocol)
    assert (sent.how, sent.requests) == (how, requests)


def test_the_protocol_that_a_url_names_is_reckoned_with() -> None:
    load, asked = Load((32,)), Workload(1000, 1000)
    ask_first(Endpoint("https://api.example.com/v1"), Workload(500, 50), load)
    for endpoint in (
        Endpoint("https://api.example.com/v1/embeddings"),
        Endpoint("https://api.example.com/v1", protocol="embeddings"),
    ):
        with pytest.raises(NotConfirmed, match=r"^This sends about 3\.23 M tokens"):
            ask_first(endpoint, asked, load)
        ask_first(endpoint, asked, load, token_limit=1_000_000)  # it ends at so many


def test_items_multiply_and_vectors_are_no_tokens() -> None:
    asked, load = Workload(100, 50, batch=8), Load((1,), requests=9)
    assert Outlook.of(asked, load).tokens == 10 * 8 * 150
    assert Outlook.of(asked, load, protocol="embeddings").tokens == 10 * 8 * 100
    assert Outlook.of(asked, load, tp.Price.per_hour(4)).usd is None


@pytest.mark.parametrize(
    ("tokens", "text"),
    [(900, "900"), (9_999, "9,999"), (85_400, "85.4 k"), (999_500, "1 M"), (1_234_567, "1.23 M"),
     (12_000_000, "12 M")],
)  # fmt: skip
def test_tokens_in_words(tokens: int, text: str) -> None:
    assert thousands(tokens) == text


# --- in code --------------------------------------------------------------------------------------


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server here that is taken for someone else's."""
    monkeypatch.setattr(politeness, "nearby", lambda endpoint: False)
    with Server(Api()) as server:
        yield server


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 33, "requests": 1},
        {"concurrency": 1, "requests": 2000, "prompt_tokens": 500, "output_tokens": 1},
        {"concurrency": 32, "seconds": 3600, "prompt_tokens": 1},
    ],
)
def test_a_big_load_is_refused_before_anything_is_sent(
    public: Server, settings: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match="Pass confirm=True to send it; nothing was sent yet"):
        tp.start(public.url, **settings)
    assert public.requests == []


def test_the_refusal_says_what_would_be_sent() -> None:
    with pytest.raises(NotConfirmed) as refused:
        tp.measure(
            "https://api.example.com/v1", concurrency="1-64", prompt_tokens=2000,
            output_tokens=1000, price=tp.Price.per_token(10.0, 2.0),
        )  # fmt: skip
    assert refused.value.question == (
        "This sends at least 1.16 M tokens to api.example.com, about $5.42, with up to 64 requests "
        "at once."
    )


def test_what_is_small_or_confirmed_or_simulated_is_sent(public: Server) -> None:
    small: dict[str, Any] = {"prompt_tokens": 20, "output_tokens": 3, "progress": False}
    assert tp.measure(public.url, concurrency=2, requests=2, **small).state == "done"
    run = tp.measure(public.url, concurrency=33, requests=2, confirm=True, **small)
    assert run.state == "done"
    simulated = tp.start("gpt-4-api", concurrency=64)
    simulated.stop()
    simulated.wait(20)


# --- in the dashboard -----------------------------------------------------------------------------


def dashboard(url: str, **settings: Any) -> tp.Explorer:
    settings = {"requests": 2, "prompt_tokens": 20, "output_tokens": 3} | settings
    return tp.Explorer(url, **settings)


def asked(explorer: tp.Explorer) -> str:
    question = explorer._bar.question
    return question._text.value if question.layout.display != "none" else ""


def begun(explorer: tp.Explorer) -> bool:
    """Tell whether it measures, and have it over with."""
    measurement = explorer.measurement
    if measurement is None or measurement.done:
        return False
    measurement.stop()
    measurement.wait(30)
    return True


def posts(server: Server) -> int:
    return sum(request.method == "POST" for request in server.requests)


def test_the_dashboard_asks_once_and_again_only_for_more(public: Server) -> None:
    explorer = dashboard(public.url, concurrency=33)
    try:
        explorer.measure()
        assert "at once." in asked(explorer)
        assert "nothing was sent yet" in explorer._bar.status.value
        assert not explorer._bar.measure.disabled
        assert explorer.measurement is None
        explorer._bar.question._no.click()
        assert asked(explorer) == ""
        assert posts(public) == 0

        explorer.measure()
        explorer._bar.question._yes.click()
        assert asked(explorer) == ""
        assert begun(explorer)

        explorer.measure()
        assert asked(explorer) == "", "it was agreed to"
        assert begun(explorer)

        explorer.controls.loads.take({"concurrency": 34})
        explorer.measure()
        assert "up to 34 requests" in asked(explorer)
    finally:
        explorer.close()


def test_a_question_that_was_overtaken_by_smaller_settings_is_withdrawn(public: Server) -> None:
    explorer = dashboard(public.url, concurrency=64)
    try:
        explorer.measure()
        assert asked(explorer)
        explorer.controls.loads.take({"concurrency": 2})
        explorer.measure()
        assert asked(explorer) == ""
        assert begun(explorer)
    finally:
        explorer.close()


def test_settings_that_grew_behind_the_question_are_asked_for_again(public: Server) -> None:
    explorer = dashboard(public.url, concurrency=33)
    try:
        explorer.measure()
        explorer.controls.loads.take({"concurrency": 64})
        explorer._bar.question._yes.click()
        assert "up to 64 requests" in asked(explorer)
        assert posts(public) == 0
    finally:
        explorer.close()


def test_the_dashboards_spend_limit_is_a_setting_like_any_other() -> None:
    explorer = tp.Explorer("http://127.0.0.1:9", spend_limit_usd=0.5)
    try:
        assert explorer.controls.settings()["spend_limit_usd"] == 0.5
        explorer.measure()
        assert "needs a price by the token" in explorer._bar.status.value
        explorer.controls._spend_limit.value = 0
        assert "spend_limit_usd" not in explorer.controls.settings()
        assert "token_limit" not in explorer.controls.settings()
        explorer.controls.limits.tokens.value = 3000
        assert explorer.controls.settings()["token_limit"] == 3000
        assert explorer._bar.estimate.value.endswith("up to 9 requests, 3,000 tokens"), (
            "of 320 each"
        )
    finally:
        explorer.close()


# --- in a terminal --------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


SMALL = ["--requests", "1", "--prompt-tokens", "20", "--output-tokens", "3"]


def test_without_a_terminal_it_takes_yes(
    public: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    command = ["measure", public.url, "--concurrency", "33", *SMALL]
    assert cli.main(command) == 1
    assert "Pass --yes to send it; nothing was sent yet." in capsys.readouterr().err
    assert public.requests == []
    assert cli.main([*command, "--yes"]) == 0


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_in_a_terminal_it_is_asked(
    public: Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    status: int,
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert cli.main(["measure", public.url, "--concurrency", "33", *SMALL]) == status
    out, err = capsys.readouterr()
    assert "with up to 33 requests at once. Send it? [y/N]" in out
    assert bool(posts(public)) is (status == 0)
    assert ("Nothing was sent." in err) is (status == 1)
