"""The metrics against closed loops whose truth is known by construction or by hand."""

import json
import tracemalloc
from functools import partial
from itertools import pairwise
from math import inf, isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpwidgets import arrivals
from tpwidgets import ledger as ledger_module
from tpwidgets.arrivals import tokens_per_bin
from tpwidgets.intervals import (
    firm,
    percentile_with_failures,
    percentiles,
    pooled_percentiles,
    rate_interval,
    turns_interval,
)
from tpwidgets.ledger import Ledger
from tpwidgets.metrics import COLUMNS, operating_point, precise_enough
from tpwidgets.samples import Sample, Window
from tpwidgets.slo import Limits
from tpwidgets.tables import points_table, requests_table
from tpwidgets.words import TTFT_PARTS


def request(sent_s=0.0, token_ms=(200.0, 210.0, 220.0), **kwargs):
    """A request that ended well, one token a chunk, unless told otherwise."""
    token_ms = list(token_ms)
    defaults = {
        "request_id": f"r{sent_s}",
        "slot": 0,
        "concurrency": 1,
        "sent_s": sent_s,
        "token_ms": token_ms,
        "ttfo_ms": token_ms[0] if token_ms else None,
        "ended_ms": token_ms[-1] + 1 if token_ms else 5.0,
        "prompt_tokens": 100,
        "output_tokens": len(token_ms),
        "requested_tokens": len(token_ms),
    }
    return Sample(**defaults | kwargs)


def failure(sent_s=0.0, status="http_error", **kwargs):
    bare = {"prompt_tokens": None, "output_tokens": None}
    return request(sent_s, (), status=status, **bare | kwargs)


def closed_loop(concurrency, seconds, *, gap=10.0, ttft=200.0, tokens=100, per_chunk=1, seed=0):
    """Each slot sends its next request as soon as the last has ended; phases are random."""
    rng = np.random.default_rng(seed)
    samples = []
    for slot in range(concurrency):
        now = -float(rng.uniform(0, (ttft + gap * tokens) / 1000))
        while now < seconds:
            chunks = 1 + max(2, int(rng.normal(tokens, tokens / 4))) // per_chunk
            gaps = rng.gamma(25, gap / 25, size=chunks - 1)
            token_ms = np.cumsum([ttft * rng.lognormal(0, 0.2), *gaps]).tolist()
            output = 1 + (chunks - 1) * per_chunk
            samples.append(
                request(
                    now,
                    token_ms,
                    slot=slot,
                    concurrency=concurrency,
                    output_tokens=output,
                    requested_tokens=output,
                )
            )
            now += token_ms[-1] / 1000
    return samples


# --- by hand ---------------------------------------------------------------------------------


def test_rates_and_latencies_by_hand():
    # Two requests of 11 tokens, one after the other: 200 ms to the first token, then 10 ms each.
    token_ms = [200.0 + 10 * i for i in range(11)]
    point = operating_point([request(0.0, token_ms), request(0.3, token_ms)], Window(1, 0.0, 1.0))
    assert (point["n"], point["n_failed"], point["error_rate"]) == (2, 0, 0.0)
    assert point["output_tps"] == pytest.approx(22)
    assert point["input_tps"] == pytest.approx(200)
    assert point["total_tps"] == pytest.approx(222)
    assert point["rps"] == pytest.approx(2)
    assert point["ttft_p50_ms"] == pytest.approx(200)
    assert point["tpot_p50_ms"] == pytest.approx(10)
    assert point["itl_p99_ms"] == point["gap_p99_ms"] == pytest.approx(10)
    assert point["e2e_p95_ms"] == pytest.approx(300)
    assert point["user_tps_p50"] == pytest.approx(100)
    assert point["e2e_tps_p50"] == pytest.approx(11 / 0.3)
    assert point["input_per_output"] == pytest.approx(200 / 22)


def test_requests_that_straddle_the_edges_count_by_arrival():
    # 10 tokens at 100 … 1000 ms, sent at 0 and at 1: the window [0.55, 1.45] sees 5 of the first
    # and 4 of the second, whose end and whose latencies lie outside.
    token_ms = [100.0 * i for i in range(1, 11)]
    samples = [request(0.0, token_ms), request(1.0, token_ms)]
    point = operating_point(samples, Window(1, 0.55, 1.45))
    assert point["n"] == 1
    assert point["output_tps"] == pytest.approx(9 / 0.9)
    assert point["input_tps"] == pytest.approx(100 / 0.9)  # only the second began inside


