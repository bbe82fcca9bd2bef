"""Percentiles and rates with 95 % intervals: order statistics, and the block bootstrap.

Sources: Hahn & Meeker, *Statistical Intervals* (1991), section 5.2; Woodruff, "Confidence intervals
for medians and other position measures", JASA 47 (1952); Künsch, "The jackknife and the bootstrap
for general stationary observations", Ann. Stat. 17 (1989); Politis & White, "Automatic block-length
selection for the dependent bootstrap", Econometric Reviews 23 (2004), with the correction of
Patton, Politis & White (2009).
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor, inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float] | tuple[None, None]
NONE: Interval = (None, None)
Floats = NDArray[np.float64]

ALPHA = 0.05
Z = 1.959963984540054
"""The normal distribution's 97.5 % point."""

EXACT_UP_TO = 5_000
"""Above this many values the binomial ranks are taken from the normal approximation."""

MIN_CLUSTERS = 6
"""Below this many requests nothing is said about pooled gaps (as for a median: 2·0.5⁶ < 5 %)."""

BINS = 120
"""Into how many bins a window is cut for the interval of a rate."""

MIN_BINS = 8
RESAMPLES = 600
SEED = 20


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


def percentile_interval(values: ArrayLike, p: float) -> Interval:
    """Give the 95 % interval of percentile `p` (0 to 1) of independent `values`, shape (n,).

    The interval runs between two order statistics, whose ranks come from Binomial(n, p): it assumes
    no distribution and covers at least 95 % (Hahn & Meeker 1991, 5.2). It is (None, None) where no
    two order statistics cover 95 %: below n = 6 for the median, 59 for p95, 299 for p99.
    """
    data = np.sort(np.asarray(values, dtype=float))
    ranks = _ranks(data.size, p)
    if ranks is None:
        return NONE
    return float(data[ranks[0] - 1]), float(data[ranks[1] - 1])


@lru_cache(maxsize=1024)
def _ranks(n: int, p: float) -> tuple[int, int] | None:
    """Find ranks l < u (from 1) with P(l ≤ B < u) ≥ 95 % for B ~ Binomial(n, p).

    Each tail gets 2.5 %; where the upper one can't be that small, the largest value bounds it and
    the lower tail gets what is left.
    """
    if n < 2:
        return None
    if n > EXACT_UP_TO:
        half = Z * sqrt(n * p * (1 - p))
        return max(1, floor(n * p - half)), min(n, ceil(n * p + half) + 1)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(n + 1)
    log_pmf = log_factorial[n] - log_factorial - log_factorial[::-1]
    cdf = np.cumsum(np.exp(log_pmf + k * np.log(p) + (n - k) * np.log1p(-p)))
    # P(B < l) = cdf[l − 1] and P(B ≥ u) = 1 − cdf[u − 1].
    upper = min(n, int(np.searchsorted(cdf, 1 - ALPHA / 2)) + 1)
    left = ALPHA - max(1 - float(cdf[upper - 1]), ALPHA / 2)
    lower = int(np.searchsorted(cdf, left, side="right"))
    return (lower, upper) if 1 <= lower < upper else None


def pooled_percentiles(
    values: Floats, sizes: NDArray[np.intp], ps: Sequence[float]
) -> list[tuple[float | None, Interval]]:
    """Give percentiles, with 95 % intervals, of values pooled over requests.

    The gaps of one request resemble each other, so they are no independent sample: the request is
    the unit. The variance of the share of values at or below the percentile is that of a ratio
    over requests, and its bounds are turned back into percentiles (Woodruff 1952).

    Parameters
    ----------
    values : array of shape (Σ sizes,)
        The requests' values, one request after the other.
    sizes : array of shape (requests,)
        How many values each request has, all at least 1.
    ps : sequence of float
        Between 0 and 1.
    """
    if not values.size:
        return [(None, NONE) for _ in ps]
    ordered = np.sort(values)
    starts = np.cumsum(sizes) - sizes
    clusters = sizes.size
    found: list[tuple[float | None, Interval]] = []
    for p in ps:
        value, interval = _at(ordered, p), NONE
        if clusters >= MIN_CLUSTERS:
            below = np.add.reduceat(values <= value, starts, dtype=np.float64)
            residual = below - p * sizes
            variance = clusters / (clusters - 1) * float(residual @ residual) / values.size**2
            half = Z * sqrt(variance)
            if half <= p <= 1 - half:
                interval = _at(ordered, p - half), _at(ordered, p + half)
        found.append((value, interval))
    return found


