"""How the time series of a run is drawn: a Vega-Lite specification for the live board.

The board feeds two datasets: "series", a row per point, and "settling", the spans that no level
counted. What lies in these is veiled with the colour of the paper. The levels are the ticks and
grid lines of an axis above.
"""

from typing import Any

from .layers import BLUE, GREY, TITLE_Y, VIEW, Spec, number, texts, y_axis

TIMELINE: dict[str, Any] = {
    "until": 30,  # the time axis' end
    "top": 1,  # the other axis' end
    "span": 0.5,  # what a point covers
    "begins": [],  # when each level begins, and
    "names": [],  # what stands there
}
"""The Vega parameters of this chart besides `VIEW`'s, and their defaults."""

_UNIT = "(whole ? 'items/s' : 'tokens/s')"
_TITLE = {"expr": f"{_UNIT} + ' over time, whole system'"}
_HOW = "'mean of each ' + span + ' s · dashed: a level begins · pale: not counted'"
_HINT = "rows ? '' : hint"
_FAR = 600
"""From so many seconds on the axis is labelled in minutes."""

_TELL = {
    "title": "format(datum.t, '.1f') + ' to ' + format(datum.end, '.1f') + ' s'",
    "mean": f"{number('rate', ' ')} + {_UNIT}",
    "level": "datum.level == null ? 'before the first level'"
    " : open ? datum.level + ' requests/s' : 'concurrency ' + datum.level"
    " + (datum.settling ? ', settling: not counted' : '')",
    "counted": "whole ? 'as answers come in' : 'as chunks × tokens per chunk'",
}
"""The tooltip, line by line."""


def timeline_chart(height: int = 84) -> dict[str, Any]:
    """Return the chart as `charts.curves` returns its own."""
    return {
        "name": "timeline",
        "card": "timeline",
        "title": "tokens/s over time",
        "feed": "series",
        "description": "Output tokens (where answers come whole: items) per second of the whole "
        "system over the seconds of the run, with a mark where each level begins; what was "
        "not counted is pale.",
        "params": {**VIEW, **TIMELINE},
        "padding": {"top": 48, "bottom": 40},
        "view": _view(height),
    }


def _view(height: int) -> Spec:
    y: Spec = {
        "field": "rate",
        "type": "quantitative",
        "axis": y_axis(height, _HINT) | {"zindex": 1},  # the veil leaves the grid alone
        "scale": {"domain": [0, {"expr": "top"}], "nice": False},
    }
    x: Spec = {
        "field": "mid",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [0, {"expr": "until"}], "nice": False},
    }
    tooltip = [{"field": f"tell {name}", "type": "nominal", "title": name} for name in _TELL]
    span = {"x": x | {"field": "t"}, "x2": {"field": "end"}}
    area: Spec = {
        "mark": {"type": "area", "color": BLUE, "opacity": 0.16},
        "encoding": {"x": x | {"axis": _seconds()}, "y": y},
    }
    line: Spec = {
        "mark": {"type": "line", "color": BLUE, "strokeWidth": 1.5},
        "encoding": {"x": x, "y": y},
    }
    veil: Spec = {
        "data": {"name": "settling"},
        "mark": {"type": "rect", "color": {"expr": "paper"}, "opacity": 0.66},
        "encoding": span,
    }
    levels: Spec = {
        "data": {"values": [{}]},
        "mark": {"type": "rule", "opacity": 0},
        "encoding": {"x": {"datum": 0, "type": "quantitative", "axis": _levels()}},
    }
    # invisible and as high as the plot: a point needn't be hit to the pixel
    target: Spec = {
        "mark": {"type": "rect", "color": "transparent"},
        "transform": [{"calculate": text, "as": f"tell {name}"} for name, text in _TELL.items()],
        "encoding": span | {"tooltip": tooltip},
    }
    return {
        "height": height,
        "layer": [area, line, veil, levels, target, *texts(_TITLE, _HINT, _HOW, TITLE_Y - 18)],
        "resolve": {"axis": {"x": "independent"}},
    }


def _seconds() -> Spec:
    minutes = "datum.value / 60 + ' min'"
    whole_minutes = "sequence(0, until + 1, 60 * ceil(until / 720))"
    return {
        "title": "since the start",
        "titlePadding": 6,
        "grid": False,
        "orient": "bottom",
        "tickCount": 12,
        "values": {"expr": f"until > {_FAR} ? {whole_minutes} : null"},
        "labelExpr": f"until > {_FAR} ? {minutes} : datum.label + ' s'",
        "labelOverlap": "parity",
        "labelSeparation": 6,
    }


def _levels() -> Spec:
    return {
        "title": None,
        "orient": "top",
        "values": {"expr": "begins"},
        "labelExpr": "names[indexof(begins, datum.value)]",
        "labelAlign": "left",
        "labelOverlap": "greedy",
        "labelPadding": 3,
        "domain": False,
        "ticks": False,
        "grid": True,
        "gridColor": GREY,
        "gridDash": [2, 3],
        "zindex": 1,
    }
