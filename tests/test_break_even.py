"""Own hardware against an API: figures by hand, and what is said where there is no such point."""

from types import SimpleNamespace
from typing import Any

import pytest
import vl_convert

import tpwidgets as tp
from tpwidgets.charts import breakeven as breakeven_chart
from tpwidgets.charts.breakeven import break_even_spec
from tpwidgets.cost.breakeven import BreakEven, break_even
from tpwidgets.errors import SettingsError
from tpwidgets.metrics.slo import Limits

# $240 a day; half of the day as busy as measured
OWN = tp.Price.per_hour(2.5, replicas=4, utilisation=0.5, name="4 H100")
API = tp.Price.per_token(10.0, 2.5, name="an API")  # 10 + 4 · 2.50 = $20 per 1M output tokens


def point(concurrency: int, tps: float, ttft: float, **changed: Any) -> dict[str, Any]:
    return {
        "concurrency": concurrency, "n": 50, "output_tps": tps, "ttft_p95_ms": ttft,
        "billed_output_tokens": 5_000, "input_per_output": 4.0,
    } | changed  # fmt: skip


POINTS = point(4, 100.0, 200.0), point(16, 500.0, 320.0), point(64, 1000.0, 1700.0)
# in half a day: 4.32 M, 21.6 M and 43.2 M output tokens


def found(
    own: tp.Price = OWN, api: tp.Price = API, tokens: float | None = None, points: Any = POINTS,
    limits: Any = None,
) -> BreakEven:  # fmt: skip
    run = SimpleNamespace(rows=list(points), limits=limits)
    return break_even(run, own, api, tokens)  # type: ignore[arg-type]


def test_by_hand() -> None:
    table = found().table
    assert table["own_usd_per_day"].tolist() == [240.0] * 3
    assert table["api_usd_per_1m_output_tokens"].tolist() == [20.0] * 3
    # 10 / (tps · 0.5 · 3600) · 1e6
    assert table["own_usd_per_1m_output_tokens"].round(2).tolist() == [55.56, 11.11, 5.56]
    assert table["from_output_tokens_per_day"].tolist() == pytest.approx([12e6] * 3)
    assert table["from_requests_per_day"].tolist() == pytest.approx([120e3] * 3)
    assert table["most_output_tokens_per_day"].tolist() == pytest.approx([4.32e6, 21.6e6, 43.2e6])
    assert table["reachable"].tolist() == [False, True, True]
    assert found().answer == (
        "From 12 M output tokens a day (120 k requests) on, own hardware (4 H100, $2.50 per hour × "
        "4 replicas, busy 50 % of the time) costs less than the API (an API, $20.00 per 1M output "
        "tokens with their input); 16 concurrent with TTFT p95 320 ms is enough for that; "
        "at most it makes 43.2 M a day, at 64 concurrent with TTFT p95 1.7 s."
    )


def test_a_volume() -> None:
    asked = found(tokens=100e6)  # more than two such systems make
    assert asked.table["systems"].tolist() == [24, 5, 3]
    assert asked.table["own_usd"].tolist() == [5760.0, 1200.0, 720.0]
    assert asked.table["api_usd"].tolist() == pytest.approx([2000.0] * 3)
    assert asked.answer.startswith(
        "100 M output tokens a day cost $720 on own hardware (3 such systems, each at 64 "
        "concurrent with TTFT p95 1.7 s) and $2,000 at the API: own hardware is cheaper by $1,280. "
        "From 12 M output"
    )
    assert found(tokens=2e6).answer.startswith(
        "2 M output tokens a day cost $240 on own hardware (one such system at 4 concurrent with "
        "TTFT p95 200 ms) and $40.00 at the API: the API is cheaper by $200. "
    )


def test_an_open_loop_is_told_by_its_rate() -> None:
    arriving = [point(5, 500.0, 320.0, rate=2.5), point(4, 100.0, 200.0, rate=0.5)]
    assert "; 2.5 requests/s with TTFT p95 320 ms is enough" in found(points=arriving).answer
    assert found(points=arriving).table["rate"].tolist() == [2.5, 0.5]


def test_where_there_is_no_such_point() -> None:
    never = found(api=tp.Price.per_token(1.0, 0.25))  # $2 per 1M: from 120 M a day on
    assert never.first is None
    assert never.answer == (
        "Own hardware (4 H100, $2.50 per hour × 4 replicas, busy 50 % of the time) never costs "
        "less than the API ($2.00 per 1M output tokens with their input): at most it makes 43.2 M "
        "a day, at 64 concurrent with TTFT p95 1.7 s, which is $5.56 per 1M."
    )
    free = tp.Price.per_token(0.0)
    assert found(api=free).answer.endswith(" never pays: the API costs nothing.")
    assert found(api=free).table["from_output_tokens_per_day"].tolist() == [float("inf")] * 3
    given = tp.Price.per_hour(0.0)
    assert found(given).answer == (
        "Own hardware costs nothing, and so less from the first token on; "
        "at most it makes 86.4 M a day, at 64 concurrent with TTFT p95 1.7 s."
    )
    assert found(given, free).answer == "Both cost nothing."
    unknown = found(points=[point(4, 100.0, 200.0, input_per_output=None)])
    assert unknown.answer.startswith("No break-even: at no level both")
    assert found(points=[]).answer == unknown.answer
    assert len(found(points=[]).table) == 0


