"""What a board shows, and where: every chart of it as a specification, in its frame."""

from ..charts.breakdown import breakdown_chart
from ..charts.layers import CONFIG, VIEW, Y_WIDTH, Spec, params
from ..charts.open_loop import rates_chart
from ..charts.overview import LIMITS, curves
from ..charts.picture import SCHEMA
from ..charts.pricing import LOOKS, MOST, PRICES
from ..charts.timeline import timeline_chart
from ..charts.weighing import weighing_charts


def board_charts() -> list[Spec]:
    """Return the live board's charts in order.

    Returns
    -------
    list of dict
        Each with ``name``, ``card`` (charts of one card are stacked), ``title``, ``feed`` (what
        its rows are: "points" or "series"), ``needs`` (columns: an operating point without any of
        them draws nothing) and ``spec``. Its rows are the dataset of that name, its width and its
        colours are the host's. Some have ``shown_by`` (columns: it takes no place until a row has
        one), ``key`` (what its colours mean), ``prices`` (it computes with them), ``lines`` (the
        colour and dash of each price's) and ``folded`` (it takes no place until the part on cost
        is opened).
    """
    weighing = [chart | {"folded": True} for chart in weighing_charts()]
    charts = [*curves(), *weighing, rates_chart(102), timeline_chart(), breakdown_chart()]
    for chart in charts:
        bottom = 16 if chart["name"] == "system_tps" else 40
        cost = PRICES if chart.get("prices") else {}
        if chart.get("prices"):
            chart["lines"] = [
                {"color": tone, "dash": ",".join(map(str, dash))} for tone, dash in LOOKS[:MOST]
            ]
        limits = LIMITS if chart["name"] == "ttft" else {}
        chart.setdefault("feed", "points")
        chart["spec"] = {
            "$schema": SCHEMA,
            "description": chart.pop("description"),
            "data": {"name": chart["feed"]},
            "width": 300,
            # Fixed margins: no growing label moves a plot, and all plots line up.
            "autosize": "none",
            "padding": {"left": Y_WIDTH + 2, "right": 14, "top": 30, "bottom": bottom}
            | chart.pop("padding", {}),
            "params": params(chart.pop("params", {**VIEW, **cost, **limits})),
            "config": CONFIG,
            **chart.pop("view"),
        }
    return charts
