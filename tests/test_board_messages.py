"""What the board sends: only what changed, with all it takes, and at little cost."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from drawn import point

from tpwidgets.charts.breakdown import NEEDS
from tpwidgets.charts.overview import COLUMNS, clean_rows
from tpwidgets.live import Board, layout
from tpwidgets.live.packing import COLUMNS as PACKED
from tpwidgets.metrics.timeline import Timeline


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
    assert everything["levels"] == [[0.0, "4", 1.2, None]]
    timeline.end(1.0)
    board.update([], timeline)
    assert sent[-1]["series"]["ended"]
    board.update([], Timeline())
    assert sent[-1]["series"] == {
        "keep": 0, "points": [], "levels": [], "span_s": 0.5, "ended": False, "whole": False,
    }  # fmt: skip


def test_what_ttft_consists_of_travels_only_where_it_is_told():
    board = Board()
    sent = sent_by(board)
    parts = {"ttft_mean_ms": 300.0, "ttft_write_mean_ms": 1.0, "ttft_rest_mean_ms": 99.0}
    board.update([point(1, **parts), point(2, **parts, ttft_server_prefill_mean_ms=200.0)])
    silent, telling = (dict(zip(PACKED, row, strict=False)) for _, row in sent[0]["points"]["rows"])
    assert not silent.keys() & set(parts)
    assert telling["ttft_rest_mean_ms"] == 99.0
    assert telling["ttft_server_prefill_mean_ms"] == 200.0


def test_what_only_an_open_loop_has_travels_only_there():
    board = Board()
    sent = sent_by(board)
    due = {"ttft_from_scheduled_p95_ms": 700.0, "ttft_from_scheduled_p95_ms_hi": 750.0}
    told = {"ttft_mean_ms": 300.0, "ttft_server_prefill_mean_ms": 200.0}
    board.update([point(1), point(2, **told), point(3, rate=1.5, sent_rps=1.4, **due)])
    closed, apart, by_rate = (row for _, row in sent[0]["points"]["rows"])
    assert len(closed) < len(COLUMNS)
    assert len(apart) < len(COLUMNS) + len(NEEDS)
    row = dict(zip(PACKED, by_rate, strict=False))
    assert (row["sent_rps"], row["ttft_from_scheduled_p95_ms_hi"]) == (1.4, 750.0)
    # as much of it as a message may hold
    rows = [point(3, rate=rate, sent_rps=rate, **due) for rate in range(1, 9)]
    board.update(rows)
    assert len(json.dumps(sent[-1])) < 5000


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


def test_every_mark_of_the_key_can_be_drawn():
    drawn = (Path(layout.__file__).parent / "board.js").read_text()
    for mark in Board()._key:
        assert re.search(rf'^  "?{mark["shape"]}"?: "M', drawn, re.MULTILINE), mark
