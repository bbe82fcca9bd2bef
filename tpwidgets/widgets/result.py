"""The plain output of a finished run, which is still there when there is no kernel."""

import threading
from typing import Any

import ipywidgets as w

from ..measuring.grid import Grid
from ..run import Run
from . import cells
from .pace import Latest

_EMPTY = {"text/plain": "", "text/html": ""}
# true in every page: one that is still open where the cell was run does follow
_STALE = (
    "<small>The notebook was opened again, or its page loaded anew, since this cell was run: the "
    "plain output below may be that of an earlier run. Run this cell again, and it is the latest "
    "one's.</small>"
)


class Result:
    """A place in a cell's output that is filled with picture, answer, table and conditions.

    The picture takes a while to draw, so that happens in a thread; the latest request wins.
    A page that is loaded later than the cell was run shows what was saved, and can't be reached.

    Attributes
    ----------
    note : ipywidgets.HTML
        Says so once a result is shown that such a page won't have.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._drawn: dict[str, str] = _EMPTY
        self._page: str | None = None
        self._elsewhere = False
        self.note = w.HTML()
        self.note.add_class("tp-stale")
        self._latest = Latest(self._draw, "tpwidgets-picture")

    def place(self) -> None:
        """Reserve the place in the output of the cell that is being run."""
        from IPython.display import display

        handle = display(self._drawn, raw=True, display_id=True)
        if handle is not None:
            self._handles.append(handle)
        self._page, self._elsewhere, self.note.value = None, False, ""

    def viewed(self) -> None:
        """Note that the dashboard has appeared, perhaps in a page that has lost the place."""
        page = cells.page()
        self._page = self._page or page
        if page is not None and page != self._page:
            self._elsewhere = True

    def warm_up(self) -> None:
        """Import what drawing takes while a measurement is still going on."""
        import importlib

        threading.Thread(target=importlib.import_module, args=("vl_convert",), daemon=True).start()

    def show(self, run: Run | Grid) -> None:
        """Fill the place with a run, or with a sweep's map; returns at once."""
        if self._elsewhere:
            self.note.value = _STALE
        self._latest.wish(run)

    def _draw(self, run: Run | Grid) -> None:
        from ..report.static import grid_bundle, result_bundle

        self._drawn = grid_bundle(run) if isinstance(run, Grid) else result_bundle(run)
        for handle in self._handles:
            handle.update(self._drawn, raw=True)
