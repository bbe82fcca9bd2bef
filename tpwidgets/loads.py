"""Load: which levels a sweep walks, and when a level has seen enough."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real

from .errors import SettingsError

MAX_CONCURRENCY = 4096
"""Above this a closed loop from one process measures the client."""


def levels(value: int | Iterable[int] | str) -> tuple[int, ...]:
    """Return the concurrency levels that `value` means.

    Parameters
    ----------
    value : int, iterable of int, or str
        ``16``; ``(1, 4, 16)``; ``"1, 4, 16"``; ``"1-64"``, which walks 1, 2, 4 … 64.

    Raises
    ------
    SettingsError
        For anything but whole numbers from 1 to `MAX_CONCURRENCY`.
    """
    if isinstance(value, str):
        value = _parse(value)
    items = list(value) if isinstance(value, Iterable) else [value]
    if not items:
        raise SettingsError(
            "concurrency is empty: give at least one level, such as 1 or (1, 4, 16)."
        )
    return tuple(dict.fromkeys(whole("concurrency", item, 1, MAX_CONCURRENCY) for item in items))


def doublings(low: int, high: int) -> tuple[int, ...]:
    """Return low, 2·low, 4·low … and `high` itself."""
    steps = []
    level = low
    while level < high:
        steps.append(level)
        level *= 2
    return (*steps, high)


def _parse(text: str) -> list[int]:
    span = re.fullmatch(r"\s*(\d{1,9})\s*(?:-|–|\.\.|to|:)\s*(\d{1,9})\s*", text)
    if span:
        low, high = int(span[1]), int(span[2])
        whole("concurrency", low, 1, MAX_CONCURRENCY)
        whole("concurrency", high, 1, MAX_CONCURRENCY)
        if high < low:
            raise SettingsError(f"concurrency {text.strip()!r} runs backwards: write {high}-{low}.")
        return list(doublings(low, high))
    try:
        return [int(part) for part in re.split(r"[,;\s]+", text.strip()) if part]
    except ValueError:
        raise SettingsError(
            f"concurrency {text.strip()!r} is not understood: write 1-64 or 1, 4, 16."
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


@dataclass(frozen=True)
class Load:
    """A closed loop: so many users at once, each sending its next request when one ends.

    Attributes
    ----------
    concurrency : tuple of int
        The levels, in the order in which they are walked.
    requests : int, optional
        Requests to count at each level, at least, failed ones included. None: until the
        interval is narrow enough.
    seconds : float, optional
        Seconds to count at each level. With `requests`, whichever comes first.
    """

    concurrency: tuple[int, ...]
    requests: int | None = None
    seconds: float | None = None

    axis = "concurrency"
    """The column of `run.points` that the levels stand in."""
    unit = ""
    said = "closed loop"
    MIN_SECONDS = 5.0
    MAX_SECONDS = 10.0
    """Without `requests` and `seconds`, a level's window stays open at least and at most so long
    (longer only until it has seen `enough` requests; at most 6 times as long)."""

    @classmethod
    def of(cls, concurrency: object, requests: object = None, seconds: object = None) -> "Load":
        """Check the settings and make a Load of them.

        Raises
        ------
        SettingsError
            Names the first setting that is refused.
        """
        if not isinstance(concurrency, (Real, str, Iterable)) or isinstance(concurrency, bytes):
            raise SettingsError(f"concurrency must be a number or several, not {concurrency!r}.")
        return cls(
            levels(concurrency),  # type: ignore[arg-type]
            None if requests is None else whole("requests", requests, 1, 10_000_000),
            None if seconds is None else positive("seconds", seconds),
        )

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels, whatever they are of."""
        return self.concurrency

    @property
    def adaptive(self) -> bool:
        """Whether a level ends when its interval is narrow enough."""
        return self.requests is None and self.seconds is None

    @staticmethod
    def enough(concurrency: float) -> int:
        """How many requests an adaptive level counts at least: an interval needs some."""
        return max(6, math.ceil(2 * concurrency))

    @staticmethod
    def in_flight(concurrency: float, e2e_s: float) -> float:  # noqa: ARG004 - as of an OpenLoad
        """Return how many requests are in flight where each takes so long."""
        return concurrency

    @staticmethod
    def command(concurrency: float) -> dict[str, object]:
        """Return what the workers have to know of a level."""
        return {"concurrency": concurrency}
