"""How much load: so many users at once, or so many requests per second."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w

from ..workload.loads import Load, doublings, levels
from ..workload.rates import BURSTINESS, LEAST, OpenLoad, load_of, rates
from .fields import LevelsField
from .group import Group

_FIT: dict[str, Any] = {"description_width": "initial"}
_USUAL = {"concurrency": "1-64", "rate": "1-16"}
_NAMES = (
    "concurrency", "rate", "arrivals", "burstiness", "requests", "seconds", "precision", "ramp_s",
)  # fmt: skip
_RAMP_S = 60.0


def load_from(said: Mapping[str, Any]) -> Load | OpenLoad:
    """Return the load that keywords of `tp.measure` mean.

    Raises
    ------
    SettingsError
        Names the first that is refused.
    """
    given = {"arrivals": "poisson", **said}
    return load_of(*(given.get(name) for name in _NAMES))


class LoadFields(Group):
    """A closed or an open loop, its levels and how it walks them, and how requests arrive."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        load = load_from(given)
        self._axis = w.Dropdown(
            options=[("concurrency (closed loop)", "concurrency"),
                     ("requests/s (open loop)", "rate")],
            value=load.axis, description="Load", style=_FIT, layout=w.Layout(width="246px"),
            tooltip="Closed loop: so many users, each sending its next request when one ends; open "
            "loop: so many requests per second, whatever is still in flight",
        )  # fmt: skip
        shown = _USUAL | {load.axis: _written(given[load.axis], load)}
        self._levels = {
            "concurrency": LevelsField(
                "concurrency", shown["concurrency"], _USUAL["concurrency"], doublings(1, 512),
                levels, "How many requests are in flight at once; a range is walked 1, 2, 4 …",
                "a range such as 1-64, or levels such as 1, 4, 16",
            ),
            "rate": LevelsField(
                "rate", shown["rate"], _USUAL["rate"], doublings(0.25, 256.0), rates,
                "How many requests are sent per second; a range is walked 1, 2, 4 …",
                "a range such as 1-16, or rates such as 0.5, 1, 2",
            ),
        }  # fmt: skip
        self._arrivals = w.Dropdown(
            options=[("Poisson", "poisson"), ("constant", "constant"), ("gamma (bursts)", "gamma")],
            value=given.get("arrivals", "poisson"), description="Arrivals", style=_FIT,
            layout=w.Layout(width="190px"),
            tooltip="How the times between requests are distributed: Poisson, as of people who "
            "don't know of each other",
        )  # fmt: skip
        self._burstiness = w.BoundedFloatText(
            value=given.get("burstiness") or BURSTINESS, min=LEAST, max=100, step=0.1,
            description="Burstiness", style=_FIT, layout=w.Layout(width="140px"),
            tooltip="The gamma distribution's shape: below 1 requests come in bursts, 1 is Poisson",
        )  # fmt: skip
        self._walk = w.Dropdown(
            options=[("level by level", "levels"), ("a ramp", "ramp")],
            value="ramp" if load.ramp_s else "levels", description="Walk", style=_FIT,
            layout=w.Layout(width="170px"),
            tooltip="Level by level: settle at each, and measure there; a ramp: go evenly from the "
            "first to the last, to see in one pass where it begins to queue",
        )  # fmt: skip
        self._ramp_s = w.BoundedFloatText(
            value=load.ramp_s or _RAMP_S, min=0, max=1e12, description="in (s)", style=_FIT,
            layout=w.Layout(width="110px"), tooltip="How many seconds the ramp takes",
        )  # fmt: skip
        super().__init__(
            [self._axis, *self._levels.values(), self._walk, self._ramp_s, self._arrivals,
             self._burstiness],
            {
                "load": self._axis, "walk": self._walk, "ramp": self._ramp_s,
                "arrivals": self._arrivals, "burstiness": self._burstiness,
            },
        )  # fmt: skip
        self.taken = [self._axis, *self._levels.values(), self._walk]
        for menu in (self._axis, self._arrivals, self._walk):
            menu.observe(self._show, "value")
        self._show()

    def settings(self) -> dict[str, Any]:
        """Return the levels as typed or slid, not checked, and what an open loop has besides."""
        axis = self._axis.value
        found: dict[str, Any] = {axis: self._levels[axis].value}
        if axis == "rate":
            found["arrivals"] = self._arrivals.value
            if found["arrivals"] == "gamma":
                found["burstiness"] = float(self._burstiness.value)
        if self.ramped:
            found["ramp_s"] = float(self._ramp_s.value)
        return found

    @property
    def ramped(self) -> bool:
        """Whether the load is to go evenly between its levels."""
        return bool(self._walk.value == "ramp")

    def take(self, given: Mapping[str, Any]) -> None:
        """Set the levels, if they are given, the loop that they are of, and how they are walked."""
        for axis, field in self._levels.items():
            if axis in given:
                field.value = _written(given[axis], load_from({axis: given[axis]}))
                self._axis.value = axis
                self._walk.value = "ramp" if given.get("ramp_s") else "levels"

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when something changed."""
        for field in (self._axis, self._walk, self._ramp_s, self._arrivals, self._burstiness):
            field.observe(callback, "value")
        for field in self._levels.values():
            field.changed(callback)

    def _show(self, _: Any = None) -> None:
        is_open = self._axis.value == "rate"
        for axis, field in self._levels.items():
            _display(field, axis == self._axis.value)
        _display(self._ramp_s, self.ramped)
        _display(self._arrivals, is_open)
        _display(self._burstiness, is_open and self._arrivals.value == "gamma")


def _written(value: Any, load: Load | OpenLoad) -> str:
    return value if isinstance(value, str) else ", ".join(f"{level:g}" for level in load.asked)


def _display(field: w.DOMWidget, shown: bool) -> None:
    field.layout.display = None if shown else "none"
