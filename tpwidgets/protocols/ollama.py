"""Ollama's own protocols: lines of JSON, the last of them with counts and durations."""

from typing import Any

import msgspec

from .base import WireProtocol
from .lines import LineParser
from .outcome import Outcome, Usage
from .server_times import server_times_from_body
from .values import chars, count


class _Plain(msgspec.Struct, kw_only=True, gc=False):
    """A line that says nothing but a piece of the answer."""

    done: bool
    error: None = None


class _Message(msgspec.Struct, gc=False):
    content: str


class _PlainChat(_Plain, kw_only=True, gc=False):
    message: _Message


class _PlainGenerate(_Plain, kw_only=True, gc=False):
    response: str


_plain_chat = msgspec.json.Decoder(_PlainChat).decode
_plain_generate = msgspec.json.Decoder(_PlainGenerate).decode


class _Ollama(WireProtocol):
    """What both protocols share: everything but where prompt and text stand."""

    version = ""
    models = "api/tags"
    parser = LineParser

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a streaming request for at most `output_tokens` tokens."""
        return {
            "model": model,
            **self._prompt(prompt),
            "options": {"num_predict": output_tokens},
            "stream": True,
        }

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold a line's JSON into the outcome; raises if it isn't this protocol's."""
        done = said["done"]
        output, thought = self._parts(said)
        if output:
            outcome.token(stamp_ns, chars(output))
        elif thought:
            outcome.token(stamp_ns, chars(thought), output=False)
        if done:
            outcome.usage = Usage(  # nothing tells what was cached, or how many were thoughts
                # one that was served from the cache is counted as 0, or not at all
                prompt_tokens=count(said, "prompt_eval_count") or None,
                output_tokens=count(said, "eval_count"),
            )
            outcome.note(server_times_from_body(said))
            outcome.finish(said.get("done_reason"))
            outcome.done = True

    def _prompt(self, prompt: str) -> dict[str, Any]:
        raise NotImplementedError

    def _parts(self, said: dict[str, Any]) -> tuple[Any, Any]:
        """Return a line's output and its thought."""
        raise NotImplementedError


class OllamaChat(_Ollama):
    """POST {base}/api/chat."""

    name = "ollama"
    title = "Ollama chat"
    path = "api/chat"
    prompt_at = "messages", 0, "content"

    def plain_text(self, event: bytes) -> str:
        """Return the text of a line that is nothing but a piece of the answer."""
        said = _plain_chat(event)
        return "" if said.done else said.message.content

    def _prompt(self, prompt: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": prompt}]}

    def _parts(self, said: dict[str, Any]) -> tuple[Any, Any]:
        message = said.get("message") or {}
        return message.get("content") or message.get("tool_calls"), message.get("thinking")


class OllamaGenerate(_Ollama):
    """POST {base}/api/generate."""

    name = "ollama-generate"
    title = "Ollama generate"
    path = "api/generate"
    prompt_at = ("prompt",)

    def plain_text(self, event: bytes) -> str:
        """Return the text of a line that is nothing but a piece of the answer."""
        said = _plain_generate(event)
        return "" if said.done else said.response

    def _prompt(self, prompt: str) -> dict[str, Any]:
        return {"prompt": prompt}

    def _parts(self, said: dict[str, Any]) -> tuple[Any, Any]:
        return said.get("response"), said.get("thinking")
