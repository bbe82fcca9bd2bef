"""The answer where many are served at once: how many, with what, at what cost."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, inf
from typing import TYPE_CHECKING

import numpy as np

from ..cost.price import Price
from ..words import bound, count, duration, measured, percent, usd
from .capacity import SEEDS, Between, independent, simulate, through_the_day
from .kpi_figures import (
    Figure,
    beyond,
    by_the_token,
    capacity_of,
    limit,
    lowest,
    named,
    rate_limit,
    request_usd,
    with_interval,
)
from .presets import DAY, UseCase
from .service import Curve

if TYPE_CHECKING:
    from ..run import Run

CEILING = 0.8
"""Limits are no limit to a replica that may be given this share of all that it was seen to do."""

DAY_PLAYED = 60_000
"""A day of more requests per replica than this is not played through."""


def chats(run: "Run", case: UseCase, price: Price | None) -> tuple[list[str], list[Figure]]:
    """Answer how many chats at once, with how many replicas, and what a resolved ticket costs."""
    capacity, limits = capacity_of(run), case.limits
    burstiness = case.get("burstiness", 1.0)
    highest = capacity.highest_rate(limits, burstiness)
    if not highest.value:
        return [_none_keeps(run, limits)], []
    # where not the limits end it but what was measured, there may be more
    ceiling = capacity.middle.rising and highest.value > CEILING * capacity.middle.rates.max()
    if ceiling:
        highest = replace(highest, hi=inf)
    cycle_s = _cycle_s(capacity.middle, highest.value, case, burstiness)
    held = highest * cycle_s
    a_day = round(case["tickets_per_day"] * case["turns"])
    busiest = a_day * case["busiest_pct"] / 100 / 3600
    needed = capacity.replicas(busiest, limits, burstiness)
    replicas = ceil(needed.value) if needed else 1
    hourly = _hourly(case["busiest_pct"])
    days = [through_the_day(a_day, hourly, seed=seed, burstiness=burstiness) for seed in SEEDS]
    minutes = [int(np.bincount((day // 60).astype(np.intp)).max()) for day in days]
    rpm = float(np.median(minutes))
    figures = [
        Figure.of("chats at once on one replica", held),
        Figure.of("requests per second on one replica", highest),
        Figure("chats at once in the busiest hour", busiest * cycle_s),
        Figure("requests per second in the busiest hour", busiest),
        *rate_limit(case, rpm),
    ]
    if needed:
        figures.insert(4, Figure.of("replicas for the busiest hour", needed))
    if a_day / replicas <= DAY_PLAYED:
        day = through_the_day(ceil(a_day / replicas), hourly, burstiness=burstiness)
        ttft = capacity.percentile("ttft_p95_ms", day)
        figures.append(Figure.of("TTFT p95 over the day", ttft, "ms"))
    within = " and ".join(limit(*each) for each in limits.items())
    one = "The endpoint as measured" if by_the_token(price) else "One replica"
    load = f"{count(case['tickets_per_day'])} tickets a day"
    said = [
        f"{one} holds {with_interval(held, count)} chats at once within {within}",
        f"the busiest hour of {load} has {count(busiest * cycle_s)} at once"
        + _takes(needed, replicas, price, rpm * (case.prompt_tokens + case.output_tokens), rpm),
    ]
    if ceiling:
        said[0] += f" ({beyond(round(capacity.middle.in_flight[-1]))})"
    if price is not None:
        cost = _ticket_usd(run, price, case, needed or Between(1, 1, 1), a_day)
        if cost is not None:
            figures.append(Figure.of("cost per resolved ticket", cost, "USD"))
            said.append(
                f"a resolved ticket costs {with_interval(cost, usd)}, "
                f"{percent(case['deflected_pct'])} being resolved without a person"
            )
    return said, figures


def _takes(
    needed: Between | None, replicas: int, price: Price | None, tpm: float, rpm: float
) -> str:
    if by_the_token(price):
        said = f" and needs a rate limit of {count(rpm)} requests and {count(tpm)} tokens a minute"
        return said + (f", {replicas} times what was measured" if replicas > 1 else "")
    said = f" and needs {replicas} replica{'s' if replicas != 1 else ''}"
    if needed and needed.hi == inf:
        return f"{said} ({count(needed.lo)} or more; at worst no number is enough)"
    if needed and needed.lo != needed.hi:
        return f"{said} ({count(needed.lo)} to {count(needed.hi)})"
    return said


def _cycle_s(curve: Curve, rate: float, case: UseCase, burstiness: float) -> float:
    """Return how long a question of a chat takes: waiting, reading along, typing the next one."""
    outcome = simulate(curve, independent(rate, 2000, burstiness))
    ttft_s, e2e_s = outcome.ttft_ms.mean() / 1000, outcome.e2e_ms.mean() / 1000
    reading_s = 60 * case["answer_words"] / case["reading_wpm"]
    typing_s = 60 * case["question_words"] / case["typing_wpm"]
    return float(ttft_s + max(e2e_s - ttft_s, reading_s) + typing_s)


def _hourly(busiest_pct: float) -> list[float]:
    """Return the day's hours, stretched about their mean so that the busiest has its share."""
    mean = 100 / 24
    stretch = (busiest_pct - mean) / (100 * max(DAY) / sum(DAY) - mean)
    others = [max(0.0, mean + stretch * (100 * hour / sum(DAY) - mean)) for hour in DAY]
    top = DAY.index(max(DAY))
    rest = sum(others) - others[top]
    return [
        busiest_pct if i == top else hour * (100 - busiest_pct) / rest
        for i, hour in enumerate(others)
    ]


def _ticket_usd(
    run: "Run", price: Price, case: UseCase, replicas: Between, a_day: int
) -> Between | None:
    resolved = case["tickets_per_day"] * case["deflected_pct"] / 100
    if price.hour is not None:  # they are there all day, busy or not
        return replicas * (price.hour * price.replicas * 24 / resolved)
    each = request_usd(run, price, 1)
    return None if each is None else each * (a_day / resolved)


def _none_keeps(run: "Run", limits: Mapping[str, float]) -> str:
    point = lowest(run)
    alone = point["concurrency"] == 1
    broken = [
        f"no {'concurrency' if alone else 'level measured'} keeps {named(name)} under {bound(ms)}; "
        f"at {point['concurrency']} "
        f"it is {duration(measured(point, name))}"
        for name, ms in limits.items()
        if (measured(point, name) or 0) > ms
    ]
    return "No answer: " + (broken[0] if broken else "no load keeps the limits")
