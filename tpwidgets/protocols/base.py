"""What every wire protocol has to tell: how to ask, and what an event means."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from .outcome import Outcome
from .sse import EventParser


class Parser(Protocol):
    """Cuts a response body, as it comes, into the events that a protocol reads."""

    @property
    def dropped(self) -> bool:
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
    models = "models"
    """Where the list of models stands, relative to the base URL."""
    key_header = "Authorization", "Bearer {key}"
    """How the key travels: the header's name and value."""
    headers: Mapping[str, str] = {}
    """Headers that every request needs besides."""
    hosts: tuple[str, ...] = ()
    """Hosts that speak this protocol, and no other at such URLs."""
    parser: Callable[[], Parser] = EventParser
    """What cuts a body into events."""
    decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode
    """What makes an event's JSON of its bytes; raises ValueError."""
    streamed = True
    """Whether the answer comes in pieces: only then there is a time to first token."""
    batch: Literal["", "n", "prompts"] = ""
    """How one request asks for several items: by a number of choices, by a list of prompts, or
    not at all."""

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:
        """Return a request, streaming if it can be, for at most `output_tokens` tokens."""
        raise NotImplementedError

    def forced(self, output_tokens: int) -> dict[str, Any]:  # noqa: ARG002
        """Return fields that have servers of one's own go on until so many tokens are made."""
        return {}

    def plain_text(self, event: bytes) -> str:  # noqa: ARG002
        """Return the text of an event that is nothing but a piece of the answer, as most are.

        A shortcut that does without what `read` looks for. Raises ValueError or RecursionError if
        the event may say more, and returns "" if that can't be told from the text alone.
        """
        return ""

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        """Fold an event's JSON into the outcome; one with an ``error`` is none of its business.

        Raises ValueError, LookupError, TypeError, AttributeError or RecursionError if it isn't
        this protocol's.
        """
        raise NotImplementedError
