"""The plain output of a finished run, which is still there when there is no kernel."""

import threading
from typing import Any

from ..measuring.grid import Grid
from ..run import Run
from .pace import Latest

_EMPTY = {"text/plain": "", "text/html": ""}


class Result:
    """A place in a cell's output that is filled with picture, answer, table and conditions.

    The picture takes a while to draw, so that happens in a thread; the latest request wins.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._drawn: dict[str, str] = _EMPTY
        self._latest = Latest(self._draw, "tpwidgets-picture")

    def place(self) -> None:
        """Reserve the place in the output of the cell that is being run."""
        from IPython.display import display

        handle = display(self._drawn, raw=True, display_id=True)
        if handle is not None:
            self._handles.append(handle)

    def warm_up(self) -> None:
        """Import what drawing takes while a measurement is still going on."""
        import importlib

        threading.Thread(target=importlib.import_module, args=("vl_convert",), daemon=True).start()

    def show(self, run: Run | Grid) -> None:
        """Fill the place with a run, or with a sweep's map; returns at once."""
        self._latest.wish(run)

    def _draw(self, run: Run | Grid) -> None:
        from ..report.static import grid_bundle, result_bundle

        self._drawn = grid_bundle(run) if isinstance(run, Grid) else result_bundle(run)
        for handle in self._handles:
            handle.update(self._drawn, raw=True)
