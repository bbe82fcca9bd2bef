"""The charts' specifications: they compile, they hold what they promise, they are cheap."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import vl_convert

from tpwidgets.breakdown import breakdown, breakdown_spec
from tpwidgets.breakdown import told as told_anything
from tpwidgets.chart_layers import GREY
from tpwidgets.charts import (
    COLUMNS,
    PRICE,
    SCHEMA,
    clean_rows,
    overview,
    overview_spec,
    picture_png,
    price_params,
)
from tpwidgets.cost import Price, own_cost, usd_per_1m_output
from tpwidgets.live import Board
from tpwidgets.live.layout import board_charts
from tpwidgets.live.packing import COLUMNS as PACKED
from tpwidgets.timeline import Timeline

VL = "6.4"


def point(level: int, **changed: Any) -> dict[str, Any]:
    ttft, tps = 300.0 + 12 * level, 90 * level / (1 + level / 40)
    row = {
        "run": "run 2", "current": True, "concurrency": level, "n": 40 * level, "n_failed": 0,
        "error_rate": 0.0, "window_s": 12.0, "rps": 1.4 * level,
        "output_tps": tps, "output_tps_lo": 0.93 * tps, "output_tps_hi": 1.06 * tps,
        "ttft_p50_ms": ttft, "ttft_p50_ms_lo": 0.92 * ttft, "ttft_p50_ms_hi": 1.1 * ttft,
        "ttft_p95_ms": 1.9 * ttft, "ttft_p95_ms_lo": 1.6 * ttft, "ttft_p95_ms_hi": 2.2 * ttft,
        "ttft_p50_firm": True, "ttft_p95_firm": level > 4,
        "user_tps_p50": tps / level, "user_tps_p50_lo": 0.95 * tps / level,
        "user_tps_p50_hi": 1.05 * tps / level, "tpot_p50_ms": 11.0, "e2e_p50_ms": 900.0,
        "gap_p50_ms": 11.0, "itl_p50_ms": 11.0, "tokens_per_chunk": 1.0,
        "in_flight_mean": 0.98 * level, "client_error_p99_ms": 0.1, "merged_pct": 0.2,
        "prompt_tokens_mean": 256.0, "output_tokens_mean": 64.0, "input_per_output": 4.0,
        "cached_pct": 25.0, "provisional": False, "client_limited": False, "note": "",
    }  # fmt: skip
    return row | changed


FAILED = point(
    8, n=0, n_failed=12, error_rate=1.0, output_tps=0.0, ttft_p50_ms=None, ttft_p95_ms=None,
    user_tps_p50=None, input_per_output=None, note="12 of 12: timeout",
)  # fmt: skip
BARE = {"concurrency": 4, "n": 3, "output_tps": 50.0, "ttft_p50_ms": 200.0, "ttft_p95_ms": None}


def told(spec: dict[str, Any], value: str = "") -> list[str]:
    """Return what each point tells: its fields, then its tooltip's lines."""
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL), ensure_ascii=False)
    return [text for text in re.findall(r'"description": "([^"]*value: [^"]*)"', scene)
            if value in text]  # fmt: skip


def costs(rows: list[dict[str, Any]], price: Price | None) -> dict[int, float]:
    texts = told(overview_spec(rows, price), "per 1M output tokens")
    drawn = [re.search(r"level: (\d+); v: ([\d.,]+)", text) for text in texts]
    return {int(match[1]): float(match[2].replace(",", "")) for match in drawn if match}


