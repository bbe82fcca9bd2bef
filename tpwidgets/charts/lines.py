"""Lines through measured points, told apart by tone and dash: the marks that several charts share.

Rows bring what their marks look like: the fields ``ink``, ``inside`` and ``shape``.
"""

from collections.abc import Mapping
from typing import Any

Spec = dict[str, Any]


def literal(field: str) -> Spec:
    """Encode by a field that holds the very look: a colour, a shape."""
    return {"field": field, "type": "nominal", "scale": None, "legend": None}


def in_looks(
    field: str, looks: Mapping[Any, tuple[str, list[int]]], legend: Spec | None = None
) -> Spec:
    """Encode a field by tone and dash, which say the same; `looks` gives both for each value."""
    return {
        channel: {
            "field": field,
            "type": "nominal",
            "scale": {"domain": list(looks), "range": [look[i] for look in looks.values()]},
            "legend": legend,
        }
        for i, channel in enumerate(("color", "strokeDash"))
    }


def through_points(y: Spec, line: Spec, tooltip: list[Spec], ink: str = "ink") -> list[Spec]:
    """Draw intervals (fields ``lo`` and ``hi``), lines and points.

    Parameters
    ----------
    y
        The points' vertical encoding.
    line
        What tells lines apart, and in which order they join points.
    tooltip
        That of a point.
    ink
        The field that holds the colour of points and intervals.
    """
    stroke = literal(ink)
    point = {"y": y, "stroke": stroke, "fill": literal("inside"), "shape": literal("shape")}
    return [
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.6},
            "transform": [{"filter": "isValid(datum.lo) && isValid(datum.hi)"}],
            "encoding": {"y": y | {"field": "lo"}, "y2": {"field": "hi"}, "stroke": stroke},
        },
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"y": y, **line}},
        {
            "mark": {"type": "point", "size": 48, "strokeWidth": 1.75, "opacity": 1},
            "transform": [{"filter": f"isValid(datum.{y['field']})"}],
            "encoding": point | {"tooltip": tooltip},
        },
    ]


def front(y: Spec, on_it: str, named: str, name: Spec) -> list[Spec]:
    """Ring the points on the front, and name points.

    Parameters
    ----------
    y
        The points' vertical encoding.
    on_it, named
        Vega expressions: whether a point is on the front, and whether it is named.
    name
        The text encoding of a name.
    """
    ring = {"type": "point", "shape": "circle", "size": 190, "strokeWidth": 1.5, "opacity": 1}
    # where a curve that falls ever less steeply leaves room
    label = {"type": "text", "align": "left", "dx": 8, "dy": -12, "fontSize": 11, "style": "hint"}
    return [
        {
            "mark": ring,
            "transform": [{"filter": on_it}],
            "encoding": {"y": y, "stroke": literal("ink")},
        },
        {
            "mark": label,
            "transform": [{"filter": named}],
            "encoding": {"y": y, "text": name},
        },
    ]
