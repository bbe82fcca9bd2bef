"""Shares of requests: whether enough keep a limit, tested exactly, and how many do."""

from math import exp, lgamma, log, log1p, sqrt

from .dependence import Floats, Z, dependence, ranked
from .intervals import ALPHA, EXACT_UP_TO, design_effect, independent


def share_test(met: int, n: int, share: float) -> bool | None:
    """Tell whether at least `share` (0 to 1) of all do what `met` of `n` did; None: in doubt.

    Exact and one-sided, at 2.5 % each way: the binomial test that order statistics' intervals
    (`percentiles`) turn around, so it says of a percentile what these say, and at any n.
    """
    if n < 1 or not 0 < share < 1:
        return None if n < 1 or share > 0 else True
    log_p, log_q = log(share), log1p(-share)
    if n > EXACT_UP_TO:
        off = (met - n * share) / sqrt(n * share * (1 - share))
        return None if abs(off) < Z else off > 0

    def chance(low: int, high: int) -> float:
        """P(low ≤ B ≤ high) for B ~ Binomial(n, share)."""
        top = lgamma(n + 1)
        return sum(
            exp(top - lgamma(k + 1) - lgamma(n - k + 1) + k * log_p + (n - k) * log_q)
            for k in range(low, high + 1)
        )

    if met > n * share:
        return True if chance(met, n) < ALPHA / 2 else None
    return False if chance(0, met) < ALPHA / 2 else None


def kept_test(values: Floats, most: float, share: float, at_once: float) -> bool | None:
    """Tell whether at least `share` (0 to 1) of all requests keep a limit; None: in doubt.

    As `share_test`, of as many as requests that were under way together are worth (`percentiles`).

    Parameters
    ----------
    values : array of shape (n,)
        What is limited, of each request, in the order of their ends.
    most : float
        The limit.
    at_once : float
        How many were under way at once.
    """
    n, kept = values.size, values <= most
    effect = design_effect(kept, dependence(ranked(values), at_once), at_once)
    worth = min(n, independent(n, effect))
    return share_test(round(int(kept.sum()) * worth / max(n, 1)), worth, share)


def share_interval(met: int, n: int) -> tuple[float, float]:
    """Give the 95 % interval of a share, `met` of `n` (at least 1), by Wilson's score.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927);
    recommended by Brown, Cai & DasGupta, "Interval estimation for a binomial proportion",
    Statist. Sci. 16 (2001).
    """
    p, z2 = met / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
