"""How far successive requests depend on each other.

Sources: Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Stat.
17 (1989); Kiefer & Vogelsang, "A new asymptotic theory for heteroskedasticity-autocorrelation
robust tests", Econometric Theory 21 (2005); Politis & White, "Automatic block-length selection for
the dependent bootstrap", Econometric Reviews 23 (2004), with the correction of Patton, Politis &
White (2009).
"""

from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Z = 1.959963984540054
"""The normal distribution's 97.5 % point."""

MIN_VALUES = 3
"""Fewer values don't tell of a dependence."""

BLOCK_TURNS = 2
"""Blocks are as long as so many requests, one after another, …"""
MIN_BLOCKS = 3
"""… if so many of them fit."""

OUTLASTS = 0.5
"""How many turns of what values share lie beyond a block: ⅓ if they share only while they overlap,
more where a batch stays together for some turns."""

LEAST = 0.05
"""A few blocks may be all alike by chance: the ratio of variances is at least this."""


def ranked(values: Floats) -> Floats:
    """Return the ranks of values, those of equal ones averaged."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def dependence(x: Floats | NDArray[np.bool_], at_once: float) -> float:
    """Tell how many dependent values are worth one independent one.

    That is how many times larger the square of a mean's 95 % interval is than if there were many
    values, independent of each other: the block bootstrap's variance over the plain one, made up
    for what blocks don't see, times what it takes that so few blocks tell of it. Below 1 values
    even each other out, or it is by chance.

    Parameters
    ----------
    x : array of shape (n,)
        One value for each request, in the order of their ends.
    at_once : float
        How many requests were under way at once.
    """
    n = x.size
    if n < MIN_VALUES:
        return 1.0
    x = x - x.mean()
    variance = float(x @ x) / n
    if variance <= 0:
        return 1.0
    block = max(1, min(round(BLOCK_TURNS * at_once), n // MIN_BLOCKS))
    ratio = block_variance(x, block) / variance
    if ratio > 1:  # only what values share can outlast a block, not what each has alone
        ratio = 1 + (ratio - 1) / (1 - min(0.5, OUTLASTS * at_once / block))
    return max(ratio, LEAST) * (critical(block / n) / Z) ** 2


def block_variance(x: Floats, block: int) -> float:
    """Return n × the variance of a mean by the moving block bootstrap (Künsch 1989).

    Blocks at both ends are cut off there, so that it is what Bartlett's weights give.

    Parameters
    ----------
    x : array of shape (n,)
        Values less their mean.
    """
    total = np.concatenate((np.zeros(block), np.cumsum(x), np.full(block - 1, x.sum())))
    sums = total[block:] - total[:-block]
    return float(sums @ sums) / (block * x.size)


def critical(share: float) -> float:
    """Return what to multiply such a deviation by for a 95 % interval (Kiefer & Vogelsang 2005).

    Parameters
    ----------
    share : float
        Of all values in a block. The fewer blocks there are, the less they tell of the variance,
        and the more of it has gone with the mean.
    """
    return Z + 2.9694 * share + 0.4160 * share**2 - 0.5324 * share**3


def block_length(x: Floats) -> int:
    """Choose the bootstrap's block length, in values (Politis & White 2004, 3.2)."""
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
