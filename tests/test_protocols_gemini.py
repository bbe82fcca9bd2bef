"""Gemini: parts and thoughts, counts that run along, events or an array of them."""

import json
from typing import Any

import pytest
from fuzz.fuzz_stream import cut, outcome, unstamped
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import framed, read

from tpwidgets.protocols import Outcome
from tpwidgets.protocols.json_array import ArrayParser

pytestmark = pytest.mark.quick


def said(*events: Any) -> Outcome:
    return read(*events, protocol="gemini")


def chunk(*parts: dict[str, Any], finish: str | None = None, **usage: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "x"}


ANSWER = [
    chunk({"text": "Hm", "thought": True}, promptTokenCount=12, thoughtsTokenCount=40),
    chunk({"text": "Hé"}, promptTokenCount=12, candidatesTokenCount=1, thoughtsTokenCount=50),
    chunk({"text": "llo"}, promptTokenCount=12, candidatesTokenCount=4, thoughtsTokenCount=50),
    chunk({"text": "", "thoughtSignature": "EjQKMgEM"}, finish="MAX_TOKENS", promptTokenCount=12,
          candidatesTokenCount=4, thoughtsTokenCount=50, cachedContentTokenCount=5,
          totalTokenCount=66),
]  # fmt: skip


def test_a_thinking_models_answer() -> None:
    outcome = said(*ANSWER)
    assert outcome.token_ns == [0, 1, 2]
    assert (outcome.first_output_ns, outcome.reasoning_chunks, outcome.chars) == (1, 1, 7)
    usage = outcome.usage
    assert (usage.prompt_tokens, usage.output_tokens) == (12, 54)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (5, 50)
    assert outcome.first_chunk_tokens == 40  # by the running count
    assert (outcome.finish_reason, outcome.malformed, outcome.error) == ("MAX_TOKENS", None, None)


def test_a_later_event_may_leave_counts_out() -> None:
    usage = said(chunk({"text": "a"}, promptTokenCount=3, candidatesTokenCount=1), chunk()).usage
    assert (usage.prompt_tokens, usage.output_tokens) == (3, 1)


def test_a_count_that_is_left_out_is_0() -> None:
    """Protocol buffers write no zeros; where nothing was counted at all, nothing is known."""
    usage = said(chunk({"text": "a"}, promptTokenCount=3, candidatesTokenCount=1)).usage
    assert (usage.cached_tokens, usage.reasoning_tokens) == (0, 0)
    odd = said(chunk({"text": "a"}, promptTokenCount=3, cachedContentTokenCount="5")).usage
    assert (odd.cached_tokens, odd.reasoning_tokens) == (None, 0)
    untold = said(chunk({"text": "a"}), chunk({"text": "b"}, candidatesTokenCount=2)).usage
    assert (untold.cached_tokens, untold.reasoning_tokens) == (None, None)
    late = said(*ANSWER, chunk(promptTokenCount=12)).usage
    assert (late.cached_tokens, late.reasoning_tokens) == (5, 50)


def test_a_tool_call_is_output() -> None:
    outcome = said(chunk({"functionCall": {"name": "sum", "args": {"a": 1}}}))
    assert (outcome.token_ns, outcome.first_output_ns, outcome.chars) == ([0], 0, 3 + 8)


def test_a_prompt_that_is_blocked_is_an_error() -> None:
    event = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    assert said(event).error == "the prompt was blocked: SAFETY"
    assert said({"promptFeedback": {"safetyRatings": []}, **chunk({"text": "a"})}).error is None


ERROR = {"error": {"code": 503, "message": "no room", "status": "UNAVAILABLE"}}


def test_an_error_under_http_200() -> None:
    assert said(ANSWER[0], ERROR).error == "no room"
    reads = [json.dumps([ANSWER[0], ERROR]).encode()]
    assert outcome("gemini", reads).error == "no room"


@pytest.mark.parametrize("event", [{}, {"candidates": []}, {"choices": [1]}, {"candidates": [1]}])
def test_what_is_not_gemini_is_malformed(event: Any) -> None:
    assert said(event).malformed


@settings(max_examples=40)
@given(st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([None, 2]))
def test_an_array_says_the_same_as_events(places: list[int], indent: int | None) -> None:
    array = b"\r\n" + json.dumps(ANSWER, indent=indent).encode()
    whole = outcome("gemini", [b"".join(framed("gemini", ANSWER))])
    for reads in ([array], cut(array, places), [array[i : i + 1] for i in range(len(array))]):
        assert unstamped(outcome("gemini", reads)) == unstamped(whole)


JSON = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('a"\\[]{},é'), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(
    st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=4),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.booleans(),
)
def test_the_objects_of_an_array_come_when_they_are_complete(
    objects: list[Any], places: list[int], plain: bool
) -> None:
    texts = [json.dumps(said, ensure_ascii=plain).encode() for said in objects]
    array = b"[" + b"\n,\r\n".join(texts) + b"]"
    ends = [array.index(b"[") + 1]
    for text in texts:
        ends.append(array.index(text, ends[-1]) + len(text))
    for reads in (cut(array, places), [array[i : i + 1] for i in range(len(array))]):
        stamps = [stamp for stamp, data in enumerate(reads) for _ in data]
        parser = ArrayParser()
        found = [event for stamp, data in enumerate(reads) for event in parser.feed(data, stamp)]
        assert found == [(t, stamps[e - 1]) for t, e in zip(texts, ends[1:], strict=True)]
        assert parser.finish(0) == []


def test_an_object_that_the_end_cut_off_is_malformed() -> None:
    array = json.dumps(ANSWER).encode()
    half = outcome("gemini", [array[:-20]])
    assert (len(half.token_ns), half.finish_reason) == (3, None)
    assert "no JSON" in str(half.malformed)
