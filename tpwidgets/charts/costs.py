"""Cost curves, a line per price: what `cost_table` makes, as a Vega-Lite specification."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ..cost.price import Price
from ..cost.table import cost_rows, latency_column
from ..errors import SettingsError
from ..words import are_open, is_whole, level
from .layers import (
    GREY,
    LEVEL_NAMED,
    Spec,
    number,
    pick,
    state_index,
    state_told,
    texts,
    y_axis,
)
from .lines import front, in_looks, through_points
from .overview import clean_rows
from .picture import as_altair, printed
from .pricing import LOOKS, PER
from .telling import hollow_told

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

AGAINST = "concurrency", "ttft"

_HEIGHT, _WIDTH, _LETTERS = 300, 480, 92
_LINEAR = 20
"""Costs that differ more than so many times are drawn on a logarithmic scale."""

_LATENCY = {
    "ttft_p95_ms": "TTFT p95",
    "ttft_p50_ms": "TTFT median",
    "e2e_p95_ms": "E2E latency p95",
    "e2e_p50_ms": "E2E latency median",
}
_COLUMNS = (
    "price", "concurrency", "rate", "n", "error_rate", "provisional", "client_limited", "note",
    "pareto",
    "usd_per_1m_output_tokens", "usd_per_1m_output_tokens_lo", "usd_per_1m_output_tokens_hi",
    "usd_per_1m_total_tokens", "usd_per_request", "usd_per_request_lo", "usd_per_request_hi",
    *(f"{name}{end}" for name in _LATENCY for end in ("", "_lo", "_hi")),
    "ttft_p50_firm", "ttft_p95_firm", "user_tps_p50", "items_per_s", "basis", "assumption",
)  # fmt: skip


def cost_chart(
    points: Iterable[Mapping[str, object]],
    prices: Price | Iterable[Price],
    against: str = "concurrency",
    per: str = "output",
    title: str | None = None,
) -> "alt.LayerChart":
    """Draw what operating points cost at each price, as an Altair chart; see `Run.cost_chart`."""
    spec = cost_chart_spec(cost_rows(points, prices), against, per, title)
    chart: alt.LayerChart = as_altair(spec, "LayerChart", f"Chart: cost against {against}")
    return chart


def cost_chart_spec(
    table: "Iterable[Mapping[str, Any]] | pd.DataFrame",
    against: str = "concurrency",
    per: str = "output",
    title: str | None = None,
) -> Spec:
    """Return a cost chart as a plain specification.

    Parameters
    ----------
    table
        What `cost_rows` or `cost_table` makes. The former also tells how firm each point is.
    against : {"concurrency", "ttft"}
        Where requests came at a rate, "concurrency" is the rate, as everywhere; where answers
        come whole, "ttft" is their E2E latency.
    per : {"output", "total", "request"}
        Where no tokens come back, "output" is "total".
    title
        Stands above; the prices, their sources and what they assume stand below it.

    Raises
    ------
    SettingsError
        If `against` or `per` is none of these.
    """
    for name, value, known in (("against", against, AGAINST), ("per", per, tuple(PER))):
        if value not in known:
            raise SettingsError(f"{name} must be one of {', '.join(known)}; got {value!r}")
    rows = clean_rows(table, _COLUMNS)
    if per == "output" and rows and all(map(is_whole, rows)):
        per = "total"
    column, heading = PER[per]
    waiting = latency_column(rows)
    drawn = [row for row in rows if row.get(column) is not None]
    names = list(dict.fromkeys(row["price"] for row in rows))
    looks = {name: LOOKS[i % len(LOOKS)] for i, name in enumerate(names)}
    for row in rows:
        row["tone"] = looks[row["price"]][0]
    for row in rows:
        row["level"] = level(row)
    for row in {row["level"]: row for row in sorted(drawn, key=itemgetter(column))}.values():
        row["number"] = row["level"]  # once: prices of one point stand above each other
    hint = "" if drawn else "no cost is known"
    by_wait = against == "ttft"
    costs = [row[column] for row in drawn]
    log = bool(costs) and min(costs) > 0 and max(costs) > _LINEAR * min(costs)
    axis = "rate" if are_open(rows) else "concurrency"
    x = _wait(waiting) if by_wait else _levels(rows, axis)
    spec = printed(
        f"{heading} against {_LATENCY[waiting] if by_wait else axis}, "
        "a line per price, with 95 % intervals where there are any.",
        "cost", rows, {"rows": len(drawn), "hint": hint},
        width=_WIDTH,
        height=_HEIGHT,
        transform=_fields(column, waiting, by_wait),
        layer=_layers(x, looks, waiting if by_wait else None, log) + texts(heading, "hint"),
    )  # fmt: skip
    if title or rows:
        said = _explain(rows, column, waiting if by_wait else None, log)
        spec["title"] = {"text": title or "Cost", "subtitle": said, "offset": 26}
    return spec


def _fields(column: str, waiting: str, by_wait: bool) -> list[Spec]:
    """Compute where each point stands, how it looks and what its tooltip says."""
    bounded = f"isValid(datum.{column}_lo) && isValid(datum.{column}_hi)"
    interval = f"{number(f'{column}_lo')} + ' to $' + {number(f'{column}_hi')}"
    firm = f"datum.{waiting.removesuffix('_ms')}_firm !== false" if by_wait else "true"
    fields = {
        "v": f"datum.error_rate >= 1 ? null : datum.{column}",
        "lo": f"{bounded} ? datum.{column}_lo : null",
        "hi": f"{bounded} ? datum.{column}_hi : null",
        "state": state_index(firm),
        "shape": pick("shape"),
        "ink": f"datum.state >= 3 ? '{GREY}' : datum.tone",
        "inside": f"{pick('hollow')} ? paper : datum.ink",
        "tell title": f"datum.price + ', ' + ({LEVEL_NAMED})",
        "tell cost": f"'$' + {number('v')} + ({bounded} ? ' (95 %: $' + {interval} + ')' : '')",
        f"tell {_LATENCY[waiting]}": number(waiting, " ms"),
        "tell per user": f"{number('user_tps_p50')} + ' tokens/s'",
        "tell state": state_told("'p95'" if "p95" in waiting else "'p50'"),
        "tell assumes": "datum.assumption",
    }
    return [{"calculate": expression, "as": name} for name, expression in fields.items()]


def _layers(
    x: Spec, looks: Mapping[str, tuple[str, list[int]]], waiting: str | None, log: bool
) -> list[Spec]:
    axis = y_axis(_HEIGHT, "hint", money=True)
    scale: Spec = {"zero": True, "nice": 6}
    if log:
        ticks = [digit * 10.0**power for power in range(-9, 9) for digit in (1, 2, 5)]
        axis |= {"values": ticks, "tickCount": len(ticks)}  # Vega would thin them out
        scale = {"type": "log", "nice": False, "padding": 8}
    y: Spec = {"field": "v", "type": "quantitative", "axis": axis, "scale": scale}
    told = ["title", "cost", "per user", "state", "assumes"]
    told[2:2] = [_LATENCY[waiting]] if waiting else []
    tooltip = [{"field": f"tell {name}", "type": "nominal", "title": name} for name in told]
    legend = None
    if len(looks) > 1:
        legend = {"title": None, "orient": "bottom", "direction": "vertical", "columns": 1,
                  "symbolType": "stroke", "labelLimit": _WIDTH, "offset": 12}  # fmt: skip
    line = in_looks("price", looks, legend) | {"order": {"field": "level"}}
    layers = through_points(y, line, tooltip)
    if waiting:
        numbered = "isValid(datum.v) && isValid(datum.number)"
        layers += front(y, "isValid(datum.v) && datum.pareto", numbered, {"field": "number"})
    for layer in layers:
        layer["encoding"]["x"] = x
    return layers


def _levels(rows: Sequence[Mapping[str, Any]], axis: str) -> Spec:
    levels = sorted({row["level"] for row in rows if row["level"]}) or [1, 64]
    return {
        "field": "level",
        "type": "quantitative",
        "scale": {"type": "log", "base": 2, "domain": [levels[0], levels[-1]], "nice": False,
                  "padding": 12},
        "axis": {"values": levels, "format": "~g", "grid": False, "labelOverlap": "parity",
                 "labelSeparation": 4, "titlePadding": 6,
                 "title": "requests/s, as scheduled" if axis == "rate" else axis},
    }  # fmt: skip


def _wait(waiting: str) -> Spec:
    return {
        "field": waiting,
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 24},
        "axis": {"grid": False, "format": ",.3~r", "labelOverlap": "parity", "labelSeparation": 4,
                 "tickCount": 8, "title": f"{_LATENCY[waiting]}, ms", "titlePadding": 6},
    }  # fmt: skip


def _explain(
    rows: Sequence[Mapping[str, Any]], column: str, waiting: str | None, log: bool
) -> list[str]:
    """Say what the prices are and assume, and what the marks mean."""
    lines = []
    for name in dict.fromkeys(row["price"] for row in rows):
        row = next(row for row in rows if row["price"] == name)
        of = [name] if name == row["basis"] else [f"{name}: {row['basis']}"]
        lines += textwrap.wrap("; ".join([*of, row["assumption"]]), _LETTERS)
    bounded = any(row.get(f"{column}_lo") is not None for row in rows)
    by_wait = waiting is not None
    ringed = by_wait and any(row.get("pareto") for row in rows)
    name = (waiting or "").removesuffix("_ms")
    few = {name[-3:]} if any(row.get(f"{name}_firm") is False for row in rows) else set()
    marks = {
        "Cost is on a logarithmic scale.": log,
        "Bars: 95 % intervals.": bounded,
        f"Numbers: {'requests/s' if are_open(rows) else 'concurrency'}.": by_wait and bool(rows),
        "Ringed: no other costs less, starts sooner or streams faster without being worse in "
        "another of these.": ringed,
        hollow_told(few): bool(few),
        "Diamond: still running.": any(row.get("provisional") for row in rows),
        "Grey square: limited by the client.": any(row.get("client_limited") for row in rows),
    }
    said = " ".join(text for text, shown in marks.items() if shown)
    return lines + textwrap.wrap(said, _LETTERS)
