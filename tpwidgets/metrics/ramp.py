"""What a ramp tells: about where throughput stopped rising, and where people began to wait.

Its sections are no steady states: they say where to measure, and certify nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log, sqrt

from ..words import (
    PERCENTILES,
    POINT_DTYPES,
    bound,
    count,
    duration,
    is_whole,
    level,
    measured,
    per_second,
    throughput,
)
from .slo import NAMES, Limits

Point = Mapping[str, object]

UNSTEADY: dict[str, object] = {
    **{name: None for name in POINT_DTYPES if name.endswith(("_lo", "_hi"))},
    **{f"ttft_{label}_firm": False for label in PERCENTILES},
    "drifts": False,
}
"""What a point is without amid a ramp: intervals and tests are of what stays as it is."""

WAITS = 2.0
"""A median that is so many times that of the lowest section tells of a queue."""


def bend(points: Sequence[Point], min_gain: float) -> Point | None:
    """Return the section at which throughput stopped rising; None if it still rose at the end.

    No two neighbours above it, which are taken together since a section is short, gain so much per
    doubling of the level.

    Parameters
    ----------
    points : sequence of mapping
        By their level.
    """
    for i, here in enumerate(points[:-2]):
        above = list(pairwise(points[i + 1 :]))
        if all(_gain(here, *pair) < min_gain for pair in above):
            return here
    return None


def _gain(here: Point, *above: Point) -> float:
    rate = sum(_throughput(p) for p in above) / len(above)
    at = sqrt(level(above[0]) * level(above[1]))
    return float((rate / _throughput(here)) ** (log(2) / log(at / level(here))) - 1)


def _throughput(point: Point) -> float:
    return measured(point, throughput(point)) or 0.0


def told(
    points: Sequence[Point], limits: Limits | None, min_gain: float, max_error_rate: float
) -> list[str]:
    """Say what a ramp's sections tell, part by part.

    Parameters
    ----------
    points : sequence of mapping
        By their level; all with a throughput.
    min_gain : float
        Below this gain per doubling of the level throughput doesn't rise.
    max_error_rate : float
        Above this share requests fail.
    """
    unit = "items/s" if is_whole(points[0]) else "tokens/s"
    at = bend(points, min_gain)
    if at is None:
        top = points[-1]
        rate = f"{count(_throughput(top))} {unit}"
        said = [f"Throughput still rose at {_about(top)}, the most in the ramp, with {rate}"]
    else:
        rate = f"{count(_throughput(at))} {unit}"
        said = [f"Throughput stopped rising at about {_about(at)}, with {rate}"]
    said += _waiting(points)
    for name, p, ms in limits.latencies if limits is not None else ():
        column, label = f"{name}_p{100 * p:.4g}_ms", f"{NAMES[name]} p{100 * p:.4g}"
        over = next((q for q in points if (measured(q, column) or 0.0) > ms), None)
        if over is not None:
            said.append(f"{label} went above {bound(ms)} at about {_about(over)}")
    failing = [p for p in points if (measured(p, "error_rate") or 0.0) > max_error_rate]
    if failing:
        said.append(f"requests failed from about {_about(failing[0])} on")
    where = "further up" if at is None else "around there"
    return [*said, f"a ramp is no steady state: measure {where} with fixed levels"]


def _waiting(points: Sequence[Point]) -> list[str]:
    whole = is_whole(points[0])
    column, name = ("e2e_p50_ms", "E2E latency") if whole else ("ttft_p50_ms", "TTFT")
    known = [(p, ms) for p in points if (ms := measured(p, column))]
    for point, ms in known:
        if ms >= WAITS * known[0][1]:
            before, after = duration(known[0][1]), duration(ms)
            return [f"median {name} was {after} at about {_about(point)}, {before} at the lowest"]
    return []


def _about(point: Point) -> str:
    at = level(point)
    return f"{count(at)} {'concurrent' if point.get('rate') is None else per_second(at)}"
