"""Costs by hand, and what a price refuses."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpwidgets.cost import Price, cost_table, estimate, usd_per_1m_output
from tpwidgets.errors import SettingsError
from tpwidgets.metrics import operating_point
from tpwidgets.samples import Window
from tpwidgets.tables import points_table

pytestmark = pytest.mark.quick

POINT = {
    "concurrency": 16,
    "n": 50,
    "output_tps": 500.0,
    "output_tps_lo": 400.0,
    "output_tps_hi": 625.0,
    "total_tps": 2500.0,
    "rps": 5.0,
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


def test_by_the_hour():
    price = Price.per_hour(9.0, replicas=2, utilisation=0.5)
    value, lo, hi = usd_per_1m_output(POINT, price)
    assert value == pytest.approx(18 / (500 * 0.5 * 3600) * 1e6)
    assert (lo, hi) == pytest.approx((16.0, 25.0))
    row = cost_table([POINT], price).iloc[0]
    assert row["usd_per_1m_total_tokens"] == pytest.approx(4.0)
    assert row["usd_per_request"] == pytest.approx(18 / (5 * 0.5 * 3600))
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


def test_estimate():
    assert estimate(100, 1000, 200, Price.per_token(10.0, 2.5)) == pytest.approx(0.45)
    assert estimate(100, 1000, 200, Price.per_hour(3.6, 2), seconds=10) == pytest.approx(0.02)
    with pytest.raises(SettingsError, match=r"^seconds"):
        estimate(100, 1000, 200, Price.per_hour(3.6))


@settings(deadline=None)
@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 100))
def test_a_cheaper_cache_never_costs_more(output, full, cached, cached_pct):
    point = POINT | {"cached_pct": cached_pct}
    dear = usd_per_1m_output(point, Price.per_token(output, full))[0]
    cheap = usd_per_1m_output(point, Price.per_token(output, full, min(full, cached)))[0]
    assert output <= cheap * (1 + 1e-12)
    assert cheap <= dear * (1 + 1e-12) + 1e-12


def test_import_stays_light():
    code = "import sys, tpwidgets.cost; print({'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
