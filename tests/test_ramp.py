"""A ramp: how the load goes, what its sections count, and that nobody takes them for levels."""

import asyncio
from itertools import islice, pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from loops import ClosedBench, OpenBench, run
from sampled import failure, request

import tpwidgets as tp
from tpwidgets.engine import fleet
from tpwidgets.engine.closed_loop import Level
from tpwidgets.engine.open_loop import OpenLevel
from tpwidgets.engine.sweep import Sweep
from tpwidgets.errors import MeasurementError, SettingsError
from tpwidgets.measuring.politeness import Outlook
from tpwidgets.metrics.points import operating_point
from tpwidgets.metrics.ramp import bend
from tpwidgets.plan import answer
from tpwidgets.run import Run
from tpwidgets.samples import Window
from tpwidgets.widgets.controls import Controls
from tpwidgets.widgets.texts import as_code
from tpwidgets.workload.prompts import Workload
from tpwidgets.workload.ramps import of_rates, of_users
from tpwidgets.workload.rates import arrival_times, load_of, ramped


def load(**settings: Any) -> Any:
    given = {"concurrency": None, "rate": None, "arrivals": "poisson", "burstiness": None}
    return load_of(**{**given, "requests": None, "seconds": None, **settings})


# --- sections -------------------------------------------------------------------------------------


@pytest.mark.quick
def test_a_ramp_of_users_holds_each_number_for_as_long_as_any_other() -> None:
    up = of_users(1, 64, 60.0)
    assert [part.name for part in up] == [f"{n}–{n + 7}" for n in range(1, 65, 8)]
    assert [part.middle for part in up] == list(range(5, 65, 8))
    assert {part.seconds for part in up} == {7.5}
    down = of_users(5, 1, 10.0)
    assert [(part.name, part.seconds) for part in down] == [(str(n), 2.0) for n in (5, 4, 3, 2, 1)]
    uneven = of_users(1, 11, 11.0)
    assert [part.seconds for part in uneven] == [part.last - part.first + 1 for part in uneven]
    assert len(of_users(1, 64, 2.5)) == 2, "each lasts a second at least"


@pytest.mark.quick
def test_a_ramp_of_rates_is_cut_evenly() -> None:
    parts = of_rates(1.0, 9.0, 60.0)
    assert [(part.first, part.last) for part in parts] == [(n, n + 1) for n in range(1, 9)]
    assert [part.middle for part in parts] == [n + 0.5 for n in range(1, 9)]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"concurrency": 4}, r"two levels to go between: concurrency=\(1, 16\)"),
        ({"concurrency": (1, 8, 4)}, "two levels to go between"),
        ({"rate": "auto"}, "not to auto"),
        ({"concurrency": "auto"}, "not to auto"),
        ({"concurrency": "1-8", "seconds": 5}, "leave seconds away"),
        ({"concurrency": "1-8", "precision": 0.05}, "leave precision away"),
        ({"concurrency": "1-8", "ramp_s": 0}, "ramp_s must be a number above 0"),
    ],
)
def test_a_ramp_that_can_not_be_meant_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(**{"ramp_s": 10, **settings})


@pytest.mark.quick
def test_a_sweep_walks_the_sections_and_holds_the_last_level() -> None:
    sweep = Sweep(load(concurrency=(8, 1), ramp_s=4))
    told = [sweep.next() for _ in range(4)]
    assert [t and t["ramp"] for t in told] == [(8, 7, 1.0), (6, 5, 1.0), (4, 3, 1.0), (2, 1, 1.0)]
    assert [t and t["concurrency"] for t in told] == [8, 6, 4, 2]
    assert sweep.level == 2
    assert not sweep.holding
    assert sweep.next() == {"do": "level", "requests": None, "seconds": None, "concurrency": 1}
    assert (sweep.level, sweep.left, sweep.fraction(1.0, 0.0)) == (None, (), 1.0)
    assert sweep.holding
    assert not sweep.held_enough(0.9)
    assert sweep.held_enough(1.1), "a quarter of the ramp's time is enough"
    assert sweep.next() is None
    assert not sweep.holding, "once"


# --- how the load goes ----------------------------------------------------------------------------


