"""The largest level that keeps the limits, as measured, and between which levels it surely lies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..words import level

Point = Mapping[str, object]


def first_broken(points: Sequence[Point]) -> int | None:
    """Return which of judged points, in the order of their levels, is the first that breaks limits.

    One that seems to break them, below one that surely keeps them, was bad luck. None: none does.
    """
    surely = [i for i, p in enumerate(points) if p.get("limits_hold") and p.get("limits_sure")]
    last = surely[-1] if surely else -1
    return next((i for i in range(last + 1, len(points)) if not points[i].get("limits_hold")), None)


@dataclass(frozen=True)
class Largest:
    """Where the limits end to be kept.

    Attributes
    ----------
    point : mapping or None
        The largest level that keeps them, as measured, and so do those below it.
    sure, surely_not : float or None
        The largest level that keeps them, and the smallest that doesn't, beyond 95 % doubt each.
    broken : mapping or None
        The next level above `point`: it breaks them, as measured. None if no level does.
    """

    point: Point | None
    sure: float | None
    surely_not: float | None
    broken: Point | None

    @classmethod
    def of(cls, points: Iterable[Point]) -> "Largest":
        """Find it among points that were judged; a level measured twice counts as it was last."""
        judged = {level(p): p for p in points if p.get("limits_hold") is not None}
        done = [judged[at] for at in sorted(judged)]
        broken = first_broken(done)
        end = len(done) if broken is None else broken
        kept = [p for p in done[:end] if p["limits_hold"]]
        sure = [level(p) for p in kept if p.get("limits_sure")]
        beyond = [level(p) for p in done[end:] if not p["limits_hold"] and p.get("limits_sure")]
        return cls(
            kept[-1] if kept else None,
            sure[-1] if sure else None,
            beyond[0] if beyond else None,
            None if broken is None else done[broken],
        )

    @property
    def between(self) -> str:
        """Say between which levels it surely lies: ``between 21 and 26``; "" if that is plain.

        Concurrency is a whole number: the smallest that surely breaks the limits isn't the largest
        that may keep them.
        """
        if self.point is None:
            return ""
        whole = self.point.get("rate") is None
        most = None
        if self.surely_not is not None:
            most = self.surely_not - 1 if whole else self.surely_not
        if most == self.sure == level(self.point):
            return ""
        low = "" if self.sure is None else f"{self.sure:g}"
        high = "" if most is None else f"{most:g}"
        if low and high:
            return f"between {low} and {high}"
        return f"at most {high}" if high else f"at least {low}" if low else ""
