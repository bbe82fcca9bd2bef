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
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_READ_SIZE = 65536
_NEXT_ADDRESS_S = 2.0
"""How long one of several addresses may take to connect before the next is tried."""
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0

KERNEL_STAMPS = sys.platform == "linux" and struct.calcsize("l") == 8
"""Whether arrivals are stamped by the kernel here (64-bit Linux)."""


def keep_stamping() -> socket.socket | None:
    """Return a socket that does nothing but keep the kernel stamping while it is open.

    The kernel stamps only while some socket asks for it, and begins a moment after the first does:
    without this one the first reads of a run might come without a stamp.
    """
    if not KERNEL_STAMPS:
        return None
    keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with suppress(OSError):
        keeper.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return keeper


class Clock:
    """The offset between the kernel's CLOCK_REALTIME stamps and our monotonic clock.

    Both follow the same rate corrections, so the offset moves only when the system's clock is set.
    It is measured anew all through a run, since that may happen at any time.
    """

    def __init__(self) -> None:
        self.offset_ns, bracket = _offset()
        self._errors: deque[int] = deque([bracket], maxlen=64)

    @property
    def error_ns(self) -> int:
        """How wrong stamps can have been of late: the offset's moves and what measuring adds.

        The worst of the last measurements: a request may end some time after the stamp that a
        moved offset spoiled.
        """
        return max(self._errors)

    def measure(self) -> None:
        """Measure the offset anew."""
        offset, bracket = _offset()
        moved = abs(offset - self.offset_ns)
        # what lies within the bracket is no move: keep the older offset, so that gaps don't jitter
        if moved > bracket:
            self.offset_ns = offset
        else:
            moved = 0
        self._errors.append(moved + bracket)


def _offset() -> tuple[int, int]:
    """Return CLOCK_REALTIME less the monotonic clock and how wrong that can be, in ns.

    It is the tightest of a few brackets: the process may be interrupted within any of them.
    """
    best, offset = sys.maxsize, 0
    for _ in range(5):
        before = time.perf_counter_ns()
        wall = time.time_ns()
        after = time.perf_counter_ns()
        if after - before < best:
            best, offset = after - before, wall - (before + after) // 2
    return offset, best // 2 + 1


class Exchange:
    """One request and its response, as they pass over a connection."""

    __slots__ = (
        "_waiter", "answered", "complete", "connect_ns", "error", "headers", "headers_ns",
        "last_ns", "on_body", "reads", "reused", "sent_ns", "stamp", "status",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.reads: list[tuple[bytes, int]] = []
        """Body bytes and the stamp (ns, monotonic) of the read they came in."""
        self.on_body: Callable[[Exchange, bytes], None] | None = None
        """Called for each piece of the body, after it was put into `reads`."""
        self.sent_ns = self.headers_ns = self.last_ns = 0
        self.connect_ns: int | None = None
        self.reused = False
        self.answered = False
        """Whether any byte came back."""
        self.complete = False
        self.error: Exception | None = None
        self.stamp = "kernel" if KERNEL_STAMPS else "socket"
        self._waiter: asyncio.Future[None] | None = loop.create_future()

    def take(self, body: bytes, stamp: int) -> None:
        """Keep a piece of the body with its read's stamp."""
        self.last_ns = stamp
        self.reads.append((body, stamp))
        if self.on_body is not None:
            self.on_body(self, body)

    def end(self, error: Exception | None = None) -> None:
        """Complete the response, or fail it; the first to do so is right."""
        if not self.complete:
            self.complete, self.error = True, error
            self.wake()

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
        self._unsent = memoryview(b"")
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
        addresses = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        error: OSError | None = None
        for left, (family, kind, proto, _, address) in reversed([*enumerate(reversed(addresses))]):
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with suppress(OSError):  # without it reads are stamped here, and said to be
                    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                # a dead address (IPv6 that leads nowhere) must not use up the time of the next
                async with asyncio.timeout(_NEXT_ADDRESS_S if left else None):
                    await self._loop.sock_connect(sock, address)
            except OSError as failed:  # TimeoutError is one
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
        else:
            self._unsent = memoryview(request)
            self._writable()

    def _writable(self) -> None:
        """Send what the socket takes; ask to be called again for the rest."""
        assert self._sock is not None  # noqa: S101
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # The server hung up amid the request. What it said before that (413, say) is still
            # there to be read, and after it the end: the reading side tells.
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._loop.add_writer(self._sock.fileno(), self._writable)
        else:
            self._loop.remove_writer(self._sock.fileno())

    def close(self) -> None:
        """Close at once; an exchange that is under way is abandoned."""
        self.open = False
        self._exchange = None
        self._unsent = memoryview(b"")
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
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
        stamp = None
        for _, kind, value in ancillary:
            if kind == _SO_TIMESTAMPNS and len(value) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                stamp = seconds * 1_000_000_000 + nanoseconds - self._clock.offset_ns
        exchange = self._exchange
        if exchange is not None and data:
            if stamp is None:
                exchange.stamp = "socket"
            # a clock that was set under us must not date a byte before the last one or ahead of now
            elif not exchange.last_ns <= stamp <= now:
                stamp = None
        self.received(data, now if stamp is None else stamp)

    def received(self, data: bytes, stamp: int) -> None:
        """Take what a read brought; no bytes mean that the server closed."""
        exchange = self._exchange
        if not data:
            self.lost(None)
            return
        if exchange is None:  # bytes between two requests: nothing of ours
            self.close()
            return
        exchange.answered = True
        exchange.last_ns = self._stamp = stamp
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.lost(ValueError(f"not HTTP/1.1: {error}"))

    def lost(self, error: Exception | None) -> None:
        """Take the connection's end: that of the body, or the failure of the exchange under way."""
        exchange = self._exchange
        if exchange is not None:
            if error is None and not _ends_with_the_connection(exchange):
                error = ConnectionResetError("the server closed the connection")
            exchange.end(error)
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
            self._exchange.take(body, self._stamp)

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
