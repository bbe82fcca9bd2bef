"""The dashboard's parts that need no browser: its figures, and what becomes of a refused one."""

import gc
import sys
from typing import Any

import pytest

import tpwidgets as tp
from tpwidgets.gathered import Gathered
from tpwidgets.samples import Sample
from tpwidgets.widgets.texts import tiles

pytestmark = pytest.mark.quick


def vectors(count: int) -> list[Sample]:
    """Return answers that come whole, one each 100 ms; the last in twenty is slow."""
    return [
        Sample(f"{n}", 0, 2, sent_s=n / 10, ended_ms=900.0 if n % 20 == 19 else 100.0,
               prompt_tokens=64, items=8)
        for n in range(count)
    ]  # fmt: skip


def test_where_answers_come_whole_their_latency_and_items_are_told() -> None:
    gathered, samples = Gathered({}), vectors(60)
    gathered.timeline.begin_level(2)
    for tick in range(61):
        gathered.samples = samples[:tick]
        live = {"now_s": tick / 10, "chunks": 0, "in_flight": 2, "concurrency": 2, "window": None}
        gathered.watch(live, steady=True)
    assert gathered.timeline.whole
    assert {round(point.per_s) for point in gathered.timeline.points} == {80}
    text = tiles(gathered.live)
    for figure in ("100 ms", "0.9 s", "80 items/s", "640 tok/s", "10 req/s"):
        assert f"<b>{figure}</b>" in text
    assert "<b>2 of 2</b><br><small>in flight</small>" in text
    assert "–" not in text
    assert "TTFT" not in text


def test_before_anything_came_dashes_stand_for_the_figures_of_streams() -> None:
    text = tiles(None)
    assert text.count("<b>–</b>") == 5
    assert "TTFT" in text


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"timeout_s": -1}, {"cocurrency": 4}])
def test_a_refused_dashboard_leaves_nothing_behind(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    unraised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraised.append)
    with pytest.raises((tp.SettingsError, TypeError)):
        tp.Explorer("http://127.0.0.1:9/v1", **settings)
    gc.collect()
    assert not unraised
