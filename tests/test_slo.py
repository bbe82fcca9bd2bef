"""Limits: what is accepted, what a point is judged to do, and how sure that is."""

from array import array
from itertools import repeat
from math import comb

import numpy as np
import pytest

import tpwidgets as tp
from tpwidgets.metrics.ledger import Columns, Ledger
from tpwidgets.metrics.shares import share_interval, share_test
from tpwidgets.metrics.slo import Limits, assess
from tpwidgets.samples import Sample

pytestmark = pytest.mark.quick


def judged(limits: dict[str, float], ttfts: list[float], failed: int = 0) -> dict[str, object]:
    """Judge requests of three tokens, 20 ms apart."""
    samples = [
        Sample(str(i), 0, 1, token_ms=array("d", [ms, ms + 20, ms + 40]), output_tokens=3)
        for i, ms in enumerate(ttfts)
    ]
    checked = Limits.of(limits)
    assert checked is not None
    return assess(checked, Ledger(samples).since(-1.0), failed, 1.0)


def test_kept_and_broken_beyond_doubt() -> None:
    kept = judged({"ttft_p95_ms": 500}, [100.0] * 100)
    assert (kept["limits_hold"], kept["limits_sure"], kept["limits_note"]) == (True, True, "")
    assert kept["slo_attainment"] == 1.0

    broken = judged({"ttft_p95_ms": 50, "tpot_p50_ms": 30}, [100.0] * 20)
    assert (broken["limits_hold"], broken["limits_sure"]) == (False, True)
    assert broken["limits_note"] == "TTFT p95 is 100 ms, above 50 ms"
    assert broken["slo_attainment"] == 0.0


def test_far_below_its_limits() -> None:
    assert judged({"ttft_p95_ms": 170, "tpot_p50_ms": 40}, [100.0] * 5)["limits_far"] is True
    assert judged({"ttft_p95_ms": 150, "tpot_p50_ms": 40}, [100.0] * 5)["limits_far"] is False
    assert judged({"ttft_p95_ms": 170, "tpot_p50_ms": 30}, [100.0] * 5)["limits_far"] is False
    assert judged({"ttft_p95_ms": 170}, [100.0] * 5, failed=5)["limits_far"] is False


def test_few_requests_leave_doubt() -> None:
    few = judged({"ttft_p95_ms": 500}, [100.0] * 20)  # 0.95^20 = 36 %: it may well be chance
    assert (few["limits_hold"], few["limits_sure"]) == (True, False)
    one_late = judged({"ttft_p95_ms": 500}, [*repeat(100.0, 17), 600.0, 600.0])
    assert (one_late["limits_hold"], one_late["limits_sure"]) == (False, False)


def waves(rounds: int, users: int, late: float, seed: int) -> Columns:
    """Users in lock-step: each wave is late as a whole, or not at all."""
    rng = np.random.default_rng(seed)
    samples = [
        Sample(f"{turn}-{user}", user, users, sent_s=float(turn), token_ms=array("d", [ms]))
        for turn, ms in enumerate(np.where(rng.random(rounds) < late, 900.0, 100.0).tolist())
        for user in range(users)
        for ms in [ms + float(rng.uniform(0, 50))]
    ]
    for sample in samples:
        sample.ended_ms = 950.0
    return Ledger(samples).since(-1.0)


@pytest.mark.parametrize("rounds", [5, 10, 20])
def test_requests_that_share_their_fate_are_few(rounds: int) -> None:
    """6 % of waves are late: who saw none of these isn't sure that 95 % of requests keep it."""
    limits = Limits.of({"ttft_p95_ms": 500})
    assert limits is not None
    surely = [
        assess(limits, waves(rounds, 64, 0.06, seed), 0, 64.0)["limits_sure"] for seed in range(100)
    ]
    kept = [
        assess(limits, waves(rounds, 64, 0.06, seed), 0, 64.0)["limits_hold"] for seed in range(100)
    ]
    assert sum(s and k for s, k in zip(surely, kept, strict=True)) <= 8


def test_what_no_request_has_is_not_judged() -> None:
    one = [Sample("a", 0, 1, token_ms=array("d", [100.0]), output_tokens=1)]
    limits = Limits.of({"ttft_p95_ms": 500, "tpot_p95_ms": 50})
    assert limits is not None
    alone = assess(limits, Ledger(one).since(-1.0), 0, 1.0)
    assert (alone["limits_hold"], alone["limits_sure"]) == (None, None)
    assert alone["limits_note"] == "no request has a TPOT to be judged by"
    broken = assess(limits, Ledger(one).since(-1.0), 9, 1.0)
    assert broken["limits_hold"] is False
    assert broken["limits_note"] == "90 % of requests failed, more than 1 %"
    free = Limits.of({"ttft_p95_ms": 500, "error_rate": 1.0})
    assert free is not None
    assert assess(free, Ledger([]).since(-1.0), 5, 1.0)["limits_hold"] is None


