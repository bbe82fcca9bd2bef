"""The time series of a run: bounded, true to the tokens that came, its levels marked."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpwidgets.metrics.timeline import Timeline

pytestmark = pytest.mark.quick


def tokens(timeline: Timeline) -> float:
    return sum(point.per_s * point.span_s for point in timeline.points)


def gapless(timeline: Timeline) -> bool:
    pairs = pairwise(timeline.points)
    return all(a.t_s + a.span_s == pytest.approx(b.t_s) for a, b in pairs)


@given(
    st.lists(st.tuples(st.floats(0.01, 3), st.integers(0, 5000)), min_size=2, max_size=400),
    st.sampled_from([4, 10, 60]),
    st.floats(0.5, 8),
)
def test_however_long_it_is_bounded_gapless_and_keeps_the_tokens(readings, most, per_chunk):
    timeline = Timeline(most=most)
    now_s = chunks = 0
    for pause_s, more in readings:
        timeline.read(now_s, chunks, per_chunk, None)
        assert len(timeline.points) < most
        now_s, chunks = now_s + pause_s, chunks + more
    points = timeline.points
    assert gapless(timeline)
    if points:
        until_s = points[-1].t_s + points[-1].span_s
        at = {0: 0.0}
        now_s = chunks = 0
        for pause_s, more in readings:
            at[round(now_s, 6)] = chunks
            now_s, chunks = now_s + pause_s, chunks + more
        assert tokens(timeline) == pytest.approx(at[round(until_s, 6)] * per_chunk, rel=1e-6)


def test_a_steady_rate_stays_what_it_is_through_every_merging():
    timeline = Timeline(most=8)
    for tick in range(1000):
        timeline.read(tick / 10, 7 * tick, 2.0, None)
    assert {round(point.per_s, 6) for point in timeline.points} == {140.0}
    assert timeline.span_s == 16
    assert timeline.points[0].t_s == 0.0


def test_what_a_chunk_is_worth_is_put_right_once_it_is_known():
    timeline = Timeline()
    for tick in range(13):
        timeline.read(tick / 10, 10 * tick, None if tick < 11 else 4.0, None)
    assert [round(point.per_s) for point in timeline.points] == [400, 400]
    before = timeline.points
    for tick in range(13, 20):
        timeline.read(tick / 10, 10 * tick, 3.0, None)
    assert timeline.points[:2] == before[:2], "only the first knowledge is told to the past"
    assert round(timeline.points[2].per_s) == 300


def test_levels_are_marked_where_they_begin_and_hold_their_windows():
    timeline = Timeline()
    timeline.begin_level(1)
    timeline.read(2.0, 0, None, None)
    timeline.read(3.0, 10, 1.0, 2.9)
    timeline.begin_level(8)
    timeline.read(3.1, 11, 1.0, 2.9)  # the former level's window is not the new one's
    assert [(v.t_s, v.level, v.window_start_s) for v in timeline.levels] == [
        (2.0, 1, 2.9), (3.0, 8, None),
    ]  # fmt: skip
    timeline.close_window(2.9, 3.01)
    assert timeline.levels[0].window_end_s == 3.01
    timeline.read(4.0, 20, 1.0, 3.5)
    timeline.read(4.1, 20, 1.0, None)  # begun again with one more worker: it settles once more
    assert timeline.levels[1].window_start_s is None
    timeline.read(5.0, 20, 1.0, 4.4)
    timeline.close_window(4.4, 5.0)
    timeline.read(5.1, 20, 1.0, None)
    assert (timeline.levels[1].window_start_s, timeline.levels[1].window_end_s) == (4.4, 5.0)


def test_the_last_point_is_closed_unless_it_covers_too_little():
    for last_s, n in ((0.74, 1), (0.76, 2)):
        timeline = Timeline()
        for at in (0.0, 0.5, last_s):
            timeline.read(at, round(100 * at), 1.0, None)
        timeline.end(1.0)
        assert timeline.ended
        assert len(timeline.points) == n


def test_nothing_is_drawn_before_anything_was_read():
    timeline = Timeline()
    timeline.begin_level(4)
    timeline.end(None)
    assert (timeline.points, timeline.levels) == ([], [])