BAD = [{"client_limited": True}, {"provisional": True}, {"error_rate": 0.5}, {"queue_grows": True}]


@pytest.mark.parametrize("flaw", BAD)
def test_points_that_nobody_would_run_at_decide_nothing(flaw: dict[str, Any]) -> None:
    limited = found(points=[*POINTS, point(256, 9000.0, 90.0, **flaw)])
    assert limited.answer == found().answer
    assert limited.table["usable"].tolist() == [True] * 3 + [False]
    assert found(points=[point(256, 9000.0, 90.0, **flaw)]).answer.startswith(
        "No break-even: at each level requests fail"
    )


def test_levels_that_break_limits_decide_nothing() -> None:
    limits = Limits.of({"ttft_p95_ms": 500})
    judged = [each | {"limits_hold": each["ttft_p95_ms"] <= 500} for each in POINTS]
    kept = found(points=judged, limits=limits)
    assert kept.best == kept.rows[1]
    assert kept.answer.endswith(
        "at most one system makes 21.6 M a day, at 16 concurrent with TTFT p95 320 ms. "
        "Only levels that keep TTFT p95 ≤ 0.5 s, errors ≤ 1 % are looked at."
    )
    assert found(points=judged[2:], limits=limits).answer == (
        "No break-even: no level keeps TTFT p95 ≤ 0.5 s, errors ≤ 1 %."
    )


@pytest.mark.parametrize(
    ("usd", "systems", "said"),
    [
        # 800 tokens/s make 69.12 M a day, for $240
        (4.34, 5, "From 55.3 M (553 k requests) to 69.1 M output tokens a day, and again from 27"),
        (6.0, 2, "From 40 M (400 k requests) to 69.1 M output tokens a day, and again from 80 M"),
        (240 / 34.56, 1, "From 34.6 M output tokens a day (346 k requests) on, own hardware"),
        (3.0, 0, "Own hardware ($10.00 per hour) never costs less"),
    ],
)  # fmt: skip
def test_no_more_is_claimed_than_holds_for_each_volume(usd: float, systems: int, said: str) -> None:
    one = [point(16, 800.0, 320.0)]
    own, api = tp.Price.per_hour(10.0), tp.Price.per_token(usd)
    told = found(own, api, points=one)
    assert told.systems_for_good == systems
    assert told.answer.startswith(said)
    assert ("in between only where" in told.answer) == (systems > 2)
    row, starts = told.rows[0], [mark["tokens"] for mark in break_even_spec(told)["layer"][1]
                                 ["data"]["values"]]  # fmt: skip
    crossing, most = row["from_output_tokens_per_day"], row["most_output_tokens_per_day"]
    pays = []
    for tokens in (1e5 * i for i in range(1, 6000)):
        asked = found(own, api, tokens, one)
        cheaper = "own hardware is cheaper" in asked.answer
        needed = -(-tokens // most)
        assert cheaper == (tokens > needed * crossing), tokens
        if cheaper and (not pays or not pays[-1]):
            assert any(0 <= tokens - start <= 1e5 for start in starts) or tokens > 3 * crossing
        if systems and tokens > systems * crossing:
            assert cheaper
        pays.append(cheaper)
    assert any(pays) == bool(systems)


@pytest.mark.parametrize(
    ("own", "api", "tokens", "said"),
    [
        (API, API, None, "own must be a price by the hour"),
        (OWN, OWN, None, "api must be a price by the token"),
        (OWN, API, 0, "tokens_per_day must be a number above 0"),
    ],
)
def test_what_is_no_comparison_is_refused(
    own: tp.Price, api: tp.Price, tokens: float | None, said: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{said}"):
        tp.break_even(SimpleNamespace(rows=[], limits=None), own, api, tokens)


def test_the_chart_steps_up_where_another_system_is_needed() -> None:
    spec = break_even_spec(found(tokens=50e6))
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in spec["data"]["values"]:
        lines.setdefault(row["who"], []).append((row["tokens"] / 1e6, row["usd"]))
    drawn = {who: [(round(x, 6), round(y, 6)) for x, y in line] for who, line in lines.items()}
    assert drawn == {
        "own hardware": [(0, 240), (43.2, 240), (43.2, 480), (60, 480)],
        "API": [(0, 0), (60, 1200)],
    }
    marks = spec["layer"][1]["data"]["values"]
    assert [mark["tokens"] for mark in marks] == pytest.approx([12e6, 50e6])
    assert "API: an API; usage billed in" in " ".join(spec["title"]["subtitle"])
    vl_convert.vegalite_to_vega(spec)
    assert break_even_spec(found(points=[]))["data"]["values"] == []


def test_own_hardware_that_costs_nothing_is_drawn_as_far_as_it_goes() -> None:
    spec = break_even_spec(found(tp.Price.per_hour(0.0)))
    assert max(row["tokens"] for row in spec["data"]["values"]) == pytest.approx(1.2 * 86.4e6)
    assert spec["layer"][1]["data"]["values"] == []


def test_it_shows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakeven_chart, "as_altair", lambda spec, *_: spec)  # seconds to import
    asked = found(tokens=50e6)
    assert asked.chart() == break_even_spec(asked)
    assert repr(asked) == asked.answer
