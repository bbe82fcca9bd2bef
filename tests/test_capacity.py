"""The measured endpoint, played through: by hand where that can be, and against the physics."""

from array import array
from dataclasses import replace

import numpy as np
import pytest
from virtual import closed_loop_run, open_loop, steady_run

from tpwidgets.errors import SettingsError
from tpwidgets.run import Run
from tpwidgets.use_cases.capacity import (
    Between,
    Capacity,
    arrivals,
    job_s,
    simulate,
    through_the_day,
)
from tpwidgets.use_cases.service import Curve, usable


def curve(*levels, alone_s=0.1, **kwargs):
    """One that takes so long (s) at so many in flight."""
    in_flight, e2e_s = zip(*levels, strict=True)
    return Curve(in_flight, e2e_s, np.array([alone_s]), **kwargs)


ONE = curve((1, 1.0))
"""One request at a time, 1 s each."""

SHARED = curve((1, 1.0), (2, 2.0), (4, 4.0))
"""As many as come, up to 4 measured, share what one has; more gain nothing."""


def test_requests_that_do_not_meet_take_what_one_takes_alone():
    outcome = simulate(ONE, np.array([0.0, 2.0, 4.0]))
    assert outcome.e2e_ms == pytest.approx([1000, 1000, 1000])
    assert outcome.ttft_ms == pytest.approx([100, 100, 100])
    assert outcome.finished_s == pytest.approx(5.0)


def test_beyond_the_highest_measured_level_requests_wait_their_turn():
    outcome = simulate(ONE, np.zeros(4))
    assert outcome.e2e_ms == pytest.approx([1000, 2000, 3000, 4000])
    assert outcome.ttft_ms == pytest.approx([100, 1100, 2100, 3100])


def test_requests_in_flight_slow_each_other_down():
    # alone from 0 to 0.5 s, half done; then both at half the pace: the first is done at 1.5 s,
    # when the second is half done, which ends at 2 s
    twice = curve((1, 1.0), (2, 2.0), (3, 2.0))  # 3 gain something, so 3 are served
    outcome = simulate(twice, np.array([0.0, 0.5]))
    assert outcome.e2e_ms == pytest.approx([1500, 1500])


def test_levels_between_the_measured_ones_are_interpolated_in_log_space():
    table = curve((1, 1.0), (4, 2.0), (16, 8.0)).table(16)
    assert table[[1, 2, 4, 8, 16]] == pytest.approx([1, 2**0.5, 2, 4, 8])
    assert curve((4, 2.0), (16, 8.0)).table(2) == pytest.approx([2, 2, 2])


def test_a_server_takes_as_many_as_gain_something():
    assert (SHARED.most, SHARED.best) == (1, 1)
    rising = curve((1, 1.0), (8, 2.0), (32, 4.0))
    assert (rising.most, rising.best) == (32, 32)
    full = curve((1, 1.0), (4, 1.0), (8, 2.0), (16, 4.0))
    assert (full.most, full.best) == (4, 4)
    thrashing = curve((1, 1.0), (8, 2.0), (32, 16.0))
    assert (thrashing.most, thrashing.best) == (32, 8)


def test_prompts_join_the_next_step_which_reads_them_together():
    many = curve((1, 10.0), (4, 10.0), prompt_s=0.2, output_tokens=100)
    step_ms = 1000 * 9.9 / 99
    # the first one's step is under way when the others come: they wait for it, then for each other
    assert simulate(many, np.array([0.0, 0.05, 0.1])).ttft_ms == pytest.approx([100, 450, 400])
    assert 100 <= simulate(many, np.array([0.0, 1.0])).ttft_ms[1] <= 100 + step_ms


def test_what_is_foretold_of_ttft_is_in_doubt_beside_chance():
    run = closed_loop_run("vllm-llama-70b", (1, 4), 256, 64)
    low, middle, high = (Curve.of(run, bound) for bound in ("_lo", "", "_hi"))
    assert (low.doubt, middle.doubt, high.doubt) == (0.8, 1.0, 1.25)
    at_s = arrivals("poisson", 0.5, 200)
    doubtful = simulate(replace(middle, doubt=1.25), at_s)
    assert doubtful.ttft_ms == pytest.approx(1.25 * simulate(middle, at_s).ttft_ms)
    assert doubtful.e2e_ms == pytest.approx(simulate(middle, at_s).e2e_ms)


