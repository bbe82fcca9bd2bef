"""What a server's chunks mean: tokens, counts, its own times, faults."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzz.fuzz_stream import cut
from hypothesis import given, settings
from hypothesis import strategies as st

from tpwidgets.protocols import (
    PROTOCOLS,
    Outcome,
    ServerTimes,
    StreamReader,
    error_message,
    server_times_from_headers,
)

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
NONE = (None, None)
TIMINGS = {
    "llamaserver-chat": (527.982, 559.111),
    "llamaserver-completions": (52.698, 439.878),
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
        assert outcome.first_chunk_tokens == 1
        assert (outcome.server_prefill_ms, outcome.server_decode_ms) == TIMINGS.get(name, NONE)
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
    assert outcome.events == 10  # an empty one is none
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
        ({"prompt_tokens": 5, "completion_tokens": 10**400}, 5, None),
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


# --- chunks and tokens ----------------------------------------------------------------------------


def usage(output: int, reasoning: int | None = None, **more: Any) -> dict[str, Any]:
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}} if reasoning else {}
    counts = {"prompt_tokens": 9, "completion_tokens": output}
    return {"choices": [], "usage": {**counts, **details, **more}}


@pytest.mark.parametrize("role_first", [False, True])
@pytest.mark.parametrize("per_chunk", range(1, 9))
def test_tpot_is_the_same_however_tokens_are_bundled(per_chunk: int, role_first: bool) -> None:
    # 48 tokens, one each 10 ms; a chunk is sent when its last token is there
    tokens = [f"{n:5}" for n in range(48)]
    reader = StreamReader(CHAT)

    def say(stamp: int, event: dict[str, Any]) -> None:
        reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n", stamp)

    if role_first:
        say(0, delta(role="assistant", content=""))
    for at in range(0, 48, per_chunk):
        bundle = tokens[at : at + per_chunk]
        say(200 + 10 * (at + len(bundle) - 1), delta(content="".join(bundle)))
    say(700, usage(48))
    said = reader.finish(700)
    assert said.token_ns[0] == 200 + 10 * (per_chunk - 1)
    tpot = (said.token_ns[-1] - said.token_ns[0]) / (48 - said.first_chunk_tokens)
    assert tpot == pytest.approx(10)


@pytest.mark.parametrize(
    ("texts", "output", "first"),
    [
        (["a", " bcd efg", " hij klm", " nop qrs"], 13, 1),
        (["ab cd ef", " gh", " ij", " kl"], 10, 5),
        (["ab cd ef gh", "i"], 2, 1),  # chunks are tokens: the lengths of words say nothing
        (["Certainly", "!", " I", " am"], 5, 1),  # the fifth is the one that ends the answer
        (["a" * 50, "b", "c", "d"], 9, 6),  # each later chunk is a token at least
        (["a", "b" * 50, "c" * 50], 9, 1),
        (["ab", "cd"], None, 1),
        (["abcdef"], 6, 1),  # one chunk: nothing came after it
        (["a", "b", "c"], 2, 1),  # fewer tokens than chunks
    ],
)
def test_the_first_chunks_share_of_the_tokens_is_its_share_of_the_text(
    texts: list[str], output: int | None, first: int
) -> None:
    said = read(*(delta(content=text) for text in texts), *([usage(output)] if output else []))
    assert said.first_chunk_tokens == first
    assert (said.first_chars, said.chars) == (len(texts[0]), len("".join(texts)))


def test_a_running_count_is_exact() -> None:
    def counted(text: str, count: int) -> dict[str, Any]:
        return {**delta(content=text), "usage": usage(count)["usage"]}

    assert read(counted("", 0), counted("ab", 3), counted("c", 7)).first_chunk_tokens == 3
    assert read(counted("a", 1), counted("bcd", 4), counted("e", 5)).first_chunk_tokens == 1
    # the same in every chunk is no running count
    assert read(counted("ab", 8), counted("cd", 8), counted("ef", 8)).first_chunk_tokens == 3


def test_reasoning_that_was_not_streamed_came_before_the_first_chunk() -> None:
    a, b, c = (delta(content=text) for text in "abc")
    assert read(a, b, c, usage(103, 100)).first_chunk_tokens == 101
    assert read(a, b, c, usage(112, 100)).first_chunk_tokens == 104
    assert read(a, b, c, usage(100, 100)).first_chunk_tokens == 100
    assert read(a, b, c, usage(3, 94)).first_chunk_tokens == 1  # then it isn't among the three
    thought = delta(reasoning_content="hm")
    assert read(thought, a, b, c, usage(5, 2)).first_chunk_tokens == 1
    reader = StreamReader(CHAT)  # a thought and the first word in one read
    for event in (thought, a, b, usage(4, 2)):
        reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n", 1)
    assert reader.finish(2).first_chunk_tokens == 1


def test_reasoning_counted_beside_the_completion_belongs_to_the_output() -> None:
    a, b = (delta(content=text) for text in "ab")
    said = read(a, b, usage(2, 94, total_tokens=9 + 2 + 94))
    assert (said.usage.output_tokens, said.first_chunk_tokens) == (96, 95)
    assert read(a, b, usage(96, 94, total_tokens=9 + 96)).usage.output_tokens == 96


def test_what_a_model_wrote_is_counted_in_characters() -> None:
    call = {"index": 0, "id": "call_1234", "type": "function"}
    assert (
        read(
            delta(tool_calls=[{**call, "function": {"name": "sum", "arguments": ""}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a": 1'}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": None}}]),
            delta(
                content=[{"type": "text", "text": "four"}, {"type": "thinking", "thinking": [1]}]
            ),
            delta(content=True),
            delta(reasoning="hm"),
        ).chars
        == 3 + 7 + 4 + 2
    )


# --- the server's own times -----------------------------------------------------------------------


def times(said: ServerTimes) -> dict[str, float]:
    """Return what is known, by the middle of its name."""
    fields = ("queue", "prefill", "decode", "total", "start")
    found = {name: getattr(said, f"server_{name}_ms") for name in fields}
    return {name: ms for name, ms in found.items() if ms is not None}


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
