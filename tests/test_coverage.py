"""Intervals cover the truth; a part of ``python -m benchmarks coverage`` that takes no time."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from virtual import steady_run

from benchmarks.coverage import Searched, told
from benchmarks.virtual import Level
from tpwidgets.metrics.dependence import dependence
from tpwidgets.metrics.drift import settling
from tpwidgets.metrics.intervals import percentiles, pooled_percentiles
from tpwidgets.metrics.points import operating_point
from tpwidgets.workload.loads import Load
from tpwidgets.workload.rates import OpenLoad


def test_percentiles_of_requests_that_share_their_steps() -> None:
    """Each value is the mean of eight steps, seven of which it shares with the next."""
    rng = np.random.default_rng(1)
    alone, known = 0, 0
    for _ in range(200):
        values = np.convolve(rng.normal(size=167), np.ones(8), "valid")
        for at_once, hits in ((0.0, "alone"), (8.0, "known")):
            ((_, (lo, hi)),) = percentiles(values, [0.5], at_once)
            alone += hits == "alone" and lo <= 0 <= hi
            known += hits == "known" and lo <= 0 <= hi
    assert alone < 130
    assert 184 <= known <= 200


def test_gaps_of_requests_that_share_their_steps() -> None:
    rng = np.random.default_rng(1)
    hits = {0.0: 0, 8.0: 0}
    for _ in range(200):
        pace = np.convolve(rng.normal(10, 1, size=127), np.ones(8) / 8, "valid")
        gaps = np.repeat(pace, 5) + rng.normal(0, 0.1, size=600)
        one = [(gaps, np.full(120, 5))]
        for at_once in hits:
            ((_, (lo, hi)),) = pooled_percentiles(partial(iter, one), 600, [0.5], at_once)
            hits[at_once] += lo <= 10 <= hi
    assert hits[0.0] < 130
    assert 180 <= hits[8.0] <= 198


def test_what_is_independent_loses_nothing() -> None:
    rng = np.random.default_rng(2)
    series = [rng.exponential(size=150) for _ in range(200)]
    assert 0.9 < np.median([dependence(values, 8.0) for values in series]) < 1.4
    assert sum(settling(values) for values in series) <= 3
    assert settling(series[0] + np.linspace(0, 2, 150))
    assert not settling(np.ones(100))


def test_rates_of_users_who_know_nothing_of_each_other() -> None:
    """A quarter of their turns takes three times as long."""
    load = Load.of(8)
    points: list[Any] = []
    for seed in range(60):
        level = Level("bimodal", load, 8, seed)
        points.append(level.point(level.settled() + 10.0))
    turn_s = 0.25 * (0.400 + 63 * 0.025) + 0.75 * (0.120 + 63 * 0.010)
    for name, true in (("rps", 8 / turn_s), ("output_tps", 8 * 64 / turn_s)):
        covered, width, given = told(name, true, points)
        assert given == 100
        assert covered >= 90
        assert width < 15


def test_turns_that_are_all_alike_leave_no_doubt_wherever_they_are_cut_off() -> None:
    run = steady_run({16: 1.0}, 64, 32, ttft_s=0.2)
    point = operating_point(run.samples, run.windows[0])
    assert point["rps_lo"] <= 16 <= point["rps_hi"]
    assert point["rps_hi"] - point["rps_lo"] < 0.5


def test_users_who_end_together_are_counted_as_often_as_their_tokens() -> None:
    """32 users in step: a window that begins and ends on their ends has up to one end too many."""
    for seed in (1, 2, 3):
        level = Level("vllm-llama-70b", Load.of(32), 32, seed)
        point = level.point(level.settled() + 10.0)
        assert point["rps"] == pytest.approx(point["output_tps"] / 64, rel=0.03)
        assert point["rps_hi"] - point["rps_lo"] < 0.05 * point["rps"]
        # five turns are too few independent values for ranks, but they tell something
        assert point["ttft_p50_ms_lo"] < point["ttft_p50_ms"] < point["ttft_p50_ms_hi"]
        assert point["ttft_p95_ms_lo"] is None


def test_requests_in_flight_when_a_run_is_stopped_are_no_fewer_requests_per_second() -> None:
    run = steady_run({16: 1.0}, 64, 32, ttft_s=0.2)
    window = replace(run.windows[0], end_s=run.windows[0].end_s - 1.0)
    cut = [
        replace(s, status="stopped", ended_ms=1000 * (window.end_s - s.sent_s))
        if s.sent_s < window.end_s < s.ended_s else s
        for s in run.samples if s.sent_s < window.end_s
    ]  # fmt: skip
    assert any(s.status == "stopped" for s in cut)
    assert operating_point(cut, window)["rps"] == pytest.approx(16, rel=0.02)


def test_an_open_loops_rate_is_as_uncertain_as_its_arrivals_are() -> None:
    level = Level("lognormal", OpenLoad.of(20), 20, 1)
    level.start = level.settled() + 5.0
    point = level.point(level.start + 20.0)
    half = (point["rps_hi"] - point["rps_lo"]) / 2
    assert half == pytest.approx(1.96 * np.sqrt(20 / 20.0), rel=0.25)  # Poisson's


def test_a_search_finds_the_level_at_a_fraction_of_a_grids_requests() -> None:
    found = Searched(300, 1)
    at, sure, surely_not, used = found.search(1)
    assert 12 <= at <= 15
    assert sure <= 13 < surely_not
    assert used < 2000  # of a grid's 30,000
