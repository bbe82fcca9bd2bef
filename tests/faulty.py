"""What a server can do wrong, and requests made to such a server."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from exchanges import selector
from hostile import DONE, END, PATIENCE_S, STREAM, Peer, chunk, finish, response, token

from tpwidgets.engine.requester import Requester
from tpwidgets.engine.stamps import Clock
from tpwidgets.protocols import PROTOCOLS
from tpwidgets.samples import Sample

LIMIT_S = 1.5
"""The time limit of the faults in which it matters: all of them wait for it together."""
OUTPUT = 3
GZIP, ZLIB, RAW = 31, 15, -15
"""What zlib calls the framings."""
TWO = [token(), token()]


@dataclass(frozen=True)
class Fault:
    """What a server does wrong once it has read a request, and what has to come of it."""

    does: bytes | Callable[[Peer], None]
    then: str = "keep"
    """``keep`` the connection open, in silence; ``close`` or ``reset`` it."""
    status: str = "ok"
    code: int | None = 200
    says: str = ""
    """Part of what is said of it."""
    tokens: int = 0
    limit_s: float = PATIENCE_S

    def __call__(self, peer: Peer) -> None:
        if callable(self.does):
            self.does(peer)
        else:
            peer.send(self.does)
        if self.then == "keep":
            peer.gone()
        elif self.then == "reset":
            peer.reset()


def pings(ping: bytes) -> Callable[[Peer], None]:
    """Return what sends the same again and again until the client has hung up."""

    def does(peer: Peer) -> None:
        peer.sock.settimeout(LIMIT_S / 20)
        while True:
            try:
                if not peer.sock.recv(1):
                    return
            except TimeoutError:
                peer.send(ping)
            except ConnectionResetError:  # it had not read all when it hung up
                return

    return does


def after(said: bytes, does: Callable[[Peer], None]) -> Callable[[Peer], None]:
    def both(peer: Peer) -> None:
        peer.send(said)
        does(peer)

    return both


def endless(piece: bytes) -> Callable[[Peer], None]:
    def does(peer: Peer) -> None:
        for _ in range(1_000_000):
            peer.send(piece)
        raise AssertionError("nobody broke it off")

    return does


def long_line(peer: Peer) -> None:
    peer.send(STREAM + b"".join(map(chunk, TWO)) + b"%x\r\ndata: " % (6 + 100 * 2**20))
    for _ in range(100):
        peer.send(b"x" * 2**20)
    peer.send(b"\r\n" + chunk(b"\n\n" + finish() + DONE) + END)


def encoded(encoding: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: {encoding}\r\n"
    return head.encode() + b"transfer-encoding: chunked\r\n\r\n" + body + END


def packed(wbits: int, events: list[bytes], *, ended: bool = True) -> bytes:
    """Return the events as chunks, each compressed so far that it can be read at once."""
    packer = zlib.compressobj(wbits=wbits)
    pieces = [packer.compress(said) + packer.flush(zlib.Z_SYNC_FLUSH) for said in events]
    return b"".join(map(chunk, pieces)) + (chunk(packer.flush()) if ended else b"")


def error(status: str, *headers: str, body: bytes = b'{"error": {"message": "no luck"}}') -> bytes:
    plain = response(body, status=status)
    return plain.replace(b"\r\n", "".join(f"\r\n{h}" for h in headers).encode() + b"\r\n", 1)


def requester(url: str, limit_s: float, batch: int = 1) -> Requester:
    protocol = PROTOCOLS["chat"]
    return Requester(
        {
            "url": url, "protocol": "chat", "body": protocol.body("m", "", OUTPUT),
            "prompt_at": protocol.prompt_at, "headers": {}, "words": 4, "instructed": False,
            "prefix": "", "batch": batch, "output_tokens": OUTPUT, "timeout_s": limit_s,
            "local": True, "epoch_ns": 0, "run": "r", "seed": 1,
        },
        Clock(), selector(),
    )  # fmt: skip


async def ask(
    url: str, limit_s: float = PATIENCE_S, times: int = 1, batch: int = 1
) -> list[Sample]:
    """Make one request after the other, as one user does."""
    made = requester(url, limit_s, batch)
    try:
        return [(await made(0))[0] for _ in range(times)]
    finally:
        await made.close()
