"""Cost against what people wait, and own hardware against an API, as the live board draws them.

Both are computed from the operating points in the browser, so that a price that is moved moves
them at once; `tpwidgets.cost` says the same of a run, in words and tables. They show the current
run alone.
"""

import json

from ..metrics.slo import MAX_ERROR_RATE
from .breakeven import BEYOND, MARKS, SHORT, STEPS, headroom, mark_layers
from .layers import (
    ALIKE,
    GREY,
    LEVEL,
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
from .pricing import LOOKS, MOST, PRICED_HINT, UNIT, USD, USD_HI, USD_LO, priced

_FRONT = (
    "numbers: levels; ringed: no other level costs less, starts sooner or streams faster without "
    "being worse in another of these"
)
_TONES = json.dumps([tone for tone, _ in LOOKS[:MOST]])
_STEADY = (
    "!datum.client_limited && !datum.provisional && !datum.queue_grows"
    " && !isValid(datum.ramp_from) && datum.n !== 0"
)
_FAILING = f"datum.error_rate > {MAX_ERROR_RATE}"
USABLE = f"{_STEADY} && !({_FAILING})"
"""A Vega expression: `tpwidgets.metrics.usable`."""
_LAWFUL = (
    f"{_STEADY} && datum.limits_hold !== false && (datum.limits_hold === true || !({_FAILING}))"
)
"""The same where limits say how many may fail."""

_OWN_RUN = [
    {"filter": f"datum.current !== false && !datum.own_cost && {ALIKE}"},
    {"filter": "!(datum.error_rate >= 1)"},
    {"calculate": LEVEL, "as": "level"},
]


def weighing_charts() -> list[Spec]:
    """Return the charts of the cost part, each what `live.layout.board_charts` frames."""
    return [_against_waiting(266), _break_even(266)]


# -- cost against what people wait -----------------------------------------------------------------


def _against_waiting(height: int) -> Spec:
    hint = f"{PRICED_HINT} || (rows ? '' : hint)"
    tooltip = [
        {"field": f"tell {name}", "type": "nominal", "title": name}
        for name in ("title", "cost", "waiting", "per user", "state")
    ]
    x: Spec = {
        "field": "wait",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 24},
        "axis": {"grid": False, "format": ",.3~r", "labelOverlap": "greedy", "labelSeparation": 4,
                 "tickCount": 6, "title": None},
    }  # fmt: skip
    y = _dollars(height, hint)
    line = _by_price() | {"order": {"field": "level"}}
    level: Spec = {"field": "level", "type": "quantitative", "format": "~g"}
    layers = [
        *through_points(y, line, tooltip),
        # room for the numbers below what stands above the chart
        {"mark": {"type": "point", "opacity": 0, "size": 1},
         "encoding": {"y": y | {"field": "room"}}},
        *front(y, "datum.front", "datum.usd === datum.top", level),
    ]  # fmt: skip
    for layer in layers:
        layer["encoding"]["x"] = x
    wait = (
        "'TTFT p95, ms'",
        "'TTFT median, ms'",
        "'E2E latency p95, ms'",
        "'E2E latency median, ms'",
    )
    named = f"[{', '.join(wait)}][{_WAITS}]"
    return {
        "name": "waiting",
        "card": "waiting",
        "title": "cost against TTFT",
        "needs": ["output_tps", "items_per_s"],
        "prices": True,
        "key": [{"name": _FRONT, "shape": "circle", "hollow": True}],
        "description": "Cost in dollars against time to first token (where answers come whole: "
        "end-to-end latency) of each level, a line for each price set. " + _FRONT,
        "view": {
            "height": height,
            "transform": [*_OWN_RUN, *priced(), *_weighed()],
            "layer": [
                *layers,
                *texts({"expr": f"'$ per ' + {UNIT}"}, hint),
                _below(height, named),
            ],
        },
    }


_WAITS = "indexof(['ttft_p95_ms', 'ttft_p50_ms', 'e2e_p95_ms', 'e2e_p50_ms'], waiting)"


