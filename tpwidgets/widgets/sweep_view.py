"""A sweep over lengths in a dashboard: a heat map that grows cell by cell, or a curve."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets as w

from ..charts.heatmap import offered
from ..cost.price import Price
from ..measuring.grid import Grid
from ..measuring.sweeping import Sweep
from ..metrics.slo import Limits
from ..report.static import grid_answers
from ..run import escape
from .pace import Latest


@dataclass(eq=False)
class _Wish:
    """What is to be drawn."""

    grid: Grid
    limits: Limits | None
    price: Price | None
    ended: bool


class SweepView(w.VBox):
    """Draws a grid, and says below it what each of its runs answers and what could not be measured.

    That takes a while, so it happens in a thread.

    Parameters
    ----------
    drawn : callable
        Is called with a grid that has ended, judged and drawn.
    """

    def __init__(self, drawn: Callable[[Grid], None]) -> None:
        self.grid: Grid | None = None
        """The last grid, by the last limits."""
        self._wish: _Wish | None = None
        self._told: _Wish | None = None
        self._drawn = drawn
        self._known: tuple[int, ...] = ()
        self._menu = w.Dropdown(
            options=[*offered((), None).items()], description="Shown",
            style={"description_width": "initial"}, layout=w.Layout(width="330px"),
            tooltip="What the picture below shows",
        )  # fmt: skip
        self._picture, self._said = w.HTML(), w.HTML()
        for css, part in (("value", self._menu), ("picture", self._picture), ("said", self._said)):
            part.add_class(f"tp-sweep-{css}")
        self._painter = Latest(self._paint, "tpwidgets-heatmap", self._failed)
        self._menu.observe(self._chosen, "value")
        super().__init__([self._menu, self._picture, self._said])
        self.add_class("tp-sweep")
        self.hide()

    def hide(self) -> None:
        """Make place for a single run; the grid stays."""
        self._wish, self._known = None, ()
        self.layout.display = "none"

    def follow(self, sweep: Sweep, limits: Limits | None, price: Price | None) -> None:
        """Draw a sweep that is under way, or has ended, if there is something new."""
        known = sweep.measured
        if known != self._known or sweep.done:
            self._known = known
            self.show(sweep.grid, limits, price, ended=sweep.done)

    def show(self, grid: Grid, limits: Limits | None, price: Price | None, *, ended: bool) -> None:
        """Draw a grid; returns at once."""
        self.grid, self.layout.display = grid, None
        self._wish = _Wish(grid, limits, price, ended)
        self._painter.wish(self._wish)

    def again(self, limits: Limits | None, price: Price | None) -> None:
        """Draw the same by other limits, or at another price."""
        if self.grid is not None and self._wish is not None:
            self.show(self.grid, limits, price, ended=self._wish.ended)

    def _chosen(self, _: Any) -> None:
        if self._wish is not None:
            self._painter.wish(self._wish)

    def _paint(self, wish: _Wish) -> None:
        import vl_convert

        if wish.grid.limits != wish.limits:
            wish.grid = wish.grid.with_limits(wish.limits)
        if wish is not self._wish:
            return  # it was hidden, or another one is to be drawn
        grid = self.grid = wish.grid
        values = offered(grid.rows, wish.price)
        if values != dict(self._menu.options):
            former = self._menu.value
            with self._menu.hold_trait_notifications():
                self._menu.options = [*values.items()]
                known = [*values.values()]
                self._menu.value = former if former in known else known[0]
        spec = grid.picture(self._menu.value, wish.price)
        self._picture.value = _hovering(vl_convert.vegalite_to_svg(spec))
        said = grid_answers(grid, wish.price)
        answers = "".join(f"<div><b>{escape(text)}</b></div>" for text in said)
        notes = "".join(f"<li>{escape(note)}</li>" for note in grid.notes)
        self._said.value = f"{answers}<ul>{notes}</ul>" if notes else answers
        if wish.ended and wish is not self._told:
            self._told = wish
            self._drawn(grid)

    def _failed(self, wish: _Wish, error: Exception) -> None:
        if wish is self._wish:
            why = escape(f"{type(error).__name__}: {error}")
            self._picture.value = ""
            self._said.value = f'<span class="tp-bad">This could not be drawn: {why}</span>'


def _hovering(svg: str) -> str:
    """Have each mark tell, where the pointer rests, what it tells those who can't see it."""

    def titled(mark: re.Match[str]) -> str:
        opened, told, closed = mark.groups()
        title = f"<title>{told.replace('; ', '&#10;')}</title>"
        name = opened[1 : opened.index(" ")]
        return f"{opened}>{title}" + (f"</{name}>" if closed else "")

    return re.sub(r'(<(?:path|text) aria-label="[^"]*?(at: [^"]*)"[^>]*?)(/?)>', titled, svg)
