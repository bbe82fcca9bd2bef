"""Sweeps over lengths in the dashboard: several in a field, a map that grows, and what stays."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from walked import Ends, Measured

import tpwidgets as tp
from tpwidgets.errors import EndpointError
from tpwidgets.metrics.timeline import Point
from tpwidgets.report.static import grid_bundle
from tpwidgets.run import Run
from tpwidgets.widgets.closing import inside
from tpwidgets.widgets.controls import Controls
from tpwidgets.widgets.result import Result
from tpwidgets.widgets.sweep_view import SweepView
from tpwidgets.widgets.texts import as_code

pytestmark = pytest.mark.quick

URL = "http://127.0.0.1:9/v1"


def part(widget: Any, css: str) -> Any:
    return next(p for p in inside(widget) if f"tp-{css}" in getattr(p, "_dom_classes", ()))


def test_a_length_may_be_several_and_they_are_swept_over() -> None:
    controls = Controls(URL, {"prompt_tokens": (256, 1024), "concurrency": (1, 4), "requests": 10})
    prompt, batch = controls.prompt, part(controls, "batch")
    assert (prompt.box.value, prompt.several.value, prompt.slider.value) == ("256, 1024", True, 256)
    assert "estimate: at least 50 requests, 35.2 k tokens" in controls.estimate()
    settings = controls.settings()
    assert (settings["prompt_tokens"], settings["output_tokens"]) == ((256, 1024), 64)
    code = as_code(controls.endpoint(), settings, None)
    assert code.endswith("),\n    requests=10,\n)\ngrid.points")
    assert "grid = tp.sweep(" in code
    assert "prompt_tokens=(256, 1024)," in code

    batch.several.value = True
    assert batch.box.value == "1, 4, 16"
    with pytest.raises(tp.SettingsError, match="all vary: a sweep is over one or two things"):
        controls.estimate()
    prompt.several.value = False
    assert controls.settings()["batch"] == (1, 4, 16)
    assert prompt.value == 256
    prompt.slider.value = 1024
    prompt.several.value = True
    assert prompt.box.value == "256, 1024, 4096"
    prompt.slider.value = 512  # one again
    assert (prompt.value, prompt.several.value) == (512, False)
    assert (prompt.box.layout.width, batch.box.layout.width) == (
        "76px",
        "160px",
    )  # several need room
    prompt.box.value = "many"
    with pytest.raises(tp.SettingsError, match="prompt_tokens 'many' is not understood"):
        controls.settings()
    with pytest.raises(tp.SettingsError, match="prompt_tokens must be from 1"):
        Controls(URL, {"prompt_tokens": -5})


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was left below the dashboard."""
    shown: list[Any] = []
    monkeypatch.setattr(Result, "show", lambda _, run: shown.append(run))
    monkeypatch.setattr(Result, "warm_up", lambda _: None)
    return shown


@pytest.fixture
def explorer(ends: Ends, results: list[Any]) -> Iterator[tp.Explorer]:
    explorer = tp.Explorer(
        URL, prompt_tokens=(8, 16, 32), output_tokens=16, concurrency=(1, 4),
        price=tp.Price.per_hour(2),
    )  # fmt: skip
    yield explorer
    explorer.close()


def drawn(explorer: tp.Explorer) -> str:
    """Wait until the map is drawn; return it."""
    for name in ("tpwidgets-sweep", "tpwidgets-heatmap"):  # a sweep that ends has its map drawn
        for thread in threading.enumerate():
            if thread.name == name:
                thread.join(30)
    return str(part(explorer, "sweep-picture").value)


