"""The OpenAI chat-completions and completions protocols, as the many servers that speak them do."""

import json
from typing import Any, Generic, TypeVar

import msgspec

from .base import WireProtocol, error_message
from .outcome import Outcome, Usage
from .server_times import server_times_from_body

C = TypeVar("C")

_COUNTABLE = 2**53
"""Metrics calculate in floats: a larger integer is none of theirs, nor a count."""


def _usage(said: Any) -> Usage | None:
    """Read a usage object; zeros in both counts mean that the server did not count."""
    prompt, output = _count(said, "prompt_tokens"), _count(said, "completion_tokens")
    if not prompt and not output:
        return None
    reasoning = _count(said.get("completion_tokens_details"), "reasoning_tokens")
    if reasoning and said.get("total_tokens") == (prompt or 0) + (output or 0) + reasoning:
        output = (output or 0) + reasoning  # xAI counts reasoning beside the completion, not in it
    return Usage(
        prompt_tokens=prompt,
        output_tokens=output,
        cached_tokens=_count(said.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=reasoning,
    )


def _count(said: Any, name: str) -> int | None:
    """Return a count if it is one: the metrics calculate with it."""
    value = said.get(name) if isinstance(said, dict) else None
    return value if type(value) is int and 0 <= value < _COUNTABLE else None


def _chars(said: Any) -> int:
    """Count the characters that a model wrote into a text, its parts or tool calls."""
    if isinstance(said, str):
        return len(said)
    if isinstance(said, list):
        return sum(_chars(part) for part in said)
    if isinstance(said, dict):
        written = ("text", "thinking", "function", "name", "arguments")
        return sum(_chars(said[key]) for key in written if key in said)
    return 0


class _Choice(msgspec.Struct, kw_only=True, gc=False):
    finish_reason: None = None


class _Delta(msgspec.Struct, gc=False):
    content: str


class _ChatChoice(_Choice, kw_only=True, gc=False):
    delta: _Delta


class _TextChoice(_Choice, kw_only=True, gc=False):
    text: str


class _Plain(msgspec.Struct, Generic[C], gc=False):
    """An event that says nothing but a piece of the answer."""

    choices: tuple[C]
    error: None = None
    usage: None = None


_plain_chat = msgspec.json.Decoder(_Plain[_ChatChoice]).decode
_plain_completion = msgspec.json.Decoder(_Plain[_TextChoice]).decode


class _OpenAI(WireProtocol):
    """What both protocols share: everything but where prompt and text stand."""

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a streaming request for at most `output_tokens` tokens."""
        return {
            "model": model,
            **self._prompt(prompt),
            "max_tokens": output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold an event's JSON into the outcome; raises if it isn't this protocol's."""
        choices, usage = said.get("choices"), said.get("usage")
        if said.get("error"):
            outcome.error = outcome.error or error_message(json.dumps(said).encode())
            return
        if usage:
            outcome.usage = _usage(usage) or outcome.usage
        if choices:
            choice = choices[0]
            self._judge(choice, stamp_ns, outcome)
            reason = choice.get("finish_reason")
            if not reason:
                return
            outcome.finish_reason = str(reason)[:40]
        elif choices is None and "usage" not in said:
            raise ValueError("neither choices nor usage")
        outcome.note(server_times_from_body(said))  # they stand at the end, if anywhere

    def _prompt(self, prompt: str) -> dict[str, Any]:
        raise NotImplementedError

    def _judge(self, choice: dict[str, Any], stamp_ns: int, outcome: Outcome) -> None:
        """Count a choice's chunk if it carries a token."""
        raise NotImplementedError


class Chat(_OpenAI):
    """POST {base}/chat/completions."""

    name = "chat"
    title = "OpenAI chat completions"
    path = "chat/completions"
    batch = "n"
    prompt_at: tuple[str | int, ...] = ("messages", 0, "content")

    def plain_text(self, event: bytes) -> str:
        """Return the text of an event that is nothing but a piece of the answer."""
        return _plain_chat(event).choices[0].delta.content

    def _prompt(self, prompt: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": prompt}]}

    def _judge(self, choice: dict[str, Any], stamp_ns: int, outcome: Outcome) -> None:
        delta = choice.get("delta") or {}
        output = delta.get("content") or delta.get("tool_calls") or delta.get("refusal")
        if output:
            outcome.token(stamp_ns, len(output) if type(output) is str else _chars(output))
        elif reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            outcome.token(stamp_ns, _chars(reasoning), output=False)


class Completions(_OpenAI):
    """POST {base}/completions."""

    name = "completions"
    title = "OpenAI completions"
    path = "completions"
    batch = "prompts"
    prompt_at: tuple[str | int, ...] = ("prompt",)

    def plain_text(self, event: bytes) -> str:
        """Return the text of an event that is nothing but a piece of the answer."""
        return _plain_completion(event).choices[0].text

    def _prompt(self, prompt: str) -> dict[str, Any]:
        return {"prompt": prompt}

    def _judge(self, choice: dict[str, Any], stamp_ns: int, outcome: Outcome) -> None:
        if text := choice.get("text"):
            outcome.token(stamp_ns, _chars(text))
