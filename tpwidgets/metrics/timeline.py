"""What came per second over the time of a run, point by point, from what the workers count.

That is output tokens or, where answers come whole, items. However long a run, its points are
bounded: when they are full, neighbours are merged in pairs and each point covers twice the time.
All times are seconds on the workers' clock, as `sent_s` and `window_start_s` are: since the
measurement began.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Point(NamedTuple):
    """What came in, on the mean, over a span of time."""

    t_s: float
    """When the span began."""
    span_s: float
    per_s: float
    """Output tokens per second; items per second where answers come whole."""


@dataclass(slots=True)
class Level:
    """A level of the sweep and, within it, the window in which its figures were counted."""

    t_s: float
    level: float
    name: str
    """As it is written: ``16`` or, of a ramp's section, ``9–16``."""
    window_start_s: float | None = None
    window_end_s: float | None = None
    """None while the window is open."""


class Timeline:
    """A run's time series. It grows by `read`; `points` are never changed, only added.

    The workers count chunks as they arrive. What these are worth in tokens is known from the
    answers that ended last (`per_chunk`); until the first one has ended, a chunk is taken for a
    token, and those points are put right as soon as it is known. So where a server puts several
    tokens in a chunk, and now more, now fewer, the points are an estimate; their sum is not far
    off.

    Parameters
    ----------
    span_s
        What a point covers at first: the first reading that is so much later closes it.
    most
        How many points there may be; an even number.
    """

    SPAN_S = 0.5
    MOST = 600
    _EARLY_S = 0.05
    """Half the time between readings: what a span may fall short, so that none is much too long."""

    def __init__(self, span_s: float = SPAN_S, most: int = MOST) -> None:
        self.span_s = span_s
        """What a point covers now, about."""
        self.points: list[Point] = []
        self.levels: list[Level] = []
        self.whole = False
        """Whether answers come whole, so that items are counted: there are no chunks then."""
        self.ended = False
        """Whether nothing more will come."""
        self._most = most
        self._since: tuple[float, int] | None = None
        self._now_s = 0.0
        self._chunks = 0
        self._known = False
        self._begun: tuple[float, str] | None = None

    def begin_level(self, level: float, name: str = "") -> None:
        """Mark that a level begins now: at the last reading, or else at the first one."""
        begun = level, name or f"{level:g}"
        if self._since is None:
            self._begun = begun
        else:
            self.levels.append(Level(self._now_s, *begun))

    def read(
        self, now_s: float, chunks: int, per_chunk: float | None, window_start_s: float | None
    ) -> None:
        """Take in how many chunks have come so far, and since when the level under way counts.

        Where answers come `whole`, it is how many items have come, each worth 1.
        """
        if per_chunk is not None and not self._known:
            self._known = True
            self.points = [p._replace(per_s=p.per_s * per_chunk) for p in self.points]
        if self._since is None:
            self._since = (now_s, chunks)
        if now_s < self._now_s:
            return
        self._now_s, self._chunks = now_s, chunks
        if self._begun is not None:
            self.levels.append(Level(now_s, *self._begun))
            self._begun = None
        self._open_window(window_start_s)
        self._close(self.span_s - self._EARLY_S, per_chunk)

    def close_window(self, start_s: float, end_s: float) -> None:
        """File a level's window, which may have been left already."""
        for level in reversed(self.levels):
            if level.t_s <= start_s:
                level.window_start_s, level.window_end_s = start_s, end_s
                return

    def end(self, per_chunk: float | None) -> None:
        """Close the last point, unless it covers too little to be compared with the others."""
        self._close(self.span_s / 2, per_chunk)
        self.ended = True

    def _open_window(self, start_s: float | None) -> None:
        level = self.levels[-1] if self.levels else None
        if level is None or level.window_end_s is not None:
            return
        # what is told right after a level began may still be the former one's
        if start_s is None or start_s >= level.t_s:
            level.window_start_s = start_s

    def _close(self, least_s: float, per_chunk: float | None) -> None:
        """Add a point, if it covers so much by now."""
        since_s, before = self._since or (self._now_s, self._chunks)
        span_s = self._now_s - since_s
        if span_s < least_s:
            return
        rate = (self._chunks - before) * (per_chunk or 1.0) / span_s
        self._since = (self._now_s, self._chunks)
        self.points.append(Point(since_s, span_s, rate))
        if len(self.points) >= self._most:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [_merged(a, b) for a, b in pairs]
            self.span_s *= 2


def _merged(a: Point, b: Point) -> Point:
    """Return the mean over both spans: their tokens stay the same in all."""
    span_s = a.span_s + b.span_s
    return Point(a.t_s, span_s, (a.per_s * a.span_s + b.per_s * b.span_s) / span_s)
