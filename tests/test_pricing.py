"""Costs that the charts compute, in pictures as in the browser: they are those of the tables."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import vl_convert
from drawn import FAILED, VL, point, told

from tpwidgets.charts.breakeven import break_even_spec
from tpwidgets.charts.overview import clean_rows, overview_spec
from tpwidgets.charts.picture import picture_png
from tpwidgets.charts.pricing import LOOKS, PRICES, price_params
from tpwidgets.cost.at_point import own_cost, usd_per_1m_output
from tpwidgets.cost.breakeven import BreakEven, break_even
from tpwidgets.cost.price import Price, Tier
from tpwidgets.cost.table import cost_rows
from tpwidgets.live.layout import board_charts
from tpwidgets.live.packing import COLUMNS

PER = {
    "output": ("usd_per_1m_output_tokens", "1M output tokens"),
    "total": ("usd_per_1m_total_tokens", "1M prompt and output tokens"),
    "request": ("usd_per_request", "request"),
}
OWN = Price.per_hour(10.0, replicas=2, utilisation=0.5, name="own")
API = Price.per_token(10.0, 2.5, 1.25, reasoning=4.0, name="API")
ONLY_INPUT = Price.per_token(0.0, 0.5)


def measured(level: int, **changed: Any) -> dict[str, Any]:
    """Return a point of a model that reasons, with all that a price may depend on."""
    tps, n = 90 * level / (1 + level / 40), 40 * level
    return point(
        level, input_tps=4 * tps, total_tps=5 * tps, rps_lo=1.3 * level, rps_hi=1.6 * level,
        billed_output_tokens=64 * n + 9, reasoning_tokens_mean=16.0, cached_pct=10.0 * level / 4,
        **changed,
    )  # fmt: skip


ROWS = [measured(level) for level in (1, 2, 4, 8, 16)]
VECTORS = point(
    4, n=40, output_tps=0.0, ttft_p50_ms=None, ttft_p95_ms=None, user_tps_p50=None,
    items_per_s=160.0, input_tps=2e3, total_tps=2e3, rps=20.0, rps_lo=18.0, rps_hi=22.0,
    prompt_tokens_mean=100.0, input_per_output=None, e2e_p50_ms=50.0, e2e_p95_ms=80.0,
    cached_pct=None,
)  # fmt: skip


def board_spec(name: str, rows: list[dict[str, Any]], prices: Any, **given: Any) -> dict[str, Any]:
    """Return one of the board's charts as it stands in the browser."""
    spec = next(chart["spec"] for chart in board_charts() if chart["name"] == name)
    given = {**price_params(prices), "rows": len(rows), **given}
    stated = {p["name"]: given.get(p["name"], p["value"]) for p in spec["params"]}
    return spec | {
        "data": {"name": "points", "values": clean_rows(rows, (*COLUMNS, "queue_grows"))},
        "params": [{"name": name, "value": value} for name, value in stated.items()],
    }


def drawn(spec: dict[str, Any], said: str = "") -> list[tuple[float, str]]:
    """Return each point's cost in full, and what its tooltip says behind it."""
    texts = [
        re.search(r"; v: ([\d.,e-]+);.*value: \$[\d.,]+ (per .*?);", text)
        for text in told(spec, "value: $")
    ]
    found = [(float(m[1].replace(",", "")), m[2]) for m in texts if m]
    return [each for each in found if said in each[1]]


