"""The transport's connections: which are kept, which used again, and what ends them."""

import asyncio
import socket
import threading
from pathlib import Path

import httpx
import pytest
from certificates import tls
from exchanges import OK, in_loop, opened, post, repeat, request_to, run
from exchanges import stamping as stamping
from exchanges import tidy as tidy
from hostile import PATIENCE_S, STREAM, Peer, Server, answer, chunk, response, token

from tpwidgets.engine.exchange import BrokenOff, Exchange
from tpwidgets.engine.transport import StampedTransport

pytestmark = pytest.mark.quick


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


def test_a_certificate_that_is_not_trusted_is_a_connect_error(certificate: Path) -> None:
    async def use(transport: StampedTransport, server: Server) -> None:
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            await post(transport, server)

    run(repeat(OK), use, tls=tls(certificate))
