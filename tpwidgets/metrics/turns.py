"""Whole turns of a closed loop's users, which rates are counted over; until when all is known."""

import numpy as np

from ..samples import Window
from .arrivals import Floats
from .intervals import NONE, Interval, turn_rate_interval
from .ledger import STOPPED, Columns

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
    if window.ramp is not None:
        known = end
    elif window.rate is None:
        last = np.full(window.concurrency, -np.inf)
        mine = c["slot"] < window.concurrency  # users of a higher level before may have left
        np.maximum.at(last, c["slot"][mine].astype(np.intp), c["ended_s"][mine])
        known = min(float(last.min()) + EDGE_S, end)
    else:
        known = min(window.known_s or end, end)
    return known if known - start >= SEEN_SHARE * (end - start) else None


def by_turns(
    c: Columns, amounts: Floats, since: float, until: float, counted: float | None, *, users: bool
) -> tuple[float, Interval]:
    """Take a rate from what each turn of each user brought, and how long it took.

    The middle is the rate if each turn's amount came evenly over it: then it makes no difference
    where turns are cut off, nor that users who fell into step end theirs together. The interval
    reaches to `counted` where it must.

    Parameters
    ----------
    amounts : array of shape (samples,)
        What each sample of `c` brought.
    since, until : float
        The span that is counted over; s on the worker's clock.
    counted : float, optional
        The rate as it was counted, per second, where that is to be told.
    users : bool
        Whether there are any; where not, what ends takes turns: each from one end to the next.

    Returns
    -------
    float, Interval
        `counted` or else the middle.
    """
    was_stopped = c["status"] == STOPPED
    within = np.minimum(c["ended_s"], until) - np.maximum(c["sent_s"], since)
    many = max(np.unique(c["slot"][within > 0]).size, 1) if users else 1
    # what a request that was stopped would have brought isn't known
    known_s = until - since
    if users:
        known_s -= float(np.maximum(within[was_stopped], 0.0).sum()) / many
    sent, ended, slots, amounts = (
        column[~was_stopped] for column in (c["sent_s"], c["ended_s"], c["slot"], amounts)
    )
    if not users:
        slots = np.zeros(ended.size)
    order = np.lexsort((ended, slots))
    sent, ended, slots, amounts = (x[order] for x in (sent, ended, slots, amounts))
    same = np.append(False, slots[1:] == slots[:-1])
    # a user who pauses after a failure is still at that turn
    begun = np.where(same, np.roll(ended, 1), sent if users else np.maximum(sent, since))
    spans = np.maximum(ended - begun, EDGE_S)
    inside = np.flatnonzero((ended > since + 2 * EDGE_S) & (ended <= until))
    if not inside.size:
        return counted or 0.0, NONE
    inside = inside[np.argsort(ended[inside], kind="stable")]
    # how much of each turn lies between
    shares = np.maximum(np.minimum(begun + spans, until) - np.maximum(begun, since), 0.0)
    even = float((amounts * shares / spans).sum()) / max(known_s, float(shares.sum()) / many)
    turns = amounts[inside], spans[inside], np.unique(slots[inside]).size
    lo, hi = turn_rate_interval(*turns, even, until - since)
    rate = even if counted is None else counted
    return rate, NONE if lo is None or hi is None else (min(lo, rate), max(hi, rate))
