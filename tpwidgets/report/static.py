"""A run as plain HTML: what stays when the notebook is opened without a kernel."""

import base64
from typing import TYPE_CHECKING, Any

from ..charts.telling import ENOUGH
from ..cost.at_point import usd_per_1m_output, usd_per_1m_total
from ..metrics.intervals import firm
from ..run import escape
from ..words import (
    MISSING,
    TTFT_PARTS,
    amid_ramp,
    are_open,
    are_whole,
    count,
    duration,
    named,
    percent,
    usd,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..cost.price import Price
    from ..measuring.grid import Grid
    from ..run import Run

Row = dict[str, Any]

_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL = "padding:2px 10px;text-align:right;border-bottom:1px solid rgba(128,128,128,.35)"

_SMALL = "font-size:90%;opacity:.85"
_PALE = ' style="opacity:.6"'


def result_bundle(run: "Run", given: "Price | None" = None) -> dict[str, str]:
    """Return a MIME bundle of pictures, answer, tables and conditions.

    The pictures are inside the HTML, so that a host shows all of it or none; the plain text serves
    terminals and diffs.
    """
    from ..charts.breakdown import breakdown_spec, told
    from ..charts.overview import overview_spec

    price = given or run.price
    pictures = ""
    if run.rows:
        bounds = run.limits.bounds if run.limits else None
        spec = overview_spec(run.rows, run.prices(given), run.title, bounds)
        pictures += _picture(spec, alt_text(run, price))
    if told(run.rows):
        pictures += _picture(breakdown_spec(run.rows), "Mean TTFT taken apart; the table says it.")
    answer = run.answer(price)
    page = f"<div>{pictures}<p><b>{escape(answer)}</b></p>{tables_html(run, price)}</div>"
    return {"text/html": page, "text/plain": f"{answer}\n{run.conditions_line}"}


def _picture(spec: dict[str, Any], alt: str) -> str:
    from ..charts.picture import picture_png

    png = base64.b64encode(picture_png(spec, scale=1.5)).decode()
    return (
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{png}" '
        'style="max-width:100%;background:#fff">'
    )


def alt_text(run: "Run", price: "Price | None" = None) -> str:
    """Describe the picture for those who can't see it."""
    drawn = "E2E latency, items" if are_whole(run.rows) else "TTFT, tokens"
    axis = "concurrency"
    if are_open(run.rows):
        drawn, axis = f"{drawn} and answered requests", "requests per second asked for"
    return f"{drawn} per second and cost against {axis}. {run.answer(price)}"


def grid_bundle(grid: "Grid", price: "Price | None" = None) -> dict[str, str]:
    """Return a MIME bundle of a sweep's pictures and tables, made as `result_bundle` is."""
    price = price or grid.price
    whole = are_whole(grid.rows)
    drawn = ("items_per_s", "e2e_p95_ms") if whole else ("output_tps", "ttft_p95_ms")
    pictures = ""
    for value in drawn if grid.rows else ():
        picture = grid.picture(value, price)
        pictures += _picture(picture, f"{picture['description']} The table says it.")
    answers = grid_answers(grid, price)
    said = "".join(f"<p><b>{escape(answer)}</b></p>" for answer in answers)
    page = f"<div>{pictures}{said}{grid_html(grid, price)}</div>"
    return {"text/html": page, "text/plain": "\n".join([*answers, *grid.notes])}


def grid_answers(grid: "Grid", price: "Price | None" = None) -> list[str]:
    """Return each run's answer, what its requests are like before it."""
    runs = [run for run in grid.runs if run.windows]
    return [_of(grid.shape(run), run.answer(price)) for run in runs]


def grid_html(grid: "Grid", price: "Price | None" = None) -> str:
    """Return all operating points as one table, the runs' conditions below it."""
    limited = [bool(row["client_limited"]) for row in grid.rows]
    texts = [*grid_conditions(grid), *grid_notes(grid)]
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'{_table(*table(grid, price), limited)}<ul style="{_SMALL}">{items}</ul>'


def grid_conditions(grid: "Grid") -> list[str]:
    """Return each run's conditions on a line."""
    return [
        _of(grid.shape(run), f"conditions: {run.conditions_line}") for run in grid.runs if run.rows
    ]


def grid_notes(grid: "Grid") -> list[str]:
    """Return what a reader has to know beside the figures; what all runs share, once."""
    told: dict[str, list[str]] = {}
    for run in grid.runs:
        for note in notes(run):
            told.setdefault(note, []).append(grid.shape(run))
    shared = len(grid.runs)
    by_run = [
        note if len(shapes) == shared else _of("; ".join(shapes), note)
        for note, shapes in told.items()
    ]
    return [*grid.notes, *by_run]


def _of(shape: str, text: str) -> str:
    return f"{shape}: {text}" if shape else text


def tables_html(run: "Run", price: "Price | None" = None) -> str:
    """Return the operating points as a small table, the conditions below it."""
    limited = [bool(row["client_limited"]) for row in run.rows]
    page = _table(*table(run, price), limited)
    parts = ttft_table(run)
    if parts is not None:
        page += f"<p><b>TTFT taken apart</b>, means</p>{_table(*parts, limited)}"
    items = "".join(f"<li>{escape(note)}</li>" for note in notes(run))
    return f'{page}<p style="{_SMALL}">{escape(run.conditions_line)}</p>' + (
        f'<ul style="{_SMALL}">{items}</ul>' if items else ""
    )


def _table(heads: list[str], rows: list[list[str]], limited: list[bool]) -> str:
    """Return HTML; rows of points at which the client was the limit are pale."""
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in heads)
    body = ""
    for row, pale in zip(rows, limited, strict=True):
        cells = "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row)
        body += f"<tr{_PALE if pale else ''}>{cells}</tr>"
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def table(run: "Run | Grid", price: "Price | None" = None) -> tuple[list[str], list[list[str]]]:
    """Return the operating points for people: heads and rows of text, units included.

    Of a sweep, what its runs differ in stands first. A star stands at points at which the client
    was the limit; `notes` says why.
    """
    price = price or run.price
    whole = are_whole(run.rows)
    columns: dict[str, Callable[[Row], str]] = {
        **_shapes(run), **_levels(run.rows), "n": lambda row: count(row["n"]),
        **(_whole(run.rows) if whole else _streamed(run.rows)),
    }  # fmt: skip
    if not _any_rate(run.rows):  # else it stands beside what was sent
        columns["req/s"] = _answered
    if run.limits is not None:
        columns["limits"] = _verdict
        columns["good req/s"] = lambda row: count(row["goodput_rps"])
    if any(row["cached_pct"] for row in run.rows):
        columns["cached"] = lambda row: percent(row["cached_pct"])
    columns["errors"] = lambda row: percent(100 * (row["error_rate"] or 0))
    if price is not None:
        cost = usd_per_1m_total if whole else _usd_per_1m_output
        columns[f"$ per 1M {'tokens' if whole else 'output'}"] = lambda row: usd(cost(row, price))
    return list(columns), [[cell(row) for cell in columns.values()] for row in run.rows]


