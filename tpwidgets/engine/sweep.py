"""Which level comes next, and when a level has seen enough."""

from typing import Any

from ..loads import Load
from ..metrics import precise_enough


class Sweep:
    """Walks the levels of a load; tells how much is left."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._index = -1

    @property
    def index(self) -> int:
        """Which level is under way, from 0; -1 before the first."""
        return self._index

    @property
    def concurrency(self) -> int | None:
        """The level under way; None before the first and after the last."""
        under_way = 0 <= self._index < len(self._load.concurrency)
        return self._load.concurrency[self._index] if under_way else None

    def next(self) -> dict[str, Any] | None:
        """Go over to the next level; return the worker's command for it, or None after the last."""
        self._index += 1
        if self._index >= len(self._load.concurrency):
            return None
        return {
            "do": "level",
            "concurrency": self.concurrency,
            "requests": self._load.requests,
            "seconds": self._load.seconds,
        }

    def may_leave(self, point: dict[str, Any]) -> bool:
        """Tell whether the level under way, of which `point` is what was seen, may be left.

        Only a load without `requests` and `seconds` asks: there a level ends once its intervals
        are narrow enough, or at `Load.MAX_SECONDS`, but not before it has counted `Load.enough`
        requests; a slow server gets up to six times as long for those.
        """
        concurrency = self.concurrency
        if not self._load.adaptive or concurrency is None or point["concurrency"] != concurrency:
            return False  # the last news of a level that was left already, say
        span, ended = point["window_s"], point["n"] + point["n_failed"]
        if span < Load.MIN_SECONDS:
            return False
        if ended < Load.enough(concurrency):
            return bool(span >= 6 * Load.MAX_SECONDS)
        return bool(span >= Load.MAX_SECONDS or precise_enough(point))

    def remaining_s(self, e2e_s: float, spent_s: float) -> float:
        """Estimate the seconds left, from the last level's E2E latency and its time so far."""
        left = [self.level_s(c, e2e_s) for c in self._load.concurrency[max(0, self._index) :]]
        # a level that takes longer than thought takes nothing from those after it
        return max(0.0, left[0] - spent_s) + sum(left[1:]) if left else 0.0

    def fraction(self, e2e_s: float, spent_s: float) -> float:
        """Estimate how much of the sweep is done, from 0 to 1; a level is full only at its end."""
        costs = [self.level_s(level, e2e_s) for level in self._load.concurrency]
        index = max(0, self._index)
        here = min(spent_s, 0.95 * costs[index]) if index < len(costs) else 0.0
        return (sum(costs[:index]) + here) / sum(costs)

    def level_s(self, concurrency: int, e2e_s: float) -> float:
        """Estimate how long a level takes: one generation to settle, then the window."""
        load = self._load
        requests = load.requests or Load.enough(concurrency)
        window = requests / concurrency * e2e_s
        if load.seconds is not None:
            window = load.seconds if load.requests is None else min(window, load.seconds)
        elif load.adaptive:
            # most levels take long to become precise, not only as long as they must
            window = max(window, 0.8 * Load.MAX_SECONDS)
        return e2e_s + window