def _weighed() -> list[Spec]:
    """Compute each point's cost and waiting, and whether it is on the front of its price."""
    # as cost.table has it: three digits each, less is noise
    three = {name: f"toNumber(format(datum.{name}, '.3g'))" for name in ("usd", "wait", "speed")}
    fields = {
        "usd": USD,
        "lo": USD_LO,
        "hi": USD_HI,
        "wait": "datum[waiting]",
        "speed": "datum.user_tps_p50 || 0",
        "at": "datum.price.at",
    }
    better = "datum.other.usd3 < datum.usd3 || datum.other.wait3 < datum.wait3"
    better += " || datum.other.speed3 > datum.speed3"
    beaten = " && ".join(
        [
            "datum.other.fit", "datum.other.usd3 <= datum.usd3", "datum.other.wait3 <= datum.wait3",
            "datum.other.speed3 >= datum.speed3",
            f"({better})",
        ]
    )  # fmt: skip
    firm = "datum[replace(waiting, '_ms', '_firm')] !== false"
    looks = {
        "room": "1.12 * datum.usd",
        "front": "datum.fit && !datum.lost",
        "tone": f"({_TONES})[datum.at]",
        "state": state_index(firm),
        "shape": pick("shape"),
        "ink": f"datum.state === 3 ? '{GREY}' : datum.tone",
        "inside": f"{pick('hollow')} ? paper : datum.ink",
        "tell title": f"(datum.price.label ? datum.price.label + ', ' : '') + ({LEVEL_NAMED})",
        "tell cost": f"'$' + {number('usd')} + ' per ' + {UNIT} + (isValid(datum.lo) ?"
        f" ' (95 %: ' + {number('lo')} + ' to ' + {number('hi')} + ')' : '')",
        "tell waiting": number("wait", " ms"),
        "tell per user": f"{number('user_tps_p50')} + ' tokens/s'",
        "tell state": state_told("(indexof(waiting, 'p95') < 0 ? 'p50' : 'p95')"),
    }
    return [
        *_calculate(fields),
        {"filter": "isValid(datum.usd) && datum.wait > 0"},
        *_calculate({f"{name}3": rounded for name, rounded in three.items()} | {"fit": USABLE}),
        {"window": [{"op": "row_number", "as": "row"}]},
        {"joinaggregate": [{"op": "values", "field": "row", "as": "others"}], "groupby": ["at"]},
        {"flatten": ["others"], "as": ["other"]},
        {"calculate": f"{beaten} ? 1 : 0", "as": "beaten"},
        {"joinaggregate": [{"op": "max", "field": "beaten", "as": "lost"}], "groupby": ["row"]},
        {"filter": "datum.other.row === datum.row"},
        # prices of one level stand above each other: it is named once
        {"joinaggregate": [{"op": "max", "field": "usd", "as": "top"}], "groupby": ["level"]},
        *_calculate(looks),
    ]


# -- own hardware against an API -------------------------------------------------------------------


def _break_even(height: int) -> Spec:
    """Draw what `tpwidgets.cost.breakeven` finds, for the first price of each kind."""
    both = "indexof(pluck(prices, 'hourly'), 1) >= 0 && indexof(pluck(prices, 'hourly'), 0) >= 0"
    hint = (
        f"!({both}) ? 'compare a price per hour with one per 1M tokens'"
        " : whole ? 'no output tokens to compare by' : rows ? '' : hint"
    )
    x: Spec = {
        "field": "tokens",
        "type": "quantitative",
        "scale": {"nice": False, "domainMin": 0},
        "axis": {"title": None, "labelExpr": SHORT, "grid": False, "tickCount": 6,
                 "labelOverlap": "greedy"},
    }  # fmt: skip
    y = _dollars(height, hint)
    line: Spec = {"type": "line", "strokeWidth": 2}
    layers: list[Spec] = []
    for corners in (_OWN, _API):
        encoding = {"x": x, "y": y, **_by_price(), "order": {"field": "corner"}}
        made = _calculate_rows(corners)
        layers.append({"mark": line, "transform": made, "encoding": encoding})
        layers.append(headroom(x, y, made))
    for found in (_calculate_rows(_STARTS), _calculate(_ASKED)):
        kept = [*found, {"filter": "datum.tokens > 0 && datum.tokens <= datum.end"}]
        layers += mark_layers(x, height, {}, kept)
    return {
        "name": "break_even",
        "card": "break-even",
        "title": "$ a day",
        "needs": ["output_tps"],
        "prices": True,
        "description": "Dollars a day against output tokens a day: own hardware, a step up where "
        "one system more is needed, and an API, in proportion; where own hardware begins to cost "
        "less, and at which level.",
        "view": {
            "height": height,
            "transform": [{"filter": both}, *_OWN_RUN, *_compared()],
            "layer": [
                *layers,
                *texts("$ a day; own hardware as fast as measured here", hint),
                _below(height, "'output tokens a day'"),
            ],
        },
    }


