"""One small file per wire protocol: a request body out, token events in.

A new protocol is a file with a subclass of `base.WireProtocol` and a row in `_ALL`.
"""

from .anthropic import Anthropic
from .base import WireProtocol
from .embeddings import Embeddings
from .errors import error_message
from .gemini import Gemini
from .ollama import OllamaChat, OllamaGenerate
from .openai import Chat, Completions
from .outcome import Outcome, Usage
from .reader import StreamReader
from .responses import Responses
from .server_times import ServerTimes, server_times_from_headers
from .sse import EventParser

_ALL = (
    *(Chat(), Completions(), Responses(), Anthropic(), Gemini()),
    *(OllamaChat(), OllamaGenerate(), Embeddings()),
)
PROTOCOLS: dict[str, WireProtocol] = {protocol.name: protocol for protocol in _ALL}

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
]