def test_adjoining_windows_count_each_token_and_each_request_once():
    samples = closed_loop(4, 10)
    edges = sorted([0.0, samples[3].ended_s, 3.0, 7.5, 10.0])  # one edge exactly on an arrival
    whole = operating_point(samples, Window(4, edges[0], edges[-1]))
    parts = [operating_point(samples, Window(4, a, b)) for a, b in pairwise(edges)]
    assert sum(p["n"] for p in parts) == whole["n"]
    streams = Ledger(samples).since(0.0).streams(1.0)
    counts = [tokens_per_bin(streams, a, b, 7).sum() for a, b in pairwise(edges)]
    arrived = [s.sent_s + ms / 1000 for s in samples for ms in s.token_ms]
    assert sum(counts) == pytest.approx(sum(0 < at <= 10 for at in arrived))


def test_chunks_of_several_tokens():
    # metrics.md: 1 token at 200 ms, then 4 tokens per 10 ms chunk, 65 tokens: 2.5 ms per token.
    token_ms = [200.0 + 10 * i for i in range(17)]
    point = operating_point([request(0.0, token_ms, output_tokens=65)], Window(1, 0.0, 1.0))
    assert point["tpot_p50_ms"] == pytest.approx(2.5)
    assert point["gap_p50_ms"] == pytest.approx(10)
    assert point["itl_p50_ms"] is None  # a gap is no inter-token latency here
    assert point["tokens_per_chunk"] == pytest.approx(65 / 17)
    assert point["output_tps"] == pytest.approx(65)
    # 4 tokens in the first chunk too: 64 tokens in 16 chunks are 150 ms / 60.
    even = request(0.0, token_ms[:16], output_tokens=64, first_chunk_tokens=4)
    point = operating_point([even], Window(1, 0.0, 0.205))
    assert point["output_tps"] == pytest.approx(4 / 0.205)
    assert point["tpot_p50_ms"] is None  # it hasn't ended inside the window
    assert operating_point([even], Window(1, 0, 1))["tpot_p50_ms"] == pytest.approx(2.5)


def test_the_example_of_six_tools():
    # 128 tokens, 4 per 10 ms chunk from 200 ms on, the first chunk's count unknown (1 is assumed).
    token_ms = [200.0 + 10 * i for i in range(32)]
    point = operating_point([request(0.0, token_ms, output_tokens=128)], Window(1, 0.0, 1.0))
    assert point["ttft_p50_ms"] == pytest.approx(200)
    assert round(point["tpot_p50_ms"], 2) == 2.44


@pytest.mark.parametrize(("per_chunk", "first"), [(1, 1), (4, 1), (4, 4)])
def test_a_loop_of_chunks_gives_the_tokens_figures(per_chunk, first):
    # 2.5 ms a token: the same server, however many tokens it writes at once.
    chunks = 1 + (128 - first) // per_chunk
    token_ms = [200.0 + 2.5 * per_chunk * i for i in range(chunks)]
    tokens = first + per_chunk * (chunks - 1)
    turn_s = (token_ms[-1] + 1) / 1000
    samples = [
        request(slot / 16 + turn * turn_s, token_ms, slot=slot, concurrency=16,
                output_tokens=tokens, requested_tokens=tokens, first_chunk_tokens=first,
                headers_ms=1.0)  # and a role chunk at once, which is no token
        for slot in range(16) for turn in range(25)
    ]  # fmt: skip
    point = operating_point(samples, Window(16, 2.0, 9.0, in_flight_mean=16.0))
    assert point["ttft_p99_ms"] == pytest.approx(200)
    assert point["tpot_p50_ms"] == point["tpot_p99_ms"] == pytest.approx(2.5)
    assert point["user_tps_p50"] == pytest.approx(400)
    assert point["output_tps"] == pytest.approx(16 * tokens / turn_s, rel=0.002)
    assert point["tokens_per_chunk"] == pytest.approx(tokens / chunks)
    assert point["gap_p50_ms"] == pytest.approx(2.5 * per_chunk)
    assert (point["itl_p50_ms"] is None) == (per_chunk > 1)
    assert not point["client_limited"]


