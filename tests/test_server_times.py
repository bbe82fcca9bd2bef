"""What servers say of their own times, in the body and in the headers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams import delta, read, times

from tpwidgets.protocols import server_times_from_headers

pytestmark = pytest.mark.quick

IN_S = {"queue_time": 0.5, "prompt_time": 0.01, "completion_time": 0.25, "total_time": 0.26}
FROM_S = {"queue": 500, "prefill": 10, "decode": 250, "total": 260}


@pytest.mark.parametrize(
    ("last", "known"),
    [
        ({"timings": {"prompt_ms": 12.5, "predicted_ms": 30, "predicted_n": 2}},
         {"prefill": 12.5, "decode": 30}),
        ({"metrics": {"queue_time_ms": 1.5, "time_to_first_token_ms": 20, "mean_itl_ms": None,
                      "generation_time_ms": 99.5}}, {"queue": 1.5, "prefill": 20, "decode": 99.5}),
        ({"metrics": None}, {}),
        ({"usage": {"completion_tokens": 3, **IN_S}}, FROM_S),
        ({"x_groq": {"id": "x", "usage": IN_S}}, FROM_S),
        ({"time_info": {**IN_S, "created": 1_723_733_419}}, FROM_S),
        ({"usage": {"total_latency": 0.5, "time_to_first_token": 0.1}}, {"total": 500}),
        ({"usage": {"prompt_eval_duration": 2_000_000, "eval_duration": 500_000,
                    "total_duration": 3_000_000}}, {"prefill": 2, "decode": 0.5, "total": 3}),
        ({"prompt_eval_duration": 2_000_000, "total_duration": 3_000_000, "load_duration": 5},
         {"prefill": 2, "total": 3}),
        ({"timings": {"prompt_ms": -1, "predicted_ms": "30"}}, {}),
        ({"timings": {"prompt_ms": True, "predicted_ms": 1e300}}, {}),
        ({"timings": {"prompt_ms": 10**400, "predicted_ms": 10**9}}, {}),
        ({"timings": {"prompt_ms": float("nan"), "predicted_ms": float("inf")}}, {}),
        ({"timings": [1], "metrics": "x", "usage": 5, "x_groq": {"usage": None}}, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("choices", [[], [{"delta": {}, "finish_reason": "stop"}]])
def test_the_servers_own_times(
    last: dict[str, Any], known: dict[str, float], choices: list[Any]
) -> None:
    outcome = read(delta(content="a"), {"choices": choices, **last})
    assert times(outcome) == pytest.approx(known)


def test_the_last_word_on_a_time_counts() -> None:
    def after(ms: float) -> dict[str, Any]:
        return {**delta("stop"), "timings": {"prompt_ms": 5, "predicted_ms": ms}}

    assert times(read(after(1), after(2))) == {"prefill": 5, "decode": 2}


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({}, {}),
        ({"openai-processing-ms": "312"}, {"start": 312}),
        ({"x-envoy-upstream-service-time": "15"}, {"start": 15}),
        ({"x-envoy-upstream-service-time": "315", "openai-processing-ms": "312"}, {"start": 312}),
        ({"x-queue-time": "7", "x-total-time": "80", "x-inference-time": "70"},
         {"queue": 7, "start": 80}),
        ({"fireworks-server-time-to-first-token": "0.125"}, {"start": 125}),
        ({"x-kong-upstream-latency": "40", "x-kong-proxy-latency": "1"}, {"start": 40}),
        ({"x-litellm-response-duration-ms": "40.5"}, {"start": 40.5}),
        ({"server-timing": 'cache;desc="hit", queue;dur=1.5, total ; desc=all ; DUR="20"'},
         {"queue": 1.5, "start": 20}),
        ({"server-timing": "total, total;dur=x, ;dur=1, total;dur"}, {}),
        ({"openai-processing-ms": "-1"}, {}),
        ({"openai-processing-ms": "nan"}, {}),
        ({"openai-processing-ms": "1e3"}, {}),
        ({"openai-processing-ms": "5 ms"}, {}),
        ({"openai-processing-ms": "9" * 400}, {}),
        ({"openai-processing-ms": "٣"}, {}),
    ],
)  # fmt: skip
def test_times_in_headers(headers: dict[str, str], known: dict[str, float]) -> None:
    assert times(server_times_from_headers(headers)) == known


@given(st.dictionaries(st.sampled_from(["server-timing", "x-queue-time"]), st.text(max_size=30)))
def test_headers_never_raise(headers: dict[str, str]) -> None:
    assert all(ms >= 0 for ms in times(server_times_from_headers(headers)).values())
