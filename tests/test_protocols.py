"""What holds for every protocol: recorded streams, faults, facts."""

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzz.fuzz_stream import cut
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import read, times

from tpwidgets.protocols import (
    PROTOCOLS,
    StreamReader,
    error_message,
)
from tpwidgets.workload.prompts import put

pytestmark = pytest.mark.quick

WIRE = Path(__file__).parent / "wire"


# --- recorded streams -----------------------------------------------------------------------------

RECORDED = {
    # name: protocol, token chunks, prompt tokens, output tokens, cached tokens, why it ended
    "vllm-chat": ("chat", 12, 34, 16, None, "length"),
    "vllm-chat-contusage": ("chat", 12, 34, 16, None, "length"),
    "vllm-completions": ("completions", 8, 4, 8, None, "length"),
    "vllm-responses": ("responses", 2, 34, 16, 0, "max_output_tokens"),
    "vllm-messages": ("anthropic", 5, 34, 16, None, "max_tokens"),
    "llamaserver-chat": ("chat", 10, 34, 16, 0, "length"),
    "llamaserver-completions": ("completions", 8, 4, 8, 0, "length"),
    "llamaserver-responses": ("responses", 1, 34, 16, 33, "completed"),
    "llamaserver-messages": ("anthropic", 4, 34, 16, 33, "max_tokens"),
    "transformers-chat": ("chat", 14, 13, 12, None, "length"),
    "transformers-completions": ("completions", 12, 3, 12, None, "length"),
    "transformers-responses": ("responses", 14, 13, 12, 0, "completed"),
}
NO_DONE = "transformers-chat", "transformers-completions"
TIMINGS = {
    "llamaserver-chat": {"prefill": 527.982, "decode": 559.111},
    "llamaserver-completions": {"prefill": 52.698, "decode": 439.878},
    "llamaserver-responses": {"prefill": 42.748, "decode": 1789.164},
}


def test_every_recorded_stream_is_read() -> None:
    assert sorted(RECORDED) == sorted(path.stem for path in WIRE.glob("*.sse"))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_streams(name: str) -> None:
    protocol, tokens, prompt, output, cached, why = RECORDED[name]
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
        assert outcome.finish_reason == why
        if tokens > 5:
            assert outcome.first_chunk_tokens == 1
        assert times(outcome) == TIMINGS.get(name, {})
        assert outcome.done is (name not in NO_DONE)
        assert outcome.malformed is None
        assert outcome.error is None


@pytest.mark.parametrize(
    "name", [n for n, row in RECORDED.items() if row[0] in ("chat", "completions")]
)
def test_a_recorded_stream_without_done(name: str) -> None:
    body = (WIRE / f"{name}.sse").read_bytes().partition(b"data: [DONE]")[0]
    reader = StreamReader(PROTOCOLS[RECORDED[name][0]])
    reader.feed(body, 1)
    outcome = reader.finish(2)
    assert not outcome.done
    assert outcome.finish_reason == "length"


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_that_breaks_off(name: str) -> None:
    """After any of its events but the last few: neither done nor whole, and no word made up."""
    body = (WIRE / f"{name}.sse").read_bytes()
    protocol = PROTOCOLS[RECORDED[name][0]]
    marks = re.compile(rb"finish_reason\":\"|stop_reason\":\"|response\.completed\"")
    end = next(m for m in marks.finditer(body)).start()
    whole = body[: body.rindex(b"\n\n", 0, end) + 2]
    reader = StreamReader(protocol)
    reader.feed(whole, 1)
    outcome = reader.finish(2)
    assert (outcome.done, outcome.finish_reason, outcome.malformed) == (False, None, None)
    half = StreamReader(protocol)
    half.feed(body[:end], 1)
    assert "no JSON" in str(half.finish(2).malformed)


# --- whatever a server sends ----------------------------------------------------------------------


