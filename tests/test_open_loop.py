"""The open loop in virtual time, and whole measurements of real servers."""

import asyncio
import json
from itertools import islice
from pathlib import Path
from random import Random
from statistics import mean

import pytest
from loops import OpenBench, run

import tpwidgets as tp
from tpwidgets.engine.budget import Budget, Tariff
from tpwidgets.engine.open_loop import OpenLevel
from tpwidgets.workload.loads import MAX_CONCURRENCY
from tpwidgets.workload.rates import arrival_times

quick = pytest.mark.quick


@quick
@pytest.mark.parametrize("arrivals", ["poisson", "constant", "gamma"])
def test_each_request_is_sent_at_its_time_whatever_is_in_flight(arrivals: str) -> None:
    async def test() -> None:
        bench = OpenBench(takes=lambda number: 0.05 + 30.0 * (number % 5 == 0))
        bench.loop.set_level(OpenLevel(10.0, arrivals, 0.5, seed=3))
        await asyncio.sleep(100)
        await bench.loop.stop()
        due = list(islice(arrival_times(10.0, arrivals, 0.5, Random(3)), len(bench.sent)))
        assert bench.sent == pytest.approx(due, abs=1e-9)
        assert len(due) == pytest.approx(1000, rel=0.15)
        for sample in bench.samples:
            assert sample.scheduled_s == pytest.approx(due[int(sample.request_id)], abs=1e-9)
            assert sample.dispatched_s == sample.sent_s
            assert sample.rate == 10.0
        # the lowest free slot: as many as were in flight at once, and no more
        assert sorted(set(bench.slots)) == list(range(max(s.concurrency for s in bench.samples)))

    run(test)


@quick
def test_a_delay_is_told_and_does_not_add_up() -> None:
    """Whoever computes for a second in the loop's thread delays what was due meanwhile, only."""

    async def test() -> None:
        bench = OpenBench()
        bench.loop.set_level(OpenLevel(4.0, "constant"))
        await asyncio.sleep(2.1)
        bench.aio.now += 1.0  # type: ignore[attr-defined]
        await asyncio.sleep(2)
        await bench.loop.stop()
        by_time = {round(s.scheduled_s or 0.0, 6): s for s in bench.samples}
        assert sorted(by_time) == [n / 4 for n in range(len(by_time))]
        for at_s, sample in by_time.items():
            delayed = 2.1 < at_s < 3.1
            assert sample.sent_s == sample.dispatched_s == pytest.approx(3.1 if delayed else at_s)
            assert sample.late_ms == pytest.approx(1000 * (3.1 - at_s) if delayed else 0, abs=1e-6)

    run(test)


@quick
def test_the_window_waits_for_the_level_before_and_for_the_first_of_its_own() -> None:
    async def test() -> None:
        bench = OpenBench(takes=lambda number: 20.0 if number < 3 else 2.0)
        bench.loop.set_level(OpenLevel(1.0, "constant"))
        await asyncio.sleep(5.5)
        assert bench.loop.live["window"] is None
        bench.loop.set_level(OpenLevel(4.0, "constant", requests=20))
        await bench.until("level_over")
        [window] = bench.windows
        assert window.start_s == pytest.approx(22.0)  # when the third request has ended
        assert (window.rate, window.concurrency) == (4.0, 0)
        assert window.in_flight_mean == pytest.approx(8.0)  # Little's law: 4/s, of 2 s each
        inside = [s for s in bench.samples if s.phase == "measured"]
        assert len(inside) == 20
        assert {s.rate for s in inside} == {4.0}
        bench.loop.finish()
        await bench.until("idle")
        assert len(bench.samples) == len(bench.sent)
        assert {s.phase for s in bench.samples if s.ended_s > window.end_s + 1e-6} == {"cooldown"}
        assert bench.count("level_over") == bench.count("idle") == 1

    run(test)


@quick
def test_an_open_window_tells_until_when_all_is_known() -> None:
    async def test() -> None:
        bench = OpenBench(takes=lambda number: 7.25 if number == 10 else 0.5)
        bench.loop.set_level(OpenLevel(1.0, "constant", seconds=100))
        for now, known in ((9.75, None), (10.25, 10.0), (15.25, 10.0), (17.75, None)):
            await asyncio.sleep(now - bench.aio.time())
            assert bench.loop.live["window"]["known_s"] == known
        await bench.loop.stop()
        assert bench.windows[0].note == "stopped"

    run(test)


@quick
def test_what_can_not_be_sent_is_a_sample_of_its_own() -> None:
    async def test() -> None:
        bench = OpenBench(takes=lambda number: 10.0 if number < 4 else 1000.0)
        bench.loop.set_level(OpenLevel(2.0, "constant", most=4))
        await asyncio.sleep(25.25)
        assert bench.loop.in_flight == 4
        unsent = [s for s in bench.samples if s.status == "client_limit"]
        assert len(unsent) + len(bench.sent) == 51  # each that was due is told of
        assert {s.message for s in unsent} == {"4 were in flight already"}
        assert {s.slot for s in unsent} == {-1}
        assert all(s.scheduled_s == s.dispatched_s for s in unsent)
        assert bench.count("broken") == 0  # it says nothing of the server
        await bench.loop.stop()
        assert sum(s.status == "stopped" for s in bench.samples) == 4

    run(test)


