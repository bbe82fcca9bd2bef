"""Samples as columns: what figures are computed from, read off each sample once."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..samples import Sample
from .arrivals import Floats, Grid, Indices, Streams

if TYPE_CHECKING:
    from array import array

T = TypeVar("T")

OK, STOPPED, CLIENT_LIMIT, RATE_LIMITED, FAILED = range(5)
"""The column "status": failures from `RATE_LIMITED` on, a failure of its own kind. What this
machine could not send (`CLIENT_LIMIT`) is none of the endpoint's."""
_CODES = {
    "ok": OK, "stopped": STOPPED, "client_limit": CLIENT_LIMIT, "rate_limited": RATE_LIMITED,
}  # fmt: skip

CHUNKS = "chunks"
"""The `token_source` of a request whose tokens the server didn't count."""

_READ = (
    "sent_s", "ended_s", "slot", "reused_connection", "ttft_ms", "ttfo_ms", "tpot_ms", "e2e_ms",
    "connect_ms", "write_ms", "server_queue_ms", "server_prefill_ms", "server_start_ms",
    "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "requested_tokens",
    "first_chunk_tokens", "merged_chunks", "client_error_ms", "items", "scheduled_s",
    "dispatched_s", "late_ms",
)  # fmt: skip
_read = attrgetter(*_READ)
_MADE = ("status", "estimated", "chunks", "last_ms", "latest_s")
_ROW = {name: row for row, name in enumerate((*_READ, *_MADE))}

_BATCH = 1024
"""So many samples are read at once: what that takes besides the columns stays small."""


@dataclass(frozen=True)
class Columns:
    """Some of a ledger's samples: ``columns["ttft_ms"]`` has shape (samples,), NaN for None.

    Besides a sample's own fields and properties there are "status" (`OK` and so on), "estimated"
    (whether its tokens are its chunks), "chunks" (how many) and "last_ms" (sent → last chunk).
    """

    _samples: Sequence[Sample]
    _first: int
    """Which sample is the first in `_data`."""
    _data: Floats
    _chosen: Indices | None = None
    """Which of `_data` they are; None for all of it: then no column need be copied."""

    def __getitem__(self, name: str) -> Floats:
        column: Floats = self._data[_ROW[name]]
        return column if self._chosen is None else column[self._chosen]

    def __len__(self) -> int:
        return self._data.shape[1] if self._chosen is None else len(self._chosen)

    def where(self, mask: NDArray[np.bool_]) -> "Columns":
        """Return those for which `mask`, of shape (samples,), is true."""
        chosen = np.flatnonzero(mask) if self._chosen is None else self._chosen[mask]
        if not len(chosen):
            return replace(self, _chosen=chosen)
        low, high = int(chosen[0]), int(chosen[-1]) + 1
        if (np.diff(chosen) != 1).any():
            return replace(self, _chosen=chosen)
        return Columns(self._samples, self._first + low, self._data[:, low:high])

    def in_order(self) -> "Columns":
        """Return them in the order in which they ended."""
        at = self["ended_s"]
        if (np.diff(at) >= 0).all():
            return self
        order = np.argsort(at, kind="stable")
        return replace(self, _chosen=order if self._chosen is None else self._chosen[order])

    @property
    def at_once(self) -> float:
        """How many of them were under way at once, on average (Little's law)."""
        at = self["ended_s"]
        span_s = float(at.max() - at.min()) if len(at) > 1 else 0.0
        return float((at - self["sent_s"])[1:].sum()) / span_s if span_s > 0 else float(len(at))

    @property
    def samples(self) -> list[Sample]:
        """The samples themselves."""
        if self._chosen is None:
            return list(self._samples[self._first : self._first + len(self)])
        return [self._samples[i] for i in (self._chosen + self._first).tolist()]

    @property
    def stamps(self) -> "list[array[float]]":
        """Their chunks' arrivals, in ms since each was sent."""
        return [sample.token_ms for sample in self.samples]

    def tokens_per_chunk(self) -> float | None:
        """Pool the requests that ended well and whose tokens the server counted."""
        counted = self.where((self["status"] == OK) & (self["estimated"] == 0))
        output, chunks = counted["output_tokens"], counted["chunks"]
        told = (output > 0) & (chunks > 0)
        total = float(chunks[told].sum())
        return float(output[told].sum()) / total if total else None

    def tokens(self, per_chunk: float | None) -> Floats:
        """Return the server's count or, for who was cut short, what the chunks are worth."""
        output, chunks = self["output_tokens"], self["chunks"]
        cut = np.isnan(output) | ((self["status"] != OK) & (self["estimated"] == 1))
        return np.where(cut, chunks * (per_chunk or 1.0), output)

    def prompt_tokens(self, mean: float | None) -> Floats:
        """Return the server's count or, where tokens came but no count, `mean`."""
        counted = self["prompt_tokens"]
        return np.where(np.isnan(counted), (mean or 0.0) * (self["chunks"] > 0), counted)

    def streams(self, per_chunk: float | None) -> Streams:
        """Return those that brought chunks, ready to be counted by arrival."""
        some = self.where(self["chunks"] > 0)
        return Streams(
            some.stamps, some["sent_s"], some.tokens(per_chunk), some["first_chunk_tokens"]
        )


