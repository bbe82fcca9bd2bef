"""The OpenAI chat-completions and completions protocols, as the many servers that speak them do."""

import json
from typing import Any

from .base import Delta, Usage, error_message


def _usage(said: dict[str, Any]) -> Usage | None:
    """Read a usage object; zeros in both counts mean that the server did not count."""
    prompt, output = _count(said, "prompt_tokens"), _count(said, "completion_tokens")
    if not prompt and not output:
        return None
    return Usage(
        prompt_tokens=prompt,
        output_tokens=output,
        cached_tokens=_count(said.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(said.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(said: Any, name: str) -> int | None:
    """Return a count if it is one: the metrics calculate with it."""
    value = said.get(name) if isinstance(said, dict) else None
    return value if type(value) is int and value >= 0 else None


def _read(event: bytes, judge: Any) -> Delta:
    if event.strip() == b"[DONE]":
        return Delta(done=True)
    said = json.loads(event)
    if not isinstance(said, dict):
        raise ValueError("not an object")
    if said.get("error"):
        return Delta(error=error_message(event))
    delta = Delta()
    if said.get("usage"):
        delta.usage = _usage(said["usage"])
    choices = said.get("choices")
    if choices:
        reason = choices[0].get("finish_reason")
        delta.finish_reason = str(reason)[:40] if reason else None
        delta.token, delta.output = judge(choices[0])
    elif choices is None and "usage" not in said:
        raise ValueError("neither choices nor usage")
    return delta


class _OpenAI:
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

    def read(self, event: bytes) -> Delta:
        """Say what an event's data means; raises ValueError if it isn't this protocol's."""
        return _read(event, self._judge)

    def _prompt(self, prompt: str) -> dict[str, Any]:
        raise NotImplementedError

    def _judge(self, choice: dict[str, Any]) -> tuple[bool, bool]:
        """Tell whether a choice carries a token, and whether that is output, not reasoning."""
        raise NotImplementedError


class Chat(_OpenAI):
    """POST {base}/chat/completions."""

    name = "chat"
    path = "chat/completions"
    prompt_at: tuple[str | int, ...] = ("messages", 0, "content")

    def _prompt(self, prompt: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": prompt}]}

    def _judge(self, choice: dict[str, Any]) -> tuple[bool, bool]:
        delta = choice.get("delta") or {}
        output = any(delta.get(key) for key in ("content", "tool_calls", "refusal"))
        return output or bool(delta.get("reasoning_content") or delta.get("reasoning")), output


class Completions(_OpenAI):
    """POST {base}/completions."""

    name = "completions"
    path = "completions"
    prompt_at: tuple[str | int, ...] = ("prompt",)

    def _prompt(self, prompt: str) -> dict[str, Any]:
        return {"prompt": prompt}

    def _judge(self, choice: dict[str, Any]) -> tuple[bool, bool]:
        token = bool(choice.get("text"))
        return token, token