@pytest.mark.quick
def test_users_come_one_by_one_and_the_window_is_the_section() -> None:
    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 0.3)
        bench.loop.set_level(Level(3, seconds=4.0, ramp=(1, 4, 4.0)))
        await bench.until("level_over")
        bench.loop.set_level(Level(3, seconds=3.0, ramp=(4, 2, 3.0)))
        await bench.until("level_over")
        up, down = bench.windows
        assert (up.concurrency, up.ramp, down.ramp) == (3, (1, 4), (4, 2))
        assert (up.start_s, up.end_s) == pytest.approx((0.0, 4.0))
        assert down.end_s - down.start_s == pytest.approx(3.0)
        begun = {slot: at for at, slot in reversed(bench.sent)}
        assert begun == pytest.approx({0: 0, 1: 1, 2: 2, 3: 3})
        assert up.in_flight_mean == pytest.approx(bench.in_flight(0, 4)) == pytest.approx(2.5)
        last = {slot: at for at, slot in bench.sent}
        assert 4.7 < last[3] < 5.0
        assert 5.7 < last[2] < 6.0
        await bench.drained()
        assert bench.count("window") == 2

    run(test)


@pytest.mark.quick
def test_a_ramp_that_is_stopped_goes_no_further() -> None:
    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 0.3)
        bench.loop.set_level(Level(5, seconds=9.0, ramp=(1, 9, 9.0)))
        await asyncio.sleep(2.5)
        await bench.drained()
        await asyncio.sleep(9)
        assert {slot for _, slot in bench.sent} == {0, 1, 2}
        [window] = bench.windows
        assert (window.concurrency, window.ramp) == (2, (1, 3)), "as far as it came"

    run(test)


@pytest.mark.quick
@pytest.mark.parametrize("arrivals", ["poisson", "constant", "gamma"])
def test_arrivals_come_at_the_rate_that_a_ramp_has_by_then(arrivals: str) -> None:
    """From 2 to 10 per second within 100 s: 600 in all, a quarter of the time after 2 + 8 / 4 …"""
    counts = np.zeros(5)
    for seed in range(20):
        times = ramped(arrival_times(1.0, arrivals, 0.5, Random(seed)), 2.0, 10.0, 100.0)
        at = np.array(list(islice(times, 900)))
        assert (np.diff(at) >= 0).all()
        counts += np.histogram(at, [0, 25, 50, 75, 100, 110])[0] / 20
    assert counts == pytest.approx([75, 125, 175, 225, 100], rel=0.1)
    falling = list(islice(ramped(iter(range(100)), 3.0, 1.0, 10.0), 31))
    gaps = [b - a for a, b in pairwise(falling)]
    assert gaps[:20] == sorted(gaps[:20])
    assert gaps[0] == pytest.approx(1 / 3, rel=0.05)
    assert gaps[-1] == pytest.approx(1.0)


@pytest.mark.quick
def test_an_open_loop_ramps_and_counts_at_once() -> None:
    async def test() -> None:
        bench = OpenBench(takes=lambda number: 5.0)
        ramp = (1.0, 3.0, 10.0)
        bench.loop.set_level(OpenLevel(2.0, "constant", seconds=10.0, ramp=ramp))
        await bench.until("level_over")
        [window] = bench.windows
        assert (window.rate, window.ramp) == (2.0, (1.0, 3.0))
        assert (window.start_s, window.end_s) == pytest.approx((0.0, 10.0))
        assert len(bench.sent) == 20
        assert sum(at < 5 for at in bench.sent) == 8, "half of 1 + 2 times 5 s, from 0 on"
        bench.loop.set_level(OpenLevel(2.0, "constant", seconds=10.0, ramp=ramp))
        await asyncio.sleep(5)
        await bench.loop.stop()
        cut = bench.windows[-1]
        assert (cut.ramp, cut.rate) == ((1.0, 2.0), 1.5), "as far as it came"

    run(test)


# --- what a section counts ------------------------------------------------------------------------


