"""Load: which levels a sweep walks, and when a level has seen enough."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeVar

from ..errors import SettingsError
from .ramps import Section, ends_of, of_users

Number = TypeVar("Number", int, float)

MAX_CONCURRENCY = 4096
"""Above this a closed loop from one process measures the client."""
PRECISION = 0.10
"""How narrow an interval is wanted where nobody says: ±10 %."""
AUTO_CONCURRENCY = 256
"""How far a search goes that isn't told."""


def levels(
    value: int | Iterable[int] | str, name: str = "concurrency", most: int = MAX_CONCURRENCY
) -> tuple[int, ...]:
    """Return the levels that `value` means, of concurrency or another setting.

    Parameters
    ----------
    value : int, iterable of int, or str
        ``16``; ``(1, 4, 16)``; ``"1, 4, 16"``; ``"1-64"``, which walks 1, 2, 4 … 64.

    Raises
    ------
    SettingsError
        For anything but whole numbers from 1 to `most`.
    """
    if isinstance(value, str):
        value = _parse(value, name, most)
    items = list(value) if isinstance(value, Iterable) else [value]
    if not items:
        raise SettingsError(f"{name} is empty: give at least one level, such as 1 or (1, 4, 16).")
    return tuple(dict.fromkeys(whole(name, item, 1, most) for item in items))


def doublings(low: Number, high: Number) -> tuple[Number, ...]:
    """Return low, 2·low, 4·low … and `high` itself."""
    steps: list[Number] = []
    level = low
    while level < high:
        steps.append(level)
        level *= 2
    steps.append(high)
    return tuple(steps)


def _parse(text: str, name: str, most: int) -> list[int]:
    span = re.fullmatch(r"\s*(\d{1,9})\s*(?:-|–|\.\.|to|:)\s*(\d{1,9})\s*", text)
    if span:
        low, high = int(span[1]), int(span[2])
        whole(name, low, 1, most)
        whole(name, high, 1, most)
        if high < low:
            raise SettingsError(f"{name} {text.strip()!r} runs backwards: write {high}-{low}.")
        return list(doublings(low, high))
    try:
        return [int(part) for part in re.split(r"[,;\s]+", text.strip()) if part]
    except ValueError:
        raise SettingsError(
            f"{name} {text.strip()!r} is not understood: write 1-64 or 1, 4, 16."
        ) from None


