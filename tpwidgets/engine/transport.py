"""The transport: httpx's requests out, exchanges back whose bytes were stamped at the socket.

http and https go over our own connections (`connection.py`). Proxies go through httpx's own
transport and are stamped when the bytes come out of it; an `Exchange` says which. The exchange is
in ``request.extensions["exchange"]`` as soon as there is one, so that a request that fails has its
stamps too.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from .connection import Connection
from .exchange import BrokenOff, Exchange
from .limits import used_up
from .selector import InlineSelector
from .stamps import Clock, keep_stamping

_SWEEP_S = 0.25
_STALE_S = 1.0
"""A kept connection that dies within so long of a request was closed before it came."""
_STREAMS_PER_POOL = 8
"""httpcore's pool does work for every open connection at each request: keep pools small."""


class StampedTransport:
    """Sends requests over kept-alive connections and stamps what comes back.

    It takes httpx's requests and raises httpx's errors, but makes no `httpx.Response`: that costs
    as much as reading twenty tokens, and nobody is woken before the answer's end.
    """

    def __init__(
        self, clock: Clock, selector: InlineSelector | None = None, *, trust_env: bool = True
    ) -> None:
        self._clock, self._selector = clock, selector
        self._trust_env = trust_env
        self._idle: dict[tuple[str, str, int], list[Connection]] = {}
        self._busy: dict[Exchange, Callable[[], None]] = {}
        """What is under way, and how to break it off."""
        self._direct: dict[tuple[str, str, int], bool] = {}
        self._reached: set[tuple[str, str, int]] = set()
        self._pools: dict[int, httpx.AsyncHTTPTransport] = {}
        self._ssl: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._keeper = keep_stamping()

    def direct(self, url: httpx.URL) -> bool:
        """Whether requests to `url` are stamped at the socket."""
        origin = _origin(url)
        if origin not in self._direct:
            self._direct[origin] = self._proxy(url) is None
        return self._direct[origin]

    def _proxy(self, url: httpx.URL) -> str | None:
        if not self._trust_env or proxy_bypass(url.host):
            return None
        proxies = getproxies()
        return proxies.get(url.scheme) or proxies.get("all")

    async def open(self, url: httpx.URL, count: int, timeout_s: float) -> None:
        """Open connections ahead, so that no measured request has to wait for one.

        A connection that can't be opened is not an error here: the request that needs it will say
        what is wrong.
        """
        if not self.direct(url):
            return
        missing = count - len(self._busy) - sum(c.open for c in self._idle.get(_origin(url), []))
        while missing > 0:
            batch = min(32, missing)
            missing -= batch
            opened = await asyncio.gather(
                *(self._connect(url, timeout_s) for _ in range(batch)), return_exceptions=True
            )
            fresh = [c for c in opened if isinstance(c, Connection)]
            self._idle.setdefault(_origin(url), []).extend(fresh)
            if len(fresh) < batch:
                return

    async def send(self, request: httpx.Request) -> Exchange:
        """Send one request, wait for the answer's end and return what passed.

        Of the request's extensions it honours ``timeout`` (``connect`` only), and ``on_body`` and
        ``on_wait``, which become the exchange's.

        Raises
        ------
        httpx.TransportError
            Whatever went wrong, in httpx's terms; what passed until then is in the exchange.
        BrokenOff
            What ``on_wait`` or ``on_body`` ended the exchange with.
        """
        if not self.direct(request.url):
            return await self._through_httpx(request)
        timeout = request.extensions.get("timeout", {})
        data = _bytes(request)
        while True:
            connection, fresh = await self._connection(request.url, timeout.get("connect"))
            exchange = _exchange(request)
            self._watch(exchange, connection.close)
            connection.start(exchange, data)
            try:
                await exchange.finished()
            except OSError as error:
                # A server may close a waiting connection just as we write to it. No byte came
                # back, so it never took the request: send it again, once, on a fresh connection.
                stale = time.perf_counter_ns() - exchange.sent_ns < _STALE_S * 1e9
                if stale and not fresh and not exchange.answered:
                    self._drop_idle(request.url)
                    continue
                raise httpx.ReadError(_plain(error)) from None
            except ValueError as error:
                raise httpx.RemoteProtocolError(str(error)) from None
            finally:
                self._done(request.url, connection, exchange)
            return exchange

    async def aclose(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._keeper is not None:
            self._keeper.close()
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        for break_off in self._busy.values():
            break_off()
        self._idle.clear()
        self._busy.clear()
        for pool in self._pools.values():
            await pool.aclose()

    # -- our own connections -------------------------------------------------------------------

    async def _connect(self, url: httpx.URL, timeout_s: float | None) -> Connection:
        connection = Connection(self._clock, self._selector)
        scheme, host, port = _origin(url)
        try:
            async with asyncio.timeout(timeout_s):
                await connection.connect(host, port, self._tls() if scheme == "https" else None)
        except TimeoutError:
            raise _no_connection(timeout_s) from None
        except (OSError, UnicodeError) as error:  # UnicodeError: no host can be called that
            self._blame_this_machine(url, error)
            raise httpx.ConnectError(_plain(error)) from None
        self._reached.add(_origin(url))
        return connection

    def _blame_this_machine(self, url: httpx.URL, error: Exception) -> None:
        """Break off if it was this machine that could open no further connection."""
        if said := used_up(error, connected_before=_origin(url) in self._reached):
            raise BrokenOff("client_limit", said) from None

    async def _connection(self, url: httpx.URL, timeout_s: float | None) -> tuple[Connection, bool]:
        """Return a connection and whether it was opened just now."""
        idle = self._idle.get(_origin(url), [])
        while idle:
            connection = idle.pop()
            if connection.open:
                return connection, False
        return await self._connect(url, timeout_s), True

    def _tls(self) -> ssl.SSLContext:
        if self._ssl is None:
            self._ssl = httpx.create_ssl_context()  # SSL_CERT_FILE counts on loopback too
            self._ssl.set_alpn_protocols(["http/1.1"])
        return self._ssl

    def _drop_idle(self, url: httpx.URL) -> None:
        for connection in self._idle.pop(_origin(url), []):
            connection.close()

    def _done(self, url: httpx.URL, connection: Connection, exchange: Exchange) -> None:
        self._busy.pop(exchange, None)
        if exchange.complete and exchange.error is None and connection.open:
            self._idle.setdefault(_origin(url), []).append(connection)
        else:
            connection.close()

    def _watch(self, exchange: Exchange, break_off: Callable[[], None]) -> None:
        self._busy[exchange] = break_off
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Ask those who wait for an answer whether they will go on: one timer for all of them."""
        for exchange, break_off in list(self._busy.items()):
            if exchange.on_wait is not None and not exchange.complete:
                exchange.on_wait(exchange)
                if exchange.complete:
                    break_off()
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep) if self._busy else None

    # -- through httpx -------------------------------------------------------------------------

    async def _through_httpx(self, request: httpx.Request) -> Exchange:
        exchange = _exchange(request)
        exchange.stamp = "httpx"
        exchange.reused = True
        begun = exchange.sent_ns = time.perf_counter_ns()

        async def trace(event: str, _: Any) -> None:
            if event == "connection.connect_tcp.started":
                exchange.reused = False
            elif event.endswith("send_request_headers.started"):
                exchange.sent_ns = time.perf_counter_ns()
                if not exchange.reused:
                    exchange.connect_ns = exchange.sent_ns - begun
            elif event.endswith("receive_response_headers.complete"):
                exchange.headers_ns = time.perf_counter_ns()

        request.extensions["trace"] = trace
        try:
            async with asyncio.timeout(None) as limit:
                self._watch(exchange, lambda: limit.reschedule(0.0))
                response = await self._pool(request).handle_async_request(request)
                exchange.status = response.status_code
                exchange.headers = [(name.lower(), value) for name, value in response.headers.raw]
                try:
                    await _take_all(response, exchange)
                finally:
                    await response.aclose()
        except TimeoutError:  # the sweeper broke it off
            exchange.end(BrokenOff("stopped", ""))
        except httpx.ConnectTimeout:
            raise _no_connection(request.extensions["timeout"].get("connect")) from None
        except httpx.TransportError as error:
            if isinstance(error, httpx.ConnectError):
                self._blame_this_machine(request.url, error)
            raise _in_our_words(error) from None
        finally:
            self._busy.pop(exchange, None)
        await exchange.finished()
        return exchange

    def _pool(self, request: httpx.Request) -> httpx.AsyncHTTPTransport:
        number = request.extensions.get("slot", 0) // _STREAMS_PER_POOL
        if number not in self._pools:
            self._pools[number] = httpx.AsyncHTTPTransport(
                verify=self._tls(), proxy=self._proxy(request.url), trust_env=self._trust_env
            )
        return self._pools[number]


async def _take_all(response: httpx.Response, exchange: Exchange) -> None:
    """Take a body out of httpx's own transport, stamped as it comes."""
    # Several HTTP chunks of one read come out one by one without the loop turning in between.
    # They arrived together, so they get one stamp: else they would look like fast tokens.
    loop = asyncio.get_running_loop()
    turned, stamp = True, 0

    def turn() -> None:
        nonlocal turned
        turned = True

    async for data in response.aiter_raw():
        if turned:
            turned, stamp = False, time.perf_counter_ns()
            loop.call_soon(turn)
        exchange.take(data, stamp)
        if exchange.complete:  # who reads it has had enough
            return
    exchange.end()


def _exchange(request: httpx.Request) -> Exchange:
    exchange = Exchange(asyncio.get_running_loop())
    exchange.on_body = request.extensions.get("on_body")
    exchange.on_wait = request.extensions.get("on_wait")
    request.extensions["exchange"] = exchange
    return exchange


def _no_connection(timeout_s: float | None) -> httpx.ConnectTimeout:
    within = f" within {timeout_s:g} s" if timeout_s else ""
    return httpx.ConnectTimeout(f"no connection{within}")


def _in_our_words(error: httpx.TransportError) -> httpx.TransportError:
    """Return what we raise ourselves where httpx says the same in other words, or in none."""
    if isinstance(error, httpx.ProxyError):
        return httpx.ConnectError(f"the proxy refused: {error}")
    if str(error).startswith(("Server disconnected", "peer closed connection")):
        return httpx.ReadError("the server closed the connection")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return type(error)(_plain(cause))
        cause = cause.__cause__ or cause.__context__
    return type(error)(_plain(error))


def _plain(error: Exception) -> str:
    """Say in plain words what the system or TLS complains of."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _bytes(request: httpx.Request) -> bytes:
    """Return the request as HTTP/1.1 bytes; its body must have been given as bytes."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % (name, value) for name, value in request.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n" + request.content
