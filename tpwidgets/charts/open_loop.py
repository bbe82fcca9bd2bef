"""What only an open loop's charts have: p95 from the scheduled time, and answered against asked."""

from .layers import GREY, ORANGE, TITLE_Y, Spec, calculate, chart_view
from .lines import literal
from .telling import NARROW, TELL, number

COLUMNS = (
    "sent_rps", "queue_grows",
    "ttft_from_scheduled_p95_ms", "ttft_from_scheduled_p95_ms_lo", "ttft_from_scheduled_p95_ms_hi",
    "e2e_from_scheduled_p95_ms", "e2e_from_scheduled_p95_ms_lo", "e2e_from_scheduled_p95_ms_hi",
)  # fmt: skip
"""What is read of an open loop's point besides `overview.COLUMNS`, be it to tell which decide."""

_X: Spec = {"field": "level", "type": "quantitative"}
_PALE = 0.35

_COLUMN = "replace(datum.column, '_p', '_from_scheduled_p')"
SCHEDULED = {
    name: f"open ? datum[{_COLUMN} + '{end}'] : null"
    for name, end in (("due", ""), ("due_lo", "_lo"), ("due_hi", "_hi"))
}
"""Fields of a latency chart's rows: what they are from the scheduled time, and its interval."""

SCHEDULED_TOLD = (
    f"(isValid(datum.due) ? '; from the scheduled time ' + {number('due')} + ' ms' : '')"
    " + (isValid(datum.due) && isValid(datum.due_lo) && isValid(datum.due_hi)"
    f" ? ' (95 %: ' + {number('due_lo')} + ' to ' + {number('due_hi')} + ')' : '')"
)
"""A Vega expression: the same in words, as the end of a tooltip's line."""


def scheduled_layers() -> tuple[list[Spec], list[Spec]]:
    """Draw p95 from the scheduled time: layers below all others, and above them.

    It is wide and pale, since it lies on p95 from sending wherever requests leave in time.
    """
    drawn = [{"filter": "open && datum.series === 'p95' && datum.current !== false"}]
    there = [*drawn, {"filter": "isValid(datum.due) && isValid(datum.v)"}]
    place: Spec = {"x": _X, "y": {"field": "due", "type": "quantitative"}}
    tooltip = [{"field": f"tell {name}", "type": "nominal", "title": name} for name in TELL]
    solid = {"condition": {"test": "datum.inside === paper", "value": 1}, "value": _PALE}
    # as wide as what a key can show
    line = {"type": "line", "color": ORANGE, "strokeWidth": 7, "opacity": _PALE}
    point = {"type": "point", "size": 150, "strokeWidth": 2.5, "opacity": 1}
    look = {"stroke": literal("ink"), "fill": literal("inside"), "shape": literal("shape")}
    below = [
        _room(there, "due"),
        {"mark": line, "transform": drawn, "encoding": place},
        {
            "mark": point | {"strokeOpacity": _PALE},
            "transform": there,
            "encoding": place | look | {"fillOpacity": solid},
        },
    ]
    target: Spec = {
        "mark": {
            "type": "point",
            "size": 420,
            "filled": True,
            "opacity": 1,
            "color": "transparent",
        },
        "transform": there,
        "encoding": place | {"tooltip": tooltip},
    }
    any_of_it = [*there, {"aggregate": [{"op": "count", "as": "n"}]}, {"filter": "datum.n > 0"}]
    sample = {"type": "rule", "color": ORANGE, "strokeWidth": 7, "opacity": _PALE}
    key = _key("p95 from scheduled", sample, 128)
    return below, [target, *(layer | {"transform": any_of_it} for layer in key)]


def rates_chart(height: int, *, x_labels: bool = True) -> Spec:
    """Draw the requests that were answered per second, beside those asked for and those sent."""
    fields = calculate(
        v="datum.rps",
        lo="datum.rps_lo",
        hi="datum.rps_hi",
        narrow=NARROW,
        firm="datum.narrow",
        what="{v} + ' requests/s answered' + {interval}"
        f" + ', ' + {number('sent_rps')} + ' sent, ' + {number('rate')} + ' asked'",
    )
    asked: Spec = {"type": "line", "color": GREY, "strokeWidth": 1.5, "strokeDash": [5, 3]}
    sent: Spec = {"type": "rule", "color": GREY, "strokeWidth": 2.5}
    one: Spec = {"data": {"values": [{}]}}
    levels: list[Spec] = [
        {"calculate": "open ? levels : []", "as": "level"},
        {"flatten": ["level"]},
    ]
    as_many: Spec = {"x": _X, "y": {"field": "level", "type": "quantitative"}}
    ticks: Spec = {"type": "tick", "orient": "horizontal", "color": GREY, "thickness": 2.5}
    below = [
        one | _room(levels, "level"),
        one | {"mark": asked, "transform": levels, "encoding": as_many},
        {
            "mark": ticks | {"size": 18, "opacity": 1},
            "transform": [{"filter": "datum.current !== false && isValid(datum.sent_rps)"}],
            "encoding": {"x": _X, "y": {"field": "sent_rps", "type": "quantitative"}},
        },
    ]
    view = chart_view("requests/s answered", height, fields, x_labels=x_labels, below=below)
    for word, sample, left in (("asked", asked | {"type": "rule"}, 106), ("sent", sent, 48)):
        view["layer"] += [one | layer for layer in _key(word, sample, left)]
    return {
        "name": "rates",
        "card": "rates",
        "title": "requests/s answered",
        "needs": ["rps"],
        "shown_by": ["rate"],
        "description": "Requests answered per second as a solid line against those asked for, with "
        "95 % intervals; a dashed line has as many as were asked for, short bars those sent.",
        "view": view,
    }


def _room(transform: list[Spec], field: str) -> Spec:
    """Keep the place of the key clear of what is drawn: values end below the plot's top."""
    room = {"calculate": f"1.06 * datum.{field}", "as": "room"}
    return {
        "mark": {"type": "point", "opacity": 0},
        "transform": [*transform, room],
        "encoding": {"x": _X, "y": {"field": "room", "type": "quantitative"}},
    }


def _key(word: str, sample: Spec, left: int) -> list[Spec]:
    """Explain a mark between title and plot, so many pixels left of the plot's right edge."""
    # offsets, since among other charts no expression knows the width of its own
    at: Spec = {"x": {"value": "width"}, "y": {"value": TITLE_Y + 12}}
    ends = {"xOffset": -left, "x2Offset": 16 - left}
    text = {"type": "text", "text": word, "align": "left", "fontSize": 11, "style": "key"}
    return [
        {"mark": sample | ends, "encoding": at | {"x2": {"value": "width"}}},
        {"mark": text | {"xOffset": 20 - left}, "encoding": at},
    ]
