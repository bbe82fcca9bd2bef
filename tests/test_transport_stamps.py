"""When bytes came, by the stamps of the kernel where it has any."""

import asyncio
import itertools
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import exchanges
import httpx
import pytest
from certificates import tls
from exchanges import OK, in_loop, one, opened, post, repeat, run, sent
from exchanges import stamping as stamping
from exchanges import tidy as tidy
from hostile import END, PATIENCE_S, STREAM, Peer, Server, answer, chunk, token

from tpwidgets.engine import transport as module
from tpwidgets.engine.connection import Connection
from tpwidgets.engine.exchange import Exchange
from tpwidgets.engine.stamps import KERNEL_STAMPS, Clock
from tpwidgets.engine.transport import StampedTransport

pytestmark = pytest.mark.quick


class Metronome:
    """A script that sends tokens one by one and keeps the span of time in which each left."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.spans: list[tuple[int, int]] = []
        self.sent = threading.Event()
        self.go = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.request()
        peer.send(STREAM)
        self.go.wait(PATIENCE_S)
        for _ in range(self.count):
            before = time.perf_counter_ns()
            peer.send(chunk(token()))
            self.spans.append((before, time.perf_counter_ns()))
            pause = time.perf_counter_ns() + 3_000_000  # that they can be told apart
            while time.perf_counter_ns() < pause:
                time.sleep(0.0005)
        self.sent.set()
        peer.send(END)
        peer.gone()


def test_stamps_lie_between_the_write_and_the_read_and_rise() -> None:
    metronome = Metronome(20)
    metronome.go.set()
    _, exchange, reads = run(metronome, post)
    stamps = [stamp for _, stamp in reads]
    assert len(stamps) == 20
    assert stamps == sorted(stamps)
    assert exchange.sent_ns <= exchange.headers_ns <= stamps[0]
    assert stamps[-1] <= time.perf_counter_ns()
    slack = 20_000  # what the offset between two clocks can be wrong by
    for stamp, (before, _) in zip(stamps, metronome.spans, strict=True):
        assert stamp >= before - slack


def stalled(metronomes: list[Metronome]) -> tuple[list[list[int]], int, list[Exchange]]:
    """Let the servers send everything while our event loop is kept from reading."""

    async def main() -> Any:
        async with opened() as transport:
            sending = []
            reads: list[list[int]] = [[] for _ in metronomes]
            for server, seen in zip(servers, reads, strict=True):

                def on_body(exchange: Exchange, _: bytes, seen: list[int] = seen) -> None:
                    seen.append(exchange.last_ns)

                sending.append((await sent(transport, server, on_body))[0])
            for metronome in metronomes:  # blocks the loop: nothing is read meanwhile
                metronome.go.set()
                assert metronome.sent.wait(PATIENCE_S)
            resumed = time.perf_counter_ns()
            return reads, resumed, await asyncio.gather(*sending)

    servers = [Server(metronome).__enter__() for metronome in metronomes]
    try:
        return in_loop(main())
    finally:
        for server in servers:
            server.__exit__(None, None, None)


def test_tokens_that_one_read_brings_share_its_stamp() -> None:
    """The kernel tells only when the last byte of a read came: the merge must show."""
    [stamps], _, _ = stalled([Metronome(5)])
    assert len(stamps) == 5
    assert len(set(stamps)) == 1


@pytest.mark.skipif(not KERNEL_STAMPS, reason="the kernel does not stamp here")
def test_a_stalled_loop_does_not_spoil_the_stamps_of_separate_connections() -> None:
    metronomes = [Metronome(1) for _ in range(5)]
    reads, resumed, exchanges = stalled(metronomes)
    stamps = [stamp for [stamp] in reads]
    assert stamps == sorted(stamps)
    assert all(exchange.stamp == "kernel" for exchange in exchanges)
    for stamp, metronome in zip(stamps, metronomes, strict=True):
        written, _ = metronome.spans[0]
        assert stamp >= written - 20_000
    # Though all were read after that. The last may be: a busy kernel delivers a little late.
    assert all(stamp < resumed for stamp in stamps[:-1])


def test_stamps_never_leave_the_request_whatever_the_clock_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's clock is set by an hour, back and forth, amid the stream."""
    metronome = Metronome(6)
    metronome.go.set()
    shifts = itertools.cycle([3_600_000_000_000, -3_600_000_000_000, 0])

    def take(self: Connection, data: bytes, stamp: int) -> None:
        self._clock.offset_ns += next(shifts)
        received(self, data, stamp)

    received = Connection.received
    monkeypatch.setattr(Connection, "received", take)
    _, exchange, reads = run(metronome, post)
    stamps = [stamp for _, stamp in reads]
    assert stamps == sorted(stamps)
    assert exchange.sent_ns <= stamps[0]
    assert stamps[-1] <= time.perf_counter_ns()


