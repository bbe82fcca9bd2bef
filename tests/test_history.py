"""The runs that a dashboard keeps beside each other."""

from dataclasses import replace

import pytest

from tpwidgets.cost.at_point import usd_per_1m_output
from tpwidgets.cost.price import Price
from tpwidgets.run import Run
from tpwidgets.samples import Sample, Window
from tpwidgets.widgets.history import History

pytestmark = pytest.mark.quick


def run(endpoint: str = "here", price: Price | None = None, windows: int = 1) -> Run:
    ok = [
        Sample(f"{i}", 0, 1, sent_s=i, token_ms=[100.0, 200.0], prompt_tokens=8, output_tokens=2)
        for i in range(1, 5)
    ]
    conditions = {"endpoint": endpoint, "prompt_tokens_asked": 8, "output_tokens_asked": 2}
    return Run(ok, [Window(1, 1.0, 5.0)] * windows, conditions, price=price)


def test_empty_presses_push_nothing_out() -> None:
    history, good = History(), run()
    history.keep(good)
    for _ in range(9):
        history.keep(run(windows=0))
    assert history.runs == [good]
    history.keep(good)
    assert history.runs == [good]


def test_names_stay_when_old_runs_go_and_when_another_dashboard_takes_over() -> None:
    history = History()
    runs = [run() for _ in range(7)]
    for each in runs:
        history.keep(each)
    assert history.runs == runs[2:]
    assert history.rows("here", runs[-1])[-1]["run"].startswith("run 7:")
    heir = History()
    heir.adopt(history)
    assert heir.next_name == "run 8"
    assert heir.rows("here", None)[0]["run"].startswith("run 3:")


def test_what_is_forgotten_is_drawn_no_more_and_the_last_run_keeps_its_name() -> None:
    history, runs = History(), [run(), run(), run()]
    for each in runs:
        history.keep(each)
    assert len(history.rows("here", runs[-1])) == 3
    history.forget()
    assert history.runs == runs[2:]
    assert [row["run"] for row in history.rows("here", runs[-1])] == ["run 3: here, 8 → 2 tok"]
    history.keep(runs[0])  # as a sweep does that tells of its runs again
    assert history.runs == runs[2:]
    assert history.next_name == "run 4"
    history.forget()
    assert history.runs == runs[2:]


def test_a_run_of_another_endpoint_keeps_its_own_price() -> None:
    price = Price.per_hour(10)
    history, there, here = History(), run("there", price), run("here", Price.per_token(20))
    history.keep(there)
    history.keep(here)
    first, second = history.rows("here", here)
    assert first["own_cost"]
    assert first["usd"] == usd_per_1m_output(there.rows[0], price)[0]
    assert first["usd"] != 20
    assert "own_cost" not in second
    assert [first["current"], second["current"]] == [False, True]


def test_an_answer_that_could_be_anothers_is_named() -> None:
    history, one = History(), run()
    history.keep(one)
    assert history.answer(one, one) == one.answer()
    assert history.answer(one, run(windows=0)).startswith("run 1: ")


def test_a_run_that_is_judged_anew_stays_the_same_run() -> None:
    history, measured = History(), run()
    history.keep(measured)
    history.judge({"ttft_p95_ms": 50})
    judged = history.last
    assert judged is not None
    assert judged is not measured
    assert history.rows("here", judged)[0]["limits_hold"] is False
    assert history.rows("here", judged)[0]["run"].startswith("run 1:")
    assert history.answer(judged, measured) == judged.answer()
    history.keep(measured)
    history.judge({"ttft_p95_ms": 50})
    assert history.runs == [judged]
    history.judge({})
    assert history.runs[0].limits is None


def test_a_run_whose_answers_come_whole_is_told_by_its_prompts_alone() -> None:
    history, vectors = History(), run()
    vectors.samples = [replace(s, token_ms=[], ended_ms=200.0) for s in vectors.samples]
    history.keep(vectors)
    assert history.rows("here", vectors)[0]["run"] == "run 1: here, 8 tok"
