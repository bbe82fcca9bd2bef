"""The pilot page: a run for those who decide, as one HTML file that is read without a network."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..charts.breakeven import break_even_spec
from ..charts.costs import cost_chart_spec
from ..cost.at_point import untold, usd_per_1m_output, usd_per_1m_total
from ..cost.breakeven import BreakEven, break_even
from ..cost.listed import unlisted
from ..cost.price import Price
from ..cost.table import cost_rows
from ..errors import MeasurementError, SettingsError
from ..metrics.largest import Largest
from ..metrics.slo import NAMES, Limits
from ..metrics.usable import usable
from ..run import Run, escape
from ..use_cases.kpi import KpiAnswer, answer_for
from ..use_cases.kpi_figures import Figure, span
from ..words import (
    amid_ramp,
    are_open,
    are_whole,
    at_level,
    count,
    duration,
    measured,
    percent,
    usd,
)
from . import basis
from .pages import MOST_BYTES, bullets, document, paragraph, picture, section, table, write

if TYPE_CHECKING:
    from ..use_cases.presets import UseCase

Row = dict[str, Any]
Value = Callable[[Row, Price | None], float | None]
Extreme = tuple[str, Callable[..., Any], Value, Callable[[float | None], str]]


def report(
    run: Run,
    path: str | Path,
    *,
    question: str | None = None,
    use_case: "UseCase | str | None" = None,
    price: Price | Iterable[Price] | None = None,
    tokens_per_day: float | None = None,
) -> Path:
    """Write the page; see `Run.report`."""
    prices = run.prices(price)
    kpi = None if use_case is None else answer_for(run, use_case, prices[0] if prices else None)
    case = kpi.use_case if kpi else None
    own = run.limits
    if case and case.limits:  # the answer is about these, whatever the run was measured for
        run = run.with_limits({**(own.bounds if own is not None else {}), **case.limits})
    against = _break_even(run, prices, tokens_per_day)
    asked = question or _question(run, case)
    content = "".join(
        [
            _head(run, asked, kpi, prices),
            section("Key figures", _tiles(run, kpi, prices)),
            section("Limits", *_limits(run), _set_aside(own, run.limits)),
            section("Curves", *_curves(run)),
            section("Cost", *_cost(run, prices, against)),
            section("What was assumed", *basis.assumed(run, kpi, prices)),
            section("What was left out", bullets(basis.left_out(run, kpi))),
            section("Conditions", *basis.conditions(run)),
            section("Data handling", *basis.data_handling(run)),
            section("Appendix: all points", *_points(run, prices), kind="page"),
            section("Appendix: failures", *basis.failures(run)),
            section("Appendix: notes", *basis.notes(run)),
        ]
    )
    room = MOST_BYTES - len(document(asked, content).encode("utf-8", "replace"))
    content += section("The data", *basis.data(run, room - 2000))
    return write(document(asked, content), path)


def _question(run: Run, case: "UseCase | None") -> str:
    if case is not None:
        return f"{case.title}: is {run.title} enough for it, and what does it cost?"
    if run.limits is not None:
        many = "requests per second" if are_open(run.rows) else "requests at once"
        return f"How many {many} does {run.title} serve within {run.limits.text}?"
    return f"How fast is {run.title}, and how many can use it at once?"


def _head(run: Run, question: str, kpi: KpiAnswer | None, prices: list[Price]) -> str:
    date = str(run.conditions.get("date", ""))[:16].replace("T", " ")
    measured_at = run.answer(prices[0] if prices else None)
    parts = [
        paragraph(" · ".join(filter(None, ("Pilot", run.title, date))), "about"),
        f"<h1>{escape(question)}</h1>",
        paragraph(_unfinished(run), "warning"),
        paragraph(kpi.text if kpi else measured_at, "answer"),
    ]
    if kpi is not None:
        parts.append(paragraph(f"As measured: {measured_at}"))
        if kpi.use_case is not None:
            parts.append(paragraph(f"The use case: {kpi.use_case.description}", "aside"))
    said = "\n".join(filter(None, parts))
    return f"<header>\n{said}\n</header>\n"


def _unfinished(run: Run) -> str:
    """Say so where the page is about less than was asked for."""
    if run.state == "done":
        return ""
    how = "was stopped before its end" if run.state == "stopped" else "failed before its end"
    said = f"This measurement {how}; the figures are of what was measured until then."
    return " ".join([said, *(f"It {note}." for note in run.ended_early)])


# --- key figures ----------------------------------------------------------------------------------


def _tiles(run: Run, kpi: KpiAnswer | None, prices: list[Price]) -> str:
    figures = [_tile(figure) for figure in kpi.figures] if kpi else []
    figures = figures or _extremes(run, prices[0] if prices else None)
    items = "".join(
        f"<div><dt>{escape(label)}"
        + (f"<small>{escape(aside)}</small>" if aside else "")
        + f"</dt><dd>{escape(value)}</dd></div>\n"
        for label, value, aside in figures
    )
    return f'<dl class="tiles">\n{items}</dl>' if items else ""


def _tile(figure: Figure) -> tuple[str, str, str]:
    """Return a use case's figure: its label, its value and its range (`basis.assumed`)."""
    written = {"ms": duration, "s": span, "USD": usd}.get(figure.unit, count)
    unit = figure.unit if written is count else ""
    lo, hi = (None if end in (None, inf) else written(end) for end in (figure.lo, figure.hi))
    value = written(figure.value)
    between = "" if lo is None or lo == hi else f"range: {lo} to {hi}"
    if figure.hi == inf:
        between = f"range: {lo} or more"
    return f"{figure.label}{f', {unit}' if unit else ''}", value, between


