"""The open loop's load: so many requests per second, and when each of them is due."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, count
from math import ceil, isinf, log2, sqrt
from numbers import Real
from random import Random

from ..errors import SettingsError
from ..words import count as written
from .loads import (
    MAX_CONCURRENCY,
    Ends,
    Load,
    doublings,
    ends,
    no_ramp,
    positive,
    ramp_said,
    searched,
)
from .ramps import Section, ends_of, of_rates

ARRIVALS = "poisson", "constant", "gamma"
AUTO_RATE = 256.0
"""How far a search goes that isn't told."""
MAX_RATE = 10_000.0
"""Requests per second; above this the client is measured, whatever it asks."""
LEAST = 0.01
"""The lowest rate, and burstiness: below, a level has next to no requests, or all at once."""
BURSTINESS = 0.5
"""The gamma distribution's shape where none is given."""


def arrival_times(rate: float, arrivals: str, burstiness: float, random: Random) -> Iterator[float]:
    """Yield when requests are due, in s since the first might have been, without an end.

    Parameters
    ----------
    rate : float
        Requests per second, in the long run.
    arrivals : {"poisson", "constant", "gamma"}
        Times between requests: exponential, all the same, or of a gamma distribution.
    burstiness : float
        The gamma distribution's shape: 1 is Poisson, below requests come in bursts.
    """
    if arrivals == "constant":
        return (number / rate for number in count())
    if arrivals == "gamma":
        mean_s = 1 / rate
        return accumulate(random.gammavariate(burstiness, mean_s / burstiness) for _ in count())
    return accumulate(random.expovariate(rate) for _ in count())


def ramped(times: Iterator[float], first: float, last: float, seconds: float) -> Iterator[float]:
    """Bend arrivals of one per second on average: their rate goes evenly from first to last.

    Number u is due when the integral of the rate has come to u (Çınlar, *Introduction to Stochastic
    Processes*, 1975, section 4.7): so Poisson's arrivals are those of a Poisson process whose rate
    changes. After `seconds` the rate stays.
    """
    whole, steeper = (first + last) / 2 * seconds, (last - first) / (2 * seconds)
    for u in times:
        if u < whole:
            yield 2 * u / (first + sqrt(first * first + 4 * steeper * u))
        else:
            yield seconds + (u - whole) / last


