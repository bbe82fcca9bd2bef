"""Fields: a slider with a box to type into, both of one value. The typed box is the truth."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as w

from ..cost import Price
from ..errors import SettingsError
from ..loads import doublings, levels

_STEPS = tuple(m * 2**e for e in range(4, 17) for m in (1, 1.5))
LENGTHS = (1, 2, 4, 8, *(int(step) for step in _STEPS))
CONCURRENCY = doublings(1, 512)


def nearest(steps: Sequence[int], value: int) -> int:
    """Return the step that is nearest to `value`."""
    index = bisect_left(steps, value)
    around = steps[max(0, index - 1) : index + 1] or steps[-1:]
    return min(around, key=lambda step: abs(step - value))


class LengthField(w.HBox):
    """A length in tokens: the slider walks round numbers, the box takes any."""

    def __init__(self, name: str, css: str, value: int, tooltip: str) -> None:
        self.slider = w.SelectionSlider(
            options=LENGTHS, value=nearest(LENGTHS, value), description=name, readout=False,
            continuous_update=True, tooltip=tooltip, style={"description_width": "initial"},
            layout=w.Layout(width="190px", min_width="150px"),
        )  # fmt: skip
        self.box = w.IntText(
            value=value, tooltip=f"{tooltip} (any number)", layout=w.Layout(width="76px")
        )
        super().__init__([self.slider, self.box, w.Label("tok")])
        self.add_class(css)
        self.slider.observe(self._slid, "value")
        self.box.observe(self._typed, "value")

    @property
    def value(self) -> int:
        """The length as typed or slid; not checked."""
        return int(self.box.value)

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when the value changed."""
        self.box.observe(callback, "value")

    # Each sets the other only if that one stands elsewhere, so a change never comes back.
    def _slid(self, change: Any) -> None:
        if nearest(LENGTHS, self.box.value) != change["new"]:
            self.box.value = change["new"]

    def _typed(self, change: Any) -> None:
        self.slider.value = nearest(LENGTHS, change["new"])


class LevelsField(w.HBox):
    """Concurrency: the range slider walks doublings, the box takes ``1-64`` or ``1, 4, 16``."""

    def __init__(self, value: str) -> None:
        tooltip = "How many requests are in flight at once; a range is walked 1, 2, 4 …"
        self.slider = w.SelectionRangeSlider(
            options=CONCURRENCY, value=_ends(value), description="Concurrency", readout=False,
            continuous_update=True, tooltip=tooltip, style={"description_width": "initial"},
            layout=w.Layout(width="240px", min_width="180px"),
        )  # fmt: skip
        self.box = w.Text(
            value=value, continuous_update=False, layout=w.Layout(width="92px"),
            tooltip="A range such as 1-64, or levels such as 1, 4, 16",
        )  # fmt: skip
        super().__init__([self.slider, self.box])
        self.add_class("tp-concurrency")
        self.slider.observe(self._slid, "value")
        self.box.observe(self._typed, "value")

    @property
    def value(self) -> str:
        """The levels as typed or slid; not checked."""
        return str(self.box.value)

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when the value changed."""
        self.box.observe(callback, "value")

    def _slid(self, change: Any) -> None:
        if _ends(self.box.value) != change["new"]:
            low, high = change["new"]
            self.box.value = str(low) if low == high else f"{low}-{high}"

    def _typed(self, change: Any) -> None:
        self.slider.value = _ends(change["new"]) or self.slider.value


def _ends(text: str) -> tuple[int, int] | None:
    try:
        walked = levels(text)
    except SettingsError:
        return None
    return nearest(CONCURRENCY, min(walked)), nearest(CONCURRENCY, max(walked))


class PriceField(w.HBox):
    """A price by the token or by the hour. Its numbers are linked to the board in the browser."""

    def __init__(self, price: Price | None) -> None:
        by_hour = price is not None and price.hour is not None
        self.basis = w.Dropdown(
            options=[("$ per 1M tokens", "token"), ("$ per hour, own hardware", "hour")],
            value="hour" if by_hour else "token", description="Price",
            style={"description_width": "initial"}, layout=w.Layout(width="246px"),
            tooltip="What is paid for: tokens, or hours of hardware",
        )  # fmt: skip
        p = self._given = price
        self.input = _money("in", p.input if p and not by_hour else 0.0, "$ per 1M input tokens")
        self.output = _money(
            "out", (p.output or 0.0) if p and not by_hour else 0.0, "$ per 1M output tokens"
        )
        self.hour = _money(
            "$/h", (p.hour or 0.0) if p and by_hour else 0.0, "$ per hour and replica"
        )
        self.replicas = w.BoundedIntText(
            value=p.replicas if p and by_hour else 1, min=1, max=100_000, description="×",
            tooltip="How many replicas served what was measured", continuous_update=True,
            style={"description_width": "initial"}, layout=w.Layout(width="76px"),
        )  # fmt: skip
        super().__init__([self.basis, self.input, self.output, self.hour, self.replicas])
        self.add_class("tp-price")
        self.basis.observe(self._show, "value")
        self.links: list[w.Widget] = []
        self._show()

    @property
    def value(self) -> Price | None:
        """The price, or None while it is 0."""
        given = self._given
        if self.basis.value == "hour":
            busy = given.utilisation if given is not None else 1.0
            if not self.hour.value:
                return None
            return Price.per_hour(self.hour.value, self.replicas.value, busy)
        if self.output.value or self.input.value:
            cached = given.cached_input if given is not None else None
            return Price.per_token(self.output.value, self.input.value, cached)
        return None

    @value.setter
    def value(self, price: Price | None) -> None:
        self._given = price
        by_hour = price is not None and price.hour is not None
        self.basis.value = "hour" if by_hour else "token"
        if price is not None and by_hour:
            self.hour.value, self.replicas.value = price.hour, price.replicas
        else:
            self.output.value = (price.output or 0.0) if price else 0.0
            self.input.value = price.input if price else 0.0

    def link(self, board: Any) -> None:
        """Drive the board's numbers in the browser, without a way through the kernel.

        A menu's value is known to the kernel alone, so the basis takes that way.
        """
        if self._given is not None:
            board.utilisation = self._given.utilisation
            board.price_cached_input = self._given.cached_input
        board.price_basis = self.basis.value
        self.basis.observe(lambda change: setattr(board, "price_basis", change["new"]), "value")
        self.links = [
            w.jsdlink((getattr(self, name), "value"), (board, f"price_{name}"))
            for name in ("input", "output", "hour")
        ]
        self.links.append(w.jsdlink((self.replicas, "value"), (board, "replicas")))

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when the price changed."""
        for field in (self.basis, self.input, self.output, self.hour, self.replicas):
            field.observe(callback, "value")

    def _show(self, _: Any = None) -> None:
        for field in (self.input, self.output):
            field.layout.display = None if self.basis.value == "token" else "none"
        for field in (self.hour, self.replicas):
            field.layout.display = None if self.basis.value == "hour" else "none"


def _money(name: str, value: float, tooltip: str) -> w.BoundedFloatText:
    return w.BoundedFloatText(
        value=value, min=0, max=1e9, description=name, tooltip=tooltip, continuous_update=True,
        style={"description_width": "initial"}, layout=w.Layout(width="100px"),
    )  # fmt: skip