def _extremes(run: Run, price: Price | None) -> list[tuple[str, str, str]]:
    """Return the best of each figure, and the level at which it was measured."""
    rows = [row for row in run.rows if usable(row)]
    found = []
    if run.limits and (point := _largest(run).point) is not None:
        found.append((f"the largest level within {run.limits.text}", at_level(point), ""))
    for label, pick, value, written in _WHOLE if are_whole(rows) else _STREAMED:
        told = [(row, value(row, price)) for row in rows]
        told = [(row, figure) for row, figure in told if figure is not None]
        if told:
            row, best = pick(told, key=lambda pair: pair[1])
            found.append((label, written(best), f"at {at_level(row)}"))
    return found


def _column(name: str) -> Value:
    return lambda row, _: measured(row, name)


def _cost_of(cost: Callable[[Row, Price], float | None]) -> Value:
    return lambda row, price: None if price is None else cost(row, price)


_WHOLE: list[Extreme] = [
    ("most items/s", max, _column("items_per_s"), count),
    ("shortest E2E latency, median", min, _column("e2e_p50_ms"), duration),
    ("least cost per 1M tokens", min, _cost_of(usd_per_1m_total), usd),
]
_STREAMED: list[Extreme] = [
    ("most tokens/s, whole system", max, _column("output_tps"), count),
    ("shortest TTFT, median", min, _column("ttft_p50_ms"), duration),
    ("most tokens/s for one user, median", max, _column("user_tps_p50"), count),
    (
        "least cost per 1M output tokens",
        min,
        _cost_of(lambda r, p: usd_per_1m_output(r, p)[0]),
        usd,
    ),
]
"""What it is, the best of several, how it is found, and how it is written."""


# --- limits ---------------------------------------------------------------------------------------


def _limits(run: Run) -> list[str]:
    if run.limits is None:
        return [paragraph("No limits were set: nothing says how long people may have to wait.")]
    columns = {
        f"{NAMES[name]} p{100 * p:.4g} ≤ {duration(ms)}": f"{name}_p{100 * p:.4g}_ms"
        for name, p, ms in run.limits.latencies
    }
    told = {head: name for head, name in columns.items() if any(name in row for row in run.rows)}
    errors = f"errors ≤ {percent(100 * run.limits.error_rate)}"
    heads = ["level", *told, errors, "requests within all of them", "kept"]
    rows = [
        [
            at_level(row),
            *(duration(measured(row, name)) for name in told.values()),
            percent(100 * (row["error_rate"] or 0)),
            percent(None if row["slo_attainment"] is None else 100 * row["slo_attainment"]),
            _kept(row),
        ]
        for row in run.rows
    ]
    doubt = any(row["limits_sure"] is False for row in run.rows)
    return [
        paragraph(_largest_told(run, run.limits.text)),
        table(heads, rows, "figures verdicts") if rows else "",
        paragraph("?: so it was measured, but not beyond 95 % doubt" if doubt else "", "aside"),
    ]


def _set_aside(own: Limits | None, limits: Limits | None) -> str:
    """Say so where the run had limits of its own that the use case has otherwise."""
    if own is None or limits is None or own.bounds.items() <= limits.bounds.items():
        return ""
    return paragraph(
        f"The run's own limits ({own.text}) gave way to the use case's where these differ.", "aside"
    )


def _kept(row: Row) -> str:
    """Say whether a point keeps the limits, in words: paper has no colours."""
    if row["limits_hold"] is None:
        return "not known"
    said = "yes" if row["limits_hold"] else "NO"
    said += "" if row["limits_sure"] else "?"
    return said if row["limits_hold"] else f"{said}: {row['limits_note']}"


def _largest(run: Run) -> Largest:
    return Largest.of(r for r in run.rows if not r["client_limited"] and not r["provisional"])


