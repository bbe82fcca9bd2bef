"""What the answers for use cases are made of: their numbers, and how these are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from ..cost.at_point import usd_per_1m_output
from ..cost.price import Price
from ..words import bound, duration, measured
from .capacity import Between, Capacity
from .presets import UseCase
from .service import usable

if TYPE_CHECKING:
    from ..run import Run

Point = Mapping[str, object]


@dataclass(frozen=True)
class Figure:
    """One number of an answer, with its range where it has one.

    In that are the 95 % intervals of what was measured, what the drawing of arrivals makes, and by
    what a model of the endpoint may be off (`service.DOUBT`).
    """

    label: str
    value: float
    unit: str = ""
    lo: float | None = None
    hi: float | None = None

    @classmethod
    def of(cls, label: str, between: Between, unit: str = "") -> "Figure":
        """Make one of a figure with its range, whose upper end may be infinite."""
        return cls(label, between.value, unit, between.lo, between.hi)


def capacity_of(run: "Run") -> Capacity:
    """Return the capacity of a run that has a usable point."""
    capacity = Capacity.of(run)
    if capacity is None:  # _why_not has seen to that
        raise AssertionError("a run without a usable point")
    return capacity


def lowest(run: "Run") -> Point:
    """Return the usable point of the lowest concurrency."""
    return min(filter(usable, run.rows), key=lambda p: measured(p, "concurrency") or 0)


def measured_between(point: Point, name: str) -> Between:
    """Return a column's value with its interval; without one where there is none."""
    value = measured(point, name) or 0.0
    lo, hi = (measured(point, f"{name}_{end}") for end in ("lo", "hi"))
    return Between(value, value if lo is None else lo, value if hi is None else hi)


def request_usd(run: "Run", price: Price, at_once: int) -> Between | None:
    """Return USD per request by the token, at the usable point nearest to so many at once."""
    point = min(
        filter(usable, run.rows), key=lambda p: abs((measured(p, "concurrency") or 0) - at_once)
    )
    each, n = usd_per_1m_output(point, price)[0], measured(point, "n")
    tokens = measured(point, "billed_output_tokens")
    if each is None or not tokens or not n:
        return None
    return Between(each, each, each) * (tokens / n / 1e6)


def by_the_token(price: Price | None) -> bool:
    """Tell whether it is a provider's endpoint, of which there are no replicas to rent."""
    return price is not None and price.hour is None


def rate_limit(case: UseCase, rpm: float) -> list[Figure]:
    """Return what to ask a provider for, from requests per minute."""
    tokens = case.prompt_tokens + case.output_tokens
    return [
        Figure("rate limit to ask for", rpm, "requests per minute"),
        Figure("rate limit to ask for", rpm * tokens, "tokens per minute"),
    ]


def named(column: str) -> str:
    """Write a column's name for people: ``TTFT p95``."""
    latency, p, _ = column.split("_")
    return f"{'E2E latency' if latency == 'e2e' else latency.upper()} {p}"


def limit(column: str, ms: float) -> str:
    """Write a limit: ``TTFT p95 ≤ 1 s``."""
    return f"{named(column)} ≤ {bound(ms)}"


def with_interval(between: Between, written: Callable[[float], str]) -> str:
    """Write a figure and its interval; without it where no difference shows."""
    value, lo = written(between.value), written(between.lo)
    if between.hi == inf:
        return f"{value} ({lo} or more)"
    hi = written(between.hi)
    return value if lo == hi else f"{value} ({lo} to {hi})"


def beyond(most: int) -> str:
    """Say that more than was measured may do more."""
    return f"{most} at once is the most measured, and throughput may rise beyond"


def span(seconds: float) -> str:
    """Write a time given in seconds, however long: ``41 s``, ``3.2 h``, ``1.7 days``."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return duration(1000 * seconds)


def clock(seconds: float) -> str:
    """Write a time of day given in seconds since midnight: ``03:40``."""
    minutes = round(seconds / 60) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
