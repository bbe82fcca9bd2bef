"""What becomes of a request, whatever the server does with its answer."""

import asyncio
import gzip
import itertools
from dataclasses import replace

import pytest
from exchanges import in_loop
from faulty import (
    GZIP,
    LIMIT_S,
    OUTPUT,
    RAW,
    TWO,
    ZLIB,
    Fault,
    after,
    ask,
    encoded,
    endless,
    error,
    long_line,
    packed,
    pings,
)
from hostile import (
    DONE,
    END,
    PATIENCE_S,
    STREAM,
    Api,
    Peer,
    Server,
    answer,
    chunk,
    event,
    finish,
    response,
    said,
    stream,
    token,
    usage,
)

from tpwidgets.engine.breaker import Breaker
from tpwidgets.metrics.verdict import why
from tpwidgets.samples import Sample

WHOLE = [*TWO, token(), finish(), usage(10, 3), DONE]
BEGUN = STREAM + b"".join(map(chunk, TWO))
FINISHED = STREAM + b"".join(map(chunk, WHOLE[:4]))
NULL = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
EMPTY = event({"choices": []})
SILENT = {"status": "timeout", "limit_s": LIMIT_S}
OK = {"tokens": 3}

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