@quick
def test_nobody_waits_after_a_refusal_and_a_dead_server_still_ends_it() -> None:
    async def test() -> None:
        limited = OpenBench(judge=lambda number: ("rate_limited", 60.0, 429))
        limited.loop.set_level(OpenLevel(5.0, "constant", seconds=30))
        await limited.until("level_over")
        assert limited.sent == pytest.approx([n / 5 for n in range(len(limited.sent))])
        assert limited.count("broken") == 0
        await limited.loop.stop()
        dead = OpenBench(takes=lambda number: 0.0, judge=lambda number: ("refused", 0.0))
        begun = dead.aio.time()
        dead.loop.set_level(OpenLevel(5.0, "constant"))
        await dead.until("idle")
        assert 10 <= dead.aio.time() - begun < 11
        assert dead.windows[0].note == "ended early"
        wrong = OpenBench(judge=lambda number: ("http_error", 0.0, 401))
        wrong.loop.set_level(OpenLevel(5.0, "constant"))
        await wrong.until("broken")
        assert len(wrong.samples) == 5

    run(test)


@quick
def test_it_ends_before_more_is_spent_than_there_is() -> None:
    async def test() -> None:
        tariff = Tariff(tp.Price.per_token(output=1e6), 0, 1)  # 1 USD a request
        asked: list[float] = []
        budget = Budget(tariff, asked.append)
        bench = OpenBench(takes=lambda number: 3.0, budgets=[budget])
        bench.loop.set_level(OpenLevel(1.0, "constant"))
        await asyncio.sleep(0.5)
        assert bench.sent == []
        budget.grant(4.0)
        await asyncio.sleep(0)
        assert bench.sent == [0.5]  # the first had to wait for money; the others are on time
        while bench.count("spent") == 0:
            await asyncio.sleep(0.25)
            if len(asked) > 1:
                budget.grant(0.0)
        assert len(bench.sent) == 4
        assert bench.sent[1:] == [1.0, 2.0, 3.0]
        await bench.until("idle")

    run(test)


@quick
def test_workers_send_each_arrival_once() -> None:
    async def test() -> None:
        benches = [OpenBench(), OpenBench(), OpenBench()]
        for part, bench in enumerate(benches):
            bench.loop.set_level(OpenLevel(9.0, "gamma", 0.3, 7, 0.0, part, 3))
        idle = OpenBench()
        idle.loop.set_level(OpenLevel(9.0, "gamma", 0.3, 7, 0.0, None, 3))
        await asyncio.sleep(20)
        late = OpenBench()
        late.loop.set_level(OpenLevel(9.0, "gamma", 0.3, 7, 0.0, 0, 3))
        await asyncio.sleep(1)
        for bench in (*benches, idle, late):
            await bench.loop.stop()
        assert late.sent == [at for at in benches[0].sent if at > 20]
        sent = sorted(at for bench in benches for at in bench.sent)
        due = islice(arrival_times(9.0, "gamma", 0.3, Random(7)), len(sent))
        assert sent == pytest.approx(list(due))
        assert idle.sent == []
        assert idle.count("idle") == 1

    run(test)


# --- real servers ---------------------------------------------------------------------------------


def test_a_server_gets_the_offered_rate_and_littles_law_holds(tmp_path: Path) -> None:
    log = tmp_path / "server.jsonl"
    with tp.simulate("vllm-llama-70b", speed=4, log=log) as sim:
        measurement = tp.start(
            sim.url, rate=(10, 20), arrivals="constant", seconds=1.5, prompt_tokens=32,
            output_tokens=24,
        )  # fmt: skip
        run = measurement.wait()
    points = run.points
    assert run.state == "done"
    assert list(points.rate) == [10, 20]
    assert list(points.sent_rps) == pytest.approx([10, 20], rel=0.08)
    served = {json.loads(line)["request_id"]: line for line in log.read_text().splitlines()}
    assert {s.request_id for s in run.samples} <= set(served)
    for window, point in zip(run.windows, run.rows, strict=True):
        ended = [s for s in run.samples if window.start_s < s.ended_s <= window.end_s]
        e2e_s = mean(s.e2e_ms or 0.0 for s in ended) / 1000
        assert window.in_flight_mean == pytest.approx(point["sent_rps"] * e2e_s, rel=0.35)
        assert point["concurrency"] == max(1, round(window.in_flight_mean))
        assert point["e2e_from_scheduled_p50_ms"] >= point["e2e_p50_ms"]
    assert (run.requests.sent_s >= run.requests.dispatched_s).all()
    assert (run.requests.dispatched_s >= run.requests.scheduled_s).all()
    assert "open loop, constant arrivals" in run.conditions_line
    assert repr(run).endswith(f"rate 10, 20; {len(run.samples)} requests>")
    assert tp.load(run.save(tmp_path / "run.json")).points.equals(points)


def test_an_overloaded_server_is_said_to_be_and_workers_share_the_arrivals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tpwidgets.engine import fleet

    monkeypatch.setattr(fleet, "_RATE_PER_WORKER", 20)
    monkeypatch.setattr(fleet, "usable_cores", lambda: 2)
    with tp.simulate("laptop-8b", speed=10) as sim:
        measurement = tp.start(sim.url, rate=60, seconds=1.5, prompt_tokens=48, output_tokens=8)
        run = measurement.wait()
    [point] = run.rows
    assert len(measurement._fleet.pids) == 2
    assert len(run.windows) == 1
    assert point["rate"] == 60
    assert point["rps"] < 0.9 * point["sent_rps"]
    assert "not a steady state" in point["note"]
    assert {s.slot // (MAX_CONCURRENCY // 2) for s in run.samples} == {0, 1}  # of both workers
    measured = [s for s in run.samples if s.phase == "measured"]
    early, late = measured[: len(measured) // 3], measured[-len(measured) // 3 :]
    waited = [mean((s.e2e_ms or 0.0) + (s.late_ms or 0.0) for s in part) for part in (early, late)]
    assert waited[1] > 1.2 * waited[0]
