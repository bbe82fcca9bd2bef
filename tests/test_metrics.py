"""The metrics by hand, and whatever comes."""

import json
from itertools import pairwise
from math import inf, isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampled import closed_loop, failure, request

from tpwidgets.metrics.arrivals import tokens_per_bin
from tpwidgets.metrics.intervals import percentile_with_failures
from tpwidgets.metrics.ledger import Ledger
from tpwidgets.metrics.points import COLUMNS, operating_point, precise_enough
from tpwidgets.metrics.slo import Limits
from tpwidgets.metrics.tables import points_table, requests_table
from tpwidgets.samples import Window
from tpwidgets.words import TTFT_PARTS

# --- by hand --------------------------------------------------------------------------------------


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


def test_requests_in_the_order_of_their_ends_stay_so():
    """Workers tell of their requests one after the other, not in order."""
    samples = [request(at, [10.0 + at]) for at in (3.0, 0.0, 2.0, 1.0)]
    in_order = Ledger(samples).since(-1.0).in_order()
    assert in_order.where(in_order["sent_s"] > 0.5)["sent_s"].tolist() == [1.0, 2.0, 3.0]


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


# --- the client's own limits ----------------------------------------------------------------------


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


# --- what TTFT consists of ------------------------------------------------------------------------


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


# --- whatever comes -------------------------------------------------------------------------------


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


# --- tables ---------------------------------------------------------------------------------------


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


def test_who_tells_cached_tokens_may_leave_out_none() -> None:
    """As vLLM does: the share is of all requests, not of those with some."""
    samples = [
        request(
            0.1 * i, cached_tokens=90 if i == 5 else None, reasoning_tokens=3 if i == 5 else None
        )
        for i in range(10)
    ]
    row = operating_point(samples, Window(1, -1.0, 10.0, 1.0))
    assert row["cached_pct"] == pytest.approx(9)
    assert row["reasoning_tokens_mean"] == pytest.approx(0.3)
    untold = operating_point([request(0.1)], Window(1, -1.0, 10.0, 1.0))
    assert untold["cached_pct"] is None
    assert untold["reasoning_tokens_mean"] is None
