"""What TTFT consists of, as a stacked bar per operating point: a Vega-Lite specification.

Only the current run is drawn, and only where a server told something of its own times; what nobody
told is one bar more, the rest. Each part has its letter, so that colours needn't be told apart.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..words import TTFT_PARTS, are_open
from .layers import (
    BLUE,
    GREY,
    LEVEL,
    LEVEL_NAMED,
    ORANGE,
    Spec,
    number,
    pick,
    state_index,
    texts,
    x_title,
    y_axis,
)
from .overview import COLUMNS, clean_rows
from .picture import as_altair, printed

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_COLUMN = {part: f"ttft_{part}_mean_ms" for part in TTFT_PARTS}
_TOLD = [_COLUMN[part] for part in TTFT_PARTS if part.startswith("server")]

NEEDS = (*_COLUMN.values(), "ttft_mean_ms", "connect_mean_ms", "new_connections")
"""What the bars read of an operating point besides `charts.COLUMNS`."""

# each keeps 3:1 against white and against JupyterLab's dark grey, and its black letter 4.9:1
_TONES = {
    "write": "#9a63c4",
    "server_queue": ORANGE,
    "server_prefill": BLUE,
    "server_start": "#8a8a2a",
    "rest": "#1d9a8a",
}
_LETTERS = dict(zip(TTFT_PARTS, "wqpsr", strict=True))
_LABELS = {
    part: f"{_LETTERS[part]}  {name if part != 'rest' else f'{name}: {what}'}"
    for part, (name, what) in TTFT_PARTS.items()
}
_TITLE = "TTFT taken apart, mean, ms"
_ODD = "datum.state >= 2 && datum.state < 5"
"""Whether a point is still running, the client's, or nothing: bars tell it by a mark above."""
_HINT = "the server tells no times of its own"
_DESCRIPTION = (
    "Mean time to first token against the level, as bars stacked of its parts: "
    + ", ".join(name for name, _ in TTFT_PARTS.values())
    + "."
)


