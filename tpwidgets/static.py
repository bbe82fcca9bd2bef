"""A run as plain HTML: what stays when the notebook is opened without a kernel."""

import base64
from typing import TYPE_CHECKING, Any

from .run import escape
from .words import count, duration, percent, usd

if TYPE_CHECKING:
    from .cost import Price
    from .run import Run

_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL = "padding:2px 10px;text-align:right;border-bottom:1px solid rgba(128,128,128,.35)"


def result_bundle(run: "Run", price: "Price | None" = None) -> dict[str, str]:
    """Return a MIME bundle of picture, answer, table and conditions.

    The picture is inside the HTML, so that a host shows all of it or none; the plain text serves
    terminals and diffs.
    """
    from .charts import overview_spec, picture_png

    price = price or run.price
    picture = ""
    if run.rows:
        png = base64.b64encode(
            picture_png(overview_spec(run.rows, price, run.title), scale=1.5)
        ).decode()
        picture = (
            f'<img alt="{escape(alt_text(run, price))}" src="data:image/png;base64,{png}" '
            'style="max-width:100%;background:#fff">'
        )
    answer = run.answer(price)
    page = f"<div>{picture}<p><b>{escape(answer)}</b></p>{tables_html(run, price)}</div>"
    return {"text/html": page, "text/plain": f"{answer}\n{run.conditions_line}"}


def alt_text(run: "Run", price: "Price | None" = None) -> str:
    """Describe the picture for those who can't see it."""
    return f"TTFT, tokens per second and cost against concurrency. {run.answer(price)}"


def tables_html(run: "Run", price: "Price | None" = None) -> str:
    """Return the operating points as a small table, the conditions below it."""
    heads, rows = table(run, price)
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in heads)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    items = "".join(f"<li>{escape(note)}</li>" for note in notes(run))
    return (
        f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'<p style="font-size:90%;opacity:.85">{escape(run.conditions_line)}</p>'
        + (f'<ul style="font-size:90%;opacity:.85">{items}</ul>' if items else "")
    )


def table(run: "Run", price: "Price | None" = None) -> tuple[list[str], list[list[str]]]:
    """Return the operating points for people: heads and rows of text, units included."""
    from .cost import usd_per_1m_output

    price = price or run.price
    heads = ["concurrency", "n", "TTFT p50", "TTFT p95", "tok/s per user",
             "tok/s in all (95 %)", "req/s", "errors"]  # fmt: skip
    if price is not None:
        heads.append("$ per 1M output")
    rows = []
    for row in run.rows:
        p95 = duration(row["ttft_p95_ms"])
        cells = [
            str(row["concurrency"]),
            count(row["n"]),
            duration(row["ttft_p50_ms"]),
            p95 if row["ttft_p95_firm"] or row["ttft_p95_ms"] is None else f"~{p95}",
            count(row["user_tps_p50"]),
            _interval(row),
            count(row["rps"]),
            percent(100 * (row["error_rate"] or 0)),
        ]
        if price is not None:
            cells.append(usd(usd_per_1m_output(row, price)[0]))
        rows.append(cells)
    return heads, rows


def notes(run: "Run") -> list[str]:
    """Return what a reader has to know beside the figures."""
    by_level = [f"at {row['concurrency']}: {row['note']}" for row in run.rows if row["note"]]
    return [*run.conditions.get("notes", []), *by_level]


def _interval(row: dict[str, Any]) -> str:
    value, lo, hi = row["output_tps"], row["output_tps_lo"], row["output_tps_hi"]
    if value is None:
        return "–"
    if lo is None or hi is None:
        return count(value)
    return f"{count(value)} ({count(lo)}–{count(hi)})"
