"""The bytes of an answer: OpenAI chat completions and completions, as vLLM writes them."""

import json
from typing import Any, Protocol

from .http1 import LAST_CHUNK, chunk
from .physics import Request

# Some words are not ASCII, so that a client that miscounts bytes and characters shows it.
_TEXT = (
    "the throughput of a server grows with every request that joins the batch until memory or"
    " compute is full — then each new user waits a little longer naïve readers see one number"
    " and careful ones see a curve : tokens per second against latency , 例え and café , 🚀 ."
)
WORDS = [f" {word}" for word in _TEXT.split(" ")]
_ENCODED = [json.dumps(word, ensure_ascii=False).encode() for word in WORDS]
_SLOT = "\x00"


class Written(Protocol):
    """What one answer puts on the wire."""

    end: bytes
    """What comes after all else."""

    def opening(self, request: Request) -> bytes:
        """Return what comes before the first token."""

    def token(self, index: int) -> bytes:
        """Return what comes with token number `index`."""

    def finish(self) -> bytes:
        """Return what comes after the last token."""

    def usage(self, request: Request) -> bytes:
        """Return what tells the counts."""

    def whole(self, request: Request) -> dict[str, Any]:
        """Return the answer to a request that doesn't stream."""


class Answer:
    """Everything that one answer puts on the wire; only the tokens' text varies.

    Parameters
    ----------
    chat : bool
        Chat completions, or completions.
    request_id : str
        Becomes part of the answer's id, as in vLLM.
    model : str
        The model's name.
    created : int
        Unix time.
    reasoning : int
        How many of the tokens are reasoning; they come first.
    """

    end = chunk(b"data: [DONE]\n\n") + LAST_CHUNK

    def __init__(
        self, *, chat: bool, request_id: str, model: str, created: int, reasoning: int = 0
    ) -> None:
        self._chat = chat
        self._reasoning = reasoning
        self._base = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{request_id}",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": created,
            "model": model,
        }
        self._content = self._frame(_SLOT)
        self._thought = self._frame(_SLOT, "reasoning_content") if reasoning else self._content

    def opening(self, request: Request) -> bytes:  # noqa: ARG002
        """Return the role chunk (nothing for completions)."""
        if not self._chat:
            return b""
        return self._event(choices=[self._choice({"role": "assistant", "content": ""})])

    def token(self, index: int) -> bytes:
        """Return the chunk with token number `index`."""
        before, after = self._thought if index < self._reasoning else self._content
        return chunk(b"".join((before, _ENCODED[index % len(_ENCODED)], after)))

    def finish(self) -> bytes:
        """Return the chunk that says why the answer ended."""
        return self._event(choices=[self._choice({} if self._chat else "", "length")])

    def usage(self, request: Request) -> bytes:
        """Return the chunk with the usage."""
        return self._event(choices=[], usage=self._usage(request))

    def whole(self, request: Request) -> dict[str, Any]:
        """Return the answer to a request that doesn't stream."""
        usage = self._usage(request)
        texts = [WORDS[index % len(WORDS)] for index in range(request.output_tokens)]
        text = "".join(texts[self._reasoning :])
        if not self._chat:
            return self._base | {"choices": [self._choice(text, "length")], "usage": usage}
        message = {"role": "assistant", "content": text}
        if self._reasoning:
            message["reasoning_content"] = "".join(texts[: self._reasoning])
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
        return self._base | {"object": "chat.completion", "choices": [choice], "usage": usage}

    def _usage(self, request: Request) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "prompt_tokens": request.prompt_tokens,
            "total_tokens": request.kv_tokens,
            "completion_tokens": request.output_tokens,
            "prompt_tokens_details": {"cached_tokens": request.cached_tokens},
        }
        if self._reasoning:
            usage["completion_tokens_details"] = {"reasoning_tokens": self._reasoning}
        return usage

    def _choice(self, delta: dict[str, str] | str, finish: str | None = None) -> dict[str, Any]:
        key = "delta" if self._chat else "text"
        return {"index": 0, key: delta, "logprobs": None, "finish_reason": finish}

    def _frame(self, text: str, key: str = "content") -> tuple[bytes, bytes]:
        """Return what stands around the text in an event."""
        event = dump(self._base | {"choices": [self._choice({key: text} if self._chat else text)]})
        before, _, after = event.rpartition(json.dumps(_SLOT).encode())
        return b"data: " + before, after + b"\n\n"

    def _event(self, **rest: Any) -> bytes:
        return chunk(b"data: " + dump(self._base | rest) + b"\n\n")


def dump(value: Any) -> bytes:
    """Return a value as the JSON that servers write."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