def whole(name: str, value: object, low: int, high: int) -> int:
    """Return `value` as an int if it is a whole number from `low` to `high`.

    Raises
    ------
    SettingsError
        Names the setting, the value and what is allowed.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value != int(value):  # type: ignore[arg-type, call-overload]
        raise SettingsError(f"{name} must be a whole number from {low} to {high:,}, not {value!r}.")
    if not low <= value <= high:  # type: ignore[operator]
        raise SettingsError(f"{name} must be from {low} to {high:,}, not {value!r}.")
    return int(value)  # type: ignore[call-overload, no-any-return]


def positive(name: str, value: object, unit: str = "") -> float:
    """Return `value` as a float if it is a finite number above 0.

    Raises
    ------
    SettingsError
        Names the setting and the value.
    """
    good = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value <= 0:  # type: ignore[operator]
        raise SettingsError(f"{name} must be a number above 0{unit and ' ' + unit}, not {value!r}.")
    return float(value)  # type: ignore[arg-type]


def searched(name: str, value: object) -> float | None:
    """Return how far ``"auto"`` or ``"auto-64"`` goes, +∞ where it doesn't say; None for others.

    Raises
    ------
    SettingsError
        For anything else that begins with ``auto``.
    """
    if not isinstance(value, str) or not value.strip().lower().startswith("auto"):
        return None
    told = re.fullmatch(
        r"\s*auto(?:\s*(?:-|–|\.\.|to|:)\s*(\d{1,9}(?:\.\d{1,9})?))?\s*", value.lower()
    )
    if not told:
        raise SettingsError(f"{name} {value.strip()!r} is not understood: write auto or auto-64.")
    return float(told[1] or math.inf)


def precise(value: object) -> float | None:
    """Return a precision, such as 0.10 for ±10 %, if it can be one.

    Raises
    ------
    SettingsError
        For anything but None and numbers from 0.005 to 0.5.
    """
    if value is None:
        return None
    number = positive("precision", value, "(0.10 is ±10 %)")
    if not 0.005 <= number <= 0.5:
        raise SettingsError(
            "precision must be from ±0.5 % to ±50 % (0.005 to 0.5), not "
            f"±{100 * number:.6g} % ({number:g})."
        )
    return number


@dataclass(frozen=True, kw_only=True)
class Ends:
    """When a level has seen enough.

    Attributes
    ----------
    requests : int, optional
        Requests to count at each level, at least, failed ones included. None: until the
        interval is narrow enough.
    seconds : float, optional
        Seconds to count at each level. With `requests`, whichever comes first.
    precision : float, optional
        End a level once its intervals are that narrow, 0.10 being ±10 %; `requests` and `seconds`
        are then the most that is spent on it. None: 0.10 where neither is given.
    auto : bool
        Whether the levels are searched for, from the first to the last that stand there.
    ramp_s : float, optional
        Go evenly from the first level to the last in so many seconds, and count all the while, in
        sections that never settle. None: settle at each level, and count there.
    """

    requests: int | None = None
    seconds: float | None = None
    precision: float | None = None
    auto: bool = False
    ramp_s: float | None = None

    MIN_SECONDS = 5.0
    MAX_SECONDS = 10.0
    """Without `requests` and `seconds`, a level's window stays open at least and at most so long
    (longer only until it has seen `enough` requests; at most 6 times as long)."""
    PRECISE_SECONDS = 60.0
    """With a `precision` that somebody asked for, at most so long unless `seconds` says."""

    @property
    def adaptive(self) -> bool:
        """Whether a level ends when its interval is narrow enough."""
        if self.ramp_s is not None:
            return False
        return self.precision is not None or (self.requests is None and self.seconds is None)

    @property
    def sections(self) -> tuple[Section, ...]:
        """The parts of a ramp, which take the places of levels; empty without one."""
        raise NotImplementedError

    def section(self, level: float) -> Section | None:
        """Return the section in the middle of which a level lies; None if there is no ramp."""
        return next((part for part in self.sections if part.middle == level), None)

    def named(self, level: float) -> str:
        """Write a level: ``16`` or, amid a ramp, ``9–16``."""
        part = self.section(level)
        return f"{level:g}" if part is None else part.name

    def _amid(self, level: float) -> dict[str, object]:
        """Return what the workers have to know of a level amid a ramp."""
        part = self.section(level)
        if part is None:
            return {}
        return {"ramp": (part.first, part.last, part.seconds), "seconds": part.seconds}


def ends(
    requests: object, seconds: object, precision: object, ramp_s: object = None
) -> dict[str, Any]:
    """Check when a level ends; return the keywords for `Ends`.

    Raises
    ------
    SettingsError
        Names the first setting that is refused.
    """
    if ramp_s is not None:
        given = {"requests": requests, "seconds": seconds, "precision": precision}
        for name, value in given.items():
            if value is not None:
                raise SettingsError(f"ramp_s says how long a ramp takes: leave {name} away.")
        return {"ramp_s": positive("ramp_s", ramp_s, "(seconds)")}
    return {
        "requests": None if requests is None else whole("requests", requests, 1, 10_000_000),
        "seconds": None if seconds is None else positive("seconds", seconds),
        "precision": precise(precision),
    }


def no_ramp(ramp_s: object) -> None:
    """Refuse a ramp where levels are searched for."""
    if ramp_s is not None:
        raise SettingsError("A ramp goes from one level to another, such as 1-64: not to auto.")


def ramp_said(levels: Sequence[float], ramp_s: float | None, unit: str) -> str:
    """Return what the conditions say of a ramp, after what they say of the load."""
    if ramp_s is None:
        return ""
    return f", a ramp from {levels[0]:g} to {levels[-1]:g}{unit} in {ramp_s:g} s"


@dataclass(frozen=True)
class Load(Ends):
    """A closed loop: so many users at once, each sending its next request when one ends.

    Attributes
    ----------
    concurrency : tuple of int
        The levels, in the order in which they are walked.
    """

    concurrency: tuple[int, ...]

    axis = "concurrency"
    """The column of `run.points` that the levels stand in."""
    unit = ""

    @classmethod
    def of(
        cls, concurrency: object, requests: object = None, seconds: object = None,
        precision: object = None, ramp_s: object = None,
    ) -> "Load":  # fmt: skip
        """Check the settings and make a Load of them.

        Raises
        ------
        SettingsError
            Names the first setting that is refused.
        """
        if not isinstance(concurrency, (Real, str, Iterable)) or isinstance(concurrency, bytes):
            raise SettingsError(f"concurrency must be a number or several, not {concurrency!r}.")
        highest = searched("concurrency", concurrency)
        if highest is not None:
            no_ramp(ramp_s)
            highest = AUTO_CONCURRENCY if math.isinf(highest) else highest
            concurrency = doublings(1, whole("concurrency", highest, 1, MAX_CONCURRENCY))
        walked = levels(concurrency)  # type: ignore[arg-type]
        end = ends(requests, seconds, precision, ramp_s)
        if ramp_s is not None:
            first, last = ends_of("concurrency", walked)
            walked = int(first), int(last)
        return cls(walked, auto=highest is not None, **end)

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels, whatever they are of; of a ramp the middles of its sections."""
        return tuple(int(part.middle) for part in self.sections) or self.concurrency

    @property
    def sections(self) -> tuple[Section, ...]:
        """The parts of a ramp, which take the places of levels; empty without one."""
        if self.ramp_s is None:
            return ()
        return of_users(self.concurrency[0], self.concurrency[-1], self.ramp_s)

    @property
    def asked(self) -> tuple[int, ...]:
        """The levels as they were asked for; of a ramp its ends."""
        return self.concurrency

    @property
    def highest(self) -> int:
        """The highest concurrency that is asked for."""
        return max(self.concurrency)

    @property
    def said(self) -> str:
        """What kind of load it is, for the conditions."""
        return "closed loop" + ramp_said(self.concurrency, self.ramp_s, " users")

    @staticmethod
    def enough(concurrency: float) -> int:
        """How many requests an adaptive level counts at least: an interval needs some."""
        return max(6, math.ceil(2 * concurrency))

    @staticmethod
    def in_flight(concurrency: float, e2e_s: float) -> float:  # noqa: ARG004 - as of an OpenLoad
        """Return how many requests are in flight where each takes so long."""
        return concurrency

    @property
    def held(self) -> dict[str, object]:
        """Return what the workers have to know of a ramp's end, as a level."""
        return {"concurrency": self.concurrency[-1]}

    def command(self, concurrency: float) -> dict[str, object]:
        """Return what the workers have to know of a level."""
        return {"concurrency": concurrency, **self._amid(concurrency)}
