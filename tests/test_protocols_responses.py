"""OpenAI Responses: which event says what; its names are not needed, only its types."""

from typing import Any

import pytest
from streams import read, times

from tpwidgets.protocols import Outcome

pytestmark = pytest.mark.quick


def said(*events: dict[str, Any]) -> Outcome:
    return read(*events, protocol="responses")


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "sequence_number": 1, **more}


def end(status: str = "completed", kind: str = "", **more: Any) -> dict[str, Any]:
    return event(kind or status, response={"id": "resp_1", "status": status, **more})


def test_a_hosted_reasoning_models_answer() -> None:
    outcome = said(
        event("created", response={"status": "queued", "usage": None, "error": None}),
        event("in_progress", response={"status": "in_progress", "usage": None}),
        event("output_item.added", item={"type": "reasoning", "summary": []}),
        event("reasoning_summary_part.added", part={"type": "summary_text", "text": ""}),
        event("reasoning_summary_text.delta", delta="Hm", obfuscation="x8Wq"),
        event("reasoning_summary_text.done", text="Hm"),
        event("output_item.added", item={"type": "message", "content": []}),
        event("content_part.added", part={"type": "output_text", "text": ""}),
        event("output_text.delta", delta="", logprobs=[]),
        event("output_text.delta", delta="Hé", logprobs=[], obfuscation="aB3"),
        event("output_text.delta", delta="llo"),
        event("output_text.done", text="Héllo"),
        event("output_item.done", item={"type": "message", "content": []}),
        end(usage={
            "input_tokens": 20, "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 70, "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 90,
        }),
    )  # fmt: skip
    assert outcome.token_ns == [4, 9, 10]
    assert (outcome.first_output_ns, outcome.reasoning_chunks, outcome.chars) == (9, 1, 7)
    usage = outcome.usage
    assert (usage.prompt_tokens, usage.output_tokens) == (20, 70)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (4, 64)
    assert (outcome.finish_reason, outcome.done, outcome.error) == ("completed", True, None)
    assert outcome.malformed is None


@pytest.mark.parametrize(
    ("delta", "output"),
    [
        (event("refusal.delta", delta="No."), True),
        (event("function_call_arguments.delta", delta='{"a":'), True),
        (event("custom_tool_call_input.delta", delta="x"), True),
        (event("output_item.added", item={"type": "function_call", "name": "sum"}), True),
        (event("reasoning_text.delta", delta="hm"), False),
    ],
)
def test_what_is_a_token_and_what_is_output(delta: dict[str, Any], output: bool) -> None:
    outcome = said(delta)
    assert outcome.token_ns == [0]
    assert outcome.first_output_ns == (0 if output else None)


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (end(), "completed"),
        (end("incomplete", incomplete_details={"reason": "max_output_tokens"}),
         "max_output_tokens"),
        # vLLM
        (end("incomplete", "completed", incomplete_details={"reason": "content_filter"}),
         "content_filter"),
        (end("cancelled"), "cancelled"),
    ],
)  # fmt: skip
def test_why_it_ended_is_the_servers_word(last: dict[str, Any], why: str) -> None:
    outcome = said(event("output_text.delta", delta="a"), last)
    assert (outcome.finish_reason, outcome.done) == (why, True)


@pytest.mark.parametrize(
    "last",
    [
        end("failed", error={"code": "server_error", "message": "no room"}),
        end("failed", "completed", error={"message": "no room"}),
        {"type": "error", "code": "ERR", "message": "no room", "param": None},
        {"type": "error", "error": {"type": "x", "message": "no room"}},
        {"error": {"message": "no room", "code": 500}},
    ],
)
def test_errors_in_the_stream(last: dict[str, Any]) -> None:
    outcome = said(event("output_text.delta", delta="a"), last)
    assert (outcome.error, outcome.token_ns) == ("no room", [0])


def test_vllms_own_times_stand_in_the_response() -> None:
    metrics = {"queue_time_ms": 1.5, "time_to_first_token_ms": 20, "generation_time_ms": 99.5}
    outcome = said(event("output_text.delta", delta="a"), end(metrics=metrics))
    assert times(outcome) == {"queue": 1.5, "prefill": 20, "decode": 99.5}


def test_a_failure_without_a_word_is_one() -> None:
    assert said(end("failed")).error
    assert said(end("failed", error=None)).error


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 0, "output_tokens": 0}, [1], "x"])
def test_no_usage(usage: Any) -> None:
    outcome = said(event("output_text.delta", delta="a"), end(usage=usage))
    assert (outcome.usage.prompt_tokens, outcome.usage.output_tokens) == (None, None)
    assert (outcome.finish_reason, outcome.malformed) == ("completed", None)


def test_a_done_mark_that_the_protocol_does_not_have() -> None:
    outcome = read(event("output_text.delta", delta="a"), protocol="responses", end=b"data: [DONE]")
    assert (outcome.done, outcome.malformed) == (True, None)


def test_another_protocols_events_are_malformed() -> None:
    assert read({"choices": [{"delta": {"content": "a"}}]}, protocol="responses").malformed
