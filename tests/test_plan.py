"""The one sentence, for curves of every shape."""

import pytest

from tpwidgets.cost.price import Price
from tpwidgets.metrics.points import operating_point
from tpwidgets.plan import answer
from tpwidgets.samples import Sample, Window
from tpwidgets.words import count, duration, measured, percent, usd

pytestmark = pytest.mark.quick


def level(concurrency, tps, ttft, *, noise=0.02, n=400, **kwargs):
    """An operating point with ± `noise` around each value."""
    point = {
        "concurrency": concurrency,
        "n": n,
        "n_failed": 0,
        "n_rate_limited": 0,
        "error_rate": 0.0,
        "output_tps": tps,
        "ttft_p50_ms": 0.7 * ttft,
        "ttft_p95_ms": ttft,
        "ttft_p95_firm": n >= 200,
        "input_per_output": 2.0,
        "client_limited": False,
        "provisional": False,
        "note": "",
    }
    for name in ("output_tps", "ttft_p50_ms", "ttft_p95_ms"):
        point[f"{name}_lo"] = point[name] * (1 - noise)
        point[f"{name}_hi"] = point[name] * (1 + noise)
    return point | kwargs


FLAT_TTFT = [level(1, 50, 400), level(4, 190, 420), level(16, 412, 800)]


def test_ttft_doubles():
    points = [level(4, 120, 420), level(16, 412, 800), level(32, 600, 1700)]
    assert answer(points, Price.per_token(0.40, 0.01)) == (
        "At 16 concurrent: 412 tokens/s, TTFT p95 0.8 s, $0.42 per 1M output tokens; "
        "beyond 16 TTFT doubles."
    )


def test_ttft_grows_manifold_and_throughput_stays():
    points = [level(8, 400, 500), level(16, 410, 2600)]
    assert answer(points) == (
        "At 8 concurrent: 400 tokens/s, TTFT p95 0.5 s; "
        "beyond 8 TTFT grows 5-fold and throughput doesn't rise measurably."
    )


def test_throughput_saturates():
    points = [level(16, 400, 800), level(32, 1240, 900), level(64, 1290, 1000)]
    sharp = [
        p | {"output_tps_lo": p["output_tps"] - 9, "output_tps_hi": p["output_tps"] + 9}
        for p in points
    ]
    assert answer(sharp).endswith(
        "1,240 tokens/s, TTFT p95 0.9 s; beyond 32 throughput rises only 4 %."
    )
    assert answer(points).endswith("beyond 32 throughput doesn't rise measurably.")


def test_a_gain_is_judged_per_doubling():
    points = [level(4, 400, 800), level(64, 520, 900)]  # +30 % in four doublings
    assert answer(points).endswith("beyond 4 throughput rises only 6.8 % per doubling.")


def test_throughput_falls():
    points = [level(16, 400, 800), level(32, 300, 900)]
    assert answer(points).endswith("beyond 16 throughput falls.")


def test_still_rising():
    assert answer(FLAT_TTFT) == (
        "At 16 concurrent: 412 tokens/s, TTFT p95 0.8 s; "
        "still rising at 16, the highest level measured."
    )
    assert answer(list(reversed(FLAT_TTFT))) == answer(FLAT_TTFT)


def test_a_single_level_has_no_beyond():
    assert answer(FLAT_TTFT[:1]) == "At 1 concurrent: 50 tokens/s, TTFT p95 400 ms."


def test_what_the_intervals_do_not_bear_is_not_claimed():
    points = [level(8, 200, 400, noise=0.5), level(16, 390, 850, noise=0.5)]
    assert answer(points).endswith("TTFT p95 0.85 s; 16 is the highest level measured.")
    unknown = [p | {"output_tps_lo": None, "output_tps_hi": None} for p in points]
    assert "doubles" not in answer(unknown)


def test_without_an_interval_of_p95_the_median_decides():
    few = {"n": 24, "ttft_p95_ms_lo": None, "ttft_p95_ms_hi": None}
    points = [level(8, 200, 800) | few, level(16, 390, 1900) | few]
    points = [p | {"ttft_p95_firm": False} for p in points]
    assert answer(points) == (
        "At 8 concurrent: 200 tokens/s, TTFT p95 about 0.8 s (n = 24); beyond 8 TTFT doubles."
    )


def test_free():
    assert ", free of charge; " in answer(FLAT_TTFT, Price.per_token(0.0))


def test_client_limited_and_provisional_points_do_not_count():
    limited = level(64, 90, 9000, client_limited=True, note="the client was the limit: lag")
    assert answer([*FLAT_TTFT, limited]).endswith(
        "still rising at 16; 64 is left out: the client was the limit there."
    )
    assert answer([*FLAT_TTFT, level(64, 90, 9000, provisional=True)]) == answer(FLAT_TTFT)
    between = level(4, 50, 9000, client_limited=True)
    assert answer([between, level(8, 200, 790), FLAT_TTFT[2], limited]) == (
        "At 16 concurrent: 412 tokens/s, TTFT p95 0.8 s; still rising at 16; "
        "4 and 64 are left out: the client was the limit there."
    )
    assert answer([limited]) == "No answer: at 64 concurrent, the client was the limit: lag."
    assert answer([]) == answer([level(1, 50, 400, provisional=True)])
    assert answer([]) == "No answer yet: no level has been measured to its end."