def test_a_growing_queue_keeps_no_limit() -> None:
    limits = Limits.of({"ttft_p95_ms": 500})
    assert limits is not None
    samples = [Sample(str(i), 0, 1, token_ms=array("d", [100.0])) for i in range(90)]
    grown = assess(limits, Ledger(samples).since(-1.0), 0, 1.0, growing=True)
    assert (grown["limits_hold"], grown["limits_sure"]) == (False, True)
    assert grown["limits_note"] == "a queue grows"


def test_a_limit_is_written_to_its_last_digit() -> None:
    limits = Limits.of({"ttft_p95_ms": 1250, "tpot_p50_ms": 12.5})
    assert limits is not None
    assert limits.text == "TTFT p95 ≤ 1.25 s, TPOT p50 ≤ 12.5 ms, errors ≤ 1 %"
    barely = judged({"ttft_p50_ms": 500}, [500.4] * 9)
    assert barely["limits_note"] == "TTFT p50 is 500.4 ms, above 500 ms"


def test_every_limit_counts() -> None:
    """What is broken is told, and a request is good only if it meets them all."""
    both = judged({"ttft_p50_ms": 50, "tpot_p50_ms": 10, "e2e_p99_ms": 1000}, [100.0] * 40)
    assert both["limits_note"] == (
        "TTFT p50 is 100 ms, above 50 ms; TPOT p50 is 20 ms, above 10 ms"
    )
    mixed = judged(
        {"ttft_p50_ms": 100, "e2e_p50_ms": 145}, [*repeat(100.0, 30), *repeat(120.0, 10)]
    )
    assert mixed["limits_hold"] is True
    assert mixed["slo_attainment"] == 0.75
    # the widest limit on a latency is what a single request is held to
    tail = judged(
        {"ttft_p50_ms": 100, "ttft_p99_ms": 130}, [*repeat(100.0, 30), *repeat(120.0, 10)]
    )
    assert tail["slo_attainment"] == 1.0


def test_failures_are_misses() -> None:
    some = judged({"ttft_p95_ms": 500}, [100.0] * 90, failed=10)
    assert some["slo_attainment"] == 0.9
    assert (some["limits_hold"], some["limits_sure"]) == (False, True)
    assert some["limits_note"] == "10 % of requests failed, more than 1 %"
    allowed = judged({"ttft_p95_ms": 500, "error_rate": 0.2}, [100.0] * 90, failed=10)
    assert allowed["limits_hold"] is True
    assert judged({"ttft_p95_ms": 500}, [], failed=3)["limits_hold"] is False
    assert judged({"ttft_p95_ms": 500}, []) == {}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"ttft": 5}, "limit 'ttft' is not known"),
        ({"ttft_p0_ms": 5}, "limit 'ttft_p0_ms' is not known"),
        ({"ttft_p99.99_ms": 5}, "limit 'ttft_p99.99_ms' is not known"),
        ({"ttft_p95_ms": 0}, "ttft_p95_ms must be a number of ms above 0"),
        ({"ttft_p95_ms": "5"}, "ttft_p95_ms must be a number"),
        ({"ttft_p95_ms": float("nan")}, "ttft_p95_ms must be a number"),
        ({"error_rate": 2}, "error_rate must be from 0 to 1"),
        ([5], "limits must be a dict"),
    ],
)
def test_what_is_refused(limits: dict[str, float], said: str) -> None:
    with pytest.raises(tp.SettingsError, match=said):
        Limits.of(limits)


def test_what_is_accepted() -> None:
    assert Limits.of(None) is None
    assert Limits.of({}) is None
    limits = Limits.of({"ttft_p95_ms": 500, "e2e_p99.9_ms": 20_000})
    assert limits is not None
    assert Limits.of(limits) is limits
    assert Limits.of(limits.bounds) == limits
    assert limits.text == "TTFT p95 ≤ 0.5 s, E2E latency p99.9 ≤ 20 s, errors ≤ 1 %"


@pytest.mark.parametrize("n", [1, 12, 59, 72, 200])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_share_is_tested_exactly(n: int, share: float) -> None:
    def chance(low: int, high: int) -> float:
        return sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(low, high + 1))

    for met in range(n + 1):
        expected = None
        if met > n * share and chance(met, n) < 0.025:
            expected = True
        elif met <= n * share and chance(0, met) < 0.025:
            expected = False
        assert share_test(met, n, share) is expected, (met, n)


def test_a_share_of_very_many() -> None:
    assert share_test(96_000, 100_000, 0.95) is True
    assert share_test(94_000, 100_000, 0.95) is False
    assert share_test(95_010, 100_000, 0.95) is None
    assert share_test(0, 0, 0.95) is None


def test_the_interval_of_a_share() -> None:
    """Wilson's, as published tables have it: 81 of 263 gives 0.2553 to 0.3662."""
    lo, hi = share_interval(81, 263)
    assert (round(lo, 4), round(hi, 4)) == (0.2553, 0.3662)
    assert share_interval(5, 5)[1] == 1.0
    assert share_interval(0, 5)[0] == 0.0