def test_a_request_goes_where_the_fewest_are():
    outcome = simulate(ONE, np.zeros(4), replicas=4)
    assert outcome.e2e_ms == pytest.approx([1000] * 4)
    outcome = simulate(ONE, np.zeros(4), replicas=2)
    assert outcome.e2e_ms == pytest.approx([1000, 1000, 2000, 2000])


def test_a_job_takes_what_its_requests_take_at_the_best_level():
    assert job_s(curve((1, 1.0), (10, 2.0)), 100) == pytest.approx(20)
    assert job_s(curve((1, 1.0), (10, 2.0)), 100_000) == pytest.approx(20_000)
    assert Between(2, 1, 4).rate_of(8) == Between(4, 2, 8)


def test_arrivals_come_at_their_rate_and_as_bursty_as_asked():
    assert arrivals("constant", 4, 3).tolist() == [0, 0.25, 0.5]
    assert arrivals("at-once", 4, 3).tolist() == [0, 0, 0]
    spread = {}
    for kind in ("poisson", "gamma"):
        gaps = np.diff(arrivals(kind, 4, 20_000))
        assert gaps.mean() == pytest.approx(0.25, rel=0.03)
        spread[kind] = gaps.std() / gaps.mean()
    assert spread == pytest.approx({"poisson": 1, "gamma": 2**0.5}, rel=0.03)
    assert (arrivals("poisson", 4, 9, seed=1) != arrivals("poisson", 4, 9, seed=2)).all()
    with pytest.raises(SettingsError, match="constant, poisson, gamma or at-once, not 'weekly'"):
        arrivals("weekly", 1, 1)


def test_a_day_has_its_hours():
    hourly = [0] * 8 + [1] * 8 + [3] * 8
    at = through_the_day(10_000, hourly)
    assert at.min() >= 8 * 3600
    assert at.max() <= 24 * 3600
    assert (at < 16 * 3600).mean() == pytest.approx(0.25, abs=0.02)


def test_an_m_m_1_queue_is_as_long_as_theory_has_it():
    # one server, exponential work, 70 % busy: a request spends 1 / (1 - 0.7) times its work
    work = np.random.default_rng(5).exponential(size=20_000)
    queue = curve((1, 1.0), spread=work)
    outcome = simulate(queue, arrivals("poisson", 0.7, 20_000), seed=1)
    assert outcome.e2e_ms.mean() / 1000 == pytest.approx(1 / 0.3, rel=0.1)


def test_limits_give_a_rate_and_a_number_of_replicas():
    five = curve((1, 1.0), (5, 1.0), output_tokens=1000)  # five at once, none the slower for it
    both = Capacity(five, five, five)
    # constant arrivals need no reserve: 5 a second, to the 2 % that the search goes to
    rate = both.highest_rate({"ttft_p95_ms": 200}, 1e6)
    assert rate.value == pytest.approx(5, rel=0.021)
    poisson = both.highest_rate({"ttft_p95_ms": 200})
    assert poisson.lo <= poisson.value <= poisson.hi < 4.6
    needed = both.replicas(12, {"ttft_p95_ms": 200})
    assert needed.value in (3, 4)
    assert both.highest_rate({"ttft_p95_ms": 50}).value == 0
    assert both.replicas(12, {"ttft_p95_ms": 50}) is None


def test_the_interval_comes_from_the_bounds():
    fast, middle, slow = (curve((1, 1.0), (10, s)) for s in (1.8, 2.0, 2.5))
    assert Capacity(middle, fast, slow).time_for(100) == Between(
        pytest.approx(20), pytest.approx(18), pytest.approx(25)
    )


# --- against the physics -----------------------------------------------------------------------

LEVELS = 1, 4, 16, 64, 128


