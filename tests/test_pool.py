"""Repeats pooled by request: exact where that can be told by hand, refused where they are none."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sampled import closed_loop
from virtual import closed_loop_run, steady_run

import tpwidgets as tp
from tpwidgets.metrics.intervals import percentile
from tpwidgets.metrics.pooled import pooled_interval, unlike
from tpwidgets.run import Run
from tpwidgets.samples import Window
from tpwidgets.use_cases.service import Curve


def day(number: int, seconds: float = 20.0, level: int = 4, **loop: Any) -> Run:
    """A run of one level, as another day brings it; its clock begins somewhere."""
    samples = closed_loop(level, seconds + 5, seed=number, **loop)
    ids = [replace(s, request_id=f"{number}-{i}") for i, s in enumerate(samples)]
    date = f"2026-11-0{number}T10:00:00+01:00"
    conditions = {"model": "m", "endpoint": "e", "date": date, "notes": []}
    return Run(ids, [Window(level, 2.0, 2.0 + seconds, float(level))], conditions)


def inside(run: Run) -> list[Any]:
    window = run.windows[0]
    return [s for s in run.samples if window.start_s < s.ended_s <= window.end_s]


def test_requests_are_pooled_and_percentiles_never_averaged() -> None:
    days = [day(1, 30.0), day(2, 10.0, ttft=400.0), day(3, 20.0)]
    pooled = tp.pool(days)
    (row,) = pooled.rows
    ttft = np.array([s.ttft_ms for run in days for s in inside(run)])
    assert row["n"] == ttft.size == sum(run.rows[0]["n"] for run in days)
    for label, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert row[f"ttft_{label}_ms"] == pytest.approx(percentile(ttft, p), rel=1e-9)
    assert row["window_s"] == pytest.approx(60)
    spans = [run.rows[0]["rates_end_s"] - run.rows[0]["rates_start_s"] for run in days]
    for name in ("output_tps", "rps", "input_tps", "total_tps"):
        counted = sum(run.rows[0][name] * s for run, s in zip(days, spans, strict=True))
        assert row[name] == pytest.approx(counted / sum(spans), rel=1e-6), name
    assert row["in_flight_mean"] == pytest.approx(4)
    assert len(pooled.samples) == sum(len(run.samples) for run in days)
    assert pooled.conditions["dates"] == [run.conditions["date"] for run in days]
    assert "3 runs, 2026-11-01 10:00 to 2026-11-03 10:00" in pooled.conditions_line
    assert "3 runs pooled" in pooled.conditions["notes"]


def test_a_run_shifted_on_the_clock_is_the_same_run() -> None:
    """The second of two has the figures that it has alone."""
    first, second = day(1), day(2)
    only = tp.pool([replace(first, windows=[]), second])
    (row,), (alone,) = only.rows, second.rows
    moved = {name for name in row if name.endswith(("start_s", "end_s"))} | {"note"}
    for name in row.keys() - moved:
        same = row[name] == alone[name] or row[name] == pytest.approx(alone[name], rel=1e-4)
        assert same, name
    assert row["note"] == "measured in 1 of 2 runs"


def test_levels_limits_files_and_pools_of_pools(tmp_path: Any) -> None:
    both = [closed_loop_run("vllm-llama-70b", levels, 256, 32, 8.0) for levels in ((1, 4), (4, 8))]
    for number, run in enumerate(both):
        run.samples = [replace(s, request_id=f"{number} {s.request_id}") for s in run.samples]
    pooled = tp.pool(both)
    assert [row["concurrency"] for row in pooled.rows] == [1, 4, 8]
    assert [len(window.spans) for window in pooled.windows] == [1, 2, 1]
    judged = pooled.with_limits({"ttft_p50_ms": 1000})
    ended = [w for run in both for w in run.windows if w.concurrency == 4]
    assert judged.rows[1]["slo_attainment"] == 1
    assert judged.rows[1]["goodput_rps"] == pytest.approx(judged.rows[1]["rps"])
    assert judged.rows[1]["window_s"] == pytest.approx(sum(w.end_s - w.start_s for w in ended))
    back = tp.load(judged.save(tmp_path / "pooled.json"))
    assert back.windows == judged.windows
    assert back.rows == judged.rows
    third = day(3, level=4)
    third.conditions = both[0].conditions
    again = tp.pool([pooled, third])
    assert again.rows[1]["n"] == pooled.rows[1]["n"] + third.rows[0]["n"]
    assert len(again.windows[1].parts) == 3
    assert again.answer()
    assert "1" in repr(again)


def test_what_are_no_repeats_is_refused() -> None:
    one, two = day(1), day(2)
    with pytest.raises(tp.SettingsError, match=r"^pool needs at least two runs"):
        tp.pool([one])
    with pytest.raises(tp.SettingsError, match="the same requests"):
        tp.pool([one, one])
    with pytest.raises(tp.SettingsError, match="different limits"):
        tp.pool([one, two.with_limits({"ttft_p95_ms": 5})])
    two.conditions |= {"model": "n", "platform": "Mars"}
    with pytest.raises(tp.SettingsError) as refused:
        tp.pool([one, two], despite=("platform",))
    assert "model: 'm' or 'n'" in str(refused.value)
    assert "platform" not in str(refused.value)
    with pytest.raises(tp.SettingsError, match=r"pass despite=\('model', 'platform'\)"):
        tp.pool([one, two])
    told = tp.pool([one, two], despite=("model", "platform")).conditions["notes"]
    assert "pooled despite model: 'm' or 'n'" in told


def test_an_interval_is_as_wide_as_the_runs_differ() -> None:
    equal = np.full(3, 10.0)
    # alike: what varied within them, over √3
    low, high = pooled_interval(np.array([100.0, 100.0, 100.0]), [6.0, 6.0, 6.0], equal)
    assert (low, high) == pytest.approx((100 - 6 / 3**0.5, 100 + 6 / 3**0.5))
    # unlike: Student's t of two degrees (4.303) · s / √3
    low, high = pooled_interval(np.array([90.0, 100.0, 110.0]), [6.0, None, 6.0], equal)
    assert high - 100 == pytest.approx(4.303 * 10 / 3**0.5, rel=1e-3)
    assert pooled_interval(np.zeros(2), [None, None], np.zeros(2)) == (None, None)


@pytest.mark.parametrize("between", [0.0, 1.0, 3.0])
def test_intervals_cover_what_they_should(between: float) -> None:
    rng = np.random.default_rng(int(between))
    hits, tries = 0, 1000
    for _ in range(tries):
        rates = 100 + rng.normal(0, between, 4) + rng.normal(0, 1, 4)
        low, high = pooled_interval(rates, [1.96] * 4, np.full(4, 10.0))
        hits += bool(low is not None and high is not None and low <= 100 <= high)
    assert hits >= 0.94 * tries


def test_runs_that_differ_beyond_chance_are_told() -> None:
    steady = {"output_tps": 100.0, "output_tps_hi": 104.0}
    assert unlike([steady, {"output_tps": 102.0, "output_tps_hi": 106.0}]) == []
    assert unlike([steady, {"output_tps": None, "output_tps_hi": None}]) == []
    other = {"output_tps": 120.0, "output_tps_hi": 124.0}
    assert unlike([steady, other]) == ["the runs differ beyond chance: 100 to 120 tokens/s"]
    pooled = tp.pool([day(1, gap=10.0), day(2, gap=14.0)])
    assert "the runs differ beyond chance" in pooled.rows[0]["note"]
    fast, slow = (steady_run({2: e2e_s}, 256, 32) for e2e_s in (0.5, 0.5))
    slow.samples = [replace(s, request_id=f"again {s.request_id}") for s in slow.samples]
    (row,) = tp.pool([fast, slow]).rows
    assert "differ" not in row["note"]


def test_an_open_loop_is_pooled_by_its_rate() -> None:
    def opened(number: int) -> Run:
        run = day(number)
        run.samples = [
            replace(s, rate=2.0, scheduled_s=s.sent_s - 0.01, dispatched_s=s.sent_s)
            for s in run.samples
        ]
        run.windows = [replace(run.windows[0], concurrency=0, rate=2.0)]
        return run

    days = [opened(1), opened(2)]
    (row,) = tp.pool(days).rows
    assert (row["rate"], row["concurrency"]) == (2.0, 4)
    sent = [run.rows[0]["sent_rps"] for run in days]
    assert row["sent_rps"] == pytest.approx(sum(sent) / 2)
    assert row["ttft_from_scheduled_p50_ms"] == pytest.approx(row["ttft_p50_ms"] + 10)
    assert not row["queue_grows"]


def test_what_was_pooled_foretells_other_loads_as_its_parts_do() -> None:
    """Each level's own requests count, not those of other levels that ran between its parts."""
    levels = {4: 2.0, 16: 4.0, 64: 10.0}
    once = steady_run(levels, 100, 20)
    again = replace(
        once, samples=[replace(s, request_id=f"again-{s.request_id}") for s in once.samples]
    )
    alone, both = Curve.of(once), Curve.of(tp.pool([once, again]))
    assert alone is not None
    assert both is not None
    assert both.e2e_s == pytest.approx(alone.e2e_s)
