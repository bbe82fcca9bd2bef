"""One keep-alive HTTP/1.1 connection, plain or TLS, that stamps every read at the socket.

Where there is an `InlineSelector` we read with `recvmsg`, which brings the kernel's stamp; else
the stamp is taken in `data_received`, the first Python code that runs when bytes arrive.
"""

import asyncio
import socket
import ssl
import time
from typing import Any

import httptools

from .exchange import Exchange
from .limits import open_some_files
from .selector import Came, InlineSelector
from .stamps import ANCILLARY, Clock, ask_for_stamps, kernel_stamp
from .tls import Tls

_READ_SIZE = 16384
_NEXT_ADDRESS_S = 2.0
"""How long one of several addresses may take to connect before the next is tried."""
_BODILESS = 1024 * 1024
"""More bytes than this with none of the body among them are no answer: headers without an end, or
trailers, would fill the memory."""


class Connection:
    """A connection to one origin, used by one exchange at a time."""

    def __init__(self, clock: Clock, selector: InlineSelector | None = None) -> None:
        self._clock, self._selector = clock, selector
        self._loop = asyncio.get_running_loop()
        self._exchange: Exchange | None = None
        self._parser: Any = None
        self._stamp = self._bodiless = 0
        self._sock: socket.socket | None = None
        self._tls: Tls | None = None
        self._unsent = memoryview(b"")
        self._blocked = False
        self._transport: asyncio.Transport | None = None
        self._opening: tuple[int, int, int, int | None] | None = None
        self.open = False

    # -- opening -------------------------------------------------------------------------------

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Open the connection; raises OSError (ssl.SSLError is one) as the system says it."""
        begun = time.perf_counter_ns()
        try:
            addresses = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            open_some_files()  # what it says of a lack of files is not to be relied on
            raise
        resolved = time.perf_counter_ns()
        sock = await self._any_of(addresses, host)
        connected = time.perf_counter_ns()
        secured = None
        try:
            if tls is not None:
                self._tls = Tls(tls, host)
                await self._tls.handshake(sock)
                secured = time.perf_counter_ns() - connected
            await self._listen(sock)
        except BaseException:
            sock.close()
            raise
        took = time.perf_counter_ns() - begun
        self._opening = (took, resolved - begun, connected - resolved, secured)
        self.open = True

    async def _any_of(self, addresses: list[Any], host: str) -> socket.socket:
        error: OSError | None = None
        for left, (family, kind, proto, _, address) in reversed([*enumerate(reversed(addresses))]):
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # a dead address (IPv6 that leads nowhere) must not use up the time of the next
                async with asyncio.timeout(_NEXT_ADDRESS_S if left else None):
                    await self._loop.sock_connect(sock, address)
            except OSError as failed:  # TimeoutError is one
                sock.close()
                error = failed
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise error or OSError(f"no address for {host}")

    async def _listen(self, sock: socket.socket) -> None:
        if self._selector is None:
            self._transport, _ = await self._loop.create_connection(lambda: _Bytes(self), sock=sock)
            return
        ask_for_stamps(sock)
        self._sock = sock
        self._selector.watch(sock.fileno(), self._readable, self._writable)

    def close(self) -> None:
        """Close at once; an exchange that is under way is abandoned."""
        self.open = False
        self._exchange = None
        self._unsent = memoryview(b"")
        if self._sock is not None:
            assert self._selector is not None  # noqa: S101
            self._selector.unwatch(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # -- bytes out -----------------------------------------------------------------------------

    def start(self, exchange: Exchange, request: bytes) -> None:
        """Hand a request to the socket and stamp it."""
        self._exchange = exchange
        self._parser = httptools.HttpResponseParser(self)
        self._bodiless = 0
        exchange.reused = self._opening is None
        if self._opening is not None:
            exchange.connect_ns, exchange.dns_ns, exchange.tcp_ns, exchange.tls_ns = self._opening
            self._opening = None
        if self._tls is not None:
            request = self._tls.encrypt(request)
        exchange.stamp = "socket" if self._selector is None else "kernel"
        exchange.sent_ns = exchange.last_ns = time.perf_counter_ns()
        self._send(request)

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
            self._written()
            return
        self._unsent = memoryview(bytes(self._unsent) + data if self._unsent else data)
        if not self._blocked:
            self._writable()

    def _writable(self) -> None:
        """Send what the socket takes; ask to be called again for the rest."""
        assert self._sock is not None and self._selector is not None  # noqa: S101, PT018
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # The server hung up amid the request. What it said before that (413, say) is still
            # there to be read, and after it the end: the reading side tells.
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._written()
        if bool(self._unsent) != self._blocked:
            self._blocked = not self._blocked
            self._selector.want_write(self._sock.fileno(), self._blocked)

    def _written(self) -> None:
        if self._exchange is not None and not self._exchange.written_ns:
            self._exchange.written_ns = time.perf_counter_ns()

    # -- bytes in ------------------------------------------------------------------------------

    def _readable(self) -> Came | None:
        assert self._sock is not None  # noqa: S101
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ_SIZE, ANCILLARY)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self.lost(error)
            return None
        now = time.perf_counter_ns()
        exchange = self._exchange
        if exchange is None or not data:
            return self.received, data, now
        stamp = kernel_stamp(ancillary)
        if stamp is None:
            exchange.stamp = "socket"
            stamp = now
        else:
            stamp -= self._clock.offset_ns
            # a clock that was set under us must not date a byte before the last one or after now
            if not exchange.last_ns <= stamp <= now:
                stamp = now
        if now - stamp > exchange.late_ns:
            exchange.late_ns = now - stamp
        return self.received, data, stamp

    def received(self, data: bytes, stamp: int) -> None:
        """Take what a read brought; no bytes mean that the server closed."""
        if not data:
            self.lost(None)
            return
        exchange = self._exchange
        if self._tls is not None:
            try:
                data = self._tls.decrypt(data)
            except ssl.SSLError as error:
                self.lost(error)
                return
            if owed := self._tls.owed():
                self._send(owed)
        if data:
            if exchange is None:  # bytes between two requests: nothing of ours
                self.close()
                return
            exchange.answered = True
            exchange.last_ns = self._stamp = stamp
            self._bodiless += len(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                self.lost(ValueError(f"not HTTP/1.1: {error}"))
            if self._bodiless > _BODILESS:
                self.lost(ValueError("headers without an end"))
        if self._tls is not None and self._tls.ended and self.open:
            self.lost(None)

    def lost(self, error: Exception | None) -> None:
        """Take the connection's end: that of the body, or the failure of the exchange under way."""
        exchange = self._exchange
        if exchange is not None:
            if error is None and not _ends_with_the_connection(exchange):
                error = ConnectionResetError("the server closed the connection")
            exchange.end(error)
        self.close()

    # -- httptools' callbacks ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Take the first byte of an answer; after an answer, it's nothing of ours."""
        if self._exchange is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if self._exchange is not None:
            self._exchange.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Keep the status; what is only a hint of an answer to come is forgotten."""
        exchange = self._exchange
        if exchange is not None:
            exchange.status = self._parser.get_status_code()
            exchange.headers_ns = self._stamp
            if exchange.status < 200:
                exchange.headers.clear()  # 100 Continue and the like

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body with its read's stamp."""
        self._bodiless = 0
        exchange = self._exchange
        # its `take`, but for the stamp that it has: a call less for every token
        if exchange is not None and not (exchange.on_body and exchange.on_body(exchange, body)):
            exchange.body.append(body)

    def on_message_complete(self) -> None:
        """End the exchange; keep the connection if the server does."""
        exchange = self._exchange
        if exchange is None or exchange.status < 200:
            return
        self._exchange = None
        # an answer that came before its request was sent whole leaves a connection out of step
        if not self._parser.should_keep_alive() or self._unsent:
            self.close()
        exchange.end()


def _ends_with_the_connection(exchange: Exchange) -> bool:
    """Tell whether the end of the connection is the regular end of the body (RFC 9112 6.3)."""
    return exchange.status >= 200 and not any(
        name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower())
        for name, value in exchange.headers
    )


class _Bytes(asyncio.Protocol):
    """The socket's side where the kernel does not stamp."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def data_received(self, data: bytes) -> None:
        self._connection.received(data, time.perf_counter_ns())

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lost(exc)