def _at(ordered: Floats, p: float) -> float:
    """Interpolate percentile `p` of sorted values linearly, as `numpy.quantile` does."""
    rank = p * (ordered.size - 1)
    below = min(int(rank), ordered.size - 1)
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (rank - below) * (ordered[above] - ordered[below]))


def rate_interval(counts_per_bin: ArrayLike, bin_s: float) -> Interval:
    """Give the 95 % interval of a rate, per second, by the circular block bootstrap.

    Successive bins are correlated (a stream keeps its pace, a batch its size), so blocks of bins
    are drawn, not bins (Künsch 1989), as long as their autocorrelation asks (Politis & White 2004).
    With few blocks the bootstrap's spread is too small; it is widened as Student's t is wider than
    the normal distribution. The generator is seeded: the same counts give the same interval.

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
    block = _block_length(counts)
    blocks = ceil(n / block)
    total = np.concatenate(([0.0], np.cumsum(np.concatenate((counts, counts[: block - 1])))))
    block_means = (total[block:] - total[:-block]) / block
    drawn = np.random.default_rng(SEED).integers(n, size=(RESAMPLES, blocks))
    mean = float(counts.mean())
    spread = (block_means[drawn].mean(axis=1) - mean) * _widening(n / block)
    lo, hi = mean + np.quantile(spread, [ALPHA / 2, 1 - ALPHA / 2])
    return max(0.0, float(lo)) / bin_s, float(hi) / bin_s


def arrival_rate_interval(at: Floats, weights: Floats | None, start: float, end: float) -> Interval:
    """Give the 95 % interval of a rate from what arrived `at` some times in [start, end] seconds.

    Parameters
    ----------
    at : array of shape (arrivals,)
        In seconds.
    weights : array of shape (arrivals,), optional
        How much each arrival is worth; 1 if None.
    start, end : float
        In seconds.
    """
    bin_s = (end - start) / BINS
    index = np.minimum(((at - start) / bin_s).astype(np.intp), BINS - 1)
    return rate_interval(np.bincount(index, weights=weights, minlength=BINS), bin_s)


def _widening(blocks: float) -> float:
    """Widen for the mean that was estimated from few blocks, and for Student's t against normal.

    The t quantile is Cornish & Fisher's expansion in 1/ν (Abramowitz & Stegun 26.7.5).
    """
    v = blocks - 1
    t = Z + (Z**3 + Z) / (4 * v) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * v * v)
    return t / Z * sqrt(blocks / v)


def _block_length(x: Floats) -> int:
    """Choose the circular bootstrap's block length, in bins (Politis & White 2004, section 3.2)."""
    n = x.size
    longest = max(1, min(ceil(3 * sqrt(n)), n // 4))
    centred = x - x.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[:n] / n
    if covariance[0] <= 1e-12 * float(x @ x) / n:
        return 1
    # The first lag after which `run` successive autocorrelations are no longer significant.
    run = max(5, ceil(sqrt(np.log10(n))))
    large = np.abs(covariance[1:]) >= 2 * sqrt(np.log10(n) / n) * covariance[0]
    quiet = np.convolve(large, np.ones(run), "valid") == 0
    m = int(np.argmax(quiet)) if quiet.any() else longest
    lags = np.arange(1, min(2 * max(m, 1), n - 1) + 1)
    flat_top = np.clip(2 * (1 - lags / (2 * max(m, 1))), 0, 1)
    weighted = flat_top * covariance[lags]
    g = 2 * float(lags @ weighted)
    variance = float(covariance[0] + 2 * weighted.sum())
    if variance <= 0:  # regular beyond chance: bins alone would overstate the spread
        return longest
    optimum = float(np.cbrt(1.5 * n) * np.cbrt(g / variance) ** 2)
    return min(max(1, round(optimum)), longest)
