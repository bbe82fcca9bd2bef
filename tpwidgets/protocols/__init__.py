"""One small file per wire protocol: a request body out, token events in.

A new protocol is a subclass of `base.WireProtocol` and a row in `PROTOCOLS`.
"""

from .base import WireProtocol, error_message, without_secrets
from .openai import Chat, Completions
from .outcome import Outcome, Usage
from .reader import StreamReader
from .server_times import ServerTimes, server_times_from_headers
from .sse import EventParser

PROTOCOLS: dict[str, WireProtocol] = {p.name: p for p in (Chat(), Completions())}

__all__ = [
    "PROTOCOLS",
    "EventParser",
    "Outcome",
    "ServerTimes",
    "StreamReader",
    "Usage",
    "WireProtocol",
    "error_message",
    "server_times_from_headers",
    "without_secrets",
]
