"""The answer in one sentence: which operating point to run at, what it gives, why no further."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import log2

from .cost.at_point import usd_per_1m_output, usd_per_1m_total
from .cost.price import Price
from .metrics.intervals import firm
from .metrics.largest import Largest
from .metrics.ramp import told as of_ramp
from .metrics.slo import MAX_ERROR_RATE, Limits
from .words import (
    amid_ramp,
    at_level,
    count,
    duration,
    is_whole,
    level,
    measured,
    named,
    percent,
    throughput,
    usd,
)

Point = Mapping[str, object]

MIN_GAIN = 0.10
"""Below this gain of output_tps per doubling of concurrency, more of it isn't worth its latency."""

WIDE = 0.5
"""An interval wider than this share of its value stands in the answer."""

TTFT_FACTOR = 2.0
"""A step in which TTFT grows at least so much is one too far."""


def answer(
    points: Iterable[Point], price: Price | None = None, limits: Limits | None = None
) -> str:
    """Say in one sentence which level to run at, what it gives and why no further.

    With limits it is the largest level that keeps them (`largest.py`).

    Walks up the levels and stops before the first step in which TTFT (p95, or the median where p95
    has no interval) at least doubles, output_tps gains less than 10 % per doubling of concurrency,
    more than 1 % of requests fail, or an open loop's queue grows. Where answers come whole
    (embeddings), E2E latency and items_per_s take their places. Levels at which the client was the
    limit (which is said), which are still being measured, or at which nothing ended well are left
    out. Differences within the 95 % intervals aren't claimed. Of a ramp it says where to measure
    (`metrics/ramp.py`).
    """
    latest = {level(p): p for p in points}  # a level measured again replaces the former
    levels = [latest[c] for c in sorted(latest)]
    usable = [p for p in levels if _usable(p)]
    if not usable:
        return _why_nothing(levels)
    if any(map(amid_ramp, usable)):
        said = of_ramp(usable, limits, MIN_GAIN, MAX_ERROR_RATE)
        return "; ".join(said + _left_out(levels)) + "."
    if limits is not None:
        point, said = _within(limits, levels, price)
        if point is None:
            return f"{said[0]}."
    elif usable[0].get("queue_grows"):
        return _why_nothing(usable[:1])
    else:
        best, beyond = _walk(usable, levels)
        point = usable[best]
        said = [_what_it_gives(point, price), *([beyond] if beyond else [])]
    said += _left_out(levels)
    # of a level that breaks limits it was said, or nobody would run there anyway
    said += _failures(point, [p for p in levels if p.get("limits_hold") is not False])
    return "; ".join(said) + "."


def _within(
    limits: Limits, levels: list[Point], price: Price | None
) -> tuple[Point | None, list[str]]:
    """Return the largest level that keeps the limits, if there is one, and what to say of it."""
    # one at which nothing ended well breaks them, though it gives nothing
    judged = [p for p in levels if not p.get("provisional") and not p.get("client_limited")]
    found = Largest.of(judged)
    point, broken = found.point, found.broken
    if point is None:
        return None, [_none_keeps(limits, judged[0] if broken is None else broken)]
    within = f" ({found.between})" if found.between else ""
    said = [_what_it_gives(point, price, within)]
    good = measured(point, "goodput_rps")
    if good is not None:
        said[0] += f", {count(good)} good requests/s"
    sure = found.sure is not None and found.sure >= level(point)
    told = "" if sure else f", as far as {count(measured(point, 'n'))} requests tell"
    said.append(f"it keeps {limits.text}{told}")
    if broken is not None:
        said.append(f"at {_level(broken)} {broken.get('limits_note')}")
    else:
        said.append(f"{_level(point)} is the highest level measured")
    return point, said


def _none_keeps(limits: Limits, lowest: Point) -> str:
    """Say that no level keeps the limits, as far as levels were measured and requests tell."""
    at, why = _level(lowest), lowest.get("limits_note") or "nothing ended that could be judged"
    if lowest.get("limits_hold") is None:
        return f"Nothing tells whether {limits.text} are kept: at {at} {why}"
    closed = lowest.get("rate") is None
    none = "No concurrency keeps" if closed and level(lowest) == 1 else "No level measured keeps"
    n = (measured(lowest, "n") or 0) + (measured(lowest, "n_failed") or 0)
    told = "" if lowest.get("limits_sure") else f", as far as {count(n)} requests tell"
    return f"{none} {limits.text}: at {at} {why}{told}"


def _level(point: Point) -> str:
    """Write the level where its unit is plain: ``16``, ``2.5 requests/s``."""
    return named(point) if point.get("rate") is None else at_level(point)


def _usable(point: Point) -> bool:
    return bool(
        not point.get("provisional")
        and not point.get("client_limited")
        and measured(point, "n")
        and level(point)
        and measured(point, throughput(point))
    )


def _why_nothing(levels: list[Point]) -> str:
    finished = [p for p in levels if not p.get("provisional")]
    if not finished:
        return "No answer yet: no level has been measured to its end."
    first = finished[0]
    reason = str(first.get("note") or "no request ended inside the window")
    return f"No answer: at {at_level(first)}, {reason}."


def _walk(usable: list[Point], levels: list[Point]) -> tuple[int, str]:
    """Return the index of the level to stop at, and what lies beyond it ("" if nothing does)."""
    rising = False
    for i, (here, there) in enumerate(pairwise(usable)):
        stops, rising = _step(here, there)
        if stops:
            return i, f"beyond {_level(here)} {' and '.join(stops)}"
    top = len(usable) - 1
    at = _level(usable[top])
    highest = level(usable[top])
    above = [p for p in levels if level(p) > highest and not p.get("provisional")]
    if above:
        return top, f"still rising at {at}" if rising else ""
    if rising:
        return top, f"still rising at {at}, the highest level measured"
    return top, f"{at} is the highest level measured" if top else ""


