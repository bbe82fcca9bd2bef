"""The closed loop in virtual time: every moment is exact, and nothing waits."""

import asyncio
from array import array
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpwidgets.engine.breaker import Breaker
from tpwidgets.engine.closed_loop import ClosedLoop, Level
from tpwidgets.samples import Sample, Window

pytestmark = pytest.mark.quick


class VirtualTime(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer whenever there is nothing else to do."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        due = [timer._when for timer in self._scheduled if not timer._cancelled]
        if not self._ready and due:
            self.now = max(self.now, min(due))
        super()._run_once()


class Bench:
    """A closed loop over requests that take as long as the test says."""

    def __init__(
        self,
        takes: Callable[[int, int], float] = lambda slot, turn: 1.0,
        judge: Callable[[int, int], tuple[Any, ...]] = lambda slot, turn: ("ok", 0.0),
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self.sent: list[tuple[float, int]] = []
        self.flying: list[tuple[float, float]] = []
        self.turns: dict[int, int] = {}
        self._takes, self._judge = takes, judge
        self.aio = asyncio.get_running_loop()
        self.loop = ClosedLoop(self._request, self.aio.time, self._emit, Breaker(1))
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

    async def _request(self, slot: int) -> tuple[Sample, float]:
        turn = self.turns[slot] = self.turns.get(slot, -1) + 1
        begun = self.aio.time()
        self.sent.append((begun, slot))
        status, pause, *code = self._judge(slot, turn)
        try:
            await asyncio.sleep(self._takes(slot, turn))
        except asyncio.CancelledError:
            status = "stopped"
        took = self.aio.time() - begun
        self.flying.append((begun, self.aio.time()))
        sample = Sample(f"{slot}-{turn}", slot, 0, status=status, sent_s=begun)
        sample.token_ms = array("d", [took * 1000] if status == "ok" else [])
        sample.ended_ms = took * 1000
        sample.http_status = code[0] if code else None
        sample.message = "" if status in ("ok", "stopped") else f"said {status}"
        return sample, pause

    @property
    def samples(self) -> list[Sample]:
        return [m["sample"] for m in self.messages if "sample" in m]

    @property
    def windows(self) -> list[Window]:
        return [Window(**m["window"]) for m in self.messages if "window" in m]

    def count(self, kind: str) -> int:
        return sum(kind in message for message in self.messages)

    def in_flight(self, start: float, end: float) -> float:
        """Return the mean in flight by the requests' own account."""
        area = sum(max(0.0, min(b, end) - max(a, start)) for a, b in self.flying)
        return area / (end - start)


def run(test: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(test())


def span(window: Window) -> float:
    return window.end_s - window.start_s + 1e-9  # sums of floats differ in their last bits


async def drained(bench: Bench) -> None:
    bench.loop.finish()
    if not bench.count("idle"):
        await bench.until("idle")


def test_a_level_counts_what_was_asked_once_every_user_was_refilled() -> None:
    async def test() -> None:
        bench = Bench(takes=lambda slot, turn: 1.0 + slot / 10)
        bench.loop.set_level(Level(4, requests=10))
        await bench.until("level_over")
        [window] = bench.windows
        first_ends = {}
        for sample in bench.samples:
            first_ends.setdefault(sample.slot, sample.ended_s)
        assert window.start_s == pytest.approx(max(first_ends.values()))
        assert len(first_ends) == 4
        inside = [s for s in bench.samples if 1e-9 < s.ended_s - window.start_s <= span(window)]
        assert len(inside) == 10
        assert [s.request_id for s in bench.samples if s.phase == "measured"] == [
            s.request_id for s in inside
        ]
        assert window.closed
        assert window.note == ""
        await drained(bench)
        assert {s.phase for s in bench.samples if s.ended_s > window.end_s} == {"cooldown"}
        assert bench.count("level_over") == bench.count("idle") == 1

    run(test)


def test_the_window_spans_exactly_the_seconds_asked_for() -> None:
    async def test() -> None:
        bench = Bench()
        bench.loop.set_level(Level(2, seconds=7.25))
        await bench.until("level_over")
        [window] = bench.windows
        assert window.end_s - window.start_s == pytest.approx(7.25)
        await drained(bench)

    run(test)


def test_whichever_comes_first() -> None:
    async def test() -> None:
        for level, length in ((Level(1, 3, 100.0), 3.0), (Level(1, 100, 2.5), 2.5)):
            bench = Bench()
            bench.loop.set_level(level)
            await bench.until("level_over")
            assert bench.windows[0].end_s - bench.windows[0].start_s == pytest.approx(length)
            await drained(bench)
            assert bench.count("level_over") == 1

    run(test)


def test_users_start_one_after_the_other_within_a_second() -> None:
    async def test() -> None:
        for users in (5, 200):
            bench = Bench(takes=lambda slot, turn: 50.0)
            begun = bench.aio.time()
            bench.loop.set_level(Level(users))
            await asyncio.sleep(2)
            starts = [at - begun for at, _ in bench.sent]
            assert len(set(starts)) == len(starts) == users
            assert max(starts) <= 1.0
            await bench.loop.stop()

    run(test)


def test_up_and_down_without_draining() -> None:
    async def test() -> None:
        bench = Bench(takes=lambda slot, turn: 1.0 + slot / 50)
        for level in (2, 8, 3, 5):
            bench.loop.set_level(Level(level, requests=20))
            await bench.until("level_over")
        await drained(bench)
        for window in bench.windows:
            assert window.in_flight_mean == pytest.approx(window.concurrency, abs=1e-6)
            assert bench.in_flight(window.start_s, window.end_s) == pytest.approx(
                window.in_flight_mean, abs=1e-6
            )
        # nobody ever waits between two requests, and nobody is broken off for a level's sake
        for slot in range(2):
            turns = [(s.sent_s, s.ended_s) for s in bench.samples if s.slot == slot]
            assert all(a[1] == pytest.approx(b[0]) for a, b in pairwise(turns))
        assert {s.status for s in bench.samples} == {"ok"}
        assert [w.concurrency for w in bench.windows] == [2, 8, 3, 5]
        assert bench.count("idle") == 1

    run(test)


def test_the_window_waits_for_those_who_retire() -> None:
    """The level goes down while retiring users still hold long requests."""

    async def test() -> None:
        bench = Bench(takes=lambda slot, turn: 1.0 if slot < 2 else 20.0)
        bench.loop.set_level(Level(4))
        await asyncio.sleep(5)
        bench.loop.set_level(Level(2, requests=4))
        await bench.until("level_over")
        [window] = bench.windows
        assert window.start_s >= 20.0
        assert window.in_flight_mean == pytest.approx(2.0)
        await drained(bench)

    run(test)


def test_who_retires_amid_a_pause_leaves_at_once() -> None:
    async def test() -> None:
        bench = Bench(judge=lambda slot, turn: ("rate_limited", 60.0) if slot == 1 else ("ok", 0.0))
        bench.loop.set_level(Level(2))
        await asyncio.sleep(3)
        bench.loop.set_level(Level(1, requests=2))
        await bench.until("level_over")
        assert bench.aio.time() < 10
        await drained(bench)
        assert bench.aio.time() < 10

    run(test)


def test_retry_after_pauses_one_user_only() -> None:
    async def test() -> None:
        bench = Bench(
            judge=lambda slot, turn: ("rate_limited", 10.0) if (slot, turn) == (0, 1) else ("ok", 0)
        )
        bench.loop.set_level(Level(2))
        await asyncio.sleep(20)
        await bench.loop.stop()
        starts = {slot: [at for at, s in bench.sent if s == slot] for slot in (0, 1)}
        gaps = [b - a for a, b in pairwise(starts[0])]
        assert gaps[1] == pytest.approx(11.0)
        assert [g for i, g in enumerate(gaps) if i != 1] == pytest.approx([1.0] * (len(gaps) - 1))
        assert [b - a for a, b in pairwise(starts[1])] == pytest.approx([1.0] * 19)

    run(test)


def test_a_paused_user_is_not_in_flight() -> None:
    async def test() -> None:
        bench = Bench(judge=lambda slot, turn: ("rate_limited", 1.0))
        bench.loop.set_level(Level(3, requests=30))
        await bench.until("level_over")
        [window] = bench.windows
        assert window.in_flight_mean == pytest.approx(1.5, rel=0.05)
        assert window.in_flight_mean == pytest.approx(bench.in_flight(window.start_s, window.end_s))
        await drained(bench)

    run(test)


def test_stop_breaks_off_and_tells_of_each() -> None:
    async def test() -> None:
        bench = Bench(takes=lambda slot, turn: 1.0 if turn < 2 else 1000.0)
        bench.loop.set_level(Level(3))
        await asyncio.sleep(10)
        await bench.loop.stop()
        stopped = [s for s in bench.samples if s.status == "stopped"]
        assert [s.slot for s in stopped] == [0, 1, 2]
        assert all(s.phase != "measured" for s in stopped)
        assert bench.windows[0].note == "stopped"
        assert bench.windows[0].closed
        assert bench.count("idle") == 1
        assert bench.loop.live["in_flight"] == 0
        assert bench.aio.time() == 10

    run(test)


def test_stop_before_anyone_began() -> None:
    async def test() -> None:
        bench = Bench()
        bench.loop.set_level(Level(3))
        await bench.loop.stop()
        assert bench.samples == []
        assert bench.count("idle") == 1

    run(test)


def test_finish_lets_what_is_in_flight_end_and_sends_nothing_more() -> None:
    async def test() -> None:
        bench = Bench(takes=lambda slot, turn: 5.0)
        bench.loop.set_level(Level(3))
        await asyncio.sleep(7)
        bench.loop.finish()
        sent = len(bench.sent)
        await bench.until("idle")
        assert len(bench.sent) == sent == len(bench.samples)
        assert {s.status for s in bench.samples} == {"ok"}
        bench.loop.finish()
        await asyncio.sleep(100)
        assert bench.count("idle") == 1

    run(test)


# --- the breaker ----------------------------------------------------------------------------------


def failing(kind: str, *, code: int | None = None, asked_s: float = 0.0, good: int = 0) -> Any:
    """Return a judge under which each user succeeds so often, and then fails."""
    return lambda slot, turn: ("ok", 0.0) if turn < good else (kind, asked_s, code)


def test_a_server_that_fails_for_good_ends_the_sweep_with_what_there_is() -> None:
    async def test() -> None:
        bench = Bench(judge=failing("disconnected", good=5))
        bench.loop.set_level(Level(2, requests=1000))
        await bench.until("idle")
        assert bench.count("broken") == 1
        assert bench.count("level_over") == 0
        [window] = bench.windows
        assert window.note == "ended early"
        assert sum(s.status == "ok" for s in bench.samples) == 10
        failed = [s for s in bench.samples if s.status == "disconnected"]
        assert len(failed) >= 8
        assert 10 <= failed[-1].ended_s - failed[0].ended_s < 14
        said = next(m["broken"] for m in bench.messages if "broken" in m)
        assert said.endswith(" s: cut off (said disconnected)")

    run(test)


@pytest.mark.parametrize("users", [1, 4, 64])
def test_a_server_that_is_back_in_time_breaks_nothing(users: int) -> None:
    """It fails at once for 9 s, as one does that is restarted."""

    async def test() -> None:
        bench = Bench(takes=lambda slot, turn: 0.1)
        begun = bench.aio.time()
        bench._judge = lambda slot, turn: (
            ("refused", 0.0) if 5 <= bench.aio.time() - begun < 14 else ("ok", 0.0)
        )
        bench.loop.set_level(Level(users, seconds=20))
        await bench.until("level_over")
        assert bench.count("broken") == 0
        assert bench.samples[-1].status == "ok"
        assert any(s.status == "refused" for s in bench.samples)
        await bench.loop.stop()

    run(test)


@pytest.mark.parametrize(("users", "limit_s", "waves"), [(1, 60.0, 3), (4, 60.0, 1), (4, 2.0, 5)])
def test_a_silent_server_costs_no_more_time_limits_than_it_must(
    users: int, limit_s: float, waves: int
) -> None:
    async def test() -> None:
        bench = Bench(takes=lambda slot, turn: limit_s, judge=failing("timeout"))
        bench.loop.set_level(Level(users))
        await bench.until("broken")
        assert len(bench.sent) <= waves * users
        assert (waves - 1) * limit_s <= bench.aio.time() <= waves * (limit_s + 1.5) + 1

    run(test)


@pytest.mark.parametrize("code", [401, 402, 403, 404])
def test_a_refusal_for_good_ends_it_at_once_unless_something_ended_well(code: int) -> None:
    async def test() -> None:
        for users, sent in ((1, 2), (4, 4), (64, 8)):
            bench = Bench(takes=lambda s, t: 0.1, judge=failing("http_error", code=code))
            bench.loop.set_level(Level(users))
            await bench.until("broken")
            assert sum(s.status == "http_error" for s in bench.samples) == sent
            await bench.loop.stop()
        bench = Bench(takes=lambda s, t: 0.1, judge=failing("http_error", code=code, good=1))
        begun = bench.aio.time()
        bench.loop.set_level(Level(2))
        await bench.until("broken")
        assert bench.aio.time() - begun > 10

    run(test)


def test_one_refusal_for_good_among_others_ends_nothing() -> None:
    async def test() -> None:
        bench = Bench(judge=lambda s, t: ("http_error", 0, 404) if s == t == 0 else ("ok", 0))
        bench.loop.set_level(Level(4, requests=20))
        await bench.until("level_over")
        assert bench.count("broken") == 0
        await drained(bench)

    run(test)


def test_whoever_asks_to_wait_for_an_hour_is_not_waited_for() -> None:
    async def test() -> None:
        for users in (1, 4):
            bench = Bench(judge=failing("rate_limited", asked_s=3600.0, good=2))
            begun = bench.aio.time()
            bench.loop.set_level(Level(users))
            await bench.until("idle")
            assert bench.aio.time() - begun < 10
            [said] = [m["broken"] for m in bench.messages if "broken" in m]
            assert said == "it asks to wait too long: rate-limited (said rate_limited)"

    run(test)


def test_a_rate_limit_is_no_death() -> None:
    async def test() -> None:
        bench = Bench(judge=failing("rate_limited", asked_s=1.0, code=429))
        bench.loop.set_level(Level(4, seconds=60))
        await bench.until("level_over")
        assert bench.count("broken") == 0
        await bench.loop.stop()

    run(test)


def test_a_user_backs_off_further_after_each_failure_and_not_in_step_with_others() -> None:
    async def test() -> None:
        bench = Bench(takes=lambda s, t: 0.0, judge=lambda s, t: ("refused" if t != 6 else "ok", 0))
        bench.loop.set_level(Level(8))
        await asyncio.sleep(11)
        await bench.loop.stop()
        firsts = set()
        for slot in range(8):
            starts = [at for at, user in bench.sent if user == slot]
            first, second, third, fourth, *_ = (b - a for a, b in pairwise(starts))
            firsts.add(first)
            assert 0.25 <= first <= 0.5 <= second <= 1.0 <= min(third, fourth)
            assert max(third, fourth) <= 2.0
            assert starts[7] == starts[6]  # after the sixth, which went well
        assert len(firsts) == 8

    run(test)


def test_failures_among_successes_break_nothing() -> None:
    async def test() -> None:
        bench = Bench(judge=lambda slot, turn: ("http_error" if turn % 2 else "ok", 0.0))
        bench.loop.set_level(Level(4, requests=100))
        await bench.until("level_over")
        await drained(bench)
        assert bench.count("broken") == 0

    run(test)


def test_the_live_view_leaves_the_window_alone() -> None:
    async def test() -> None:
        bench = Bench()
        bench.loop.set_level(Level(2, requests=500))
        await asyncio.sleep(10.5)
        live = bench.loop.live
        assert live["window"]["end_s"] == pytest.approx(10.5)
        assert live["window"]["in_flight_mean"] == pytest.approx(2.0)
        assert not live["window"]["closed"]
        assert live["in_flight"] == 2
        await bench.until("level_over")
        assert len(bench.loop.live["window"] or []) == 0
        assert len(bench.samples) >= 500
        assert bench.windows[0].in_flight_mean == pytest.approx(2.0)
        await drained(bench)

    run(test)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 25)), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_whatever_the_levels_and_durations_the_books_are_right(
    levels: list[tuple[int, int]], seed: int
) -> None:
    async def test() -> None:
        random = Random(seed)
        bench = Bench(takes=lambda slot, turn: random.uniform(0.1, 3.0))
        for users, requests in levels:
            bench.loop.set_level(Level(users, requests=requests))
            await bench.until("level_over")
        await drained(bench)
        assert [w.concurrency for w in bench.windows] == [users for users, _ in levels]
        for window, (users, requests) in zip(bench.windows, levels, strict=True):
            inside = [s for s in bench.samples if 1e-9 < s.ended_s - window.start_s <= span(window)]
            assert len(inside) >= requests
            assert window.in_flight_mean <= users + 1e-9
            assert window.in_flight_mean == pytest.approx(
                bench.in_flight(window.start_s, window.end_s)
            )
        assert bench.count("idle") == 1
        assert len({s.request_id for s in bench.samples}) == len(bench.samples) == len(bench.sent)

    run(test)