_SHAPES: "dict[str, tuple[str, Callable[[Row], str]]]" = {
    "prompt_tokens": ("prompt tokens", lambda row: f"{row['prompt_tokens_asked']:,}"),
    "output_tokens": ("output tokens", lambda row: f"{row['output_tokens_asked']:,}"),
    "batch": ("items per request", lambda row: f"{row['batch']:,}"),
}


def _shapes(run: "Run | Grid") -> "dict[str, Callable[[Row], str]]":
    """Return the columns of what the runs of a sweep differ in."""
    return dict(_SHAPES[name] for name in getattr(run, "varied", ()))


def _verdict(row: Row) -> str:
    if row["limits_hold"] is None:
        return MISSING
    said = "kept" if row["limits_hold"] else "broken"
    return said if row["limits_sure"] else f"{said}?"


def _usd_per_1m_output(row: Row, price: "Price") -> float | None:
    return usd_per_1m_output(row, price)[0]


def _streamed(rows: list[Row]) -> "dict[str, Callable[[Row], str]]":
    """Return the columns of answers that stream."""
    itl = all(row["gap_p50_ms"] is None or row["itl_p50_ms"] is not None for row in rows)
    per_chunk = {} if itl else {"tokens per chunk": lambda row: count(row["tokens_per_chunk"])}
    return {
        "TTFT p50": lambda row: duration(row["ttft_p50_ms"]),
        "TTFT p95": lambda row: _p95(row, "ttft"),
        **_from_scheduled(rows, "ttft"),
        "ITL p50" if itl else "chunk gap p50": lambda row: duration(row["gap_p50_ms"]),
        **per_chunk,
        "tok/s per user": lambda row: count(row["user_tps_p50"]),
        "tok/s in all (95 %)": lambda row: _interval(row, "output_tps"),
    }