def test_a_clock_that_was_set_shows_for_a_while_in_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    assert clock.error_ns < 1_000_000
    wall = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: wall() + 5_000_000)
    before = clock.offset_ns
    clock.measure()
    assert 4_000_000 < clock.offset_ns - before < 6_000_000
    for _ in range(20):
        clock.measure()
    assert clock.error_ns > 4_000_000
    for _ in range(100):
        clock.measure()
    assert clock.error_ns < 4_000_000


def test_reads_without_a_stamp_of_the_kernel_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from tpwidgets.engine import stamps

    monkeypatch.setattr(stamps, "_SO_TIMESTAMPNS", 2**15)  # no such option
    body, exchange, _ = one(OK)
    assert body == b"hello"
    assert exchange.stamp == "socket"


@pytest.mark.parametrize("data", [OK, answer(50), b"HTTP/1.1 200 OK\r\n\r\nhello"])
def test_without_kernel_stamps_at_all(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and macOS take the other way; their bytes are the same."""
    monkeypatch.setattr(exchanges, "KERNEL_STAMPS", False)  # so `loop` makes an ordinary one
    body, exchange, reads = one(data, close=b"length" not in data and b"chunked" not in data)
    assert exchange.stamp == "socket"
    assert body == b"".join(piece for piece, _ in reads)
    with pytest.raises(httpx.ReadError):
        one(OK[:-1], close=True)


# --- TLS ------------------------------------------------------------------------------------------


def trust(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    made = ssl.create_default_context(cafile=certificate / "cert.pem")
    monkeypatch.setattr(module.httpx, "create_ssl_context", lambda **_: made)


def test_https_is_stamped_at_the_socket(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, certificate)

    async def use(transport: StampedTransport, server: Server) -> None:
        for reused in (False, True):
            _, exchange, reads = await post(transport, server)
            assert exchange.status == 200
            assert exchange.stamp == ("kernel" if KERNEL_STAMPS else "socket")
            assert exchange.reused is reused
            assert (exchange.tls_ns is None) is reused
            if not reused:
                parts = exchange.dns_ns + exchange.tcp_ns + exchange.tls_ns
                assert parts <= exchange.connect_ns
            stamps = [stamp for _, stamp in reads]
            assert exchange.sent_ns <= exchange.headers_ns <= stamps[0]
            assert stamps == sorted(stamps)
            assert exchange.last_ns == stamps[-1]

    run(repeat(answer(), answer()), use, tls=tls(certificate))


def test_chunks_of_one_tls_record_share_their_stamp(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, certificate)
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(STREAM + chunk(b"a") + chunk(b"b") + chunk(b"c"))
        go.wait(PATIENCE_S)
        peer.send(chunk(b"d") + END)
        peer.gone()

    async def use(transport: StampedTransport, server: Server) -> None:
        task = asyncio.create_task(post(transport, server))
        while not server.requests:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0.001)
        go.set()
        _, _, reads = await task
        stamps = dict(reads)
        assert stamps[b"a"] == stamps[b"b"] == stamps[b"c"] < stamps[b"d"]

    run(script, use, tls=tls(certificate))