def test_a_sweep_fills_a_map_and_is_kept(
    explorer: tp.Explorer, ends: Ends, results: list[Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    ends.coming[:] = [EndpointError("the context is too short", "context"), None, Measured.waits]
    view = part(explorer, "sweep")
    assert view.layout.display == "none"
    explorer.measure()
    running = ends.begun(3)
    running.walk(2)
    assert "6 of 6: prompt 32 tokens, 4 concurrent" in explorer._bar.status.value
    assert view.layout.display is None
    assert len(explorer.grid.rows) == 3
    assert [run.conditions["prompt_tokens_asked"] for run in explorer.runs] == [16]
    explorer.stop()
    picture = drawn(explorer)
    assert "stopped</b>: 4 points in 2 runs" in explorer._bar.status.value
    assert picture.count("<title>at: prompt tokens, asked") > 6
    assert "not measured: the context is too short" in picture
    said = part(explorer, "sweep-said").value
    assert "<b>prompt 16 tokens: At 4 concurrent" in said
    assert "prompt 8 tokens: the context is too short" in said
    assert results == [explorer.grid]

    menu = part(explorer, "sweep-value")
    names = [name for name, _ in menu.options]
    assert "$ per 1M output tokens" in names
    assert "attainment of the limits" not in names
    menu.value = "usd_per_1m_output_tokens"
    assert "$ per 1M output tokens" in drawn(explorer) != picture
    explorer.controls.slo.take({"limits": {"ttft_p95_ms": 50}})
    assert "breaks a limit" in drawn(explorer)
    assert "attainment of the limits" in [name for name, _ in menu.options]
    assert explorer.grid.limits.bounds["ttft_p95_ms"] == 50
    assert results[-1] is explorer.grid

    part(explorer, "save").click()
    saved = tp.Grid.load(next(tmp_path.glob("tpwidgets-*.zip")))
    assert saved.points.equals(explorer.grid.points)
    assert saved.failed == explorer.grid.failed
    part(explorer, "dataframe").click()
    assert "explorer.grid.points" in part(explorer, "extra").value

    # one length again: one run, as ever, and the sweep is still at hand
    grid = explorer.grid
    explorer.controls.prompt.value = 8
    explorer.measure()
    drawn(explorer)
    assert view.layout.display == "none"
    assert explorer.grid is grid
    assert results[-1] is explorer.run
    assert explorer._answer.value.startswith("<b>run 3: No concurrency keeps")


def test_over_one_thing_a_sweep_is_a_curve(explorer: tp.Explorer, ends: Ends) -> None:
    explorer.controls.loads.take({"concurrency": 4})
    explorer.measure()
    assert "TTFT p50, ms" in drawn(explorer)
    page = grid_bundle(explorer.grid)["text/html"]
    assert page.count("<img alt=") == 2
    assert 'alt="output tokens/s, whole system against prompt tokens, asked' in page
    assert page.count("<tr") == 4


def test_a_last_run_in_which_nothing_came_leaves_the_figures_before_it(
    explorer: tp.Explorer, ends: Ends
) -> None:
    ends.coming[:] = [None, Measured.waits, 16]
    explorer.measure()
    second = ends.begun(2)
    second.timeline.points.append(Point(0.0, 0.5, 40.0))
    second.walk(2)
    second.end()
    ends.begun(3).walk(1)
    drawn(explorer)
    assert explorer._drawing.timeline is second.timeline
    assert "<b>20 req/s</b>" in explorer._tiles.value
    assert "in all: 21 requests" in explorer._bar.estimate.value


def test_while_a_run_settles_the_last_one_is_taken_along(
    explorer: tp.Explorer, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[Run] = []
    monkeypatch.setattr(Run, "report", lambda run, path, **_: written.append(run) or path)
    explorer.controls.prompt.value = 8
    explorer.measure()
    drawn(explorer)
    [last] = explorer.runs
    ends.coming[:] = [Measured.waits]
    explorer.measure()
    settling = ends.begun(2)
    counted, settling.run = settling.run, Run([], [], settling.conditions, "running")
    for name in ("save", "report"):
        part(explorer, name).click()
    assert tp.load(next(tmp_path.glob("*.json"))).points.equals(last.points)
    for thread in threading.enumerate():
        if thread.name == "tpwidgets-report":
            thread.join()
    assert written == [last]
    part(explorer, "dataframe").click()
    assert "explorer.runs[-1].points" in part(explorer, "extra").value

    # it is put together with the price that was set before it was edited
    settling.run = counted
    explorer.controls.price.first.hour.value = 4
    settling.end()
    drawn(explorer)
    assert [run.price for run in explorer.runs] == [tp.Price.per_hour(2), tp.Price.per_hour(4)]


def test_a_sweep_is_saved_while_the_next_one_settles(
    explorer: tp.Explorer, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ends.coming[:] = [None, Measured.waits]
    explorer.measure()
    settling = ends.begun(2)
    settling.run = Run([], [], settling.conditions, "running")
    part(explorer, "save").click()
    assert len(tp.Grid.load(next(tmp_path.glob("*.zip"))).runs) == 1
    explorer.stop()


def test_a_map_that_can_not_be_drawn_says_why(
    explorer: tp.Explorer, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> str:
        raise RuntimeError("no fonts")

    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with monkeypatch.context() as broken:
        broken.setattr("vl_convert.vegalite_to_svg", fails)
        explorer.measure()
        assert drawn(explorer) == ""
    said = part(explorer, "sweep-said")
    assert "This could not be drawn: RuntimeError: no fonts" in said.value
    assert failures
    explorer.controls.slo.take({"limits": {"ttft_p95_ms": 50}})
    assert "<svg" in drawn(explorer)
    assert "could not be drawn" not in said.value


def test_more_runs_than_usual_are_kept_and_the_last_drawn(
    ends: Ends, results: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vl_convert.vegalite_to_svg", lambda spec: spec["description"])
    explorer = tp.Explorer(URL, prompt_tokens=(1, 2, 3, 4, 5, 6, 7), concurrency=1)
    explorer.measure()
    drawn(explorer)
    assert len(explorer.runs) == 7
    assert len(explorer._history.rows(None, None)) == 5
    heir = tp.Explorer(URL, concurrency=1)
    heir._take_over(explorer)
    drawn(heir)
    assert heir.grid.axes == explorer.grid.axes
    assert part(heir, "sweep").layout.display is None
    heir.close()


def test_a_view_that_was_hidden_draws_nothing_more() -> None:
    view = SweepView(lambda _: None)
    view.again(None, None)
    assert view.layout.display == "none"
    view.close()


def test_all_of_a_sweep_is_asked_for_before_the_first_request(
    ends: Ends, results: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tpwidgets.measuring.politeness.nearby", lambda _: False)
    explorer = tp.Explorer(URL, prompt_tokens="10000, 20000", concurrency=4, requests=40)
    explorer.measure()
    question = explorer._bar.question
    assert "This sends at least 1.33 M tokens" in question._text.value
    assert ends.asked == []
    question._yes.click()
    drawn(explorer)
    assert [asked["prompt_tokens"] for asked in ends.asked] == [10_000, 20_000]
    assert len(explorer.grid.runs) == 2
    explorer.close()
