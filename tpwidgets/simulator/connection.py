"""One client's connection."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from . import http1
from .http1 import Headers, Message, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

_LINGER_S = 2.0


class Connection(asyncio.Protocol):
    """Serves one request after the other, kept alive.

    asyncio sets TCP_NODELAY, and a write goes to the socket at once while nothing is pending.

    Parameters
    ----------
    handle : callable
        Answers a request, now or later, and then calls `done`.
    connections : set of Connection
        Where it enters itself while it is open.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        handle: "Callable[[Connection, Message], None]",
        connections: "set[Connection]",
    ) -> None:
        self._handle = handle
        self._connections = connections
        self._reader = http1.Reader()
        self._busy = False
        self._keep = True
        self._refused = False
        self.on_lost: Callable[[], None] | None = None
        """Called if the client leaves before its answer is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell whoever is answering."""
        self._connections.discard(self)
        if self.on_lost:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._refused:
            return
        self._reader.feed(data)
        if not self._busy:
            self._advance()
        elif self._reader.size > http1.MAX_BODY:
            self.transport.abort()

    def write(self, data: bytes) -> None:
        """Write at once."""
        self.transport.write(data)

    def start(self, headers: Headers) -> None:
        """Begin an answer that streams."""
        framing = [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("transfer-encoding", "chunked"),
        ]
        self.write(http1.head(200, [*self._persistence(), *headers, *framing]))

    def respond(self, status: int, body: Any, headers: Headers = ()) -> None:
        """Answer in one piece."""
        self.write(http1.response(status, body, [*self._persistence(), *headers]))
        self.done()

    def refuse(self, refusal: Refusal, headers: Headers = ()) -> None:
        """Answer with an error."""
        self._refused = refusal.close
        self._keep = self._keep and not refusal.close
        self.respond(refusal.status, refusal.body, [*headers, *refusal.headers])

    def done(self) -> None:
        """Go on to the next request, now that the answer is written."""
        self.on_lost = None
        self._busy = False
        loop = asyncio.get_running_loop()
        if self._refused:
            # Closing with unread input would reset the connection, and the client might never
            # see why: let it finish first.
            self.transport.write_eof()
            loop.call_later(_LINGER_S, self.transport.close)
        elif self._keep:
            loop.call_soon(self._resume)
        else:
            self.transport.close()

    def _persistence(self) -> Headers:
        return () if self._keep else [("connection", "close")]

    def _resume(self) -> None:
        if not self._busy and not self.transport.is_closing():
            self._advance()

    def _advance(self) -> None:
        try:
            message = self._reader.next()
        except Refusal as refusal:
            self.refuse(refusal)
            return
        if message is not None:
            self._busy = True
            self._keep = message.keep_alive
            self._handle(self, message)
        elif self._reader.expects_continue:
            self._reader.expects_continue = False
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
