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
    from .charts import picture_png

    price = price or run.price
    picture = ""
    if run.rows:
        png = base64.b64encode(picture_png(run.chart(price), scale=1.5)).decode()
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
    price = price or run.price
    heads = ["concurrency", "n", "TTFT p50", "TTFT p95", "per user", "system (95 % interval)",
             "requests/s", "errors"]  # fmt: skip
    costs: list[Any] = []
    if price is not None:
        from .cost import usd_per_1m_output

        heads.append("$ per 1M output")
        costs = [usd_per_1m_output(row, price)[0] for row in run.rows]
    body = []
    for index, row in enumerate(run.rows):
        p95 = duration(row["ttft_p95_ms"])
        cells = [
            f"{row['concurrency']}",
            count(row["n"]),
            duration(row["ttft_p50_ms"]),
            p95 if row["ttft_p95_firm"] or row["ttft_p95_ms"] is None else f"about {p95}",
            _rate(row["user_tps_p50"], " tok/s"),
            _interval(row),
            _rate(row["rps"], ""),
            percent(100 * (row["error_rate"] or 0)),
        ]
        if costs:
            cells.append(usd(costs[index]) if costs[index] is not None else "–")
        body.append("".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in cells))
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in heads)
    rows = "".join(f"<tr>{cells}</tr>" for cells in body)
    notes = "".join(f"<li>{escape(note)}</li>" for note in _notes(run))
    return (
        f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p style="font-size:90%;opacity:.85">{escape(run.conditions_line)}</p>'
        + (f'<ul style="font-size:90%;opacity:.85">{notes}</ul>' if notes else "")
    )


def _notes(run: "Run") -> list[str]:
    notes = [f"at {row['concurrency']}: {row['note']}" for row in run.rows if row["note"]]
    return [*run.conditions.get("notes", []), *notes]


def _rate(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{count(value)}{unit}"


def _interval(row: dict[str, Any]) -> str:
    value, lo, hi = row["output_tps"], row["output_tps_lo"], row["output_tps_hi"]
    if value is None:
        return "–"
    if lo is None or hi is None:
        return f"{count(value)} tok/s"
    return f"{count(value)} ({count(lo)} to {count(hi)}) tok/s"
