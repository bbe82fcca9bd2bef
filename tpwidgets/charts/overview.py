"""Tables into charts: operating points in, Vega-Lite specifications out. Nothing is measured here.

The specifications are plain dicts, since importing Altair takes two seconds that a dashboard
shouldn't wait for; `overview` hands the same specifications out as an Altair chart.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..metrics.intervals import firm
from ..words import PERCENTILES, are_open, are_whole, is_whole, level, measured, throughput
from .fitted import NAME, SAID, fitted_layers, fitted_rows
from .layers import (
    BLUE,
    ORANGE,
    P50_P95,
    TITLE_Y,
    VIEW,
    Spec,
    calculate,
    chart_view,
    limit_lines,
)
from .open_loop import COLUMNS as OPEN_LOOP
from .open_loop import SCHEDULED, SCHEDULED_TOLD, rates_chart, scheduled_layers
from .picture import as_altair, printed
from .pricing import cost_curve, price_params, prices_told
from .telling import NARROW, WIDE, hollow_told

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from ..cost.price import Price
    from ..metrics.scaling import Scaling

Row = dict[str, Any]


COLUMNS = (
    "run", "current", "concurrency", "rate", "n", "n_failed", "error_rate", "window_s",
    "output_tps", "output_tps_lo", "output_tps_hi", "rps", "input_tps",
    "items_per_s", "items_per_s_lo", "items_per_s_hi",
    "ttft_p50_ms", "ttft_p50_ms_lo", "ttft_p50_ms_hi", "ttft_p50_firm",
    "ttft_p95_ms", "ttft_p95_ms_lo", "ttft_p95_ms_hi", "ttft_p95_firm",
    "user_tps_p50", "user_tps_p50_lo", "user_tps_p50_hi", "tpot_p50_ms",
    "e2e_p50_ms", "e2e_p50_ms_lo", "e2e_p50_ms_hi",
    "e2e_p95_ms", "e2e_p95_ms_lo", "e2e_p95_ms_hi",
    "gap_p50_ms", "itl_p50_ms", "tokens_per_chunk", "in_flight_mean",
    "client_error_p99_ms", "merged_pct", "prompt_tokens_mean", "output_tokens_mean",
    "input_per_output", "cached_pct", "provisional", "client_limited",
    "limits_hold", "limits_sure", "limits_note", "goodput_rps",
    "note", "ramp_from", "rps_lo", "rps_hi", "billed_output_tokens", "reasoning_tokens_mean",
    "own_cost", "usd", "usd_lo", "usd_hi", "usd_total",
    "usd_request", "usd_request_lo", "usd_request_hi",
)  # fmt: skip
"""What the charts read of an operating point, besides `OPEN_LOOP`; other columns needn't
travel to the browser."""

_LETTERS = 120
"""So long are lines above a picture: two of its panels are as wide, which the pilot page shows."""

LIMITS: Mapping[str, Any] = dict.fromkeys(
    f"limit_{name}_{p}_ms" for name in ("ttft", "e2e") for p in ("p50", "p95")
)
"""The Vega parameters that the TTFT chart draws its limits by; null: there is none."""


def limit_params(bounds: Mapping[str, float]) -> Row:
    """Return limits (`tpwidgets.metrics.slo.Limits.bounds`) as values of `LIMITS`."""
    return {name: bounds.get(name.removeprefix("limit_")) for name in LIMITS}


def clean_rows(
    points: "Iterable[Mapping[str, Any]] | pd.DataFrame",
    columns: Sequence[str] = COLUMNS + OPEN_LOOP,
) -> list[Row]:
    """Operating points as JSON-ready rows: earlier runs first, NaN and infinities as None."""
    to_dict = getattr(points, "to_dict", None)
    records = to_dict("records") if to_dict else points
    rows = [
        {name: _clean(row[name]) for name in columns if name in row}
        for row in cast("Iterable[Mapping[str, Any]]", records)
    ]
    # The current run is drawn last, hence on top.
    return sorted(rows, key=lambda row: row.get("current") is not False)


def _clean(value: Any) -> Any:
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if isinstance(value, str | bool | int) else None


def curves() -> list[Spec]:
    """Return the charts against the level, each what `live.layout.board_charts` frames."""
    return [_ttft(266), _system_tps(110), _user_tps(110), cost_curve(266)]


def overview(
    points: "Iterable[Mapping[str, Any]] | pd.DataFrame",
    price: "Price | Iterable[Price] | None" = None,
    title: str | None = None,
    limits: Mapping[str, float] | None = None,
    law: "Scaling | None" = None,
) -> "alt.HConcatChart":
    """Draw operating points in three panels: TTFT, throughput and cost against the level.

    Parameters
    ----------
    points
        A row per operating point.
    price
        What tokens cost, at most three; None leaves the third panel empty.
    title
        Stands above; what the marks mean and which runs are pale stands below it.
    limits
        `tpwidgets.metrics.slo.Limits.bounds`: those on TTFT (median, p95) are drawn as lines.
    law
        Is drawn over the throughput, grey and dashed.

    Returns
    -------
    altair.HConcatChart
        With its data within. It shows itself without a network, unless another renderer than
        Altair's default (which loads Vega from a CDN) has been chosen.
    """
    spec = overview_spec(points, price, title, limits, law)
    chart: alt.HConcatChart = as_altair(
        spec, "HConcatChart", "Chart: TTFT, tokens/s and cost against the level"
    )
    return chart


def overview_spec(
    points: "Iterable[Mapping[str, Any]] | pd.DataFrame",
    price: "Price | Iterable[Price] | None" = None,
    title: str | None = None,
    limits: Mapping[str, float] | None = None,
    law: "Scaling | None" = None,
) -> Spec:
    """Return what `overview` draws as a plain specification, without importing Altair."""
    rows = clean_rows(points)
    by_rate = are_open(rows)
    alike = (row for row in rows if (row.get("rate") is not None) is by_rate)
    fit = fitted_rows(law) if law is not None else []
    # as far as the curve goes, too
    ends = {1, max(row["level"] for row in fit)} if fit else set()
    levels = sorted({level(row) for row in alike if level(row)} | ends)
    state = {
        "hint": "nothing measured", "levels": levels or VIEW["levels"],
        "whole": are_whole(rows), "open": by_rate, **limit_params(limits or {}),
    }  # fmt: skip
    width, prices = 270, price_params(price)
    # Flush, so that the plots above each other are together as tall as their neighbours.
    between, low = 56, 92 if by_rate else 122
    stacked = [_system_tps(low), _user_tps(low)]
    if by_rate:
        stacked.insert(0, rates_chart(low, x_labels=False))
    height = len(stacked) * (low + between) - between
    ttft, *middle, cost = (
        chart["view"] | {"width": width}
        for chart in (_ttft(height, width), *stacked, cost_curve(height, prices["prices"]))
    )
    spec = printed(
        "Time to first token, throughput and cost against the level: "
        + ("requests per second." if by_rate else "concurrency.")
        + (f" Grey and dashed: {SAID}." if fit else ""),
        "points", rows, {**state, **prices},
        datasets={NAME: fit},
        hconcat=[ttft, {"vconcat": middle, "spacing": between, "bounds": "flush"}, cost],
        resolve={"scale": {"color": "independent", "strokeDash": "independent"}},
        spacing=28,
    )  # fmt: skip
    if title or rows:
        said = _explain(rows, law) + prices_told(price)
        spec["title"] = {"text": title or "", "subtitle": said, "offset": 16}
    return spec


def _explain(rows: Sequence[Row], law: "Scaling | None" = None) -> list[str]:
    """Say in words what a picture, without tooltips and without a key, leaves open."""
    steady = [row for row in rows if row.get("ramp_from") is None]
    few = {p for row in steady for p in ("p50", "p95") if _is_hollow(row, p)}
    marks = {
        "Bands and bars: 95 % intervals.": bool(steady),
        hollow_told(few): bool(few),
        f"Hollow throughput and cost: {WIDE}.": any(map(_is_wide, steady)),
        "Diamond: still running.": any(row.get("provisional") for row in rows),
        "Grey square: limited by the client.": any(row.get("client_limited") for row in rows),
        "Cross: all requests failed.": any((row.get("error_rate") or 0) >= 1 for row in rows),
        "Triangle: breaks a limit.": any(row.get("limits_hold") is False for row in rows),
        "Triangle to the right: amid a ramp, no steady state.": len(steady) < len(rows),
    }
    earlier = dict.fromkeys(
        str(row.get("run") or "an earlier run") for row in rows if row.get("current") is False
    )
    lines = textwrap.wrap(" ".join(text for text, shown in marks.items() if shown), _LETTERS)
    if law is not None:
        lines.append(f"Grey, dashed: {law.text[0].lower()}{law.text[1:]}")
    return [*lines, f"Pale: {', '.join(earlier)}."] if earlier else lines


def _is_hollow(row: Row, percentile: str) -> bool:
    """Tell whether a percentile's point is hollow for want of requests, as `state_index` has it."""
    if _looks_otherwise(row):
        return False
    if is_whole(row):
        return not firm(row.get("n") or 0, PERCENTILES[percentile])
    return row.get(f"ttft_{percentile}_firm") is False


