"""Limits: what users may have to wait, and how many requests may fail."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w

from ..metrics.slo import MAX_ERROR_RATE, NAMES, Limits
from ..run import escape
from ..use_cases.kpi_figures import limit
from .group import Group

_FIT: dict[str, Any] = {"description_width": "initial"}
_LATENCIES = "ttft", "tpot", "e2e"
_PERCENTILES = "p50", "p95", "p99"


class SloFields(Group):
    """One row: it decides the answer. All latencies are limited at the same percentile.

    Limits that were given in code and have no field stay as they are; they stand behind the row,
    and can be removed. That at most 1 % of requests may fail goes without limits, too: it is one of
    its own only where code gives it, any other share always is.

    Raises
    ------
    SettingsError
        If limits are given that can't be.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._listeners: list[Callable[[Any], None]] = []
        self._setting = False
        self._others: dict[str, float] = {}
        self._given_errors: float | None = None
        self._boxes = {
            name: w.BoundedFloatText(
                min=0, max=1e12, step=10, style=_FIT, layout=w.Layout(width="113px"),
                description=f"{name.upper()} ≤",
                tooltip=f"{NAMES[name]} in ms at most, at the percentile; 0: no limit",
            )
            for name in _LATENCIES
        }  # fmt: skip
        self._percentile = w.Dropdown(
            options=_PERCENTILES, value="p95", description="at", style=_FIT,
            layout=w.Layout(width="76px"), tooltip="The share of requests that keep each limit",
        )  # fmt: skip
        self._errors = w.BoundedFloatText(
            value=100 * MAX_ERROR_RATE, min=0, max=100, step=0.5, style=_FIT,
            description="errors ≤ (%)", layout=w.Layout(width="132px"),
            tooltip="How many requests may fail; 0: none",
        )  # fmt: skip
        self._note = w.HTML()
        self._remove = w.Button(
            description="remove", icon="times", layout=w.Layout(width="auto"),
            tooltip="Remove these limits, which have no field",
        )  # fmt: skip
        self._remove.on_click(self._without_others)
        super().__init__(
            [w.Label("Limits (ms)"), *self._boxes.values(), self._percentile,
             self._errors, self._note, self._remove],
            {
                **{f"limit-{name}": box for name, box in self._boxes.items()},
                "limit-percentile": self._percentile, "limit-errors": self._errors,
                "limit-remove": self._remove, "limits": self,
            },
        )  # fmt: skip
        self.value = given.get("limits") or {}
        for field in (*self._boxes.values(), self._percentile, self._errors):
            field.observe(self._tell, "value")

    @property
    def value(self) -> dict[str, float]:
        """The limits as `tp.measure` takes them; empty if there are none."""
        at = self._percentile.value
        found = self._others | {
            f"{name}_{at}_ms": float(box.value) for name, box in self._boxes.items() if box.value
        }
        errors = round(self._errors.value / 100, 6)
        is_limit = errors != MAX_ERROR_RATE or errors == self._given_errors
        return found | {"error_rate": errors} if is_limit else found

    @value.setter
    def value(self, bounds: Mapping[str, float]) -> None:
        limits = Limits.of(bounds)
        known = limits.bounds if limits is not None else {"error_rate": MAX_ERROR_RATE}
        self._setting = True  # listeners hear of it once, at the end
        try:
            self._errors.value = round(100 * known.pop("error_rate"), 4)
            used = (p for name in _LATENCIES for p in _PERCENTILES if f"{name}_{p}_ms" in known)
            self._percentile.value = at = next(used, self._percentile.value)
            for name, box in self._boxes.items():
                box.value = known.pop(f"{name}_{at}_ms", 0)
        finally:
            self._setting = False
        self._given_errors = bounds.get("error_rate") if isinstance(bounds, Mapping) else None
        self._keep(known)

    def _keep(self, others: dict[str, float]) -> None:
        """Keep limits that have no field."""
        self._others = others
        said = ", ".join(limit(name, ms) for name, ms in others.items())
        self._note.value = f"<small>and {escape(said)}</small>" if said else ""
        self._remove.layout.display = None if said else "none"
        self._tell()

    def _without_others(self, _: Any) -> None:
        self._keep({})

    def settings(self) -> dict[str, Any]:
        """Return the limits, if there are any, as a keyword for `tp.measure`."""
        return {"limits": self.value} if self.value else {}

    def take(self, given: Mapping[str, Any]) -> None:
        """Set the limits, if they are given."""
        if "limits" in given and dict(given["limits"]) != self.value:
            self.value = given["limits"]

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when a limit changed."""
        self._listeners.append(callback)

    def _tell(self, _: Any = None) -> None:
        if not self._setting:
            for listener in self._listeners:
                listener(None)
