"""The dashboard's prices: typed, listed or usual for an endpoint; never one in another's stead."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from virtual import steady_run

import tpwidgets as tp
from tpwidgets.cost.price import Price, Tier
from tpwidgets.endpoints.endpoint import Endpoint
from tpwidgets.run import Run
from tpwidgets.store import load
from tpwidgets.widgets.closing import inside
from tpwidgets.widgets.controls import Controls
from tpwidgets.widgets.price_fields import PriceFields
from tpwidgets.widgets.result import Result
from tpwidgets.widgets.texts import as_code

pytestmark = pytest.mark.quick

MINI = Price.per_token(2.0, 0.25, 0.025, "genai-prices 9.9", "2026-11-09", name="openai mini")
OPENAI = "https://api.openai.com/v1"


def test_what_is_set_is_what_it_was_until_it_is_edited() -> None:
    fields = PriceFields(MINI)
    row = fields.first
    assert fields.value is MINI
    assert row.note.value == "<small>price: genai-prices 9.9, 2026-11-09</small>"
    assert row.live["name"] == "openai mini"
    row.output.value = 4.0
    assert fields.value == Price.per_token(4.0, 0.25, 0.025)
    assert row.note.value == "<small>your own</small>"
    assert row.live["name"] == ""
    row.reasoning.value = " 3 "
    row.cached_input.value = ""
    row.off_pct.value = 50
    assert fields.value == Price.per_token(4.0, 0.25, reasoning=3.0).batched()
    for odd in ("-1", "a lot", "nan"):
        row.reasoning.value = odd
        assert fields.value == Price.per_token(4.0, 0.25).batched()
        assert "reasoning: a number of $, or nothing" in row.note.value
    row.reasoning.value = ""
    row.output.value = row.input.value = 0
    assert fields.value == Price.per_token(0.0).batched()
    assert row.note.value == "<small>your own: free of charge</small>"
    assert row.live["free"]
    free = PriceFields(Price.per_token(0.0))
    assert free.value == Price.per_token(0.0)  # given, not forgotten
    own = PriceFields(Price.per_hour(9.0, 2, 0.07, source="a list"))
    assert own.value is not None
    assert own.value.utilisation == 0.07
    own.first.busy_pct.value = 50
    assert own.value == Price.per_hour(9.0, 2, 0.5)
    own.first.basis.value = "token"
    assert own.value is None  # only the kind was chosen
    own.first.replicas.value = 3
    own.first.basis.value = "hour"
    own.first.hour.value = 0
    assert own.value == Price.per_hour(0.0, 3, 0.5)


def test_a_price_of_nothing_is_one_that_somebody_typed() -> None:
    fields = PriceFields()
    row = fields.first
    assert fields.value is None
    row.basis.value = "hour"
    row.replicas.value = 2
    assert (fields.value, row.note.value, row.live["free"]) == (None, "<small></small>", False)
    row.hour.value = 3
    row.hour.value = 0
    assert fields.value == Price.per_hour(0.0, 2)
    row.set(None)
    assert fields.value is None


def test_a_look_at_the_other_kind_of_price_is_no_edit() -> None:
    row = PriceFields().first
    row.basis.value = "hour"
    row.basis.value = "token"
    assert not row.edited


def test_the_board_is_told_of_tiers_until_a_price_is_edited() -> None:
    price = Price(2.0, 1.0, tiers=(Tier(0, 2.0, 1.0), Tier(200_000, 4.0, 2.0)))
    row = PriceFields(price).first
    assert [tier["above"] for tier in row.live["tiers"]] == [0, 200_000]
    row.output.value = 3.0
    assert row.live["tiers"] == []


def test_what_is_compared_never_takes_the_place_of_what_is_measured() -> None:
    fields = PriceFields()
    fields.add(Price.per_token(10.0))
    fields.add(Price.per_hour(1.0))
    assert (fields.value, fields.all, fields.others, fields.own_and_api) == (None, [], [], None)
    fields.first.output.value = 1
    fields.first.output.value = 0
    assert fields.all == [Price.per_token(0.0), Price.per_token(10.0), Price.per_hour(1.0)]
    assert fields.others == fields.all[1:]


def test_up_to_three_prices_stand_side_by_side() -> None:
    class Board:
        costs: Any = None

    assert PriceFields([MINI, Price.per_hour(1.0)]).all == [MINI, Price.per_hour(1.0)]
    fields, told, board = PriceFields(Price.per_hour(10.0)), [], Board()
    fields.link(board)
    fields.changed(told.append)
    fields.compare.click()
    second = fields.rows[1]
    assert second.basis.value == "token"
    assert fields.others == []
    assert [row["hourly"] for row in board.costs["prices"]] == [fields.first.basis, second.basis]
    second.output.value = 5.0
    fields.add(Price.per_hour(3.0, name="small"))
    assert fields.compare.disabled
    fields.add()
    assert fields.all == [Price.per_hour(10.0), Price.per_token(5.0),
                          Price.per_hour(3.0, name="small")]  # fmt: skip
    assert [row["name"] for row in board.costs["prices"]] == ["", "", "small"]
    second.row.children[-2].click()
    assert fields.others == [Price.per_hour(3.0, name="small")]
    assert second.output.comm is None
    assert len(board.costs["prices"]) == 2
    assert not fields.compare.disabled
    assert told


@pytest.fixture
def controls(monkeypatch: pytest.MonkeyPatch) -> Controls:
    monkeypatch.setattr(
        Price, "listed", lambda url, model, _: MINI if (url, model) == (OPENAI, "mini") else None
    )
    return Controls("vllm-llama-70b", {})


def choose(controls: Controls, url: str, *models: str) -> None:
    controls.where._add("there", url, Endpoint(url), choose=True)
    controls.where.model.options = models or ("",)
    controls._endpoint_changed()
    for thread in threading.enumerate():
        if thread.name == "tpwidgets-price":
            thread.join()


def test_why_a_listed_model_has_no_price_is_said(controls: Controls) -> None:
    choose(controls, "https://api.perplexity.ai", "sonar-pro")
    assert controls.price.value is None
    said = controls.price.first.note.value
    assert said.startswith("<small>perplexity sonar-pro is listed with a fee per 1,000 requests")


def test_the_listed_price_stands_there_with_its_origin(controls: Controls) -> None:
    row = controls.price.first
    assert controls.price.value == Price.per_hour(10.0)
    assert row.note.value == "<small>assumed for this simulated endpoint</small>"
    choose(controls, OPENAI, "maxi", "mini")
    assert controls.price.value is None
    assert row.note.value == "<small></small>"
    controls.where.model.value = "mini"
    choose(controls, OPENAI, "mini", "maxi")
    assert controls.price.value is MINI
    said = "listed for openai mini (genai-prices 9.9, 2026-11-09); can be edited"
    assert row.note.value == f"<small>{said}</small>"
    row.output.value = 3.0
    choose(controls, "https://llm.example.com/v1")
    assert controls.price.value == Price.per_token(3.0, 0.25, 0.025)
    assert row.note.value == "<small>your own</small>"


def test_what_was_measured_keeps_its_price_until_another_is_measured(controls: Controls) -> None:
    controls.usual.keep = True
    choose(controls, OPENAI, "mini")
    assert controls.price.value == Price.per_hour(10.0)
    controls.usual.settle()
    assert controls.price.value is MINI
    choose(controls, "https://llm.example.com/v1")
    controls.usual.settle()
    assert controls.price.value is None
    given = Controls("vllm-llama-70b", {"price": Price.per_token(1.0)})
    choose(given, OPENAI, "mini")
    given.usual.settle()
    assert given.price.value == Price.per_token(1.0)


def test_prices_as_code() -> None:
    own = Price.per_hour(2.5, 4, 0.5, name="4 H100")
    code = as_code(Endpoint("http://x/v1"), {}, own, [MINI, Price.per_token(0.0, reasoning=1.0)])
    said: dict[str, Any] = {"measure": lambda *_, **given: Run([], [], {}, price=given["price"])}
    code = code.replace("import tpwidgets as tp", "").replace("tp.measure", "measure")
    exec(code.replace("run.points", ""), said | {"tp": tp}, said)
    assert said["run"].price == own
    assert said["run"].compared == [MINI, Price.per_token(0.0, reasoning=1.0)]
    assert "replicas=4, utilisation=0.5, name='4 H100')" in code
    assert "cached_input=None" not in code


@pytest.fixture
def explorer(monkeypatch: pytest.MonkeyPatch) -> Iterator[tp.Explorer]:
    """A dashboard in which something was measured, at $10 an hour."""
    monkeypatch.setattr(Result, "show", lambda *_: None)
    explorer = tp.Explorer("http://127.0.0.1:9/v1", concurrency=1, price=Price.per_hour(10.0))
    run = steady_run({1: 6.58, 4: 9.0}, 100, 50)
    run.conditions["endpoint"] = "here"
    explorer._history.keep(run)
    yield explorer
    explorer.close()


def test_what_is_compared_stays_with_the_run(explorer: tp.Explorer, tmp_path: Any) -> None:
    line = next(part for part in inside(explorer) if "tp-cost-line" in part._dom_classes)
    fields = explorer.controls.price
    assert line.value == ""
    fields.add(MINI)
    run = explorer.run
    assert run is not None
    assert run.prices() == [Price.per_hour(10.0), MINI]
    assert line.value.startswith("Own hardware ($10.00 per hour) never costs less than the API")
    fields.volume.value = 2
    assert line.value.startswith("2 M output tokens a day cost $480 on own hardware (2 such")
    assert run.cost()["price"].tolist()[::2] == ["$10.00 per hour", "openai mini"]
    assert load(run.save(tmp_path / "run.json")).compared == [MINI]
    assert run.with_limits({"ttft_p95_ms": 500}).compared == [MINI]
    assert fields.tokens_per_day == 2e6
    fields.first.basis.value, fields.rows[1].basis.value = "token", "hour"
    fields.first.output.value = fields.rows[1].hour.value = 10
    assert line.value.startswith("If own hardware did what was measured here: 2 M output tokens")
    fields.first.output.value = 0
    assert run.price == Price.per_token(0.0)
    assert line.value.endswith("never pays: the API costs nothing.")
    fields.first.set(None)
    assert (run.price, line.value) == (None, "")
    assert not run.compared
