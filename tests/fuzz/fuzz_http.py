"""Fuzz how a response is read: the engine's `Connection`, fed without a socket.

However a response is cut into reads, the exchange comes out the same, every byte of the body with
the stamp of its read; nothing raises, and what is not HTTP/1.1 ends in `exchange.error`.
Coverage-guided, with atheris (Python 3.11 to 3.13, Linux; not among the package's dependencies)::

    pip install atheris
    mkdir -p /tmp/corpus && cd tests
    python -m fuzz.fuzz_http -max_total_time=1800 -timeout=20 -max_len=8000 /tmp/corpus

`tests/test_parsing.py` runs the same assertions on a few hundred fixed inputs.
"""

import asyncio
import zlib
from functools import cache
from random import Random
from typing import Any

from tpwidgets.engine.connection import Connection
from tpwidgets.engine.exchange import Exchange
from tpwidgets.engine.stamps import Clock

from .fuzz_stream import cut, fuzz, mutated, recorded

WORDS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n"),
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 \r\n", b"HTTP/1.1 304 x\r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/2 200\r\n"),
    *(b"transfer-encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b";ext=1"),
    *(b"content-length: 5\r\n", b"Content-Length: 99999999999999999999\r\n", b"connection: close"),
    *(b"connection: upgrade\r\nupgrade: h2c\r\n", b"x: " + b"y" * 300 + b"\r\n", b"trailer: x\r\n"),
    *(b"\x00", b" ", b":", b"hello", "é".encode(), b"\xff"),
]


class _Wire:
    """A transport that leads nowhere."""

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


class Reading:
    """What came of one response, fed in these reads; their numbers are their stamps."""

    def __init__(self, reads: list[bytes], *, closed: bool) -> None:
        loop = asyncio.get_running_loop()
        connection: Any = Connection(Clock())
        connection._transport, connection.open = _Wire(), True
        exchange = Exchange(loop)
        self.body = b""
        self.stamps: list[int] = []
        """Of each byte of the body."""
        exchange.on_body = self._take
        connection.start(exchange, b"GET / HTTP/1.1\r\n\r\n")
        exchange.last_ns = -1
        for stamp, read in enumerate(reads):
            connection.received(read, stamp)
        if closed:
            connection.received(b"", len(reads))
        # how much is left of headers amid which something is wrong is of no account
        headers = exchange.headers if exchange.error is None else None
        self.said = (
            exchange.status, headers, self.body, exchange.complete, repr(exchange.error),
            exchange.answered,
        )  # fmt: skip
        self.left_open = connection.open
        self.headers_at, self.last_at = exchange.headers_ns, exchange.last_ns
        connection.close()

    def _take(self, exchange: Exchange, data: bytes) -> bool:
        self.body += data
        self.stamps += [exchange.last_ns] * len(data)
        return True


async def _check(data: bytes) -> None:
    random = Random(zlib.crc32(data))
    closed = random.random() < 0.5
    bytewise = Reading([data[i : i + 1] for i in range(len(data))], closed=closed)
    assert bytewise.stamps == sorted(bytewise.stamps)
    for places in ([], *(random.choices(range(len(data) + 1), k=k) for k in (1, 3, 20))):
        reads = cut(data, places)
        read_of = [number for number, read in enumerate(reads) for _ in read]
        reading = Reading(reads, closed=closed)
        assert reading.said == bytewise.said, reads
        assert reading.stamps == [read_of[at] for at in bytewise.stamps], reads
        if bytewise.said[0]:
            assert reading.headers_at == read_of[bytewise.headers_at], reads
        # a connection that is used again must not hold the beginning of an answer
        rest = data[bytewise.last_at + 1 :]
        assert not (reading.said[3] and reading.left_open and rest.strip(b"\r\n")), reads


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def check(data: bytes) -> None:
    """Assert what this file promises; the cuts follow from the bytes."""
    _runner().run(_check(data))


@cache
def responses() -> list[bytes]:
    """Return responses as servers send them, around the streams we have recorded."""
    found = [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nserver: x\r\n\r\n"]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    for body in recorded():
        events = [event + b"\n\n" for event in body[:3000].split(b"\n\n")]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
        found += [
            head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\nx-total: 1\r\n\r\n",
            head + b"content-length: %d\r\n\r\n" % len(body) + body,
            head + b"connection: close\r\n\r\n" + body,
        ]
    error = b'{"error": {"message": "no"}}'
    found.append(b"HTTP/1.1 429 Too Many\r\ncontent-length: %d\r\n\r\n" % len(error) + error)
    return found


def sample(seed: int) -> bytes:
    """Return one of the responses, changed in a few places."""
    return mutated(responses(), seed, WORDS)


if __name__ == "__main__":
    fuzz(check, responses(), WORDS)
