"""Anthropic Messages: which event says what, and what its counts leave out."""

from typing import Any

import pytest
from streams import read

from tpwidgets.protocols import Outcome

pytestmark = pytest.mark.quick


def said(*events: Any) -> Outcome:
    return read(*events, protocol="anthropic")


def start(**usage: Any) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "content": [], "stop_reason": None}
    return {"type": "message_start", "message": {**message, "usage": usage}}


def delta(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **more}}


def end(why: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    said = {"stop_reason": why, "stop_sequence": None}
    return {"type": "message_delta", "delta": said, "usage": usage}


def block(**said: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": said}


STOP = {"type": "message_stop"}
TEXT = delta("text_delta", text="Hé")


def test_a_thinking_models_answer() -> None:
    outcome = said(
        start(input_tokens=9, cache_creation_input_tokens=0, cache_read_input_tokens=0,
              output_tokens=8),
        {"type": "ping"},
        block(type="thinking", thinking="", signature=""),
        delta("thinking_delta", thinking="Hm"),
        delta("signature_delta", signature="EqQBCgIYAhIM"),
        {"type": "content_block_stop", "index": 0},
        block(type="text", text=""),
        TEXT,
        b"event: ping\ndata: {\"type\": \"ping\"}",
        b": keep-alive",
        delta("text_delta", text="llo"),
        {"type": "content_block_stop", "index": 1},
        end(output_tokens=89),
        STOP,
    )  # fmt: skip
    assert outcome.token_ns == [3, 7, 10]
    assert (outcome.first_output_ns, outcome.reasoning_chunks, outcome.chars) == (7, 1, 7)
    assert (outcome.usage.prompt_tokens, outcome.usage.output_tokens) == (9, 89)
    # the count at the start is not that of the first chunk
    assert outcome.first_count is None
    assert (outcome.finish_reason, outcome.done) == ("end_turn", True)
    assert (outcome.malformed, outcome.error) == (None, None)


@pytest.mark.parametrize(
    ("events", "prompt", "cached"),
    [
        ([start(input_tokens=1, cache_read_input_tokens=33), end(output_tokens=5)], 34, 33),
        ([start(input_tokens=1, cache_creation_input_tokens=20, cache_read_input_tokens=13),
          end(output_tokens=5)], 34, 13),
        # cumulative ones that tell all again, or only a part of it
        ([start(input_tokens=1, cache_read_input_tokens=33),
          end(input_tokens=1, cache_read_input_tokens=33, output_tokens=5)], 34, 33),
        ([start(input_tokens=1, cache_read_input_tokens=33), end(input_tokens=1, output_tokens=5)],
         34, 33),
        # a proxy knows only at the end
        ([start(input_tokens=0, output_tokens=0), end(input_tokens=34, output_tokens=5)], 34, None),
        ([start(), end(output_tokens=5)], None, None),
        ([start(input_tokens=None, cache_read_input_tokens="3"), end(output_tokens=5)], None, None),
    ],
)  # fmt: skip
def test_the_prompt_includes_what_the_cache_gave_and_took(
    events: list[Any], prompt: int | None, cached: int | None
) -> None:
    usage = said(events[0], TEXT, events[1], STOP).usage
    assert (usage.prompt_tokens, usage.cached_tokens) == (prompt, cached)
    assert usage.output_tokens == 5


def test_output_counts_are_cumulative_and_may_come_twice() -> None:
    usage = said(start(), TEXT, end(None, output_tokens=3), end(output_tokens=7), STOP).usage
    assert usage.output_tokens == 7
    null = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": None}
    outcome = said(start(), TEXT, null, STOP)
    assert (outcome.usage.output_tokens, outcome.malformed, outcome.done) == (None, None, True)


def test_a_tool_call_is_output() -> None:
    outcome = said(
        block(type="tool_use", id="toolu_1", name="sum", input={}),
        delta("input_json_delta", partial_json=""),
        delta("input_json_delta", partial_json='{"a": 1}'),
        end("tool_use", output_tokens=9),
        STOP,
    )
    assert (outcome.token_ns, outcome.first_output_ns, outcome.chars) == ([0, 2], 0, 3 + 8)
    assert outcome.finish_reason == "tool_use"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        b'event: error\ndata: {"type": "error", "error": {"message": "Overloaded"}}',
        {"error": {"message": "Overloaded"}},
        {"type": "error", "message": "Overloaded"},
    ],
)
def test_an_error_under_http_200(event: Any) -> None:
    outcome = said(start(), TEXT, event)
    assert (outcome.error, outcome.done, outcome.finish_reason) == ("Overloaded", False, None)


def test_new_kinds_of_events_are_passed_over() -> None:
    outcome = said({"type": "news"}, TEXT, delta("citations_delta", citation={"a": 1}), STOP)
    assert (outcome.token_ns, outcome.malformed) == ([1], None)
    assert said({"choices": []}).malformed
