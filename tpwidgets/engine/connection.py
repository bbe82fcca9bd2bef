"""One keep-alive HTTP/1.1 connection that stamps every read at the socket.

On Linux the stamp is the kernel's own receive time (SO_TIMESTAMPNS, read with `recvmsg`), so it
does not matter how late the process gets to read. Elsewhere it is taken in `data_received`, the
first Python code that runs when bytes arrive.
"""

import asyncio
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_READ_SIZE = 65536
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0

KERNEL_STAMPS = sys.platform == "linux" and struct.calcsize("l") == 8
"""Whether arrivals are stamped by the kernel here (64-bit Linux)."""


class Clock:
    """The offset between the kernel's CLOCK_REALTIME stamps and our monotonic clock.

    It is measured anew all through a run, since the system's clock may be stepped or slewed;
    `drift_ns` is how far it moved between the last two measurements, which bounds the error that
    stamps in between can have.
    """

    def __init__(self) -> None:
        self.offset_ns = 0
        self.drift_ns = 0
        self.measure()
        self.drift_ns = 0

    def measure(self) -> None:
        """Measure the offset: the tightest of a few brackets, to within a fraction of a µs."""
        best, offset = sys.maxsize, 0
        for _ in range(5):
            before = time.perf_counter_ns()
            wall = time.time_ns()
            after = time.perf_counter_ns()
            if after - before < best:
                best, offset = after - before, wall - (before + after) // 2
        self.drift_ns = abs(offset - self.offset_ns)
        self.offset_ns = offset


class Exchange:
    """One request and its response, as they pass over a connection."""

    __slots__ = (
        "_waiter", "complete", "connect_ns", "error", "headers", "headers_ns", "last_ns", "on_body",
        "reads", "received", "reused", "sent_ns", "stamp", "status",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.reads: list[tuple[bytes, int]] = []
        """Body bytes and the stamp (ns, monotonic) of the read they came in."""
        self.on_body: Callable[[Exchange], None] | None = None
        self.sent_ns = self.headers_ns = self.last_ns = 0
        self.connect_ns: int | None = None
        self.reused = False
        self.received = False
        self.complete = False
        self.error: Exception | None = None
        self.stamp = "kernel" if KERNEL_STAMPS else "socket"
        self._waiter: asyncio.Future[None] | None = loop.create_future()

    def wake(self) -> None:
        """Wake whoever waits: the headers are there, the body is complete, or it failed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for the next `wake`; raise the failure, if it failed."""
        if self._waiter is not None:
            await self._waiter
        self._waiter = None if self.complete else asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error


class Connection:
    """A connection to one origin, used by one exchange at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._exchange: Exchange | None = None
        self._parser: Any = None
        self._stamp = 0
        self._sock: socket.socket | None = None
        self._transport: asyncio.Transport | None = None
        self.open = False
        self.used = False

    async def connect(self, host: str, port: int) -> None:
        """Open the connection; raises OSError as the system says it."""
        if not KERNEL_STAMPS:
            self._transport, _ = await self._loop.create_connection(
                lambda: _Bytes(self), host, port
            )
            self.open = True
            return
        error: OSError | None = None
        for family, kind, proto, _, address in await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                await self._loop.sock_connect(sock, address)
            except OSError as failed:
                sock.close()
                error = failed
                continue
            except BaseException:
                sock.close()
                raise
            self._sock = sock
            self._loop.add_reader(sock.fileno(), self._readable)
            self.open = True
            return
        raise error or OSError(f"no address for {host}")

    def start(self, exchange: Exchange, request: bytes) -> None:
        """Hand a request to the socket and stamp it."""
        self._exchange = exchange
        self._parser = httptools.HttpResponseParser(self)
        exchange.reused, self.used = self.used, True
        exchange.sent_ns = exchange.last_ns = time.perf_counter_ns()
        if self._transport is not None:
            self._transport.write(request)
            return
        assert self._sock is not None  # noqa: S101
        try:
            sent = self._sock.send(request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lost(error)
            return
        if sent < len(request):
            task = self._loop.create_task(self._send_rest(self._sock, request[sent:]))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _send_rest(self, sock: socket.socket, rest: bytes) -> None:
        try:
            await self._loop.sock_sendall(sock, rest)
        except OSError as error:
            self.lost(error)

    def close(self) -> None:
        """Close at once; an exchange that is under way is abandoned."""
        self.open = False
        self._exchange = None
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # -- bytes in ------------------------------------------------------------------------------

    def _readable(self) -> None:
        assert self._sock is not None  # noqa: S101
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ_SIZE, _ANCILLARY)
        except BlockingIOError:
            return
        except OSError as error:
            self.lost(error)
            return
        now = time.perf_counter_ns()
        stamp = now
        for _, kind, value in ancillary:
            if kind == _SO_TIMESTAMPNS and len(value) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                stamp = seconds * 1_000_000_000 + nanoseconds - self._clock.offset_ns
        # a clock that was stepped under us must not date a token before its request or ahead of now
        earliest = self._exchange.sent_ns if self._exchange is not None else stamp
        self.received(data, stamp if earliest <= stamp <= now else now)

    def received(self, data: bytes, stamp: int) -> None:
        """Take what a read brought; no bytes mean that the server closed."""
        exchange = self._exchange
        if not data:
            self.lost(None)
            return
        if exchange is None:  # bytes between two requests: nothing of ours
            self.close()
            return
        exchange.received = True
        exchange.last_ns = self._stamp = stamp
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.lost(ValueError(f"not HTTP/1.1: {error}"))
            return
        if exchange.on_body is not None and not exchange.complete:
            exchange.on_body(exchange)

    def lost(self, error: Exception | None) -> None:
        """Take the connection's end: that of the body, or the failure of the exchange under way."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.complete:
            until_close = exchange.status and not any(
                name in (b"content-length", b"transfer-encoding") for name, _ in exchange.headers
            )
            exchange.complete = True
            if error is not None or not until_close:
                exchange.error = error or ConnectionResetError("the server closed the connection")
            exchange.wake()
        self.close()

    # -- httptools' callbacks ------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if self._exchange is not None:
            self._exchange.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Let the reader of the response start."""
        exchange = self._exchange
        if exchange is not None:
            exchange.status = self._parser.get_status_code()
            exchange.headers_ns = self._stamp
            if exchange.status >= 200:
                exchange.wake()
            else:
                exchange.headers.clear()  # 100 Continue and the like

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body with its read's stamp."""
        if self._exchange is not None:
            self._exchange.reads.append((body, self._stamp))

    def on_message_complete(self) -> None:
        """End the exchange; keep the connection if the server does."""
        exchange = self._exchange
        if exchange is None or exchange.status < 200:
            return
        self._exchange = None
        exchange.complete = True
        if not self._parser.should_keep_alive():
            self.close()
        exchange.wake()


class _Bytes(asyncio.Protocol):
    """The socket's side where the kernel does not stamp."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def data_received(self, data: bytes) -> None:
        self._connection.received(data, time.perf_counter_ns())

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lost(exc)
