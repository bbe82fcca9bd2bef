"""How a sweep walks: fixed levels, a search, and when a level has seen enough."""

from typing import Any

import pytest

import tpwidgets as tp
from tpwidgets.engine.sweep import Sweep
from tpwidgets.workload.loads import Load
from tpwidgets.workload.rates import OpenLoad, load_of


def point(at: int, span: float, *, width: float = 0.5, sure: bool | None = None) -> dict[str, Any]:
    """An open level that has been counted for `span` seconds, its intervals ± `width`."""
    row: dict[str, Any] = {
        "concurrency": at, "rate": None, "window_s": span, "n": 50, "n_failed": 0,
        "limits_hold": sure, "limits_sure": sure,
    }  # fmt: skip
    for name, value in (("output_tps", 100.0 * at), ("ttft_p50_ms", 50.0)):
        row |= {name: value, f"{name}_lo": value * (1 - width), f"{name}_hi": value * (1 + width)}
    return row


@pytest.mark.quick
def test_fixed_levels_are_walked_to_the_last() -> None:
    sweep = Sweep(Load.of((4, 1), requests=10))
    assert (sweep.level, sweep.left, sweep.levels) == (None, (4, 1), 2)
    assert sweep.next() == {"do": "level", "concurrency": 4, "requests": 10, "seconds": None}
    assert (sweep.level, sweep.number, sweep.left) == (4, 1, (4, 1))
    sweep.next()
    assert (sweep.level, sweep.left) == (1, (1,))
    assert sweep.next() is None
    assert (sweep.level, sweep.left) == (None, ())
    assert sweep.fraction(1.0, 0.0) == 1.0


@pytest.mark.quick
@pytest.mark.parametrize(
    ("load", "leaves", "stays"),
    [
        # 5 s and ± 10 %, or 10 s
        ({}, [(5, 0.09), (10, 0.5)], [(4, 0.01), (9, 0.11)]),
        # as narrow as asked for, or a minute
        ({"precision": 0.02}, [(5, 0.019), (60, 0.5)], [(10, 0.03), (59, 0.021)]),
        # ... or the budget
        ({"precision": 0.02, "seconds": 20}, [(20, 0.5), (6, 0.01)], [(19, 0.03)]),
        # the worker itself counts what is fixed
        ({"seconds": 3}, [], [(10, 0.01)]),
        ({"requests": 30}, [], [(10, 0.01)]),
    ],
)
def test_a_level_is_left_once_it_is_precise_enough(
    load: dict[str, Any], leaves: list[tuple[float, float]], stays: list[tuple[float, float]]
) -> None:
    sweep = Sweep(Load.of((4,), **load))
    sweep.next()
    for span, width in leaves:
        assert sweep.may_leave(point(4, span, width=width)), (span, width)
    for span, width in stays:
        assert not sweep.may_leave(point(4, span, width=width)), (span, width)
    assert not sweep.may_leave(point(2, 60, width=0.01)), "the level before"


@pytest.mark.quick
def test_a_level_is_not_left_while_it_drifts() -> None:
    sweep = Sweep(Load.of((4,)))
    sweep.next()
    drifting = {**point(4, 10, width=0.01), "drifts": True}
    assert not sweep.may_leave(drifting)
    assert sweep.may_leave({**drifting, "window_s": 60})
    told = Sweep(Load.of((4,), seconds=10, precision=0.1))
    told.next()
    assert told.may_leave(drifting), "somebody said how long"


