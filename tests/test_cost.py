"""Costs by hand, and what a price refuses."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import steady_run

from tpwidgets.cost.at_point import estimate, usd_per_1m_output
from tpwidgets.cost.price import Price
from tpwidgets.cost.table import cost_table
from tpwidgets.errors import SettingsError
from tpwidgets.metrics.points import operating_point
from tpwidgets.metrics.tables import points_table
from tpwidgets.run import Run
from tpwidgets.samples import Sample, Window

pytestmark = pytest.mark.quick

POINT = {
    "concurrency": 16,
    "n": 50,
    "output_tps": 500.0,
    "output_tps_lo": 400.0,
    "output_tps_hi": 625.0,
    "total_tps": 2500.0,
    "rps": 5.0,
    "rps_lo": 4.0,
    "rps_hi": 6.0,
    "cached_pct": 40.0,
    "billed_input_tokens": 20_000,
    "billed_output_tokens": 5_000,
    "input_per_output": 4.0,
}
NOTHING = operating_point([], Window(4, 0.0, 1.0))


def test_by_the_token():
    price = Price.per_token(10.0, 2.5, source="price list", date="2025-06-01")
    assert usd_per_1m_output(POINT, price) == (20.0, None, None)
    row = cost_table([POINT], price).iloc[0]
    assert row["usd_per_1m_total_tokens"] == pytest.approx(4.0)
    # 20,000 input and 5,000 output tokens cost 0.05 + 0.05 USD, for 50 requests.
    assert row["usd_per_request"] == pytest.approx(0.002)
    assert row["basis"] == "per 1M tokens: $10.00 output, $2.50 input"
    assert row["assumption"].endswith("price: price list, 2025-06-01")


def test_the_cached_share_has_its_own_price():
    price = Price.per_token(10.0, 2.5, cached_input=0.25)
    blended = 0.6 * 2.5 + 0.4 * 0.25
    assert usd_per_1m_output(POINT, price)[0] == pytest.approx(10 + 4 * blended)
    unknown = POINT | {"cached_pct": None}
    assert usd_per_1m_output(unknown, price)[0] == pytest.approx(20)
    assert "$0.25 cached input" in price.basis


def test_the_reasoning_share_has_its_own_price():
    point = POINT | {"output_tokens_mean": 100.0, "reasoning_tokens_mean": 25.0}
    price = Price.per_token(8.0, 2.0, reasoning=3.0)
    # 6.75 for output of which a quarter is reasoning, and 4 · 2.00 for its input
    assert usd_per_1m_output(point, price)[0] == pytest.approx(14.75)
    assert usd_per_1m_output(POINT, price)[0] == pytest.approx(16.0)
    assert price.basis == "per 1M tokens: $8.00 output, $2.00 input, $3.00 reasoning"
    # before it is known how much will be reasoned, the dearer one is reckoned with
    assert estimate(1, 0, 1_000_000, Price.per_token(2.0, reasoning=9.0)) == 9.0


def test_a_bill_by_hand():
    """Four requests end well, 40 % of their input cached and a quarter of their output reasoning;
    a fifth breaks off after 50 tokens, and is billed like the others.

    Input 5 · 1000, output 4 · 200 + 50 = 850 tokens.
    """
    answered = {"prompt_tokens": 1000, "cached_tokens": 400, "reasoning_tokens": 50}
    samples = [
        Sample(f"{i}", i, 4, sent_s=0.1 * i, token_ms=[100.0 + j for j in range(200)],
               output_tokens=200, **answered)
        for i in range(4)
    ]  # fmt: skip
    samples.append(
        Sample("4", 0, 4, sent_s=0.4, token_ms=[100.0 + j for j in range(50)], ended_ms=160.0,
               status="disconnected")
    )  # fmt: skip
    run = Run(samples, [Window(4, 0.0, 1.0)], {})
    mini = Price.per_token(2.0, 0.25, 0.025, name="mini")  # 5000 · 0.16 + 850 · 2 = 2,500 µ$
    large = Price.per_token(10.0, 2.5, 1.25, name="large")  # 5000 · 2 + 850 · 10 = 18,500 µ$
    deep = Price.per_token(8.0, 2.0, reasoning=3.0)  # 5000 · 2 + 850 · 6.75 = 15,737.5 µ$
    table = run.cost([mini, mini.batched(), large, deep])
    assert table["price"].tolist() == ["mini", "mini (batch)", "large", deep.basis]
    assert table["usd_per_1m_output_tokens"].round(2).tolist() == [2.94, 1.47, 21.76, 18.51]
    assert table["usd_per_1m_total_tokens"].round(2).tolist() == [0.43, 0.21, 3.16, 2.69]
    # what failed is paid for by the four that did not
    assert (table["usd_per_request"] * 1e6).round(2).tolist() == [625.0, 312.5, 4625.0, 3934.38]


def test_a_batch_tier():
    price = Price.per_token(10.0, 2.5, 0.25, "list", "2026-11-01", reasoning=4.0, name="API")
    half = price.batched()
    assert (half.output, half.input, half.cached_input, half.reasoning) == (5.0, 1.25, 0.125, 2.0)
    assert half.stated == (
        "API (batch); per 1M tokens: $5.00 output, $1.25 input, $0.125 cached input, "
        "$2.00 reasoning; list, batch tier at 50 % off, 2026-11-01"
    )
    assert Price.per_token(1.0).batched(0.25, "its docs").source == (
        "batch tier at 25 % off (its docs)"
    )
    with pytest.raises(SettingsError, match=r"^share_off must be from 0 to 1"):
        price.batched(50)
    with pytest.raises(SettingsError, match="by the hour"):
        Price.per_hour(1.0).batched()


def test_a_price_that_was_saved_before_there_were_names_is_read():
    saved = {"output": 10.0, "input": 2.5, "cached_input": None, "hour": None, "replicas": 1,
             "utilisation": 1.0, "source": "", "date": ""}  # fmt: skip
    assert Price(**saved) == Price.per_token(10.0, 2.5)


def level(concurrency, tps, ttft, user_tps, **changed):
    return POINT | {
        "concurrency": concurrency, "output_tps": tps, "ttft_p50_ms": 0.7 * ttft,
        "ttft_p95_ms": ttft, "user_tps_p50": user_tps, "client_limited": False,
    } | changed  # fmt: skip


def test_the_pareto_front_of_cost_waiting_and_speed():
    points = [
        level(1, 50.0, 100.0, 50.0),
        level(4, 190.0, 120.0, 48.0),
        level(8, 189.0, 130.0, 47.0),  # dearer, later and slower than 4
        level(16, 190.04, 120.0, 48.0),  # no more than noise apart from 4
        level(32, 800.0, 300.0, 10.0),
        level(64, 900.0, 90.0, 60.0, client_limited=True),
        level(128, 900.0, 90.0, 60.0, provisional=True),
        level(256, 900.0, 90.0, 60.0, error_rate=0.02),  # nobody would run there
        level(512, 900.0, 90.0, 60.0, queue_grows=True),
    ]
    prices = [Price.per_hour(4.0, name="own"), Price.per_token(10.0, 2.5), Price.per_token(0.0)]
    table = cost_table(points, prices)
    fronts = table.groupby("price", sort=False)["pareto"].apply(list).to_list()
    assert fronts[0] == [True, True, False, True, True, *4 * [False]]
    assert fronts[1] == fronts[2] == [True] + 8 * [False]  # waiting less costs nothing here
    assert table["ttft_p95_ms"].tolist()[:2] == [100.0, 120.0]
    # where one point has no p95, medians are compared
    few = [*points[:2], level(3, 120.0, 60.0, 51.0, ttft_p95_ms=None)]
    assert cost_table(few, prices[0])["pareto"].tolist() == [False, True, True]


def test_by_the_hour():
    price = Price.per_hour(9.0, replicas=2, utilisation=0.5)
    value, lo, hi = usd_per_1m_output(POINT, price)
    assert value == pytest.approx(18 / (500 * 0.5 * 3600) * 1e6)
    assert (lo, hi) == pytest.approx((16.0, 25.0))
    row = cost_table([POINT], price).iloc[0]
    assert row["usd_per_1m_total_tokens"] == pytest.approx(4.0)
    assert row["usd_per_request"] == pytest.approx(18 / (5 * 0.5 * 3600))
    ends = row["usd_per_request_lo"], row["usd_per_request_hi"]
    assert ends == pytest.approx((18 / (6 * 0.5 * 3600), 18 / (4 * 0.5 * 3600)))
    assert row["basis"] == "$9.00 per hour × 2 replicas"
    assert row["assumption"] == "busy as measured 50 % of the hours paid for"


@pytest.mark.parametrize("price", [Price.per_token(1.0, 1.0), Price.per_hour(1.0)])
def test_nothing_measured_costs_nothing_known(price):
    assert usd_per_1m_output(NOTHING, price) == (None, None, None)
    table = cost_table([NOTHING, POINT], price)
    assert table["usd_per_request"].isna().tolist() == [True, False]
    assert table.filter(like="usd").dtypes.eq("float64").all()
    assert len(cost_table([], price)) == 0


def test_a_row_of_the_table_prices_as_the_point_does():
    counts = ("n_failed", "n_stopped", "n_client_limit", "n_rate_limited", "new_connections")
    row = points_table([POINT | dict.fromkeys(counts, 0)]).to_dict("records")[0]
    price = Price.per_token(10.0, 2.5)
    assert usd_per_1m_output(row, price) == usd_per_1m_output(POINT, price)


def test_free():
    assert usd_per_1m_output(POINT, Price.per_token(0.0)) == (0.0, None, None)
    assert usd_per_1m_output(POINT | {"input_per_output": None}, Price.per_token(3.0))[0] == 3.0
    assert (
        usd_per_1m_output(POINT | {"input_per_output": None}, Price.per_token(3.0, 1.0))[0] is None
    )


BAD = [-1.0, float("nan"), float("inf"), "3", True]


@pytest.mark.parametrize("bad", [*BAD, None])
def test_refusals_name_the_setting(bad):
    with pytest.raises(SettingsError, match=r"^output must"):
        Price.per_token(bad)
    with pytest.raises(SettingsError, match=r"^hour must"):
        Price.per_hour(bad)
    with pytest.raises(SettingsError, match=r"^input must"):
        Price.per_token(1.0, bad)
    with pytest.raises(SettingsError, match=r"^replicas must"):
        Price.per_hour(1.0, replicas=bad)
    with pytest.raises(SettingsError, match=r"^utilisation must"):
        Price.per_hour(1.0, utilisation=bad)


@pytest.mark.parametrize("bad", BAD)
def test_refuses_a_bad_cached_price(bad):
    with pytest.raises(SettingsError, match=r"^cached_input must"):
        Price.per_token(1.0, 1.0, cached_input=bad)


@pytest.mark.parametrize("bad", [0.0, 1.01])
def test_refuses_a_utilisation_outside_its_range(bad):
    with pytest.raises(SettingsError, match=r"^utilisation must be above 0 and at most 1; got"):
        Price.per_hour(1.0, utilisation=bad)


def test_refuses_both_and_neither():
    for both_or_neither in ({}, {"output": 1.0, "hour": 1.0}):
        with pytest.raises(SettingsError, match="either by the token or by the hour"):
            Price(**both_or_neither)


def test_what_costs_rest_on_is_told_where_the_server_counts_no_tokens():
    prices = [Price.per_token(10.0, 2.5), Price.per_token(10.0), Price.per_hour(1.0)]
    chunks = POINT | {"estimated": True, "input_per_output": None, "prompt_tokens_mean": None}
    by_token, without_input, by_hour = (
        row["assumption"] for row in cost_table([chunks], prices).to_dict("records")
    )
    guess = "; tokens are counted as chunks, an estimate"
    assert without_input == f"usage in the window, failed requests included{guess}"
    why = "no cost is known: the server told no prompt tokens, which have a price"
    assert by_token == f"{without_input}; {why}"
    assert by_hour == f"busy as measured in every hour paid for{guess}"
    assert cost_table([POINT], prices[0])["assumption"][0].startswith("usage billed in the window")
    nothing = cost_table([NOTHING], prices[0])["assumption"][0]
    assert nothing == "usage billed in the window, failed requests included"


def test_estimate():
    assert estimate(100, 1000, 200, Price.per_token(10.0, 2.5)) == pytest.approx(0.45)
    assert estimate(100, 1000, 200, Price.per_hour(3.6, 2), seconds=10) == pytest.approx(0.02)
    with pytest.raises(SettingsError, match=r"^seconds"):
        estimate(100, 1000, 200, Price.per_hour(3.6))


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 100))
def test_a_cheaper_cache_never_costs_more(output, full, cached, cached_pct):
    point = POINT | {"cached_pct": cached_pct}
    dear = usd_per_1m_output(point, Price.per_token(output, full))[0]
    cheap = usd_per_1m_output(point, Price.per_token(output, full, min(full, cached)))[0]
    assert output <= cheap * (1 + 1e-12)
    assert cheap <= dear * (1 + 1e-12) + 1e-12


def test_import_stays_light():
    code = "import sys, tpwidgets.cost.price; print({'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_price_is_refused_as_one_of_several() -> None:
    run = steady_run({4: 1.0}, 100, 20)
    with pytest.raises(SettingsError, match="None where no list has the model"):
        run.cost([Price.per_hour(2), None])


def test_a_run_that_was_cut_short_says_so_in_its_answer() -> None:
    run = steady_run({4: 1.0}, 100, 20)
    said = "Stopped at the token limit of 3,000: 2,900 tokens spent; level 16 not begun"
    run.conditions["notes"] = [said]
    assert run.answer().endswith(f" {said}.")
