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
from tpwidgets.endpoints.endpoint import Endpoint
from tpwidgets.live import Board
from tpwidgets.measuring.gathered import Gathered
from tpwidgets.measuring.meter import Live
from tpwidgets.run import Run
from tpwidgets.samples import Sample
from tpwidgets.use_cases.presets import USE_CASES, UseCase
from tpwidgets.widgets import use_case_fields
from tpwidgets.widgets.closing import inside
from tpwidgets.widgets.controls import Controls
from tpwidgets.widgets.fitted import FittedCurve
from tpwidgets.widgets.load_fields import load_from
from tpwidgets.widgets.pace import Latest
from tpwidgets.widgets.result import Result
from tpwidgets.widgets.texts import as_code, tiles, used
from tpwidgets.widgets.use_case_fields import KpiLine
from tpwidgets.workload.loads import Load
from tpwidgets.workload.prompts import Workload
from tpwidgets.workload.rates import OpenLoad

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


@pytest.fixture
def controls() -> Controls:
    return Controls("http://127.0.0.1:9/v1", {})


def box(widget: w.Widget, css: str) -> Any:
    return next(part for part in inside(widget) if f"tp-{css}" in getattr(part, "_dom_classes", ()))


def shown(widget: w.Widget, css: str) -> bool:
    return bool(box(widget, css).layout.display != "none")


def test_a_load_is_a_closed_loop_until_the_menu_says_otherwise(controls: Controls) -> None:
    assert controls.load == Load(tuple(2**n for n in range(7)))
    assert [shown(controls, css) for css in ("concurrency", "rate", "arrivals")] == [1, 0, 0]
    box(controls, "load").value = "rate"
    assert [shown(controls, css) for css in ("concurrency", "rate", "arrivals")] == [0, 1, 1]
    assert not shown(controls, "burstiness")
    box(controls, "rate").box.value = "0.5, 1.5"
    assert controls.load == OpenLoad((0.5, 1.5))
    assert box(controls, "rate").slider.value == (0.5, 1)
    box(controls, "arrivals").value = "gamma"
    assert shown(controls, "burstiness")
    box(controls, "burstiness").value = 0.3
    settings = controls.settings()
    assert load_from(settings) == OpenLoad((0.5, 1.5), "gamma", 0.3)
    assert "concurrency" not in settings
    assert "rate=(0.5, 1.5),\n    arrivals='gamma',\n    burstiness=0.3" in as_code(
        Endpoint("http://127.0.0.1:9/v1"), settings, None
    )
    box(controls, "rate").slider.value = (0.25, 4)
    assert controls.load.levels == (0.25, 0.5, 1, 2, 4)
    box(controls, "load").value = "concurrency"
    assert controls.load.levels[-1] == 64


def test_levels_are_searched_for_by_a_button_or_a_word(controls: Controls) -> None:
    field = box(controls, "concurrency")
    field.auto.value = True
    assert controls.settings()["concurrency"] == "auto"
    assert controls.load.auto
    assert controls.estimate().endswith(" if the search goes up to 256")
    field.auto.value = False
    assert field.box.value == "1-64"
    field.box.value = "auto-32"
    assert field.auto.value
    assert controls.load.levels[-1] == 32
    field.slider.value = (1, 8)
    assert not field.auto.value
    assert controls.settings()["concurrency"] == (1, 2, 4, 8)
    field.box.value = "automatic"
    with pytest.raises(tp.SettingsError, match="write auto or auto-64"):
        controls.settings()


def test_what_is_given_in_code_stands_in_the_fields() -> None:
    given = {
        "rate": (2, 4.5), "arrivals": "gamma", "burstiness": 0.2, "precision": 0.05,
        "limits": {"ttft_p99_ms": 500, "e2e_p50_ms": 8000, "error_rate": 0.07},
    }  # fmt: skip
    controls = Controls("http://127.0.0.1:9/v1", given)
    assert box(controls, "rate").box.value == "2, 4.5"
    said = controls.settings()
    assert {name: said[name] for name in given} == given
    assert box(controls, "limit-percentile").value == "p99"
    assert "and E2E latency p50 ≤ 8 s" in controls.slo._note.value
    auto = Controls("http://127.0.0.1:9/v1", {"concurrency": "auto"})
    assert box(auto, "concurrency").auto.value
    with pytest.raises(tp.SettingsError, match="can't both be given"):
        Controls("http://127.0.0.1:9/v1", {"rate": 1, "concurrency": 1})


def test_the_machine_is_checked_with_as_many_streams_as_there_may_be(controls: Controls) -> None:
    assert controls.at_once == 64
    controls = Controls("http://127.0.0.1:9/v1", {"rate": 10, "output_tokens": 100})
    assert controls.at_once == 20  # 2 s each at 50 tokens/s
    box(controls, "rate").box.value = "9000"
    assert controls.at_once == 4096


def test_limits_and_precision_are_what_the_fields_say(controls: Controls) -> None:
    told: list[Any] = []
    controls.slo.changed(told.append)
    assert not {"limits", "precision"} & controls.settings().keys()
    box(controls, "limit-ttft").value = 500
    box(controls, "limit-percentile").value = "p50"
    box(controls, "limit-errors").value = 0
    box(controls, "precision").value = 5
    said = controls.settings()
    assert said["limits"] == {"ttft_p50_ms": 500, "error_rate": 0}
    assert said["precision"] == 0.05
    assert len(told) == 3
    note = controls.limits._note
    assert "within ±5 %" in note.value
    box(controls, "requests").value = 100
    assert "within ±5 %, or that much was counted" in note.value
    box(controls, "precision").value = 0
    assert "until that much was counted" in note.value
    box(controls, "precision").value = 0.2
    said = r"from ±0\.5 % to ±50 % \(0\.005 to 0\.5\), not ±0\.2 % \(0\.002\)"
    with pytest.raises(tp.SettingsError, match=f"precision must be {said}"):
        controls.settings()


