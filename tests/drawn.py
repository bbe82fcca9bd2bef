"""Rows as charts take them, and what a chart made of them tells."""

import json
import re
from typing import Any

import pytest
import vl_convert

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


def compile_quietly(spec: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    vega = vl_convert.vegalite_to_vega(spec, vl_version=VL, show_warnings=True)
    assert "WARN" not in "".join(capfd.readouterr())
    return vega
