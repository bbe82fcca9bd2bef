"""What a server's chunks mean: tokens, counts, its own times, faults."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzz.fuzz_stream import cut
from hypothesis import given, settings
from hypothesis import strategies as st

from tpwidgets.protocols import PROTOCOLS, Outcome, StreamReader, error_message

pytestmark = pytest.mark.quick

WIRE = Path(__file__).parent / "wire"
CHAT = PROTOCOLS["chat"]


def read(*events: Any, protocol: str = "chat", end: bytes = b"data: [DONE]\n\n") -> Outcome:
    reader = StreamReader(PROTOCOLS[protocol])
    for stamp, event in enumerate(events):
        data = event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode()
        reader.feed(data + b"\n\n", stamp)
    reader.feed(end, len(events))
    return reader.finish(len(events) + 1)


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


# --- recorded streams -----------------------------------------------------------------------------

RECORDED = {
    # name: protocol, token chunks, prompt tokens, output tokens, cached tokens
    "vllm-chat": ("chat", 12, 34, 16, None),
    "vllm-chat-contusage": ("chat", 12, 34, 16, None),
    "vllm-completions": ("completions", 8, 4, 8, None),
    "llamaserver-chat": ("chat", 10, 34, 16, 0),
    "llamaserver-completions": ("completions", 8, 4, 8, 0),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_streams(name: str) -> None:
    protocol, tokens, prompt, output, cached = RECORDED[name]
    body = (WIRE / f"{name}.sse").read_bytes()
    random = Random(name)
    for pieces in (0, 3, 40, 400):
        reader = StreamReader(PROTOCOLS[protocol])
        for stamp, data in enumerate(cut(body, random.choices(range(len(body)), k=pieces))):
            reader.feed(data, stamp)
        outcome = reader.finish(10_000)
        assert len(outcome.token_ns) == tokens
        assert outcome.token_ns == sorted(outcome.token_ns)
        assert outcome.merged == tokens - len(set(outcome.token_ns))
        assert outcome.first_output_ns == outcome.token_ns[0]
        assert (outcome.usage.prompt_tokens, outcome.usage.output_tokens) == (prompt, output)
        assert outcome.usage.cached_tokens == cached
        assert outcome.finish_reason == "length"
        assert outcome.done
        assert outcome.malformed is None
        assert outcome.error is None


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_without_done(name: str) -> None:
    body = (WIRE / f"{name}.sse").read_bytes().partition(b"data: [DONE]")[0]
    reader = StreamReader(PROTOCOLS[RECORDED[name][0]])
    reader.feed(body, 1)
    outcome = reader.finish(2)
    assert not outcome.done
    assert outcome.finish_reason == "length"


# --- what a chunk means ---------------------------------------------------------------------------


def test_only_chunks_with_content_are_tokens() -> None:
    outcome = read(
        delta(role="assistant"),
        delta(role="assistant", content=""),
        delta(role="assistant", content=None),
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0}]},
        delta(content="a"),
        {"choices": [], "usage": None},
        delta(finish="stop"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        b": ping",
        b"event: ping",
        b"data:",
    )
    assert outcome.token_ns == [5]
    assert outcome.finish_reason == "stop"
    assert outcome.malformed is None


def test_reasoning_is_a_token_but_no_output() -> None:
    outcome = read(
        delta(reasoning_content="hm"), delta(reasoning="hm"), delta(content="a"), delta(content="b")
    )
    assert outcome.token_ns == [0, 1, 2, 3]
    assert outcome.first_output_ns == 2


def test_a_tool_call_is_output() -> None:
    outcome = read(delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]))
    assert outcome.token_ns == [0]
    assert outcome.first_output_ns == 0


def test_the_finish_chunk_may_carry_the_last_token() -> None:
    assert read(delta("stop", content="all")).token_ns == [0]


def test_tokens_of_one_read_are_merged_even_in_several_http_chunks() -> None:
    reader = StreamReader(CHAT)
    event = b"data: " + json.dumps(delta(content="a")).encode() + b"\n\n"
    for stamp in (1, 1, 1, 2, 3):
        reader.feed(event, stamp)
    assert reader.finish(4).merged == 2
    reader = StreamReader(CHAT)
    reader.feed(event * 3, 1)
    assert reader.finish(2).merged == 2


@pytest.mark.parametrize(
    ("usage", "prompt", "output"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, 5, 7),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None, None),
        ({"prompt_tokens": "5", "completion_tokens": 7.5}, None, None),
        ({"prompt_tokens": True, "completion_tokens": -1}, None, None),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": [1]}, 5, 7),
        (True, None, None),
        ([1], None, None),
    ],
)
def test_usage_is_counts_or_nothing(usage: Any, prompt: int | None, output: int | None) -> None:
    said = read(delta(content="a"), {"choices": [], "usage": usage}).usage
    assert (said.prompt_tokens, said.output_tokens) == (prompt, output)


def test_continuous_usage_keeps_the_last() -> None:
    chunks = [
        {**delta(content="a"), "usage": {"prompt_tokens": 5, "completion_tokens": n}}
        for n in (1, 2, 3)
    ]
    assert read(*chunks).usage.output_tokens == 3


@pytest.mark.parametrize(
    "event", [{"error": {"message": "no room"}}, {"error": "no room"}, {"error": ["no room"]}]
)
def test_an_error_event_says_what_is_wrong(event: Any) -> None:
    outcome = read(delta(content="a"), event)
    assert outcome.error == "no room"
    assert outcome.token_ns == [0]


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices": [{"delta": {"content": "a"',
        b"data: hello",
        b"data: [1]",
        b"data: 1e999",
        b'data: {"object": "other"}',
        b'data: {"choices": [1]}',
        b'data: {"choices": {"a": 1}}',
        b'data: {"choices": [{"delta": ["a"]}]}',
        b"data: \xff\xfe",
        b"data: " + b"[" * 100_000,
        b"data: " + b'{"a":' * 100_000,
        b"data: " + b"9" * 10_000,
    ],
)
def test_malformed_events_are_said_and_the_rest_is_read(event: bytes) -> None:
    outcome = read(delta(content="a"), event, delta(content="b"))
    assert outcome.malformed
    assert len(outcome.malformed) < 600
    assert outcome.token_ns == [0, 2]


@given(st.lists(st.binary(max_size=200)), st.sampled_from(sorted(PROTOCOLS)))
def test_the_reader_never_raises_on_bytes(reads: list[bytes], name: str) -> None:
    reader = StreamReader(PROTOCOLS[name])
    for stamp, data in enumerate(reads):
        reader.feed(data, stamp)
    reader.finish(len(reads))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "content",
                    "usage",
                    "error",
                    "message",
                    "prompt_tokens",
                    "completion_tokens",
                    "finish_reason",
                    "text",
                    "completion_tokens_details",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300)
@given(_json, st.sampled_from(sorted(PROTOCOLS)))
def test_the_reader_never_raises_on_json_and_counts_are_counts(said: Any, name: str) -> None:
    outcome = read(said, protocol=name)
    usage = outcome.usage
    for count in (usage.prompt_tokens, usage.output_tokens, usage.reasoning_tokens):
        assert count is None or (type(count) is int and count >= 0)
    assert outcome.finish_reason is None or isinstance(outcome.finish_reason, str)


# --- error bodies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"no","code":1}}', "no"),
        (b'{"error":"no"}', "no"),
        (b'{"message":"no"}', "no"),
        (b'{"detail":[{"loc":["body"],"msg":"no"}]}', "no"),
        (b'[{"error":{"message":"no"}}]', "no"),
        (b'data: {"error":{"message":"no"}}\n\n', "no"),
        (b"plain  no\n", "plain no"),
        (b"<html>no</html>", "an HTML page, not an API's answer"),
        (b"", ""),
        (b'{"error":{"message":"\\ud800"}}', "?"),
        (b"\xff", "\ufffd"),
    ],
)
def test_error_bodies(body: bytes, said: str) -> None:
    assert error_message(body) == said


@given(st.binary(max_size=400) | _json.map(lambda said: json.dumps(said).encode()))
def test_an_error_body_is_one_short_printable_line(body: bytes) -> None:
    said = error_message(body)
    assert len(said) <= 300
    assert "\n" not in said
    said.encode()


def test_a_nested_error_body_does_not_overflow() -> None:
    assert len(error_message(b"[" * 50_000)) <= 300
    assert len(error_message(b'{"error":' * 900 + b'"x"' + b"}" * 900)) <= 300
