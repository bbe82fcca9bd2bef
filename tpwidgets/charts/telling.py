"""What a point is and says: its state, its level, and its tooltip, as Vega expressions."""

from collections.abc import Iterable
from typing import Any

from ..words import PERCENTILES

STATES: tuple[dict[str, Any], ...] = (
    {"name": "measured", "shape": "circle", "hollow": False},
    {"name": "too few requests to be firm", "shape": "circle", "hollow": True},
    {"name": "still running", "shape": "diamond", "hollow": True},
    {"name": "limited by the client", "shape": "square", "hollow": False},
    {"name": "all requests failed", "shape": "cross", "hollow": False},
    {"name": "breaks a limit", "shape": "triangle-down", "hollow": False},
    {"name": "amid a ramp", "shape": "triangle-right", "hollow": True},
)
"""The states of a point, each with its own mark: the key below the board."""

LEVEL = "isValid(datum.rate) ? datum.rate : datum.concurrency"
LEVEL_NAMED = (
    "isValid(datum.rate) ? format(datum.rate, '~g') + ' requests/s'"
    " : 'concurrency ' + datum.concurrency"
)
"""Vega expressions: a point's level, and the same in words."""


def number(name: str, unit: str = "") -> str:
    """Write a Vega expression that prints a field, or a dash where it has no value."""
    value = f"datum.{name}"
    shown = f"format({value}, abs({value}) < 100 ? ',.3~r' : ',.0f')"
    return f"(isValid({value}) ? {shown} + '{unit}' : '–')"


def pick(key: str) -> str:
    """Write a Vega expression for what the point's state has under a key."""
    values = ", ".join(
        f"'{state[key]}'" if isinstance(state[key], str) else str(state[key]).lower()
        for state in STATES
    )
    return f"[{values}][datum.state]"


def state_index(firm: str) -> str:
    """Write a Vega expression for which of `STATES` a point is in."""
    return (
        "datum.error_rate >= 1 ? 4 : datum.client_limited ? 3 : datum.provisional ? 2"
        " : isValid(datum.ramp_from) ? 6"
        f" : datum.limits_hold === false ? 5 : {firm} ? 0 : 1"
    )


NARROW = (
    "!(isValid(datum.lo) || isValid(datum.hi))"
    " || (isValid(datum.lo) && isValid(datum.hi) && datum.hi - datum.lo <= datum.v)"
)
"""A Vega expression: whether the interval of a rate or a cost is no wider than that itself."""
WIDE = "the 95 % interval is wider than the value"
"""What one lacks that is not."""

ENOUGH = {label: round(10 / (1 - p)) for label, p in PERCENTILES.items()}
"""Each percentile → how many requests it needs to be firm (`metrics.intervals.firm`)."""


def state_told(percentile: str = "(datum.series || 'p50')") -> str:
    """Write a Vega expression for a point's state in words, and what there is to know about it.

    Parameters
    ----------
    percentile
        A Vega expression: of which percentile the point is.
    """
    firm_from = ", ".join(f"{label}: {n}" for label, n in ENOUGH.items())
    enough = f"({{{firm_from}}})[{percentile}] + ' needed for ' + {percentile}"
    enough = f"(datum.narrow === false ? '{WIDE}' : {enough})"
    few = f"datum.state === 1 ? ' (n = ' + {number('n')} + ', ' + {enough} + ')' : ''"
    return f"{pick('name')} + ({few}) + (datum.note ? '; ' + datum.note : '')"


def hollow_told(percentiles: Iterable[str], mark: str = "Hollow") -> str:
    """Say for paper, which has no tooltips, what hollow points lack: "" where there are none.

    Parameters
    ----------
    percentiles
        Which are hollow: "p95".
    mark
        What is hollow.
    """
    found = set(percentiles)
    needed = ", ".join(f"{label} needs {n}" for label, n in ENOUGH.items() if label in found)
    return f"{mark}: too few requests to be firm ({needed})." if needed else ""


TELL = {
    "title": f"(datum.run ? datum.run + ': ' : '') + ({LEVEL_NAMED})",
    "value": "datum.what",
    "state": state_told(),
    "requests": f"{number('n')} + ', failed ' + {number('n_failed')}"
    " + (datum.error_rate > 0 ? ' (' + format(datum.error_rate, '.1%') + ')' : '')",
    "limits": "!isValid(datum.limits_hold) ? 'none set' : (datum.limits_hold ? 'kept'"
    " : 'broken: ' + datum.limits_note) + (datum.limits_sure ? '' : ' (in doubt)')"
    f" + ', ' + {number('goodput_rps')} + ' good requests/s'",
    "in flight": f"{number('in_flight_mean')} + (isValid(datum.rate) ? ' on average'"
    " : ' of ' + datum.concurrency + ' asked')",
    "window": f"{number('window_s', ' s')} + ', ' + {number('rps')} + ' requests/s'",
    "per token": f"whole ? 'none: answers come whole' : {number('tpot_p50_ms', ' ms')}",
    "whole answer": f"{number('e2e_p50_ms', ' ms')} + ' (median)'",
    "between chunks": f"whole ? 'no chunks' : {number('gap_p50_ms', ' ms')}"
    " + (isValid(datum.itl_p50_ms) ? ' (ITL)' : '')"
    f" + ', ' + {number('tokens_per_chunk')} + ' tokens a chunk'",
    "tokens": f"{number('prompt_tokens_mean')} + ' in'"
    " + (isValid(datum.cached_pct) ? ' (' + format(datum.cached_pct, '.0f') + ' % cached)' : '')"
    f" + (whole ? '' : ', ' + {number('output_tokens_mean')} + ' out')",
    "client error": "(datum.client_error_p99_ms < 0.001 ? 'below 0.001 ms' : "
    f"{number('client_error_p99_ms', ' ms')}) + ' (p99)'"
    f" + (whole ? '' : ', merged ' + {number('merged_pct', ' %')})",
}
"""The tooltip, line by line."""
