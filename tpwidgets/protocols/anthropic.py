"""Anthropic's Messages protocol, which vLLM, llama.cpp and LiteLLM speak too."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .base import WireProtocol
from .outcome import Outcome, Usage
from .values import chars, count


class _TextDelta(msgspec.Struct, gc=False):
    type: Literal["text_delta"]
    text: str


class _Plain(msgspec.Struct, gc=False):
    """An event that says nothing but a piece of the answer."""

    type: Literal["content_block_delta"]
    delta: _TextDelta
    error: None = None


_plain = msgspec.json.Decoder(_Plain).decode


class Anthropic(WireProtocol):
    """POST {base}/messages."""

    name = "anthropic"
    title = "Anthropic Messages"
    path = "messages"
    prompt_at = "messages", 0, "content"
    key_header = "x-api-key", "{key}"
    headers: Mapping[str, str] = {"anthropic-version": "2023-06-01"}
    hosts = ("api.anthropic.com",)

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a streaming request for at most `output_tokens` tokens."""
        return {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": output_tokens,
            "stream": True,
        }

    def plain_text(self, event: bytes) -> str:
        """Return the text of an event that is nothing but a piece of the answer."""
        return _plain(event).delta.text

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold an event's JSON into the outcome; new kinds of event are passed over."""
        match said["type"]:
            case "content_block_delta":
                delta = said["delta"]
                if output := delta.get("text") or delta.get("partial_json"):
                    outcome.token(stamp_ns, chars(output))
                elif thought := delta.get("thinking"):
                    outcome.token(stamp_ns, chars(thought), output=False)
            case "content_block_start":
                block = said["content_block"]
                if output := block.get("name") or block.get("text"):  # of the tool it calls
                    outcome.token(stamp_ns, chars(output))
            case "message_start":
                # its output_tokens are a beginning that differs from server to server
                _note_prompt(said["message"].get("usage"), outcome.usage)
            case "message_delta":
                usage = said.get("usage")
                _note_prompt(usage, outcome.usage)
                if output_tokens := count(usage, "output_tokens"):
                    known = outcome.usage.output_tokens or 0
                    outcome.usage.output_tokens = max(output_tokens, known)
                outcome.finish(said["delta"].get("stop_reason"))
            case "message_stop":
                outcome.done = True
            case "error":
                outcome.fail(said)


def _note_prompt(said: Any, known: Usage) -> None:
    """Take over the prompt's tokens: the input's, and those that the cache gave or took.

    Counts are cumulative, and a later event may leave out what an earlier one told. Anthropic sends
    0 where the cache gave nothing; other servers leave the count out, which says nothing.
    """
    cached = count(said, "cache_read_input_tokens")
    parts = count(said, "input_tokens"), cached, count(said, "cache_creation_input_tokens")
    prompt = sum(part or 0 for part in parts)
    known.prompt_tokens = max(prompt, known.prompt_tokens or 0) or None
    if cached is not None:
        known.cached_tokens = max(cached, known.cached_tokens or 0)
