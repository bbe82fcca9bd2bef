"""How far successive requests depend on each other.

Sources: Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Stat.
17 (1989); Politis & White, "Automatic block-length selection for the dependent bootstrap",
Econometric Reviews 23 (2004), with the correction of Patton, Politis & White (2009); Meketon &
Schmeiser, "Overlapping batch means: something for nothing?", Proc. Winter Simulation Conf. (1984).
"""

from math import ceil, inf, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_VALUES = 6
"""Fewer values don't tell of a dependence."""

BLOCK_TURNS = 2
"""Where requests depend on each other, blocks are as long as so many of them, one after another."""

INDEPENDENT = 1.0, inf
"""What `dependence` says of independent values."""

ONE_SIDED = 1.645
"""The normal distribution's 95 % point."""


def ranked(values: Floats) -> Floats:
    """Return the ranks of values, those of equal ones averaged."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def dependence(x: Floats | NDArray[np.bool_], at_once: float) -> tuple[float, float]:
    """Tell how much larger the variance of a mean is than if `x` were independent.

    That is the circular block bootstrap's (Künsch 1989) over the plain one. It is made up for what
    blocks don't see, if values depend on each other while they overlap; and it is 1 where nothing
    tells of a dependence, beyond chance.

    Parameters
    ----------
    x : array of shape (n,)
        One value for each request, in the order of their ends.
    at_once : float
        How many requests were under way at once.

    Returns
    -------
    float, float
        The ratio, at least 1; with how many degrees of freedom it was found (Meketon & Schmeiser
        1984), +∞ where there is no dependence.
    """
    n = x.size
    if n < MIN_VALUES:
        return INDEPENDENT
    x = x - x.mean()
    variance = float(x @ x) / n
    if variance <= 0:
        return INDEPENDENT
    own = block_length(x)
    block = max(1, min(max(own, round(BLOCK_TURNS * at_once)), n // 3))
    ratio = float(block_means(x, block).var()) * block / variance
    if own == 1 and ratio <= 1 + ONE_SIDED * sqrt(4 * block / (3 * n)):
        return INDEPENDENT
    ratio /= 1 - min(0.5, at_once / (3 * block))
    return max(1.0, ratio), 1.5 * (n / block - 1)


def block_means(x: Floats, block: int) -> Floats:
    """Return the means of all blocks of that length, `x` taken as a circle."""
    total = np.concatenate(([0.0], np.cumsum(np.concatenate((x, x[: block - 1])))))
    return (total[block:] - total[:-block]) / block


def block_length(x: Floats) -> int:
    """Choose the circular bootstrap's block length, in values (Politis & White 2004, 3.2)."""
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
