"""A law fitted to measured points: what throughput is likely between them, and beyond.

The universal scalability law: N users get X(N) = λN / (1 + σ(N − 1) + κN(N − 1)), where λ is what
one alone gets, σ the share that is done one after the other, and κ what each costs each other
(N. J. Gunther, "A General Theory of Computational Scalability Based on Rational Functions",
arXiv:0808.1431, 2008). N / X is linear in 1/λ, σ/λ and κ/λ: so it is fitted, by weighted least
squares, none below zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from math import ceil, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from ..errors import MeasurementError
from ..words import amid_ramp, count, is_whole, measured, throughput
from .dependence import Z
from .intervals import student
from .usable import failing, usable

Point = Mapping[str, object]
Floats = NDArray[np.float64]

MIN_LEVELS = 4
"""Three points fit any such law; the fourth tells how well."""

_TRUST = 0.01
"""No point is taken to be better known than ± 1 %: levels differ in more than chance."""

_FAR = 2.0
"""How far beyond the highest level the curve goes, at most, as a factor."""

_VAGUE = 0.5
"""Where the interval is wider than ± 50 %, nothing is said."""


@dataclass(frozen=True)
class Scaling:
    """A fitted law. It is no measurement: between the levels an estimate, beyond them a guess.

    Attributes
    ----------
    alone : float
        λ, what one user gets, in `unit`.
    serial : float
        σ, 0 or more.
    crosstalk : float
        κ, 0 or more.
    lowest, highest : int
        The lowest and the highest concurrency that it was fitted to.
    unit : str
        ``tokens/s`` or, where answers come whole, ``items/s``.
    """

    alone: float
    serial: float
    crosstalk: float
    lowest: int
    highest: int
    unit: str
    _fitted: Floats = field(repr=False)
    """1/λ, σ/λ, κ/λ, of shape (3,)."""
    _covariance: Floats = field(repr=False)
    """Theirs, of shape (3, 3), by the points' intervals, were none of them bounded."""
    _widened: float = field(repr=False)
    """So many standard deviations are 95 %: of what the points' intervals say or, where the points
    are further from the law than that, of how far they are."""

    def at(self, concurrency: float) -> tuple[float, float, float]:
        """Return the throughput at a concurrency and its 95 % interval, in `unit`."""
        terms = _terms(np.array([float(concurrency)]))[0]
        inverse = float(terms @ self._fitted)
        half = self._widened * sqrt(max(0.0, float(terms @ self._covariance @ terms)))
        high = concurrency / (inverse - half) if inverse > half else inf
        return concurrency / inverse, concurrency / (inverse + half), high

    @property
    def peak(self) -> tuple[float, float]:
        """Where throughput is highest, and how high: ``(inf, λ/σ)`` where it never falls."""
        if self.crosstalk > 0:
            at = max(1.0, sqrt(max(0.0, 1 - self.serial) / self.crosstalk))
            return at, self.at(at)[0]
        return inf, self.alone / self.serial if self.serial > 0 else inf

    @property
    def knee(self) -> float:
        """Where a straight line from one user on would reach the peak; beyond, waiting grows."""
        return max(1.0, self.peak[1] / self.alone)

    def says(self, concurrency: float) -> bool:
        """Tell whether the interval at a concurrency is so narrow that it says anything."""
        value, lo, hi = self.at(concurrency)
        return hi - lo <= 2 * _VAGUE * value

    def curve(self, steps: int = 40) -> list[dict[str, float | str | None]]:
        """Return points of the curve from one user to twice the highest level.

        They are evenly spaced on a logarithmic axis. Keys: ``concurrency``; ``fitted``,
        ``fitted_lo``, ``fitted_hi`` (in `unit`; None where the law says nothing, see `says`);
        ``part``: ``below``, ``between`` or ``beyond`` the levels measured. Where two parts meet,
        each has the point.
        """
        ends = {"below": (1, self.lowest), "between": (self.lowest, self.highest),
                "beyond": (self.highest, _FAR * self.highest)}  # fmt: skip
        whole = log(_FAR * self.highest)
        points: list[dict[str, float | str | None]] = []
        for part, (start, end) in ends.items():
            some = 1 + ceil(steps * log(end / start) / whole)
            for at in np.geomspace(start, end, some).tolist() if end > start else ():
                value, lo, hi = self.at(at) if self.says(at) else (None, None, None)
                points.append(
                    {"concurrency": at, "fitted": value, "fitted_lo": lo, "fitted_hi": hi,
                     "part": part}
                )  # fmt: skip
        return points

    @property
    def text(self) -> str:
        """What the law says, in one sentence."""
        at, most = self.peak
        said = f"Fitted law, not measured: {count(self.alone)} {self.unit} alone"
        if self.knee <= self.highest and self.says(self.knee):
            said += f", a knee near {self.knee:.0f} concurrent"
        if at <= self.highest and self.says(at):
            return f"{said}, a peak of about {count(most)} {self.unit} near {at:.0f}."
        value, lo, hi = self.at(2 * self.highest)
        if not self.says(2 * self.highest):
            beyond = np.linspace(self.highest, 2 * self.highest, 50).tolist()
            end = next((there for there, at in pairwise(beyond) if not self.says(at)), beyond[-1])
            return f"{said}; it says nothing beyond {end:.0f}."
        between = f"between {count(lo)} and {count(hi)}"
        return f"{said}; {count(value)} ({between}) at {2 * self.highest}."

    def __str__(self) -> str:
        return self.text


