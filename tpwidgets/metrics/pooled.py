"""An operating point that was measured several times: its rates, and whether the times agree."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ..samples import Window
from ..words import count, measured
from .arrivals import Floats
from .dependence import Z
from .intervals import NONE, Interval, student
from .turns import EDGE_S

Row = dict[str, object]

DIFFER = 2.326
"""The normal distribution's 99 % point: runs that agree are said to differ once in a hundred."""

_COUNTED = "output_tps", "rps", "items_per_s", "goodput_rps"
_SAID = (("output_tps", "tokens/s"), ("items_per_s", "items/s"))


def within(window: Window, at: Floats) -> NDArray[np.bool_]:
    """Tell which times (s, worker's clock) lie in the window, or in any part of a pooled one."""
    inside = np.zeros(at.shape, dtype=bool)
    for span in window.spans:
        inside |= (at > span.start_s + EDGE_S) & (at <= span.end_s + EDGE_S)
    return inside


def pooled_rates(parts: Sequence[Row]) -> Row:
    """Return the columns of rates: all that was counted / all the time in which it was.

    Parameters
    ----------
    parts : sequence of dict
        The point of each time alone.
    """
    spans = np.array([_span_s(part) for part in parts])
    windows = np.array([measured(part, "window_s") or 0.0 for part in parts])
    out: Row = {
        "rates_start_s": parts[0]["rates_start_s"],
        "rates_end_s": parts[-1]["rates_end_s"],
        "queue_grows": any(part["queue_grows"] for part in parts),
    }
    for name in _COUNTED:
        if any(measured(part, name) is not None for part in parts):
            rates = np.array([measured(part, name) or 0.0 for part in parts])
            out[name] = _mean(rates, spans)
            out[f"{name}_lo"], out[f"{name}_hi"] = pooled_interval(
                rates, [_half(part, name) for part in parts], spans
            )
    for name in ("input_tps", "total_tps", "batches_per_s", "sent_rps"):
        known = [measured(part, name) for part in parts]
        if None not in known:
            out[name] = _mean(np.array(known), windows if name == "sent_rps" else spans)
    return out


def pooled_interval(rates: Floats, halves: Sequence[float | None], spans: Floats) -> Interval:
    """Give the 95 % interval of the mean of several times' rates, weighted by their lengths.

    It is the wider of two. One is of what varied within each time. The other is Student's of how
    the times differ, by the method of independent replications (Law, *Simulation Modeling and
    Analysis*, 5th ed. 2015, section 9.5.2): what changes from day to day is seen only there. Two
    times say little about that, hence widely; three or more are better.

    Parameters
    ----------
    rates, spans : arrays of shape (times,), at least two
        Each one's rate, per second, and over how many seconds it was counted.
    halves : sequence of float or None
        Half of the 95 % interval of each.
    """
    if not spans.sum():
        return NONE
    mean, shares = _mean(rates, spans), spans / spans.sum()
    within = sqrt(sum((w * (own or 0.0)) ** 2 for w, own in zip(shares, halves, strict=True)))
    deviation = sqrt(float(shares @ (rates - mean) ** 2) / (rates.size - 1))
    half = max(within, student(rates.size - 1) * deviation)
    return max(0.0, mean - half), mean + half


def unlike(parts: Sequence[Row]) -> list[str]:
    """Say that throughput was not the same each time, if that is beyond chance.

    Cochran, "The combination of estimates from different experiments", Biometrics 10 (1954); the
    χ² distribution's point as Wilson & Hilferty (1931) have it.
    """
    for name, unit in _SAID:
        rates = [measured(part, name) for part in parts]
        halves = [_half(part, name) for part in parts]
        told = [(r, h / Z) for r, h in zip(rates, halves, strict=True) if r is not None and h]
        if len(told) < 2:
            continue
        rate, deviation = np.array(told).T
        mean = float((rate / deviation**2).sum() / (1 / deviation**2).sum())
        q = float((((rate - mean) / deviation) ** 2).sum())
        v = len(told) - 1
        if q > v * (1 - 2 / (9 * v) + DIFFER * sqrt(2 / (9 * v))) ** 3:
            low, high = count(float(rate.min())), count(float(rate.max()))
            return [f"the runs differ beyond chance: {low} to {high} {unit}"]
    return []


def _span_s(part: Row) -> float:
    since, until = measured(part, "rates_start_s"), measured(part, "rates_end_s")
    return until - since if since is not None and until is not None else 0.0


def _half(part: Row, name: str) -> float | None:
    """Return half of an interval; its upper half, since the lower one may end at 0."""
    value, high = measured(part, name), measured(part, f"{name}_hi")
    return high - value if value is not None and high is not None else None


def _mean(values: Floats, weights: Floats) -> float:
    return float(values @ weights / weights.sum()) if weights.sum() else 0.0
