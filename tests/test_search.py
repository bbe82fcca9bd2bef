"""Which level comes next: on curves that are known, the end of the search is too."""

from collections.abc import Callable
from typing import Any

import pytest

from tpwidgets.engine.search import Search

Judge = Callable[[float], dict[str, Any]]


def walk(search: Search, judge: Judge) -> list[float]:
    """Measure what it asks for, with `judge` for an endpoint; return the levels in order."""
    points: list[dict[str, Any]] = []
    while (level := search.next(points)) is not None:
        assert len(points) < 40, "it never ends"
        points.append({search.axis: level, "n": 100, "error_rate": 0.0, **judge(level)})
    return [p[search.axis] for p in points]


def breaks_above(most: float) -> Judge:
    return lambda level: {"limits_hold": level <= most, "limits_sure": True}


def saturates_at(knee: float) -> Judge:
    return lambda level: {"output_tps": 40.0 * min(level, knee)}


@pytest.mark.parametrize("most", [1, 2, 3, 7, 24, 25, 31, 32, 100, 200, 255])
def test_the_largest_level_that_keeps_the_limits_is_found(most: int) -> None:
    levels = walk(Search(limited=True), breaks_above(most))
    kept = max(level for level in levels if level <= most)
    broken = min(level for level in levels if level > most)
    assert broken - kept <= max(1, 0.10 * kept)
    assert len(levels) <= 13


@pytest.mark.parametrize(
    ("most", "levels"),
    [
        (0, [1]),  # no level keeps them
        (1000, [1, 2, 4, 8, 16, 32, 64, 128, 256]),  # every one does
        (5, [1, 2, 4, 8, 6, 5]),
    ],
)
def test_the_way_there(most: int, levels: list[int]) -> None:
    assert walk(Search(limited=True), breaks_above(most)) == levels


def test_a_search_may_begin_above_what_keeps_the_limits() -> None:
    assert walk(Search(8, limited=True), breaks_above(3))[:2] == [8, 1]


def test_bad_luck_below_a_level_that_surely_keeps_them_stops_nothing() -> None:
    def judge(level: float) -> dict[str, Any]:
        holds = level != 4 and level <= 32
        return {"limits_hold": holds, "limits_sure": level != 4}

    points = [{"concurrency": c, "n": 9, **judge(c)} for c in (1, 2, 4, 8)]
    assert Search(limited=True).next(points) == 16


def test_rates_are_no_whole_numbers() -> None:
    levels = walk(Search(1, 64, limited=True, axis="rate"), breaks_above(2.7))
    kept = max(level for level in levels if level <= 2.7)
    assert min(level for level in levels if level > 2.7) <= 1.1 * kept
    low = walk(Search(1, 64, limited=True, axis="rate"), breaks_above(0.3))
    assert max(level for level in low if level <= 0.3) >= 0.27
    assert len(walk(Search(1, 64, limited=True, axis="rate"), breaks_above(0))) <= 5


@pytest.mark.parametrize("knee", [4, 24, 48])
def test_without_limits_it_fills_in_where_the_curve_bends(knee: int) -> None:
    levels = walk(Search(), saturates_at(knee))
    assert max(levels) <= 4 * knee
    below = max(level for level in levels if level <= knee)
    above = min(level for level in levels if level >= knee)
    assert above <= 1.5 * below
    assert len(levels) <= 12


def test_a_curve_that_never_bends_is_walked_to_its_highest_level() -> None:
    assert walk(Search(highest=20), saturates_at(1000))[:6] == [1, 2, 4, 8, 16, 20]


def test_a_queue_that_grows_is_too_far_whatever_the_limits_say() -> None:
    def judge(rate: float) -> dict[str, Any]:
        return {"limits_hold": True, "limits_sure": True, "queue_grows": rate > 5}

    levels = walk(Search(1, 64, limited=True, axis="rate"), judge)
    assert max(levels) == 8
    assert 4.5 < max(level for level in levels if level <= 5) <= 5


def test_failures_and_a_client_at_its_limit_end_the_climb() -> None:
    def refused(level: float) -> dict[str, Any]:
        return {"output_tps": 40 * level, "error_rate": 0.5 if level > 8 else 0.0}

    assert max(walk(Search(), refused)) == 16

    def limited(level: float) -> dict[str, Any]:
        return {"output_tps": 40 * level, "client_limited": level > 8}

    assert max(walk(Search(), limited)) == 32  # it may have been a hiccup: once more
    assert walk(Search(), lambda _: {"n": 0}) == [1]