def _is_wide(row: Row) -> bool:
    """Tell whether throughput is hollow for its interval, as `NARROW` has it."""
    value, lo, hi = (measured(row, throughput(row) + end) for end in ("", "_lo", "_hi"))
    if value is None or lo is None or hi is None or _looks_otherwise(row):
        return False
    return hi - lo > value


def _looks_otherwise(row: Row) -> bool:
    """Tell whether a point has another look than firm or hollow, as `state_index` has it."""
    odd = row.get("provisional") or row.get("client_limited") or row.get("limits_hold") is False
    return bool(odd) or (row.get("error_rate") or 0) >= 1


def _ttft(height: int, width: int | None = None) -> Spec:
    columns = ["ttft_p50_ms", "ttft_p95_ms"]
    fields = calculate(
        series="datum.column === 'ttft_p50_ms' ? 'p50' : 'p95'",
        column="whole ? replace(datum.column, 'ttft', 'e2e') : datum.column",
        v="datum[datum.column]",
        lo="datum[datum.column + '_lo']",
        hi="datum[datum.column + '_hi']",
        firm="whole ? datum.n >= (datum.series === 'p50' ? 20 : 200)"
        " : datum[replace(datum.column, '_ms', '_firm')]",
        **SCHEDULED,
        what="(whole ? 'E2E ' : 'TTFT ') + datum.series + ' ' + {v} + ' ms' + {interval} + "
        + SCHEDULED_TOLD,
    )
    legend = {
        # Beside the title, where there is always room.
        "orient": "none",
        "direction": "horizontal",
        "legendX": {"expr": "width - 90"} if width is None else width - 90,
        "legendY": TITLE_Y - 9,
    }
    transform = [{"fold": columns, "as": ["column", "value"]}, *fields]
    title = {"expr": "whole ? 'E2E latency, ms' : 'TTFT, ms'"}
    view = chart_view(title, height, transform, looks=P50_P95, legend=legend)
    limits = {p: f"whole ? limit_e2e_{p}_ms : limit_ttft_{p}_ms" for p in ("p50", "p95")}
    below, above = scheduled_layers()
    lines = limit_lines(limits, {"p50": BLUE, "p95": ORANGE})
    view["layer"] = [*lines, *below, *view["layer"], *above]
    return {
        "name": "ttft",
        "card": "ttft",
        "title": "TTFT, ms",
        "needs": [columns[0], "e2e_p50_ms"],
        "description": "Time to first token (where answers come whole: end-to-end latency) in "
        "milliseconds against the level: the median as a solid line, the 95th percentile as a "
        "dashed line, with 95 % intervals; in an open loop that from the scheduled time as a wide, "
        "pale line.",
        "view": view,
    }


