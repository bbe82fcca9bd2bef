"""How one chart against the level (concurrency or a rate) is drawn, as a Vega-Lite specification.

Every chart brings its rows into the same fields (`calculate`), and is then made of the same
layers (`chart_view`): band, interval bars, line, points. Lines join measured points of one run
only, and break where one is missing.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .lines import Spec as Spec
from .lines import in_looks, literal
from .telling import LEVEL as LEVEL
from .telling import LEVEL_NAMED as LEVEL_NAMED
from .telling import TELL
from .telling import number as number
from .telling import pick as pick
from .telling import state_index as state_index
from .telling import state_told as state_told

# Both hues keep 3:1 against white and against JupyterLab's dark grey, and stay apart for every
# common colour blindness; dash and shape say the same again.
BLUE, ORANGE, GREY = "#2f7fd1", "#d9691e", "#8a8f98"

P50_P95: Mapping[str, tuple[str, list[int]]] = {"p50": (BLUE, [1, 0]), "p95": (ORANGE, [5, 3])}
"""How two percentiles in one chart look: each one's colour and dash."""

VIEW: Mapping[str, Any] = {
    "levels": [1, 2, 4, 8, 16, 32, 64],  # ticks; never empty, so that the scale has a domain
    "rows": 0,
    "whole": False,  # whether all answers came whole: embeddings, say
    "open": False,  # whether levels are rates (open loop), not concurrencies
    "hint": "press Measure",
    "paper": "white",  # what hollow points are filled with
}
"""The Vega parameters that each chart reads, and their defaults."""

Y_WIDTH, TITLE_Y = 46, -20

CONFIG: Spec = {
    "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"},
    "legend": {"labelFontSize": 11, "symbolSize": 260, "symbolStrokeWidth": 2, "columnPadding": 8},
    "title": {"fontSize": 13, "fontWeight": 600, "subtitleFontSize": 11, "subtitlePadding": 5},
    "style": {"heading": {"fontSize": 12.5, "fontWeight": 600}, "hint": {"fontSize": 12}},
}
"""Sizes; colours and fonts come from the host (the board) or from `PRINT`."""

PRINT: Spec = CONFIG | {
    "style": CONFIG["style"] | {"hint": {"fontSize": 12, "color": "#6b7280"}},
    "axis": CONFIG["axis"]
    | {"gridColor": "#e5e7eb", "domainColor": "#9ca3af", "tickColor": "#9ca3af"}
    | {"labelColor": "#374151", "titleColor": "#374151"},
    "title": CONFIG["title"] | {"anchor": "start", "subtitleColor": "#6b7280"},
}


def params(values: Mapping[str, Any]) -> list[Spec]:
    """Declare Vega parameters."""
    return [{"name": name, "value": value} for name, value in values.items()]


def calculate(series: str = "''", **names: str) -> list[Spec]:
    """Bring rows into the fields that the layers draw.

    Parameters
    ----------
    series
        A Vega expression: "p50", "p95" or "".
    **names
        Vega expressions: ``v`` (the value), ``lo`` and ``hi`` (its interval), ``firm``, and
        ``what``, the value in words, where ``{v}`` and ``{interval}`` stand for their expressions.
    """
    bounded = "isValid(datum.lo) && isValid(datum.hi) && isValid(datum.v)"
    interval = f"({bounded} ? ' (95 %: ' + {number('lo')} + ' to ' + {number('hi')} + ')' : '')"
    fields = {
        "series": series,
        **names,
        "v": f"datum.error_rate >= 1 ? null : ({names['v']})",
        "what": names["what"].format(v=number("v"), interval=interval),
        # Both or none: half an interval would be drawn down to zero.
        "band_lo": f"{bounded} ? datum.lo : null",
        "band_hi": f"{bounded} ? datum.hi : null",
    }
    return [{"calculate": expression, "as": name} for name, expression in fields.items()]


