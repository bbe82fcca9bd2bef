"""The open loop in virtual time, its figures by hand, and a whole measurement of a real server."""

import asyncio
import json
from array import array
from collections.abc import Callable
from itertools import islice, pairwise
from math import nan
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any

import pytest
from test_closed_loop import VirtualTime

import tpwidgets as tp
from tpwidgets import cli
from tpwidgets.endpoints import Endpoint
from tpwidgets.engine.breaker import Breaker
from tpwidgets.engine.budget import Budget, Tariff
from tpwidgets.engine.open_loop import OpenLevel, OpenLoop
from tpwidgets.errors import SettingsError
from tpwidgets.loads import MAX_CONCURRENCY, Load
from tpwidgets.metrics import operating_point
from tpwidgets.politeness import Outlook, restrained
from tpwidgets.rates import OpenLoad, arrival_times, load_of
from tpwidgets.run import Run
from tpwidgets.samples import Sample, Window
from tpwidgets.static import notes, table, ttft_table
from tpwidgets.workload import Workload

quick = pytest.mark.quick


# --- the loop -------------------------------------------------------------------------------------


class Bench:
    """An open loop over requests that take as long as the test says."""

    def __init__(
        self,
        takes: Callable[[int], float] = lambda number: 1.0,
        judge: Callable[[int], tuple[Any, ...]] = lambda number: ("ok", 0.0),
        budget: Budget | None = None,
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self.sent: list[float] = []
        self.slots: list[int] = []
        self._takes, self._judge = takes, judge
        self.aio = asyncio.get_running_loop()
        self.loop = OpenLoop(
            self._request, self.aio.time, self._emit, Breaker(1), budget, unsent=self._unsent
        )
        self._wait: list[tuple[str, asyncio.Event]] = []

    def _emit(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        for kind, event in self._wait:
            if kind in message:
                event.set()
        if "level_over" in message:  # what whoever steers does next
            self.loop.close_window()

    async def until(self, kind: str) -> None:
        event = asyncio.Event()
        self._wait.append((kind, event))
        await event.wait()

    def _unsent(self, message: str) -> Sample:
        now = self.aio.time()
        return Sample("", -1, 0, status="client_limit", message=message, sent_s=now)

    async def _request(self, slot: int) -> tuple[Sample, float]:
        number, begun = len(self.sent), self.aio.time()
        self.sent.append(begun)
        self.slots.append(slot)
        status, asked_s, *code = self._judge(number)
        try:
            await asyncio.sleep(self._takes(number))
        except asyncio.CancelledError:
            status = "stopped"
        took_ms = (self.aio.time() - begun) * 1000
        sample = Sample(f"{number}", slot, 0, status=status, sent_s=begun, ended_ms=took_ms)
        sample.token_ms = array("d", [took_ms] if status == "ok" else [])
        sample.http_status = code[0] if code else None
        return sample, asked_s

    @property
    def samples(self) -> list[Sample]:
        return [m["sample"] for m in self.messages if "sample" in m]

    @property
    def windows(self) -> list[Window]:
        return [Window(**m["window"]) for m in self.messages if "window" in m]

    def count(self, kind: str) -> int:
        return sum(kind in message for message in self.messages)


def run(test: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(test())


@quick
@pytest.mark.parametrize("arrivals", ["poisson", "constant", "gamma"])
def test_each_request_is_sent_at_its_time_whatever_is_in_flight(arrivals: str) -> None:
    async def test() -> None:
        bench = Bench(takes=lambda number: 0.05 + 30.0 * (number % 5 == 0))
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
        bench = Bench()
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
        bench = Bench(takes=lambda number: 20.0 if number < 3 else 2.0)
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
        bench = Bench(takes=lambda number: 7.25 if number == 10 else 0.5)
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
        bench = Bench(takes=lambda number: 10.0 if number < 4 else 1000.0)
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
        limited = Bench(judge=lambda number: ("rate_limited", 60.0, 429))
        limited.loop.set_level(OpenLevel(5.0, "constant", seconds=30))
        await limited.until("level_over")
        assert limited.sent == pytest.approx([n / 5 for n in range(len(limited.sent))])
        assert limited.count("broken") == 0
        await limited.loop.stop()
        dead = Bench(takes=lambda number: 0.0, judge=lambda number: ("refused", 0.0))
        begun = dead.aio.time()
        dead.loop.set_level(OpenLevel(5.0, "constant"))
        await dead.until("idle")
        assert 10 <= dead.aio.time() - begun < 11
        assert dead.windows[0].note == "ended early"
        wrong = Bench(judge=lambda number: ("http_error", 0.0, 401))
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
        bench = Bench(takes=lambda number: 3.0, budget=budget)
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
        benches = [Bench(), Bench(), Bench()]
        for part, bench in enumerate(benches):
            bench.loop.set_level(OpenLevel(9.0, "gamma", 0.3, 7, 0.0, part, 3))
        idle = Bench()
        idle.loop.set_level(OpenLevel(9.0, "gamma", 0.3, 7, 0.0, None, 3))
        await asyncio.sleep(20)
        late = Bench()
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


# --- arrivals and settings ------------------------------------------------------------------------


@quick
@pytest.mark.parametrize(
    ("arrivals", "shape", "spread"),
    [("poisson", 1.0, 1.0), ("constant", 1.0, 0.0), ("gamma", 0.25, 2.0), ("gamma", 4.0, 0.5)],
)
def test_times_between_requests_have_their_mean_and_spread(
    arrivals: str, shape: float, spread: float
) -> None:
    times = [0.0, *islice(arrival_times(5.0, arrivals, shape, Random(1)), 20_000)]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 0
    assert mean(gaps) == pytest.approx(0.2, rel=0.05)
    assert stdev(gaps) / mean(gaps) == pytest.approx(spread, rel=0.05, abs=0.01)


@quick
def test_rates_as_people_write_them() -> None:
    for value in ("1-8", " 1 – 8 ", "1, 2,4 8", (1, 2, 4, 8), [1.0, 2, 4, 8, 8]):
        assert OpenLoad.of(value).rate == (1, 2, 4, 8)
    assert OpenLoad.of(2).rate == (2,)
    assert OpenLoad.of("0.5-3").rate == (0.5, 1, 2, 3)
    assert OpenLoad.of("3-3").rate == (3,)
    assert OpenLoad.of(1, "gamma").burstiness == 0.5
    assert OpenLoad.of(1, "gamma", 2).said == "open loop, gamma arrivals (burstiness 2)"
    assert OpenLoad.of(1).said == "open loop, Poisson arrivals"


@quick
@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("rate", {"rate": r}) for r in (0, -1, 1e5, nan, "8-1", "x", "", (), True, b"1")),
        ("rate", {"rate": "9" * 5000}),
        ("arrivals", {"rate": 1, "arrivals": "uniform"}),
        ("arrivals", {"arrivals": "constant"}),
        ("burstiness", {"burstiness": 0.5}),
        ("burstiness", {"rate": 1, "burstiness": 0.5}),
        ("burstiness", {"rate": 1, "arrivals": "gamma", "burstiness": 0}),
        ("concurrency and rate", {"rate": 1, "concurrency": 4}),
        ("requests", {"rate": 1, "requests": 0}),
        ("seconds", {"rate": 1, "seconds": -1}),
    ],
)  # fmt: skip
def test_what_is_no_open_loop_is_refused_by_name(name: str, given: dict[str, Any]) -> None:
    defaults = dict.fromkeys(("concurrency", "rate", "burstiness", "requests", "seconds"))
    with pytest.raises(SettingsError, match=f"^{name} ") as caught:
        load_of(**defaults | {"arrivals": "poisson"} | given)
    assert len(str(caught.value)) < 6000


