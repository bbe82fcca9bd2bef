"""The self-check, against the real thing: a server that logs when it writes."""

import threading
from dataclasses import replace
from typing import Any

import pytest

import tpwidgets as tp
from tpwidgets import selfcheck
from tpwidgets.selfcheck import Background, SelfCheck

FOUND = SelfCheck(
    concurrency=64, user_tps=100.0, stamp_error_p99_ms=0.1, gap_error_p99_ms=0.05,
    merged_pct=0.0, in_flight_mean=63.9, busy=0.2, limit=540,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "_SECONDS", 0.3)
    monkeypatch.setattr(selfcheck, "_DELAY_S", 0.0)


def test_it_measures_what_was_asked() -> None:
    found = tp.self_check(concurrency=4, user_tps=50)
    assert (found.concurrency, found.user_tps) == (4, 50)
    assert 3.5 < found.in_flight_mean <= 4
    assert found.stamp_error_p99_ms > 0
    assert found.gap_error_p99_ms > 0
    assert found.busy > 0
    assert found.text.startswith("this machine: ±")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "this machine: ±0.1 ms at 64 streams of 100 tokens/s; client-limited above about 540"),
        (
            {"merged_pct": 12.0, "limit": 64, "gap_error_p99_ms": 8.0},
            (
                "this machine: ±8 ms at 64 streams of 100 tokens/s, 12 % of tokens merged; "
                "client-limited at that"
            ),
        ),
        (
            {"concurrency": 1, "limit": 1200},
            "this machine: ±0.1 ms at 1 stream of 100 tokens/s; client-limited above about 1,200",
        ),
    ],
)
def test_what_it_says(changes: dict[str, float], text: str) -> None:
    assert str(replace(FOUND, **changes)) == text


@pytest.mark.parametrize("bad", [{"concurrency": 0}, {"concurrency": 1.5}, {"user_tps": 0}])
def test_settings_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(tp.SettingsError):
        tp.self_check(**bad)


def test_in_the_background_once() -> None:
    background, said = Background(), []
    background.start(said.append, concurrency=2)
    background._thread.join()
    assert said == [background.found.text]
    background.start(said.append)
    assert len(said) == 2  # what was found before is told at once
    assert background._thread.is_alive() is False


def test_every_dashboard_is_told() -> None:
    background, said, also_said = Background(), [], []
    background.start(said.append, concurrency=2)
    background.start(also_said.append)
    background.join()
    assert said == also_said == [background.found.text]


def test_a_measurement_breaks_it_off() -> None:
    background, said = Background(), []
    background.start(said.append, concurrency=2)
    background.cancel()
    background.join()
    assert said == []
    assert background.found is None
    background.start(said.append, concurrency=2)
    background.join()
    assert len(said) == 1


def test_one_that_was_broken_off_is_made_up_for_even_before_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, end = threading.Event(), threading.Event()
    true_check = selfcheck._check

    def slow_to_end(*arguments: Any) -> SelfCheck:
        begun.set()
        end.wait()
        return true_check(*arguments)

    monkeypatch.setattr(selfcheck, "_check", slow_to_end)
    background, early, said = Background(), [], []
    background.start(early.append, concurrency=2)
    assert begun.wait(10)
    background.cancel()
    background.start(said.append, concurrency=2)  # the measurement was refused at once, say
    end.set()
    background.join()
    assert early == []
    assert len(said) == 1
