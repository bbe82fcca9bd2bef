"""The fitted curve in a dashboard: whether it is drawn, and what it says or why there is none."""

from typing import Any

import ipywidgets as w

from ..charts.fitted import fitted_rows
from ..errors import MeasurementError
from ..live.board import Board
from ..run import Run, escape


class FittedCurve(w.Box):
    """A button that draws the law fitted to the last run over its throughput, and its words."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._run: Run | None = None
        self._button = w.ToggleButton(
            description="fitted curve", layout=w.Layout(width="auto"),
            tooltip="Draw a law fitted to the throughput measured: between the levels, and up to "
            "twice the highest",
        )  # fmt: skip
        self._line = w.HTML()
        self._button.add_class("tp-fit")
        self._line.add_class("tp-fitted")
        self._button.observe(self._show, "value")
        super().__init__([self._button, self._line])
        self.add_class("tp-row")

    def tell(self, run: Run | None) -> None:
        """Draw the law of this run, if it is wanted; None: of none, while one is under way."""
        if run is not self._run:
            self._run = run
            self._show()

    def _show(self, _: Any = None) -> None:
        rows, text = [], ""
        if self._button.value and self._run is None:
            text = "A law is fitted once a run has ended."
        elif self._button.value and self._run is not None:
            try:
                law = self._run.scaling()
            except MeasurementError as error:
                text = str(error)
            else:
                rows, text = fitted_rows(law), law.text
        self._board.fit = rows
        self._line.value = f"<small>{escape(text)}</small>"
