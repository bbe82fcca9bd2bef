"""What every wire protocol has to tell: how to ask, and what an event means."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from .outcome import Outcome

_SECRET_FROM = 6
"""Shorter header values are no secrets, and masking them would garble what a server says."""


class WireProtocol(Protocol):
    """One wire protocol: a request body out, events in."""

    name: str
    path: str
    """Relative to the base URL, without a leading slash."""
    prompt_at: tuple[str | int, ...]
    """Where in the body the prompt stands, as keys and indices from the outside in."""

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a streaming request for at most `output_tokens` tokens."""

    def plain_text(self, event: bytes) -> str:
        """Return the text of an event that is nothing but a piece of the answer, as most are.

        A shortcut that does without what `read` looks for. Raises ValueError or RecursionError if
        the event may say more, and returns "" if that can't be told from the text alone.
        """

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold an event's JSON into the outcome.

        Raises ValueError, LookupError, TypeError, AttributeError or RecursionError if it isn't
        this protocol's.
        """


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


def without_secrets(text: str, headers: Mapping[str, str]) -> str:
    """Mask what our headers carried: a server may echo a key in what it says about it."""
    for value in headers.values():
        for secret in (value, value.partition(" ")[2]):
            if len(secret) >= _SECRET_FROM:
                text = text.replace(secret, "•••")
    return text


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