@pytest.mark.quick
def test_latencies_are_of_requests_sent_in_the_section() -> None:
    """In (10, 20]: eight requests of TTFT 400 ms; one from before brings tokens and ends in it."""
    samples = [request(9.5, (100.0, 2000.0, 4000.0), slot=9)]
    samples += [request(10.5 + n, (400.0, 900.0, 9000.0), slot=n) for n in range(8)]
    samples += [failure(19.0), request(20.5, (50.0, 60.0))]
    window = Window(5, 10.0, 20.0, 5.0, closed=True, ramp=(1, 8))
    point = operating_point(samples, window, limits=tp_limits())
    assert (point["concurrency"], point["ramp_from"], point["ramp_to"]) == (5, 1.0, 8.0)
    assert (point["n"], point["n_failed"]) == (8, 1)
    assert point["ttft_p50_ms"] == pytest.approx(400.0)
    assert point["output_tps"] == pytest.approx((2 + 2 * 8 + 1) / 10)  # of the first sent, its end
    assert point["rps"] == pytest.approx((1 + 1) / 10)
    assert point["limits_hold"] is None
    assert point["ttft_p50_firm"] is False
    assert not [n for n, v in point.items() if n.endswith(("_lo", "_hi")) and v is not None]
    assert str(point["note"]).startswith("amid a ramp: 1 to 8 users; 1 of 9 requests failed")
    assert not point["client_limited"]


def tp_limits() -> Any:
    from tpwidgets.metrics.slo import Limits

    return Limits.of({"ttft_p95_ms": 300})


@pytest.mark.quick
def test_latencies_that_the_end_cut_off_are_told_of() -> None:
    samples = [request(10.5 + n) for n in range(8)]
    samples += [request(18.0, status="stopped"), request(19.0, phase="cooldown")]
    window = Window(0, 10.0, 20.0, 5.0, closed=True, rate=1.0, ramp=(0.5, 1.5))
    note = str(operating_point(samples, window)["note"])
    assert "amid a ramp: 0.5 to 1.5 requests/s" in note
    assert "latencies are too low: 1 requests sent here were stopped" in note
    assert "latencies are too low: 1 requests sent here outlived the load" in note


def section(at: int, tps: float, ttft_ms: float = 100.0, **more: Any) -> dict[str, Any]:
    return {
        "concurrency": at, "rate": None, "n": 50, "output_tps": tps, "ttft_p50_ms": ttft_ms,
        "ttft_p95_ms": 2 * ttft_ms, "ramp_from": at - 3, "ramp_to": at + 4, "error_rate": 0.0,
        "provisional": False, "client_limited": False, **more,
    }  # fmt: skip


LEVELS = range(4, 64, 8)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("tps", "at"),
    [
        ([100, 200, 300, 400, 410, 405, 415, 400], 28),
        ([100, 200, 300, 200, 100, 50, 30, 20], 20),
        ([100, 200, 300, 400, 500, 600, 700, 800], None),
        ([400, 300, 410, 380, 400, 395, 405, 400], 4),
        ([100, 200], None),
    ],
)
def test_where_throughput_stopped_rising(tps: list[float], at: int | None) -> None:
    found = bend([section(*pair) for pair in zip(LEVELS, tps, strict=False)], 0.1)
    assert (found and found["concurrency"]) == at


@pytest.mark.quick
def test_the_answer_says_where_to_measure_and_certifies_nothing() -> None:
    tps = [100, 200, 300, 400, 410, 405, 415, 400]
    points = [section(at, t, 100 + at * at / 8) for at, t in zip(LEVELS, tps, strict=True)]
    points[-1]["error_rate"] = 0.2
    assert answer(points, limits=tp_limits()) == (
        "Throughput stopped rising at about 28 concurrent, with 400 tokens/s; median TTFT was "
        "262 ms at about 36 concurrent, 102 ms at the lowest; TTFT p95 went above 300 ms at about "
        "28 concurrent; requests failed from about 60 concurrent on; a ramp is no steady state: "
        "measure around there with fixed levels."
    )
    rising = answer([section(at, 10.0 * at) for at in LEVELS])
    assert rising.startswith("Throughput still rose at 60 concurrent, the most in the ramp, with")
    assert rising.endswith("a ramp is no steady state: measure further up with fixed levels.")