def _system_tps(height: int) -> Spec:
    fields = calculate(
        v="whole ? datum.items_per_s : datum.output_tps",
        lo="whole ? datum.items_per_s_lo : datum.output_tps_lo",
        hi="whole ? datum.items_per_s_hi : datum.output_tps_hi",
        narrow=NARROW,
        firm="datum.narrow",
        what="{v} + (whole ? ' items/s' : ' tokens/s, whole system') + {interval}",
    )
    title = {"expr": "whole ? 'items/s, whole system' : 'tokens/s, whole system'"}
    return {
        "name": "system_tps",
        "card": "tps",
        "title": "tokens/s, whole system",
        "needs": ["output_tps", "items_per_s"],
        "description": "Output tokens (where answers come whole: items) per second of the whole "
        "system against the level, with 95 % intervals. A curve that is grey and dashed, where "
        f"there is one, is {SAID}; its knee is named.",
        "view": chart_view(title, height, fields, x_labels=False, below=fitted_layers(height)),
    }


def _user_tps(height: int) -> Spec:
    fields = calculate(
        v="whole ? datum.input_tps : datum.user_tps_p50",
        lo="whole ? null : datum.user_tps_p50_lo",
        hi="whole ? null : datum.user_tps_p50_hi",
        firm="whole || datum.ttft_p50_firm",  # both are medians over the same requests
        what="{v} + (whole ? ' input tokens/s' : ' tokens/s per user, median') + {interval}",
    )
    title = {"expr": "whole ? 'input tokens/s, whole system' : 'tokens/s per user'"}
    return {
        "name": "user_tps",
        "card": "tps",
        "title": "tokens/s per user",
        "needs": ["user_tps_p50", "input_tps"],
        "description": "Output tokens per second that one user sees (median; where answers come "
        "whole: input tokens of the whole system) against the level, with 95 % intervals.",
        "view": chart_view(title, height, fields),
    }
