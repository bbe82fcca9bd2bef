"""Every fault that an endpoint can have, at every stage: what becomes of the request, and what is
said about it. All faults are had at once, from one server."""

import asyncio
import gzip
import itertools
import os
import socket
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hostile import (
    DONE,
    END,
    NOT_FOUND,
    PATIENCE_S,
    STREAM,
    Api,
    Peer,
    Request,
    Server,
    answer,
    chunk,
    event,
    finish,
    free_port,
    response,
    said,
    stream,
    token,
    usage,
)
from test_measure import linux
from test_transport import certificate as certificate
from test_transport import in_loop, selector, tls

import tpwidgets as tp
from tpwidgets.engine import throttle
from tpwidgets.engine.breaker import Breaker
from tpwidgets.engine.encoding import Unpacker
from tpwidgets.engine.requester import Requester
from tpwidgets.engine.stamps import Clock
from tpwidgets.errors import EndpointError
from tpwidgets.plan import answer as answer_of
from tpwidgets.protocols import PROTOCOLS
from tpwidgets.samples import Sample
from tpwidgets.verdict import why

LIMIT_S = 1.5
"""The time limit of the faults in which it matters: all of them wait for it together."""
OUTPUT = 3
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


WHOLE = [*TWO, token(), finish(), usage(10, 3), DONE]
BEGUN = STREAM + b"".join(map(chunk, TWO))
FINISHED = STREAM + b"".join(map(chunk, WHOLE[:4]))
NULL = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
EMPTY = event({"choices": []})
SILENT = {"status": "timeout", "limit_s": LIMIT_S}
OK = {"tokens": 3}
GZIP, ZLIB, RAW = 31, 15, -15

