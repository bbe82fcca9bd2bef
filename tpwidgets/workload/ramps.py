"""A ramp: the load goes evenly from one level to another, and is looked at section by section."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import SettingsError

SECTIONS = 8
"""A ramp is cut into so many sections, if each can have levels of its own and last …"""
SECTION_S = 1.0
"""… at least so long."""
HELD = 0.25
"""At its end a ramp's load is kept up until all that was sent has ended, so that nobody is served
faster for its end: for this share of the ramp's seconds at most."""


@dataclass(frozen=True)
class Section:
    """A part of a ramp, which is counted by itself.

    Attributes
    ----------
    first, last : float
        The level, users or requests per second, at its beginning and its end.
    seconds : float
        How long it takes.
    """

    first: float
    last: float
    seconds: float

    @property
    def middle(self) -> float:
        """The level that its figures are drawn at; of users a whole number."""
        return middle(self.first, self.last)

    @property
    def name(self) -> str:
        """Its levels: ``9–16``."""
        return "–".join(dict.fromkeys((f"{self.first:g}", f"{self.last:g}")))


def middle(first: float, last: float) -> float:
    """Return the level in the middle; of users a whole number."""
    if isinstance(first, int) and isinstance(last, int):
        return (first + last + 1) // 2
    return tidy((first + last) / 2)


def tidy(rate: float) -> float:
    """Return a rate without the digits that sums of floats leave."""
    return float(f"{rate:.6g}")


def of_users(first: int, last: int, ramp_s: float) -> tuple[Section, ...]:
    """Cut a ramp of users: each number from first to last is held for as long as any other."""
    step = 1 if last >= first else -1
    users = range(first, last + step, step)
    n, parts = len(users), min(len(users), _parts(ramp_s))
    cuts = [i * n // parts for i in range(parts + 1)]
    return tuple(
        Section(users[here], users[there - 1], ramp_s * (there - here) / n)
        for here, there in pairwise(cuts)
    )


def of_rates(first: float, last: float, ramp_s: float) -> tuple[Section, ...]:
    """Cut a ramp of requests per second into equal parts."""
    parts = _parts(ramp_s)
    ends = [tidy(first + (last - first) * i / parts) for i in range(parts + 1)]
    return tuple(Section(here, there, ramp_s / parts) for here, there in pairwise(ends))


def ends_of(name: str, levels: Sequence[float]) -> tuple[float, float]:
    """Return from which level to which a ramp goes.

    Raises
    ------
    SettingsError
        If these levels neither rise nor fall.
    """
    order = sorted(levels)
    if len(order) < 2 or list(levels) not in (order, order[::-1]):
        raise SettingsError(
            f"ramp_s needs two levels to go between: {name}=(1, 16), or (16, 1) to come down."
        )
    return levels[0], levels[-1]


def _parts(ramp_s: float) -> int:
    return max(1, min(SECTIONS, int(ramp_s / SECTION_S)))