def data(spec: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the rows that a chart's first layer of a field draws, as Vega computes them."""
    scene = vl_convert.vegalite_to_scenegraph(spec, vl_version=VL)
    return [item for item in _items(scene) if name in item]


def _items(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [item for each in node for item in _items(each)]
    if not isinstance(node, dict):
        return []
    return [node, *(item for each in node.values() for item in _items(each))]


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("rows", [ROWS, [VECTORS]], ids=["streamed", "whole"])
def test_cost_in_the_chart_is_the_cost_of_the_table(per: str, rows: list[dict[str, Any]]) -> None:
    whole, rows = rows == [VECTORS], clean_rows(rows, COLUMNS)
    column, unit = PER[per] if per == "request" or not whole else (PER["total"][0], "1M tokens")
    labels = {OWN: "own", API: "API", ONLY_INPUT: "$0 out, $0.50 in per 1M"}
    spec = board_spec("cost", rows, list(labels), per=list(PER).index(per), whole=whole)
    for price, label in labels.items():
        found = drawn(spec, label)
        expected = cost_rows([row | {"total_tps": _total(row)} for row in rows], price)
        assert [usd for usd, _ in found] == pytest.approx([row[column] for row in expected])
        for (_, said), row in zip(found, expected, strict=True):
            bounds = re.search(r" \(95 %: ([\d.,]+) to ([\d.,]+)\)", said)
            assert said == f"per {unit}{bounds[0] if bounds else ''}, {label}"
            ends = row.get(f"{column}_lo"), row.get(f"{column}_hi")
            assert bool(bounds) == (None not in ends)
            if bounds:  # to the three digits that are shown
                assert [float(end) for end in bounds.groups()] == pytest.approx(ends, rel=6e-3)


def _total(row: dict[str, Any]) -> float:
    return (row["output_tps"] or 0.0) + row["input_tps"]


def test_all_that_a_price_may_have_counts() -> None:
    """What is cached, what is reasoned, what a batch tier takes off: each changes the figure."""
    row = clean_rows([measured(4)], COLUMNS)[0]
    prices = API, Price.per_token(3.0), Price.per_token(3.0, 0.5), API.batched(0.25)
    for price in prices:
        found = drawn(board_spec("cost", [row], price))
        assert found[0][0] == pytest.approx(usd_per_1m_output(row, price)[0])
    assert len({usd_per_1m_output(row, price)[0] for price in prices}) == len(prices)
    off = [price_params(API)["prices"][0] | {"off_pct": 25.0}]
    spec = board_spec("cost", [row], None)
    spec["params"] = [p | {"value": off} if p["name"] == "prices" else p for p in spec["params"]]
    assert drawn(spec)[0][0] == pytest.approx(usd_per_1m_output(row, API.batched(0.25))[0])


def test_a_point_with_a_cost_of_its_own_ignores_the_prices() -> None:
    hourly = Price.per_hour(10)
    rows = [measured(4) | own_cost(measured(4), hourly), measured(8)]
    (own, said), *others = drawn(overview_spec(rows, [Price.per_token(3.0), Price.per_token(5.0)]))
    assert own == pytest.approx(usd_per_1m_output(measured(4), hourly)[0], rel=1e-5)
    assert re.fullmatch(r"per 1M output tokens \(95 %: [\d.]+ to [\d.]+\)", said)
    assert others == [
        (3.0, "per 1M output tokens, $3.00 out, $0 in per 1M"),
        (5.0, "per 1M output tokens, $5.00 out, $0 in per 1M"),
    ]
    assert len(drawn(overview_spec(rows, None))) == 1
    of_requests = board_spec("cost", rows[:1], None, per=2)
    assert drawn(of_requests)[0][1].startswith("per request (95 %")
    assert drawn(overview_spec([measured(4) | own_cost(measured(4), None)], hourly)) == []


def test_without_a_price_it_is_said_what_to_do() -> None:
    for price in (None, []):
        assert price_params(price) == dict(PRICES)
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(overview_spec([point(4)])))
    assert "set a price to see cost" in scene


@pytest.mark.parametrize("price", [Price.per_token(0.0), Price.per_hour(0.0)])
def test_a_price_of_0_is_a_price(price: Price) -> None:
    spec = overview_spec([point(4), point(8)], price)
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert "set a price to see cost" not in scene
    assert [usd for usd, _ in drawn(spec)] == [0.0, 0.0]


def test_each_point_pays_for_prompts_as_long_as_its_own() -> None:
    tiers = Tier(0, 10.0, 2.0, 1.0), Tier(100, 20.0, 4.0), Tier(1000, 30.0, 6.0, 3.0)
    price = replace(Price.per_token(10.0, 2.0, 1.0), tiers=tiers)
    lengths = (50.0, 100.0, 101.0, 5000.0, None)
    rows = [measured(2**i, prompt_tokens_mean=length) for i, length in enumerate(lengths)]
    expected = [usd_per_1m_output(row, price)[0] for row in clean_rows(rows)]
    assert len(set(expected)) == 5
    assert [usd for usd, _ in drawn(overview_spec(rows, price))] == pytest.approx(expected)
    # with each point's own prompts, break-even as well
    asked = board_spec("break_even", rows[3:4], [OWN, price])
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(asked, vl_version=VL), ensure_ascii=False)
    found = compared(OWN, price, clean_rows(rows[3:4], COLUMNS), 0.0).first
    assert found is not None
    assert f"{found['from_output_tokens_per_day'] / 1e6:.3g}M" in scene


def test_what_cannot_be_known_is_not_drawn() -> None:
    unbilled = point(4, input_per_output=None)
    assert drawn(overview_spec([unbilled], Price.per_token(3.0, input=1.0))) == []
    assert drawn(overview_spec([unbilled], Price.per_token(3.0)))[0][0] == 3.0
    assert drawn(overview_spec([point(4, output_tps=0.0)], Price.per_hour(4.0))) == []
    assert len(drawn(overview_spec([FAILED, point(2)], Price.per_hour(4.0)))) == 1
    for per in (1, 2):
        assert drawn(board_spec("cost", [unbilled], Price.per_token(3.0), per=per)) == []


