"""The bytes of answers whose events have names: OpenAI Responses and Anthropic Messages."""

from typing import Any

from .http1 import LAST_CHUNK, chunk
from .physics import Request
from .wire import WORDS, dump


class _Events:
    """Everything that one answer puts on the wire; thoughts come first, if there are any."""

    end = LAST_CHUNK

    def __init__(self, *, request_id: str, model: str, created: int, reasoning: int = 0) -> None:
        self._id, self._model, self._created = request_id, model, created
        self._reasoning = reasoning

    def _text(self, since: int, until: int) -> str:
        return "".join(WORDS[index % len(WORDS)] for index in range(since, until))


def _event(kind: str, **said: Any) -> bytes:
    return chunk(b"event: %s\ndata: " % kind.encode() + dump({"type": kind, **said}) + b"\n\n")


class Responses(_Events):
    """An answer as vLLM writes it at /v1/responses."""

    def opening(self, request: Request) -> bytes:  # noqa: ARG002
        """Return what comes before the first token."""
        begun = {**self._base(), "status": "in_progress", "output": [], "usage": None}
        return b"".join((
            _event("response.created", response=begun),
            _event("response.in_progress", response=begun),
            _event("response.output_item.added", output_index=0, item=self._item()),
        ))  # fmt: skip

    def token(self, index: int) -> bytes:
        """Return the event with token number `index`."""
        kind = "reasoning_text" if index < self._reasoning else "output_text"
        delta = WORDS[index % len(WORDS)]
        return _event(f"response.{kind}.delta", item_id=f"msg_{self._id}", delta=delta)

    def finish(self) -> bytes:
        """Return what comes between the last token and the usage."""
        return _event("response.output_item.done", output_index=0, item=self._item())

    def usage(self, request: Request) -> bytes:
        """Return the event that ends the answer, with the usage."""
        return _event("response.incomplete", response=self.whole(request))

    def whole(self, request: Request) -> dict[str, Any]:
        """Return the answer to a request that doesn't stream."""
        text = self._text(self._reasoning, request.output_tokens)
        content = [{"type": "output_text", "text": text, "annotations": []}]
        return {
            **self._base(),
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{**self._item(), "status": "incomplete", "content": content}],
            "usage": {
                "input_tokens": request.prompt_tokens,
                "input_tokens_details": {"cached_tokens": request.cached_tokens},
                "output_tokens": request.output_tokens,
                "output_tokens_details": {"reasoning_tokens": self._reasoning},
                "total_tokens": request.kv_tokens,
            },
        }

    def _base(self) -> dict[str, Any]:
        return {
            "id": f"resp_{self._id}", "object": "response", "created_at": self._created,
            "model": self._model, "error": None, "incomplete_details": None,
        }  # fmt: skip

    def _item(self) -> dict[str, Any]:
        return {"id": f"msg_{self._id}", "type": "message", "role": "assistant", "content": []}


class Messages(_Events):
    """An answer as Anthropic's API writes it at /v1/messages."""

    def opening(self, request: Request) -> bytes:
        """Return what comes before the first token."""
        usage = {"input_tokens": request.prompt_tokens, "output_tokens": 1}
        begun = {**self._base(), "content": [], "stop_reason": None, "usage": usage}
        kind = "thinking" if self._reasoning else "text"
        return _event("message_start", message=begun) + self._block(0, kind)

    def token(self, index: int) -> bytes:
        """Return the events with token number `index`, the first of the text after thoughts."""
        kind = "thinking" if index < self._reasoning else "text"
        block = 1 if 0 < self._reasoning <= index else 0
        turn = self._stop(0) + self._block(1, "text") if block and index == self._reasoning else b""
        delta = {"type": f"{kind}_delta", kind: WORDS[index % len(WORDS)]}
        return turn + _event("content_block_delta", index=block, delta=delta)

    def finish(self) -> bytes:
        """Return what comes between the last token and the usage."""
        return self._stop(1 if self._reasoning else 0)

    def usage(self, request: Request) -> bytes:
        """Return the events that end the answer, with the usage."""
        said = {"stop_reason": "max_tokens", "stop_sequence": None}
        return _event("message_delta", delta=said, usage=_usage(request)) + _event("message_stop")

    def whole(self, request: Request) -> dict[str, Any]:
        """Return the answer to a request that doesn't stream."""
        content = [{"type": "text", "text": self._text(self._reasoning, request.output_tokens)}]
        if self._reasoning:
            thought = self._text(0, self._reasoning)
            content.insert(0, {"type": "thinking", "thinking": thought})
        said = {"content": content, "stop_reason": "max_tokens", "usage": _usage(request)}
        return {**self._base(), **said}

    def _base(self) -> dict[str, Any]:
        return {
            "id": f"msg_{self._id}", "type": "message", "role": "assistant", "model": self._model,
            "stop_sequence": None,
        }  # fmt: skip

    def _block(self, index: int, kind: str) -> bytes:
        return _event("content_block_start", index=index, content_block={"type": kind, kind: ""})

    def _stop(self, index: int) -> bytes:
        return _event("content_block_stop", index=index)


def _usage(request: Request) -> dict[str, int]:
    return {
        "input_tokens": request.prompt_tokens - request.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": request.cached_tokens,
        "output_tokens": request.output_tokens,
    }
