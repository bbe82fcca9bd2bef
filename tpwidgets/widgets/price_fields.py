"""What it costs: up to three prices side by side, and where each is from.

The board reads these fields in the browser (`tpwidgets.live.board.Board.costs`).
"""

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import ipywidgets as w

from ..charts.pricing import MOST, PER
from ..cost.price import Price
from ..run import escape
from .closing import close_all
from .fields import Fold

_FIT: dict[str, Any] = {"description_width": "initial"}


class PriceFields(w.VBox):
    """The price of what is measured, and others to compare it with.

    Parameters
    ----------
    prices : Price or iterable of Price, optional
        What stands there at first, that of what is measured first; None: nothing yet.
    """

    def __init__(self, prices: Price | Iterable[Price] | None = None) -> None:
        given = [prices] if isinstance(prices, Price) else list(prices or ())
        self._board: Any = None
        self._listeners: list[Callable[[Any], None]] = []
        self._beside: list[PriceRow] = []
        self.first = PriceRow("Price", self._changed)
        self.first.set(given[0] if given else None)
        self._others = w.VBox()
        self.per = w.Dropdown(
            options=[(name.removeprefix("$ per "), of) for of, (_, name) in PER.items()],
            description="per", style=_FIT, layout=w.Layout(width="auto"),
            tooltip="What cost is told per, in the charts",
        )  # fmt: skip
        self.compare = w.Button(
            description="Compare", icon="plus", layout=w.Layout(width="auto"),
            tooltip="Add another price: an API's beside own hardware, say",
        )  # fmt: skip
        self.compare.on_click(lambda _: self.add())
        self.volume = w.BoundedFloatText(
            value=0, min=0, max=1e9, description="M output tokens a day", style=_FIT,
            layout=w.Layout(width="220px"),
            tooltip="A volume to compare own hardware and an API at; 0: none",
        )  # fmt: skip
        self.fold = Fold(
            self.volume, "Cost", "Cost against TTFT, and own hardware against an API, by the day"
        )
        row = w.Box([self.first.row, self.per, self.compare, self.fold, self.volume])
        row.add_class("tp-row")
        super().__init__([row, self.first.more, self._others])
        for name, field in {
            "per": self.per, "compare": self.compare, "cost": self.fold, "volume": self.volume,
        }.items():  # fmt: skip
            field.add_class(f"tp-{name}")
        for other in given[1:]:
            self.add(other)

    @property
    def rows(self) -> list["PriceRow"]:
        """The prices' rows, that of what is measured first."""
        return [self.first, *self._beside]

    @property
    def value(self) -> Price | None:
        """The price of what is measured; None while it is unknown."""
        return self.first.value

    @property
    def others(self) -> list[Price]:
        """The known prices beside it; none while it is unknown, or one would take its place."""
        return self.all[1:]

    @property
    def all(self) -> list[Price]:
        """All known prices, that of what is measured first; none while that one is unknown."""
        if self.value is None:
            return []
        return [price for row in self.rows if (price := row.value) is not None]

    @property
    def own_and_api(self) -> tuple[Price, Price] | None:
        """The first price by the hour and the first by the token; None unless there are both."""
        own, api = ([p for p in self.all if (p.hour is None) is by_token]
                    for by_token in (False, True))  # fmt: skip
        return (own[0], api[0]) if own and api else None

    @property
    def tokens_per_day(self) -> float | None:
        """The volume to compare these at, output tokens a day; None where none is asked about."""
        return 1e6 * self.volume.value or None if self.own_and_api else None

    def add(self, price: Price | None = None) -> None:
        """Add a row, unless there are three; without a price it is of the other kind."""
        if len(self.rows) >= MOST:
            return
        row = PriceRow("or", self._changed, self._remove)
        row.set(price)
        if price is None:
            row.basis.value = "token" if self.first.basis.value == "hour" else "hour"
        self._place([*self._beside, row])

    def link(self, board: Any) -> None:
        """Let a board read the fields in the browser."""
        self._board = board
        self._publish()

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when a price changed, or there is another one."""
        self._listeners.append(callback)

    def _remove(self, row: "PriceRow") -> None:
        self._place([other for other in self._beside if other is not row])
        for part in row.parts:
            close_all(part)

    def _place(self, beside: "list[PriceRow]") -> None:
        self._beside = beside
        self._others.children = [part for row in beside for part in row.parts]
        self.compare.disabled = len(self.rows) >= MOST
        self._changed()

    def _changed(self) -> None:
        self._publish()
        for listener in self._listeners:
            listener(None)

    def _publish(self) -> None:
        if self._board is not None:
            self._board.costs = {
                "prices": [row.live for row in self.rows],
                "per": self.per,
                "volume": self.volume,
                "open": self.fold,
            }


class PriceRow:
    """The fields of a price by the token or by the hour, and where it is from.

    Fields that nobody touched stand at 0 and mean nothing; a 0 that was typed is a price.

    Parameters
    ----------
    title : str
        What stands before it.
    changed : callable
        Is called when the price changed.
    remove : callable, optional
        Is called with the row when its button is pressed; None: it has none.
    """

    def __init__(
        self,
        title: str,
        changed: Callable[[], None],
        remove: "Callable[[PriceRow], None] | None" = None,
    ) -> None:
        self._changed = changed
        self._given: Price | None = None
        self._said, self._setting = "", False
        self._touched: set[w.Widget] = set()
        """The fields that were typed into since a price was set."""
        self.basis = w.Dropdown(
            options=[("$ per 1M tokens", "token"), ("$ per hour, own hardware", "hour")],
            description=title, style=_FIT, layout=w.Layout(width="246px"),
            tooltip="What is paid for: tokens, or hours of hardware",
        )  # fmt: skip
        self.input = _money("in", "$ per 1M input tokens")
        self.output = _money("out", "$ per 1M output tokens")
        self.hour = _money("$/h", "$ per hour and replica")
        self.replicas = w.BoundedIntText(
            value=1, min=1, max=100_000, description="×", continuous_update=True, style=_FIT,
            tooltip="How many replicas served what was measured", layout=w.Layout(width="76px"),
        )  # fmt: skip
        self.cached_input = _perhaps("cached in", "$ per 1M cached input tokens; empty: as others")
        self.reasoning = _perhaps("reasoning", "$ per 1M reasoning tokens; empty: as others")
        self.off_pct = w.BoundedFloatText(
            value=0, min=0, max=100, description="% off", continuous_update=True, style=_FIT,
            tooltip="What a batch tier takes off (most: 50), or a contract",
            layout=w.Layout(width="110px"),
        )  # fmt: skip
        self.busy_pct = w.BoundedFloatText(
            value=100, min=0.01, max=100, description="busy (%)", continuous_update=True,
            style=_FIT, tooltip="The share of the hours paid for in which it is as busy as "
            "measured", layout=w.Layout(width="130px"),
        )  # fmt: skip
        self.note = w.HTML()
        self.note.add_class("tp-priced")
        self._by_token = self.input, self.output, self.cached_input, self.reasoning, self.off_pct
        self._by_hour = self.hour, self.replicas, self.busy_pct
        self.more = w.Box([self.cached_input, self.reasoning, self.off_pct, self.busy_pct])
        self.more.add_class("tp-row")
        opens = Fold(self.more, "more", "Cached input, reasoning, a batch tier; utilisation")
        parts: list[w.Widget] = [
            self.basis, self.input, self.output, self.hour, self.replicas, opens,
        ]  # fmt: skip
        if remove is not None:
            away = w.Button(icon="times", tooltip="Remove", layout=w.Layout(width="34px"))
            away.on_click(lambda _: remove(self))
            parts.append(away)
        self.row = w.HBox([*parts, self.note])
        self.row.add_class("tp-price")
        self.parts = self.row, self.more
        self._as_set = self._state()
        for field in self._fields:
            field.observe(self._typed, "value")
        self._show()

    @property
    def value(self) -> Price | None:
        """The price; None while it is unknown. Until it is edited it is the one that was set."""
        if not self.edited:
            return self._given
        by_hour = self.basis.value == "hour"
        told = (self.hour,) if by_hour else (self.output, self.input)
        if not any(field.value or field in self._touched for field in told):
            return None  # only the kind was chosen
        if by_hour:
            busy = round(self.busy_pct.value / 100, 8)
            return Price.per_hour(self.hour.value, self.replicas.value, busy)
        usual, thought = (_amount(field.value) for field in (self.cached_input, self.reasoning))
        found = Price.per_token(self.output.value, self.input.value, usual, reasoning=thought)
        return found.batched(self.off_pct.value / 100) if self.off_pct.value else found

    @property
    def edited(self) -> bool:
        """Whether anything was typed since the price was set, or where none was."""
        return self._state() != self._as_set or (self._given is None and bool(self._touched))

    def set(self, price: Price | None, said: str = "") -> None:
        """Put a price into the fields, and say beside them where it is from.

        Parameters
        ----------
        price
            None: nothing is known.
        said
            Where it is from; "": as the price itself says.
        """
        by_hour = price is not None and price.hour is not None
        p = price or Price.per_token(0.0)
        wanted: dict[w.Widget, Any] = {self.basis: "hour" if by_hour else "token"}
        if by_hour:
            busy = round(100 * p.utilisation, 6)
            wanted |= {self.hour: p.hour, self.replicas: p.replicas, self.busy_pct: busy}
        else:
            wanted |= {
                self.output: p.output, self.input: p.input, self.off_pct: 0.0,
                self.cached_input: _written(p.cached_input), self.reasoning: _written(p.reasoning),
            }  # fmt: skip
        self._given, self._said = price, said or (p.origin and f"price: {p.origin}")
        self._setting = True
        for field, value in wanted.items():
            field.value = value
        self._setting, self._as_set = False, self._state()
        self._touched.clear()
        self._typed()

    @property
    def live(self) -> dict[str, Any]:
        """The row as `Board.costs` has it: the fields stand for their values."""
        given = None if self.edited else self._given
        name, tiers = (given.name, given.tiers) if given is not None else ("", ())
        fields = ("output", "input", "cached_input", "reasoning", "off_pct", "hour", "replicas",
                  "busy_pct")  # fmt: skip
        numbers = {of: getattr(self, of) for of in fields}
        return {
            "name": name, "free": bool(self._is_free), "hourly": self.basis, **numbers,
            "tiers": [tier._asdict() for tier in tiers],
        }  # fmt: skip

    @property
    def _is_free(self) -> bool | None:
        """Whether it costs nothing; None while the price is unknown."""
        price = self.value
        if price is None:
            return None
        parts = price.hour, price.output, price.input, price.cached_input, price.reasoning
        return not any(parts)

    @property
    def _fields(self) -> tuple[Any, ...]:
        return (self.basis, *self._by_token, *self._by_hour)

    def _state(self) -> dict[w.Widget, Any]:
        return {field: field.value for field in self._fields}

    def _typed(self, change: Any = None) -> None:
        if not self._setting:
            if change is not None and change["owner"] is not self.basis:
                self._touched.add(change["owner"])
            self._show()
            self._changed()

    def _show(self) -> None:
        by_token = self.basis.value == "token"
        for fields, shown in ((self._by_token, by_token), (self._by_hour, not by_token)):
            for field in fields:
                field.layout.display = None if shown else "none"
        odd = [
            field.description for field in (self.cached_input, self.reasoning)
            if by_token and field.value.strip() and _amount(field.value) is None
        ]  # fmt: skip
        said = self._said
        if self.edited:
            said = {None: "", True: "your own: free of charge", False: "your own"}[self._is_free]
        self.note.value = (
            f'<small class="tp-bad">{" and ".join(odd)}: a number of $, or nothing</small>'
            if odd else f"<small>{escape(said)}</small>"
        )  # fmt: skip


def _money(name: str, tooltip: str) -> w.BoundedFloatText:
    return w.BoundedFloatText(
        value=0, min=0, max=1e9, description=name, tooltip=tooltip, continuous_update=True,
        style=_FIT, layout=w.Layout(width="100px"),
    )  # fmt: skip


def _perhaps(name: str, tooltip: str) -> w.Text:
    """Make a field for a price that may be left out, which a box for numbers can't be."""
    return w.Text(
        description=name, tooltip=tooltip, placeholder="as others", continuous_update=True,
        style=_FIT, layout=w.Layout(width="160px"),
    )  # fmt: skip


def _amount(typed: str) -> float | None:
    """Return what was typed as USD; None for nothing and for what is none, as costs.js does."""
    try:
        value = float(typed)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None


def _written(price: float | None) -> str:
    return "" if price is None else f"{price:.10g}"
