"""Where an answer begins and ends, however its bytes come."""

import asyncio
import socket
import threading

import httpx
import pytest
from exchanges import OK, one, post, repeat, run, sent
from exchanges import stamping as stamping
from exchanges import tidy as tidy
from hostile import END, PATIENCE_S, STREAM, Peer, Server, chunk, response

from tpwidgets.engine.transport import StampedTransport

pytestmark = pytest.mark.quick


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