FAULTS: dict[str, Fault] = {
    # headers
    "closed before an answer": Fault(b"", "close", "disconnected", None, "cut off (the server clo"),
    "reset before an answer": Fault(b"", "reset", "disconnected", None, "reset by peer"),
    "black hole": Fault(b"", code=None, says="timed out (no answer within 1.5 s)", **SILENT),
    "half a head, closed": Fault(STREAM[:30], "close", "disconnected", None, "closed the conn"),
    "half a head, silent": Fault(STREAM[:30], code=None, says="no answer within 1.5 s", **SILENT),
    "a head that drips": Fault(
        after(STREAM[:-2], pings(b"x: y\r\n")), code=None, says="no answer within 1.5 s", **SILENT
    ),
    "another protocol": Fault(b"SSH-2.0-x\r\n", "keep", "malformed", None, "not HTTP/1.1"),
    "a head without an end": Fault(
        after(STREAM[:-2], endless(b"x: " + b"y" * 9000 + b"\r\n")), "keep", "malformed", None,
        "headers",
    ),
    # before the first token
    "closed before a token": Fault(STREAM, "close", "disconnected", 200, "closed the connection"),
    "reset before a token": Fault(STREAM, "reset", "disconnected", 200, "reset by peer"),
    "silent before a token": Fault(STREAM, says="no token within 1.5 s)", **SILENT),
    "comments, no token": Fault(
        after(STREAM, pings(chunk(b": ping\n\n"))),
        says="no token within 1.5 s, though bytes came", **SILENT,
    ),
    "empty deltas, no token": Fault(
        after(STREAM, pings(chunk(NULL))), says="no token within 1.5 s, though", **SILENT
    ),
    "an event that drips": Fault(
        after(STREAM + chunk(b"data: "), pings(chunk(b"x"))), says="no token within", **SILENT
    ),
    "nothing at all": Fault(stream([]), "keep", "malformed", 200, "an empty stream"),
    "nothing but DONE": Fault(stream([DONE]), "keep", "malformed", 200, "an empty stream"),
    # amid the answer
    "closed amid": Fault(BEGUN, "close", "disconnected", 200, "closed the connection", 2),
    "reset amid": Fault(BEGUN, "reset", "disconnected", 200, "reset by peer", 2),
    "ended amid": Fault(BEGUN + END, "keep", "disconnected", 200, "ended before the answer", 2),
    "silent amid": Fault(BEGUN, says="no further token within 1.5 s)", tokens=2, **SILENT),
    "comments amid": Fault(
        after(BEGUN, pings(chunk(b": ping\n\n"))),
        says="no further token within 1.5 s, though", tokens=2, **SILENT,
    ),
    "an error amid": Fault(
        stream([*TWO, event({"error": {"message": "out of memory"}})]), "keep", "http_error", 200,
        "an error in the stream (out of memory)", 2,
    ),
    "half an event": Fault(
        stream([*TWO, token()[:20]]), "keep", "malformed", 200, "not understood (an event", 2
    ),
    "no JSON amid": Fault(
        stream([*TWO, event(b"<html>"), finish(), DONE]), "keep", "malformed", 200, "<html>", 2
    ),
    "another JSON amid": Fault(
        stream([*TWO, event({"object": "list"}), finish(), DONE]), "keep", "malformed", 200,
        "not understood (an event that is not of this protocol", 2,
    ),
    "a chunk longer than it says": Fault(
        BEGUN + b"2\r\n" + token() + b"\r\n", "keep", "malformed", 200, "not HTTP/1.1", 2
    ),
    "a chunk shorter than it says": Fault(
        BEGUN + b"fff\r\n" + token(), "close", "disconnected", 200, "closed the connection", 3
    ),
    "a chunk without a size": Fault(BEGUN + b"zz\r\n", "keep", "malformed", 200, "not HTTP", 2),
    "a line of 100 MB": Fault(long_line, "keep", "malformed", 200, "too long for any token", 2),
    "an endless answer": Fault(
        after(STREAM, endless(chunk(token()))), "keep", "malformed", 200, "an endless answer", -1
    ),
    "broken gzip": Fault(
        encoded("gzip", packed(GZIP, TWO, ended=False) + chunk(b"?" * 99)), "keep", "malformed",
        200, "compression is broken", 2,
    ),
    # at the end
    "no DONE": Fault(stream(WHOLE[:-1]), **OK),
    "no usage": Fault(stream([*WHOLE[:4], DONE]), **OK),
    "neither": Fault(stream(WHOLE[:4]), **OK),
    "usage twice": Fault(stream([*WHOLE[:4], usage(9, 2), usage(10, 3), DONE]), **OK),
    "closed at the end": Fault(FINISHED, "close", **OK),
    "reset at the end": Fault(FINISHED, "reset", **OK),
    "silent at the end": Fault(FINISHED, limit_s=LIMIT_S, **OK),
    "silent after DONE": Fault(STREAM + b"".join(map(chunk, WHOLE)), limit_s=LIMIT_S, **OK),
    "comments at the end": Fault(
        after(FINISHED, pings(chunk(b": ping\n\n"))), limit_s=LIMIT_S, **OK
    ),
    "half a usage at the end": Fault(FINISHED + chunk(WHOLE[4][:20]), "close", **OK),
    "a lie at the end": Fault(STREAM + b"".join(map(chunk, WHOLE)) + b"zz\r\n", **OK),
    # odd, and right
    "empty choices": Fault(stream([EMPTY, *WHOLE]), **OK),
    "null content": Fault(stream([NULL, *WHOLE]), **OK),
    "comments and pings": Fault(
        stream([
            b": x\n\n", b"event: ping\ndata: \n\n", b"event: ping\ndata: {}\n\n", *WHOLE[:1],
            b'data: {"type": "ping"}\n\n', *WHOLE[1:],
        ]),
        **OK,
    ),
    "CRLF": Fault(stream(e.replace(b"\n", b"\r\n") for e in WHOLE), **OK),
    "CR": Fault(stream(e.replace(b"\n", b"\r") for e in WHOLE), **OK),
    "a BOM": Fault(stream([b"\xef\xbb\xbf" + WHOLE[0], *WHOLE[1:]]), **OK),
    "invalid UTF-8": Fault(stream([WHOLE[0].replace(b"word", b"w\xff\xc3"), *WHOLE[1:]]), **OK),
    "closed after the answer": Fault(
        answer(3).replace(b"\r\n", b"\r\nconnection: close\r\n", 1), "close", **OK
    ),
    "until the close": Fault(b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(WHOLE), "close", **OK),
    "gzip": Fault(encoded("gzip", packed(GZIP, WHOLE)), **OK),
    "deflate": Fault(encoded("deflate", packed(ZLIB, WHOLE)), **OK),
    "raw deflate": Fault(encoded("deflate", packed(RAW, WHOLE)), **OK),
    # something else than a stream
    "br": Fault(
        encoded("br", chunk(b"?")), "keep", "malformed", 200, "the answer is compressed (br)"
    ),
    "zstd": Fault(encoded("zstd", chunk(b"?")), "keep", "malformed", 200, "compressed (zstd)"),
    "HTML": Fault(response(b"<html>", "text/html"), "keep", "malformed", 200, "an HTML page"),
    "JSON": Fault(said({"choices": []}), "keep", "malformed", 200, "answered without streaming"),
    "half a JSON": Fault(
        response(b'{"choices": [{"me'), "keep", "malformed", 200, "answered without streaming"
    ),
    "an error under 200": Fault(
        said({"error": {"message": "busy"}}), "keep", "malformed", 200, "busy"
    ),
    # refusals
    **{
        f"HTTP {code}": Fault(
            error(f"{code} No"), "keep", "http_error", code, f"HTTP {code} (no luck)"
        )
        for code in (400, 401, 403, 404, 408, 409, 413, 422, 500, 502, 503, 529)
    },
    "HTTP 429": Fault(error("429 No"), "keep", "rate_limited", 429, "rate-limited (no luck)"),
    "HTTP 429 with limits": Fault(
        error("429 No", "x-ratelimit-limit-requests: 500", "x-ratelimit-remaining-requests: 0"),
        "keep", "rate_limited", 429, "(no luck; its limits: 500 requests (0 left))",
    ),
    "a redirect": Fault(
        error("307 No", "location: http://elsewhere.invalid/"), "keep", "http_error", 307,
        "HTTP 307 (it redirects to another address",
    ),
    "HTML under 502": Fault(
        error("502 No", body=b"<html>"), "keep", "http_error", 502, "HTTP 502 (an HTML page"
    ),
    "no word under 503": Fault(
        error("503 No", body=b""), "keep", "http_error", 503, "HTTP 503 (Service Unavailable)"
    ),
    "a stream under 500": Fault(
        error("500 No", body=event({"error": "oops"})), "keep", "http_error", 500, "(oops)"
    ),
    "gzip under 400": Fault(
        error("400 No", "content-encoding: gzip", body=gzip.compress(b'{"error": "zipped"}')),
        "keep", "http_error", 400, "HTTP 400 (zipped)",
    ),
    "hidden reasoning": Fault(
        stream([finish("length"), usage(5, 64), DONE]), "keep", "http_error", 200,
        "no answer (all 64 output tokens went into reasoning that is not shown: ask for more "
        "(output_tokens))", tokens=0,
    ),
    "an error of all tokens": Fault(
        stream([token(), finish("length"), usage(5, 64), event({"error": "oops"})]), "keep",
        "http_error", 200, "an error in the stream (oops)", tokens=1,
    ),
    "br under 400": Fault(
        error("400 No", "content-encoding: br", body=b"?"), "keep", "http_error", 400, "HTTP 400"
    ),
    "closed amid a refusal": Fault(
        error("500 No")[:-4], "close", "http_error", 500, "HTTP 500 ("
    ),
    "silent amid a refusal": Fault(
        error("500 No")[:-4], "keep", "http_error", 500, "HTTP 500 (", limit_s=LIMIT_S
    ),
    "an endless refusal": Fault(
        after(STREAM.replace(b"200", b"500"), endless(chunk(b"x" * 9000))), "keep", "http_error",
        500, "HTTP 500 (xxx",
    ),
}  # fmt: skip


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


