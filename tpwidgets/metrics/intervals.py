"""Percentiles and rates with 95 % intervals: order statistics, and the block bootstrap's variance.

How often they cover the truth, ``python -m benchmarks coverage`` tells.

Sources: Hahn & Meeker, *Statistical Intervals* (1991), section 5.2; Nyblom, "Note on interpolated
order statistics", Statist. Probab. Lett. 14 (1992); Woodruff, "Confidence intervals for medians and
other position measures", JASA 47 (1952); Kish, *Survey Sampling* (1965), section 8.2, on how many
independent values dependent ones are worth; Heidelberger & Lewis, "Quantile estimation in dependent
sequences", Oper. Res. 32 (1984); and those in `dependence`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import ceil, floor, inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .dependence import Floats, Z, block_length, block_variance, critical, dependence, ranked

Interval = tuple[float, float] | tuple[None, None]
NONE: Interval = (None, None)
AnyFloats = NDArray[np.floating]

ALPHA = 0.05

EXACT_UP_TO = 5_000
"""Above this many values the binomial ranks are taken from the normal approximation."""

MIN_CLUSTERS = 6
"""Below this many requests nothing is said about pooled gaps (as for a median: 2·0.5⁶ < 5 %)."""

BINS = 120
"""Into how many bins a window is cut for the interval of a rate."""

MIN_BINS = 8

MIN_TURNS = 2.9
"""From about three turns on, a rate's interval is taken from how they differ."""

EVENED_OUT = 0.7
"""Values count as independent ones at most 1 / this times: what dependence seems to take by chance,
it has to be able to give."""

LUMPS = 2.5
"""If so many values are worth one, they come in lumps: ranks are rounded outwards."""

MIDDLE = 0.2
"""Where too few values are independent for ranks, percentiles this far from both ends still have an
interval: …"""
INNER = 0.75
"""… as if values went on as they do in so much of the way to the nearer end."""

EPS = 1e-9

_STUDENT: dict[float, float] = {1: 12.706, 2: 4.303, 3: 3.182}


def firm(n: int, p: float) -> bool:
    """Tell whether percentile `p` (0 to 1) of `n` values may be shown as firm: n ≥ 10 / (1 − p).

    So at least ten values lie above it; 20 for the median, 200 for p95, 1000 for p99.
    """
    return n * (1 - p) >= 10 - 1e-9


def percentile(values: Floats, p: float) -> float | None:
    """Interpolate percentile `p` (0 to 1) linearly; None for no values."""
    return _at(np.sort(values), p) if values.size else None


def percentile_with_failures(values: Floats, failed: int, p: float) -> float | None:
    """Interpolate percentile `p` (0 to 1) with `failed` more values at +∞; it may be +∞ itself."""
    n = values.size + failed
    if n == 0:
        return None
    rank = p * (n - 1)
    if ceil(rank) >= values.size:
        return inf
    return _at(np.sort(values), rank / max(values.size - 1, 1))


def percentiles(
    values: Floats, ps: Sequence[float], at_once: float = 0.0
) -> list[tuple[float | None, Interval]]:
    """Give percentiles `ps` (0 to 1) of `values`, shape (n,), with 95 % intervals.

    An interval runs between two order statistics, whose ranks come from Binomial(n, p) (Hahn &
    Meeker 1991, 5.2) and are interpolated (Nyblom 1992): it assumes no distribution but that. It is
    (None, None) where no two order statistics cover 95 %: below n = 6 for the median, 59 for p95,
    299 for p99.

    Requests that were under way together share the engine's steps and its queue: they are worth
    fewer independent ones (Kish 1965), whose ranks are taken then. If these are too few, a median's
    interval reaches as far as its standard error says (Woodruff 1952), and a tail has none.

    Parameters
    ----------
    at_once : float
        How many requests were under way at once; `values` are then in the order of their ends.
        0: they are independent.
    """
    ordered = np.sort(values)
    overall = dependence(ranked(values), at_once) if at_once else 1.0
    found: list[tuple[float | None, Interval]] = []
    for p in ps:
        value = _at(ordered, p) if ordered.size else None
        interval: Interval = NONE
        if value is not None and _ranks(ordered.size, p):
            effect = design_effect(values <= value, overall, at_once) if at_once else 1.0
            interval = _percentile_interval(ordered, p, effect)
        found.append((value, interval))
    return found


def design_effect(below: NDArray[np.bool_], overall: float, at_once: float) -> float:
    """Return how many values are worth one where a share of them is asked for.

    Few values tell of a tail: where it seems to depend on less than all of them do (`overall`), it
    is taken to depend on something in between.
    """
    own = dependence(below, at_once)
    return max(own, (own + overall) / 2)