def _largest_told(run: Run, text: str) -> str:
    if any(map(amid_ramp, run.rows)):
        return f"A ramp is no steady state: it does not tell where {text} is kept."
    found = _largest(run)
    if found.point is None:
        return f"No level was found that keeps {text}."
    between = f"; beyond 95 % doubt it is {found.between}" if found.between else ""
    said = f"{at_level(found.point)} is the largest level measured that keeps {text}{between}."
    if found.broken is None:
        return f"{said} None was measured that breaks them."
    return f"{said} At {at_level(found.broken)}: {found.broken['limits_note']}."


# --- curves and cost ------------------------------------------------------------------------------


def _curves(run: Run) -> list[str]:
    from ..charts.breakdown import breakdown_spec, told
    from ..charts.overview import overview_spec

    if not run.rows:
        return [paragraph("Nothing was measured.")]
    spec = overview_spec(run.rows, None, run.title, run.limits.bounds if run.limits else None)
    spec["hconcat"] = spec["hconcat"][:2]  # two panels fill a page of paper; cost has its own
    spec["description"] = f"{spec['description']} The table of all points has the values."
    parts = [picture(spec)]
    with suppress(MeasurementError):  # too few levels, or no such law
        parts.append(paragraph(run.scaling().text))
    if told(run.rows):
        parts += ["<h3>What the time to first token consists of</h3>"]
        parts += [picture(breakdown_spec(run.rows))]
    return parts


def _cost(run: Run, prices: list[Price], against: BreakEven | None) -> list[str]:
    if not prices:
        reason = unlisted(str(run.conditions.get("url", "")), str(run.conditions.get("model", "")))
        said = ["No price is known, so no cost is told.", f"{reason}." if reason else ""]
        return [paragraph(" ".join(filter(None, said)))]
    whole = are_whole(run.rows)
    kind = "total" if whole else "output"
    heads = [f"USD per 1M {'tokens' if whole else 'output tokens'} (95 %)"]
    heads += [] if whole else ["per 1M tokens in all"]
    heads += ["per request"]
    rows = []
    costs = cost_rows(run.rows, prices)
    for row in costs:
        cells = [_usd(row, f"usd_per_1m_{kind}_tokens")]
        cells += [] if whole else [_usd(row, "usd_per_1m_total_tokens")]
        which = [str(row["price"])] if len(prices) > 1 else []
        rows.append([at_level(row), *which, *cells, _usd(row, "usd_per_request")])
    drawn = any(measured(row, f"usd_per_1m_{kind}_tokens") for row in costs)  # else all are free
    parts = [_cost_picture(run, prices)] if drawn else []
    parts.append(table(["level", *["price"] * (len(prices) > 1), *heads], rows) if rows else "")
    unknown = {(price.label, untold(row, price)) for price in prices for row in run.rows}
    parts += [paragraph(f"At {price} {why}.") for price, why in sorted(unknown) if why]
    if against is not None:
        parts += [
            "<h3>Own hardware against an API</h3>",
            paragraph(against.answer),
            picture(break_even_spec(against) | {"title": ""}) if against.best else "",
        ]
    return parts


def _usd(row: Row, name: str) -> str:
    value, lo, hi = (usd(measured(row, name + end)) for end in ("", "_lo", "_hi"))
    return value if measured(row, f"{name}_lo") is None or lo == hi else f"{value} ({lo}–{hi})"


def _cost_picture(run: Run, prices: list[Price]) -> str:
    from ..charts.overview import overview_spec

    if len(prices) > 1:
        return picture(cost_chart_spec(cost_rows(run.rows, prices)))
    spec = overview_spec(run.rows, prices[0], prices[0].label)
    spec["hconcat"] = [spec["hconcat"][2] | {"width": 480}]
    spec["description"] = "Cost against the level. The table below has the values."
    return picture(spec)


def _break_even(run: Run, prices: list[Price], tokens_per_day: float | None) -> BreakEven | None:
    """Compare the first price by the hour with the first by the token, where there are both."""
    own = next((price for price in prices if price.hour is not None), None)
    api = next((price for price in prices if price.hour is None), None)
    if own is not None and api is not None:
        return break_even(run, own, api, tokens_per_day)
    if tokens_per_day is not None:
        raise SettingsError("tokens_per_day needs two prices: one by the hour, one by the token.")
    return None


def _points(run: Run, prices: list[Price]) -> list[str]:
    from .static import table as points_of
    from .static import ttft_table

    if not run.rows:
        return []
    parts = [table(*points_of(run, prices[0] if prices else None))]
    if any(row["client_limited"] for row in run.rows):
        parts.append(paragraph("* the client was the limit; the notes say why", "aside"))
    if (taken_apart := ttft_table(run)) is not None:
        parts.append(table(*taken_apart, caption="TTFT taken apart, means"))
    return parts