def script(peer: Peer) -> None:
    request = peer.request()
    FAULTS[request.target.removeprefix("/").replace("%20", " ")](peer)


@pytest.fixture(scope="module")
def samples() -> dict[str, Sample]:
    async def all_at_once(origin: str) -> list[list[Sample]]:
        asked = (ask(f"{origin}/{name}", fault.limit_s) for name, fault in FAULTS.items())
        return await asyncio.wait_for(asyncio.gather(*asked), 2 * PATIENCE_S)

    with Server(script) as server:
        return dict(zip(FAULTS, itertools.chain(*in_loop(all_at_once(server.origin))), strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_what_becomes_of_a_request(name: str, samples: dict[str, Sample]) -> None:
    sample, fault = samples[name], FAULTS[name]
    assert (sample.status, sample.http_status) == (fault.status, fault.code), sample.message
    assert fault.says in why(sample)
    assert bool(sample.message) == (fault.status != "ok")
    assert "\n" not in why(sample)
    assert not any(word in sample.message for word in ("Error", "Errno", "Exception"))
    if fault.tokens >= 0:  # what came before it is kept
        assert len(sample.token_ms) == fault.tokens
    assert list(sample.token_ms) == sorted(sample.token_ms)
    assert sample.ended_ms >= max(sample.token_ms, default=0.0)


def test_tokens_are_counted_in_chunks_where_the_server_does_not_count(
    samples: dict[str, Sample],
) -> None:
    sources = {name: samples[name].token_source for name in ("no usage", "neither", "usage twice")}
    assert sources == {"no usage": "chunks", "neither": "chunks", "usage twice": "usage"}
    assert {samples[name].output_tokens for name in sources} == {3}


def test_an_endless_answer_keeps_what_came_and_is_broken_off_soon(
    samples: dict[str, Sample],
) -> None:
    came = len(samples["an endless answer"].token_ms)
    assert 16 * OUTPUT + 1024 < came < 900_000  # it is looked at a few times a second only


def test_tokens_that_all_went_into_hidden_reasoning(samples: dict[str, Sample]) -> None:
    sample = samples["hidden reasoning"]
    assert (sample.hidden, sample.output_tokens, sample.token_source) == (True, 64, "usage")
    breaker = Breaker(1)
    breaker.set_users(1)
    for second in range(100):  # a server that answers is alive
        assert not breaker.verdict(replace(sample, sent_s=float(second)), 0.0)
    assert not samples["an error of all tokens"].hidden


def test_who_makes_fewer_choices_than_asked_for_is_measured_by_those_that_came() -> None:
    def choices(*indices: int, cut: int = 0) -> bytes:
        said = [
            event({"choices": [{"index": i, "delta": {"content": "a"}, "finish_reason": reason}]})
            for reason in (None, "stop")
            for i in indices
        ]
        return stream(said[: len(said) - cut])

    async def asked(*answers: bytes) -> list[Sample]:
        left = iter(answers)
        with Server(Api(chat_completions=lambda _: next(left))) as server:
            url = f"{server.url}/chat/completions"
            return await ask(url, times=len(answers), batch=4)

    one, two, four, cut = in_loop(
        asked(choices(0), choices(0, 2), choices(0, 1, 2, 3), choices(0, 1, 2, 3, cut=1))
    )
    for sample, came in ((one, 1), (two, 2), (four, 4)):
        assert (sample.status, sample.items) == ("ok", came)
        assert sample.requested_tokens == OUTPUT * came
    assert (cut.status, cut.items) == ("disconnected", 4)


# --- before there is a connection -----------------------------------------------------------------


def test_refused() -> None:
    [sample] = in_loop(ask(f"http://127.0.0.1:{free_port()}/"))
    assert (sample.status, sample.http_status) == ("refused", None)
    assert why(sample) == "no connection (Connection refused)"


def test_a_name_that_leads_nowhere() -> None:
    [sample] = in_loop(ask("http://no-such-host.invalid/"))
    assert sample.status == "refused"
    assert why(sample).startswith("no connection (")


@linux
def test_nobody_accepts() -> None:
    """The queue of those who wait to be accepted is full: the system drops who knocks."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        [sample] = in_loop(ask(f"http://127.0.0.1:{address[1]}/", 0.3))
        for sock in waiting:
            sock.close()
    assert sample.status == "timeout"
    assert why(sample) == "timed out (no connection within 0.3 s)"


def test_who_accepts_late_is_only_slow() -> None:
    async def late(server: Server) -> Sample:
        asking = asyncio.create_task(ask(server.url))
        await asyncio.sleep(0)
        with server:
            [sample] = await asking
        return sample

    server = Server(lambda peer: (peer.request(), peer.send(answer(3)), peer.gone())[-1])
    assert in_loop(late(server)).status == "ok"


def test_tls_that_fails(certificate: Path) -> None:
    def silent(peer: Peer) -> None:
        peer.gone()

    with Server(silent, tls=tls(certificate)) as untrusted:
        [sample] = in_loop(ask(untrusted.url))
        assert sample.status == "refused"
        assert "no connection (its certificate is not trusted: " in why(sample)
    for does, says in (
        (lambda peer: peer.send(NOT_FOUND), "TLS failed: "),
        (Peer.close, "the server closed the connection in the TLS handshake"),
        (Peer.reset, "Connection reset by peer"),
    ):
        with Server(lambda peer, does=does: (peer.sock.recv(1), does(peer))[0]) as server:
            [sample] = in_loop(ask(server.url.replace("http:", "https:")))
        assert sample.status == "refused"
        assert f"no connection ({says}" in why(sample)
    with Server(silent) as hole:
        [sample] = in_loop(ask(hole.url.replace("http:", "https:"), 0.3))
        assert why(sample) == "timed out (no connection within 0.3 s)"


def test_a_connection_closed_after_every_request_costs_only_another() -> None:
    def once(peer: Peer) -> None:
        peer.request()
        peer.send(answer(3))  # keep-alive, but it isn't kept

    with Server(once) as server:
        made = in_loop(ask(server.url, times=5))
    assert {sample.status for sample in made} == {"ok"}
    assert not any(sample.reused_connection for sample in made)


def test_what_is_sent_again_is_only_what_nobody_took() -> None:
    """A kept connection that dies long after a request was sent on it had taken it."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer(3))
        peer.request()
        time.sleep(1.1)  # more than what a close that was under way takes

    with Server(script) as server:
        made = in_loop(ask(server.url, times=2))
    assert [sample.status for sample in made] == ["ok", "disconnected"]
    assert len(server.requests) == 2


# --- compression ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "wbits"), [("gzip", GZIP), ("deflate", ZLIB), (" X-GZIP", GZIP)]
)
def test_unpacking_byte_by_byte_and_several_members(encoding: str, wbits: int) -> None:
    text = os.urandom(3000) * 3
    parts = [zlib.compressobj(wbits=wbits) for _ in range(2)]
    data = b"".join(part.compress(text) + part.flush() for part in parts)
    unpacker = Unpacker(encoding)
    pieces = [piece for byte in data for piece in unpacker.feed(bytes([byte]))]
    assert b"".join(pieces) == 2 * text


def test_a_small_body_that_unpacks_to_much_comes_in_small_pieces() -> None:
    bomb = zlib.compress(bytes(50 * 2**20), wbits=GZIP)
    sizes = [len(piece) for piece in Unpacker("gzip").feed(bomb)]
    assert sum(sizes) == 50 * 2**20
    assert max(sizes) <= 64 * 1024


# --- what a server says about coming again --------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Tue, 01 Jan 2030 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 01 Jan 2029 00:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_a_refusal_asks_to_wait(
    status: int, headers: dict[str, str], pause_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1893456000.0)  # 2030 begins
    unsaid = 1.0 if status == 429 else 0.0
    assert throttle.pause_s(status, headers, "") == (unsaid if pause_s is None else pause_s)


