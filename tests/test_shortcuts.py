"""The shortcut for plain pieces of text is taken, and leads where the long way does."""

import json
from typing import Any

import pytest
from fuzz.fuzz_stream import outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import framed

from tpwidgets.protocols import PROTOCOLS
from tpwidgets.protocols import reader as reader_module

pytestmark = pytest.mark.quick

TEXTS = st.none() | st.text(max_size=3) | st.just(["x"])
CALLS = st.none() | st.just([{"function": {"name": "f", "arguments": "{}"}}])
ERRORS = st.sampled_from([None, "no", {"message": "no"}])
COUNTS = st.integers(0, 9)


def some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a dict with some of the keys."""
    return st.fixed_dictionaries({}, optional=optional)


CHOICES = some(
    index=st.integers(0, 1), text=TEXTS, finish_reason=st.sampled_from([None, "stop", 1]),
    delta=st.none() | some(
        role=st.just("assistant"), content=TEXTS, reasoning_content=TEXTS, refusal=TEXTS,
        tool_calls=CALLS,
    ),
    logprobs=st.none() | st.just({"content": [{"token": "x"}]}),
)  # fmt: skip
OPENAI = some(
    id=st.just("x"), choices=st.none() | st.lists(CHOICES, max_size=2), error=ERRORS,
    usage=st.none() | some(completion_tokens=COUNTS), timings=st.just({"prompt_ms": 3.0}),
)  # fmt: skip
OLLAMA = some(
    done=st.sampled_from([False, False, True, None, 0]), response=TEXTS, thinking=TEXTS,
    message=st.none() | some(content=TEXTS, thinking=TEXTS, tool_calls=CALLS), error=ERRORS,
    eval_count=COUNTS, done_reason=TEXTS,
)  # fmt: skip
EVENTS = {
    "chat": OPENAI,
    "completions": OPENAI,
    "responses": some(
        type=st.sampled_from([
            "response.output_text.delta", "response.reasoning_text.delta", "response.completed",
        ]),
        delta=TEXTS, error=ERRORS, usage=some(output_tokens=COUNTS),
        response=some(status=TEXTS, usage=some(output_tokens=COUNTS)),
    ),
    "anthropic": some(
        type=st.sampled_from(["content_block_delta", "content_block_start", "message_delta"]),
        delta=some(
            type=st.sampled_from(["text_delta", "thinking_delta", "input_json_delta"]),
            text=TEXTS, thinking=TEXTS, partial_json=TEXTS, stop_reason=TEXTS,
        ),
        content_block=some(text=TEXTS, name=TEXTS), error=ERRORS, usage=some(output_tokens=COUNTS),
    ),
    "ollama": OLLAMA,
    "ollama-generate": OLLAMA,
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
@settings(max_examples=60)
@given(st.data())
def test_the_shortcut_leads_where_the_long_way_does(name: str, data: st.DataObject) -> None:
    stream = b"".join(framed(name, data.draw(st.lists(EVENTS[name], max_size=12))))
    shortly = outcome(name, [stream])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_module, "_MISSES", 0)
        assert outcome(name, [stream]) == shortly


PLAIN = {
    "chat": {"id": "x", "choices": [{"index": 0, "delta": {"content": "é\n"}}]},
    "completions": {"id": "x", "choices": [{"index": 0, "text": "é\n", "logprobs": None}]},
    "responses": {"type": "response.output_text.delta", "delta": "é\n", "logprobs": []},
    "anthropic": {
        "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "é\n"},
    },
    "ollama": {"message": {"role": "assistant", "content": "é\n"}, "done": False},
    "ollama-generate": {"response": "é\n", "done": False},
}  # fmt: skip


def test_every_protocol_with_a_shortcut_is_here() -> None:
    with_one = {name for name, p in PROTOCOLS.items() if "plain_text" in vars(type(p))}
    assert with_one == set(EVENTS) == set(PLAIN)


@pytest.mark.parametrize("name", PLAIN)
def test_the_shortcut_is_taken(name: str) -> None:
    plain_text = PROTOCOLS[name].plain_text
    assert plain_text(json.dumps(PLAIN[name]).encode()) == "é\n"
    with pytest.raises(ValueError, match="null"):
        plain_text(json.dumps(PLAIN[name] | {"error": {"message": "no"}}).encode())


@pytest.mark.parametrize("name", ["chat", "completions"])
def test_the_shortcut_is_not_taken_past_a_count(name: str) -> None:
    with pytest.raises(ValueError, match="null"):
        PROTOCOLS[name].plain_text(
            json.dumps(PLAIN[name] | {"usage": {"completion_tokens": 1}}).encode()
        )