@quick
@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ([], Load.of("1-16")),
        (["--concurrency", "2"], Load.of(2)),
        (["--rate", "1,2"], OpenLoad.of((1, 2))),
        (["--rate", "1-4", "--arrivals", "gamma", "--burstiness", "0.3", "--requests", "9"],
         OpenLoad.of("1-4", "gamma", 0.3, 9)),
        (["--concurrency", "auto-64", "--precision", "5", "--limit", "ttft_p95_ms=500"],
         Load.of("auto-64", precision=0.05)),
    ],
)  # fmt: skip
def test_the_terminals_options_mean_the_same(
    options: list[str], meant: Load | OpenLoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("concurrency", "rate", "arrivals", "burstiness", "requests", "seconds", "precision")

    def measure(endpoint: str, **settings: Any) -> None:
        assert load_of(*map(settings.get, names)) == meant
        assert settings["limits"] == ({"ttft_p95_ms": 500.0} if "--limit" in options else {})
        raise SettingsError("as meant.")

    monkeypatch.setattr("tpwidgets.api.measure", measure)
    assert cli.main(["measure", "http://127.0.0.1:9", *options]) == 1


@quick
def test_someone_elses_server_is_asked_for_first_and_never_gets_more_at_once_unasked() -> None:
    asked = Workload(100, 50)  # answers are reckoned with a second each
    sent = Outlook.of(asked, OpenLoad.of((2, 8), seconds=10))
    assert (sent.requests, sent.concurrency, sent.how) == (2 + 20 + 8 + 80, 8, "about")
    assert Outlook.of(asked, OpenLoad.of(33, requests=10)).big
    assert Outlook.of(asked, OpenLoad.of(0.25, requests=10)).requests == 1 + 10
    load, theirs = OpenLoad.of(8), Endpoint("https://api.example.com/v1")
    kept = restrained(theirs, load)
    assert kept.command(8.0)["most"] == 32
    assert kept.said == "open loop, Poisson arrivals, at most 32 at once without confirm=True"
    assert restrained(Endpoint("http://127.0.0.1:8000/v1"), load) is load


# --- figures by hand ------------------------------------------------------------------------------


def request(scheduled_s: float, late_s: float = 0.0, takes_s: float = 2.0, **more: Any) -> Sample:
    """Return a request of three tokens; `late_s` after its time it was sent."""
    sent_s = scheduled_s + late_s
    given: dict[str, Any] = {
        "token_ms": [500.0, 600.0, takes_s * 1000],
        "output_tokens": 3,
        "prompt_tokens": 10,
    }
    return Sample(
        f"{scheduled_s}", 0, 1, sent_s=sent_s, ended_ms=takes_s * 1000, rate=1.0,
        scheduled_s=scheduled_s, dispatched_s=sent_s, **given | more,
    )  # fmt: skip


@quick
def test_latency_from_the_scheduled_time_stands_beside_the_one_from_sending() -> None:
    samples = [request(float(n), late_s=0.3 if n == 10 else 0.0) for n in range(40)]
    samples.append(request(9.5, status="client_limit", token_ms=[], output_tokens=None))
    point = operating_point(samples, Window(0, 5.5, 25.5, 2.0, closed=True, rate=1.0))
    assert (point["rate"], point["concurrency"], point["n"]) == (1.0, 2, 20)
    assert point["sent_rps"] == pytest.approx(1.0)
    assert point["rps"] == pytest.approx(1.0)
    assert (point["rates_start_s"], point["rates_end_s"]) == (5.5, 25.5)
    assert point["output_tps"] == pytest.approx(3.0)
    assert point["ttft_p99_ms"] == pytest.approx(500)
    assert point["ttft_from_scheduled_p50_ms"] == pytest.approx(500)
    assert point["ttft_from_scheduled_p99_ms"] == pytest.approx(500 + 0.81 * 300)
    assert point["e2e_from_scheduled_p99_ms"] == pytest.approx(2000 + 0.81 * 300)
    assert point["e2e_from_scheduled_p50_ms_hi"] == pytest.approx(2000)
    assert point["sched_delay_p99_ms"] == pytest.approx(0.8 * 300)
    assert point["client_limited"]
    assert "requests were sent up to 240 ms after their time" in str(point["note"])
    assert "1 requests could not be sent" in str(point["note"])


@quick
def test_tables_and_notes_are_by_rate() -> None:
    samples = [request(float(n), late_s=1.0) for n in range(40)]
    run = Run(samples, [Window(0, 5.5, 25.5, 2.5, closed=True, rate=0.5)], {})
    heads, [cells] = table(run)
    assert dict(zip(heads[:3], cells, strict=False)) == {
        "requests/s": "0.5 *", "sent": "1", "in flight": "2.5",
    }  # fmt: skip
    assert ttft_table(run) is None
    assert notes(run)[0].startswith("at 0.5 requests/s *: the client was the limit")


@quick
def test_a_little_late_is_not_too_late() -> None:
    samples = [request(float(n), late_s=0.04) for n in range(40)]
    point = operating_point(samples, Window(0, 5.5, 25.5, 2.0, closed=True, rate=1.0))
    assert point["sched_delay_p99_ms"] == pytest.approx(40)  # 8 % of TTFT
    assert (point["client_limited"], point["note"]) == (False, "")


@quick
def test_an_open_window_counts_up_to_the_oldest_request_in_flight() -> None:
    everything = [request(float(n), takes_s=9.0 if n == 20 else 2.0) for n in range(40)]
    now_s = 25.5
    known = [s for s in everything if s.ended_s <= now_s]
    window = Window(0, 5.5, now_s, 2.0, rate=1.0, known_s=20.0)
    point = operating_point(known, window, provisional=True)
    assert point["rates_end_s"] == pytest.approx(20.0)
    assert point["sent_rps"] == pytest.approx(14 / 14.5)  # that one itself is not known yet
    assert point["output_tps"] == pytest.approx(3.0, rel=0.05)
    assert point["ttft_from_scheduled_p50_ms"] == pytest.approx(500)
    early = Window(0, 5.5, now_s, 2.0, rate=1.0, known_s=6.0)
    point = operating_point(known, early, provisional=True)
    assert (point["sent_rps"], point["output_tps"]) == (None, None)  # of too little of it


@quick
@pytest.mark.parametrize(("served_rps", "steady"), [(2.0, False), (8.0, True)])
def test_a_queue_that_grows_is_no_steady_state(served_rps: float, steady: bool) -> None:
    free_s, samples = 0.0, []
    for due_s in islice(arrival_times(4.0, "poisson", 1.0, Random(2)), 200):
        free_s = max(free_s, due_s) + 1 / served_rps
        samples.append(request(due_s, token_ms=[1000 * (free_s - due_s)]))
    point = operating_point(samples, Window(0, 5.0, 25.0, 5.0, closed=True, rate=4.0))
    said = "not a steady state: 3.25 requests/s arrive, 2 are answered"
    assert str(point["note"]) == ("" if steady else said)
    assert point["queue_grows"] is not steady
    assert not point["client_limited"]


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
