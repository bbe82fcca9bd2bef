"""When chunks came, and how many tokens came with them: a block of requests at a time.

Millions of stamps are never in one array with as many temporaries: a block is as large as the
processor's cache.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from array import array

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_COURSE_S = 0.005

BLOCK = 1 << 15
"""About so many chunks are worked on at once."""


@dataclass(frozen=True)
class Block:
    """Successive requests' chunks, one request after the other."""

    requests: slice
    ms: Floats
    """Since `sent`."""
    sizes: Indices
    first: Indices
    """Where each request's first chunk is in `ms`."""


def blocks(stamps: "list[array[float]]") -> Iterator[Block]:
    """Cut requests, each of which has at least one chunk, into blocks."""
    sizes = np.fromiter(map(len, stamps), np.intp, len(stamps))
    number = (np.cumsum(sizes) - 1) // BLOCK
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(stamps)]):
        ms = np.frombuffer(b"".join(stamps[start:stop]))
        some = sizes[start:stop]
        yield Block(slice(start, stop), ms, some, np.cumsum(some) - some)


@dataclass(frozen=True)
class Streams:
    """Requests with at least one chunk each; the arrays have shape (requests,)."""

    stamps: "list[array[float]]"
    sent_s: Floats
    tokens: Floats
    """How many tokens each has brought, all in all."""
    first_tokens: Floats
    """How many of them its first chunk has brought."""

    def arrivals(self) -> Iterator[tuple[Floats, Floats]]:
        """Yield when chunks arrived, in seconds on the worker's clock, and their tokens.

        A request's chunks sum to its tokens. Where it has one chunk only, or nothing is left for
        those after the first, all are worth the same.
        """
        for block in blocks(self.stamps):
            at = block.ms / 1000
            at += np.repeat(self.sent_s[block.requests], block.sizes)
            total, first = self.tokens[block.requests], self.first_tokens[block.requests]
            even = (block.sizes == 1) | (total <= first)
            first = np.where(even, total / block.sizes, first)
            rest = np.where(even, first, (total - first) / np.maximum(block.sizes - 1, 1))
            tokens = np.repeat(rest, block.sizes)
            tokens[block.first] = first
            yield at, tokens


def tokens_per_bin(streams: Streams, start: float, end: float, bins: int) -> Floats:
    """Count the tokens that arrived in (start, end] seconds, cut into equal bins."""
    counts = np.zeros(bins)
    per_second = bins / (end - start)
    for at, tokens in streams.arrivals():
        inside = (at > start) & (at <= end)
        index = ((at[inside] - start) * per_second).astype(np.intp)
        np.minimum(index, bins - 1, out=index)
        counts += np.bincount(index, weights=tokens[inside], minlength=bins)
    return counts


def tokens_course(streams: Streams, start: float, end: float) -> Callable[[Floats], Floats]:
    """Return how many tokens had arrived by a time in [start, end] seconds, to 5 ms or less."""
    bins = min(max(ceil((end - start) / _COURSE_S), 120), 100_000)
    known = np.append(0.0, np.cumsum(tokens_per_bin(streams, start, end, bins)))
    edges = np.linspace(start, end, bins + 1)

    def course(times: Floats) -> Floats:
        return np.asarray(np.interp(times, edges, known))

    return course


class Grid:
    """Tokens that arrived in each step of the worker's clock: each chunk is looked at once."""

    STEP_S = 0.02

    def __init__(self) -> None:
        self._counts = np.zeros(0)

    def add(self, streams: Streams) -> None:
        """Count more requests' tokens."""
        for at, tokens in streams.arrivals():
            index = np.maximum(at / self.STEP_S, 0).astype(np.intp)
            low, high = int(index.min()), int(index.max()) + 1
            if high > len(self._counts):
                self._counts = np.append(self._counts, np.zeros(high + 1000 - len(self._counts)))
            self._counts[low:high] += np.bincount(index - low, weights=tokens)

    def up_to(self, times: Floats) -> Floats:
        """Return the tokens that had arrived by some times, spread evenly within a step."""
        known = np.append(0.0, np.cumsum(self._counts))
        return np.asarray(np.interp(times / self.STEP_S, np.arange(len(known)), known))


def gaps(stamps: "list[array[float]]") -> Iterator[tuple[NDArray[np.float32], Indices]]:
    """Yield the times between successive chunks, in ms, and how many each request has.

    Every request has at least two chunks. A gap is the difference of two double-precision stamps,
    kept in single precision: it is off by less than 6e-8 of itself (1 ns in 16 ms).
    """
    for block in blocks(stamps):
        after = np.ones(len(block.ms), dtype=bool)
        after[block.first] = False
        between = np.diff(block.ms, prepend=0.0)[after]
        yield between.astype(np.float32), block.sizes - 1
