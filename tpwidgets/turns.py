"""Whole turns of a closed loop's users, which rates are counted over; until when all is known."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrivals import Floats
from .intervals import Interval, turns_interval
from .ledger import STOPPED, Columns
from .samples import Window

EDGE_S = 1e-6
"""Clock arithmetic rounds; an event this close to a window's edge is on it."""

SEEN_SHARE = 0.1
"""A provisional rate is given once at least this share of the open window is fully known."""

TURNS_SHARE = 0.5
"""Rates are counted over whole turns where these fill at least this share of the window."""

OPENING_SHARE = 0.002
"""The last end before the window is what opened it, if this share of its length lies between."""


def whole_turns(c: Columns, start: float, end: float) -> tuple[float, float] | None:
    """Return the longest span in (start, end] that is a whole number of one user's requests.

    Users of a closed loop take turns in much the same order: were the last turn cut off anywhere,
    the span would hold more of its waiting, or less, than of its tokens, and half a turn's ends.
    (64 users, 200 ms TTFT, 127 gaps of 10 ms: up to 1.7 % of the tokens and 13 % of the requests
    in 2.5 s.) None where whole turns fill too little of the window to go by.
    """
    at, slots = c["ended_s"], c["slot"].astype(np.intp)
    ends = (at > start) & (at <= end) & (c["status"] != STOPPED)
    opening = np.max(at, where=at <= start, initial=-np.inf)
    if opening > start - OPENING_SHARE * (end - start):
        ends |= at == opening
    at, slots = at[ends], slots[ends]
    if not at.size:
        return None
    first, last = np.full(slots.max() + 1, np.inf), np.full(slots.max() + 1, -np.inf)
    np.minimum.at(first, slots, at)
    np.maximum.at(last, slots, at)
    user = int(np.argmax(last - first))
    since, until = max(float(first[user]) + EDGE_S, start), min(float(last[user]) + EDGE_S, end)
    return (since, until) if until - since >= TURNS_SHARE * (end - start) else None


def known_until(c: Columns, start: float, end: float, window: Window) -> float | None:
    """Return until when all is known, while the window is open; None if for too little of it.

    That is when the level's least known slot last ended a request or, in an open loop, when the
    oldest request in flight was sent.
    """
    if window.rate is None:
        last = np.full(window.concurrency, -np.inf)
        mine = c["slot"] < window.concurrency  # users of a higher level before may have left
        np.maximum.at(last, c["slot"][mine].astype(np.intp), c["ended_s"][mine])
        known = min(float(last.min()) + EDGE_S, end)
    else:
        known = min(window.known_s or end, end)
    return known if known - start >= SEEN_SHARE * (end - start) else None


def by_turns(
    c: Columns, since: float, until: float, total: float, course: Callable[[Floats], Any]
) -> Interval:
    """Take a rate's interval from how much came, by its `course`, in each turn of each user."""
    at, slots = c["ended_s"], c["slot"]
    inside = (at >= since - 2 * EDGE_S) & (at <= until) & (c["status"] != STOPPED)
    at, slots = at[inside], slots[inside]
    order = np.lexsort((at, slots))
    at, slots = at[order], slots[order]
    same = slots[1:] == slots[:-1]
    amounts, spans = np.diff(course(at))[same], np.diff(at)[same]
    users = np.unique(slots[1:][same]).size
    return turns_interval(amounts, spans, users, total / (until - since), until - since)
