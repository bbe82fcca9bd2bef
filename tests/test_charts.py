"""The charts' specifications: they compile, and they hold what they promise."""

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import vl_convert
from drawn import BARE, FAILED, VL, compile_quietly, point, told
from virtual import steady_run

from tpwidgets.charts.layers import GREY
from tpwidgets.charts.overview import (
    clean_rows,
    overview,
    overview_spec,
)
from tpwidgets.charts.picture import SCHEMA, picture_png
from tpwidgets.charts.pricing import PRICES
from tpwidgets.cost.price import Price
from tpwidgets.live.layout import board_charts
from tpwidgets.live.packing import COLUMNS as PACKED
from tpwidgets.metrics.scaling import fit


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
        ("waiting", "waiting"), ("break_even", "break-even"), ("rates", "rates"),
        ("timeline", "timeline"), ("breakdown", "breakdown"),
    ]  # fmt: skip
    heights = {"ttft": 0, "tps": 0, "cost": 0}
    for chart in charts[:4]:
        padding = chart["spec"]["padding"]
        heights[chart["card"]] += chart["spec"]["height"] + padding["top"] + padding["bottom"]
    assert len(set(heights.values())) == 1, "cards side by side end at one line"
    assert all(chart["spec"]["description"] for chart in charts)
    assert {p["name"] for p in charts[3]["spec"]["params"]} >= set(PRICES)


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
    subtitle = " ".join(overview_spec(rows)["title"]["subtitle"])
    assert all(word in subtitle for word in ("Hollow", "Diamond", "Grey square", "Cross"))
    assert all(len(line) <= 120 for line in overview_spec(rows)["title"]["subtitle"])


def test_paper_says_how_many_requests_hollow_points_lack():
    few = {"n": 12, "ttft_p50_firm": False, "ttft_p95_firm": False}

    def said(*rows):
        return " ".join(overview_spec(rows)["title"]["subtitle"])

    hollow = "Hollow: too few requests to be firm"
    assert f"{hollow} (p95 needs 200)." in said(point(16), point(4))
    assert f"{hollow} (p50 needs 20, p95 needs 200)." in said(point(16), point(1, **few))
    assert "Hollow" not in said(point(16))
    wide = said(point(4, rate=4.0, output_tps=85.0, output_tps_lo=0.0, output_tps_hi=268.0))
    assert "Hollow throughput and cost: the 95 % interval is wider than the value." in wide
    assert "Hollow" not in said(point(16), point(32, **few, client_limited=True)), "it is grey"
    vectors = point(4, ttft_p50_ms=None, ttft_p95_ms=None, items_per_s=160.0, **few)
    assert f"{hollow} (p95 needs 200)." in said(vectors | {"n": 40})
    assert "Hollow" not in said(vectors | {"n": 400}), "answers that come whole have E2E latency"


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


def test_a_fitted_law_is_grey_and_says_that_it_is_not_measured():
    rows = [point(n) for n in (2, 4, 8, 16, 32, 64)]
    law = fit(rows)
    spec = overview_spec(rows, law=law)
    assert "fitted, not measured" in spec["description"]
    assert law.text[1:] in spec["title"]["subtitle"][-1]
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert "- - fitted, not measured" in scene
    assert f"knee near {law.knee:.0f}" in scene
    assert scene.count('"strokeDash": [4, 4]') > 2, "below, between and beyond the levels"
    levels = {p["name"]: p["value"] for p in spec["params"]}["levels"]
    assert levels == [1, 2, 4, 8, 16, 32, 64, 128]
    assert spec["data"]["values"] == clean_rows(rows), "no point more than were measured"
    assert overview_spec(rows)["datasets"] == {"fit": []}
    straight = overview_spec(rows, law=fit(point(n, output_tps=40.0 * n) for n in (1, 2, 4, 8)))
    assert "knee" not in json.dumps(straight["datasets"]), "there is none"
    run = steady_run({1: 1.0, 2: 1.0, 4: 1.25, 8: 1.6}, 8, 4)
    assert "fitted, not measured" in run.chart(fit=True).to_dict()["description"]
    assert "fitted" not in run.chart().to_dict()["description"]


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
    assert len(spec["hconcat"]) == 3, "the pilot page takes them apart"
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert scene.count("requests/s, as scheduled") == 3
    assert {re.search("level: ([^;]+)", text)[1] for text in told(spec)} == {"0.5", "1.5"}
    assert "1.5 requests/s" in told(spec)[-1]
    assert {p["name"]: p["value"] for p in spec["params"]}["levels"] == [0.5, 1.5]


