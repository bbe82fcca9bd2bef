"""What own hardware and an API cost a day, against output tokens a day: a Vega-Lite specification.

Own hardware goes up a step where one system more is needed.
"""

import textwrap
from math import ceil
from typing import TYPE_CHECKING, Any

from ..cost.breakeven import BreakEven
from ..cost.price import MILLION
from ..words import thousands
from .layers import GREY, Spec, texts, y_axis
from .lines import in_looks
from .picture import as_altair, printed
from .pricing import LOOKS

if TYPE_CHECKING:
    import altair as alt

_HEIGHT, _WIDTH, _LETTERS = 260, 480, 92
STEPS = 40
"""So many systems are drawn at most."""
BEYOND = 4
"""So many times as far as they cross, or as is asked about, both are drawn."""
MARKS = 3
"""So many of the volumes from which own hardware costs less are marked at most."""
SHORT = "datum.value ? format(datum.value, '~s') : '0'"
"""A Vega expression: how an axis of tokens a day is labelled."""
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
        "axis": {"title": "output tokens a day", "labelExpr": SHORT, "grid": False, "tickCount": 8,
                 "titlePadding": 6},
    }  # fmt: skip
    y: Spec = {
        "field": "usd",
        "type": "quantitative",
        "axis": y_axis(_HEIGHT, "hint", money=True),
        "scale": {"zero": True, "nice": 5},
    }
    legend = {"title": None, "orient": "bottom", "symbolType": "stroke", "offset": 12}
    by_who = in_looks("who", dict(zip((_OWN, _API), LOOKS, strict=False)), legend)
    assumed = [f"{who}: {price.label}; {price.assumption}" for who, price in
               ((_OWN, found.own), (_API, found.api))]  # fmt: skip
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {"x": x, "y": y, **by_who, "order": {"field": "order"}},
        },
        *mark_layers(x, _HEIGHT, {"data": {"values": marks}}, []),
        headroom(x, y, []),
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
    asked, starts = found.tokens_per_day or 0.0, _starts(found)
    end = 1.2 * min(max(most, asked, *starts), STEPS * most)
    if starts:  # what lies far beyond the crossing would hide it
        end = min(end, BEYOND * max(starts[0], asked))
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


def _starts(found: BreakEven) -> list[float]:
    """Return where own hardware begins to cost less: anew for each system, until it does for good.

    At most `MARKS` of them; none where it costs nothing.
    """
    first = found.first["from_output_tokens_per_day"] if found.first else 0.0
    return [n * first for n in range(1, min(found.systems_for_good, MARKS) + 1) if first]


def _marks(found: BreakEven) -> list[dict[str, Any]]:
    """Make the upright lines: where own hardware begins to cost less, and what is asked about."""
    marks = {start: thousands(round(start)) for start in _starts(found)}
    if found.tokens_per_day is not None:
        marks[found.tokens_per_day] = "asked about"
    end = max((row["tokens"] for row in _lines(found)), default=0.0)
    return [
        {"tokens": tokens, "told": marks[tokens], "row": row, "end": end}
        for row, tokens in enumerate(sorted(marks))
        if tokens <= end
    ]


def headroom(x: Spec, y: Spec, transform: list[Spec]) -> Spec:
    """Keep room above the lines, for words; `transform` makes their corners."""
    above = {"calculate": f"1.15 * datum.{y['field']}", "as": "room"}
    return {
        "mark": {"type": "point", "opacity": 0, "size": 1},
        "transform": [*transform, above],
        "encoding": {"x": x, "y": y | {"field": "room"}},
    }


def mark_layers(x: Spec, height: int, of: Spec, transform: list[Spec]) -> list[Spec]:
    """Draw upright lines and name them.

    Parameters
    ----------
    x
        The horizontal encoding.
    height
        The plot's, in pixels.
    of
        Where the rows are from; nothing where it is the chart's data.
    transform
        Makes of them ``tokens``, ``told``, ``end`` (where the axis ends) and ``row``: which line it
        is, from the left. Each begins below the words of that before it.
    """
    late = "datum.tokens > 0.5 * datum.end"
    rule: Spec = {"type": "rule", "strokeDash": [2, 3], "color": GREY}
    inwards = {"align": {"expr": f"{late} ? 'right' : 'left'"}, "dx": {"expr": f"{late} ? -5 : 5"}}
    text: Spec = {"type": "text", "style": "hint", "fontSize": 11} | inwards
    places = {"top": "16 * datum.row", "at": "16 * datum.row + 8"}
    rows = [*transform, *({"calculate": where, "as": name} for name, where in places.items())]

    def at(field: str) -> Spec:
        return {"field": field, "type": "quantitative", "scale": None}

    encodings = (
        (rule, {"x": x, "y": at("top"), "y2": {"value": height}}),
        (text, {"x": x, "y": at("at"), "text": {"field": "told"}}),
    )
    return [of | {"mark": mark, "transform": rows, "encoding": e} for mark, e in encodings]
