"""A run as plain HTML: what stays when the notebook is opened without a kernel."""

import base64
from typing import TYPE_CHECKING, Any

from .run import escape
from .words import TTFT_PARTS, count, duration, percent, usd

if TYPE_CHECKING:
    from .cost import Price
    from .run import Run

_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL = "padding:2px 10px;text-align:right;border-bottom:1px solid rgba(128,128,128,.35)"

_PALE = ' style="opacity:.6"'


def result_bundle(run: "Run", price: "Price | None" = None) -> dict[str, str]:
    """Return a MIME bundle of pictures, answer, tables and conditions.

    The pictures are inside the HTML, so that a host shows all of it or none; the plain text serves
    terminals and diffs.
    """
    from .breakdown import breakdown_spec, told
    from .charts import overview_spec

    price = price or run.price
    pictures = ""
    if run.rows:
        pictures += _picture(overview_spec(run.rows, price, run.title), alt_text(run, price))
    if told(run.rows):
        pictures += _picture(breakdown_spec(run.rows), "Mean TTFT taken apart; the table says it.")
    answer = run.answer(price)
    page = f"<div>{pictures}<p><b>{escape(answer)}</b></p>{tables_html(run, price)}</div>"
    return {"text/html": page, "text/plain": f"{answer}\n{run.conditions_line}"}


def _picture(spec: dict[str, Any], alt: str) -> str:
    from .charts import picture_png

    png = base64.b64encode(picture_png(spec, scale=1.5)).decode()
    return (
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{png}" '
        'style="max-width:100%;background:#fff">'
    )


def alt_text(run: "Run", price: "Price | None" = None) -> str:
    """Describe the picture for those who can't see it."""
    return f"TTFT, tokens per second and cost against concurrency. {run.answer(price)}"


def tables_html(run: "Run", price: "Price | None" = None) -> str:
    """Return the operating points as a small table, the conditions below it."""
    limited = [bool(row["client_limited"]) for row in run.rows]
    page = _table(*table(run, price), limited)
    parts = ttft_table(run)
    if parts is not None:
        page += f"<p><b>TTFT taken apart</b>, means</p>{_table(*parts, limited)}"
    items = "".join(f"<li>{escape(note)}</li>" for note in notes(run))
    return f'{page}<p style="font-size:90%;opacity:.85">{escape(run.conditions_line)}</p>' + (
        f'<ul style="font-size:90%;opacity:.85">{items}</ul>' if items else ""
    )


def _table(heads: list[str], rows: list[list[str]], limited: list[bool]) -> str:
    """Return HTML; rows of points at which the client was the limit are pale."""
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in heads)
    body = ""
    for row, pale in zip(rows, limited, strict=True):
        cells = "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row)
        body += f"<tr{_PALE if pale else ''}>{cells}</tr>"
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def table(run: "Run", price: "Price | None" = None) -> tuple[list[str], list[list[str]]]:
    """Return the operating points for people: heads and rows of text, units included.

    A star stands at points at which the client was the limit; `notes` says why.
    """
    from .cost import usd_per_1m_output

    price = price or run.price
    itl = all(row["gap_p50_ms"] is None or row["itl_p50_ms"] is not None for row in run.rows)
    heads = ["concurrency", "n", "TTFT p50", "TTFT p95", "ITL p50" if itl else "chunk gap p50",
             "tok/s per user", "tok/s in all (95 %)", "req/s", "errors"]  # fmt: skip
    if not itl:
        heads.insert(5, "tokens per chunk")
    if price is not None:
        heads.append("$ per 1M output")
    rows = []
    for row in run.rows:
        p95 = duration(row["ttft_p95_ms"])
        cells = [
            _level(row),
            count(row["n"]),
            duration(row["ttft_p50_ms"]),
            p95 if row["ttft_p95_firm"] or row["ttft_p95_ms"] is None else f"~{p95}",
            duration(row["gap_p50_ms"]),
            count(row["user_tps_p50"]),
            _interval(row),
            count(row["rps"]),
            percent(100 * (row["error_rate"] or 0)),
        ]
        if not itl:
            cells.insert(5, count(row["tokens_per_chunk"]))
        if price is not None:
            cells.append(usd(usd_per_1m_output(row, price)[0]))
        rows.append(cells)
    return heads, rows


def ttft_table(run: "Run") -> tuple[list[str], list[list[str]]] | None:
    """Return what TTFT consists of, as `table` does; None if no server told."""
    from .breakdown import told

    if not told(run.rows):
        return None
    columns = {name: f"ttft_{part}_mean_ms" for part, (name, _) in TTFT_PARTS.items()}
    columns = {
        "TTFT": "ttft_mean_ms",
        **{name: c for name, c in columns.items() if any(row[c] is not None for row in run.rows)},
        "connection, before": "connect_mean_ms",
    }
    rows = [[_level(row), *(duration(row[c]) for c in columns.values())] for row in run.rows]
    return ["concurrency", *columns], rows


def _level(row: dict[str, Any]) -> str:
    return f"{row['concurrency']}{' *' if row['client_limited'] else ''}"


def notes(run: "Run") -> list[str]:
    """Return what a reader has to know beside the figures."""
    by_level = [f"at {_level(row)}: {row['note']}" for row in run.rows if row["note"]]
    return [*run.conditions.get("notes", []), *by_level]


def _interval(row: dict[str, Any]) -> str:
    value, lo, hi = row["output_tps"], row["output_tps_lo"], row["output_tps_hi"]
    if value is None:
        return "–"
    if lo is None or hi is None:
        return count(value)
    return f"{count(value)} ({count(lo)}–{count(hi)})"