def test_limits_without_a_field_can_be_removed(controls: Controls) -> None:
    assert not shown(controls, "limit-remove")
    given = {"ttft_p99_ms": 500, "e2e_p50_ms": 8000, "error_rate": 0.01}
    controls = Controls("http://127.0.0.1:9/v1", {"limits": given})
    told: list[Any] = []
    controls.slo.changed(told.append)
    box(controls, "limit-remove").click()
    assert controls.settings()["limits"] == {"ttft_p99_ms": 500, "error_rate": 0.01}
    assert (controls.slo._note.value, shown(controls, "limit-remove")) == ("", False)
    assert len(told) == 1


def test_a_limit_on_errors_alone_reaches_the_run(controls: Controls) -> None:
    box(controls, "limit-errors").value = 5
    assert controls.settings()["limits"] == {"error_rate": 0.05}
    box(controls, "limit-errors").value = 1  # as it is without limits
    assert "limits" not in controls.settings()
    given = {"limits": {"error_rate": 0.01}}
    assert Controls("http://127.0.0.1:9/v1", given).settings()["limits"] == given["limits"]


@pytest.mark.parametrize(
    "given",
    [{"token_limit": -1}, {"token_limit": 0}, {"spend_limit_usd": 0}, {"spend_limit_usd": "1"},
     {"seconds": -3}, {"seconds": 0}, {"requests": "ten"}, {"precision": 0.9}, {"timeout_s": 0},
     {"shared_prefix_tokens": -1}, {"protocol": "grpc"}, {"headers": 7}],
    ids=str,
)  # fmt: skip
def test_what_is_given_in_code_is_refused_as_it_is_by_measure(given: dict[str, Any]) -> None:
    with pytest.raises(tp.SettingsError, match=next(iter(given))):
        Controls("http://127.0.0.1:9/v1", given)


@pytest.mark.parametrize(
    "given",
    [{"timeout_s": 7200}, {"timeout_s": 0.05}, {"seconds": 1e6}, {"token_limit": 10**11},
     {"spend_limit_usd": 2e6}, {"ramp_s": 1e5}, {"limits": {"ttft_p95_ms": 4e6}}],
    ids=str,
)  # fmt: skip
def test_what_measure_takes_a_field_has_room_for(given: dict[str, Any]) -> None:
    said = Controls("http://127.0.0.1:9/v1", given).settings()
    assert {name: said[name] for name in given} == given


@pytest.mark.parametrize("case", USE_CASES.values(), ids=USE_CASES)
def test_a_use_case_sets_all_that_it_asks_for(controls: Controls, case: UseCase) -> None:
    box(controls, "load").value = "rate"
    box(controls, "batch").value = 4
    box(controls, "limit-e2e").value = 1
    box(controls, "requests").value = 10
    box(controls, "use-case").value = "bi-insights"  # has a level's end of its own
    box(controls, "use-case").value = case.name
    assert controls.load == load_from(case.settings())
    assert controls.plan.workloads == [
        Workload.of(case.prompt_tokens, case.output_tokens, 1, case.shared_prefix_tokens)
    ]
    said = controls.settings()
    assert said.get("limits", {}) == case.limits
    assert said.get("timeout_s", 60) == case.timeout_s
    assert shown(controls, "assumptions")
    for assumption in case.assumptions:
        field = box(controls, assumption.name.replace("_", "-"))
        assert field.value == assumption.value
        assert field.tooltip == assumption.source
    box(controls, "use-case").value = ""
    assert controls.settings() == said
    assert not box(controls, "assumptions").children


def test_an_assumption_sets_what_depends_on_it_and_nothing_else() -> None:
    case = tp.use_case("support-chatbot").with_assumptions(question_words=100)
    given = {"limits": {"ttft_p95_ms": 800, "e2e_p95_ms": 9000}, "concurrency": "1-8"}
    controls = Controls("http://127.0.0.1:9/v1", given, case)
    assert controls.prompt.value == case.prompt_tokens
    assert box(controls, "question-words").value == 100
    assert controls.use_case.value["ttft_p95_ms"] == 800
    box(controls, "tickets-per-day").value = 100
    assert controls.slo.value == given["limits"]
    box(controls, "answer-words").value = 200
    box(controls, "tpot-p95-ms").value = 50
    said = controls.settings()
    assert said["output_tokens"] == 260
    assert said["limits"] == given["limits"] | {"tpot_p95_ms": 50}
    assert said["concurrency"] == (1, 2, 4, 8)
    box(controls, "limit-tpot").value = 40
    box(controls, "limit-ttft").value = 1  # less than may be assumed
    assert controls.use_case.value["tpot_p95_ms"] == 40
    box(controls, "tpot-p95-ms").value = 30
    assert controls.slo.value["tpot_p95_ms"] == 30
    assert controls.use_case.value["ttft_p95_ms"] == 800
    assert controls.slo.value["ttft_p95_ms"] == 1


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
