"""What operating points cost, as Vega expressions: `tpwidgets.cost.price` where a field moves it.

Prices travel as the parameter ``prices``, a row for each that is set. Each point becomes one for
each price (`priced`), and its cost is computed where it is drawn, in a picture as in the browser.
"""

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..cost.price import exact_usd
from ..words import percent
from .layers import BLUE, ORANGE, Spec, calculate, chart_view
from .telling import NARROW

if TYPE_CHECKING:
    from ..cost.price import Price

PER = {
    "output": ("usd_per_1m_output_tokens", "$ per 1M output tokens"),
    "total": ("usd_per_1m_total_tokens", "$ per 1M prompt and output tokens"),
    "request": ("usd_per_request", "$ per request"),
}
"""What cost may be told per: its column, and what stands above the chart."""

# as in the other charts: each keeps 3:1 against white, and its dash says the same again
LOOKS = (
    (BLUE, [1, 0]), (ORANGE, [5, 3]), ("#1d9a8a", [2, 2]),
    ("#9a63c4", [8, 3]), ("#8a8a2a", [8, 3, 2, 3]), ("#c2527a", [3, 4]),
)  # fmt: skip

MOST = 3
"""So many prices are compared at most where they can be moved: more lines can't be told apart."""

PRICES: Mapping[str, Any] = {
    "prices": [],  # a row for each that is set: see `price_row`
    "per": 0,  # what cost is told per: which of `PER`
    "waiting": "ttft_p95_ms",  # the column that tells how long people wait
    "volume": 0.0,  # output tokens a day that are asked about; 0: none
}
"""The Vega parameters that the cost charts compute with, and their defaults."""


def price_params(prices: "Price | Iterable[Price] | None") -> dict[str, Any]:
    """Return prices as values of `PRICES`."""
    return {**PRICES, "prices": price_rows(prices)}


def price_rows(prices: "Price | Iterable[Price] | None") -> list[dict[str, Any]]:
    """Return prices as the charts read them, at most `MOST`; one of 0 is a price, too."""
    return [_row(at, price) for at, price in enumerate(_listed(prices))]


def prices_told(prices: "Price | Iterable[Price] | None") -> list[str]:
    """Say what prices are and assume, where there are several."""
    several = _listed(prices)
    told = [f"{_label(each)}: {each.basis}; {each.assumption}." for each in several]
    return [line for text in told for line in textwrap.wrap(text, 150)] if len(several) > 1 else []


def _listed(prices: "Price | Iterable[Price] | None") -> "list[Price]":
    if prices is None:
        return []
    return (list(prices) if isinstance(prices, Iterable) else [prices])[:MOST]


def _row(at: int, price: "Price") -> dict[str, Any]:
    return {
        "at": at,
        "label": _label(price),
        "hourly": int(price.hour is not None),
        "output": price.output or 0.0,
        "input": price.input,
        "cached_input": price.cached_input,
        "reasoning": price.reasoning,
        "off_pct": 0.0,  # what a batch tier takes off
        "hour": price.hour or 0.0,
        "replicas": price.replicas,
        "busy_pct": round(100 * price.utilisation, 6),
        "tiers": [tier._asdict() for tier in price.tiers],
    }


def _label(price: "Price") -> str:
    """Name a price for a legend, as costs.js does."""
    if price.name:
        return price.name
    if price.hour is None:
        return f"{exact_usd(price.output or 0.0)} out, {exact_usd(price.input)} in per 1M"
    many = f" × {price.replicas}" if price.replicas != 1 else ""
    busy = f", busy {percent(100 * price.utilisation)}" if price.utilisation < 1 else ""
    return f"{exact_usd(price.hour)} per hour{many}{busy}"


UNIT = (
    "(per === 2 ? 'request' : whole ? '1M tokens'"
    " : per === 1 ? '1M prompt and output tokens' : '1M output tokens')"
)
"""A Vega expression: what cost is told per."""

_TIERS = 4
"""So many tiers of a price are told apart: none that is listed has more."""

_P = "datum.price."
_RATE = (
    f"isValid({_P}cached_input) && isValid(datum.cached_pct)"
    f" ? {_P}input + ({_P}cached_input - {_P}input) * datum.cached_pct / 100 : {_P}input"
)
_OUT = (
    f"isValid({_P}reasoning) && isValid(datum.reasoning_tokens_mean)"
    " && datum.output_tokens_mean > 0"
    f" ? {_P}output + ({_P}reasoning - {_P}output)"
    f" * datum.reasoning_tokens_mean / datum.output_tokens_mean : {_P}output"
)


def _by_token() -> str:
    whole = "datum.paid_in * (per === 2 ? datum.prompt_tokens_mean / 1e6 : 1)"
    known = "(per === 0 || (per === 1 ? isValid(datum.input_per_output)"
    known += " : datum.n > 0 && isValid(datum.billed_output_tokens)))"
    share = "(per === 0 ? 1 : per === 1 ? 1 / (1 + datum.input_per_output)"
    share += " : datum.billed_output_tokens / datum.n / 1e6)"
    return f"whole ? {whole} : isValid(datum.billed) && {known} ? datum.billed * {share} : null"


