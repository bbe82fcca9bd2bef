"""The answer where a job is to be done: how long it takes, by when it is done, what it costs."""

from math import ceil, inf
from typing import TYPE_CHECKING

from ..cost.price import Price
from ..words import count, usd
from .capacity import Between, Capacity, job_s
from .kpi_figures import (
    Figure,
    beyond,
    by_the_token,
    capacity_of,
    clock,
    rate_limit,
    request_usd,
    span,
    with_interval,
)
from .presets import UseCase
from .service import Curve

if TYPE_CHECKING:
    from ..run import Run


def job(run: "Run", case: UseCase, price: Price | None) -> tuple[list[str], list[Figure]]:
    """Answer how long all of it takes, whether it is done in time, and what it costs."""
    capacity = capacity_of(run)
    volume, at_once = case.volume, capacity.middle.best
    took_s = capacity.time_for(volume)
    hour = took_s.rate_of(3600 * volume)
    rented = by_the_token(price)
    figures = [
        Figure.of(f"{case.items} an hour", hour),
        Figure.of("time as measured" if rented else "time on one replica", took_s, "s"),
        Figure("at once" if rented else "at once, per replica", at_once),
    ]
    what = f"{count(volume)} {case.items if volume != 1 else case.item}"
    if "deadline_hour" in case:
        open_s = 3600 * ((case["deadline_hour"] - case["start_hour"]) % 24 or 24)
        said = _by_the_deadline(case, what, capacity, took_s, open_s, price)
        needed = _replicas_by(capacity, volume, open_s)
        if needed and not rented:
            figures.append(Figure.of("replicas to be done in time", needed))
        pace = volume / open_s
    else:
        where = "from the endpoint as measured" if rented else "on one replica"
        said = [f"{what} take {with_interval(took_s, span)} {where}, {at_once} at a time"]
        pace = volume / took_s.value
    figures += rate_limit(case, 60 * pace)
    said.append(f"{with_interval(hour, count)} an hour")
    if capacity.middle.rising and volume > at_once:
        said[-1] += f" ({beyond(at_once)})"
    if price is not None:
        cost = _job_usd(run, price, volume, took_s, at_once)
        if cost is not None:
            figures.append(Figure.of(f"cost of {what}", cost, "USD"))
            said.append(f"{with_interval(cost, usd)} in all, {usd(cost.value / volume)} each")
    return said, figures


def _by_the_deadline(
    case: UseCase,
    what: str,
    capacity: Capacity,
    took_s: Between,
    open_s: float,
    price: Price | None,
) -> list[str]:
    start, deadline = case["start_hour"], clock(3600 * case["deadline_hour"])

    def done(time_s: Between) -> str:
        if time_s.value >= 86_400:
            return f"are done after {with_interval(time_s, span)}"
        return f"are done at {with_interval(time_s, lambda s: clock(3600 * start + s))}"

    def in_time(time_s: Between) -> str:
        if time_s.lo <= open_s < time_s.hi:
            return f"probably {'before' if time_s.value <= open_s else 'after'} {deadline}"
        return f"{'before' if time_s.value <= open_s else 'after'} {deadline}"

    alone = "" if by_the_token(price) else ", with 1 replica"
    begun = f"{what}, begun at {clock(3600 * start)},"
    said = [f"{begun} {done(took_s)}, {in_time(took_s)}{alone}"]
    if took_s.value <= open_s:
        return said
    if by_the_token(price):  # nobody rents replicas by the token
        rpm = 60 * case.volume / open_s
        tpm = rpm * (case.prompt_tokens + case.output_tokens)
        said.append(
            f"in time it takes a rate limit of {count(rpm)} requests and {count(tpm)} tokens a "
            f"minute, {count(took_s.value / open_s)} times what was measured"
        )
        return said
    needed = _replicas_by(capacity, case.volume, open_s)
    if needed is None:
        said.append(f"a single one takes {span(capacity.time_for(1).value)}, whatever there is")
        return said
    replicas = ceil(needed.value)
    time_s = capacity.time_for(case.volume, replicas)
    said.append(f"with {replicas} they {done(time_s)}, {in_time(time_s)}")
    return said


def _replicas_by(capacity: Capacity, volume: int, open_s: float) -> Between | None:
    """Return the fewest replicas that are done with a job in time; None if one request is not."""
    middle, fast, slow = (
        _fewest(curve, volume, open_s) for curve in (capacity.middle, capacity.fast, capacity.slow)
    )
    if middle is None:
        return None
    return Between(middle, min(middle, fast or middle), max(middle, slow or inf))


def _fewest(curve: Curve, volume: int, open_s: float) -> int | None:
    def in_time(replicas: int) -> bool:
        return job_s(curve, ceil(volume / replicas)) <= open_s

    if not in_time(volume):
        return None
    low, high = 0, 1
    while not in_time(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if in_time(middle) else (middle, high)
    return high


def _job_usd(
    run: "Run", price: Price, volume: int, took_s: Between, at_once: int
) -> Between | None:
    """Return what a job costs: as many replica hours, however many replicas share it."""
    if price.hour is not None:
        return took_s * (price.hour * price.replicas / price.utilisation / 3600)
    each = request_usd(run, price, at_once)
    return None if each is None else each * volume
