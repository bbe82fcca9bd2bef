"""The dashboard's self-check on request: never beside a measurement."""

import threading
from collections.abc import Callable, Iterator

import pytest

import tpwidgets as tp
from tpwidgets.measuring.measurement import under_way
from tpwidgets.selfcheck import BACKGROUND, SelfCheck
from tpwidgets.widgets.machine import MachineCheck

FORMER = SelfCheck(64, 100.0, 0.1, 0.05, 0.0, 64.0, 0.1, 540)


@pytest.fixture
def former() -> Iterator[None]:
    before, BACKGROUND.found = BACKGROUND.found, FORMER
    yield
    BACKGROUND.cancel()
    BACKGROUND.found = before


def pressed(check: MachineCheck) -> None:
    """Press the button and wait until what came of it is said."""
    check._button.click()
    for thread in threading.enumerate():
        if thread.name == "tpwidgets-check":
            thread.join()


@pytest.mark.usefixtures("former")
def test_it_checks_with_the_concurrency_that_is_set() -> None:
    check = MachineCheck(lambda: 2)
    pressed(check)
    assert "at 2 streams" in check._line.value
    assert BACKGROUND.found is not None
    assert BACKGROUND.found.concurrency == 2
    assert not check._button.disabled


@pytest.mark.usefixtures("former")
def test_it_refuses_while_anything_is_measured() -> None:
    check = MachineCheck(lambda: 2)
    with tp.simulate("vllm-llama-70b", speed=8) as sim:
        measurement = tp.start(sim.url, concurrency=1, seconds=60)
        try:
            assert under_way()
            pressed(check)
            assert "a measurement is under way" in check._line.value
            assert BACKGROUND.found is FORMER
        finally:
            measurement.stop()
            measurement.wait(20)
    check.give_way()
    assert check._button.disabled
    check._button.click()
    check.ready()
    assert not check._button.disabled


@pytest.mark.usefixtures("former")
def test_a_measurement_breaks_it_off_and_the_former_result_stands() -> None:
    began = threading.Event()

    def concurrency() -> int:
        began.set()
        return 2

    check = MachineCheck(concurrency)
    check._button.click()
    assert began.wait(10)
    until(lambda: "Checking" in check._line.value)
    assert check._button.disabled
    check.give_way()
    until(lambda: not check._checking)
    assert BACKGROUND.found is FORMER
    assert "540 (as checked before" in check._line.value
    assert check._button.disabled, "the measurement is still to come"
    check.ready()
    assert not check._button.disabled


def test_settings_that_are_refused_are_told() -> None:
    def concurrency() -> int:
        raise tp.SettingsError("concurrency must be 1 or more")

    check = MachineCheck(concurrency)
    pressed(check)
    assert "must be 1 or more" in check._line.value


def until(true: Callable[[], bool]) -> None:
    wait = threading.Event()
    for _ in range(1000):
        if true():
            return
        wait.wait(0.01)
    raise AssertionError("it never came to be")