def _whole(rows: list[Row]) -> "dict[str, Callable[[Row], str]]":
    """Return the columns of answers that come whole."""
    return {
        "E2E p50": lambda row: duration(row["e2e_p50_ms"]),
        "E2E p95": lambda row: _p95(row, "e2e"),
        **_from_scheduled(rows, "e2e"),
        "items/s (95 %)": lambda row: _interval(row, "items_per_s"),
        "input tok/s": lambda row: count(row["input_tps"]),
    }


def _from_scheduled(rows: list[Row], latency: str) -> "dict[str, Callable[[Row], str]]":
    """Return an open loop's column of p95 from when requests were to be sent."""
    if not _any_rate(rows):
        return {}
    name = f"{latency}_from_scheduled"
    return {f"{latency.upper()} p95 from scheduled": lambda row: _p95(row, latency, name)}


def _p95(row: Row, latency: str, name: str = "") -> str:
    """Write a p95, as firm as that of `latency`: it is of the same requests."""
    value = row[f"{name or latency}_p95_ms"]
    few = value is not None and not _is_firm(row, latency)
    return f"~{duration(value)}" if few else duration(value)


def _is_firm(row: Row, latency: str) -> bool:
    return bool(row["ttft_p95_firm"]) if latency == "ttft" else firm(row["n"], 0.95)


def ttft_table(run: "Run") -> tuple[list[str], list[list[str]]] | None:
    """Return what TTFT consists of, as `table` does; None if no server told."""
    from ..charts.breakdown import told

    if not told(run.rows):
        return None
    columns = {name: f"ttft_{part}_mean_ms" for part, (name, _) in TTFT_PARTS.items()}
    columns = {
        "TTFT": "ttft_mean_ms",
        **{name: c for name, c in columns.items() if any(row[c] is not None for row in run.rows)},
        "connection, before": "connect_mean_ms",
    }
    rows = [[_level(row), *(duration(row[c]) for c in columns.values())] for row in run.rows]
    return [next(iter(_levels(run.rows))), *columns], rows


def _levels(rows: list[Row]) -> "dict[str, Callable[[Row], str]]":
    """Return the columns of what was asked for and, in an open loop, what came of it."""
    if not _any_rate(rows):
        return {"concurrency": _level}
    return {
        "requests/s": _level,
        "sent": lambda row: count(row["sent_rps"]),
        "answered": _answered,
        "in flight": lambda row: count(row["in_flight_mean"]),
    }


def _any_rate(rows: list[Row]) -> bool:
    return any(row.get("rate") for row in rows)


def _answered(row: Row) -> str:
    return count(row["rps"])


def _level(row: Row, unit: str = "") -> str:
    level = f"{named(row)}{unit if row.get('rate') else ''}"
    return f"{level}{' *' if row['client_limited'] else ''}"


def notes(run: "Run") -> list[str]:
    """Return what a reader has to know beside the figures."""
    by_level = [
        f"at {_level(row, ' requests/s')}: {note}"
        for row in run.rows for note in (row["note"], row["limits_note"]) if note
    ]  # fmt: skip
    latency = "e2e" if are_whole(run.rows) else "ttft"
    steady = [row for row in run.rows if row[f"{latency}_p95_ms"] and not amid_ramp(row)]
    few = any(not _is_firm(row, latency) for row in steady)
    unsure = [f"~ stands for too few requests to be firm: p95 needs {ENOUGH['p95']}"] if few else []
    judged = [] if run.limits is None else [f"limits: {run.limits.text}; ? stands for in doubt"]
    return [*run.conditions.get("notes", []), *judged, *unsure, *by_level]


def _interval(row: Row, name: str) -> str:
    value, lo, hi = (row[name + end] for end in ("", "_lo", "_hi"))
    if value is None:
        return "–"
    if lo is None or hi is None:
        return count(value)
    return f"{count(value)} ({count(lo)}–{count(hi)})"