def test_a_quota_that_is_used_up_will_not_be_more_by_waiting() -> None:
    body = '{"error": {"code": "insufficient_quota"}}'
    assert throttle.pause_s(429, {"retry-after": "1"}, body) == float("inf")


@pytest.mark.parametrize("status", ["429 Slow", "503 Full", "529 Overloaded"])
def test_a_pause_is_passed_on_to_the_user_who_was_asked(status: str) -> None:
    async def twice(url: str) -> list[float]:
        made = requester(url, PATIENCE_S)
        try:
            return [(await made(0))[1] for _ in range(2)]
        finally:
            await made.close()

    answers = itertools.cycle([error(status, "retry-after: 5"), answer(3)])
    with Server(Api(chat_completions=lambda _: next(answers))) as server:
        assert in_loop(twice(f"{server.url}/chat/completions")) == [5.0, 0.0]


def test_limits_in_words() -> None:
    told = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-input-tokens-limit": "30000",
        "x-ratelimit-remaining-tokens": "12",
        "x-ratelimit-limit-requests-day": "9",
        "x-ratelimit-limit-images": "9",
        "x-ratelimit-reset-requests": "1s",
    }
    words = "its limits: 50 requests (0 left), 30,000 input tokens, 12 tokens left"
    assert throttle.limits_told(told) == words
    assert throttle.limits_told({"retry-after": "1"}) == ""


