"""What a board draws, as it travels to the browser: packed, and then only what changed.

Columns aren't named on the way: a row has a place for each of `COLUMNS`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ..charts.breakdown import NEEDS, told
from ..charts.open_loop import COLUMNS as OPEN_LOOP
from ..charts.overview import COLUMNS as CHARTS
from ..charts.overview import clean_rows
from ..metrics.timeline import Timeline

COLUMNS = CHARTS + NEEDS + OPEN_LOOP
"""The columns of a packed row, whose end is left out where it is empty."""

Packed = list[Any]


class Rows:
    """The operating points that were sent last."""

    def __init__(self) -> None:
        self.packed: list[Packed] = []
        self._given: list[Mapping[str, Any]] = []

    def change(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Take other rows; return what is new: how many there are, and each that differs."""
        # The current run is drawn last, hence on top.
        given = sorted(rows, key=lambda row: row.get("current") is not False)
        before, known = self.packed, self._given
        self.packed = [
            before[i] if i < len(known) and known[i] is row else _pack(row)
            for i, row in enumerate(given)
        ]
        self._given = given
        changed = [
            [i, row]
            for i, row in enumerate(self.packed)
            if i >= len(before) or (row is not before[i] and row != before[i])
        ]
        if not changed and len(self.packed) == len(before):
            return None
        return {"n": len(self.packed), "rows": changed}

    @property
    def all(self) -> dict[str, Any]:
        """All of them, in the form of a change."""
        return {"n": len(self.packed), "rows": [[i, row] for i, row in enumerate(self.packed)]}


class Series:
    """The time series that was sent last."""

    def __init__(self) -> None:
        self._points: list[Any] = []
        self._levels: list[Packed] = []
        self._span_s = Timeline.SPAN_S
        self._ended = self._whole = False

    def change(self, timeline: Timeline) -> dict[str, Any] | None:
        """Take in a timeline; return what is new: what to keep, what comes after it, the levels."""
        points, before = list(timeline.points), self._points
        keep = len(before) if points[: len(before)] == before else 0
        levels = [
            _rounded(v.t_s, v.name, v.window_start_s, v.window_end_s) for v in timeline.levels
        ]
        same = (levels, timeline.ended, timeline.whole) == (self._levels, self._ended, self._whole)
        if same and keep == len(points) == len(before):
            return None
        self._points, self._levels = points, levels
        self._span_s = timeline.span_s
        self._ended, self._whole = timeline.ended, timeline.whole
        change = {"keep": keep, "points": [_rounded(*p) for p in points[keep:]]}
        return change if same and keep else change | self._frame

    @property
    def all(self) -> dict[str, Any]:
        """All of it, in the form of a change."""
        return {"keep": 0, "points": [_rounded(*p) for p in self._points]} | self._frame

    @property
    def _frame(self) -> dict[str, Any]:
        return {
            "levels": self._levels, "span_s": self._span_s,
            "ended": self._ended, "whole": self._whole,
        }  # fmt: skip


def _pack(row: Mapping[str, Any]) -> Packed:
    # what only the bars read needn't travel where there are none
    clean = clean_rows([row], COLUMNS if told([row]) else CHARTS + OPEN_LOOP)[0]
    packed = [clean.get(name) for name in COLUMNS]
    while packed and packed[-1] is None:
        packed.pop()
    return packed


def _rounded(*values: float | str | None) -> Packed:
    """Round to 5 digits, times below a thousand seconds to the millisecond or better."""
    return [float(f"{v:.6g}") if isinstance(v, float) else v for v in values]
