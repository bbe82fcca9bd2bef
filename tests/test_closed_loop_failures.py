"""A closed loop whose requests fail, in virtual time: when it ends, and who waits how long."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from loops import ClosedBench, run

from tpwidgets.engine.closed_loop import Level

pytestmark = pytest.mark.quick


def failing(kind: str, *, code: int | None = None, asked_s: float = 0.0, good: int = 0) -> Any:
    """Return a judge under which each user succeeds so often, and then fails."""
    return lambda slot, turn: ("ok", 0.0) if turn < good else (kind, asked_s, code)


def test_a_server_that_fails_for_good_ends_the_sweep_with_what_there_is() -> None:
    async def test() -> None:
        bench = ClosedBench(judge=failing("disconnected", good=5))
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
        bench = ClosedBench(takes=lambda slot, turn: 0.1)
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
        bench = ClosedBench(takes=lambda slot, turn: limit_s, judge=failing("timeout"))
        bench.loop.set_level(Level(users))
        await bench.until("broken")
        assert len(bench.sent) <= waves * users
        assert (waves - 1) * limit_s <= bench.aio.time() <= waves * (limit_s + 1.5) + 1

    run(test)


@pytest.mark.parametrize("code", [401, 402, 403, 404])
def test_a_refusal_for_good_ends_it_at_once_unless_something_ended_well(code: int) -> None:
    async def test() -> None:
        for users, sent in ((1, 2), (4, 4), (64, 8)):
            bench = ClosedBench(takes=lambda s, t: 0.1, judge=failing("http_error", code=code))
            bench.loop.set_level(Level(users))
            await bench.until("broken")
            assert sum(s.status == "http_error" for s in bench.samples) == sent
            await bench.loop.stop()
        bench = ClosedBench(takes=lambda s, t: 0.1, judge=failing("http_error", code=code, good=1))
        begun = bench.aio.time()
        bench.loop.set_level(Level(2))
        await bench.until("broken")
        assert bench.aio.time() - begun > 10

    run(test)


def test_one_refusal_for_good_among_others_ends_nothing() -> None:
    async def test() -> None:
        bench = ClosedBench(judge=lambda s, t: ("http_error", 0, 404) if s == t == 0 else ("ok", 0))
        bench.loop.set_level(Level(4, requests=20))
        await bench.until("level_over")
        assert bench.count("broken") == 0
        await bench.drained()

    run(test)


def test_whoever_asks_to_wait_for_an_hour_is_not_waited_for() -> None:
    async def test() -> None:
        for users in (1, 4):
            bench = ClosedBench(judge=failing("rate_limited", asked_s=3600.0, good=2))
            begun = bench.aio.time()
            bench.loop.set_level(Level(users))
            await bench.until("idle")
            assert bench.aio.time() - begun < 10
            [said] = [m["broken"] for m in bench.messages if "broken" in m]
            assert said == "it asks to wait too long: rate-limited (said rate_limited)"

    run(test)


def test_a_rate_limit_is_no_death() -> None:
    async def test() -> None:
        bench = ClosedBench(judge=failing("rate_limited", asked_s=1.0, code=429))
        bench.loop.set_level(Level(4, seconds=60))
        await bench.until("level_over")
        assert bench.count("broken") == 0
        await bench.loop.stop()

    run(test)


def test_a_user_backs_off_further_after_each_failure_and_not_in_step_with_others() -> None:
    async def test() -> None:
        bench = ClosedBench(
            takes=lambda s, t: 0.0, judge=lambda s, t: ("refused" if t != 6 else "ok", 0)
        )
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
        bench = ClosedBench(judge=lambda slot, turn: ("http_error" if turn % 2 else "ok", 0.0))
        bench.loop.set_level(Level(4, requests=100))
        await bench.until("level_over")
        await bench.drained()
        assert bench.count("broken") == 0

    run(test)


@pytest.mark.parametrize("anew", [False, True])
def test_a_dead_server_ends_a_search_too(anew: bool) -> None:
    """Levels that begin anew forget no failures of a lower one."""

    async def test() -> None:
        bench = ClosedBench(takes=lambda slot, turn: 0.01, judge=failing("http_error", code=503))
        for users in (1, 2, 4, 8, 16, 32):
            bench.loop.set_level(Level(users, anew=anew))
            await asyncio.sleep(8)
            if bench.count("broken"):
                break
        assert users == 2
        assert len(bench.sent) < 30

    run(test)


@pytest.mark.parametrize("anew", [False, True])
def test_who_was_asked_to_wait_waits_at_the_next_level_too(anew: bool) -> None:
    async def test() -> None:
        judge = failing("rate_limited", code=429, asked_s=60.0)
        bench = ClosedBench(takes=lambda slot, turn: 0.1, judge=judge)
        for users in (2, 4, 8):
            bench.loop.set_level(Level(users, anew=anew))
            await asyncio.sleep(5)
        assert sorted(slot for _, slot in bench.sent) == list(range(8))
        await asyncio.sleep(50)
        assert len(bench.sent) > 8
        await bench.loop.stop()

    run(test)
