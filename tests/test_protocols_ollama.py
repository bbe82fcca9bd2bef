"""Ollama's own chat and generate: lines of JSON, counts and durations in the last of them."""

from typing import Any

import pytest
from streams import read, times

pytestmark = pytest.mark.quick

END = {
    "model": "x", "created_at": "2026-11-24T17:00:00.5Z", "done": True, "done_reason": "length",
    "total_duration": 5_000_000_000, "load_duration": 1_000_000_000, "prompt_eval_count": 26,
    "prompt_eval_duration": 300_000_000, "eval_count": 3, "eval_duration": 2_500_000_000,
}  # fmt: skip


def part(protocol: str, text: str, **more: Any) -> dict[str, Any]:
    """Return a line with a text, and with what else stands beside it."""
    head = {"model": "x", "created_at": "2026-11-24T17:00:00Z", "done": False}
    if protocol == "ollama":
        return {**head, "message": {"role": "assistant", "content": text, **more}}
    return {**head, "response": text, **more}


BOTH = pytest.mark.parametrize("protocol", ["ollama", "ollama-generate"])


@BOTH
def test_a_thinking_models_answer(protocol: str) -> None:
    outcome = read(
        part(protocol, "", thinking="Hm"),
        part(protocol, "", thinking=""),
        b"\n",
        part(protocol, "Hé"),
        part(protocol, "llo", thinking=None, tool_calls=None),
        {**part(protocol, ""), **END},
        protocol=protocol,
    )
    assert outcome.token_ns == [0, 3, 4]
    assert (outcome.first_output_ns, outcome.reasoning_chunks, outcome.chars) == (3, 1, 7)
    assert (outcome.usage.prompt_tokens, outcome.usage.output_tokens) == (26, 3)
    assert (outcome.finish_reason, outcome.done, outcome.events) == ("length", True, 5)
    assert times(outcome) == {"prefill": 300, "decode": 2500, "total": 5000}
    assert (outcome.malformed, outcome.error) == (None, None)


@BOTH
def test_the_last_line_may_carry_a_token_and_no_counts(protocol: str) -> None:
    outcome = read(part(protocol, "a"), {**part(protocol, "b"), "done": True}, protocol=protocol)
    assert (outcome.token_ns, outcome.done, outcome.finish_reason) == ([0, 1], True, None)
    assert (outcome.usage.prompt_tokens, outcome.usage.output_tokens) == (None, None)


@BOTH
def test_a_prompt_from_the_cache_is_not_counted(protocol: str) -> None:
    last = {**part(protocol, ""), **END, "prompt_eval_count": 0}
    assert read(part(protocol, "a"), last, protocol=protocol).usage.prompt_tokens is None


@BOTH
def test_an_error_amid_the_lines(protocol: str) -> None:
    outcome = read(part(protocol, "a"), {"error": "no room"}, protocol=protocol)
    assert (outcome.error, outcome.done, outcome.token_ns) == ("no room", False, [0])


def test_a_tool_call_comes_in_one_piece_and_is_output() -> None:
    call = {"function": {"name": "sum", "arguments": {"a": 1}}}
    outcome = read(part("ollama", "", tool_calls=[call]), protocol="ollama")
    assert (outcome.first_output_ns, outcome.chars) == (0, 3 + 8)


@BOTH
@pytest.mark.parametrize("line", [b'{"done": fal\n', b"[1]\n", b"{}\n", b"data: {}\n", b"<p>\n"])
def test_what_is_not_ollama_is_malformed(protocol: str, line: bytes) -> None:
    outcome = read(part(protocol, "a"), line, part(protocol, "b"), protocol=protocol)
    assert (bool(outcome.malformed), outcome.token_ns) == (True, [0, 2])


@BOTH
def test_a_line_that_the_end_cut_off(protocol: str) -> None:
    whole = read(part(protocol, "a"), b'{"done": true}', protocol=protocol)
    assert (whole.done, whole.malformed) == (True, None)
    half = read(part(protocol, "a"), b'{"done": tr', protocol=protocol)
    assert (half.done, bool(half.malformed)) == (False, True)