def test_a_cut_request_is_worth_what_the_others_chunks_are_worth():
    token_ms = [100.0, 200.0, 300.0]
    whole = request(0.0, token_ms, output_tokens=9, first_chunk_tokens=3, prompt_tokens=50)
    cut = request(0.5, token_ms, output_tokens=None, prompt_tokens=None, status="stopped")
    cut.token_source = "chunks"
    cut.first_chunk_tokens = 3
    point = operating_point([whole, cut], Window(1, 0.0, 1.0))
    assert point["output_tps"] == pytest.approx(18)
    assert point["input_tps"] == pytest.approx(100)
    assert not point["estimated"]
    assert point["billed_output_tokens"] == 9  # the stop is the measurement's, not the point's


def test_failures_are_kept():
    good = [request(0.01 * i, (100.0, 110.0)) for i in range(9)]
    bad = [failure(0.5, "rate_limited", http_status=429, message="slow down\nplease")]
    stopped = [failure(0.5, "stopped")]
    point = operating_point(good + bad + stopped, Window(4, 0.0, 1.0))
    assert (point["n"], point["n_failed"], point["n_rate_limited"]) == (9, 1, 1)
    assert point["n_stopped"] == 1
    assert point["error_rate"] == pytest.approx(0.1)
    assert point["ttft_p95_ms"] == pytest.approx(100)
    assert point["ttft_p95_incl_failures_ms"] == inf
    assert point["note"] == (
        "1 of 10 requests failed: rate-limited (slow down); "
        "failures counted as endless, TTFT p95 is endless"
    )


def test_goodput_counts_what_meets_the_limits_over_the_same_span():
    samples = closed_loop(8, 20)
    window = Window(8, 2.0, 18.0, 8.0, closed=True)
    median = operating_point(samples, window)["e2e_p50_ms"]
    free = operating_point(samples, window, limits=Limits.of({"ttft_p95_ms": 10_000}))
    assert free["goodput_rps"] == free["rps"]
    assert (free["goodput_rps_lo"], free["slo_attainment"]) == (free["rps_lo"], 1.0)
    half = operating_point(samples, window, limits=Limits.of({"e2e_p50_ms": median}))
    assert half["goodput_rps"] == pytest.approx(half["slo_attainment"] * half["rps"], rel=0.1)
    assert half["goodput_rps_lo"] <= half["goodput_rps"] <= half["goodput_rps_hi"]
    assert operating_point(samples, window)["goodput_rps"] is None


def test_failed_but_billed_requests_raise_the_bill():
    lost = request(0.2, (100.0, 110.0), status="disconnected", output_tokens=None, prompt_tokens=60)
    point = operating_point([request(0.0), lost], Window(1, 0.0, 1.0))
    assert point["billed_input_tokens"] == 160
    assert point["billed_output_tokens"] == 5
    assert point["input_per_output"] == pytest.approx(32)


@pytest.mark.parametrize(("failed", "expected"), [(0, 95.05), (1, 96.0), (5, 99.8), (6, inf)])
def test_percentile_with_failures(failed, expected):
    values = np.arange(1.0, 101.0)  # 1 … 100, and failures above them
    assert percentile_with_failures(values, failed, 0.95) == pytest.approx(expected)


@pytest.mark.parametrize(
    "samples",
    [[], [failure(0.1)], [request(0.0)], [request(0.0, (10.0,))], [request(0.0, ())]],
    ids=["none", "all failed", "single", "one token", "empty stream"],
)
@pytest.mark.parametrize("provisional", [False, True])
def test_little_or_nothing_measured_is_still_a_row(samples, provisional):
    point = operating_point(samples, Window(1, 0.0, 1.0), provisional=provisional)
    empty = operating_point([], Window(1, 0.0, 0.0))
    assert list(point) == list(empty)
    assert set(point) <= set(COLUMNS)
    assert not any(isinstance(v, float) and isnan(v) for v in point.values())
    assert empty["output_tps"] is None
    assert empty["rps"] is None
    assert not precise_enough(point)
    if samples and samples[0].status != "ok":
        assert point["output_tps"] is None
        assert point["ttft_p95_incl_failures_ms"] == inf
        assert point["note"] == "every request failed: http error"


