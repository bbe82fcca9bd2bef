"""The metrics against closed loops whose truth is known by construction."""

import tracemalloc

import numpy as np
import pytest
from sampled import closed_loop, request

from tpwidgets.metrics import arrivals
from tpwidgets.metrics import ledger as ledger_module
from tpwidgets.metrics.ledger import Ledger
from tpwidgets.metrics.points import operating_point, precise_enough
from tpwidgets.samples import Window


def test_closed_loop_with_known_truth():
    point = operating_point(closed_loop(16, 60), Window(16, 0.0, 60.0, in_flight_mean=16.0))
    cycle_s = (200 * np.exp(0.02) + 100 * 10) / 1000
    assert point["rps"] == pytest.approx(16 / cycle_s, rel=0.03)
    assert point["output_tps"] == pytest.approx(16 * 101 / cycle_s, rel=0.03)
    assert point["output_tps_lo"] < 16 * 101 / cycle_s < point["output_tps_hi"]
    assert point["ttft_p50_ms_lo"] < 200 < point["ttft_p50_ms_hi"]
    assert point["tpot_p50_ms"] == pytest.approx(10, rel=0.02)
    assert point["user_tps_p50_lo"] < point["user_tps_p50"] < point["user_tps_p50_hi"]
    assert point["ttft_p95_firm"]
    assert not point["ttft_p99_firm"]
    assert precise_enough(point)
    assert not precise_enough(point, target=0.0001)


def test_a_provisional_rate_is_not_low_for_want_of_what_is_in_flight():
    samples = closed_loop(16, 60)
    seen = [s for s in samples if s.ended_s <= 8.0]
    seen.append(request(0.0, slot=40, concurrency=16))  # left over from a higher level
    now = operating_point(seen, Window(16, 4.0, 8.0), provisional=True)
    final = operating_point(samples, Window(16, 4.0, 60.0))
    naive = operating_point(seen, Window(16, 4.0, 8.0))
    assert now["output_tps"] == pytest.approx(final["output_tps"], rel=0.05)
    assert naive["output_tps"] < 0.9 * final["output_tps"]
    assert now["provisional"]


def regular_loop(users, seconds, *, turn_s=1.4705, stagger_s=None):
    """The load of the accuracy targets: TTFT 200 ms, 10 ms gaps, 128 tokens, staggered start."""
    spacing = min(0.02, 1 / users) if stagger_s is None else stagger_s
    token_ms = [200.0 + 10 * i for i in range(128)]
    sends = [
        (slot * spacing + turn * turn_s, slot)
        for slot in range(users)
        for turn in range(int(seconds / turn_s) + 1)
    ]
    return [request(at, token_ms, slot=slot, concurrency=users) for at, slot in sorted(sends)]


@pytest.mark.parametrize("users", [1, 4, 64, 256])
def test_rates_are_right_wherever_the_window_ends(users):
    ledger = Ledger(regular_loop(users, 13))
    opened = max(s.ended_s for s in ledger[:users]) + 0.001  # as the last user is refilled
    for seconds in np.linspace(2.5, 10, 13):
        point = operating_point(ledger, Window(users, opened, opened + seconds))
        assert point["output_tps"] == pytest.approx(users * 128 / 1.4705, rel=0.002)
        assert point["rps"] == pytest.approx(users / 1.4705, rel=0.002)
        assert point["input_tps"] == pytest.approx(users * 100 / 1.4705, rel=0.002)
        turns = (point["rates_end_s"] - point["rates_start_s"]) / 1.4705
        assert turns == pytest.approx(round(turns), abs=0.002)
        assert point["rates_end_s"] <= point["window_end_s"] == opened + seconds
        assert point["ttft_p50_ms"] == pytest.approx(200)
        assert point["ttft_p99_ms"] == pytest.approx(200)
        now = operating_point(ledger, Window(users, opened, opened + seconds), provisional=True)
        assert now["output_tps"] == pytest.approx(users * 128 / 1.4705, rel=0.02)


def test_without_a_whole_turn_the_whole_window_counts():
    point = operating_point(regular_loop(4, 13), Window(4, 2.0, 3.0))
    assert (point["rates_start_s"], point["rates_end_s"]) == pytest.approx((2.0, 3.0))
    samples = [request(0.1, (50.0, 60.0)), request(0.2, (50.0, 60.0))]  # one short turn
    point = operating_point(samples, Window(1, 0.0, 1.0))
    assert point["output_tps"] == pytest.approx(4)


def test_users_who_wait_for_each_other_are_no_special_case():
    # Lock-step: a batch of 16 begins and ends as one.
    point = operating_point(regular_loop(16, 20, stagger_s=0.0), Window(16, 1.471, 12.0))
    assert point["output_tps"] == pytest.approx(16 * 128 / 1.4705, rel=0.002)
    assert point["output_tps_lo"] <= point["output_tps"] <= point["output_tps_hi"]


def test_a_growing_row_reads_nothing_twice(monkeypatch):
    samples = regular_loop(8, 12)
    samples.sort(key=lambda s: s.ended_s)
    read, blocked = [], []
    monkeypatch.setattr(
        ledger_module, "_made", lambda s, made=ledger_module._made: read.append(s) or made(s)
    )
    monkeypatch.setattr(
        arrivals, "blocks", lambda stamps, of=arrivals.blocks: blocked.extend(stamps) or of(stamps)
    )
    grown = Ledger()
    for i in range(0, len(samples), 5):
        grown.extend(samples[i : i + 5])
        now = grown[-1].ended_s
        if now > 2:
            point = operating_point(grown, Window(8, 1.7, now), provisional=True)
    assert point["output_tps"] == pytest.approx(8 * 128 / 1.4705, rel=0.02)
    assert len(read) == len(samples) == len({s.request_id for s in read})
    assert len(blocked) == len(samples)


def test_a_closed_windows_row_is_made_anew_only_for_what_belongs_to_it(monkeypatch):
    samples = sorted(regular_loop(4, 12), key=lambda s: s.ended_s)
    window = Window(4, 1.6, 6.0, closed=True)
    early = [s for s in samples if s.ended_s <= 6.1]
    grown = Ledger(early)
    first = operating_point(grown, window)
    grown.extend(s for s in samples if s.ended_s > 6.1)
    whole = operating_point(grown, window)
    assert whole == operating_point(samples, window)
    assert whole["output_tps"] == pytest.approx(4 * 128 / 1.4705, rel=0.002)
    assert first["output_tps"] <= whole["output_tps"]
    monkeypatch.setattr(arrivals, "blocks", None)
    grown.append(request(7.0, (10.0, 20.0)))
    whole["n"] = 0  # what a caller does to a row stays with the caller
    assert operating_point(grown, window)["n"] > 0


def test_memory_is_that_of_the_gaps():
    """10 million tokens have to fit into a kernel: half of their stamps' memory more."""
    ledger = Ledger(request(i / 100, np.arange(200.0, 10_200, 10)) for i in range(400))
    operating_point(ledger, Window(64, 0.0, 1.0))  # what is imported when first used
    tracemalloc.start()
    point = operating_point(ledger, Window(64, 0.0, 60.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert point["n"] == 400
    assert peak < 4 * 400_000 + 5_000_000


def test_an_error_of_0_05_ms_is_seen_in_gaps_of_any_length():
    for gap in (1.0, 10.0, 1000.0, 60_000.0):
        late = [request(0.0, (200.0, 200 + gap + 0.05, 200 + 2 * (gap + 0.05)))]
        point = operating_point(late, Window(1, 0.0, 1e4))
        assert point["gap_p50_ms"] - gap == pytest.approx(0.05, abs=0.004)
