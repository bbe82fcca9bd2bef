"""Which level comes next, and when a level has seen enough."""

from collections.abc import Sequence
from typing import Any

from ..metrics.largest import Largest
from ..metrics.points import precise_enough
from ..words import level
from ..workload.loads import PRECISION, Load
from ..workload.ramps import HELD
from ..workload.rates import OpenLoad
from .search import Search

_SEARCHED = 10
"""About so many levels a search measures."""

_JUDGED_TURNS = 5
"""A search judges a level by so many requests of each user: it takes some until they have fallen
into step, and wait for each other."""

_DOUBTED_S = 30.0
"""How long a level is measured that is so near a limit that it is not sure whether it keeps it."""


class Sweep:
    """Walks the levels of a load, or searches for them; tells how much is left.

    Parameters
    ----------
    load : Load or OpenLoad
    limited : bool
        Whether points are judged by limits, and a search is for the largest level that keeps them.
        Then each level of users begins anew (`closed_loop.Level`).
    """

    def __init__(self, load: Load | OpenLoad, *, limited: bool = False) -> None:
        self._load, self._limited = load, limited
        self._walked: list[Any] = []
        self._done = False
        self.holding = False
        """Whether a ramp is over, its load kept up until all that was sent amid it has ended."""
        self._again: Any = None
        """The level that was begun a second time, since it was in doubt."""
        self._search = None
        if load.auto:
            low, high = load.levels[0], load.levels[-1]
            self._search = Search(low, high, limited, load.axis, load.precision or PRECISION)

    @property
    def _anew(self) -> bool:
        """Whether levels begin with fresh users: a verdict is to hold where just one is run."""
        return self._limited and self._load.axis == "concurrency" and self._load.ramp_s is None

    @property
    def number(self) -> int:
        """Which level is under way, from 1; 0 before the first."""
        return len(self._walked)

    @property
    def level(self) -> Any:
        """The level under way, a concurrency or a rate; None before the first, after the last."""
        return self._walked[-1] if self._walked and not self._done else None

    @property
    def left(self) -> tuple[Any, ...]:
        """The levels that are not finished, as far as they are known."""
        if self._done:
            return ()
        begun = self._walked[-1:]
        return (*begun, *(self._load.levels[len(self._walked) :] if self._search is None else ()))

    @property
    def levels(self) -> int:
        """How many levels there will be; of a search about how many."""
        if self._search is None:
            return len(self._load.levels)
        return len(self._walked) if self._done else max(_SEARCHED, len(self._walked) + 1)

    def next(self, points: Sequence[dict[str, Any]] = ()) -> dict[str, Any] | None:
        """Go over to the next level; return the worker's command for it, or None after the last.

        A ramp's last level is held without being counted: a level too, that is `holding`.
        """
        level = self._following(points)
        if level is None:
            self.holding = self._load.ramp_s is not None and not self._done
            self._done = True
            if not self.holding:
                return None
            return {"do": "level", "requests": None, "seconds": None, **self._load.held}
        self._walked.append(level)
        command = {
            "do": "level",
            "requests": self._load.requests,
            "seconds": self._load.seconds,
            **self._load.command(level),
        }
        return command | ({"anew": True} if self._anew else {})

    def _following(self, points: Sequence[dict[str, Any]]) -> Any:
        if self._search is not None:
            level = self._search.next(points)
            if level in self._walked:  # again would be for ever: its point was lost
                return None
            if level is None and self._limited and self._again is None:
                level = self._again = _in_doubt(points)
            whole = level is not None and self._load.axis == "concurrency"
            return int(level or 0) if whole else level
        levels = self._load.levels
        return levels[len(self._walked)] if len(self._walked) < len(levels) else None

    def may_leave(self, point: dict[str, Any]) -> bool:
        """Tell whether the level under way, of which `point` is what was seen, may be left.

        Only an adaptive load asks: there a level ends once its intervals are narrow enough or,
        where limits are searched for, once it is sure whether it keeps them (`_DOUBTED_S` at most,
        unless latencies are far below them);
        at the latest after `Load.MAX_SECONDS` (`PRECISE_SECONDS` where somebody asked for a
        precision). But not before it has counted `Load.enough` requests; a slow server gets up to
        six times as long for those.
        Nor while TTFT drifts, for up to `PRECISE_SECONDS`: users of a closed loop fall into step.
        """
        level, load = self.level, self._load
        if not load.adaptive or level is None or point[load.axis] != level:
            return False  # the last news of a level that was left already, say
        span, ended = point["window_s"], point["n"] + point["n_failed"]
        longest = self._longest_s
        if span < min(Load.MIN_SECONDS, longest):
            return False
        judged = self._search is not None and self._limited
        if ended < max(load.enough(level), level * _JUDGED_TURNS * judged):
            return bool(span >= 6 * longest)
        if point.get("drifts") and load.axis == "concurrency" and load.seconds is None:
            return bool(span >= Load.PRECISE_SECONDS)
        if judged:
            near = load.seconds is None and not point.get("limits_far")
            doubted_s = max(longest, _DOUBTED_S) if near else longest
            return bool(span >= doubted_s or point["limits_sure"])
        return bool(span >= longest or precise_enough(point, load.precision or PRECISION))

    def remaining_s(self, e2e_s: float, spent_s: float) -> float:
        """Estimate the seconds left, from the last level's E2E latency and its time so far."""
        left = [self.level_s(level, e2e_s) for level in self.left]
        if self._search is not None and left:
            left += left[-1:] * (self.levels - self.number)
        # a level that takes longer than thought takes nothing from those after it
        return max(0.0, left[0] - spent_s) + sum(left[1:]) if left else 0.0

    def fraction(self, e2e_s: float, spent_s: float) -> float:
        """Estimate how much of the sweep is done, from 0 to 1; a level is full only at its end."""
        before = sum(self.level_s(level, e2e_s) for level in self._walked[:-1])
        left = self.remaining_s(e2e_s, 0.0)
        if not left:
            return 1.0 if self._done else 0.0
        here = min(spent_s, 0.95 * self.level_s(self.level, e2e_s))
        return (before + here) / (before + left)

    def level_s(self, level: Any, e2e_s: float) -> float:
        """Estimate how long a level takes: one generation to settle, then the window.

        Where it begins anew, one more before.
        """
        load = self._load
        if load.ramp_s is not None:
            return load.ramp_s / len(load.levels)
        window = (load.requests or load.enough(level)) / load.in_flight(level, e2e_s) * e2e_s
        if load.adaptive and load.requests is None:
            # most levels take long to become precise, not only as long as they must
            window = max(window, 0.8 * self._longest_s)
        elif load.requests is None:
            window = self._longest_s
        settle_s = (1 + self._anew) * e2e_s
        return settle_s + (window if load.seconds is None else min(window, load.seconds))

    def held_enough(self, spent_s: float) -> bool:
        """Tell whether a ramp's load is kept up no longer after so many seconds, come what may."""
        return spent_s > HELD * (self._load.ramp_s or 0.0)

    @property
    def _longest_s(self) -> float:
        """How long a level may take to become precise."""
        if self._load.seconds is not None:
            return self._load.seconds
        return Load.MAX_SECONDS if self._load.precision is None else Load.PRECISE_SECONDS


def _in_doubt(points: Sequence[dict[str, Any]]) -> float | None:
    """Return the level that was found to keep the limits, if it is not sure that it does.

    Users fall into groups by chance at each start, which may decide it: a second start tells more.
    """
    found = Largest.of(p for p in points if not p["client_limited"])
    if found.point is None or found.broken is None or found.sure == level(found.point):
        return None
    return level(found.point)