class Ledger(list[Sample]):
    """Samples that only become more; however often figures are asked for, each is read once.

    A list like any other, but one that is only appended to, and whose samples stay as they were
    when figures were first asked for. One thread at a time may ask.
    """

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        super().__init__(samples)
        self._data: Floats = np.empty((len(_ROW), 0))
        self._known = self._gridded = 0
        self._grid = Grid()
        self._kept: dict[Hashable, tuple[int, Any]] = {}

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> "Ledger":
        """Return the samples as a ledger: themselves, if they are one."""
        return samples if isinstance(samples, cls) else cls(samples)

    def since(self, start_s: float) -> Columns:
        """Return all samples that ended after `start_s`, and perhaps some that ended before."""
        self._catch_up()
        latest = self._data[_ROW["latest_s"], : self._known]
        return self._from(int(np.searchsorted(latest, start_s, side="right")))

    def grid(self, per_chunk: float | None) -> Grid:
        """Return when the tokens of all samples arrived, to 20 ms."""
        self._catch_up()
        fresh = self._from(self._gridded)
        self._gridded = self._known
        self._grid.add(fresh.streams(per_chunk))
        return self._grid

    def once(self, key: Hashable, state: int, make: Callable[[], T]) -> T:
        """Return what was made for this key, or make it (again, if `state` is another)."""
        kept = self._kept.get(key)
        if kept is None or kept[0] != state:
            kept = self._kept[key] = state, make()
        made: T = kept[1]
        return made

    def _from(self, first: int) -> Columns:
        return Columns(self, first, self._data[:, first : self._known])

    def _catch_up(self) -> None:
        if len(self) > self._data.shape[1]:
            room = np.empty((len(_ROW), max(_BATCH, len(self) + len(self) // 4)))
            room[:, : self._known] = self._data[:, : self._known]
            self._data = room
        while self._known < len(self):
            batch = self[self._known : self._known + _BATCH]
            stop = self._known + len(batch)
            data = self._data[:, self._known : stop]
            data[: len(_READ)] = np.array([_read(s) for s in batch], dtype=float).T
            data[len(_READ) : -1] = np.array([_made(s) for s in batch], dtype=float).T
            ended, latest = data[_ROW["ended_s"]], data[_ROW["latest_s"]]
            np.maximum.accumulate(ended, out=latest)
            if self._known:
                np.maximum(latest, self._data[_ROW["latest_s"], self._known - 1], out=latest)
            self._known = stop


def _made(sample: Sample) -> tuple[float | None, ...]:
    stamps = sample.token_ms
    return (
        _CODES.get(sample.status, FAILED),
        sample.token_source == CHUNKS,
        len(stamps),
        stamps[-1] if stamps else None,
    )
