"""The dashboard's parts that need no browser: its figures, and what becomes of a refused one."""

import gc
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import ipywidgets as w
import pytest
from virtual import steady_run

import tpwidgets as tp
from tpwidgets.charts.fitted import fitted_rows
from tpwidgets.cost.price import Price
from tpwidgets.live import Board
from tpwidgets.measuring.gathered import Gathered
from tpwidgets.measuring.meter import Live
from tpwidgets.run import Run
from tpwidgets.samples import Sample
from tpwidgets.use_cases.presets import USE_CASES
from tpwidgets.widgets import cells, use_case_fields
from tpwidgets.widgets.closing import inside
from tpwidgets.widgets.fitted import FittedCurve
from tpwidgets.widgets.pace import Latest
from tpwidgets.widgets.result import Result
from tpwidgets.widgets.texts import tiles, used
from tpwidgets.widgets.use_case_fields import KpiLine

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
        live = {"now_s": tick / 10, "chunks": 0, "in_flight": 2, "concurrency": 2}
        live |= {"oldest_s": None, "window": None}
        gathered.watch(live, steady=True)
    assert gathered.timeline.whole
    assert {round(point.per_s) for point in gathered.timeline.points} == {80}
    text = tiles(gathered.live)
    for figure in ("100 ms", "0.9 s", "80 items/s", "640 tok/s", "10 req/s"):
        assert f"<b>{figure}</b>" in text
    assert "<b>2 of 2</b><br><small>in flight</small>" in text
    assert "–" not in text
    assert "TTFT" not in text


def test_what_was_spent_is_by_usage_and_by_a_limit_where_one_counted() -> None:
    price = Price.per_token(output=10.0, input=2.0, cached_input=0.5, reasoning=20.0)
    tokens = {"prompt_tokens": 1_000_000, "output_tokens": 100_000}
    live, sample = Live(requests=1, **tokens), Sample("0", 0, 1, **tokens)
    sample.cached_tokens, sample.reasoning_tokens = 400_000, 50_000
    run = Run([sample], [], {})
    assert used(live, price) == "so far: 1 requests, 1,100,000 tokens, up to $4.00"
    assert used(live, price, [run]).endswith("tokens, $2.90")  # 0.6·2 + 0.4·0.5 + 0.5 + 1
    plain = Price.per_token(10.0, 2.0)
    assert used(live, plain) == "so far: 1 requests, 1,100,000 tokens, $3.00"
    assert used(live, plain, [run, run]).startswith("in all: 1 requests")
    run.conditions["spent_usd"] = 3.75
    assert used(live, price, [run]).endswith("tokens, $3.75")
    for without in (None, Price.per_hour(1.0)):
        assert "$" not in used(live, without, [run])


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


def test_a_fitted_curve_is_drawn_of_the_last_run_where_one_can_be_fitted() -> None:
    board = Board()
    fitted = FittedCurve(board)
    button, line = fitted.children
    run = steady_run({1: 1.0, 2: 1.0, 4: 1.25, 8: 1.6}, 8, 4)
    fitted.tell(run)
    assert board.fit == []
    button.value = True
    assert board.fit == fitted_rows(run.scaling())
    assert "not measured" in line.value
    fitted.tell(None)
    assert board.fit == []
    assert "once a run has ended" in line.value
    fitted.tell(replace(run, windows=run.windows[:3]))
    assert board.fit == []
    assert "A fit needs 4 levels of concurrency or more; there are 3." in line.value
    fitted.tell(run)
    button.value = False
    assert (board.fit, line.value) == ([], "<small></small>")


def test_a_use_cases_answer_is_never_that_of_another_run() -> None:
    line, wished = KpiLine(), []
    line._latest = SimpleNamespace(wish=wished.append)
    line.value = "of a former run"
    run, case = steady_run({1: 1.0}, 8, 4), USE_CASES["prototyping"]
    line.tell(run, case)
    assert line.value == "<b>Prototyping</b>: being worked out"
    line.tell(None, None)
    assert line.value == ""
    assert wished == [(run, case), (None, None)]


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What failed in threads, which is told where a thread's failures are."""
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    return told


