"""The stamping transport against servers that behave in every way a server can."""

import asyncio
import gc
import itertools
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hostile import END, PATIENCE_S, STREAM, Peer, Server, answer, chunk, response, token

from tpwidgets.engine import transport as module
from tpwidgets.engine.connection import Connection
from tpwidgets.engine.exchange import BrokenOff, Exchange
from tpwidgets.engine.selector import InlineSelector
from tpwidgets.engine.stamps import KERNEL_STAMPS, Clock, keep_stamping
from tpwidgets.engine.transport import StampedTransport

pytestmark = pytest.mark.quick

OK = response(b"hello")


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """Fail on a socket, a transport or a task that was left behind."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture(scope="module", autouse=True)
def _stamping() -> Iterator[None]:
    """Have the kernel stamp from now on: it begins a moment after the first socket asks."""
    if not KERNEL_STAMPS:
        yield
        return
    with keep_stamping() as keeper:
        keeper.bind(("127.0.0.1", 0))
        ancillary: list[Any] = []
        while not ancillary:
            keeper.sendto(b"x", keeper.getsockname())
            ancillary = keeper.recvmsg(1, 64)[1]
        yield


def selector() -> InlineSelector | None:
    """Return the running loop's selector, if it is ours."""
    return getattr(asyncio.get_running_loop(), "ours", None)


def loop() -> asyncio.AbstractEventLoop:
    """Make a loop as the worker has it here."""
    if not KERNEL_STAMPS:
        return asyncio.new_event_loop()
    ours = InlineSelector()
    made = asyncio.SelectorEventLoop(ours)
    made.ours = ours
    return made


def in_loop(main: Any) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


@asynccontextmanager
async def opened() -> AsyncIterator[StampedTransport]:
    transport = StampedTransport(Clock(), selector(), trust_env=False)
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    try:
        yield transport
    finally:
        await transport.aclose()
    await asyncio.sleep(0)
    assert not failed, failed
    assert not transport._busy


Reads = list[tuple[bytes, int]]
"""The pieces of a body and their stamps."""


def request_to(url: str, content: bytes = b"{}") -> httpx.Request:
    timeout = httpx.Timeout(PATIENCE_S).as_dict()
    return httpx.Request("POST", url, content=content, extensions={"timeout": timeout})


async def post(
    transport: StampedTransport, server: Server, content: bytes = b"{}"
) -> tuple[bytes, Exchange, Reads]:
    """Post and read; return the body, the exchange and the body's reads."""
    reads: Reads = []
    request = request_to(server.url, content)
    request.extensions["on_body"] = lambda exchange, data: reads.append((data, exchange.last_ns))
    exchange = await transport.send(request)
    return b"".join(exchange.body), exchange, reads


async def sent(
    transport: StampedTransport, server: Server, on_body: Any = None
) -> tuple["asyncio.Task[Exchange]", Exchange]:
    """Send a request and wait for the answer's headers; return what is sending it."""
    request = request_to(server.url)
    request.extensions["on_body"] = on_body
    sending = asyncio.create_task(transport.send(request))
    while "exchange" not in request.extensions or not request.extensions["exchange"].headers_ns:
        await asyncio.sleep(0)
    return sending, request.extensions["exchange"]


def run(
    script: Callable[[Peer], None],
    use: Callable[[StampedTransport, Server], Awaitable[Any]],
    **server: Any,
) -> Any:
    async def main() -> Any:
        async with opened() as transport:
            return await asyncio.wait_for(use(transport, listening), PATIENCE_S)

    with Server(script, **server) as listening:
        return in_loop(main())


def repeat(*answers: bytes) -> Callable[[Peer], None]:
    """Return a script that gives these answers to the requests of each connection."""

    def script(peer: Peer) -> None:
        for data in answers:
            peer.request()
            peer.send(data)
        peer.gone()

    return script