def chart_view(
    title: str | Spec,
    height: int,
    transform: list[Spec],
    *,
    hint: str = "rows ? '' : hint",
    looks: Mapping[str, tuple[str, list[int]]] | None = None,
    legend: Spec | None = None,
    x_labels: bool = True,
    money: bool = False,
    below: Sequence[Spec] = (),
) -> Spec:
    """Build one chart's view: height, transform and layers.

    Parameters
    ----------
    title, height
        What stands above, and the height of the plot in pixels.
    transform
        Ends with `calculate`.
    hint
        A Vega expression: the text to show instead of data, or ''.
    looks
        Each series → its colour and dash; None: there is but one.
    legend
        Where the series' legend goes; None: there is none.
    x_labels, money
        Whether the x axis is labelled, and whether values are in dollars.
    below
        Layers to be drawn below all others.
    """
    y = {
        "field": "v",
        "type": "quantitative",
        "axis": y_axis(height, hint, money=money),
        "scale": {"zero": True, "nice": _ticks(height)},
    }
    layers = [*_bands(y), _line(y, looks, legend), *_points(y, height)]
    for layer in layers:
        layer["encoding"]["x"] = _x(labels=x_labels)
    return {
        "height": height,
        "transform": [
            {"filter": ALIKE},
            {"calculate": LEVEL, "as": "level"},
            *transform,
            *_looks(looks or {}),
        ],
        "layer": [*below, *layers] + texts(title, hint) + (x_title(height) if x_labels else []),
    }


def _bands(y: Spec) -> list[Spec]:
    interval = {
        "y": y | {"field": "band_lo"},
        "y2": {"field": "band_hi"},
        "detail": _RUN,
    }
    tone = literal("tone")
    return [
        {"mark": "area", "encoding": interval | {"fill": tone, "fillOpacity": _faint(0.16, 0.07)}},
        {
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": interval | {"stroke": literal("ink"), "strokeOpacity": _faint(0.6, 0.3)},
        },
    ]


def _line(y: Spec, looks: Mapping[str, tuple[str, list[int]]] | None, legend: Spec | None) -> Spec:
    encoding = {
        "y": y,
        "detail": _RUN,
        "strokeOpacity": _faint(1, 0.5),
        "strokeWidth": _faint(2, 1.25),
    }
    if looks is None:
        return {"mark": {"type": "line", "color": BLUE}, "encoding": encoding}
    shown = {"title": None, "symbolType": "stroke", "symbolOpacity": 1}
    encoding |= in_looks("series", looks, legend and legend | shown)
    return {"mark": "line", "encoding": encoding}


def _points(y: Spec, height: int) -> list[Spec]:
    tooltip = [{"field": f"tell {name}", "type": "nominal", "title": name} for name in TELL]
    disc = {
        "y": y,
        "stroke": literal("ink"),
        "fill": literal("inside"),
        "shape": literal("shape"),
        "size": _faint(48, 34),
        # A pale disc has no rim: the two would add up to a darker ring.
        "strokeOpacity": _faint(1, 0.55, 0),
        "fillOpacity": _faint(1, 1, 0.55),
    }
    cross = {"y": {"value": height - 9}, "opacity": _faint(1, 0.5), "tooltip": tooltip}
    failed: Spec = {"type": "point", "shape": "cross", "angle": 45, "size": 90, "filled": True}
    target: Spec = {"type": "point", "size": 420, "filled": True, "opacity": 1}
    valid = [{"filter": "isValid(datum.v)"}]
    return [
        {
            "mark": {"type": "point", "strokeWidth": 1.75, "opacity": 1},
            "transform": valid,
            "encoding": disc,
        },
        {
            "mark": failed | {"color": ORANGE},
            "transform": [{"filter": "datum.error_rate >= 1"}],
            "encoding": cross,
        },
        # Invisible and large: a point needn't be hit to the pixel.
        {
            "mark": target | {"color": "transparent"},
            "transform": valid,
            "encoding": {"y": y, "tooltip": tooltip},
        },
    ]


def limit_lines(limits: Mapping[str, str], colours: Mapping[str, str]) -> list[Spec]:
    """Draw lines that values should stay below.

    Parameters
    ----------
    limits
        What each is called → a Vega expression of its value, null where there is none.
    colours
        What each is called → its colour.
    """
    layers = []
    for name, value in limits.items():
        fields = [{"calculate": value, "as": "v"}, {"filter": "isValid(datum.v)"}]
        place: Spec = {"y": {"field": "v", "type": "quantitative"}}
        label = {"type": "text", "text": f"limit {name}", "fontSize": 10, "color": colours[name]}
        line = {"type": "rule", "color": colours[name], "strokeDash": [2, 3], "strokeWidth": 1.5}
        one: Spec = {"data": {"values": [{}]}, "transform": fields}
        layers += [
            one | {"mark": line, "encoding": place},
            one
            | {"mark": label | {"align": "left", "dy": -6}}
            | {"encoding": place | {"x": {"value": 2}}},
        ]
    return layers