def join(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join()


def test_a_wish_that_fails_loses_no_later_one(failures: list[Any]) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def fulfil(wish: int) -> None:
        begun.set()
        go_on.wait()
        done.append(1 / wish)

    latest = Latest(fulfil, "tpwidgets-test", lambda wish, error: done.append((wish, error)))
    latest.wish(0)
    begun.wait()
    latest.wish(2)
    go_on.set()
    join("tpwidgets-test")
    [(wish, error), half] = done
    assert (wish, type(error), half) == (0, ZeroDivisionError, 0.5)
    assert [told.exc_value for told in failures] == [error]
    latest.wish(4)
    join("tpwidgets-test")
    assert done[-1] == 0.25


def test_what_could_not_be_worked_out_says_why(
    failures: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("no <such> day")

    monkeypatch.setattr(use_case_fields, "answer_for", fails)
    line = KpiLine()
    line.tell(steady_run({1: 1.0}, 8, 4), USE_CASES["prototyping"])
    join("tpwidgets-kpi")
    said = "could not be worked out (ValueError: no &lt;such&gt; day)"
    assert line.value == f"<b>Prototyping</b>: {said}"
    assert len(failures) == 1


def box(widget: w.Widget, css: str) -> Any:
    return next(part for part in inside(widget) if f"tp-{css}" in getattr(part, "_dom_classes", ()))


@pytest.fixture
def explorer(monkeypatch: pytest.MonkeyPatch) -> Iterator[tp.Explorer]:
    """A dashboard in which a run of the use case "prototyping" was measured."""
    monkeypatch.setattr(Result, "show", lambda *_: None)
    explorer = tp.Explorer("http://127.0.0.1:9/v1", concurrency=1)
    case = tp.use_case("prototyping")
    run = steady_run({1: 6.58, 4: 9.0}, case.prompt_tokens, case.output_tokens)
    run.conditions["endpoint"] = "here"
    explorer._history.keep(run)
    yield explorer
    explorer.close()


def test_a_limit_judges_the_last_run_at_once(explorer: tp.Explorer) -> None:
    measured = explorer.run
    assert explorer._answer.value == ""
    box(explorer, "limit-e2e").value = 8000
    assert explorer.board.limits == {"e2e_p95_ms": 8000}
    assert explorer.run is not measured
    assert [row["limits_hold"] for row in explorer.run.rows] == [True, False]
    assert explorer._answer.value.startswith("<b>At 1 concurrent")
    assert "it keeps E2E latency p95 ≤ 8 s" in explorer._answer.value
    assert len(explorer.runs) == 1
    explorer._history.keep(measured)  # as a dashboard does that takes this one's place
    assert len(explorer.runs) == 1
    again = replace(measured)
    explorer._keep(SimpleNamespace(ended=[again]))  # of which the limit was set while it ran
    assert explorer.run.limits.bounds["e2e_p95_ms"] == 8000
    box(explorer, "limit-e2e").value = 0
    assert explorer.run.limits is None


def test_earlier_runs_are_forgotten_by_a_button(
    explorer: tp.Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    button = box(explorer, "forget")
    assert button.disabled
    another = steady_run({1: 6.58}, 8, 4)
    another.conditions["endpoint"] = "there"
    explorer._keep(SimpleNamespace(ended=[another]))
    explorer._ended("done", "", bad=False)
    explorer._show_last()
    drawn = explorer.board._rows
    assert not button.disabled
    assert len(drawn.packed) == 3
    monkeypatch.setattr(explorer, "_start", lambda: None)
    explorer.measure()
    assert button.disabled
    button.click()  # it was pressed just before
    assert len(explorer.runs) == 2
    explorer.stop()
    assert not button.disabled
    button.click()
    assert explorer.runs == [another]
    assert len(drawn.packed) == 1
    assert button.disabled


def test_a_page_that_was_loaded_anew_is_told_that_its_plain_output_is_older(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Result, "_draw", lambda *_: None)
    session: list[str | None] = ["a page"]
    monkeypatch.setattr(cells, "page", lambda: session[0])
    explorer = tp.Explorer("http://127.0.0.1:9/v1", concurrency=1)
    note, run = box(explorer, "stale"), steady_run({1: 6.58}, 8, 4)

    def appears(page: str | None) -> None:
        session[0] = page
        explorer.board._answer(explorer.board, {"type": "ready"}, [])
        explorer._result.show(run)

    appears("a page")
    assert note.value == ""
    appears("a page")  # a second view, or one that has missed something
    appears(None)
    assert note.value == ""
    session[0] = "the page loaded anew"
    explorer.board._answer(explorer.board, {"type": "ready"}, [])
    assert note.value == "", "what is there is still the last result"
    explorer._result.show(run)
    assert "Run this cell again" in note.value
    appears("a page")
    assert "Run this cell again" in note.value
    explorer._result.place()
    assert note.value == ""
    appears("the page loaded anew")
    assert note.value == ""
    explorer.close()


def test_a_use_case_is_answered_once_there_is_a_run(explorer: tp.Explorer) -> None:
    def answer() -> str:
        join("tpwidgets-kpi")
        return str(box(explorer, "kpi").value)

    assert answer() == ""
    box(explorer, "use-case").value = "prototyping"
    assert answer().startswith("<b>Prototyping</b>: A single user waits 100 ms ")
    assert "is within 10 s" in answer()
    box(explorer, "e2e-p95-ms").value = 6000
    assert "exceeds 6 s" in answer()
    box(explorer, "answer-words").value = 500
    assert "measure with the use case&#x27;s settings" in answer()
    box(explorer, "use-case").value = ""
    assert answer() == ""


def test_a_use_case_is_known_by_its_name() -> None:
    explorer = tp.Explorer("http://127.0.0.1:9/v1", use_case="support-chatbot", rate="auto-8")
    assert explorer.controls.load.auto
    assert explorer.controls.output.value == 130
    assert explorer.board.limits == {"ttft_p95_ms": 1000, "tpot_p95_ms": 100}
    explorer.close()
    explorer = tp.Explorer("http://127.0.0.1:9/v1", use_case="campaign-variants", requests=6)
    assert not {"seconds", "precision"} & explorer.controls.settings().keys()
    box(explorer, "use-case").value = "bi-insights"
    said = explorer.controls.settings()
    assert said["requests"] == 6
    assert not {"seconds", "precision"} & said.keys()
    explorer.close()
    explorer = tp.Explorer("http://127.0.0.1:9/v1", use_case="bi-insights", ramp_s=60)
    assert explorer.controls.load.ramp_s == 60
    explorer.close()
    with pytest.raises(tp.SettingsError, match="'chatbot' is not known"):
        tp.Explorer(use_case="chatbot")
    with pytest.raises(TypeError, match="Did you mean 'use_case'"):
        tp.Explorer(use_cas="support-chatbot")


def test_an_open_loop_is_told_by_its_rate() -> None:
    text = tiles(Live(in_flight=7, concurrency=7), 4.0)
    assert "<b>4 requests/s</b><br><small>scheduled, 7 in flight</small>" in text
    assert "concurrency" not in text