# --- the client's own limits -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "error_ms", "limited", "words"),
    [
        (Window(64, 0, 1, in_flight_mean=63.0), 0.0, False, ""),
        (Window(64, 0, 1, in_flight_mean=40.0), 0.0, True, "40 of 64 requests were in flight"),
        (Window(64, 0, 1), 0.0, False, ""),  # in flight unknown
        (Window(1, 0, 1), 1.0, False, ""),
        (Window(1, 0, 1), 4.0, True, "on average 4 ms late at a chunk gap of 10 ms"),
        (Window(1, 0, 1), 30.0, True, "30 ms late at a TTFT of 200 ms"),
    ],
)
def test_client_limited(window, error_ms, limited, words):
    samples = [request(0.0), request(0.3)]
    for sample in samples:
        sample.client_error_ms = error_ms
    point = operating_point(samples, window)
    assert point["client_limited"] is limited
    assert words in point["note"]
    assert ("the client was the limit" in point["note"]) is limited


def test_rate_limits_explain_a_shortfall():
    samples = [request(0.0), failure(0.1, "rate_limited")]
    point = operating_point(samples, Window(64, 0, 1, in_flight_mean=30.0))
    assert not point["client_limited"]


def test_bunched_chunks_are_noted_not_held_against_the_client():
    samples = [request(0.0, (200.0, 200.0, 210.0, 210.0), merged_chunks=2)]
    point = operating_point(samples, Window(1, 0, 1, note="stopped"))
    assert point["merged_pct"] == pytest.approx(50)
    assert point["note"] == "stopped; 50 % of chunks arrived together with another"
    assert not point["client_limited"]


# --- a loop with known truth -----------------------------------------------------------------


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


# --- what TTFT consists of -------------------------------------------------------------------


def parts_of(*samples):
    point = operating_point(samples, Window(1, 0.0, 10.0))
    return {part: point[f"ttft_{part}_mean_ms"] for part in TTFT_PARTS}, point


def test_the_parts_of_ttft_add_up():
    told = {"write_ms": 0.5, "server_queue_ms": 20.0, "server_prefill_ms": 120.0}
    fresh = {"connect_ms": 30.0}
    reused = {"reused_connection": True}
    parts, point = parts_of(request(0.0, **told, **fresh), request(1.0, **told, **reused))
    assert parts == pytest.approx(
        {"write": 0.5, "server_queue": 20.0, "server_prefill": 120.0, "server_start": None,
         "rest": 59.5}
    )  # fmt: skip
    assert point["ttft_mean_ms"] == pytest.approx(200.0)
    assert point["connect_mean_ms"] == 30.0  # of the one that opened it, and before TTFT


def test_what_the_server_does_not_tell_is_the_rest():
    parts, point = parts_of(request(0.0), request(1.0, reused_connection=True))
    assert parts == {
        "write": None, "server_queue": None, "server_prefill": None, "server_start": None,
        "rest": pytest.approx(200.0),
    }  # fmt: skip
    assert point["connect_mean_ms"] is None
    half, _ = parts_of(request(0.0, server_prefill_ms=100.0), request(1.0))
    assert half["server_prefill"] == pytest.approx(50.0)
    assert half["rest"] == pytest.approx(150.0)


def test_a_servers_times_that_cannot_be_are_left_out():
    start = {"server_start_ms": 150.0}
    assert parts_of(request(0.0, **start))[0]["server_start"] == pytest.approx(150.0)
    both, _ = parts_of(request(0.0, **start, server_prefill_ms=120.0))
    assert (both["server_start"], both["server_prefill"]) == (None, pytest.approx(120.0))
    rounded, _ = parts_of(request(0.0, write_ms=1.0, server_prefill_ms=200.4))
    assert (rounded["server_prefill"], rounded["rest"]) == pytest.approx((199.0, 0.0))
    another, _ = parts_of(request(0.0, server_queue_ms=150.0, server_prefill_ms=200.0))
    assert (another["server_queue"], another["server_prefill"]) == (None, None)
    assert another["rest"] == pytest.approx(200.0)