def _by_hour(end: str = "") -> str:
    tokens = "null" if end else "(datum.output_tps || 0) + datum.input_tps"
    made = f"(per === 2 ? datum.rps{end} : per === 1 || whole ? {tokens} : datum.output_tps{end})"
    paid = f"{_P}hour * {_P}replicas * (per === 2 ? 1 : 1e6)"
    return f"{made} > 0 ? {paid} / (36 * {_P}busy_pct * {made}) : null"


def _at_its_prompts() -> str:
    """Write an expression for a point's price where that depends on how long its prompts are."""
    tiers = f"{_P}tiers"
    above = (
        f"(length({tiers}) > {i} && datum.prompt_tokens_mean > {tiers}[{i}].above ? 1 : 0)"
        for i in range(1, _TIERS)
    )
    known = f"isArray({tiers}) && length({tiers}) && isValid(datum.prompt_tokens_mean)"
    return f"{known} ? merge(datum.price, {tiers}[{' + '.join(above)}]) : datum.price"


def _own(end: str = "") -> str:
    """Write an expression for the cost that a point of another endpoint brings with it."""
    total = "null" if end else "datum.usd_total"
    return f"(per === 2 ? datum.usd_request{end} : per === 1 || whole ? {total} : datum.usd{end})"


USD = (
    f"datum.own_cost ? {_own()} : !length(prices) ? null"
    f" : {_P}hourly ? ({_by_hour()}) : ({_by_token()})"
)
# more throughput is less cost, so the interval's ends change places
USD_LO, USD_HI = (
    f"datum.own_cost ? {_own(mine)} : length(prices) && {_P}hourly ? ({_by_hour(rate)}) : null"
    for mine, rate in (("_lo", "_hi"), ("_hi", "_lo"))
)
"""Vega expressions: what a point costs at its price, and the interval of that; see `priced`."""


def priced() -> list[Spec]:
    """Make a point for each price of each point, with what `USD` reads: ``price`` above all.

    A point that brings its own cost stays one.
    """
    each = "datum.own_cost || !length(prices) ? [{'at': 0, 'label': ''}] : prices"
    kept = f"(1 - {_P}off_pct / 100)"
    unbilled = "datum.n === 0 || !isValid(datum.input_per_output) && datum.paid_in > 0"
    fields = {
        "paid_in": f"{kept} * ({_RATE})",
        "paid_out": f"{kept} * ({_OUT})",
        "billed": f"{unbilled} ? null"
        " : datum.paid_out + datum.paid_in * (datum.input_per_output || 0)",
    }
    return [
        {"calculate": each, "as": "price"},
        {"flatten": ["price"]},
        {"calculate": _at_its_prompts(), "as": "price"},
        *({"calculate": expression, "as": name} for name, expression in fields.items()),
    ]


def cost_curve(height: int, prices: "list[dict[str, Any]] | None" = None) -> Spec:
    """Draw cost against the level, a line per price.

    Parameters
    ----------
    height
        Of the plot, in pixels.
    prices
        What a legend below it names; None: there is none.
    """
    said = f"(length(prices) > 1 && !datum.own_cost ? ', ' + {_P}label : '')"
    fields = calculate(
        series=f"'' + {_P}at",
        v=USD, lo=USD_LO, hi=USD_HI, narrow=NARROW, firm="datum.narrow",
        what=f"'$' + {{v}} + ' per ' + {UNIT} + {{interval}} + {said}",
    )  # fmt: skip
    legend = None
    if prices is not None and len(prices) > 1:
        labels = {str(row["at"]): row["label"] for row in prices}
        named = f"({json.dumps(labels, ensure_ascii=False)})[datum.value]"
        legend = {"orient": "bottom", "direction": "vertical", "columns": 1, "offset": 26,
                  "values": list(labels), "labelExpr": named, "labelLimit": 260}  # fmt: skip
    return {
        "name": "cost",
        "card": "cost",
        "title": "$ per 1M output tokens",
        "needs": ["output_tps", "items_per_s"],
        "prices": True,
        "description": "Cost in dollars (per million output tokens unless chosen otherwise; where "
        "answers come whole, of all tokens) against the level, a line for each price set.",
        "view": chart_view(
            {"expr": f"'$ per ' + {UNIT}"}, height, [*priced(), *fields], money=True,
            hint=f"{PRICED_HINT} || (rows ? '' : hint)", legend=legend,
            looks={str(at): look for at, look in enumerate(LOOKS[:MOST])},
        ),
    }  # fmt: skip


PRICED_HINT = "(length(prices) ? '' : 'set a price to see cost')"
"""A Vega expression: what to do where no price is set."""
