"""Requests that the stamping transport sends to a server of the test's."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hostile import PATIENCE_S, Peer, Server, response

from tpwidgets.engine.exchange import Exchange
from tpwidgets.engine.selector import InlineSelector
from tpwidgets.engine.stamps import KERNEL_STAMPS, Clock, keep_stamping
from tpwidgets.engine.transport import StampedTransport

OK = response(b"hello")


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """Fail on a socket, a transport or a task that was left behind."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture(scope="module", autouse=True)
def stamping() -> Iterator[None]:
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
