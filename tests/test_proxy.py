"""What goes through a proxy, by httpx: the same errors in the same words as without one."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import httpx
import pytest
from exchanges import OK, in_loop, request_to
from hostile import PATIENCE_S, STREAM, Peer, Server, chunk, response, token

from tpwidgets.engine.exchange import BrokenOff, Exchange
from tpwidgets.engine.stamps import Clock
from tpwidgets.engine.transport import StampedTransport


def through(
    proxy: Callable[[Peer], None],
    main: Callable[[Server], Awaitable[None]],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for other in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.upper(), raising=False)
    with Server(proxy) as server:
        monkeypatch.setenv(name, server.origin)
        in_loop(main(server))


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_a_proxy_is_used_where_the_environment_names_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proxy(peer: Peer) -> None:
        assert peer.request().target == "http://example.invalid/v1"
        peer.send(OK)

    async def main(server: Server) -> None:
        transport = StampedTransport(Clock())
        assert not transport.direct(httpx.URL("http://example.invalid/v1"))
        try:
            exchange = await transport.send(request_to("http://example.invalid/v1"))
        finally:
            await transport.aclose()
        assert (exchange.status, exchange.body) == (200, [b"hello"])
        assert (exchange.stamp, exchange.header_fields["content-length"]) == ("httpx", "5")

    through(proxy, main, name, monkeypatch)


@pytest.mark.parametrize("said", [b"", STREAM + chunk(token())])
def test_what_comes_through_a_proxy_may_be_broken_off_too(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, closed = threading.Event(), threading.Event()

    def proxy(peer: Peer) -> None:
        peer.request()
        asked.set()
        peer.send(said)
        peer.gone()
        closed.set()

    def on_wait(exchange: Exchange) -> None:
        if asked.is_set() and bool(exchange.body) == bool(said):
            exchange.end(BrokenOff("timeout", "enough"))

    async def main(server: Server) -> None:
        transport = StampedTransport(Clock())
        request = request_to("http://example.invalid/v1")
        request.extensions["on_wait"] = on_wait
        with pytest.raises(BrokenOff, match="enough"):
            await transport.send(request)
        assert not transport._busy
        await transport.aclose()
        assert await asyncio.to_thread(closed.wait, PATIENCE_S)

    through(proxy, main, "http_proxy", monkeypatch)


@pytest.mark.parametrize(
    ("said", "reset", "error", "message"),
    [
        (b"", False, httpx.ReadError, "the server closed the connection"),
        (b"", True, httpx.ReadError, "Connection reset by peer"),
        (STREAM + chunk(token()), False, httpx.ReadError, "the server closed the connection"),
        (STREAM + chunk(token()), True, httpx.ReadError, "Connection reset by peer"),
        (OK[:-1], False, httpx.ReadError, "the server closed the connection"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", False, httpx.RemoteProtocolError, "illegal"),
    ],
)
def test_what_goes_wrong_behind_a_proxy_is_called_as_it_is_without_one(
    said: bytes, reset: bool, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proxy(peer: Peer) -> None:
        peer.request()
        peer.send(said)
        if reset:
            peer.reset()

    async def main(server: Server) -> None:
        transport = StampedTransport(Clock())
        with pytest.raises(error, match=message):
            await transport.send(request_to("http://example.invalid/v1"))
        await transport.aclose()

    through(proxy, main, "http_proxy", monkeypatch)


def test_a_proxy_that_is_not_there_or_refuses_is_a_connect_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def proxy(peer: Peer) -> None:
        assert peer.request().method == "CONNECT"
        peer.send(response(b"", status="403 Forbidden"))

    async def refused(server: Server) -> None:
        transport = StampedTransport(Clock())
        with pytest.raises(httpx.ConnectError, match="the proxy refused: 403 Forbidden"):
            await transport.send(request_to("https://example.invalid/v1"))
        server.stop()
        with pytest.raises(httpx.ConnectError, match="Connection refused"):
            await transport.send(request_to("https://example.invalid/v1"))
        await transport.aclose()

    through(proxy, refused, "https_proxy", monkeypatch)