def compile_quietly(spec: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    vega = vl_convert.vegalite_to_vega(spec, vl_version=VL, show_warnings=True)
    assert "WARN" not in "".join(capfd.readouterr())
    return vega


@pytest.mark.parametrize("chart", board_charts(), ids=lambda chart: chart["name"])
def test_board_specs_compile_without_warnings_and_are_valid(chart, capfd):
    import altair as alt

    vega = compile_quietly(chart["spec"], capfd)
    assert chart["feed"] in [data["name"] for data in vega["data"]]
    assert chart["feed"] == "series" or set(chart["needs"]) <= set(PACKED)
    assert set(chart.get("shown_by", [])) <= set(PACKED)
    alt.LayerChart.from_dict(chart["spec"])
    json.dumps(chart["spec"], allow_nan=False)


def test_schema_is_altairs_and_the_bundles():
    import altair as alt

    sys.path.insert(0, str(Path(__file__).parent.parent))
    try:
        from hatch_build import VEGA_LITE
    finally:
        sys.path.pop(0)
    assert SCHEMA.endswith(f"/v{VEGA_LITE}.{SCHEMA.split('.')[-2]}.json")
    assert alt.SCHEMA_VERSION.startswith(f"v{VEGA_LITE}.")
    assert VEGA_LITE in vl_convert.get_vegalite_versions()


def test_board_charts_in_order():
    charts = board_charts()
    assert [(c["name"], c["card"]) for c in charts] == [
        ("ttft", "ttft"), ("system_tps", "tps"), ("user_tps", "tps"), ("cost", "cost"),
        ("timeline", "timeline"), ("breakdown", "breakdown"),
    ]  # fmt: skip
    heights = {"ttft": 0, "tps": 0, "cost": 0}
    for chart in charts[:4]:
        padding = chart["spec"]["padding"]
        heights[chart["card"]] += chart["spec"]["height"] + padding["top"] + padding["bottom"]
    assert len(set(heights.values())) == 1, "cards side by side end at one line"
    assert all(chart["spec"]["description"] for chart in charts)
    assert {p["name"] for p in charts[3]["spec"]["params"]} >= set(PRICE)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [point(4)],
        [BARE],
        [FAILED],
        [point(1), FAILED, point(16, provisional=True), point(64, client_limited=True)],
        [point(1, current=False, run="run 1"), point(4)],
    ],
    ids=["empty", "one", "no intervals", "failed", "every state", "two runs"],
)
def test_overview_draws(rows, capfd):
    spec = overview_spec(rows, Price.per_hour(4), title="a title")
    compile_quietly(spec, capfd)
    assert picture_png(spec, scale=1).startswith(b"\x89PNG")


def test_overview_is_a_valid_altair_chart():
    chart = overview([point(1), point(4)], Price.per_hour(4), title="a title")
    drawn = chart.to_dict()  # checks it against the schema
    assert drawn["hconcat"] == overview_spec([point(1), point(4)], Price.per_hour(4))["hconcat"]
    assert picture_png(chart, scale=1).startswith(b"\x89PNG")


def test_overview_takes_a_data_frame():
    frame = pd.DataFrame([point(1), point(4, ttft_p95_ms=float("nan"))])
    assert told(overview_spec(frame)) == told(overview_spec([point(1), point(4, ttft_p95_ms=None)]))


@pytest.mark.parametrize(
    "price",
    [
        Price.per_token(3.0),
        Price.per_token(3.0, input=0.5),
        Price.per_token(3.0, input=0.5, cached_input=0.1),
        Price.per_hour(4.0),
        Price.per_hour(4.0, replicas=3, utilisation=0.4),
    ],
    ids=lambda price: price.basis,
)
def test_cost_in_the_chart_is_the_cost_of_the_table(price):
    rows = clean_rows([point(level, cached_pct=10.0 * level) for level in (1, 2, 4, 8)])
    expected = {row["concurrency"]: usd_per_1m_output(row, price)[0] for row in rows}
    assert costs(rows, price) == pytest.approx(expected, rel=1e-9)


