"""Fuzz how a stream is read: the parsers, StreamReader and every protocol.

Whatever the bytes, nothing raises, and however they are cut into reads, the same is read out of
them, at the same moments as a naive parser of the whole stream finds. Coverage-guided, with
atheris (Python 3.11 to 3.13, Linux; not among the package's dependencies)::

    pip install atheris
    mkdir -p /tmp/corpus && cd tests
    python -m fuzz.fuzz_stream -max_total_time=1800 -timeout=20 -max_len=8000 /tmp/corpus wire

`tests/test_parsing.py` runs the same assertions on a few hundred fixed inputs.
"""

import itertools
import re
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

from tpwidgets.protocols import PROTOCOLS, EventParser, Outcome, StreamReader
from tpwidgets.protocols.base import Parser
from tpwidgets.protocols.lines import LineParser

WIRE = Path(__file__).parents[1] / "wire"
WORDS = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\xef\xbb\xbf", b"data:", b"data: ", b"data", b":"),
    *(b": ping\n\n", b"event: x\n", b"id: 1\r", b"data: [DONE]\n\n", b"[DONE]", b"data\n", b" "),
    *(b"{", b"}", b"[", b"]", b'"', b",", b"null", b"0", b"-1", b"1e999", b"NaN", b"\\ud800"),
    *(b"9" * 30, b"9" * 400, b"true", b'"prompt_tokens":', b'"total_tokens":', b'"metrics":'),
    *(b'"completion_tokens_details":', b'"reasoning_tokens":', b'"prompt_ms":', b'"x_groq":'),
    *(b'"choices":', b'"delta":', b'"content":', b'"usage":', b'"error":', b'"finish_reason":'),
    *(b'"type":', b'"response":', b'"response.output_text.delta"', b'"response.completed"'),
    *(b'"content_block_delta"', b'"text_delta"', b'"message_delta"', b'"message":', b'"done":'),
    *(b'"candidates":', b'"parts":', b'"usageMetadata":', b'"data":', b'"embedding":', b"\\"),
    *(b'"timings":', b'"tool_calls":', b'"reasoning":', b'"completion_tokens":', b'"text":'),
    *("é".encode(), "€".encode(), "😀".encode(), b"\xed\xa0\x80", b"\xff", b"\x00", b"a" * 300),
]
"""What mutations put in: what the formats are made of."""

WRITTEN = [
    b'{"message":{"content":"a","thinking":""},"done":false}\n{"error":"b"}\n{"done":true}\n',
    b'{"response":"b","done":false}\r\n{"done":true,"done_reason":"stop","eval_count":2}\n',
    b'[{"candidates":[{"content":{"parts":[{"text":"a\\"]"}]}}]}\n,\r\n{"usageMetadata":{}}\n]',
    b'data: {"candidates":[{"content":{"parts":[{"text":"a","thought":true}]}}]}\r\n\r\n',
    b'{"data":[{"embedding":[0.5,-1e-3]},{"embedding":"AAAA"}],"usage":{"prompt_tokens":3}}',
]
"""Of the protocols that none is recorded of."""

Event = tuple[bytes, int]


def naive_events(stream: bytes) -> list[tuple[bytes, int | None]]:
    """Parse a whole event stream as the HTML standard says it (9.2.6), lines first.

    Returns each event's data with the offset of the byte that ended its last ``data`` line, None
    for one that the stream's end cut off: the standard drops that event and we don't.
    """
    start = 3 if stream.startswith(b"\xef\xbb\xbf") else 0
    events: list[tuple[bytes, int | None]] = []
    data: list[bytes] = []
    ended: int | None = 0
    for line in re.finditer(rb"([^\r\n]*)(\r\n|\n|\r|\Z)", stream[start:]):
        if not line[1] and line[2]:
            if data:
                events.append((b"\n".join(data), ended))
            data = []
        name, colon, value = line[1].partition(b":")
        if name == b"data":
            data.append(value[1:] if colon and value.startswith(b" ") else value)
            ended = start + line.end(1) if line[2] else None
    return [*events, (b"\n".join(data), ended)] if data else events


