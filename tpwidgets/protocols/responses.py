"""The OpenAI Responses protocol, which vLLM, llama.cpp and transformers serve too."""

from typing import Any, Literal

import msgspec

from .base import WireProtocol
from .openai import usage_of
from .outcome import Outcome
from .server_times import server_times_from_body
from .values import chars

_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


class _Plain(msgspec.Struct, gc=False):
    """An event that says nothing but a piece of the answer."""

    type: Literal["response.output_text.delta"]
    delta: str
    error: None = None


_plain = msgspec.json.Decoder(_Plain).decode


class Responses(WireProtocol):
    """POST {base}/responses. Events are told apart by their `type`: their names may be missing."""

    name = "responses"
    title = "OpenAI Responses"
    path = "responses"
    prompt_at = ("input",)

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a streaming request for at most `output_tokens` tokens."""
        return {
            "model": model,
            "input": prompt,
            "max_output_tokens": output_tokens,
            "stream": True,
        }

    def plain_text(self, event: bytes) -> str:
        """Return the text of an event that is nothing but a piece of the answer."""
        return _plain(event).delta

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold an event's JSON into the outcome; new kinds of event are passed over."""
        kind = said["type"]
        if kind.endswith(".delta"):  # of text, a refusal, a tool call's arguments, reasoning
            if delta := said.get("delta"):
                outcome.token(stamp_ns, chars(delta), output="reasoning" not in kind)
        elif kind == "response.output_item.added":
            if name := said["item"].get("name"):  # of the tool it calls
                outcome.token(stamp_ns, chars(name))
        elif kind == "error":
            outcome.fail(said)
        elif kind in _ENDS:
            response = said["response"]
            outcome.done = True
            outcome.usage = usage_of(response.get("usage"), "input", "output") or outcome.usage
            outcome.note(server_times_from_body(said))
            outcome.note(server_times_from_body(response))  # vLLM
            if kind == "response.failed" or response.get("error"):
                outcome.fail(response.get("error") or "the server says that it failed")
            outcome.finish(response.get("status"))
            outcome.finish((response.get("incomplete_details") or {}).get("reason"))