# --- intervals -------------------------------------------------------------------------------


def percentile_interval(values, p):
    ((_, interval),) = percentiles(values, [p])
    return interval


def test_percentile_interval_covers():
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(2000):
        lo, hi = percentile_interval(rng.exponential(size=50), 0.5)
        hits += lo <= np.log(2) <= hi
    assert 0.93 <= hits / 2000 <= 0.98


@pytest.mark.parametrize(("p", "needed"), [(0.5, 6), (0.95, 59), (0.99, 299)])
def test_percentile_interval_needs_enough_values(p, needed):
    assert percentile_interval(np.arange(needed - 1), p) == (None, None)
    lo, hi = percentile_interval(np.arange(needed), p)
    assert lo < p * (needed - 1) < hi


def test_percentile_interval_ranks_by_hand():
    # Hahn & Meeker: n = 50, median: the 18th and 33rd value cover 96.7 %.
    assert percentile_interval(np.arange(1, 51), 0.5) == (18.0, 33.0)
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


# --- whatever comes --------------------------------------------------------------------------


@st.composite
def any_sample(draw):
    gaps = draw(st.lists(st.integers(0, 500_000).map(lambda us: us / 1000), max_size=12))
    maybe = st.none() | st.integers(0, 60)
    return request(
        draw(st.floats(0, 10)),
        np.cumsum(gaps).tolist(),
        slot=draw(st.integers(0, 3)),
        status=draw(st.sampled_from(["ok", "ok", "timeout", "rate_limited", "stopped"])),
        prompt_tokens=draw(maybe),
        cached_tokens=draw(maybe),
        output_tokens=draw(maybe),
        first_chunk_tokens=draw(st.integers(1, 5)),
        token_source=draw(st.sampled_from(["usage", "chunks"])),
        merged_chunks=draw(st.integers(0, 3)),
    )


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(any_sample(), max_size=12), st.floats(0, 5), st.floats(0, 10), st.booleans())
def test_never_nan_and_always_plain(samples, start, length, provisional):
    window = Window(4, start, start + length, in_flight_mean=3.0)
    point = operating_point(samples, window, provisional=provisional)
    for name, value in point.items():
        assert type(value) in (int, float, bool, str, type(None)), name
        assert not (isinstance(value, float) and isnan(value)), name
        assert value != inf or name.endswith("incl_failures_ms")
    for name in COLUMNS:
        lo, hi = point.get(f"{name}_lo"), point.get(f"{name}_hi")
        assert (lo is None) == (hi is None) or name == "user_tps_p50"
        if lo is not None and hi is not None:
            assert lo <= point[name] * (1 + 1e-9) + 1e-9
            assert point[name] <= hi * (1 + 1e-9) + 1e-9
    assert len(points_table([point])) == 1
    assert len(requests_table(samples)) == len(samples)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.floats(1, 100), min_size=1, max_size=30), st.integers(0, 200), st.integers(1, 9))
def test_a_requests_chunks_sum_to_its_tokens(gaps, output, first):
    sample = request(1.0, np.cumsum(gaps).tolist(), output_tokens=output, first_chunk_tokens=first)
    point = operating_point([sample], Window(1, 0.0, 10.0))
    assert point["output_tps"] == pytest.approx(output / 10)


# --- tables ----------------------------------------------------------------------------------


def test_tables_have_the_documented_columns_and_types():
    samples = [request(0.0), failure(0.3, http_status=500)]
    requests = requests_table(samples)
    points = points_table([operating_point(samples, Window(1, 0.0, 1.0))])
    assert set(requests) | set(points) == set(COLUMNS)
    assert str(requests["output_tokens"].dtype) == "Int64"
    assert str(requests["http_status"].dtype) == "Int64"
    assert str(points["cached_pct"].dtype) == "float64"
    assert list(requests["token_ms"][0]) == [200.0, 210.0, 220.0]
    assert requests["user_tps"][0] == pytest.approx(100)
    assert list(requests["status"]) == ["ok", "http_error"]
    assert list(points_table([])) == list(points)
    json.dumps(operating_point(samples[:1], Window(1, 0.0, 1.0)), allow_nan=False)