def texts(title: str | Spec, hint: str, aside: str | None = None, y: int = TITLE_Y) -> list[Spec]:
    """Build the layers of a chart's title and of what stands there instead of data.

    Parameters
    ----------
    title
        What stands above, at `y`.
    hint, aside
        Vega expressions: what stands there instead of data, and at the right of the title.
    """
    one: Spec = {"data": {"values": [{}]}}
    heading = {"type": "text", "text": title, "style": "heading", "align": "left"}
    # Texts at fixed places: Vega moves its own titles when axis labels grow.
    layers = [
        one | {"mark": {"type": "text", "text": {"expr": hint}, "style": "hint"}},
        one | {"mark": heading, "encoding": {"x": {"value": -Y_WIDTH}, "y": {"value": y}}},
    ]
    if aside is not None:
        note = {"type": "text", "text": {"expr": aside}, "style": "hint", "fontSize": 11}
        note["limit"] = {"expr": "max(1, width - 230)"}  # the title's place
        place = {"x": {"value": "width"}, "y": {"value": y}}
        layers.append(one | {"mark": note | {"align": "right"}, "encoding": place})
    return layers


_RUN = {"field": "run", "type": "nominal"}

ALIKE = (
    "open === isValid(datum.rate) && (datum.error_rate >= 1"
    " || whole === (isValid(datum.items_per_s) && !isValid(datum.ttft_p50_ms)))"
)
"""Whether a point is of the kind that is drawn: others have other figures, or other levels."""


def x_title(height: int) -> list[Spec]:
    """Name the levels below their axis, whose own title can't be an expression."""
    name = {"expr": "open ? 'requests/s, as scheduled' : 'concurrency'"}
    mark = {"type": "text", "text": name, "style": "hint", "fontSize": 11, "baseline": "top"}
    place = {"x": {"value": "width"}, "y": {"value": height + 22}}
    return [{"data": {"values": [{}]}, "mark": mark | {"align": "right"}, "encoding": place}]


def _faint(now: float, earlier: float, earlier_disc: float | None = None) -> Spec:
    """Give earlier runs another value, and their filled points perhaps a third."""
    pale = "datum.current === false"
    conditions: list[Spec] = [{"test": pale, "value": earlier}]
    if earlier_disc is not None:
        filled = f"{pale} && datum.ink === datum.inside"
        conditions.insert(0, {"test": filled, "value": earlier_disc})
    return {"condition": conditions, "value": now}


def _x(*, labels: bool) -> Spec:
    axis: Spec = {
        "values": {"expr": "levels"},
        "format": "~g",
        "grid": False,
        "labels": labels,
        "labelOverlap": "greedy",
        "labelSeparation": 4,
        "title": None,
    }
    ends = [{"expr": "levels[0]"}, {"expr": "levels[length(levels) - 1]"}]
    return {
        "field": "level",
        "type": "quantitative",
        "scale": {"type": "log", "base": 2, "domain": ends, "nice": False, "padding": 12},
        "axis": axis,
    }


def _ticks(height: int) -> int:
    return max(3, height // 50)


def y_axis(height: int, hint: str, *, money: bool = False) -> Spec:
    """Build the axis of values; where a hint stands instead of data there is no scale to read."""
    long = f"abs(datum.value) >= {1e4 if money else 1e5:g}"  # longer than there is room for
    short = f"{long} ? format(datum.value, '~s') : format(datum.value, ',.4~r')"
    cents = "datum.value % 1 === 0 || abs(datum.value) < 0.1"
    if money:  # $2.50, not $2.5
        short = f"'$' + ({cents} ? ({short}) : format(datum.value, ',.2f'))"
    return {
        "title": None,
        "domain": False,
        "ticks": False,
        "tickCount": _ticks(height),
        "labelExpr": f"({hint}) ? '' : ({short})",
        "gridOpacity": {"expr": f"({hint}) ? 0 : 1"},
        "labelPadding": 6,
        "minExtent": Y_WIDTH,
        "maxExtent": Y_WIDTH,
    }


def _looks(looks: Mapping[str, tuple[str, list[int]]]) -> list[Spec]:
    """Compute how each point looks and what its tooltip says."""
    tones = json.dumps({series: tone for series, (tone, _) in looks.items()})
    fields = {
        "state": state_index("datum.firm !== false"),
        "shape": pick("shape"),
        "tone": f"({tones})[datum.series] || '{BLUE}'",
        "ink": f"datum.state === 3 || datum.state === 4 ? '{GREY}' : datum.tone",
        "inside": f"{pick('hollow')} ? paper : datum.ink",
        **{f"tell {label}": expression for label, expression in TELL.items()},
    }
    return [{"calculate": expression, "as": name} for name, expression in fields.items()]