# --- whole measurements ---------------------------------------------------------------------------


def serving(refuse: Callable[[int], bytes | None]) -> Callable[[Request], bytes]:
    """Return a route: the probes are answered, and each further request but what is refused."""
    turns = itertools.count()

    def chat(request: Request) -> bytes:
        refusal = refuse(next(turns)) if "x-request-id" in request.headers else None
        prompt = len(request.json["messages"][0]["content"].split())
        return refusal or answer(request.json["max_tokens"], prompt=prompt)

    return chat


def test_a_point_with_failures_says_how_many_why_and_what_that_does_to_ttft() -> None:
    slow = error("429 Slow", "retry-after-ms: 1", "x-ratelimit-limit-requests: 60")
    route = serving(lambda turn: slow if turn % 4 == 3 else None)
    with Server(Api(chat_completions=route)) as server:
        run = tp.measure(server.url, concurrency=2, requests=16, progress=False)
    [row] = run.rows
    assert row["n_rate_limited"] == row["n_failed"] >= 3
    assert row["error_rate"] == row["n_failed"] / (row["n"] + row["n_failed"])
    assert row["ttft_p95_incl_failures_ms"] == float("inf")
    assert "requests failed: rate-limited (no luck; its limits: 60 requests)" in row["note"]
    assert "failures counted as endless, TTFT p95 is endless" in row["note"]
    # a server that computes nothing is too fast for a client that isn't alone on its core
    assert "% of requests were rate-limited at 2" in answer_of([{**row, "client_limited": False}])
    refused = [s for s in run.samples if s.status == "rate_limited"]
    assert len(run.samples) == len({s.request_id for s in run.samples})
    assert all(s.http_status == 429 for s in refused)


def test_a_key_that_is_refused_by_every_request_ends_it_at_once() -> None:
    route = serving(lambda turn: error("401 No", body=b'{"error": "wrong key"}'))
    with Server(Api(chat_completions=route)) as server:
        with pytest.raises(EndpointError, match=r"every request failed: HTTP 401 \(wrong key\)"):
            tp.measure(server.url, concurrency=(1, 4, 16), requests=1000, progress=False)
        assert len([r for r in server.requests if "x-request-id" in r.headers]) <= 3
