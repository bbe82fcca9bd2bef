"""Intervals hold what they promise: how often they cover the truth."""

from functools import partial

import numpy as np
import pytest
from sampled import closed_loop

from tpwidgets.metrics.intervals import (
    firm,
    percentiles,
    pooled_percentiles,
    rate_interval,
    turns_interval,
)
from tpwidgets.metrics.points import operating_point
from tpwidgets.samples import Window


def percentile_interval(values, p):
    ((_, interval),) = percentiles(values, [p])
    return interval


@pytest.mark.parametrize("n", [9, 20, 50])
def test_percentile_interval_covers_however_few_and_however_skewed(n):
    """Between whole ranks alone the median of 9 is in 96.1 %, of 20 in 95.9 %, of 50 in 96.7 %."""
    rng = np.random.default_rng(7)
    skewed = rng.exponential(size=(2000, n))
    slow = np.where(rng.random((2000, n)) < 0.25, 4.0, 1.0) * rng.normal(1, 0.1, size=(2000, n))
    for drawn, true in ((skewed, np.log(2)), (slow, np.quantile(slow, 0.5))):
        intervals = np.array([percentile_interval(values, 0.5) for values in drawn])
        hits = (intervals[:, 0] <= true) & (true <= intervals[:, 1])
        assert 0.935 <= hits.mean() <= 0.965


@pytest.mark.parametrize(("p", "needed"), [(0.5, 6), (0.95, 59), (0.99, 299)])
def test_percentile_interval_needs_enough_values(p, needed):
    assert percentile_interval(np.arange(needed - 1), p) == (None, None)
    lo, hi = percentile_interval(np.arange(needed), p)
    assert lo < p * (needed - 1) < hi


def test_percentile_interval_ranks_by_hand():
    # Hahn & Meeker: n = 50, median: the 18th and 33rd value cover 96.7 %, the 19th and 32nd 93.5 %
    lo, hi = percentile_interval(np.arange(1, 51), 0.5)
    assert 18 < lo < 19
    assert lo + hi == pytest.approx(51)
    # Nyblom: λ = 1 / (1 + r (1 − p)(π[r+1] − α/2) / ((n − r) p (α/2 − π[r]))), by hand
    below, above = 0.0164196, 0.0324543
    between = 1 / (1 + 18 * (above - 0.025) / (32 * (0.025 - below)))
    assert lo == pytest.approx(18 + between, abs=1e-3)
    lo, hi = percentile_interval(np.arange(1, 10_001), 0.5)  # beyond the exact table
    assert (5000 - lo, hi - 5000) == pytest.approx((98, 99), abs=2)


@pytest.mark.parametrize(
    ("n", "p", "expected"),
    [(19, 0.5, False), (20, 0.5, True), (200, 0.95, True), (999, 0.99, False)],
)
def test_firm(n, p, expected):
    assert firm(n, p) is expected


def in_blocks(values, each, requests):
    """Values of requests that have `each`, so many requests a block."""
    for i in range(0, len(values), each * requests):
        block = values[i : i + each * requests]
        yield block, np.full(len(block) // each, each)


def test_pooled_percentiles_know_that_a_request_resembles_itself():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        pace = np.repeat(rng.normal(10, 1, size=40), 50)  # a request's gaps share their pace
        gaps = pace + rng.normal(0, 0.2, size=pace.size)
        ((_, (lo, hi)),) = pooled_percentiles(partial(in_blocks, gaps, 50, 7), 2000, [0.5])
        hits += lo <= 10 <= hi
    assert 0.90 <= hits / 300 <= 0.99  # as independent values they would cover about 20 %


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_rate_interval_covers_correlated_counts(phi):
    rng = np.random.default_rng(5)
    hits, width = 0, 0.0
    for _ in range(400):
        noise = rng.normal(size=220)
        x = np.zeros(220)
        for i in range(1, 220):
            x[i] = phi * x[i - 1] + noise[i]
        lo, hi = rate_interval(50 + x[100:], 0.5)
        hits += lo <= 100 <= hi
        width += (hi - lo) / 400
    assert 0.87 <= hits / 400 <= 0.99
    assert width == pytest.approx(2 * 3.92 / np.sqrt(120) / (1 - phi), rel=0.3)


def test_rate_interval_covers_a_closed_loop():
    def points(seeds):
        return [operating_point(closed_loop(4, 30, seed=s), Window(4, 2.0, 30.0)) for s in seeds]

    known, tried = points(range(60)), points(range(60, 160))
    for rate in ("output_tps", "rps"):
        truth = np.mean([p[rate] for p in known])
        hits = sum(p[f"{rate}_lo"] <= truth <= p[f"{rate}_hi"] for p in tried)
        assert 90 <= hits <= 100


def test_turns_interval_covers_a_closed_loop_whose_turns_are_alike():
    """Bursts that repeat with every turn are no uncertainty; what differs from turn to turn is."""
    hits, widths = 0, []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        spans = 2.5 + 0.05 * rng.standard_normal(6)  # everybody's turns: the loop is in step
        amounts = 4000 + 100 * rng.standard_normal(6)
        rate, length = float(amounts.sum() / spans.sum()), float(spans.sum())
        lo, hi = turns_interval(np.tile(amounts, 4), np.tile(spans, 4), 4, rate, length)
        hits += lo <= 4000 / 2.5 <= hi
        widths.append((hi - lo) / 2 / rate)
    assert 0.90 <= hits / 300 <= 0.99
    assert np.mean(widths) < 0.05
    assert turns_interval(np.ones(4), np.ones(4), 2, 1.0, 2.0) == (None, None)


def test_rate_interval_is_deterministic():
    counts = np.random.default_rng(1).poisson(5, 120)
    assert rate_interval(counts, 0.5) == rate_interval(counts, 0.5)
    assert rate_interval(np.full(120, 3), 0.5) == (6.0, 6.0)
    assert rate_interval(np.zeros(120), 0.5) == rate_interval([1, 2], 0.5) == (None, None)
