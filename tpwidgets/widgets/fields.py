"""Fields: a slider with a box to type into, both of one value. The typed box is the truth."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets as w

from ..errors import SettingsError
from ..workload.loads import Number, levels

_STEPS = tuple(m * 2**e for e in range(4, 17) for m in (1, 1.5))
LENGTHS = (1, 2, 4, 8, *(int(step) for step in _STEPS))


def nearest(steps: Sequence[Number], value: float) -> Number:
    """Return the step that is nearest to `value`."""
    index = bisect_left(steps, value)
    around = steps[max(0, index - 1) : index + 1] or steps[-1:]
    return min(around, key=lambda step: abs(step - value))


class LengthField(w.HBox):
    """A length, or several that are swept over: the slider walks round numbers, the box takes any.

    Parameters
    ----------
    name, css, tooltip : str
        What stands before it, what it is called in the page, and what it is.
    value : int, iterable of int, or str
        As `tp.sweep` takes it.
    steps : sequence of int
        Where the slider can stand.
    unit : str
        What the length is in.
    """

    def __init__(
        self, name: str, css: str, value: Any, tooltip: str, steps: Sequence[int] = LENGTHS,
        unit: str = "tok",
    ) -> None:  # fmt: skip
        self._steps = steps
        text = _as_text(value)
        self._former = str(_first(text) or steps[0])
        self.slider = w.SelectionSlider(
            options=steps, value=self._step(text), description=name, readout=False,
            continuous_update=True, tooltip=tooltip, style={"description_width": "initial"},
            layout=w.Layout(width="190px", min_width="150px"),
        )  # fmt: skip
        self.box = w.Text(
            value=text, continuous_update=False, layout=w.Layout(width=_width(text)),
            tooltip=f"{tooltip}; any number, or several: 256, 1024, 4096",
        )  # fmt: skip
        self.several = w.ToggleButton(
            value=_is_several(text), description="sweep", layout=w.Layout(width="auto"),
            tooltip="Measure at several, one after the other, and draw them as a heat map",
        )  # fmt: skip
        super().__init__([self.slider, self.box, *([w.Label(unit)] if unit else []), self.several])
        self.add_class(css)
        self.slider.observe(self._slid, "value")
        self.box.observe(self._typed, "value")
        self.several.observe(self._pressed, "value")

    @property
    def value(self) -> int | str:
        """The length as typed or slid, not checked; several as they were typed."""
        try:
            return int(self.box.value)
        except ValueError:
            return str(self.box.value)

    @value.setter
    def value(self, value: Any) -> None:
        self.box.value = _as_text(value)

    @property
    def first(self) -> int:
        """The length, or the first of several; where neither can be read, where the slider is."""
        return _first(self.box.value) or int(self.slider.value)

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when the value changed."""
        self.box.observe(callback, "value")

    # Each sets the other only if that one stands elsewhere, so a change never comes back.
    def _slid(self, change: Any) -> None:
        if self._step(self.box.value) != change["new"]:
            self.box.value = str(change["new"])

    def _typed(self, change: Any) -> None:
        self.several.value = _is_several(change["new"])
        self.box.layout.width = _width(change["new"])
        if not self.several.value:
            self._former = change["new"]
        self.slider.value = self._step(change["new"])

    def _pressed(self, change: Any) -> None:
        if change["new"] != _is_several(self.box.value):
            low = max(1, self.first // 4)
            around = [n for n in (low, 4 * low, 16 * low) if n <= max(self._steps)]
            self.box.value = _as_text(around) if change["new"] else self._former

    def _step(self, text: str) -> int:
        return nearest(self._steps, _first(text) or self._steps[0])


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(str(n) for n in (value if isinstance(value, Iterable) else [value]))


def _width(text: str) -> str:
    return "160px" if _is_several(text) else "76px"


def _several(text: str) -> tuple[int, ...]:
    try:
        return levels(text, most=10**9)
    except SettingsError:
        return ()


def _first(text: str) -> int | None:
    return next(iter(_several(text)), None)


def _is_several(text: str) -> bool:
    return len(_several(text)) > 1


class LevelsField(w.HBox):
    """The levels of one axis: the range slider walks doublings, the box takes any, or ``auto``.

    Parameters
    ----------
    css, value : str
        What it is called in the page, and what stands in the box at first.
    usual : str
        What stands there once a search is called off.
    steps : sequence of float
        Where the slider can stand.
    read : callable
        Reads what is typed; raises SettingsError for what isn't understood.
    tooltip, example : str
        What a level is, and what may be typed.
    """

    def __init__(
        self, css: str, value: str, usual: str, steps: Sequence[float],
        read: Callable[[str], Sequence[float]], tooltip: str, example: str,
    ) -> None:  # fmt: skip
        self._steps, self._read, self._former = steps, read, usual
        self.slider = w.SelectionRangeSlider(
            options=steps, value=self._ends(value) or self._ends(usual), readout=False,
            continuous_update=True, tooltip=tooltip, layout=w.Layout(width="180px"),
        )  # fmt: skip
        self.box = w.Text(
            value=value, continuous_update=False, layout=w.Layout(width="92px"),
            tooltip=f"{tooltip}; {example}, or auto",
        )  # fmt: skip
        self.auto = w.ToggleButton(
            value=is_auto(value), description="auto", layout=w.Layout(width="auto"),
            tooltip="Find it: double the level until a limit breaks or, without limits, throughput "
            "stops rising, and close in on where that is",
        )  # fmt: skip
        super().__init__([self.slider, self.box, self.auto])
        for name, field in ((css, self), ("auto", self.auto)):
            field.add_class(f"tp-{name}")
        self.slider.observe(self._slid, "value")
        self.box.observe(self._typed, "value")
        self.auto.observe(self._pressed, "value")

    @property
    def value(self) -> str:
        """The levels as typed or slid; not checked."""
        return str(self.box.value)

    @value.setter
    def value(self, value: str) -> None:
        self.box.value = value

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when the value changed."""
        self.box.observe(callback, "value")

    def _slid(self, change: Any) -> None:
        if self._ends(self.box.value) != change["new"]:
            low, high = change["new"]
            self.box.value = f"{low:g}" if low == high else f"{low:g}-{high:g}"

    def _typed(self, change: Any) -> None:
        self.auto.value = is_auto(change["new"])
        if not self.auto.value:
            self._former = change["new"]
        self.slider.value = self._ends(change["new"]) or self.slider.value

    def _pressed(self, change: Any) -> None:
        if change["new"] != is_auto(self.box.value):
            self.box.value = "auto" if change["new"] else self._former

    def _ends(self, text: str) -> tuple[float, float] | None:
        """Return where the slider stands for a text; None for what isn't understood."""
        try:
            walked = self._read(text)
        except SettingsError:
            return None
        return nearest(self._steps, min(walked)), nearest(self._steps, max(walked))


def is_auto(text: str) -> bool:
    """Tell whether levels are to be searched for, be it that how far isn't understood."""
    return text.strip().lower().startswith("auto")


class Fold(w.ToggleButton):
    """A button that shows some settings, and hides them again."""

    def __init__(
        self, settings: w.Widget, name: str, tooltip: str, *, opened: bool = False
    ) -> None:
        self._settings = settings
        super().__init__(
            value=opened, description=name, tooltip=tooltip, layout=w.Layout(width="auto")
        )
        self.observe(self._show, "value")
        self._show()

    def _show(self, _: Any = None) -> None:
        self._settings.layout.display = None if self.value else "none"
        self.icon = "caret-down" if self.value else "caret-right"