def test_a_point_with_a_cost_of_its_own_ignores_the_price():
    hourly = Price.per_hour(10)
    rows = clean_rows([point(4) | own_cost(point(4), hourly), point(8)])
    own, common = usd_per_1m_output(point(4), hourly)[0], Price.per_token(3.0)
    assert costs(rows, common) == pytest.approx({4: own, 8: 3.0}, rel=1e-5)
    assert costs(rows, None) == pytest.approx({4: own}, rel=1e-5)
    assert costs([point(4) | own_cost(point(4), None)], common) == {}


def test_cost_without_a_price_says_what_to_do():
    assert costs([point(4)], None) == {}
    assert costs([point(4)], Price.per_token(0.0)) == {}
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(overview_spec([point(4)])))
    assert "set a price to see cost" in scene


def test_what_cannot_be_known_is_not_drawn():
    unbilled = point(4, input_per_output=None)
    assert costs([unbilled], Price.per_token(3.0, input=1.0)) == {}
    assert costs([unbilled], Price.per_token(3.0)) == {4: 3.0}
    assert costs([point(4, output_tps=0.0)], Price.per_hour(4.0)) == {}
    assert list(costs([FAILED, point(2)], Price.per_hour(4.0))) == [2]


def test_tooltips_tell_all():
    chart = overview_spec([point(16, note="stopped early")])
    text = told(chart, "tokens/s, whole system")[0]
    for part in (
        "run 2: concurrency 16", "1,029 tokens/s, whole system (95 %: 957 to 1,090)",
        "measured; stopped early", "640, failed 0", "15.7 of 16 asked", "12 s, 22.4 requests/s",
        "256 in (25 % cached), 64 out", "0.1 ms (p99), merged 0.2 %",
    ):  # fmt: skip
        assert part in text


def test_states_are_told_by_shape_and_words():
    rows = [
        point(1, n=60, ttft_p95_firm=False), point(2, provisional=True),
        point(4, client_limited=True), point(8, n=12, ttft_p50_firm=False),
        FAILED,
    ]  # fmt: skip
    text = " ".join(told(overview_spec(rows), "TTFT"))
    few = "too few requests to be firm (n = 60, 200 needed for p95)"
    for words in (few, "still running", "limited by the client"):
        assert f"state: {words}" in text
    few = "too few requests to be firm (n = 12, 20 needed for p50)"
    assert sum(f"state: {few}" in text for text in told(overview_spec(rows))) == 2  # per user too
    assert "state: all requests failed; 12 of 12: timeout" in text
    subtitle = overview_spec(rows)["title"]["subtitle"][0]
    assert all(word in subtitle for word in ("Hollow", "Diamond", "Grey square", "Cross"))


def test_a_gap_between_chunks_of_several_tokens_is_no_itl():
    text = told(overview_spec([point(4)]), "TTFT p50")[0]
    assert "between chunks: 11 ms (ITL), 1 tokens a chunk" in text
    several = point(4, gap_p50_ms=44.0, itl_p50_ms=None, tokens_per_chunk=4.0)
    text = told(overview_spec([several]), "TTFT p50")[0]
    assert "between chunks: 44 ms, 4 tokens a chunk" in text
    assert "ITL" not in json.dumps(overview_spec([])).replace("' (ITL)'", "")


def test_where_the_client_was_the_limit_every_chart_is_grey_and_says_why():
    note = "the client was the limit: 40 of 64 requests were in flight"
    spec = overview_spec([point(1), point(64, client_limited=True, note=note)], Price.per_hour(4))
    texts = [text for text in told(spec) if "level: 64" in text]
    told_by = {words: [t for t in texts if words in t] for words in
               ("TTFT", "whole system", "per user", "per 1M output tokens")}  # fmt: skip
    for words, found in told_by.items():
        assert found, words
        assert all(f"state: limited by the client; {note}" in text for text in found), words
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert scene.count(f'"stroke": "{GREY}"') >= 4


