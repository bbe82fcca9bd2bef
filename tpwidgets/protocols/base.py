"""What every wire protocol has to tell: how to ask, and what an event means."""

import json
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(slots=True)
class Usage:
    """The server's own token counts."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(slots=True)
class Delta:
    """What one event said."""

    token: bool = False
    """It carried content, reasoning or a tool call, so it counts for TTFT."""
    output: bool = False
    """What it carried was not reasoning."""
    usage: Usage | None = None
    finish_reason: str | None = None
    error: str | None = None
    done: bool = False


class WireProtocol(Protocol):
    """One wire protocol: a request body out, events in."""

    name: str
    path: str
    """Relative to the base URL, without a leading slash."""
    prompt_at: tuple[str | int, ...]
    """Where in the body the prompt stands, as keys and indices from the outside in."""

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a streaming request for at most `output_tokens` tokens."""

    def read(self, event: bytes) -> Delta:
        """Say what an event's data means; raises ValueError if it isn't this protocol's."""


def error_message(body: bytes, limit: int = 300) -> str:
    """Return what an error body says, in one short line, whatever its form (JSON, text, HTML)."""
    text = body[:100_000].decode("utf-8", "replace").strip().removeprefix("data:").strip()
    try:
        found = _dig(json.loads(text))
    except (ValueError, RecursionError):
        if text[:1] == "<":
            return "an HTML page, not an API's answer"
    else:
        text = found if found is not None else text
    text = " ".join(text.encode("utf-8", "replace").decode().split())  # JSON may hold half a pair
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _dig(said: Any) -> str | None:
    """Find the sentence in the usual places: error.message, message, detail, error."""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return _dig(said[0]) if said else None
    if isinstance(said, dict):
        for key in ("error", "message", "detail", "msg"):
            if said.get(key):
                return _dig(said[key])
    return None