@pytest.mark.quick
def test_a_search_leaves_a_level_once_it_is_sure_of_it() -> None:
    sweep = Sweep(Load.of("auto-8"), limited=True)
    sweep.next()
    assert sweep.may_leave(point(1, 5, sure=True))
    assert not sweep.may_leave(point(1, 29, width=0.01, sure=False)), "it may keep them, or not"
    assert sweep.may_leave(point(1, 30, sure=False))
    assert sweep.may_leave({**point(1, 10, sure=False), "limits_far": True}), "others will decide"
    assert not sweep.may_leave({**point(1, 5, sure=True), "n": 4}), "users fall into step"
    assert 0 < sweep.fraction(1.0, 5.0) < 0.5
    kept = [point(1, 5, sure=True)]
    assert sweep.next(kept) == {
        "do": "level", "concurrency": 2, "requests": None, "seconds": None, "anew": True,
    }  # fmt: skip
    assert sweep.next(kept) is None, "2 left no point: asking for it again would be for ever"
    told = Sweep(Load.of("auto-8", seconds=10, precision=0.1), limited=True)
    told.next()
    assert told.may_leave(point(1, 10, sure=False)), "somebody said how long"


@pytest.mark.quick
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"concurrency": "auto to 0"}, "concurrency must be from 1"),
        ({"concurrency": "automatic"}, "write auto or auto-64"),
        ({"rate": "auto-99999"}, "rate must be from"),
        ({"precision": 0}, "precision must be a number above 0"),
        ({"precision": 10}, "to ±50 % .0.005 to 0.5., not ±1000 % .10."),
    ],
)
def test_what_is_refused(settings: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = dict.fromkeys(("concurrency", "rate", "requests", "seconds"))
    given |= {"arrivals": "poisson", "burstiness": None, **settings}
    with pytest.raises(tp.SettingsError, match=said):
        load_of(**given)


def test_the_concurrency_found_is_where_the_server_breaks_the_limit() -> None:
    """A laptop serves four at a time: the fifth user waits for a whole answer."""
    with tp.simulate("laptop-8b", speed=8) as sim:
        run = tp.measure(
            sim.url, concurrency="auto-8", limits={"ttft_p50_ms": 80}, seconds=0.5,
            prompt_tokens=16, output_tokens=16, progress=False,
        )  # fmt: skip
    assert list(run.points.concurrency[:4]) == [1, 2, 4, 8]
    assert set(run.points.concurrency[4:]) <= {5, 6, 7}
    kept = run.points.set_index("concurrency").limits_hold
    assert kept[[1, 2, 4]].all()
    assert not kept[8]
    # judged by other limits afterwards, nothing is measured again
    strict = run.with_limits({"ttft_p50_ms": 0.001})
    assert strict.answer().startswith("No concurrency keeps TTFT p50 ≤ 0.001 ms")
    assert not run.with_limits(None).points.limits_hold.any()


@pytest.mark.quick
def test_levels_of_users_that_are_judged_begin_anew() -> None:
    def begun(load: Load | OpenLoad, *, limited: bool) -> bool:
        return "anew" in (Sweep(load, limited=limited).next() or {})

    assert begun(Load.of((4, 1), requests=10), limited=True)
    assert not begun(Load.of((4, 1), requests=10), limited=False)
    assert not begun(Load.of("1-8", ramp_s=10), limited=True)
    assert not begun(OpenLoad.of(2), limited=True)


@pytest.mark.quick
def test_a_level_that_was_found_in_doubt_is_begun_once_more() -> None:
    """Users fall into groups by chance at each start: that may decide it."""

    def walk(second: bool) -> list[int]:
        sweep, points, walked = Sweep(Load.of("auto-8"), limited=True), [], []
        while command := sweep.next(points):
            users = command["concurrency"]
            keeps = users <= 3 and (second or users not in walked or users < 3)
            walked.append(users)
            points.append(
                {
                    "concurrency": users, "n": 50, "client_limited": False, "provisional": False,
                    "limits_hold": keeps, "limits_sure": users != 3 and keeps,
                }
            )  # fmt: skip
        assert sweep.next(points) is None
        return walked

    assert walk(second=True) == [1, 2, 4, 3, 3]
    assert walk(second=False) == [1, 2, 4, 3, 3], "2 was sure to keep them: nothing is in doubt"
