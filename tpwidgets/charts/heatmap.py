"""A sweep over two things as a heat map, and as curves: rows in, Vega-Lite specifications out."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from math import log as ln
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..metrics.intervals import firm
from ..words import (
    COLUMNS,
    MISSING,
    PERCENTILES,
    are_whole,
    count,
    duration,
    measured,
    percent,
    usd,
)
from .layers import GREY, Spec
from .lines import in_looks, literal, through_points
from .picture import as_altair, printed
from .pricing import LOOKS
from .telling import hollow_told, number, pick, state_index, state_told

if TYPE_CHECKING:
    import altair as alt

Row = Mapping[str, Any]
Axes = Mapping[str, Sequence[float]]

_NAMES = {
    "output_tps": "output tokens/s, whole system",
    "total_tps": "prompt and output tokens/s, whole system",
    "rps": "requests/s",
    "items_per_s": "items/s, whole system",
    "goodput_rps": "requests/s that meet every limit",
    "slo_attainment": "share of requests that meet every limit",
    "user_tps_p50": "tokens/s per user, median",
    "usd_per_1m_output_tokens": "$ per 1M output tokens",
    "usd_per_1m_total_tokens": "$ per 1M prompt and output tokens",
    "usd_per_request": "$ per request",
    "prompt_tokens_asked": "prompt tokens, asked",
    "output_tokens_asked": "output tokens, asked",
    "batch": "items per request",
    "concurrency": "concurrency",
    "rate": "requests/s, as scheduled",
}
"""What columns are called; others go by their own names."""

_CELL_W, _CELL_H, _LETTERS = 76, 44, 42
_HEIGHT, _WIDTH = 300, 480
_LOG_FROM = 20
"""Values that differ more than so many times have a logarithmic scale."""
_DARK = 0.55
"""From so far along the scale on, what is written in a cell is white."""


def heatmap(
    rows: Sequence[Row], axes: Axes, value: str, title: str = "", failed: Sequence[Row] = ()
) -> "alt.LayerChart":
    """Draw the map as an Altair chart; see `Grid.heatmap`."""
    chart: alt.LayerChart = as_altair(
        heatmap_spec(rows, axes, value, title, failed), "LayerChart", f"Heat map: {value}"
    )
    return chart


def curves(rows: Sequence[Row], axes: Axes, value: str, title: str = "") -> "alt.LayerChart":
    """Draw the curves as an Altair chart; see `Grid.chart`."""
    chart: alt.LayerChart = as_altair(
        curves_spec(rows, axes, value, title), "LayerChart", f"Chart: {value}"
    )
    return chart


def heatmap_spec(
    rows: Sequence[Row], axes: Axes, value: str, title: str = "", failed: Sequence[Row] = ()
) -> Spec:
    """Return the map as a plain specification.

    The value stands in each cell, whose blue is the darker the larger it is: hues tell nothing.
    What was asked for and not measured is a dashed, empty cell.

    Parameters
    ----------
    rows : sequence of dict
        Operating points with what was asked of them.
    axes : dict
        Two columns of these, the first to the right and the second upwards, and their values.
    value : str
        The column that is drawn.
    title : str
        Stands above; what the marks mean stands below it.
    failed : sequence of dict
        What could not be measured, as columns of `axes`, and ``why``: the cell tells it.

    Raises
    ------
    SettingsError
        If no row has such a column of numbers.
    """
    right, up = axes
    cells, log = _cells(rows, axes, value, failed)
    x, y = (
        {
            "field": column, "type": "ordinal", "scale": {"domain": values},
            "axis": {"title": _named(column), "labelAngle": 0, "domain": False, "ticks": False,
                     "labelExpr": "format(datum.value, ',~g')"},
        }
        for column, values in ((right, [*axes[right]]), (up, [*axes[up]][::-1]))
    )  # fmt: skip
    scale: Spec = {"scheme": "blues", "type": "log" if log else "linear", "nice": False}
    colour = {
        "field": "v", "type": "quantitative", "scale": scale,
        "legend": {"title": None, "gradientLength": min(200, _CELL_H * max(2, len(axes[up])))},
    }  # fmt: skip
    known, unknown = ([{"filter": f"{no}isValid(datum.v)"}] for no in ("", "!"))
    tooltip = [{"field": f"tell {name}", "type": "nominal", "title": name} for name in _TELL]
    ink, mark = literal("ink"), literal("shape")
    empty: Spec = {"type": "rect", "fill": "transparent", "stroke": GREY, "strokeDash": [3, 3]}
    corner: Spec = {"type": "point", "size": 46, "xOffset": 28, "yOffset": -13, "opacity": 1}
    return printed(
        f"{_named(value)} over {_named(right)} and {_named(up)}, as a heat map.",
        "cells", cells, {},
        transform=_looks(value, axes),
        width={"step": _CELL_W},
        height={"step": _CELL_H},
        encoding={"x": x, "y": y, "tooltip": tooltip},
        layer=[
            {
                "mark": {"type": "rect", "stroke": "white", "strokeWidth": 2},
                "transform": known, "encoding": {"color": colour},
            },
            {"mark": empty | {"strokeWidth": 1.5}, "transform": unknown},
            {
                "mark": {"type": "text", "fontSize": 12},
                "encoding": {"text": {"field": "said"}, "fill": ink},
            },
            {
                "mark": corner | {"strokeWidth": 1.5, "filled": False},
                "transform": [{"filter": "datum.state > 0"}],
                "encoding": {"shape": mark, "stroke": ink},
            },
        ],
        title=_title(title, value, cells),
    )  # fmt: skip


def curves_spec(rows: Sequence[Row], axes: Axes, value: str, title: str = "") -> Spec:
    """Return a column against the first of `axes`, a line for each value of the second.

    Takes what `heatmap_spec` takes, and raises what it raises.
    """
    right, up = axes
    cells, log = _cells(rows, axes, value)
    drawn = [cell for cell in cells if cell["v"] is not None]
    names = [f"{level:,g}" for level in axes[up]]
    looks = [LOOKS[i % len(LOOKS)] for i in range(len(names))]
    for cell in drawn:
        cell["line"] = f"{cell[up]:,g}"
        cell["tone"] = looks[names.index(cell["line"])][0]
    x: Spec = {
        "field": right, "type": "quantitative",
        "scale": {"type": "log", "base": 2, "nice": False, "padding": 16,
                  "domain": [min(axes[right]), max(axes[right])]},
        "axis": {"values": list(axes[right]), "format": ",~g", "grid": False,
                 "title": _named(right)},
    }  # fmt: skip
    y: Spec = {
        "field": "v", "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 8} if log else {"zero": True},
        "axis": {"title": None, "domain": False, "ticks": False, "format": ",.3~r"},
    }  # fmt: skip
    legend = {"title": _named(up), "symbolType": "stroke"}
    tooltip = [{"field": f"tell {name}", "type": "nominal", "title": name} for name in _TELL]
    by_line = in_looks("line", dict(zip(names, looks, strict=True)), legend)
    return printed(
        f"{_named(value)} against {_named(right)}, a line for each {_named(up)}.",
        "points", drawn, {},
        transform=_looks(value, axes),
        width=_WIDTH,
        height=_HEIGHT,
        encoding={"x": x},
        layer=through_points(y, by_line, tooltip, "rim"),
        title=_title(title, value, drawn, 2 * _LETTERS),
    )  # fmt: skip


_OFFERED = {
    "TTFT p50": "ttft_p50_ms",
    "TTFT p95": "ttft_p95_ms",
    "tokens/s, whole system": "output_tps",
    "tokens/s per user": "user_tps_p50",
    "items/s": "items_per_s",
    "E2E latency p50": "e2e_p50_ms",
    "E2E latency p95": "e2e_p95_ms",
    "goodput, requests/s": "goodput_rps",
    "attainment of the limits": "slo_attainment",
}
_COSTS = {
    "$ per 1M output tokens": "usd_per_1m_output_tokens",
    "$ per 1M tokens": "usd_per_1m_total_tokens",
}


def offered(rows: Sequence[Row], price: object) -> dict[str, str]:
    """Return what is worth a map, by its name: columns that were measured; with a price, costs."""
    named = _OFFERED | _COSTS if price is not None else _OFFERED
    if not rows:
        return dict(list(_OFFERED.items())[:4])
    whole = are_whole(rows)
    left_out = {"usd_per_1m_output_tokens"} if whole else {"items_per_s"}
    return {
        name: column for name, column in named.items()
        if column not in left_out
        and (column.startswith("usd_") or any(measured(row, column) is not None for row in rows))
    } or dict(list(_OFFERED.items())[:1])  # fmt: skip


def _cells(
    rows: Sequence[Row], axes: Axes, value: str, failed: Sequence[Row] = ()
) -> tuple[list[dict[str, Any]], bool]:
    """Return what is known of each cell, and whether values lie far apart."""
    if value not in _NAMES and value not in COLUMNS and not any(value in row for row in rows):
        raise SettingsError(
            f"{value!r} is no column of the points: see tpwidgets.metrics.points.COLUMNS."
        )
    right, up = axes
    found = {(row[right], row[up]): row for row in rows}
    label = re.search(r"_(p\d\d)(?:_|$)", value)
    p = label[1] if label else None
    cells: list[dict[str, Any]] = []
    for at in product(axes[right], axes[up]):
        row = found.get(at, {})
        v = None if row.get("error_rate") == 1 else measured(row, value)
        told = {name: row.get(name) for name in _KEPT}
        few = p in PERCENTILES and not firm(int(measured(row, "n") or 0), PERCENTILES[p or ""])
        ends = {end: measured(row, f"{value}_{end}") for end in ("lo", "hi")}
        why = "" if row else _why(failed, {right: at[0], up: at[1]})
        text = "failed" if why else _written(value, v)
        cells.append(
            {right: at[0], up: at[1], "v": v, "said": text, "series": p, **ends}
            | {"measured": bool(row), "why": why, "firm": not few, **told}
        )
    values = [cell["v"] for cell in cells if cell["v"] is not None]
    log = bool(values) and min(values) > 0 and max(values) > _LOG_FROM * min(values)
    for cell in cells:
        far = _far(cell["v"], values, log)
        cell["ink"] = "#374151" if far is None or far < _DARK else "white"
    return cells, log


def _why(failed: Sequence[Row], at: Row) -> str:
    """Return why a cell could not be measured; "" if nothing is known of it."""
    for row in failed:
        if all(row.get(column, value) == value for column, value in at.items()):
            return str(row["why"])
    return ""


def _far(v: float | None, values: Sequence[float], log: bool) -> float | None:
    """Return how far along the scale a value is, from 0 to 1."""
    if v is None or max(values) == min(values):
        return None
    low, high = (ln(x) if log else x for x in (min(values), max(values)))
    return ((ln(v) if log else v) - low) / (high - low)


_KEPT = (
    "n", "n_failed", "error_rate", "client_limited", "provisional", "limits_hold", "limits_note",
    "note",
)  # fmt: skip

_TELL = ("at", "value", "state", "requests", "limits")
"""The tooltip, line by line."""


def _looks(value: str, axes: Axes) -> list[Spec]:
    """Compute how each cell or point is marked, and what its tooltip says."""
    where = " + ', ' + ".join(f"'{_named(c)} ' + format(datum['{c}'], ',~g')" for c in axes)
    interval = f"' (95 %: ' + {number('lo')} + ' to ' + {number('hi')} + ')'"
    fields = {
        "state": f"datum.measured ? ({state_index('datum.firm !== false')}) : 0",
        "shape": pick("shape"),
        "rim": f"datum.state === 3 ? '{GREY}' : datum.tone",
        "inside": f"{pick('hollow')} ? 'white' : datum.rim",
        "tell at": where,
        "tell value": f"'{_named(value)}: ' + datum.said"
        f" + (isValid(datum.lo) && isValid(datum.hi) ? {interval} : '')",
        "tell state": f"datum.measured ? ({state_told()}) : 'not measured' + (datum.why ?"
        " ': ' + datum.why : '')",
        "tell requests": f"{number('n')} + ', failed ' + {number('n_failed')}",
        "tell limits": "!isValid(datum.limits_hold) ? 'none set' : datum.limits_hold ? 'kept'"
        " : 'broken: ' + datum.limits_note",
    }
    return [{"calculate": expression, "as": name} for name, expression in fields.items()]


def _title(title: str, value: str, cells: Sequence[Row], letters: int = _LETTERS) -> Spec:
    """Say what is drawn, and what the marks mean that are there."""
    shown = [cell for cell in cells if cell["measured"]]
    few = {cell["series"] for cell in shown if not cell["firm"]}
    marks = {
        "Dashed: not measured.": len(shown) < len(cells),
        hollow_told(few, "Hollow circle"): bool(few),
        "Diamond: still running.": any(cell["provisional"] for cell in shown),
        "Square: limited by the client.": any(cell["client_limited"] for cell in shown),
        "Cross: all requests failed.": any(cell["error_rate"] == 1 for cell in shown),
        "Triangle: breaks a limit.": any(cell["limits_hold"] is False for cell in shown),
    }
    said = " ".join(text for text, there in marks.items() if there)
    of = f"{title}: " if title else ""
    return {
        "text": textwrap.wrap(f"{of}{_named(value)}", letters),
        "subtitle": textwrap.wrap(said, letters),
        "offset": 12,
    }


def _named(column: str) -> str:
    if column in _NAMES:
        return _NAMES[column]
    latency = re.fullmatch(r"([a-z]+)_(?:from_scheduled_)?(p\d\d)_ms", column)
    if latency:
        since = " from the scheduled time" if "scheduled" in column else ""
        return f"{latency[1].upper()} {latency[2]}{since}, ms"
    return column


def _written(column: str, value: float | None) -> str:
    if value is None:
        return MISSING
    if column.startswith("usd_"):
        return usd(value)
    if column.endswith("_ms"):
        return duration(value)
    if column.endswith("_pct"):
        return percent(value)
    shares = "slo_attainment", "error_rate"
    return percent(100 * value) if column in shares else count(value)