def one(data: bytes, *, close: bool = False) -> tuple[bytes, Exchange, Reads]:
    """Post one request that these bytes answer."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(data)
        if not close:
            peer.gone()

    return run(script, post)


# --- connections ----------------------------------------------------------------------------------


def test_a_connection_is_kept_and_reused() -> None:
    async def use(transport: StampedTransport, server: Server) -> list[bool]:
        return [(await post(transport, server))[1].reused for _ in range(3)]

    assert run(repeat(OK, answer(), OK), use) == [False, True, True]


def test_connections_opened_ahead_are_used_and_no_more_are_opened() -> None:
    async def use(transport: StampedTransport, server: Server) -> None:
        url = httpx.URL(server.url)
        await transport.open(url, 70, PATIENCE_S)
        assert len(transport._idle["http", "127.0.0.1", server.port]) == 70
        posted = await asyncio.gather(*(post(transport, server) for _ in range(70)))
        assert all(exchange.connect_ns for _, exchange, _ in posted)
        again = [exchange for _, exchange, _ in posted if exchange.reused]
        assert not again
        await transport.open(url, 70, PATIENCE_S)
        assert len(server.peers) == 70

    run(repeat(OK, OK), use)


def test_connections_in_use_count_when_more_are_opened() -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        go.wait(PATIENCE_S)
        peer.send(OK)
        peer.gone()

    async def use(transport: StampedTransport, server: Server) -> None:
        url = httpx.URL(server.url)
        await transport.open(url, 2, PATIENCE_S)
        posts = [asyncio.create_task(post(transport, server)) for _ in range(2)]
        while len(transport._busy) < 2:
            await asyncio.sleep(0)
        await transport.open(url, 3, PATIENCE_S)
        assert len(transport._idle["http", "127.0.0.1", server.port]) == 1
        go.set()
        await asyncio.gather(*posts)

    run(script, use)


@pytest.mark.parametrize("reset", [False, True])
def test_a_waiting_connection_that_the_server_closes_costs_no_request(reset: bool) -> None:
    """The close comes while the request is on its way: the server reads it and hangs up."""

    def script(peer: Peer) -> None:
        peer.request()
        if peer.number == 0:
            peer.send(OK)
            peer.request()
            peer.reset() if reset else peer.close()
        else:
            peer.send(OK)
            peer.gone()

    async def use(transport: StampedTransport, server: Server) -> None:
        await post(transport, server)
        body, exchange, _ = await post(transport, server)
        assert body == b"hello"
        assert not exchange.reused
        assert exchange.connect_ns is not None
        assert len(server.requests) == 3

    run(script, use)


def test_a_connection_opened_ahead_that_dies_at_its_first_use_costs_no_request() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        if peer.number:
            peer.send(OK)
            peer.gone()

    async def use(transport: StampedTransport, server: Server) -> None:
        await transport.open(httpx.URL(server.url), 1, PATIENCE_S)
        assert (await post(transport, server))[0] == b"hello"

    run(script, use)


def test_a_fresh_connection_that_dies_is_a_failure_and_is_not_tried_again() -> None:
    def script(peer: Peer) -> None:
        peer.request()

    async def use(transport: StampedTransport, server: Server) -> None:
        with pytest.raises(httpx.ReadError, match="closed the connection"):
            await post(transport, server)
        assert len(server.requests) == 1

    run(script, use)


def test_a_reused_connection_that_dies_amid_the_answer_is_a_failure() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        peer.send(STREAM + chunk(token()))

    async def use(transport: StampedTransport, server: Server) -> None:
        await post(transport, server)
        with pytest.raises(httpx.ReadError):
            await post(transport, server)
        assert len(server.requests) == 2

    run(script, use)


def test_connection_close_is_obeyed() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)

    async def use(transport: StampedTransport, server: Server) -> None:
        for number in range(2):
            body, exchange, _ = await post(transport, server)
            assert body == b"hello"
            assert not exchange.reused
            assert len(server.peers) == number + 1

    run(repeat(closing), use)


def test_bytes_between_two_requests_end_the_connection() -> None:
    async def use(transport: StampedTransport, server: Server) -> None:
        for _ in range(2):
            _, exchange, _ = await post(transport, server)
            assert not exchange.reused

    run(repeat(OK + b"and more"), use)


def test_an_answer_to_half_a_request_ends_the_connection() -> None:
    """What is left of the first request must not be taken for the second one."""
    big = b"x" * 20_000_000

    def script(peer: Peer) -> None:
        if peer.number == 0:
            peer.request(body=False)
            peer.send(response(b"too large", status="413 Content Too Large"))
            peer.gone()
        else:
            assert peer.request().body == b"small"
            peer.send(OK)
            peer.gone()

    async def use(transport: StampedTransport, server: Server) -> None:
        said, first, _ = await post(transport, server, big)
        assert (first.status, said) == (413, b"too large")
        assert (await post(transport, server, b"small"))[0] == b"hello"

    run(script, use)


def test_the_answer_is_read_even_if_the_server_hangs_up_amid_the_request() -> None:
    def script(peer: Peer) -> None:
        peer.request(body=False)
        peer.send(response(b"too large", status="413 Content Too Large"))
        peer.sock.shutdown(socket.SHUT_WR)
        peer.gone()

    async def use(transport: StampedTransport, server: Server) -> None:
        _, exchange, _ = await post(transport, server, b"x" * 20_000_000)
        assert exchange.status == 413

    run(script, use)


def test_large_requests_arrive_whole() -> None:
    big = bytes(range(256)) * 40_000

    async def use(transport: StampedTransport, server: Server) -> None:
        await asyncio.gather(*(post(transport, server, big) for _ in range(3)))
        await post(transport, server, big)
        assert [request.body == big for request in server.requests] == [True] * 4

    run(repeat(OK, OK), use)


def test_connect_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def main() -> None:
        async with opened() as transport:
            await transport.open(httpx.URL(f"http://127.0.0.1:{port}"), 3, 1.0)
            with pytest.raises(httpx.ConnectError):
                await transport.send(request_to(f"http://127.0.0.1:{port}"))

    in_loop(main())


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70 + ".invalid"])
def test_a_name_that_leads_nowhere_is_a_connect_error(host: str) -> None:
    async def main() -> None:
        async with opened() as transport:
            url = httpx.URL("http://x").copy_with(host=host)
            with pytest.raises(httpx.ConnectError):
                await transport._connect(url, PATIENCE_S)

    in_loop(main())


@pytest.mark.parametrize("said", [b"", STREAM, STREAM + chunk(token())])
def test_who_waits_may_break_off_and_the_connection_is_closed(said: bytes) -> None:
    asked, closed = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(said)
        asked.set()
        peer.gone()
        closed.set()

    async def use(transport: StampedTransport, server: Server) -> None:
        def on_wait(exchange: Exchange) -> None:
            if asked.is_set() and exchange.answered == bool(said):
                exchange.end(BrokenOff("timeout", "enough"))

        request = request_to(server.url)
        request.extensions["on_wait"] = on_wait
        with pytest.raises(BrokenOff, match="enough"):
            await transport.send(request)
        assert await asyncio.to_thread(closed.wait, PATIENCE_S)

    run(script, use)


def test_a_connection_whose_answer_was_broken_off_is_not_used_again() -> None:
    """Though what was read last held the answer's end."""

    async def use(transport: StampedTransport, server: Server) -> None:
        request = request_to(server.url)
        request.extensions["on_body"] = lambda exchange, _: exchange.end(BrokenOff("x", "enough"))
        with pytest.raises(BrokenOff):
            await transport.send(request)
        _, exchange, _ = await post(transport, server)
        assert not exchange.reused

    run(repeat(OK, OK), use)


