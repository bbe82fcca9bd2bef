"""What a server that refuses says about coming again, and what a run makes of it."""

import itertools
import time
from collections.abc import Callable

import pytest
from exchanges import in_loop
from faulty import error, requester
from hostile import PATIENCE_S, Api, Request, Server, answer

import tpwidgets as tp
from tpwidgets.engine import throttle
from tpwidgets.errors import EndpointError
from tpwidgets.plan import answer as answer_of


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Tue, 01 Jan 2030 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 01 Jan 2029 00:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_a_refusal_asks_to_wait(
    status: int, headers: dict[str, str], pause_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1893456000.0)  # 2030 begins
    unsaid = 1.0 if status == 429 else 0.0
    assert throttle.pause_s(status, headers, "") == (unsaid if pause_s is None else pause_s)


def test_a_quota_that_is_used_up_will_not_be_more_by_waiting() -> None:
    body = '{"error": {"code": "insufficient_quota"}}'
    assert throttle.pause_s(429, {"retry-after": "1"}, body) == float("inf")


@pytest.mark.parametrize("status", ["429 Slow", "503 Full", "529 Overloaded"])
def test_a_pause_is_passed_on_to_the_user_who_was_asked(status: str) -> None:
    async def twice(url: str) -> list[float]:
        made = requester(url, PATIENCE_S)
        try:
            return [(await made(0))[1] for _ in range(2)]
        finally:
            await made.close()

    answers = itertools.cycle([error(status, "retry-after: 5"), answer(3)])
    with Server(Api(chat_completions=lambda _: next(answers))) as server:
        assert in_loop(twice(f"{server.url}/chat/completions")) == [5.0, 0.0]


def test_limits_in_words() -> None:
    told = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-input-tokens-limit": "30000",
        "x-ratelimit-remaining-tokens": "12",
        "x-ratelimit-limit-requests-day": "9",
        "x-ratelimit-limit-images": "9",
        "x-ratelimit-reset-requests": "1s",
    }
    words = "its limits: 50 requests (0 left), 30,000 input tokens, 12 tokens left"
    assert throttle.limits_told(told) == words
    assert throttle.limits_told({"retry-after": "1"}) == ""


# --- whole measurements ---------------------------------------------------------------------------


def serving(refuse: Callable[[int], bytes | None]) -> Callable[[Request], bytes]:
    """Return a route: the probes are answered, and each further request but what is refused."""
    turns = itertools.count()

    def chat(request: Request) -> bytes:
        refusal = refuse(next(turns)) if "x-request-id" in request.headers else None
        prompt = len(request.json["messages"][0]["content"].split())
        return refusal or answer(request.json["max_tokens"], prompt=prompt)

    return chat


def test_a_point_with_failures_says_how_many_why_and_what_that_does_to_ttft() -> None:
    slow = error("429 Slow", "retry-after-ms: 1", "x-ratelimit-limit-requests: 60")
    route = serving(lambda turn: slow if turn % 4 == 3 else None)
    with Server(Api(chat_completions=route)) as server:
        run = tp.measure(server.url, concurrency=2, requests=16, progress=False)
    [row] = run.rows
    assert row["n_rate_limited"] == row["n_failed"] >= 3
    assert row["error_rate"] == row["n_failed"] / (row["n"] + row["n_failed"])
    assert row["ttft_p95_incl_failures_ms"] == float("inf")
    assert "requests failed: rate-limited (no luck; its limits: 60 requests)" in row["note"]
    assert "failures counted as endless, TTFT p95 is endless" in row["note"]
    # a server that computes nothing is too fast for a client that isn't alone on its core
    assert "% of requests were rate-limited at 2" in answer_of([{**row, "client_limited": False}])
    refused = [s for s in run.samples if s.status == "rate_limited"]
    assert len(run.samples) == len({s.request_id for s in run.samples})
    assert all(s.http_status == 429 for s in refused)


def test_a_key_that_is_refused_by_every_request_ends_it_at_once() -> None:
    route = serving(lambda turn: error("401 No", body=b'{"error": "wrong key"}'))
    with Server(Api(chat_completions=route)) as server:
        with pytest.raises(EndpointError, match=r"every request failed: HTTP 401 \(wrong key\)"):
            tp.measure(server.url, concurrency=(1, 4, 16), requests=1000, progress=False)
        assert len([r for r in server.requests if "x-request-id" in r.headers]) <= 3