_OWN = {
    "corner": "sequence(0, 2 * ceil(datum.end / datum.best))",
    "at": "datum.own.at",
    "tokens": "min(ceil(datum.corner / 2) * datum.best, datum.end)",
    "usd": "(floor(datum.corner / 2) + 1) * datum.daily",
}
_API = {
    "corner": "[0, 1]",
    "at": "datum.api.at",
    "tokens": "datum.corner * datum.end",
    "usd": "datum.tokens * datum.api_usd / 1e6",
}
"""The corners of both lines: the first field has a value for each."""


_STARTS = {
    "start": f"sequence(1, min(datum.systems, {MARKS}) + 1)",
    "tokens": "datum.start * datum.from",
    "to": "datum.systems > 1 ? ' to ' + format(datum.best, '.3~s') : ' a day'",
    "told": "format(datum.tokens, '.3~s') + (datum.start > 1 ? '' : datum.to + ', at '"
    " + format(datum.level, '~g') + (open ? ' requests/s' : ' concurrent'))",
    "row": "datum.start - 1 + (volume > 0 && volume < datum.tokens ? 1 : 0)",
}
_ASKED = {
    "tokens": "volume",
    "told": "'asked about'",
    "row": f"datum.from > 0 ? min(datum.systems, {MARKS}, floor(volume / datum.from)) : 0",
}
"""The upright lines: where own hardware begins to cost less, anew for each system, and the volume
asked about; ``row`` says how many are further left."""


def _compared() -> list[Spec]:
    """Find the point that decides: the lowest level at which own hardware can cost less."""

    def first(hourly: int) -> str:
        return f"prices[indexof(pluck(prices, 'hourly'), {hourly})]"

    # the point is one already: it need not become one for each price
    at_api = [{"calculate": first(0), "as": "price"}, *priced()[2:]]
    fields = {
        "api": first(0),
        "own": first(1),
        "api_usd": "datum.billed",
        "daily": "datum.own.hour * datum.own.replicas * 24",
        "most": "datum.output_tps * datum.own.busy_pct / 100 * 86400",
        "from": "datum.api_usd > 0 ? datum.daily / datum.api_usd * 1e6 : null",
        "enough": "isValid(datum.from) && datum.from < datum.most ? datum.level : null",
    }
    return [
        *at_api,
        *_calculate(fields),
        {"filter": f"{_LAWFUL} && datum.most > 0 && isValid(datum.api_usd)"},
        {
            "joinaggregate": [
                {"op": "max", "field": "most", "as": "best"},
                {"op": "min", "field": "enough", "as": "least"},
            ]
        },
        {
            "filter": "isValid(datum.least) ? datum.level === datum.least"
            " : datum.most === datum.best"
        },
        {"window": [{"op": "row_number", "as": "row"}]},
        {"filter": "datum.row === 1"},
        *_calculate(
            {
                "from": "isValid(datum.least) ? datum.from : null",
                # as `BreakEven.systems_for_good` has it
                "systems": "!isValid(datum.least) ? 0"
                " : max(1, ceil(datum.from / (datum.best - datum.from) - 1e-9))",
                "last": f"min(datum.systems, {MARKS}) * datum.from",
                "end": f"min(1.2 * min(max(datum.best, volume, datum.last), {STEPS} * datum.best),"
                f" datum.from > 0 ? {BEYOND} * max(datum.from, volume) : 1e99)",
            }
        ),
    ]


# -- what both need --------------------------------------------------------------------------------


def _calculate(fields: dict[str, str]) -> list[Spec]:
    return [{"calculate": expression, "as": name} for name, expression in fields.items()]


def _calculate_rows(fields: dict[str, str]) -> list[Spec]:
    """Make a row of each value of the first field."""
    (name, values), *others = fields.items()
    return [{"calculate": values, "as": name}, {"flatten": [name]}, *_calculate(dict(others))]


def _dollars(height: int, hint: str) -> Spec:
    return {
        "field": "usd",
        "type": "quantitative",
        "axis": y_axis(height, hint, money=True),
        "scale": {"zero": True, "nice": 5},
    }


def _by_price() -> Spec:
    return in_looks("at", dict(enumerate(LOOKS[:MOST])))


def _below(height: int, said: str) -> Spec:
    """Name the x axis by an expression, which its own title can't be."""
    mark = {"type": "text", "text": {"expr": said}, "style": "hint", "fontSize": 11}
    return {
        "data": {"values": [{}]},
        "mark": mark | {"align": "right", "baseline": "top"},
        "encoding": {"x": {"value": "width"}, "y": {"value": height + 22}},
    }