def naive_lines(stream: bytes) -> list[tuple[bytes, int | None]]:
    """Return a whole stream's lines, blank ones left out, with the offset of each one's end."""
    start = 3 if stream.startswith(b"\xef\xbb\xbf") else 0
    return [
        (line[1], start + line.end(1) if line[2] else None)
        for line in re.finditer(rb"([^\n]*)(\n|\Z)", stream[start:])
        if line[1].strip()
    ]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Cut a stream into reads, none of them empty."""
    ends = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[a:b] for a, b in itertools.pairwise(ends)]


def parsed(reads: list[bytes], make: Callable[[], Parser] = EventParser) -> list[Event]:
    """Parse reads whose stamps are their numbers."""
    parser = make()
    events = [event for stamp, read in enumerate(reads) for event in parser.feed(read, stamp)]
    return events + parser.finish(len(reads))


def expected(
    reads: list[bytes], naive: Callable[[bytes], list[tuple[bytes, int | None]]] = naive_events
) -> list[Event]:
    """Say what `parsed` has to return."""
    stamps = [stamp for stamp, read in enumerate(reads) for _ in read]
    return [
        (data, len(reads) if ended is None else stamps[ended])
        for data, ended in naive(b"".join(reads))
    ]


def outcome(protocol: str, reads: list[bytes]) -> Outcome:
    """Read a stream whose reads' stamps are their numbers."""
    reader = StreamReader(PROTOCOLS[protocol])
    for stamp, read in enumerate(reads):
        reader.feed(read, stamp)
    return reader.finish(len(reads))


def unstamped(said: Outcome) -> Outcome:
    """Return an outcome without its stamps."""
    output = None if said.first_output_ns is None else 0
    return replace(said, token_ns=[0] * len(said.token_ns), first_output_ns=output, merged=0)


def check(stream: bytes) -> None:
    """Assert what this file promises; the cuts follow from the bytes."""
    random = Random(zlib.crc32(stream))
    # anywhere, and where it hurts: around the ends and beginnings of lines
    marks = [mark.start() for mark in re.finditer(rb"data|[\r\n]+", stream)] or [0]
    cuts = [random.choices(range(len(stream) + 1), k=random.choice([1, 3, 20])) for _ in range(2)]
    cuts += [random.choices(marks, k=random.choice([1, 3, 20])) for _ in range(2)]
    splits = [cut(stream, places) for places in ([], *cuts)]
    if len(stream) < 2000:
        splits.append([stream[i : i + 1] for i in range(len(stream))])
    for reads in splits:
        assert parsed(reads) == expected(reads), reads
        assert parsed(reads, LineParser) == expected(reads, naive_lines), reads
    for protocol in PROTOCOLS:
        whole = outcome(protocol, splits[0])
        assert 1 <= whole.first_chunk_tokens <= max(1, whole.usage.output_tokens or 0)
        for reads in (splits[1], splits[-1]):
            one = outcome(protocol, reads)
            assert unstamped(one) == unstamped(whole), reads
            assert one.token_ns == sorted(one.token_ns)
            assert one.merged == len(one.token_ns) - len(set(one.token_ns))


def mutated(streams: list[bytes], seed: int, words: list[bytes] = WORDS) -> bytes:
    """Return one of the streams, changed in a few places."""
    random = Random(seed)
    stream = bytearray(random.choice(streams))
    for _ in range(random.randrange(6)):
        at = random.randrange(len(stream) + 1)
        until = at + random.choice([0, 1, 5, 300])
        match random.randrange(4):
            case 0:
                stream[at:until] = random.choice(words) * random.choice([1, 1, 2, 50])
            case 1:
                stream[at:at] = stream[at:until]
            case 2:
                stream[at:until] = random.choice(streams)[at:until]
            case _:
                old, new = random.sample([b"\n", b"\r", b"\r\n", b"\n\n", b",", b"}"], 2)
                stream = stream.replace(old, new, random.choice([1, -1]))
    return bytes(stream[:20_000])


@cache
def recorded() -> list[bytes]:
    """Return the streams we have recorded, and short ones of the other protocols."""
    return [path.read_bytes() for path in sorted(WIRE.glob("*.sse"))] + WRITTEN


def fuzz(target: Callable[[bytes], None], seeds: list[bytes], words: list[bytes]) -> None:
    """Run atheris on a target; the command line's options are libFuzzer's."""
    import atheris

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, max_size))
        return mutated([data, *seeds], seed, words)[:max_size]

    atheris.instrument_all()
    atheris.Setup(sys.argv, target, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(check, recorded(), WORDS)