@given(st.lists(st.binary(max_size=200)), st.sampled_from(sorted(PROTOCOLS)))
def test_the_reader_never_raises_on_bytes(reads: list[bytes], name: str) -> None:
    reader = StreamReader(PROTOCOLS[name])
    for stamp, data in enumerate(reads):
        reader.feed(data, stamp)
    reader.finish(len(reads))


NAMES = [
    *("choices", "delta", "content", "usage", "error", "message", "text", "finish_reason"),
    *("prompt_tokens", "completion_tokens", "completion_tokens_details", "reasoning_tokens"),
    *("type", "response", "item", "incomplete_details", "reason", "input_tokens", "output_tokens"),
    *("content_block", "thinking", "cache_read_input_tokens", "stop_reason", "done", "done_reason"),
    *("candidates", "parts", "usageMetadata", "promptTokenCount", "candidatesTokenCount"),
    *("promptFeedback", "blockReason", "finishReason", "functionCall", "args", "eval_count"),
    *("data", "embedding", "tool_calls", "function", "arguments", "eval_duration"),
]
KINDS = [
    *("response.output_text.delta", "response.completed", "response.output_item.added", "error"),
    *("message_start", "message_delta", "content_block_start", "content_block_delta"),
]
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(KINDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
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
        (b'{"error":"Bad Request","message":"no","statusCode":400}', "Bad Request: no"),
        (b'{"error":"no, ever","message":"no"}', "no, ever"),
        (b'{"detail":[{"loc":["body"],"msg":"no"}]}', "no"),
        (b'{"detail":[{"loc":["body","min_tokens"],"msg":"no"}]}', "min_tokens: no"),
        (b'[{"error":{"message":"no"}}]', "no"),
        (b'{"error":{"message":"no"}}\n\ndata: [DONE]\n\n', "no"),
        (b"5 of them are too many", "5 of them are too many"),
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


# --- a new protocol -------------------------------------------------------------------------------


def test_the_example_of_a_new_protocol_works() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    protocol = names["Cohere"]()
    body = protocol.body("m", "hi", 5)
    assert body[protocol.prompt_at[0]][0]["content"] == "hi"
    reader = StreamReader(protocol)
    counts = {"tokens": {"input_tokens": 7, "output_tokens": 3}}
    for stamp, event in enumerate(
        [
            {"type": "message-start", "id": "x"},
            {"type": "content-delta", "delta": {"message": {"content": {"thinking": "hm"}}}},
            {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}},
            {"type": "message-end", "delta": {"finish_reason": "MAX_TOKENS", "usage": counts}},
        ]
    ):
        reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n", stamp)
    outcome = reader.finish(9)
    assert (outcome.token_ns, outcome.first_output_ns, outcome.done) == ([1, 2], 2, True)
    assert (outcome.usage.prompt_tokens, outcome.usage.output_tokens) == (7, 3)
    assert (outcome.finish_reason, outcome.malformed) == ("MAX_TOKENS", None)


# --- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTOCOLS)
def test_facts(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.title
    assert not protocol.path.startswith("/")
    assert protocol.version == "" or protocol.version.startswith("/v")
    assert "{key}" in protocol.key_header[1]
    body = protocol.body("the model", "the prompt", 77)
    for prompts in ("other", ["one", "two"]):
        put(body, protocol.prompt_at, prompts)
        at: Any = body
        for key in protocol.prompt_at:
            at = at[key]
        assert at == prompts
    text = json.dumps(body)
    assert "the prompt" not in text
    assert ("77" in text) is protocol.streamed
    assert "the model" in text or "{model}" in protocol.path


def test_bodies_share_nothing() -> None:
    """What one request puts into its body is in no other's."""
    for protocol in PROTOCOLS.values():
        first = protocol.body("m", "a", 5)
        put(first, protocol.prompt_at, "changed")
        assert "changed" not in json.dumps(protocol.body("m", "a", 5))