def taken_apart(level: int, **changed: Any) -> dict[str, Any]:
    parts = {"write": 0.5, "server_queue": 3.0 * level, "server_prefill": 120.0,
             "server_start": None, "rest": 20.0}  # fmt: skip
    parts |= {name: changed.pop(name) for name in list(changed) if name in parts}
    columns = {f"ttft_{name}_mean_ms": value for name, value in parts.items()}
    total = sum(value for value in parts.values() if value)
    extra = {"ttft_mean_ms": total, "connect_mean_ms": None, "new_connections": 0}
    return point(level, **{**columns, **extra, **changed})


def drawn_bars(spec: dict[str, Any]) -> list[dict[str, Any]]:
    vega = vl_convert.vegalite_to_scenegraph(spec, vl_version=VL)
    found: list[dict[str, Any]] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("marktype") == "rect" and node.get("role") == "mark":
                found.extend(node["items"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(vega)
    return found


def test_bars_stack_the_parts_of_ttft(capfd):
    spec = breakdown_spec([taken_apart(1), taken_apart(16)], "a title")
    compile_quietly(spec, capfd)
    bars = drawn_bars(spec)
    assert len(bars) == 8
    for x in {bar["x"] for bar in bars}:
        stack = sorted((bar for bar in bars if bar["x"] == x), key=lambda bar: -bar["y"])
        letters = [re.search(r"part: (\w)", bar["description"])[1] for bar in stack]
        assert letters == ["w", "q", "p", "r"]
        for below, above in itertools.pairwise(stack):
            assert above["y"] + above["height"] == pytest.approx(below["y"], abs=1e-6)
    text = next(bar["description"] for bar in bars if "concurrency 16" in bar["description"])
    for part in ("TTFT: 189 ms (mean)", "request write: 0.5 ms", "server queue: 48 ms",
                 "server until it answers: not told", "connection: none opened"):  # fmt: skip
        assert part in text
    assert "rest: the network, and what the server doesn't tell" in json.dumps(spec)


def test_only_what_a_server_told_of_the_current_run_is_taken_apart():
    silent = taken_apart(4, server_queue=None, server_prefill=None)
    assert drawn_bars(breakdown_spec([silent, taken_apart(8, current=False)])) == []
    assert not told_anything([silent])
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(breakdown_spec([silent]), vl_version=VL))
    assert "the server tells no times of its own" in scene
    headers_only = taken_apart(4, server_queue=None, server_prefill=None, server_start=90.0)
    assert len(drawn_bars(breakdown_spec([silent, headers_only | {"concurrency": 8}]))) == 3


def test_a_limited_bar_is_grey_and_its_parts_keep_their_letters():
    spec = breakdown_spec([taken_apart(8, client_limited=True, note="lag")])
    assert {bar["fill"] for bar in drawn_bars(spec)} == {GREY}
    assert "limited by the client; lag" in drawn_bars(spec)[0]["description"]
    assert "Grey, with a square" in spec["title"]["subtitle"]


def test_the_breakdown_is_an_altair_chart():
    breakdown([taken_apart(1)], "a title").to_dict()  # checks it against the schema


def test_overview_names_pale_runs():
    rows = [point(1), point(1, run="before", current=False)]
    assert overview_spec(rows)["title"]["subtitle"][-1] == "Pale: before."


def test_clean_rows():
    rows = clean_rows([
        point(2, note=["not", "json"], output_tps=float("inf"), extra=1, rps=1 / 3),
        point(1, current=False),
    ])  # fmt: skip
    assert [row["concurrency"] for row in rows] == [1, 2], "earlier runs are drawn first"
    assert rows[1]["output_tps"] is None
    assert rows[1]["note"] is None
    assert rows[1]["rps"] == 0.333333
    assert "extra" not in rows[1]
    frame = pd.DataFrame([point(1, ttft_p95_ms=float("nan"))])
    json.dumps(clean_rows(frame), allow_nan=False)


def test_price_params():
    assert price_params(None) == dict(PRICE)
    assert set(price_params(Price.per_hour(2.0))) == set(PRICE)


def sent_by(board: Board) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    board.send = sent.append
    return sent


def unpack(points: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows as the browser makes them, without those that are empty."""
    assert [i for i, _ in points["rows"]] == list(range(points["n"]))
    rows = [zip(COLUMNS, row, strict=False) for _, row in points["rows"]]
    return [{name: value for name, value in row if value is not None} for row in rows]


def known(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    cleaned = clean_rows(rows)
    return [{name: value for name, value in row.items() if value is not None} for row in cleaned]


def test_board_sends_what_changed_and_keeps_the_snapshot():
    board = Board()
    sent = sent_by(board)
    rows = [point(1, ttft_p95_ms=float("nan")), point(4), point(2, current=False)]
    board.update(rows)
    assert (sent[0]["type"], sent[0]["number"]) == ("change", 1)
    assert "series" not in sent[0]
    assert unpack(sent[0]["points"]) == known(rows)
    json.dumps(sent, allow_nan=False)
    board.update([dict(row) for row in rows])
    assert len(sent) == 1, "nothing changed"
    board.update([*rows[:2], rows[2], point(8, provisional=True)])
    assert [i for i, _ in sent[1]["points"]["rows"]] == [3]
    board.update(rows[:1])
    assert (sent[2]["number"], sent[2]["points"]["n"]) == (3, 1)
    board._answer(board, {"type": "ready"}, [])
    assert sent[3]["type"] == "everything"
    assert unpack(sent[3]["points"]) == known(rows[:1])
    assert sent[3] == {"type": "everything", **board.get_state()["_snapshot"]}
    assert repr(board) == "<Board: 1 operating points>"


def test_board_sends_a_point_of_the_series_once():
    board, timeline = Board(), Timeline(most=8)
    sent = sent_by(board)
    timeline.begin_level(4)
    for tick in range(41):
        timeline.read(tick / 10, 30 * tick, 1.0, 1.2 if tick > 12 else None)
        board.update([], timeline)
    told: list[Any] = []
    for message in sent:
        series = message["series"]
        told = told[: series["keep"]] + series["points"]
        json.dumps(message, allow_nan=False)
    assert [round(t, 1) for t, _, _ in told] == [0, 1, 2, 3]
    assert sum(tps * span for _, span, tps in told) == pytest.approx(30 * 40)
    # the level, the window, and each point; once the last fills them up, all anew
    assert len(sent) == 10
    assert [len(message["series"]["points"]) for message in sent[:4]] == [0, 1, 1, 0]
    everything = board.get_state()["_snapshot"]["series"]
    assert everything["points"] == told
    assert everything["levels"] == [[0.0, 4, 1.2, None]]
    timeline.end(1.0)
    board.update([], timeline)
    assert sent[-1]["series"]["ended"]
    board.update([], Timeline())
    assert sent[-1]["series"] == {
        "keep": 0, "points": [], "levels": [], "span_s": 0.5, "ended": False, "whole": False,
    }  # fmt: skip


def test_answers_that_come_whole_are_not_drawn_beside_streamed_ones():
    vectors = point(
        4, run="run 3", n=40, output_tps=0.0, ttft_p50_ms=None, ttft_p95_ms=None, rps=20.0,
        user_tps_p50=None, tpot_p50_ms=None, e2e_p95_ms=80.0, items_per_s=160.0, input_tps=2e3,
    )  # fmt: skip
    for now, before in ((vectors, point(4)), (point(4), vectors)):
        lines = told(overview_spec([now, before | {"current": False}], Price.per_token(1, 1)))
        assert lines
        assert {now["run"]} == {re.search(r"run \d", line)[0] for line in lines}
        assert not any("0 tokens/s" in line for line in lines)
    drawn = told(overview_spec([vectors], None), "items/s")[0]
    assert "160 items/s" in drawn
    assert "answers come whole" in drawn


def test_what_ttft_consists_of_travels_only_where_it_is_told():
    board = Board()
    sent = sent_by(board)
    parts = {"ttft_mean_ms": 300.0, "ttft_write_mean_ms": 1.0, "ttft_rest_mean_ms": 99.0}
    board.update([point(1, **parts), point(2, **parts, ttft_server_prefill_mean_ms=200.0)])
    silent, telling = (dict(zip(PACKED, row, strict=False)) for _, row in sent[0]["points"]["rows"])
    assert not silent.keys() & set(parts)
    assert telling["ttft_rest_mean_ms"] == 99.0
    assert telling["ttft_server_prefill_mean_ms"] == 200.0


def test_board_commits_the_snapshot_once():
    board = Board()
    states: list[dict[str, Any]] = []
    board.update([point(1)])
    board._send = lambda message, buffers=None: states.append(message)
    board.commit()
    assert len(states) == 1
    assert list(states[0]["state"]) == ["_snapshot"]
    assert len(states[0]["state"]["_snapshot"]["points"]["rows"]) == 1


def test_board_tells_whether_it_copied():
    board = Board()
    sent = sent_by(board)
    told: list[bool] = []
    board.copy("a", told.append)
    board.copy("b", told.append)
    board._answer(board, {"type": "copied", "id": sent[1]["id"], "ok": False}, [])
    board._answer(board, {"type": "copied", "id": sent[0]["id"], "ok": True}, [])
    board._answer(board, {"type": "copied", "id": sent[0]["id"], "ok": True}, [])
    assert told == [False, True]


def test_board_without_its_bundle_says_how_to_build_it(tmp_path, monkeypatch):
    from tpwidgets.live import board

    monkeypatch.setattr(board, "_HERE", tmp_path)
    board._bundle.cache_clear()
    with pytest.raises(RuntimeError, match=r"python hatch_build\.py"):
        Board()
    board._bundle.cache_clear()


def test_the_bundle_has_its_licences():
    static = Path(__file__).parent.parent / "tpwidgets" / "live" / "static"
    assert (static / "board.js").stat().st_size < 1_000_000
    licences = (static / "LICENSES.txt").read_text("utf-8")
    assert all(name in licences for name in ("vega-lite", "vega-embed", "d3-scale", "BSD-3-Clause"))


def test_the_dashboards_path_imports_nothing_heavy():
    heavy = ("altair", "pandas", "vl_convert")
    code = (
        "import sys; from tpwidgets.live import Board; Board().update([{'concurrency': 1}]);"
        f"assert not sys.modules.keys() & set({heavy})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def test_limits_are_lines_and_what_breaks_them_is_marked():
    rows = [
        point(1, limits_hold=True, limits_sure=True, goodput_rps=0.7),
        point(16, limits_hold=False, limits_sure=False, limits_note="TTFT p95 is 612 ms"),
    ]
    spec = overview_spec(rows, limits={"ttft_p95_ms": 500, "tpot_p95_ms": 50, "error_rate": 0.01})
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert "limit p95" in scene
    assert "limit p50" not in scene
    assert "triangle-down" in scene
    kept, *_, broken = told(spec, "TTFT p95")
    assert "limits: kept, 0.7 good requests/s" in kept
    assert "limits: broken: TTFT p95 is 612 ms (in doubt)" in broken
    assert "state: breaks a limit" in broken


def test_an_open_loop_is_drawn_against_its_rate():
    closed = point(4, current=False, run="run 1")
    rows = [closed, point(3, rate=0.5), point(7, rate=1.5)]
    spec = overview_spec(rows)
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert scene.count("requests/s, as scheduled") == 3
    assert {re.search("level: ([^;]+)", text)[1] for text in told(spec)} == {"0.5", "1.5"}
    assert "1.5 requests/s" in told(spec)[-1]
    assert {p["name"]: p["value"] for p in spec["params"]}["levels"] == [0.5, 1.5]
