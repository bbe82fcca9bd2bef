"""What every wire protocol has to tell: how to ask, and what an event means."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from .outcome import Outcome
from .sse import EventParser

_SECRET_FROM = 6
"""Shorter header values are no secrets, and masking them would garble what a server says."""


class Parser(Protocol):
    """Cuts a response body, as it comes, into the events that a protocol reads."""

    dropped: bool
    """Whether something was too long to be kept."""

    def feed(self, chunk: bytes, stamp: int) -> list[tuple[bytes, int]]:
        """Take one read's bytes; return the ``(data, stamp)`` of each event it completed."""

    def finish(self, stamp: int) -> list[tuple[bytes, int]]:
        """End the body; return the event that its end cut off, if any."""


class WireProtocol:
    """One wire protocol: facts, a request body out, events in. Subclass it and set the facts."""

    name: str
    """What users call it: ``protocol="chat"``."""
    title: str
    """What a menu calls it."""
    path: str
    """Relative to the base URL, without a leading slash; ``{model}`` stands for the model."""
    prompt_at: tuple[str | int, ...]
    """Where in the body the prompt stands, as keys and indices from the outside in."""
    version = "/v1"
    """What its base URLs end in."""
    key_header = "Authorization", "Bearer {key}"
    """How the key travels: the header's name and value."""
    headers: Mapping[str, str] = {}
    """Headers that every request needs besides."""
    hosts: tuple[str, ...] = ()
    """Hosts that speak this protocol, and no other at such URLs."""
    parser: Callable[[], Parser] = EventParser
    streamed = True
    """Whether the answer comes in pieces: only then there is a time to first token."""
    batch: Literal["", "n", "prompts"] = ""
    """How one request asks for several items: by a number of choices, by a list of prompts, or
    not at all."""

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a request, streaming if it can be, for at most `output_tokens` tokens."""
        raise NotImplementedError

    def plain_text(self, event: bytes) -> str:  # noqa: ARG002
        """Return the text of an event that is nothing but a piece of the answer, as most are.

        A shortcut that does without what `read` looks for. Raises ValueError or RecursionError if
        the event may say more, and returns "" if that can't be told from the text alone.
        """
        return ""

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold an event's JSON into the outcome.

        Raises ValueError, LookupError, TypeError, AttributeError or RecursionError if it isn't
        this protocol's.
        """
        raise NotImplementedError


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