@pytest.mark.parametrize("said", [b"", STREAM, STREAM + chunk(token())])
def test_cancelling_closes_the_connection(said: bytes) -> None:
    asked, closed = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(said)
        asked.set()
        peer.gone()
        closed.set()

    async def use(transport: StampedTransport, server: Server) -> None:
        task = asyncio.create_task(post(transport, server))
        assert await asyncio.to_thread(asked.wait, PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(closed.wait, PATIENCE_S)

    run(script, use)


# --- framing --------------------------------------------------------------------------------------


def test_content_length() -> None:
    body, exchange, reads = one(OK)
    assert body == b"hello"
    assert exchange.status == 200
    assert b"".join(data for data, _ in reads) == b"hello"


def test_a_body_until_close() -> None:
    body, _, _ = one(b"HTTP/1.1 200 OK\r\n\r\nhello", close=True)
    assert body == b"hello"
    body, _, _ = one(b"HTTP/1.0 200 OK\r\n\r\nhello", close=True)
    assert body == b"hello"


def test_no_body() -> None:
    assert one(b"HTTP/1.1 204 No Content\r\n\r\n")[0] == b""
    assert one(response(b""))[0] == b""
    assert one(STREAM + END)[0] == b""


def test_every_piece_of_a_read_is_seen() -> None:
    """Several HTTP chunks in one read, the last together with the end of the body."""
    body, _, reads = one(STREAM + chunk(b"a") + chunk(b"b") + chunk(b"c") + END)
    assert body == b"abc"
    assert [data for data, _ in reads] == [b"a", b"b", b"c"]


def test_headers_alone_are_no_piece_of_the_body() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(STREAM)
        headers.wait(PATIENCE_S)
        peer.send(b"5\r\n")
        size.wait(PATIENCE_S)
        peer.send(b"hello\r\n" + END)
        peer.gone()

    headers, size = threading.Event(), threading.Event()

    async def use(transport: StampedTransport, server: Server) -> None:
        sending, exchange = await sent(transport, server)
        headers.set()
        seen = exchange.last_ns
        while exchange.last_ns == seen:
            await asyncio.sleep(0)
        size.set()
        assert (await sending).body == [b"hello"]

    run(script, use)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", httpx.RemoteProtocolError),
        (b"\x15\x03\x01\x00\x02\x02\x50", httpx.RemoteProtocolError),
        (b"HTTP/1.1 abc\r\n\r\n", httpx.RemoteProtocolError),
        (STREAM + b"zz\r\nhello\r\n", httpx.RemoteProtocolError),
        (STREAM + b"2\r\nhello\r\n" + END, httpx.RemoteProtocolError),
        (STREAM + b"ff\r\nhello\r\n" + END, httpx.ReadError),
        (OK[:-2], httpx.ReadError),
        (STREAM + chunk(b"hello"), httpx.ReadError),
        (OK[:20], httpx.ReadError),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n?", httpx.TransportError),
        (b"HTTP/1.1 100 Continue\r\n\r\n", httpx.ReadError),
    ],
)
def test_what_is_no_whole_http_is_a_failure(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        one(data, close=True)


def test_headers_byte_by_byte_and_early_hints() -> None:
    said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK

    def script(peer: Peer) -> None:
        peer.request()
        for byte in said:
            peer.send(bytes([byte]))
        peer.gone()

    body, exchange, _ = run(script, post)
    assert body == b"hello"
    assert "link" not in exchange.header_fields
    assert exchange.headers_ns >= exchange.sent_ns


def test_ipv6_loopback() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    assert run(repeat(OK), post, host="::1")[0] == b"hello"


def test_the_host_header_names_the_origin() -> None:
    def script(peer: Peer) -> None:
        assert peer.request().headers["host"] == f"127.0.0.1:{peer.server.port}"
        peer.send(OK)

    run(script, post)


# --- stamps ---------------------------------------------------------------------------------------


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
    monkeypatch.setitem(globals(), "KERNEL_STAMPS", False)  # so `loop` makes an ordinary one
    body, exchange, reads = one(data, close=b"length" not in data and b"chunked" not in data)
    assert exchange.stamp == "socket"
    assert body == b"".join(piece for piece, _ in reads)
    with pytest.raises(httpx.ReadError):
        one(OK[:-1], close=True)


# --- through httpx --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


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


def test_a_certificate_that_is_not_trusted_is_a_connect_error(certificate: Path) -> None:
    async def use(transport: StampedTransport, server: Server) -> None:
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            await post(transport, server)

    run(repeat(OK), use, tls=tls(certificate))
