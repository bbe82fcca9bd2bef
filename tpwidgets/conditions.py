"""Conditions: what a figure is worth nothing without. Plain values, no secret among them."""

import os
import platform
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import __version__
from .endpoints import bodies
from .selfcheck import BACKGROUND
from .words import is_whole

if TYPE_CHECKING:
    from .endpoints.endpoint import Endpoint
    from .endpoints.prepared import Prepared
    from .workload.loads import Load
    from .workload.prompts import Workload
    from .workload.rates import OpenLoad

SIMULATOR = "tpwidgets"
"""What a simulated server calls itself."""
_CLOSED = "closed loop"
_WINDOWS = {
    "concurrency": "closed loop; opens when every user has been refilled once, closes before the "
    "first is left empty",
    "rate": "open loop; opens when the level's first request, and all of the level before, have "
    "ended",
}


def at_start(
    endpoint: "Endpoint", workload: "Workload", load: "Load | OpenLoad | None" = None,
    *, limited: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return what is known before anything is asked: no secret among it."""
    from importlib.metadata import version

    return {
        "endpoint": endpoint.label,
        "url": endpoint.url,
        "model": endpoint.model,
        "protocol": endpoint.protocol,
        "key_from": endpoint.key.source if endpoint.key is not None else "none",
        "extra_body": bodies.masked(endpoint.extra_body),
        "prompt_tokens_asked": workload.prompt_tokens,
        "output_tokens_asked": workload.output_tokens,
        "load": load.said if load is not None else _CLOSED,
        "window": _window(load, limited=limited),
        "prompts": _prompts(workload),
        "items_per_request": workload.batch,
        "tpwidgets": __version__,
        "httpx": version("httpx"),
        "self_check": str(BACKGROUND.found) if BACKGROUND.found else "not made",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "notes": [],
    }


def _window(load: "Load | OpenLoad | None", *, limited: bool) -> str:
    if load is not None and load.ramp_s is not None:
        return (
            "a section of the ramp, whole: nothing settles; latencies are of requests sent in it, "
            "for whose end the last level is kept up"
        )
    axis = load.axis if load is not None else "concurrency"
    anew = "; each level begins with fresh users" if limited and axis == "concurrency" else ""
    return _WINDOWS[axis] + anew


def _prompts(workload: "Workload") -> str:
    shared = workload.shared_prefix_tokens
    if shared:
        return f"the first {shared} tokens are the same in all, the rest is random words"
    return "random words, different from the first on: no prefix cache can serve them"


def found(prepared: "Prepared") -> dict[str, Any]:
    """Return the conditions that probing found out; servers may quote a key in any of them."""
    mask = prepared.endpoint.mask()
    server, version = prepared.base.server.name, mask(prepared.base.server.version)
    label = prepared.endpoint.label
    if server == SIMULATOR and not label.endswith("(simulated)"):  # somebody pasted its URL
        _, _, speed = version.partition(", ")
        label = f"{label} (simulated{f', {speed}' if speed else ''})"
    return {
        "endpoint": label,
        "url": prepared.base.url,
        "model": mask(prepared.model),
        "protocol": prepared.protocol.name,
        "server": mask(server),
        "server_version": version,
        "context_tokens": prepared.base.context,
        "prompt_tokens_sent": prepared.workload.prompt_tokens,
        "output_tokens_sent": prepared.workload.output_tokens,
        "prompt_words": prepared.calibration.words(prepared.workload.prompt_tokens),
        "prompt_counted_by": "the server" if prepared.calibration.counted else "estimate",
        "usage_streamed": prepared.usage_told,
        "output_length": prepared.output_length,
        "dimensions": prepared.dimensions,
        "notes": [mask(note) for note in prepared.base.notes],
    }


def one_line(conditions: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Return what a figure is worth nothing without, on one line."""
    c = conditions
    parts = [
        f"{c.get('model')} at {c.get('endpoint')}"
        + (f" ({c['server']})" if c.get("server") else ""),
        str(c.get("protocol")),
        _length("prompt", c.get("prompt_tokens_asked"), rows, "prompt_tokens_mean"),
    ]
    if not any(map(is_whole, rows)):  # else no tokens come back
        parts.append(_length("output", c.get("output_tokens_asked"), rows, "output_tokens_mean"))
    if c.get("items_per_request", 1) > 1:
        parts.append(f"{c['items_per_request']} items a request")
    thought = [r["reasoning_tokens_mean"] for r in rows if r.get("reasoning_tokens_mean")]
    if thought:
        parts.append(f"of them {sum(thought) / len(thought):.0f} reasoning")
    cached = [r["cached_pct"] for r in rows if r.get("cached_pct") is not None]
    if cached:
        parts.append(f"cached prompt tokens {max(cached):.0f} %")
    if rows:
        total = sum(r["n"] for r in rows)
        spans = [r["window_s"] for r in rows]
        parts.append(f"n = {total:,} in windows of {_span(spans)} s, {c.get('load', _CLOSED)}")
    late = [r["client_error_p99_ms"] for r in rows if r.get("client_error_p99_ms") is not None]
    stamp = c.get("stamps", "")
    if late:
        parts.append(f"stamped by the {stamp}, ±{max(max(late), 0.001):.2g} ms")
    parts.append(f"tpwidgets {c.get('tpwidgets')}, Python {c.get('python')}")
    dates = [str(date)[:16].replace("T", " ") for date in c.get("dates", [c.get("date", "")])]
    several = f"{len(dates)} runs, {min(dates)} to {max(dates)}"
    parts.append(several if len(dates) > 1 else dates[0])
    return " · ".join(part for part in parts if part)


def _length(name: str, asked: int | None, rows: Sequence[dict[str, Any]], column: str) -> str:
    counted = [r[column] / (r.get("items_mean") or 1) for r in rows if r.get(column) is not None]
    if not counted:
        return f"{name} {asked} tok asked"
    mean = sum(counted) / len(counted)
    return f"{name} {asked} tok asked, {mean:.0f} counted"


def _span(spans: Sequence[float]) -> str:
    low, high = min(spans), max(spans)
    return f"{low:.1f}" if high - low < 0.1 else f"{low:.1f} to {high:.1f}"
