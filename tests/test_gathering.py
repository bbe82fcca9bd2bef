"""How the worker's selector lets reads gather: by a clock that only naps and work move on."""

import select
from types import SimpleNamespace

import pytest

from tpwidgets.engine import selector as module
from tpwidgets.engine.selector import InlineSelector

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux only"),
]


class Clock:
    """Time, and the naps that were taken."""

    def __init__(self) -> None:
        self.now, self.naps = 100.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    fake = SimpleNamespace(perf_counter=lambda: clock.now, sleep=clock.sleep)
    monkeypatch.setattr(module, "time", fake)
    return clock


def test_who_is_behind_does_not_nap(clock: Clock) -> None:
    selector = InlineSelector()
    selector.period_s = 0.002
    naps = []
    for work_s in (0.0005, 0.0015, 0.00195, 0.002, 0.009, 0.001):
        selector.select(0.005)
        clock.naps.clear()
        clock.now += work_s
        selector.select(0.005)
        naps.append(sum(clock.naps))
    selector.close()
    assert naps == pytest.approx([0.0015, 0.0005, 0.0, 0.0, 0.0, 0.001])


def test_what_is_due_at_once_is_not_slept_through(clock: Clock) -> None:
    selector = InlineSelector()
    selector.period_s = 0.002
    for timeout in (0.005, 0.0, 0.001):
        selector.select(timeout)
    selector.close()
    assert clock.naps == []