def _step(here: Point, there: Point) -> tuple[list[str], bool]:
    """Say why not to take this step, and whether throughput rose in it beyond doubt."""
    stops = []
    if there.get("queue_grows"):
        stops.append("more requests arrive than are answered")
    # a step into more failures than these is one too far
    if _error_rate(there) > MAX_ERROR_RATE and _error_rate(there) > 2 * _error_rate(here):
        limited = 2 * (measured(there, "n_rate_limited") or 0) > (measured(there, "n_failed") or 0)
        more = "more " if _error_rate(here) > MAX_ERROR_RATE else ""
        stops.append(f"{more}requests {'are rate-limited' if limited else 'fail'}")
    factor = _latency_factor(here, there)
    if factor >= TTFT_FACTOR:
        name = _latency(there)[1]
        stops.append(f"{name} doubles" if factor < 3 else f"{name} grows {factor:.0f}-fold")
    doublings = log2(level(there) / level(here))
    rate = throughput(there)
    ratio = (measured(there, rate) or 0.0) / (measured(here, rate) or 1.0)
    gain = ratio ** (1 / doublings) - 1
    proven = _apart(here, there, rate)
    if gain < MIN_GAIN and here.get("rate") is None:  # at a rate as much comes as is asked for
        if not proven:
            stops.append("throughput doesn't rise measurably")
        elif gain < 0:
            stops.append("throughput falls")
        else:
            each = "" if doublings == 1 else " per doubling"
            stops.append(f"throughput rises only {percent(100 * gain)}{each}")
    return stops, proven and gain > 0


def _latency(point: Point) -> tuple[str, str]:
    """Return what a user waits for, as its columns begin and in words."""
    return ("e2e", "E2E latency") if is_whole(point) else ("ttft", "TTFT")


def _latency_factor(here: Point, there: Point) -> float:
    """Return how much the latency grew in this step, beyond doubt; 1 if that can't be told."""
    for name in (f"{_latency(there)[0]}_{p}_ms" for p in ("p95", "p50")):
        if all(measured(p, f"{name}_lo") is not None for p in (here, there)):
            before, after = measured(here, name), measured(there, name)
            return after / before if before and after and _apart(here, there, name) else 1.0
    return 1.0


def _apart(a: Point, b: Point, name: str) -> bool:
    """Tell whether two points' 95 % intervals are known and don't overlap."""
    a_lo, a_hi, b_lo, b_hi = (measured(p, name + end) for p in (a, b) for end in ("_lo", "_hi"))
    if a_lo is None or a_hi is None or b_lo is None or b_hi is None:
        return False
    return a_hi < b_lo or b_hi < a_lo


def _what_it_gives(point: Point, price: Price | None, within: str = "") -> str:
    latency, name = _latency(point)
    unit = "items/s" if is_whole(point) else "tokens/s"
    parts = [f"{_rate(point)} {unit}"]
    p95, p50 = (measured(point, f"{latency}_{p}_ms") for p in ("p95", "p50"))
    n = int(measured(point, "n") or 0)
    if p95 is not None and (point.get("ttft_p95_firm") or (latency == "e2e" and firm(n, 0.95))):
        parts.append(f"{name} p95 {duration(p95)}")
    elif p95 is not None:
        parts.append(f"{name} p95 about {duration(p95)} (n = {count(n)})")
    elif p50 is not None:
        parts.append(f"{name} median {duration(p50)}")
    if price is not None:
        whole = is_whole(point)
        cost = usd_per_1m_total(point, price) if whole else usd_per_1m_output(point, price)[0]
        if cost is not None:
            tokens = "tokens" if whole else "output tokens"
            parts.append("free of charge" if cost == 0 else f"{usd(cost)} per 1M {tokens}")
    return f"At {at_level(point)}{within}: {', '.join(parts)}"


def _rate(point: Point) -> str:
    """Write throughput, with its interval where that is wide."""
    name = throughput(point)
    value, lo, hi = (measured(point, name + end) for end in ("", "_lo", "_hi"))
    wide = value and lo is not None and hi is not None and hi - lo > WIDE * value
    return count(value) + (f" ({count(lo)} to {count(hi)})" if wide else "")


def _left_out(levels: list[Point]) -> list[str]:
    """Name the levels that say more of the client than of the endpoint."""
    limited = [p for p in levels if p.get("client_limited") and not p.get("provisional")]
    if not limited:
        return []
    *most, last = (_level(p) for p in limited)
    which = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    return [f"{which} left out: the client was the limit there"]


def _failures(point: Point, levels: list[Point]) -> list[str]:
    """Mention the failures at the chosen level and at the worst one."""
    failing = [p for p in levels if measured(p, "error_rate") and not p.get("provisional")]
    if not failing:
        return []
    worst = max(failing, key=_error_rate)
    return [_failure(p) for p in failing if p is point or p is worst]


def _failure(point: Point) -> str:
    limited = measured(point, "n_rate_limited") or 0.0
    mostly_limited = 2 * limited > (measured(point, "n_failed") or 0.0)
    at = _level(point)
    if _error_rate(point) == 1:
        return f"every request {'was rate-limited' if mostly_limited else 'failed'} at {at}"
    how = "were rate-limited" if mostly_limited else "failed"
    return f"{percent(100 * _error_rate(point))} of requests {how} at {at}"


def _error_rate(point: Point) -> float:
    return measured(point, "error_rate") or 0.0
