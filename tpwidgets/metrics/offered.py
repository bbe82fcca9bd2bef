"""What an open loop's operating point has beside the others: offered load, and from when on."""

from math import sqrt

import numpy as np

from ..samples import Window
from ..words import PERCENTILES
from .intervals import percentile, percentiles
from .ledger import CLIENT_LIMIT, Columns

GROWS = 1.25
"""Requests in flight that grow to at least so much, quarter by quarter, are a queue."""
BEYOND_CHANCE = 2.0
"""… by at least so many standard deviations, were arrivals Poisson's and answers as long."""


def offered(
    c: Columns, ended: Columns, ok: Columns, window: Window, start: float, known: float | None,
    at_once: float, *, provisional: bool,
) -> dict[str, object]:  # fmt: skip
    """Return the columns of an open loop's point.

    Parameters
    ----------
    c, ended, ok : Columns
        All requests, those that ended inside the window, and well.
    start, known : float
        When counting began, and until when all is known; s on the worker's clock.
    at_once : float
        How many requests were under way at once.
    """
    out: dict[str, object] = {"rate": window.rate}
    out["concurrency"] = max(1, round(window.in_flight_mean))
    if known is not None and known > start:
        sent = c["dispatched_s"][c["status"] != CLIENT_LIMIT]
        out["sent_rps"] = float(((sent > start) & (sent <= known)).sum()) / (known - start)
    delay_ms = (ended["dispatched_s"] - ended["scheduled_s"]) * 1000
    out["sched_delay_p99_ms"] = percentile(delay_ms[~np.isnan(delay_ms)], 0.99)
    labels = ("p50", "p95") if provisional else tuple(PERCENTILES)
    ok = ok.in_order()
    for name in ("ttft", "e2e"):
        ms = ok[f"{name}_ms"] + ok["late_ms"]
        ps = [PERCENTILES[label] for label in labels]
        found = percentiles(ms[~np.isnan(ms)], ps, at_once)
        for label, (value, (low, high)) in zip(labels, found, strict=True):
            column = f"{name}_from_scheduled_{label}_ms"
            out |= {column: value, f"{column}_lo": low, f"{column}_hi": high}
    return out


def queue_grows(c: Columns, start: float, end: float) -> bool:
    """Tell whether requests in flight became more and more in (start, end], beyond chance."""
    sent = c["status"] != CLIENT_LIMIT
    begun, ended = np.sort(c["dispatched_s"][sent]), np.sort(c["ended_s"][sent])
    at = np.linspace(start, end, 401)[1:]
    counts = np.searchsorted(begun, at, side="right") - np.searchsorted(ended, at, side="right")
    quarters = counts.reshape(4, -1).mean(axis=1)
    first, last = float(quarters[0]), float(quarters[-1])
    steadily = bool((np.diff(quarters) > 0).all())
    beyond = BEYOND_CHANCE * sqrt(first + last)
    return steadily and last > GROWS * first and last - first > beyond
