"""What is taken along from a dashboard: its settings as code, its tables, its run as a file."""

from collections.abc import Callable
from typing import Any

import ipywidgets as w

from ..errors import TpwidgetsError
from ..live.board import Board
from ..measuring.grid import Grid
from ..run import Run, escape
from . import texts
from .controls import Controls
from .pace import Latest

_NOTHING = "Nothing was measured yet."


class Takeaway(w.VBox):
    """Some buttons, and the place below them where it is said what came of them."""

    def __init__(
        self, controls: Controls, board: Board, latest: Callable[[], tuple[str, Run | None]],
        swept: Callable[[], Grid | None], forget: Callable[[], None],
    ) -> None:  # fmt: skip
        self._controls, self._board, self._latest = controls, board, latest
        self._swept = swept
        self._said = w.HTML()
        self._said.add_class("tp-extra")
        self._pages = Latest(self._write, "tpwidgets-report")
        buttons = [
            _button(self._copy_code, "copy-code", "Copy as code",
                    "The call of tp.measure, or tp.sweep, for the settings above"),
            _button(self._show_frame, "dataframe", "DataFrame",
                    "The tables as pandas DataFrames"),
            _button(self._save, "save", "Save",
                    "Save the latest run, or sweep, to a file beside the notebook"),
            _button(self._report, "report", "Report",
                    "Write a page for those who decide: one file that opens offline and prints"),
        ]  # fmt: skip
        self._forget = _button(
            lambda _: forget(), "forget", "Forget earlier runs",
            "Keep the last run alone: the charts show no other",
        )  # fmt: skip
        self.offer(0)
        row = w.Box([*buttons, self._forget])
        row.add_class("tp-row")
        super().__init__([row, self._said])

    def offer(self, runs: int) -> None:
        """Let earlier runs be forgotten, if of so many there are any."""
        self._forget.disabled = runs < 2

    def _copy_code(self, _: Any) -> None:
        controls = self._controls
        try:
            endpoint, settings = controls.endpoint(), controls.settings()
        except TpwidgetsError as error:
            self._complain(error)
            return
        price = controls.price
        code = texts.as_code(endpoint, settings, price.value, price.others)

        def told(copied: bool) -> None:
            head = "Copied:" if copied else "Select and copy:"
            self._said.value = f'{head}<pre class="tp-code">{escape(code)}</pre>'

        told(False)
        self._board.copy(code, told)

    def _show_frame(self, _: Any) -> None:
        grid = self._swept()
        if grid is not None and grid.rows:
            self._said.value = (
                "<code>explorer.grid.points</code> (a row per level of each run; name your "
                "dashboard: <code>explorer = tp.Explorer()</code>)"
                f'<div style="overflow-x:auto">{_table(grid.points)}</div>'
            )
            return
        name, run = self._latest()
        if run is None or not run.samples:
            self._said.value = _NOTHING
            return
        head = run.requests.drop(columns=["token_ms"]).tail(5)
        self._said.value = (
            f"<code>{name}.points</code> (a row per level; name your dashboard: "
            "<code>explorer = tp.Explorer()</code>)"
            f'<div style="overflow-x:auto">{_table(run.points)}</div>'
            f"<code>{name}.requests</code> ({len(run.requests):,} rows; the last five)"
            f'<div style="overflow-x:auto">{_table(head)}</div>'
        )

    def _save(self, _: Any) -> None:
        grid, (_, run) = self._swept(), self._latest()
        try:
            if grid is not None and grid.runs:
                path = grid.save(f"tpwidgets-{_stamp(grid.runs[0])}.zip")
                said = f"grid = tp.Grid.load({str(path)!r})"
            elif run is None or not run.samples:
                self._said.value = _NOTHING
                return
            else:
                path = run.save(f"tpwidgets-{_stamp(run)}.json")
                said = f"run = tp.load({str(path)!r})"
        except TpwidgetsError as error:
            self._complain(error)
        else:
            self._said.value = f"Saved. <code>{escape(said)}</code>"

    def _report(self, _: Any) -> None:
        _, run = self._latest()
        if run is None or not run.samples:
            self._said.value = _NOTHING
            return
        self._said.value = "Writing the page: some seconds."  # pictures are drawn
        self._pages.wish(run)

    def _write(self, run: Run) -> None:
        controls = self._controls
        try:
            path = run.report(
                f"tpwidgets-{_stamp(run)}.html",
                use_case=controls.use_case.value, price=controls.price.all,
                tokens_per_day=controls.price.tokens_per_day,
            )  # fmt: skip
        except TpwidgetsError as error:
            self._complain(error)
        except Exception as error:
            why = escape(f"{type(error).__name__}: {error}")
            self._said.value = f'<span class="tp-bad">The page was not written: {why}</span>'
            raise
        else:
            which = "" if self._swept() is None else ", of the last run alone"
            said = f"Written: <code>{escape(str(path))}</code>, beside the notebook{which}."
            self._said.value = said

    def _complain(self, error: TpwidgetsError) -> None:
        self._said.value = f'<span class="tp-bad">{escape(error)}</span>'


def _stamp(run: Run) -> str:
    """Name a run's files by when it began."""
    return str(run.conditions["date"])[:19].replace(":", "").replace("T", "-")


def _button(press: Callable[[Any], None], css: str, name: str, tooltip: str) -> w.Button:
    layout = w.Layout(width="auto", min_width="90px")
    button = w.Button(description=name, tooltip=tooltip, layout=layout)
    button.add_class(f"tp-{css}")
    button.on_click(press)
    return button


def _table(frame: Any) -> str:
    return str(frame.to_html(index=False, na_rep="–", border=0))
