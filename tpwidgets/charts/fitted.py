"""How a fitted law is drawn: grey and dashed, so that nobody takes it for what was measured.

Its rows are a dataset of their own, "fit", which is empty where no law is to be seen.
"""

from math import isfinite
from typing import Any

from ..metrics.scaling import Scaling
from .layers import GREY, Spec

NAME = "fit"
"""The dataset's name."""

SAID = "fitted, not measured"


def fitted_rows(law: Scaling) -> list[dict[str, Any]]:
    """Return what is drawn of a law: its curve where it says anything, and its knee if that does.

    Keys: ``level``, ``v``, ``lo``, ``hi``, ``part`` (`Scaling.curve`'s, or ``knee``), ``name``.
    """
    rows: list[dict[str, Any]] = [
        {"level": _short(p["concurrency"]), "v": _short(p["fitted"]),
         "lo": _short(p["fitted_lo"]), "hi": _short(p["fitted_hi"]), "part": p["part"]}
        for p in law.curve()
    ]  # fmt: skip
    if isfinite(law.knee) and law.knee <= rows[-1]["level"] and law.says(law.knee):
        rows.append(
            {"level": _short(law.knee), "part": "knee", "name": f"knee near {law.knee:.0f}"}
        )
    return rows


def fitted_layers(height: int) -> list[Spec]:
    """Build the layers that draw such rows; `height` is the plot's, in pixels."""
    x = {"field": "level", "type": "quantitative"}
    y = {"field": "v", "type": "quantitative"}
    curve = [{"filter": "datum.part !== 'knee'"}]
    knee = [{"filter": "datum.part === 'knee'"}]
    part: Spec = {"field": "part", "type": "nominal"}

    def faint(between: float, beyond: float) -> Spec:
        return {
            "condition": {"test": "datum.part === 'between'", "value": between},
            "value": beyond,
        }

    band: Spec = {
        "mark": {"type": "area", "color": GREY},
        "transform": curve,
        "encoding": {"x": x, "y": y | {"field": "lo"}, "y2": {"field": "hi"}, "detail": part}
        | {"fillOpacity": faint(0.2, 0.1)},
    }
    line: Spec = {
        "mark": {"type": "line", "color": GREY, "strokeDash": [4, 4], "strokeWidth": 1.75},
        "transform": curve,
        "encoding": {"x": x, "y": y, "detail": part, "strokeOpacity": faint(1, 0.6)},
    }
    rule: Spec = {
        "mark": {"type": "rule", "color": GREY, "strokeDash": [1, 3], "strokeWidth": 1.5},
        "transform": knee,
        "encoding": {"x": x, "y": {"value": 28}, "y2": {"value": height}},
    }
    # left of the line, where throughput is below, but for a knee far left
    left = "log(datum.level / levels[0]) > 0.35 * log(levels[length(levels) - 1] / levels[0])"
    named = {"type": "text", "style": "hint", "fontSize": 10.5} | {
        name: {"expr": f"{left} ? {one} : {other}"}
        for name, one, other in (("align", "'right'", "'left'"), ("dx", "-4", "4"))
    }
    name: Spec = {
        "mark": named,
        "transform": knee,
        "encoding": {"x": x, "y": {"value": 6}, "text": {"field": "name"}},
    }
    said: Spec = {
        "mark": {"type": "text", "text": f"- - {SAID}", "style": "hint", "fontSize": 10.5}
        | {"align": "left"},
        "transform": [{"aggregate": [{"op": "count", "as": "n"}]}, {"filter": "datum.n > 0"}],
        # where a curve that rises leaves room
        "encoding": {"x": {"value": 4}, "y": {"value": 20}},
    }
    return [{"data": {"name": NAME}} | layer for layer in (band, line, rule, name, said)]


def _short(value: Any) -> float | None:
    return None if value is None else float(f"{value:.5g}")