def _percentile_interval(ordered: Floats, p: float, effect: float) -> Interval:
    """Give the 95 % interval of percentile `p`, where `effect` values are worth one."""
    n, worth = ordered.size, independent(ordered.size, effect)
    ranks = _ranks(worth, p)
    if ranks is not None:
        each = (n + 1) / (worth + 1)
        low, high = max(1.0, each * ranks[0]), each * ranks[1]
        if effect > LUMPS:
            low, high = floor(each * floor(ranks[0]) + EPS), ceil(each * ceil(ranks[1]) - EPS)
        return _at(ordered, (low - 1) / (n - 1)), _at(ordered, (high - 1) / (n - 1))
    if min(p, 1 - p) < MIDDLE:
        return NONE
    # Woodruff's interval, which would reach beyond all values
    inner, value = INNER * min(p, 1 - p), _at(ordered, p)
    times = Z * sqrt(effect * p * (1 - p) / n) / inner
    low = value - times * (value - _at(ordered, p - inner))
    return max(low, min(0.0, float(ordered[0]))), value + times * (_at(ordered, p + inner) - value)


def independent(n: int, effect: float) -> int:
    """Return how many independent values `n` are worth, `effect` of which are worth one."""
    return max(1, round(n / max(EVENED_OUT, effect)))


@lru_cache(maxsize=1024)
def _ranks(n: int, p: float) -> tuple[float, float] | None:
    """Find ranks l < u (from 1) between which percentile `p` of `n` values is at 95 %.

    That is P(l ≤ B < u) for B ~ Binomial(n, p), for ranks between whole ones as Nyblom (1992) has
    it. Each tail gets 2.5 %; where the upper one can't be that small, the largest value bounds it
    and the lower tail gets what is left.
    """
    if n < 2:
        return None
    if n > EXACT_UP_TO:
        half = Z * sqrt(n * p * (1 - p))
        return max(1.0, n * p - half + 0.5), min(float(n), n * p + half + 0.5)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(n + 1)
    log_pmf = log_factorial[n] - log_factorial - log_factorial[::-1]
    cdf = np.cumsum(np.exp(log_pmf + k * np.log(p) + (n - k) * np.log1p(-p)))

    def at(beyond: float) -> float:
        """Return the rank whose value is above the percentile with that probability; 0: none."""
        r = int(np.searchsorted(cdf, beyond, side="right"))  # P(B < r) = cdf[r − 1]
        if not 1 <= r < n:
            return 0.0
        above, below = float(cdf[r] - beyond), float(beyond - cdf[r - 1])
        return r + 1 / (1 + r * (1 - p) * above / max((n - r) * p * below, 1e-300))

    upper = at(1 - ALPHA / 2)
    lower = at(ALPHA / 2 if upper else ALPHA - (1 - float(cdf[n - 1])))
    return (lower, upper or float(n)) if lower else None


def pooled_percentiles(
    blocks: Callable[[], Iterable[tuple[AnyFloats, NDArray[np.intp]]]],
    total: int,
    ps: Sequence[float],
    at_once: float = 0.0,
) -> list[tuple[float | None, Interval]]:
    """Give percentiles, with 95 % intervals, of values pooled over requests, in single precision.

    The gaps of one request resemble each other, so they are no independent sample: the request is
    the unit. The variance of the share of values at or below the percentile is that of a ratio
    over requests, as far as these depend on each other, and its bounds are turned back into
    percentiles (Woodruff 1952).

    Parameters
    ----------
    blocks : callable
        Goes through the requests, block by block: their values, one request after the other, and
        how many each has, all at least 1. It is called twice: values are stored once, in order.
    total : int
        How many values there are.
    ps : sequence of float
        Between 0 and 1.
    at_once : float
        How many requests were under way at once; they come in the order of their ends then. 0: they
        are independent.
    """
    if not total:
        return [(None, NONE) for _ in ps]
    ordered = np.empty(total, dtype=np.float32)
    filled = 0
    for values, _ in blocks():
        ordered[filled : filled + values.size] = values
        filled += values.size
    ordered.sort()
    found = [_at(ordered, p) for p in ps]
    residuals: list[list[Floats]] = [[] for _ in ps]
    for values, sizes in blocks():
        starts = np.cumsum(sizes) - sizes
        for p, value, some in zip(ps, found, residuals, strict=True):
            within = values.astype(np.float32, copy=False) <= np.float32(value)
            some.append(np.add.reduceat(within, starts, dtype=np.float64) - p * sizes)
    out: list[tuple[float | None, Interval]] = []
    for p, value, some in zip(ps, found, residuals, strict=True):
        interval: Interval = NONE
        residual = np.concatenate(some)
        clusters = residual.size
        if clusters >= MIN_CLUSTERS:
            effect = max(EVENED_OUT, dependence(residual, at_once)) if at_once else 1.0
            square = effect * float(residual @ residual)
            half = Z * sqrt(clusters / (clusters - 1) * square) / total
            if half <= p <= 1 - half:
                interval = _at(ordered, p - half), _at(ordered, p + half)
        out.append((value, interval))
    return out


