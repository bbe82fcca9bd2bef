"""One small file per wire protocol: a request body out, token events in.

A new protocol is a class with the members of `base.WireProtocol` and a row in `PROTOCOLS`.
"""

from .base import Delta, Usage, WireProtocol, error_message, without_secrets
from .openai import Chat, Completions
from .reader import Outcome, StreamReader
from .sse import EventParser

PROTOCOLS: dict[str, WireProtocol] = {p.name: p for p in (Chat(), Completions())}

__all__ = [
    "PROTOCOLS",
    "Delta",
    "EventParser",
    "Outcome",
    "StreamReader",
    "Usage",
    "WireProtocol",
    "error_message",
    "without_secrets",
]