def open_point(rate, answered, due=None, **changed):
    row = point(3, rate=rate, rps=answered, sent_rps=0.98 * rate, ttft_p95_ms=600.0)
    return row | {"ttft_from_scheduled_p95_ms": due} | changed


WIDE = '"strokeWidth": 7'


def test_in_an_open_loop_p95_from_the_scheduled_time_stands_beside_the_one_from_sending(capfd):
    late = {f"ttft_from_scheduled_p95_ms_{end}": ms for end, ms in (("lo", 800), ("hi", 990))}
    rows = [open_point(1.0, 1.0, 600.0), open_point(4.0, 3.0, 900.0, **late)]
    spec = overview_spec(rows)
    compile_quietly(spec, capfd)
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert "p95 from scheduled" in scene
    assert scene.count(WIDE) == 3, "the line's two points, and its sample in the key"
    first, *_, last = told(spec, "TTFT p95 600 ms")
    assert "; from the scheduled time 600 ms;" in first
    assert "; from the scheduled time 900 ms (95 %: 800 to 990);" in last
    assert not any("scheduled" in text for text in told(spec, "TTFT p50"))
    # nothing is drawn that isn't there
    unknown = json.dumps(vl_convert.vegalite_to_scenegraph(overview_spec([open_point(1.0, 1.0)])))
    assert "p95 from scheduled" not in unknown
    vectors = open_point(
        1.0, 1.0, ttft_p50_ms=None, ttft_p95_ms=None, e2e_p95_ms=80.0, items_per_s=160.0,
        e2e_from_scheduled_p95_ms=95.0,
    )  # fmt: skip
    assert (
        "E2E p95 80 ms; from the scheduled time 95 ms" in told(overview_spec([vectors]), "p95")[0]
    )


def test_an_open_loop_shows_how_many_were_answered_of_those_asked_for(capfd):
    rows = [open_point(1.0, 1.0), open_point(4.0, 3.0, rps_lo=2.8, rps_hi=3.2)]
    spec = overview_spec(rows)
    compile_quietly(spec, capfd)
    said = told(spec, "requests/s answered")
    assert "3 requests/s answered (95 %: 2.8 to 3.2), 3.92 sent, 4 asked" in said[-1]
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert '"asked"' in scene
    heights = [panel["height"] for panel in spec["hconcat"][1]["vconcat"]]
    assert sum(heights) + 2 * spec["hconcat"][1]["spacing"] == spec["hconcat"][0]["height"]


def test_the_key_of_an_open_loops_charts_has_room_above_the_highest_point():
    none = dict.fromkeys(f"ttft_{p}_ms_{end}" for p in ("p50", "p95") for end in ("lo", "hi"))
    rows = [open_point(1.0, 1.0, 598.0, **none), open_point(4.0, 4.0, 600.0, **none)]
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(overview_spec(rows), vl_version=VL))
    for highest in ("due: 600; ", "v: 4; "):
        (at,) = re.findall(rf'"description": "level: 4; {highest}title[^}}]*"y": ([-\d.e]+)', scene)
        assert float(at) > 10


def test_a_closed_loop_has_nothing_of_an_open_one():
    spec = overview_spec([point(1), point(4, ttft_from_scheduled_p95_ms=700.0)])
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(spec, vl_version=VL))
    assert not any(of_open in scene for of_open in (WIDE, "scheduled", "answered", '"asked"'))
    assert len(spec["hconcat"][1]["vconcat"]) == 2
    assert spec["hconcat"][0]["height"] == 300
