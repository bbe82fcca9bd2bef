"""However a server's bytes are cut into reads, the same comes out, at the same moments."""

import asyncio
import json
from typing import Any

import pytest
from fuzz import fuzz_http
from fuzz.fuzz_stream import (
    check,
    cut,
    expected,
    mutated,
    naive_events,
    naive_lines,
    outcome,
    parsed,
    recorded,
    unstamped,
)  # fmt: skip
from hypothesis import given, settings
from hypothesis import strategies as st

from tpwidgets.protocols import PROTOCOLS, Outcome, StreamReader, WireProtocol, sse
from tpwidgets.protocols.lines import LineParser

pytestmark = pytest.mark.quick

PLACES = st.lists(st.integers(0, 10_000), max_size=12)
TEXT = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12)


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


# --- events ---------------------------------------------------------------------------------------


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes], list[int]]:
    """Draw a stream, the events in it, and the offset of the byte that ends each one's last line.

    It is written as a server writes it, so that what comes out owes nothing to any parser.
    """
    stream, events, ends = b"", [], []
    if draw(st.booleans()):
        stream += b"\xef\xbb\xbf"
    for lines in draw(st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=6)):
        newline = st.sampled_from([b"\n", b"\r\n", b"\r"])
        for noise in draw(st.lists(st.sampled_from([b": ping", b"event: x", b"id: 1"]))):
            stream += noise + draw(newline)
        for line in lines:
            # without the space only where the data itself does not begin with one
            space = b"" if not line.startswith(" ") and draw(st.booleans()) else b" "
            stream += b"data:" + space + line.encode()
            ends.append(len(stream))
            stream += draw(newline)
        ends[-len(lines) :] = ends[-1:]
        events.append("\n".join(lines).encode())
        # CR then LF is one line end, so a blank line after a CR can't be written as LF
        stream += b"\r" if stream.endswith(b"\r") else draw(newline)
    return stream, events, ends


SOUP = st.lists(
    st.sampled_from(
        [
            *(
                b"data",
                b"data:",
                b"data: ",
                b"\n",
                b"\r",
                b"\r\n",
                b"\n\n",
                b" ",
                b":",
                b"event: x",
            ),
            *(b"\xef\xbb\xbf", "é".encode(), "😀".encode(), b"\xff", b"\x00", b"a"),
        ]
    ),
    max_size=40,
).map(b"".join)


@given(streams(), PLACES)
def test_the_events_are_the_same_however_the_stream_is_cut(
    drawn: tuple[bytes, list[bytes], list[int]], places: list[int]
) -> None:
    stream, events, ends = drawn
    assert naive_events(stream) == [*zip(events, ends, strict=True)]
    for reads in ([stream] if stream else [], cut(stream, places), bytewise(stream)):
        assert parsed(reads) == expected(reads)


@settings(max_examples=300)
@given(SOUP, PLACES)
def test_any_bytes_are_read_as_the_standard_reads_them(stream: bytes, places: list[int]) -> None:
    for reads in ([stream] if stream else [], cut(stream, places), bytewise(stream)):
        assert parsed(reads) == expected(reads)
        assert parsed(reads, LineParser) == expected(reads, naive_lines)


@given(st.lists(TEXT, max_size=6), st.sampled_from([b"\n", b"\r\n"]), st.booleans(), PLACES)
def test_lines_come_when_they_end(
    texts: list[str], newline: bytes, mark: bool, places: list[int]
) -> None:
    stream, events = b"\xef\xbb\xbf" if mark else b"", []
    for text in texts:
        line = text.encode() + newline
        stream += line
        if line.strip():
            events.append((line[:-1], len(stream) - 1))
    assert naive_lines(stream) == events
    for reads in (cut(stream, places), bytewise(stream)):
        assert parsed(reads, LineParser) == expected(reads, naive_lines)


def test_a_late_blank_line_does_not_date_the_event() -> None:
    assert parsed([b"data: a\n", b"\n"]) == [(b"a", 0)]
    assert parsed([b"data: a\r", b"\n\r", b"\ndata: b\n\n"]) == [(b"a", 0), (b"b", 2)]


def test_an_event_that_the_end_cut_off_is_handed_out_once() -> None:
    assert parsed([b"data: a\n\ndata: b"]) == [(b"a", 0), (b"b", 1)]
    assert parsed([b"data: a\n\ndata: b\n"]) == [(b"a", 0), (b"b", 0)]


def test_a_read_that_looks_like_an_event_need_not_be_one() -> None:
    assert parsed([b"\n", b": ", b"data: a\n\n"]) == []
    assert parsed([b"\n", b"data: a\n", b"data: b\n\n"]) == [(b"a\nb", 2)]
    assert parsed([b"\n", b"data: a\n\n\ndata: b\n\n"]) == [(b"a", 1), (b"b", 1)]
    assert parsed([b"\n", b"data: a\n\nid: 1\ndata: b\n\n"]) == [(b"a", 1), (b"b", 1)]
    assert parsed([b"\n", b"data: a\rdata: b\n\n"]) == [(b"a\nb", 1)]


def test_a_mark_of_byte_order_is_one_at_the_start_only() -> None:
    mark = b"\xef\xbb\xbf"
    assert parsed([mark + b"data: a\n\n" + mark + b"data: b\n\n"]) == [(b"a", 0)]
    assert parsed([b"\n" + mark + b"data: b\n\n"]) == []
    assert parsed([mark[:2], mark[2:] + b"data: a"]) == [(b"a", 2)]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1000, 65_536, 3_000_000])