def test_errors_are_mentioned():
    some = {"n": 88, "n_failed": 12, "n_rate_limited": 10, "error_rate": 0.12}
    rising = [*FLAT_TTFT, level(64, 800, 900) | some]
    assert answer(rising).startswith("At 16 concurrent")
    assert answer(rising).endswith(
        "beyond 16 requests are rate-limited; 12 % of requests were rate-limited at 64."
    )
    early = [level(4, 200, 400) | some, level(8, 210, 900)]
    assert answer(early).endswith("; 12 % of requests were rate-limited at 4.")
    other = [level(4, 200, 400) | some | {"n_rate_limited": 2}]
    assert answer(other).endswith("; 12 % of requests failed at 4.")


def test_a_level_at_which_everything_failed():
    refused = Sample("a", 0, 64, status="refused", message="connection refused", ended_ms=5.0)
    failed = operating_point([refused], Window(64, 0.0, 1.0))
    assert answer([failed]) == (
        "No answer: at 64 concurrent, every request failed: no connection (connection refused)."
    )
    assert answer([*FLAT_TTFT, failed]).endswith("still rising at 16; every request failed at 64.")
    empty = operating_point([], Window(4, 0.0, 1.0))
    assert answer([empty]) == (
        "No answer: at 4 concurrent, no request ended inside the window: count for more seconds."
    )


def test_a_level_measured_again_replaces_the_former():
    assert answer([level(16, 1, 1), *FLAT_TTFT]) == answer(FLAT_TTFT)


# --- how numbers are written -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(1240), "1,240"),
        (count(412.4), "412"),
        (count(42.46), "42.5"),
        (count(16), "16"),
        (count(0.4251), "0.425"),
        (count(0), "0"),
        (count(99.96), "100"),
        (count(None), "–"),
        (duration(823), "0.82 s"),
        (duration(800), "0.8 s"),
        (duration(85.2), "85 ms"),
        (duration(8.54), "8.5 ms"),
        (duration(412), "412 ms"),
        (duration(12_345), "12 s"),
        (duration(123_456), "123 s"),
        (duration(None), "–"),
        (usd(0.42), "$0.42"),
        (usd(0.0042), "$0.0042"),
        (usd(12.4), "$12.40"),
        (usd(1240), "$1,240"),
        (usd(0), "$0"),
        (usd(0.05), "$0.05"),
        (usd(0.0999), "$0.10"),
        (usd(None), "–"),
        (percent(12.2), "12 %"),
        (percent(0.43), "0.4 %"),
        (percent(100), "100 %"),
        (percent(None), "–"),
    ],
)
def test_numbers_for_humans(written, expected):
    assert written == expected


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), True, "3", [1]])
def test_what_is_not_a_finite_number_was_not_measured(value):
    assert measured({"x": value}, "x") is None
    assert measured({}, "x") is None
    assert measured({"x": 3}, "x") == 3.0


def test_where_requests_fail_already_more_of_them_fail_beyond():
    points = [level(4, 190, 420, error_rate=0.03, n_failed=1), level(8, 380, 430, error_rate=0.1)]
    assert answer(points) == (
        "At 4 concurrent: 190 tokens/s, TTFT p95 420 ms; beyond 4 more requests fail; "
        "3 % of requests failed at 4; 10 % of requests failed at 8."
    )


def test_an_open_loops_queue_that_grows_is_one_step_too_far():
    rates = [
        level(round(tps / 10), tps, 400, rate=tps / 100, queue_grows=tps == 1400)
        for tps in (400, 800, 1400)
    ]
    assert answer(rates) == (
        "At 8 requests/s: 800 tokens/s, TTFT p95 400 ms; beyond 8 requests/s more requests arrive "
        "than are answered."
    )
    alone = rates[2] | {"note": "not a steady state: 14.2 requests/s arrive, 10 are answered"}
    assert answer([alone]).startswith("No answer: at 14 requests/s, not a steady state: 14.2")


def test_at_a_rate_as_much_comes_as_is_asked_for():
    """That few bursty requests brought no more tokens/s at twice the rate is chance."""
    noisy = [
        level(4, 769, 100, rate=4.0, noise=0.6, n=20), level(8, 740, 110, rate=8.0, noise=0.3, n=20)
    ]  # fmt: skip
    assert answer(noisy) == (
        "At 8 requests/s: 740 (518 to 962) tokens/s, TTFT p95 about 110 ms (n = 20); 8 requests/s "
        "is the highest level measured."
    )