@dataclass(frozen=True)
class OpenLoad(Ends):
    """An open loop: so many requests per second, sent whether or not others have ended.

    Attributes
    ----------
    rate : tuple of float
        The levels, requests per second, in the order in which they are walked.
    arrivals : str
        ``poisson``, ``constant`` or ``gamma``.
    burstiness : float
        The gamma distribution's shape (as vLLM's benchmark calls it): below 1, requests come in
        bursts; 1 is Poisson.
    most : int
        So many requests may be in flight at once; those beyond are not sent, and told of.
    """

    rate: tuple[float, ...]
    arrivals: str = "poisson"
    burstiness: float = 1.0
    most: int = MAX_CONCURRENCY

    axis = "rate"
    unit = " requests/s"

    @classmethod
    def of(
        cls, rate: object, arrivals: object = "poisson", burstiness: object = None,
        requests: object = None, seconds: object = None, precision: object = None,
        ramp_s: object = None,
    ) -> "OpenLoad":  # fmt: skip
        """Check the settings and make an OpenLoad of them.

        Raises
        ------
        SettingsError
            Names the first setting that is refused.
        """
        if arrivals not in ARRIVALS:
            raise SettingsError(f"arrivals must be one of {', '.join(ARRIVALS)}, not {arrivals!r}.")
        if burstiness is not None and arrivals != "gamma":
            raise SettingsError("burstiness needs arrivals='gamma', whose shape it is.")
        shape = 1.0
        if arrivals == "gamma":
            shape = BURSTINESS if burstiness is None else _within("burstiness", burstiness, 100.0)
        highest = searched("rate", rate)
        if highest is not None:
            no_ramp(ramp_s)
            highest = AUTO_RATE if isinf(highest) else highest
            rate = doublings(1.0, _within("rate", highest, MAX_RATE))
        walked = rates(rate)
        end = ends(requests, seconds, precision, ramp_s)
        if ramp_s is not None:
            walked = ends_of("rate", walked)
        return cls(walked, str(arrivals), shape, auto=highest is not None, **end)

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels, whatever they are of; of a ramp the middles of its sections."""
        return tuple(part.middle for part in self.sections) or self.rate

    @property
    def sections(self) -> tuple[Section, ...]:
        """The parts of a ramp, which take the places of levels; empty without one."""
        if self.ramp_s is None:
            return ()
        return of_rates(self.rate[0], self.rate[-1], self.ramp_s)

    @property
    def asked(self) -> tuple[float, ...]:
        """The levels as they were asked for; of a ramp its ends."""
        return self.rate

    @property
    def highest(self) -> float:
        """The highest rate that is asked for."""
        return max(self.rate)

    @property
    def said(self) -> str:
        """What kind of load it is, for the conditions."""
        said = f"open loop, {self.arrivals.replace('poisson', 'Poisson')} arrivals"
        if self.arrivals == "gamma":
            said += f" (burstiness {self.burstiness:g})"
        if self.most < MAX_CONCURRENCY:
            said += f", at most {self.most} at once without confirm=True"
        return said + ramp_said(self.rate, self.ramp_s, self.unit)

    @staticmethod
    def enough(rate: float) -> int:  # noqa: ARG004 - as of a Load
        """How many requests an adaptive level counts at least."""
        return 10

    @staticmethod
    def in_flight(rate: float, e2e_s: float) -> float:
        """Return how many requests are in flight where each takes so long (Little's law)."""
        return rate * e2e_s

    @property
    def held(self) -> dict[str, object]:
        """Return what the workers have to know of a ramp's end, as a level."""
        return {
            "rate": self.rate[-1], "arrivals": self.arrivals, "burstiness": self.burstiness,
            "most": self.most,
        }  # fmt: skip

    def command(self, rate: float) -> dict[str, object]:
        """Return what the workers have to know of a level."""
        return {**self.held, "rate": rate, **self._amid(rate)}


def load_of(
    concurrency: object, rate: object, arrivals: object, burstiness: object,
    requests: object, seconds: object, precision: object = None, ramp_s: object = None,
) -> Load | OpenLoad:  # fmt: skip
    """Check the settings and make a closed or an open loop's load of them.

    Raises
    ------
    SettingsError
        Names the first setting that is refused; both `concurrency` and `rate` are.
    """
    if rate is None:
        if arrivals != "poisson" or burstiness is not None:
            named = "arrivals" if arrivals != "poisson" else "burstiness"
            raise SettingsError(f"{named} is for an open loop: give rate too, in requests/s.")
        levels = (1, 4, 16) if concurrency is None else concurrency
        return Load.of(levels, requests, seconds, precision, ramp_s)
    if concurrency is not None:
        raise SettingsError(
            "concurrency and rate can't both be given: concurrency keeps so many requests in "
            "flight (closed loop), rate sends so many per second (open loop)."
        )
    return OpenLoad.of(rate, arrivals, burstiness, requests, seconds, precision, ramp_s)


def rates(value: object) -> tuple[float, ...]:
    """Return the levels that `value` means, in requests per second.

    Parameters
    ----------
    value : float, iterable of float, or str
        ``2``; ``(0.5, 1, 2)``; ``"0.5, 1, 2"``; ``"1-16"``, which walks 1, 2, 4 … 16.

    Raises
    ------
    SettingsError
        For anything but numbers above 0 and up to `MAX_RATE`.
    """
    if isinstance(value, str):
        value = _parse(value)
    if isinstance(value, bytes) or not isinstance(value, Real | Iterable):
        raise SettingsError(f"rate must be a number or several, not {value!r}.")
    items = list(value) if isinstance(value, Iterable) else [value]
    if not items:
        raise SettingsError("rate is empty: give at least one level, such as 1 or (1, 2, 4).")
    return tuple(dict.fromkeys(_within("rate", item, MAX_RATE) for item in items))


_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})"
_SPAN = re.compile(rf"\s*{_NUMBER}\s*(?:-|–|\.\.|to|:)\s*{_NUMBER}\s*")


def _parse(text: str) -> list[float]:
    span = _SPAN.fullmatch(text)
    if span:
        low, high = (_within("rate", float(end), MAX_RATE) for end in span.groups())
        if high < low:
            raise SettingsError(f"rate {text.strip()!r} runs backwards: write {high:g}-{low:g}.")
        return [*(low * 2**step for step in range(ceil(log2(high / low)))), high]
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    if not all(re.fullmatch(_NUMBER, part) for part in parts):
        raise SettingsError(f"rate {text.strip()!r} is not understood: write 1-16 or 0.5, 1, 2.")
    return [float(part) for part in parts]


def _within(name: str, value: object, most: float) -> float:
    number = positive(name, value)
    if not LEAST <= number <= most:
        raise SettingsError(f"{name} must be from {LEAST:g} to {written(most)}, not {value!r}.")
    return number
