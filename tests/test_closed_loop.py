"""The closed loop in virtual time: every moment is exact, and nothing waits."""

import asyncio
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import ClosedBench, run

from tpwidgets.engine.closed_loop import Level
from tpwidgets.samples import Window

pytestmark = pytest.mark.quick


def span(window: Window) -> float:
    return window.end_s - window.start_s + 1e-9  # sums of floats differ in their last bits


def test_a_level_counts_what_was_asked_once_every_user_was_refilled() -> None:
    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 1.0 + slot / 10)
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
        await bench.drained()
        assert {s.phase for s in bench.samples if s.ended_s > window.end_s} == {"cooldown"}
        assert bench.count("level_over") == bench.count("idle") == 1

    run(test)


def test_the_window_spans_exactly_the_seconds_asked_for() -> None:
    async def test() -> None:
        bench = ClosedBench()
        bench.loop.set_level(Level(2, seconds=7.25))
        await bench.until("level_over")
        [window] = bench.windows
        assert window.end_s - window.start_s == pytest.approx(7.25)
        await bench.drained()

    run(test)


def test_whichever_comes_first() -> None:
    async def test() -> None:
        for level, length in ((Level(1, 3, 100.0), 3.0), (Level(1, 100, 2.5), 2.5)):
            bench = ClosedBench()
            bench.loop.set_level(level)
            await bench.until("level_over")
            assert bench.windows[0].end_s - bench.windows[0].start_s == pytest.approx(length)
            await bench.drained()
            assert bench.count("level_over") == 1

    run(test)


def test_users_start_one_after_the_other_within_a_second() -> None:
    async def test() -> None:
        for users in (5, 200):
            bench = ClosedBench(takes=lambda slot, turn: 50.0)
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
        bench = ClosedBench(takes=lambda slot, turn: 1.0 + slot / 50)
        for level in (2, 8, 3, 5):
            bench.loop.set_level(Level(level, requests=20))
            await bench.until("level_over")
        await bench.drained()
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


def test_a_level_that_begins_anew_is_as_if_it_were_the_first() -> None:
    """Who stays in step with whom doesn't hang on the levels before."""

    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 1.0 + slot / 7)
        bench.loop.set_level(Level(8, requests=20))
        await bench.until("level_over")
        over_s, before = bench.aio.time(), len(bench.sent)
        bench.loop.set_level(Level(3, requests=9, anew=True))
        await bench.until("level_over")
        begun = bench.sent[before : before + 3]
        assert [slot for _, slot in begun] == [0, 1, 2]
        left_s = max(s.ended_s for s in bench.samples if s.sent_s <= over_s)
        assert [at - left_s for at, _ in begun] == pytest.approx([0, 0.02, 0.04])
        await bench.drained()
        assert [w.concurrency for w in bench.windows] == [8, 3]
        assert bench.windows[1].in_flight_mean == pytest.approx(3)
        assert {s.status for s in bench.samples} == {"ok"}
        assert bench.count("idle") == 1

    run(test)


def test_who_is_told_to_finish_while_all_leave_begins_no_level() -> None:
    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 5.0)
        bench.loop.set_level(Level(4))
        await asyncio.sleep(7)
        bench.loop.set_level(Level(2, anew=True))
        await asyncio.sleep(0.1)
        await bench.drained()
        assert len(bench.sent) == 8
        assert len(bench.windows) == 1

    run(test)


def test_the_window_waits_for_those_who_retire() -> None:
    """The level goes down while retiring users still hold long requests."""

    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 1.0 if slot < 2 else 20.0)
        bench.loop.set_level(Level(4))
        await asyncio.sleep(5)
        bench.loop.set_level(Level(2, requests=4))
        await bench.until("level_over")
        [window] = bench.windows
        assert window.start_s >= 20.0
        assert window.in_flight_mean == pytest.approx(2.0)
        await bench.drained()

    run(test)


def test_who_retires_amid_a_pause_leaves_at_once() -> None:
    async def test() -> None:
        bench = ClosedBench(
            judge=lambda slot, turn: ("rate_limited", 60.0) if slot == 1 else ("ok", 0.0)
        )
        bench.loop.set_level(Level(2))
        await asyncio.sleep(3)
        bench.loop.set_level(Level(1, requests=2))
        await bench.until("level_over")
        assert bench.aio.time() < 10
        await bench.drained()
        assert bench.aio.time() < 10

    run(test)


def test_retry_after_pauses_one_user_only() -> None:
    async def test() -> None:
        bench = ClosedBench(
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
        bench = ClosedBench(judge=lambda slot, turn: ("rate_limited", 1.0))
        bench.loop.set_level(Level(3, requests=30))
        await bench.until("level_over")
        [window] = bench.windows
        assert window.in_flight_mean == pytest.approx(1.5, rel=0.05)
        assert window.in_flight_mean == pytest.approx(bench.in_flight(window.start_s, window.end_s))
        await bench.drained()

    run(test)


def test_stop_breaks_off_and_tells_of_each() -> None:
    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 1.0 if turn < 2 else 1000.0)
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
        bench = ClosedBench()
        bench.loop.set_level(Level(3))
        await bench.loop.stop()
        assert bench.samples == []
        assert bench.count("idle") == 1

    run(test)


def test_finish_lets_what_is_in_flight_end_and_sends_nothing_more() -> None:
    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 5.0)
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


def test_the_live_view_leaves_the_window_alone() -> None:
    async def test() -> None:
        bench = ClosedBench()
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
        await bench.drained()

    run(test)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 25), st.booleans()), min_size=1, max_size=4
    ),
    st.integers(0, 2**32),
)
def test_whatever_the_levels_and_durations_the_books_are_right(
    levels: list[tuple[int, int, bool]], seed: int
) -> None:
    async def test() -> None:
        random = Random(seed)
        bench = ClosedBench(takes=lambda slot, turn: random.uniform(0.1, 3.0))
        for users, requests, anew in levels:
            bench.loop.set_level(Level(users, requests=requests, anew=anew))
            await bench.until("level_over")
        await bench.drained()
        assert [w.concurrency for w in bench.windows] == [users for users, _, _ in levels]
        for window, (users, requests, _) in zip(bench.windows, levels, strict=True):
            inside = [s for s in bench.samples if 1e-9 < s.ended_s - window.start_s <= span(window)]
            assert len(inside) >= requests
            assert window.in_flight_mean <= users + 1e-9
            assert window.in_flight_mean == pytest.approx(
                bench.in_flight(window.start_s, window.end_s)
            )
        assert bench.count("idle") == 1
        assert len({s.request_id for s in bench.samples}) == len(bench.samples) == len(bench.sent)

    run(test)