def test_an_event_of_a_megabyte(newline: bytes, size: int) -> None:
    big = "é".encode() * 500_000
    stream = b"data: " + big + newline * 2 + b"data: y" + newline * 2
    reads = cut(stream, list(range(0, len(stream), size)))
    last = len(reads) - 1
    assert parsed(reads) == expected(reads) == [(big, last), (b"y", last)]


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("chat", b"x" * 400),
        ("chat", b"data: " + b"x" * 400 + b"\n"),
        ("ollama", b"x" * 400),
        ("gemini", b'[{"a":"' + b"x" * 400),
    ],
)
def test_what_never_ends_is_dropped_and_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch, name: str, piece: bytes
) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT", 1000)
    reader = StreamReader(PROTOCOLS[name])
    for stamp in range(10):
        reader.feed(piece, stamp)
        parser = getattr(reader._parser, "_parser", reader._parser)
        assert sum(map(len, parser._parts + getattr(parser, "_data", []))) <= 1000
    assert "too long" in str(reader.finish(11).malformed)


def test_comments_without_end_are_no_event() -> None:
    pings = StreamReader(PROTOCOLS["chat"])
    for stamp in range(1000):
        pings.feed(b": ping\n\n", stamp)
    assert pings.finish(1001).malformed is None


# --- outcomes -------------------------------------------------------------------------------------


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """Draw a chat's stream and the texts in it."""
    texts = draw(st.lists(st.text(min_size=1, max_size=8), max_size=8))
    newline = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = b""
    for text in texts:
        event = {"choices": [{"delta": {"content": text}, "finish_reason": None}]}
        said = json.dumps(event, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
        stream += b"data: " + said + newline * 2
    return stream + b"data: [DONE]" + newline * 2, texts


@given(answers(), PLACES)
def test_the_outcome_is_the_same_however_the_stream_is_cut(
    answer: tuple[bytes, list[str]], places: list[int]
) -> None:
    stream, texts = answer
    whole = outcome("chat", [stream])
    assert (len(whole.token_ns), whole.chars) == (len(texts), sum(map(len, texts)))
    assert (whole.done, whole.malformed, whole.merged) == (True, None, max(len(texts) - 1, 0))
    for reads in (cut(stream, places), bytewise(stream)):
        assert unstamped(outcome("chat", reads)) == unstamped(whole)


class Echo(WireProtocol):
    """A protocol that keeps what it is given."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:
        self.said.append(said)


ODD = [
    b"NaN", b"-Infinity", b'"\\ud800"', b'"\xed\xa0\x80"', b'"\xff"', b"1e999", b"9" * 30,
    b"9" * 5000, b"01", b"1.", b"-0", b"-0.0", b'{"a":1,"a":2}', b'""x', b"\xef\xbb\xbf1",
    b'"\x00"', b'"\\u0000"', b"[" * 10_000, b'"\\u00e9\\ud83d\\ude00"', b"tru", b"0.1e-400",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=200)
@given(
    st.sampled_from(ODD)
    | st.binary(max_size=20).filter(lambda data: not set(data) & set(b"\r\n"))
    | st.builds(lambda said, plain: json.dumps(said, ensure_ascii=plain), JSON, st.booleans()).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
)
def test_json_is_what_the_standard_library_takes_for_json(event: bytes) -> None:
    echo = Echo()
    reader = StreamReader(echo)
    reader.feed(b"data: " + event + b"\n\n", 1)
    malformed = reader.finish(2).malformed
    try:
        try:
            said = [json.loads(event)]
        except UnicodeDecodeError:  # half a character spoils a character, not an event
            said = [json.loads(event.decode("utf-8", "replace"))]
    except (ValueError, RecursionError):
        said = []
        assert malformed or event.strip() in (b"", b"[DONE]")
    assert repr(echo.said) == repr(said)  # NaN is not equal to itself, but reads the same


# --- the fuzz targets, so that they don't rot -----------------------------------------------------


def test_the_fuzz_target_of_streams() -> None:
    seeds = recorded()
    assert len(seeds) >= 5
    for stream in seeds:
        check(stream)
    for seed in range(300):
        check(mutated(seeds, seed))


def test_the_fuzz_target_of_responses() -> None:
    for response in fuzz_http.responses():
        fuzz_http.check(response)
    for seed in range(300):
        fuzz_http.check(fuzz_http.sample(seed))


def reading(*reads: bytes) -> fuzz_http.Reading:
    async def feed() -> fuzz_http.Reading:
        return fuzz_http.Reading([*reads], closed=False)

    return asyncio.run(feed())


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 200 OK\r\n", b"H", b"\r\nHTTP/1.1 100 Continue\r\n\r\n"]
)
def test_a_connection_that_holds_the_beginning_of_another_answer_is_closed(more: bytes) -> None:
    # found by the fuzzer: within one read it was kept, and the rest answered the next request
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    assert reading(answer).left_open
    for reads in ([answer + more], [answer, more]):
        kept = reading(*reads)
        assert (kept.body, kept.said[3], kept.left_open) == (b"hi", True, False)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"a" * 65_536),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 10_000),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 10_000),
    ],
)
def test_headers_without_an_end_do_not_fill_the_memory(begin: bytes, more: bytes) -> None:
    endless = reading(begin, *[more] * 30)
    assert "headers without an end" in endless.said[4]
    assert not endless.left_open
    body = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n"
    assert reading(body, *[b"x" * 65_536] * 30).said[4] == "None"


def test_the_fuzz_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_BOM", b"da")
    with pytest.raises(AssertionError):
        check(b"data: a\n\n")