def _at(ordered: AnyFloats, p: float) -> float:
    """Interpolate percentile `p` of sorted values linearly, as `numpy.quantile` does."""
    rank = p * (ordered.size - 1)
    below = min(int(rank), ordered.size - 1)
    above = min(below + 1, ordered.size - 1)
    low, high = float(ordered[below]), float(ordered[above])
    return low + (rank - below) * (high - low)


def rate_interval(counts_per_bin: ArrayLike, bin_s: float) -> Interval:
    """Give the 95 % interval of a rate, per second, by the block bootstrap.

    Successive bins are correlated (a stream keeps its pace, a batch its size), so blocks of bins
    are drawn, not bins (Künsch 1989), as long as their autocorrelation asks (Politis & White 2004).
    Nothing is resampled: a mean of blocks that are drawn independently has a variance that can be
    written down. That there are few of them makes the interval longer (Kiefer & Vogelsang 2005).

    Parameters
    ----------
    counts_per_bin : array of shape (bins,)
        Successive bins of equal length; (None, None) below 8 bins or if nothing was counted.
    bin_s : float
        A bin's length in seconds.
    """
    counts = np.asarray(counts_per_bin, dtype=float)
    n = counts.size
    if n < MIN_BINS or bin_s <= 0 or not counts.any():
        return NONE
    block = block_length(counts)
    mean = float(counts.mean())
    half = critical(block / n) * sqrt(block_variance(counts - mean, block) / n)
    return max(0.0, mean - half) / bin_s, (mean + half) / bin_s


def turns_interval(
    amounts: Floats, spans: Floats, users: int, rate: float, length_s: float
) -> Interval:
    """Give the 95 % interval of a rate from what came in each turn of a closed loop's users.

    A turn, one request of one user, is about as long as what happens in the loop is correlated, and
    contains as much waiting as it contains tokens: turns are the batches of the method of batch
    means (Law, *Simulation Modeling and Analysis*, 5th ed. 2015, section 9.5.3), as a ratio since
    they differ in length. All users tell how turns differ; they overlap, so there are only as many
    of them as follow each other.

    Parameters
    ----------
    amounts, spans : arrays of shape (turns of all users,)
        What came in each turn, and how long it took, in seconds.
    users : int
        How many users they are of.
    rate : float
        The rate itself, per second.
    length_s : float
        How long was counted. (None, None) where fewer than three turns follow each other.
    """
    turns = length_s / float(spans.mean()) if spans.size > users else 0.0
    if turns < MIN_TURNS:
        return NONE
    residual = amounts - rate * spans
    deviation = sqrt(float(residual @ residual) / (spans.size - users))
    half = student(turns - 1) * deviation * sqrt(turns) / length_s
    return max(0.0, rate - half), rate + half


def turn_rate_interval(
    amounts: Floats, spans: Floats, users: int, rate: float, length_s: float
) -> Interval:
    """Give the 95 % interval of a rate from what each turn of a loop's users brought itself.

    A user is always at its turn, so the rate is ``users × mean amount / mean span``: the variance
    is that of a ratio over turns (Law 2015, section 9.5.3), as far as these depend on each other.

    Parameters
    ----------
    amounts, spans : arrays of shape (turns of all users,)
        What each turn brought, and how long it took, in seconds, in the order of their ends.
    users : int
        How many users they are of.
    rate : float
        The rate itself, per second.
    length_s : float
        How long was counted. (None, None) where fewer than three turns follow each other.
    """
    n = spans.size
    if n <= users or length_s < MIN_TURNS * float(spans.mean()):
        return NONE
    residual = amounts - rate / users * spans
    residual -= residual.mean()
    variance = dependence(residual, users) * float(residual @ residual) * n / (n - 1)
    half = Z * sqrt(variance) / length_s
    return max(0.0, rate - half), rate + half


def arrival_rate_interval(at: Floats, start: float, end: float) -> Interval:
    """Give the 95 % interval of the rate of what arrived `at` some seconds in [start, end]."""
    bin_s = (end - start) / BINS
    index = np.minimum(((at - start) / bin_s).astype(np.intp), BINS - 1)
    return rate_interval(np.bincount(index, minlength=BINS), bin_s)


def student(degrees: float) -> float:
    """Return Student's t: the 97.5 % point where a deviation was estimated itself.

    From tables up to 3 whole degrees, else Cornish & Fisher's expansion in 1/ν (Abramowitz & Stegun
    26.7.5), which is 3 % too low there.
    """
    v = degrees
    if v in _STUDENT:
        return _STUDENT[v]
    if v == inf:
        return Z
    return Z + (Z**3 + Z) / (4 * v) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * v * v)
