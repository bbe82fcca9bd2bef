"""Which level to measure next, where nobody says: it doubles, then closes in on what matters.

With limits that is the largest level that keeps them; without, the bend, beyond which throughput
stops rising. It decides by the points measured so far and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt

from ..metrics.largest import first_broken
from ..metrics.usable import failing
from ..plan import MIN_GAIN
from ..words import measured, throughput
from ..workload.loads import doublings

Point = Mapping[str, object]

_FILLED_IN = 4
"""At most so many levels are measured where the curve bends."""
_CLOSE = 1.5
"""Levels closer than this factor show a bend well enough."""
_LEAST = 1 / 64
"""How far below its lowest level it looks for a rate that keeps the limits, as a share of it."""


@dataclass(frozen=True)
class Search:
    """Which level comes next; a Search keeps nothing, so any points may be given to it.

    Attributes
    ----------
    lowest, highest : float
        Where it begins, and what it doesn't exceed.
    limited : bool
        Whether the points are judged by limits (`tpwidgets.metrics.slo`).
    axis : str
        The column that the levels stand in: ``concurrency``, in whole numbers, or ``rate``.
    precision : float
        How close it comes to the largest level that keeps the limits, as a share of it.
    """

    lowest: float = 1
    highest: float = 256
    limited: bool = False
    axis: str = "concurrency"
    precision: float = 0.10

    def next(self, points: Iterable[Point]) -> float | None:
        """Return the level to measure next; None if nothing is left to be found out."""
        latest = {measured(p, self.axis) or 0.0: p for p in points}
        walked = sorted(latest.items())
        if not walked:
            return self.lowest
        # where the client was the limit nothing is known of the endpoint
        done = [(level, p) for level, p in walked if not p.get("client_limited")]
        turn = self._turn(done)
        if turn is not None:
            return self._close_in(done, turn) if self.limited else self._fill_in(done)
        level = walked[-1][0]
        twice = len(walked) > 1 and all(p.get("client_limited") for _, p in walked[-2:])
        return None if level >= self.highest or twice else min(2 * level, self.highest)

    def _turn(self, done: list[tuple[float, Point]]) -> int | None:
        """Return which is the first point that is too far, None if there is none yet."""
        broken = first_broken([point for _, point in done]) if self.limited else None
        for i, (_, point) in enumerate(done):
            if i == broken or not measured(point, "n") or point.get("queue_grows"):
                return i
            if self.limited:
                continue
            if failing(point) or (i and not _rises(done[i - 1], done[i])):
                return i
        return None

    def _close_in(self, done: list[tuple[float, Point]], broken: int) -> float | None:
        """Halve what lies between the largest level that keeps the limits and the next one."""
        high = done[broken][0]
        if broken:
            return self._between(done[broken - 1][0], high, 1 + self.precision)
        if self.axis == "concurrency":
            return 1 if high > 1 else None
        return high / 4 if high > self.lowest * _LEAST else None

    def _fill_in(self, done: list[tuple[float, Point]]) -> float | None:
        """Measure on both sides of the sharpest bend of throughput over the logarithm of level."""
        known = [(level, _throughput(p)) for level, p in done if _throughput(p)]
        climbed = doublings(float(self.lowest), float(self.highest))
        if len(known) < 3 or sum(level not in climbed for level, _ in done) >= _FILLED_IN:
            return None
        slopes = [(there[1] - here[1]) / log(there[0] / here[0]) for here, there in pairwise(known)]
        bends = [before - after for before, after in pairwise(slopes)]
        sharpest = 1 + max(range(len(bends)), key=bends.__getitem__)
        for i in (sharpest, sharpest - 1):
            level = self._between(known[i][0], known[i + 1][0], _CLOSE)
            if level is not None:
                return level
        return None

    def _between(self, low: float, high: float, close: float) -> float | None:
        """Return a level in the middle, None if the two are close, or nothing lies between."""
        if high / low <= close:
            return None
        middle = sqrt(low * high)
        if self.axis != "concurrency":
            return float(f"{middle:.3g}")
        return round(middle) if low < round(middle) < high else None


def _throughput(point: Point) -> float:
    return measured(point, throughput(point)) or 0.0


def _rises(here: tuple[float, Point], there: tuple[float, Point]) -> bool:
    """Tell whether throughput gains enough per doubling of the level."""
    before, after = _throughput(here[1]), _throughput(there[1])
    if not before or not after:
        return bool(after)
    gain: float = (after / before) ** (log(2) / log(there[0] / here[0])) - 1
    return gain >= MIN_GAIN