# --- all of it ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a ramp from 2 to 9 users shared by two workers, saved and loaded."""
    path = tmp_path_factory.mktemp("ramp") / "run.json"
    with pytest.MonkeyPatch.context() as patch, tp.simulate("vllm-llama-70b", speed=8) as sim:
        patch.setattr(fleet, "_USERS_PER_WORKER", 2)
        patch.setattr(fleet, "usable_cores", lambda: 2)
        measurement = tp.start(
            sim.url, concurrency=(2, 9), ramp_s=2, prompt_tokens=64, output_tokens=8,
            price=tp.Price.per_token(1.0),
        )  # fmt: skip
        texts: set[str] = set()
        measurement.on_update(lambda m: texts.add(m.progress.text))
        run = measurement.wait(60)
        assert len(measurement._fleet.pids) == 2
    assert any(text.startswith("ramp, 2–5 of 9, ") for text in texts)
    assert [level.name for level in measurement.timeline.levels] == ["2–5", "6–9", "9"]
    run.save(path)
    return tp.load(path)


def test_a_ramp_is_measured_by_several_workers(ramp: Run) -> None:
    assert ramp.state == "done"
    assert [(w.concurrency, w.ramp) for w in ramp.windows] == [(4, (2, 5)), (8, (6, 9))]
    assert all(w.length_s > 0.99 for w in ramp.windows)
    assert (ramp.points.n > 0).all()
    assert {s.slot for s in ramp.samples} == set(range(9))
    assert "a ramp from 2 to 9 users in 2 s" in ramp.conditions_line
    assert "nothing settles" in ramp.conditions["window"]


def test_nobody_takes_a_section_for_a_level(ramp: Run) -> None:
    judged = ramp.with_limits({"ttft_p95_ms": 1e6})
    for one in (ramp, judged):  # whether or not this machine is busy with other things
        rows = [row | {"client_limited": False} for row in one.rows]
        assert "a ramp is no steady state" in answer(rows, limits=one.limits)
    with pytest.raises(MeasurementError, match="amid a ramp nothing is steady"):
        ramp.scaling()
    with pytest.raises(SettingsError, match="no steady state"):
        tp.pool([ramp, ramp])
    own, api = tp.Price.per_hour(1.0), tp.Price.per_token(1.0)
    assert tp.break_even(ramp, own, api).answer.startswith("No break-even")
    shown = str(ramp._repr_html_())
    assert "2–5" in shown
    assert "amid a ramp: 6 to 9 users" in shown
    with pytest.raises(SettingsError, match="leave ramp_s away"):
        tp.sweep("http://127.0.0.1:9", prompt_tokens=(8, 16), concurrency=(1, 4), ramp_s=5)


@pytest.mark.quick
def test_what_a_ramp_sends_is_reckoned() -> None:
    """100 tokens take two seconds; 8 users on average for 60 s, and the 15 twice at the end."""
    sent = Outlook.of(Workload(900, 100), load(concurrency="1-15", ramp_s=60))
    assert (sent.how, sent.concurrency, sent.requests) == ("about", 15, 8 * 30 + 2 * 15)
    opened = Outlook.of(Workload(900, 100), load(rate="1-15", ramp_s=60))
    assert (opened.how, opened.concurrency, opened.requests) == ("about", 30, 8 * 60 + 2 * 30)


def test_the_dashboard_ramps() -> None:
    controls = Controls("vllm-llama-70b", {"concurrency": (16, 1), "ramp_s": 30})
    walk, seconds = controls.loads._walk, controls.loads._ramp_s
    assert (walk.value, seconds.value) == ("ramp", 30.0)
    settings = controls.settings()
    assert (settings["concurrency"], settings["ramp_s"]) == ((16, 1), 30.0)
    code = as_code(controls.endpoint(), settings, None)
    assert "concurrency=(16, 1),\n" in code
    assert "ramp_s=30.0,\n" in code
    controls.limits.seconds.value = 5  # of a level: a ramp has its own
    assert controls.limits.seconds.layout.display == "none"
    assert "seconds" not in controls.settings()
    walk.value = "levels"
    assert controls.settings()["seconds"] == 5
    assert seconds.layout.display == "none"
    assert "ramp_s" not in controls.settings()
    walk.value = "ramp"
    controls.loads.take({"concurrency": "1-8"})
    assert walk.value == "levels", "a use case's levels are walked"
    controls.close()