def told(points: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether there is anything to take apart: whether a server told times of its own."""
    return any(point.get(column) is not None for point in points for column in _TOLD)


def breakdown(
    points: "Iterable[Mapping[str, Any]] | pd.DataFrame", title: str | None = None
) -> "alt.LayerChart":
    """Draw what TTFT consists of, a stacked bar per operating point, as an Altair chart."""
    spec = breakdown_spec(points, title)
    chart: alt.LayerChart = as_altair(spec, "LayerChart", "Chart: mean TTFT taken apart")
    return chart


def breakdown_spec(
    points: "Iterable[Mapping[str, Any]] | pd.DataFrame", title: str | None = None
) -> Spec:
    """Return what `breakdown` draws as a plain specification, without importing Altair."""
    rows = clean_rows(points, COLUMNS + NEEDS)
    shown = [part for part, column in _COLUMN.items() if any(row.get(column) for row in rows)]
    legend = {"orient": "bottom", "direction": "vertical", "offset": 12}
    values = {
        "rows": int(told(rows)), "hint": _HINT if rows else "nothing measured",
        "open": are_open(rows),
    }  # fmt: skip
    view = _view(260, shown or list(TTFT_PARTS), legend if told(rows) else None)
    spec = printed(_DESCRIPTION, "points", rows, values, width=420, **view)
    marks = {
        "Grey, with a square: limited by the client.": "client_limited",
        "Diamond: still running.": "provisional",
    }
    said = [text for text, column in marks.items() if any(row.get(column) for row in rows)]
    if title or said:
        spec["title"] = {"text": title or "", "subtitle": " ".join(said), "offset": 26}
    return spec


def breakdown_chart(height: int = 110) -> dict[str, Any]:
    """Return the live board's chart as `charts.curves` returns its own.

    It is shown only where a row has one of the columns ``shown_by``; its legend is ``key``.
    """
    return {
        "name": "breakdown",
        "card": "breakdown",
        "title": _TITLE,
        "feed": "points",
        "needs": ["ttft_mean_ms"],
        "shown_by": list(_TOLD),
        "key": [
            {"name": _LABELS[part], "shape": "band", "color": _TONES[part]} for part in TTFT_PARTS
        ],
        "description": _DESCRIPTION,
        "padding": {"top": 34},
        "view": _view(height, list(TTFT_PARTS), None),
    }


def _view(height: int, parts: list[str], legend: Spec | None) -> Spec:
    hint = "rows ? '' : hint"
    whole = " || ".join(f"isValid(datum.{column})" for column in _TOLD)
    labels = {_COLUMN[part]: _LABELS[part] for part in parts}
    tell = _tell()
    tooltip = [{"field": f"tell {name}", "type": "nominal", "title": name} for name in tell]
    x = {
        "field": "level",
        "type": "ordinal",
        "axis": {"title": None, "labelAngle": 0, "ticks": False},
        "scale": {"paddingInner": 0.25, "paddingOuter": 0.2},
    }
    y = {
        "field": "until",
        "type": "quantitative",
        "axis": y_axis(height, hint),
        "scale": {"zero": True, "nice": max(3, height // 50)},
    }
    look = {"title": None, "symbolType": "square", "symbolSize": 130, "labelLimit": 400}
    color = {
        "field": "part",
        "type": "nominal",
        "scale": {"domain": list(labels.values()), "range": [_TONES[part] for part in parts]},
        "legend": None if legend is None else legend | look,
    }
    limited = {"condition": {"test": "datum.state === 3", "value": GREY}}
    bars: Spec = {
        "mark": {
            "type": "bar",
            "stroke": {"expr": "paper"},
            "strokeWidth": 1,
            "width": {"expr": "min(72, bandwidth('x'))"},
        },
        "encoding": {
            "y": y,
            "y2": {"field": "since"},
            "color": color | limited,
            "tooltip": tooltip,
        },
    }
    letters: Spec = {
        "mark": {"type": "text", "color": "black", "fontSize": 11},
        # a letter where it has room
        "transform": [{"filter": f"datum.value / datum.highest > {16 / height}"}],
        "encoding": {
            "y": y | {"field": "middle"}, "text": {"field": "letter"}, "tooltip": tooltip,
        },
    }  # fmt: skip
    # the same marks as in the other charts: a diamond still runs, a grey square is the client's
    marks: Spec = {
        "mark": {"type": "point", "size": 48, "yOffset": -9, "color": GREY, "opacity": 1},
        "transform": [{"filter": f"{_ODD} && datum.column === 'ttft_rest_mean_ms'"}],
        "encoding": {
            "y": y | {"field": "ttft_mean_ms"},
            "shape": {"field": "shape", "type": "nominal", "scale": None, "legend": None},
            "fill": {"field": "inside", "type": "nominal", "scale": None, "legend": None},
            "tooltip": tooltip,
        },
    }
    layers = [bars, letters, marks]
    for layer in layers:
        layer["encoding"]["x"] = x
    fields = {
        "state": state_index("true"),
        "shape": pick("shape"),
        "inside": f"{pick('hollow')} ? paper : '{GREY}'",
        **{f"tell {name}": expression for name, expression in tell.items()},
    }
    return {
        "height": height,
        "transform": [
            {"filter": f"datum.current !== false && ({whole})"},
            _calculate("level", LEVEL),
            *({"calculate": expression, "as": name} for name, expression in fields.items()),
            {"fold": [_COLUMN[part] for part in parts], "as": ["column", "value"]},
            {"filter": "datum.value > 0"},
            _calculate("part", f"({_object(labels)})[datum.column]"),
            _calculate("letter", "datum.part[0]"),
            _calculate("place", f"indexof({list(labels)}, datum.column)"),
            {
                "stack": "value",
                "groupby": ["level"],
                "sort": [{"field": "place"}],
                "as": ["since", "until"],
            },
            _calculate("middle", "(datum.since + datum.until) / 2"),
            {"joinaggregate": [{"op": "max", "field": "until", "as": "highest"}]},
        ],
        "layer": layers + texts(_TITLE, hint) + x_title(height),
    }


def _calculate(name: str, expression: str) -> Spec:
    return {"calculate": expression, "as": name}


def _object(values: Mapping[str, str]) -> str:
    """Write a Vega expression of an object."""
    return "{" + ", ".join(f"{name}: {text!r}" for name, text in values.items()) + "}"


def _tell() -> dict[str, str]:
    """Return the tooltip, line by line, as Vega expressions."""
    parts = {
        name: f"isValid(datum.{_COLUMN[part]}) ? {number(_COLUMN[part], ' ms')} : 'not told'"
        for part, (name, _) in TTFT_PARTS.items()
    }
    return {
        "title": f"(datum.run ? datum.run + ': ' : '') + ({LEVEL_NAMED})",
        "TTFT": f"{number('ttft_mean_ms', ' ms')} + ' (mean)'",
        **parts,
        "connection": f"isValid(datum.connect_mean_ms) ? {number('connect_mean_ms', ' ms')}"
        f" + ' before that, ' + {number('new_connections')} + ' opened' : 'none opened'",
        "state": f"{pick('name')} + (datum.note ? '; ' + datum.note : '')",
    }
