"""Whether latency at a window's end is another than at its beginning, beyond chance.

Requests in the order of their ends are no independent sample: those that share a batch wait for
each other, and users who begin together come in waves. So the slowest wave in them, which is what a
drift looks like, is held against the next faster ones, all of them slower than a user's turn:
Müller, "HAC corrections for strongly autocorrelated time series", J. Bus. Econ. Stat. 32 (2014);
Lazarus, Lewis, Stock & Watson, "HAR inference: recommendations for practice", ibid. 36 (2018). Of
ranks, since one stalled request is no drift.
"""

from math import log, pi, sqrt

import numpy as np

from ..samples import Window
from ..words import duration
from .arrivals import Floats
from .dependence import ranked
from .ledger import Columns
from .pooled import within
from .slo import NAMES

BEYOND_CHANCE = 3.3
"""So many standard deviations (0.1 % of steady windows exceed them by chance) are a drift …"""
MATTERS = 1.10
"""… if the median of the last third is so many times that of the first, or the reverse."""

WAVES = 16
WAVES_PER_TURN = 0.5
MIN_WAVES = 5
"""How many waves are looked at: at most, for each turn that follows another, and at least."""

MIN_HALF = 10
"""Fewer values than twice so many don't tell of a drift."""

APART = 3.0
"""Halves that differ by so many standard errors drift."""

_WHY = {True: "a throttling GPU, another load?", False: "a warming cache?"}


def drift_notes(ok: Columns, window: Window) -> list[str]:
    """Say how latencies changed within a window, or in each part of a pooled one.

    Parameters
    ----------
    ok : Columns
        The requests that ended well inside it.

    Returns
    -------
    list of str
        Such as ``TTFT rose from 180 ms to 260 ms within the window (…)``; empty if none changed,
        or that can't be told: it takes ten turns (requests / users).
    """
    said = []
    for part in window.spans:
        mine = ok.where(within(part, ok["ended_s"]))
        order = np.argsort(mine["ended_s"], kind="stable")
        for name in ("ttft", "tpot") if mine["chunks"].any() else ("e2e",):
            values = mine[f"{name}_ms"][order]
            said.append(_drift(name, values, part.in_flight_mean or part.concurrency))
    return [note for note in dict.fromkeys(said) if note]


def _drift(name: str, values: Floats, at_once: float) -> str:
    known = values[~np.isnan(values)]
    third = known.size // 3
    if not third or abs(trend(known, known.size / max(at_once, 1.0))) < BEYOND_CHANCE:
        return ""
    first, last = float(np.median(known[:third])), float(np.median(known[-third:]))
    if max(first, last) < MATTERS * min(first, last):
        return ""
    rose = last > first
    change = f"{'rose' if rose else 'fell'} from {duration(first)} to {duration(last)}"
    return f"{NAMES[name]} {change} within the window ({_WHY[rose]})"


def trend(values: Floats, turns: float) -> float:
    """Return how far beyond chance successive values rise, in standard deviations; < 0: they fall.

    0 where there are too few turns to tell. Student's t is brought to the normal distribution by
    Wallace, "Bounds on normal approximations to Student's and the chi-square distributions", Ann.
    Math. Stat. 30 (1959).
    """
    n = values.size
    waves = int(min(WAVES, WAVES_PER_TURN * turns, n / 4))
    if waves < MIN_WAVES:
        return 0.0
    ranks = ranked(values)
    ranks -= ranks.mean()
    at = (np.arange(n) + 0.5) / n
    line = at - at.mean()
    slope = float(line @ ranks) / float(line @ line)
    faster = np.cos(pi * np.outer(np.arange(2, waves + 1), at)) @ (ranks - slope * line)
    noise = sqrt(float(faster @ faster) / (waves - 1))
    if noise <= 1e-9 * n * n:
        return 0.0 if abs(slope) < 1e-9 * n else float(np.copysign(np.inf, slope))
    t = -float(np.cos(pi * at) @ ranks) / noise
    v = waves - 1
    z = (8 * v + 1) / (8 * v + 3) * sqrt(v * log(1 + t * t / v))
    return float(np.copysign(z, t))


def settling(values: Floats) -> bool:
    """Tell whether values rise or fall from their first half to the second, beyond chance.

    A rank-sum test (Mann & Whitney, Ann. Math. Statist. 18 (1947)), as of independent values, of
    what Geweke (*Bayesian Statistics* 4, 1992) compares. Values that depend on each other seem to
    drift more often: then too it is better to go on.
    """
    n, half = values.size, values.size // 2
    if half < MIN_HALF:
        return False
    ranks = ranked(values)
    error = sqrt(float(ranks.var()) * (1 / half + 1 / (n - half)))
    return abs(float(ranks[half:].mean() - ranks[:half].mean())) > APART * error
