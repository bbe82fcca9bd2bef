"""Cost curves: a line per price, against concurrency and against what people wait."""

import json
import re
from typing import Any

import pytest
import vl_convert

from tpwidgets.charts import costs as cost_charts
from tpwidgets.charts.costs import cost_chart, cost_chart_spec
from tpwidgets.charts.pricing import LOOKS
from tpwidgets.cost.price import Price
from tpwidgets.cost.table import cost_rows, cost_table
from tpwidgets.errors import SettingsError
from tpwidgets.run import Run


def point(concurrency: int, tps: float, ttft: float, **changed: Any) -> dict[str, Any]:
    return {
        "concurrency": concurrency, "n": 400, "n_failed": 0, "error_rate": 0.0, "output_tps": tps,
        "output_tps_lo": 0.8 * tps, "output_tps_hi": 1.25 * tps, "total_tps": 5 * tps,
        "rps": tps / 100, "rps_lo": tps / 125, "rps_hi": tps / 80, "ttft_p50_ms": 0.7 * ttft,
        "ttft_p95_ms": ttft, "ttft_p50_firm": True, "ttft_p95_firm": True, "input_per_output": 4.0,
        "user_tps_p50": tps / concurrency, "billed_output_tokens": 40_000, "provisional": False,
        "client_limited": False, "note": "",
    } | changed  # fmt: skip


POINTS = [point(1, 100.0, 100.0), point(4, 300.0, 200.0, ttft_p95_firm=False),
          point(16, 250.0, 900.0)]  # fmt: skip
OWN = Price.per_hour(3.6, utilisation=0.5, source="a list", date="2026-11-01", name="own")
API = Price.per_token(4.0, 1.0, name="an API")


def told(spec: dict[str, Any]) -> list[str]:
    """Return what the tooltip of each point tells."""
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec), ensure_ascii=False)
    return re.findall(r'"description": "([^"]*cost: [^"]*)"', scene)


@pytest.mark.parametrize(
    ("per", "own", "api"),
    [
        # 3.60 / (tps · 0.5 · 3600) · 1e6; 4 + 4 · 1
        ("output", "$20 (95 %: $16 to $25)", "$8"),
        ("total", "$4", "$1.6"),
        ("request", "$0.002 (95 %: $0.0016 to $0.0025)", "$0.0008"),
    ],
)
def test_against_concurrency(per: str, own: str, api: str) -> None:
    spec = cost_chart_spec(cost_rows(POINTS, [OWN, API]), per=per, title="a title")
    texts = told(spec)
    assert len(texts) == 6
    assert any(f"title: own, concurrency 1; cost: {own};" in text for text in texts)
    assert any(f"title: an API, concurrency 1; cost: {api};" in text for text in texts)
    assert all("state: measured" in text for text in texts)  # TTFT's firmness is not the cost's
    assert " ".join(spec["title"]["subtitle"]).startswith(
        "own: $3.60 per hour; busy as measured 50 % of the hours paid for; price: a list, "
        "2026-11-01 an API: per 1M tokens: $4.00 output, $1.00 input; usage billed"
    )


def test_an_open_loop_is_priced_against_its_rate() -> None:
    points = [point(3, 100.0, 100.0, rate=0.5), point(7, 300.0, 200.0, rate=2.0)]
    spec = cost_chart_spec(cost_rows(points, [OWN, API]))
    assert [row["level"] for row in spec["data"]["values"]] == [0.5, 2.0] * 2
    axis = spec["layer"][0]["encoding"]["x"]["axis"]
    assert (axis["values"], axis["title"]) == ([0.5, 2.0], "requests/s, as scheduled")
    assert any("title: own, 2 requests/s; cost: $6.67" in text for text in told(spec))
    by_wait = cost_chart_spec(cost_table(points, [OWN, API]), "ttft")
    assert {row.get("number") for row in by_wait["data"]["values"]} == {0.5, 2.0, None}
    assert "Numbers: requests/s." in " ".join(by_wait["title"]["subtitle"])


def test_against_what_people_wait() -> None:
    spec = cost_chart_spec(cost_rows(POINTS, [OWN, API]), "ttft")
    texts = told(spec)
    assert any(
        "own, concurrency 4" in text and "TTFT p95: 200 ms" in text and "200 needed for p95" in text
        for text in texts
    )
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec))
    assert scene.count('"size": 190') == 3  # rings: own at 1 and 4, the API at 1
    numbers = [row["number"] for row in spec["data"]["values"] if "number" in row]
    assert sorted(numbers) == [1, 4, 16]  # once for both prices
    said = " ".join(spec["title"]["subtitle"])
    assert "Ringed: no other costs less" in said
    assert "Hollow: too few requests" in said
    assert "logarithmic" not in said


def test_costs_far_apart_are_on_a_logarithmic_scale_unless_one_is_nothing() -> None:
    dear = Price.per_hour(360.0, name="dear")
    for prices, log in (([dear, API], True), ([dear, API, Price.per_token(0.0)], False)):
        spec = cost_chart_spec(cost_rows(POINTS, prices))
        scale = spec["layer"][0]["encoding"]["y"]["scale"]
        assert (scale.get("type") == "log") == log
        assert ("logarithmic" in " ".join(spec["title"]["subtitle"])) == log
        assert len(told(spec)) == 3 * len(prices)


def test_odd_tables() -> None:
    empty = cost_chart_spec([])
    assert {"name": "hint", "value": "no cost is known"} in empty["params"]
    vl_convert.vegalite_to_vega(empty)
    limited = cost_chart_spec(cost_rows([POINTS[0] | {"client_limited": True}], OWN), "ttft")
    assert "Grey square: limited by the client." in " ".join(limited["title"]["subtitle"])
    assert "limited by the client" in told(limited)[0]
    vectors = point(4, 0.0, 0.0, items_per_s=9.0, ttft_p50_ms=None, ttft_p95_ms=None,
                    e2e_p50_ms=50.0, e2e_p95_ms=80.0, input_per_output=None)  # fmt: skip
    of_vectors = cost_chart_spec(cost_rows([vectors], API), "ttft")
    assert "E2E latency p95: 80 ms" in told(of_vectors)[0]
    many = [Price.per_hour(hour) for hour in range(1, 9)]
    looks = {row["tone"] for row in cost_chart_spec(cost_rows(POINTS, many))["data"]["values"]}
    assert len(looks) == len(LOOKS)
    alike = cost_table(POINTS[:1], [API, API])
    assert alike["price"].tolist() == ["an API", "an API (2)"]
    assert len(told(cost_chart_spec(alike))) == 2  # the table will do


def test_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_charts, "as_altair", lambda spec, *_: spec)  # seconds to import
    run = Run([], [], {"model": "m", "endpoint": "e"}, price=OWN)
    run.rows = POINTS
    spec: Any = run.cost_chart(against="ttft", per="total")
    assert spec == cost_chart_spec(cost_rows(POINTS, OWN), "ttft", "total", "m at e")
    spec = run.cost_chart(iter([OWN, API]))
    assert spec == cost_chart_spec(cost_rows(POINTS, [OWN, API]), title="m at e")
    assert len(run.cost([OWN, API])) == 2 * len(run.cost()) == 6
    with pytest.raises(SettingsError, match="No price is set"):
        Run([], [], {}).cost_chart([])
    with pytest.raises(SettingsError, match=r"^against must be one of concurrency, ttft; got 'x'"):
        cost_chart(POINTS, OWN, "x")
    with pytest.raises(SettingsError, match=r"^per must be one of output, total, request"):
        cost_chart(POINTS, OWN, per="token")
