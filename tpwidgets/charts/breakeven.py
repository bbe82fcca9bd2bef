"""What own hardware and an API cost a day, against output tokens a day: a Vega-Lite specification.

Own hardware goes up a step where one system more is needed.
"""

import textwrap
from math import ceil
from typing import TYPE_CHECKING, Any

from ..cost.breakeven import BreakEven
from ..cost.price import MILLION
from ..words import thousands
from .layers import BLUE, ORANGE, Spec, texts, y_axis
from .picture import as_altair, printed

if TYPE_CHECKING:
    import altair as alt

_HEIGHT, _WIDTH, _LETTERS = 260, 480, 92
_STEPS = 40
"""So many systems are drawn at most."""
_OWN, _API = "own hardware", "API"


def break_even_chart(found: BreakEven) -> "alt.LayerChart":
    """Draw both costs a day as an Altair chart; see `BreakEven.chart`."""
    said = "Chart: USD a day against output tokens a day"
    chart: alt.LayerChart = as_altair(break_even_spec(found), "LayerChart", said)
    return chart


def break_even_spec(found: BreakEven) -> Spec:
    """Return what `break_even_chart` draws as a plain specification, without importing Altair."""
    rows, marks = _lines(found), _marks(found)
    hint = "" if rows else "nothing to compare"
    x: Spec = {
        "field": "tokens",
        "type": "quantitative",
        "scale": {"nice": False},
        "axis": {"title": "output tokens a day", "format": "~s", "grid": False, "tickCount": 8,
                 "titlePadding": 6},
    }  # fmt: skip
    y: Spec = {
        "field": "usd",
        "type": "quantitative",
        "axis": y_axis(_HEIGHT, "hint", money=True),
        "scale": {"zero": True, "nice": 5},
    }
    looks = {"color": [BLUE, ORANGE], "strokeDash": [[1, 0], [5, 3]]}
    legend = {"title": None, "orient": "bottom", "symbolType": "stroke", "offset": 12}
    by_who = {
        channel: {
            "field": "who",
            "type": "nominal",
            "scale": {"domain": [_OWN, _API], "range": of_each},
            "legend": legend,
        }
        for channel, of_each in looks.items()
    }
    mark_data = {"data": {"values": marks}}
    assumed = [f"{who}: {price.label}; {price.assumption}" for who, price in
               ((_OWN, found.own), (_API, found.api))]  # fmt: skip
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {"x": x, "y": y, **by_who, "order": {"field": "order"}},
        },
        {
            **mark_data,
            "mark": {"type": "rule", "strokeDash": [2, 3], "color": "#6b7280"},
            "encoding": {"x": x},
        },
        {
            **mark_data,
            "mark": {"type": "text", "align": "left", "dx": 5, "color": "#374151"},
            "encoding": {"x": x, "y": {"value": 8}, "text": {"field": "text"}},
        },
    ]
    told = [line for said in (found.answer, *assumed) for line in textwrap.wrap(said, _LETTERS)]
    return printed(
        "USD a day of own hardware, in steps, and of an API, in proportion, against "
        "output tokens a day.",
        "costs", rows, {"hint": hint},
        width=_WIDTH,
        height=_HEIGHT,
        title={"text": "Own hardware against an API", "subtitle": told, "offset": 26},
        layer=layers + texts("$ a day", "hint"),
    )  # fmt: skip


def _lines(found: BreakEven) -> list[dict[str, Any]]:
    """Make the corners of both lines."""
    best = found.best
    if best is None:
        return []
    most, each = best["most_output_tokens_per_day"], best["own_usd_per_day"]
    api_usd = (found.first or best)["api_usd_per_1m_output_tokens"]
    end = 1.2 * min(max(most, found.tokens_per_day or 0.0), _STEPS * most)
    steps = range(1, ceil(end / most) + 1)
    own = [
        (tokens, step * each)
        for step in steps
        for tokens in ((step - 1) * most, min(step * most, end))
    ]
    corners = {_OWN: own, _API: [(0.0, 0.0), (end, end * api_usd / MILLION)]}
    return [
        {"who": who, "tokens": tokens, "usd": cost, "order": order}
        for who, line in corners.items()
        for order, (tokens, cost) in enumerate(line)
    ]


def _marks(found: BreakEven) -> list[dict[str, Any]]:
    """Make the upright lines: where both cost the same, and the volume asked about."""
    marks = []
    if found.first is not None:
        volume = found.first["from_output_tokens_per_day"]
        marks.append({"tokens": volume, "text": f"{thousands(round(volume))}"})
    if found.tokens_per_day is not None:
        marks.append({"tokens": found.tokens_per_day, "text": "asked about"})
    return marks