def fit(points: Iterable[Point]) -> Scaling:
    """Fit the law to the points of a closed loop that are usable (`metrics.usable`).

    Raises
    ------
    MeasurementError
        If there are fewer than four levels to fit, they are rates or amid a ramp, or they fit
        no such law.
    """
    points = list(points)
    if points and all(point.get("rate") is not None for point in points):
        raise MeasurementError(
            "A fitted curve is of concurrency: at a rate, throughput is what arrives."
        )
    if points and all(map(amid_ramp, points)):
        raise MeasurementError("A fit needs levels that are held: amid a ramp nothing is steady.")
    latest: dict[int, Point] = {}
    for point in points:
        if _usable(point):
            latest[int(measured(point, "concurrency") or 0)] = point
    if len(latest) < MIN_LEVELS:
        wanted = {
            "the client was not the limit": any(p.get("client_limited") for p in points),
            "at most 1 % of requests failed": any(map(failing, points)),
        }
        lacking = " and ".join(said for said, some_lack in wanted.items() if some_lack)
        others = f" at which {lacking}" if lacking else ""
        raise MeasurementError(
            f"A fit needs {MIN_LEVELS} levels of concurrency or more; "
            f"there {'is' if len(latest) == 1 else 'are'} {len(latest)}{others}."
        )
    levels = np.array(sorted(latest), dtype=float)
    rows = [latest[int(level)] for level in levels]
    values = np.array([measured(row, throughput(row)) for row in rows], dtype=float)
    deviation = np.array([_deviation(row) for row in rows])
    terms, inverse = _terms(levels), levels / values
    weights = values / (inverse * deviation)  # 1 / the deviation of N / X
    fitted = _not_negative(terms * weights[:, None], inverse * weights)
    if fitted[0] <= 0:
        raise MeasurementError("The levels measured follow no such law.")
    residual = (terms @ fitted - inverse) * weights
    degrees = len(levels) - 3
    widened = max(Z, student(degrees) * sqrt(float(residual @ residual) / degrees))
    weighted = terms * weights[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    unit = "items/s" if is_whole(rows[0]) else "tokens/s"
    alone, serial, crosstalk = 1 / fitted[0], fitted[1] / fitted[0], fitted[2] / fitted[0]
    return Scaling(
        float(alone), float(serial), float(crosstalk), int(levels[0]), int(levels[-1]), unit,
        fitted, covariance, widened,
    )  # fmt: skip


def _usable(point: Point) -> bool:
    held = usable(point) and point.get("rate") is None
    return held and bool(measured(point, throughput(point)))


def _deviation(point: Point) -> float:
    value, lo, hi = (measured(point, throughput(point) + end) for end in ("", "_lo", "_hi"))
    known = 0.0 if lo is None or hi is None else (hi - lo) / (2 * Z)
    return max(known, _TRUST * (value or 0.0))


def _terms(levels: Floats) -> Floats:
    """Return what 1/λ, σ/λ and κ/λ are multiplied with; shape (levels, 3)."""
    return np.stack([np.ones_like(levels), levels - 1, levels * (levels - 1)], axis=1)


def _not_negative(terms: Floats, values: Floats) -> Floats:
    """Solve least squares with no coefficient below zero: the best of those with some left out."""
    best, least = np.zeros(3), inf
    for kept in (c for size in (3, 2, 1) for c in combinations(range(3), size)):
        some = np.zeros(3)
        some[list(kept)] = np.linalg.lstsq(terms[:, kept], values, rcond=None)[0]
        off = float(np.square(terms @ some - values).sum())
        if (some >= 0).all() and off < least:
            best, least = some, off
    return best