def off(predicted, true, q):
    """The relative error of a percentile, without the first tenth."""
    beginning = len(true) // 10
    return np.quantile(predicted[beginning:], q) / np.quantile(true[beginning:], q) - 1


@pytest.mark.parametrize(
    ("prompt_tokens", "output_tokens", "rates"), [(256, 64, (8, 24)), (1000, 200, (2, 6))]
)
def test_an_open_loop_is_foretold_from_a_closed_one(prompt_tokens, output_tokens, rates):
    lengths = prompt_tokens, output_tokens
    curve = Curve.of(closed_loop_run("vllm-llama-70b", LEVELS, *lengths))
    assert curve.most == 128
    for rate in rates:
        at_s = arrivals("poisson", rate, 1000, seed=rate)
        ttft_ms, e2e_ms = open_loop("vllm-llama-70b", at_s, *lengths)
        outcome = simulate(curve, at_s)
        assert abs(off(outcome.e2e_ms, e2e_ms, 0.5)) < 0.1
        assert abs(off(outcome.e2e_ms, e2e_ms, 0.95)) < 0.15
        assert abs(off(outcome.ttft_ms, ttft_ms, 0.5)) < 0.1
        assert abs(off(outcome.ttft_ms, ttft_ms, 0.95)) < 0.2


def test_a_server_with_four_slots_is_foretold_too():
    curve = Curve.of(closed_loop_run("laptop-8b", (1, 4, 8), 256, 64, 120.0))
    assert curve.most == 4
    at_s = arrivals("poisson", 0.3, 400, seed=1)
    ttft_ms, e2e_ms = open_loop("laptop-8b", at_s, 256, 64)
    outcome = simulate(curve, at_s)
    assert abs(off(outcome.e2e_ms, e2e_ms, 0.5)) < 0.15
    assert abs(off(outcome.ttft_ms, ttft_ms, 0.5)) < 0.15


def test_points_that_say_more_of_something_else_play_no_part():
    run = closed_loop_run("vllm-llama-70b", (1, 4), 256, 64)
    good, other = run.rows
    assert usable(good)
    flaws = {"provisional": True, "client_limited": True, "queue_grows": True, "error_rate": 0.02}
    for flaw in (*flaws.items(), ("n", 0)):
        assert not usable(good | dict([flaw]))
    flawed = Run(run.samples, run.windows, run.conditions)
    flawed.rows = [good, other | {"client_limited": True}]
    assert Curve.of(flawed).in_flight == (1.0,)
    flawed.rows = [good | {"provisional": True}, other | {"n": 0}]
    assert Capacity.of(flawed) is None


def test_bounds_of_the_points_are_bounds_of_time():
    run = closed_loop_run("vllm-llama-70b", (1, 4), 256, 64)
    capacity = Capacity.of(run)
    for fast, middle, slow in zip(
        *(c.e2e_s for c in (capacity.fast, capacity.middle, capacity.slow)), strict=True
    ):
        assert fast < middle < slow
    point = run.rows[1]
    assert capacity.middle.e2e_s[1] == pytest.approx(4 * 64 / point["output_tps"], rel=0.01)


def test_a_mean_is_as_uncertain_as_its_turns_differ():
    run = steady_run({1: 1.0}, 256, 64)
    assert Curve.of(run, "_hi").e2e_s == Curve.of(run).e2e_s  # all turns take 1 s
    for i, sample in enumerate(run.samples):  # those that end in the window: 1.1, 0.9, 1.1 … s
        factor = 1.1 if i % 2 else 0.9
        sample.token_ms = array("d", [factor * ms for ms in sample.token_ms])
    run = Run(run.samples, run.windows, run.conditions)
    low, middle, high = (Curve.of(run, bound).e2e_s[0] for bound in ("_lo", "", "_hi"))
    half = 2.571 * 0.1 / 5**0.5  # Student's t for six turns
    assert (middle, high) == (pytest.approx(1), pytest.approx(1 + half, abs=0.002))
    assert low == pytest.approx(1 / high)