def test_a_picture_of_several_prices_names_them() -> None:
    spec = overview_spec(ROWS, [OWN, API, ONLY_INPUT, Price.per_hour(9)], "a title")
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    for (tone, _), name in zip(LOOKS, ("own", "API", "$0 out, $0.50 in per 1M"), strict=False):
        assert f'"{name}"' in scene
        assert f'"stroke": "{tone}"' in scene
    assert "$9.00" not in scene  # three lines can be told apart
    assert "own: $10.00 per hour × 2 replicas; busy as measured 50 % of the hours" in " ".join(
        spec["title"]["subtitle"]
    )
    assert picture_png(spec, scale=1).startswith(b"\x89PNG")
    alone = overview_spec(ROWS, OWN, "a title")
    assert not any("per hour" in line for line in alone["title"]["subtitle"])


# -- the part on cost ------------------------------------------------------------------------------


def test_the_front_is_the_tables() -> None:
    rows = [
        *ROWS, measured(32, ttft_p95_ms=700.0, user_tps_p50=1.0),
        measured(64, ttft_p95_ms=100.0, client_limited=True),
        measured(65, ttft_p95_ms=100.0, error_rate=0.02),
        measured(66, ttft_p95_ms=100.0, queue_grows=True),
    ]  # fmt: skip
    prices = [OWN, API]
    spec = board_spec("waiting", rows, prices, waiting="ttft_p95_ms")
    rings = [item for item in data(spec, "size") if item.get("size") == 190]
    expected = cost_rows(rows, prices)
    assert len(rings) == sum(bool(row["pareto"]) for row in expected)
    assert 0 < len(rings) < len(expected)
    texts = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL), ensure_ascii=False)
    assert "TTFT p95, ms" in texts
    assert "title: own, concurrency 4; cost: $" in texts
    earlier = [row | {"current": False} for row in rows]
    only_now = board_spec("waiting", [*earlier, *rows[:1]], prices)
    assert len([item for item in data(only_now, "size") if item.get("size") == 48]) == 2


def compared(own: Price, api: Price, rows: list[dict[str, Any]], tokens: float) -> BreakEven:
    run = SimpleNamespace(rows=rows, limits=None)
    return break_even(run, own, api, tokens or None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("api", "volume"),
    [
        (API, 0.0),
        (API, 9e7),
        (Price.per_token(0.1, 0.01), 0.0),
        (Price.per_token(0.0, 9.0), 0.0),
        (Price.per_token(5.0, 2.0), 0.0),
        (Price.per_token(5.0, 2.0), 1.5e8),
    ],
    ids=["paid off", "a volume", "never", "only input", "in steps", "in steps, a volume"],
)
def test_break_even_is_that_of_the_core(api: Price, volume: float) -> None:
    rows = [
        measured(1), measured(4), measured(16), measured(64, client_limited=True),
        measured(65, error_rate=0.5), measured(66, queue_grows=True),
    ]  # fmt: skip
    spec = board_spec("break_even", rows, [OWN, api, Price.per_hour(1.0)], volume=volume)
    said = [item["text"] for item in data(spec, "text") if abs(item.get("dx", 0)) == 5]
    told = compared(OWN, api, rows, volume)
    first, best = told.first, told.best
    assert (first is None) == (api.output == 0.1)  # never
    assert best is not None
    marks = break_even_spec(told)["layer"][1]["data"]["values"]
    starts = [f"{mark['tokens'] / 1e6:.3g}M" for mark in marks if mark["told"] != "asked about"]
    if first is not None:
        ends = f" to {best['most_output_tokens_per_day'] / 1e6:.3g}M"
        beyond = ends if told.systems_for_good > 1 else " a day"
        starts[0] += f"{beyond}, at {first['concurrency']} concurrent"
    assert said == starts + ["asked about"] * bool(volume)


def test_a_level_that_breaks_a_limit_decides_no_break_even() -> None:
    rows = [measured(16, limits_hold=True), measured(64, limits_hold=False)]
    kept, both = (data(board_spec("break_even", some, [OWN, API]), "text")
                  for some in (rows[:1], rows))  # fmt: skip
    assert [item["text"] for item in kept] == [item["text"] for item in both]


def test_break_even_says_which_prices_it_needs() -> None:
    for prices in ([OWN], [API, ONLY_INPUT], []):
        spec = board_spec("break_even", ROWS, prices)
        scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
        assert "compare a price per hour with one per 1M tokens" in scene
    spec = board_spec("break_even", [VECTORS], [OWN, API], whole=True)
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert "no output tokens to compare by" in scene
    spec = board_spec("waiting", [VECTORS], [OWN, API], whole=True, waiting="e2e_p95_ms")
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert "E2E latency p95, ms" in scene
    assert "waiting: 80 ms" in scene
