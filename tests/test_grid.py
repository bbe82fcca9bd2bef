"""Sweeps over two things: a run for each shape of request, as a table, a map and curves."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from walked import Ends, Measured

import tpwidgets as tp
from tpwidgets import cli
from tpwidgets.charts.heatmap import curves_spec, heatmap_spec
from tpwidgets.errors import EndpointError
from tpwidgets.measuring import sweeping
from tpwidgets.measuring.grid import Grid
from tpwidgets.measuring.politeness import MAX_TOKENS, NotConfirmed
from tpwidgets.workload.prompts import Workload
from tpwidgets.workload.rates import load_of

AXES = {"prompt_tokens_asked": (128, 512), "concurrency": (1, 4)}


def cell(prompt: int, concurrency: int, **changed: Any) -> dict[str, Any]:
    point = {
        "prompt_tokens_asked": prompt, "concurrency": concurrency, "n": 250, "n_failed": 0,
        "error_rate": 0.0, "client_limited": False, "provisional": False, "note": "",
        "output_tps": prompt / 4 * concurrency, "output_tps_lo": 1.0, "output_tps_hi": 900.0,
        "ttft_p95_ms": 0.5 * prompt, "limits_hold": True, "limits_note": "",
    }  # fmt: skip
    return point | changed


def told(spec: dict[str, Any]) -> list[str]:
    """Return the tooltips that are drawn."""
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec), ensure_ascii=False)
    return list(dict.fromkeys(re.findall(r'"description": "[^"]*?(at: [^"]*)"', scene)))


@pytest.mark.quick
def test_a_map_tells_each_cell_and_what_is_wrong_with_it() -> None:
    cells = [
        cell(128, 1), cell(128, 4, limits_hold=False, limits_note="TTFT p95 is 900 ms"),
        cell(512, 1, client_limited=True, note="the client was the limit: so"),
    ]  # fmt: skip
    texts = told(heatmap_spec(cells, AXES, "output_tps", "m at e"))
    for part in (
        "at: prompt tokens, asked 128, concurrency 1; value: output tokens/s, whole system: 32",
        "32 (95 %: 1 to 900); state: measured; requests: 250, failed 0; limits: kept",
        "state: breaks a limit; requests: 250, failed 0; limits: broken: TTFT p95 is 900 ms",
        "state: limited by the client; the client was the limit: so",
        "at: prompt tokens, asked 512, concurrency 4; value: output tokens/s, whole system: –",
        "–; state: not measured",
    ):  # fmt: skip
        assert any(part in text for text in texts), part
    spec = heatmap_spec(cells, AXES, "output_tps")
    said = " ".join(spec["title"]["subtitle"])
    assert said == (
        "Dashed: not measured. Square: limited by the client. Triangle: breaks a limit."
    )
    inks = {row["said"]: row["ink"] for row in spec["data"]["values"]}
    assert (inks["32"] == inks["–"], inks["128"]) == (True, "white")


@pytest.mark.quick
def test_a_percentile_of_too_few_requests_says_how_many_it_takes() -> None:
    cells = [cell(128, 1, n=60), cell(128, 4), cell(512, 1), cell(512, 4, n=0, ttft_p95_ms=None)]
    texts = told(heatmap_spec(cells, AXES, "ttft_p95_ms"))
    few = "too few requests to be firm (n = 60, 200 needed for p95)"
    assert sum(few in text for text in texts) == 1
    assert sum(few in text for text in told(curves_spec(cells, AXES, "ttft_p95_ms"))) == 1
    written = [row["said"] for row in heatmap_spec(cells, AXES, "ttft_p95_ms")["data"]["values"]]
    assert written == ["64 ms", "64 ms", "256 ms", "–"]
    for spec in (heatmap_spec(cells, AXES, "ttft_p95_ms"), curves_spec(cells, AXES, "ttft_p95_ms")):
        said = " ".join(spec["title"]["subtitle"])
        assert "Hollow circle: too few requests to be firm (p95 needs 200)." in said, "on paper too"


@pytest.mark.quick
def test_curves_have_a_line_for_each_level() -> None:
    cells = [cell(prompt, level) for prompt in (128, 512) for level in (1, 4)]
    spec = curves_spec(cells, AXES, "output_tps")
    assert {row["line"] for row in spec["data"]["values"]} == {"1", "4"}
    texts = told(spec)
    assert sum("value: output tokens/s" in text for text in texts) == 4
    far = [cell(128, 1), cell(512, 4, output_tps=9000.0)]
    assert (
        curves_spec(far, AXES, "output_tps")["layer"][1]["encoding"]["y"]["scale"]["type"] == "log"
    )
    with pytest.raises(tp.SettingsError, match="'tokens' is no column"):
        heatmap_spec(cells, AXES, "tokens")
    for spec in (heatmap_spec([], AXES, "output_tps"), curves_spec([], AXES, "output_tps")):
        vl_convert.vegalite_to_vega(spec)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompt_tokens": (8, 16), "output_tokens": "8-32"}, "all vary"),
        ({"prompt_tokens": (8, 16), "concurrency": "auto"}, "1, 4, 16, or one prompt_tokens"),
        ({"prompt_tokens": ()}, "prompt_tokens is empty"),
        ({"output_tokens": "64-8"}, "output_tokens '64-8' runs backwards: write 8-64"),
        ({"batch": (1, 9999)}, "batch must be from 1 to 2,048"),
        ({"prompt_tokens": (8, 16), "shared_prefix_tokens": 9}, "must be below prompt_tokens"),
        ({"prompt_tokens": (8, 16), "concurrency": 0}, "concurrency must be from"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(tp.SettingsError, match=said):
        tp.sweep("http://127.0.0.1:1/v1", **settings)
    with pytest.raises(TypeError, match="Did you mean 'concurrency'"):
        tp.sweep("http://127.0.0.1:1/v1", concurency=3)


@pytest.mark.quick
def test_the_sum_is_asked_for_once() -> None:
    """Each of the runs alone would be sent unasked."""
    asked = {"prompt_tokens": (10_000, 20_000), "concurrency": 4, "requests": 40}
    for prompt in asked["prompt_tokens"]:  # type: ignore[attr-defined]
        alone = Workload.of(prompt, 64)
        load = load_of(4, None, "poisson", None, 40, None)
        assert 44 * alone.prompt_tokens < MAX_TOKENS
        sweeping.ask_first(tp.Endpoint("https://api.example.com/v1"), alone, load)
    with pytest.raises(NotConfirmed, match=r"This sends at least 1\.33 M tokens") as question:
        tp.sweep("https://api.example.com/v1", **asked)
    assert question.value.sent.requests == 2 * 44


def swept(ends: Ends, *these: Any, **settings: Any) -> Grid:
    ends.coming[:] = these
    return tp.sweep(
        "http://127.0.0.1:1/v1", prompt_tokens=(8, 16, 32), concurrency=(1, 4), **settings
    )


@pytest.mark.quick
def test_what_was_measured_is_kept(ends: Ends) -> None:
    grid = swept(ends, None, EndpointError("the context is too short", "context"))
    assert [run.conditions["prompt_tokens_asked"] for run in grid.runs] == [8, 32]
    assert grid.notes == ["prompt 16 tokens: the context is too short"]
    assert [settings["concurrency"] for settings in ends.asked] == [(1, 4)] * 3
    drawn = grid.picture("output_tps")
    cells = {row["said"] for row in drawn["data"]["values"] if row["prompt_tokens_asked"] == 16}
    assert cells == {"failed"}
    assert sum("not measured: the context is too short" in text for text in told(drawn)) == 2
    page = grid._repr_html_()
    assert page.count("<tr") == 5
    assert "prompt 16 tokens: the context is too short" in page
    assert page.count("conditions: ") == 2


@pytest.mark.quick
def test_a_prompt_that_was_shortened_passes_for_no_other(ends: Ends) -> None:
    """A single run is measured at what fits, and says so."""
    ends.coming[:] = [None, 16, None]
    sweep = tp.start_sweep(
        "http://127.0.0.1:1/v1", prompt_tokens=(8, 32, 12), output_tokens=16, concurrency=(1, 4)
    )
    ends.begun(2).walk(1)
    grid = sweep.wait(30)
    assert [run.conditions["prompt_tokens_asked"] for run in grid.runs] == [8, 12]
    why = "too long for the model's context: prompt 16 tokens, output 16 tokens would fit"
    assert grid.failed == [{"prompt_tokens_asked": 32, "why": why}]
    assert sweep.progress.state == "done"


@pytest.mark.quick
def test_a_sweep_tells_which_cell_is_measured_and_what_there_is(ends: Ends) -> None:
    ends.coming[:] = [None, Measured.waits]
    told: list[tuple[str, float]] = []
    sweep = tp.start_sweep(
        "http://127.0.0.1:1/v1", prompt_tokens=(512, 1024, 2048), concurrency=(1, 4)
    )
    sweep.on_update(lambda sweep: told.append((sweep.progress.text, sweep.progress.fraction)))
    second = ends.begun(2)
    second.walk(1)
    assert told[-1] == ("3 of 6: prompt 1,024 tokens, 1 concurrent, about 10 s left", 1 / 3)
    second.walk(2)
    assert told[-1] == ("4 of 6: prompt 1,024 tokens, 4 concurrent, about 10 s left", 0.5)
    assert [run.conditions["prompt_tokens_asked"] for run in sweep.grid.runs] == [512, 1024]
    assert len(sweep.grid.rows) == 3, "the level under way is none that was measured"
    sweep.price = tp.Price.per_hour(1)
    assert not sweep.done
    sweep.stop()
    grid = sweep.wait(30)
    assert (sweep.done, sweep.progress.state, len(ends.asked)) == (True, "stopped", 2)
    assert sweep.progress.text.endswith("measured; stopped, in run 2 of 3")
    assert grid.price == tp.Price.per_hour(1)
    assert grid.state == "stopped"


@pytest.mark.quick
def test_the_spend_limits_are_for_the_sum(ends: Ends) -> None:
    limits = {"spend_limit_usd": 0.5, "token_limit": 1000}
    grid = swept(ends, None, "Stopped at the spend limit", None, **limits)
    assert [settings["spend_limit_usd"] for settings in ends.asked] == [0.5, 0.25]
    assert [settings["token_limit"] for settings in ends.asked] == [1000, 900]
    assert grid.notes == ["Stopped at the spend limit, in run 2 of 3"]


@pytest.mark.quick
def test_where_nothing_could_be_measured_the_first_reason_is_told(ends: Ends) -> None:
    reasons = [EndpointError(f"no {number}", "unreachable") for number in (1, 2, 3)]
    with pytest.raises(EndpointError, match="no 1"):
        swept(ends, *reasons)


@pytest.mark.quick
def test_a_terminal_measures_lengths_too(
    ends: Ends, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "sweep.zip"
    command = ["measure", "http://127.0.0.1:9", "--prompt-tokens", "8,1024", "--concurrency", "1,4"]
    assert cli.main([*command, "--save", str(path)]) == 0
    heads, *lines = capsys.readouterr().out.splitlines()
    assert heads.split()[:3] == ["prompt", "tokens", "concurrency"]
    assert [line.split()[:2] for line in lines[:4]] == [
        ["8", "1"], ["8", "4"], ["1,024", "1"], ["1,024", "4"],
    ]  # fmt: skip
    assert lines[4].startswith("prompt 8 tokens: At 4 concurrent: ")
    assert len(Grid.load(path).runs) == 2
    assert cli.main([*command, "--report", "page.html"]) == 1
    assert cli.main(["measure", "http://127.0.0.1:9", "--prompt-tokens", "many"]) == 1
    said = capsys.readouterr().err
    assert "--report is of one run" in said
    assert "prompt_tokens 'many' is not understood" in said


def test_a_real_sweep_becomes_a_table_a_map_and_a_file(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tp.simulate("laptop-8b", speed=20) as sim:
        grid = tp.sweep(
            sim.url, prompt_tokens=(32, 64), concurrency=(1, 2), output_tokens=8, seconds=0.3,
            price=tp.Price.per_hour(1.0), limits={"ttft_p95_ms": 5000}, progress=False,
        )  # fmt: skip
    points = grid.points
    assert list(points.columns[:4]) == [
        "prompt_tokens_asked", "output_tokens_asked", "batch", "concurrency",
    ]  # fmt: skip
    assert points.prompt_tokens_asked.tolist() == [32, 32, 64, 64]
    assert points.concurrency.tolist() == [1, 2, 1, 2]
    assert (points.prompt_tokens_mean == points.prompt_tokens_asked).all()
    assert grid.axes == {"prompt_tokens": (32, 64), "concurrency": (1, 2)}
    assert "prompt_tokens 32, 64 × concurrency 1, 2" in repr(grid)
    page = grid._repr_html_()
    assert page.count("<table") == 1
    assert "prompt 64 tokens: conditions: " in page
    back = Grid.load(grid.save(tmp_path / "sweep.zip"))
    assert back.rows == grid.rows
    assert back.axes == grid.axes
    with pytest.raises(tp.SettingsError, match="holds several runs"):
        tp.load(tmp_path / "sweep.zip")
    back.runs[0].save(tmp_path / "run.json")
    for name in ("run.json", "none.zip"):
        with pytest.raises(tp.SettingsError, match="path"):
            Grid.load(tmp_path / name)
    from tpwidgets.charts import heatmap

    monkeypatch.setattr(heatmap, "as_altair", lambda spec, *_: spec)
    drawn: Any = grid.heatmap("usd_per_1m_output_tokens")
    assert all("$" in row["said"] for row in drawn["data"]["values"])
    assert len(grid.heatmap("slo_attainment")["data"]["values"]) == 4
    assert len(grid.chart("ttft_p50_ms")["data"]["values"]) == 4
    one: Any = Grid(grid.runs[:1], {"concurrency": (1, 2)}).heatmap()
    assert [row["v"] is not None for row in one["data"]["values"]] == [True, True]
    for run in grid.runs:
        run.price = None
    with pytest.raises(tp.SettingsError, match="needs a price"):
        grid.heatmap("usd_per_request")
    json.dumps(drawn)
