"""Operating points at prices: what a token costs, what it gives, and which points are worth it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..metrics.usable import usable
from ..words import is_whole, measured
from .at_point import for_point, untold, usd_per_1m_output, usd_per_1m_total, usd_per_request
from .price import Price

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {
    "price": "object",
    "concurrency": "int64",
    "rate": "float64",
    "usd_per_1m_output_tokens": "float64",
    "usd_per_1m_output_tokens_lo": "float64",
    "usd_per_1m_output_tokens_hi": "float64",
    "usd_per_1m_total_tokens": "float64",
    "usd_per_request": "float64",
    "usd_per_request_lo": "float64",
    "usd_per_request_hi": "float64",
    "ttft_p50_ms": "float64",
    "ttft_p95_ms": "float64",
    "user_tps_p50": "float64",
    "client_limited": "bool",
    "pareto": "bool",
    "basis": "object",
    "assumption": "object",
}
"""The cost table's columns, in order → their pandas dtypes."""


def cost_rows(
    points: Iterable[Mapping[str, object]], prices: Price | Iterable[Price]
) -> list[dict[str, object]]:
    """Price operating points: a row for each at each price, with the point's own columns.

    ``usd_per_request`` is per request that ended well: failed ones are paid for by these.
    ``pareto`` tells whether a point is on the front of its price: no other one costs less per 1M
    output tokens, lets people wait less for the first token, or streams faster to each of them,
    without being worse in another of these. Points at which the client was the limit, requests fail
    or a queue grows aren't compared. ``basis`` is the price for prompts as long as the point's.
    """
    chosen = [prices] if isinstance(prices, Price) else list(prices)
    known = list(points)
    rows: list[dict[str, object]] = []
    for price, label in zip(chosen, _labels(chosen), strict=True):
        priced = [dict(point) | _costs(point, price) | {"price": label} for point in known]
        for row, best in zip(priced, _pareto(priced), strict=True):
            rows.append(row | {"pareto": best})
    return rows


def _labels(prices: Sequence[Price]) -> list[str]:
    """Return the prices' labels, told apart where they are alike."""
    seen: Counter[str] = Counter()
    labels = []
    for price in prices:
        seen[price.label] += 1
        again = seen[price.label]
        labels.append(f"{price.label} ({again})" if again > 1 else price.label)
    return labels


def _costs(point: Mapping[str, object], price: Price) -> dict[str, object]:
    ends = "", "_lo", "_hi"
    output, request = usd_per_1m_output(point, price), usd_per_request(point, price)
    assumed = price.assumed(estimated=point.get("estimated") is True)
    return {
        **{f"usd_per_1m_output_tokens{e}": usd for e, usd in zip(ends, output, strict=True)},
        "usd_per_1m_total_tokens": usd_per_1m_total(point, price),
        **{f"usd_per_request{e}": usd for e, usd in zip(ends, request, strict=True)},
        "client_limited": bool(point.get("client_limited")),
        "basis": for_point(point, price).basis,
        "assumption": "; ".join(filter(None, (assumed, untold(point, price)))),
    }


def latency_column(rows: Sequence[Mapping[str, object]]) -> str:
    """Return which column tells how long people wait: p95 if all points have one, else p50."""
    name = "e2e" if rows and all(map(is_whole, rows)) else "ttft"
    told = all(measured(row, f"{name}_p95_ms") is not None for row in rows if measured(row, "n"))
    return f"{name}_p95_ms" if told else f"{name}_p50_ms"


def _pareto(rows: Sequence[Mapping[str, object]]) -> list[bool]:
    """Tell which rows are on the front of cost, waiting and speed, to three digits each."""
    waiting = latency_column(rows)
    cost = "usd_per_1m_" + ("total" if waiting.startswith("e2e") else "output") + "_tokens"

    def judged(row: Mapping[str, object]) -> tuple[float, ...] | None:
        usd, wait = measured(row, cost), measured(row, waiting)
        if usd is None or wait is None or not usable(row):
            return None
        figures = usd, wait, -(measured(row, "user_tps_p50") or 0.0)
        return tuple(float(f"{figure:.3g}") for figure in figures)  # less is noise

    found = [judged(row) for row in rows]
    known = [figures for figures in found if figures is not None]

    def beaten(figures: tuple[float, ...]) -> bool:
        return any(
            other != figures and all(o <= f for o, f in zip(other, figures, strict=True))
            for other in known
        )

    return [figures is not None and not beaten(figures) for figures in found]


def cost_table(
    points: Iterable[Mapping[str, object]], price: Price | Iterable[Price]
) -> "pd.DataFrame":
    """Make the cost curve: a row per operating point and price, in USD; see `cost_rows`."""
    import pandas as pd

    rows = [[row.get(name) for name in _COLUMNS] for row in cost_rows(points, price)]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
