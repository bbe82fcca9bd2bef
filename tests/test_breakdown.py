"""What TTFT consists of, as bars."""

import itertools
import json
import re
from typing import Any

import pytest
import vl_convert
from drawn import VL, compile_quietly, point

from tpwidgets.charts.breakdown import breakdown, breakdown_spec
from tpwidgets.charts.breakdown import told as told_anything
from tpwidgets.charts.layers import GREY


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
