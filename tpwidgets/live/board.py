"""The live board: one widget that draws all charts of a dashboard and takes rows without redrawing.

What changed travels in a custom message, numbered, at most one per call: a view that misses one
asks for everything. The snapshot trait is sent only on request (a page reload, saved state) and by
`Board.commit`, so that nothing is sent twice while a run is going on.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import anywidget
import ipywidgets as w
import traitlets

from ..charts.telling import STATES
from ..metrics.timeline import Timeline
from .layout import board_charts
from .packing import COLUMNS, Rows, Series

_HERE = Path(__file__).parent
_KEY = (
    *STATES,
    {"name": "95 % interval", "shape": "band", "hollow": False},
    {"name": "earlier run", "shape": "pale", "hollow": False},
)


class Board(anywidget.AnyWidget):
    """All charts of a dashboard: TTFT, tokens per second, cost, and the course of the run.

    One thread may call `update`; the browser's questions are answered from any other.

    Attributes
    ----------
    levels : list of float
        Concurrencies, or rates, that will be measured, so that the axis stands still meanwhile.
    limits : dict
        What TTFT and E2E latency should stay below: ``{"ttft_p95_ms": 500}``.
    hint : str
        What an empty chart says.
    fit : list of dict
        A law's curve (`charts.fitted.fitted_rows`) over the throughput; set once a run has ended.
    costs : dict
        What the cost charts, which are computed in the browser, compute with. ``prices``: at most
        three, with the fields of `charts.pricing.price_rows` (a ``name`` instead of ``at`` and
        ``label``); ``per``: which of `charts.pricing.PER`; ``volume``: M output tokens a day
        that are asked about; ``open``: whether the part on cost is shown. A widget may stand for
        any of these values: it is read in the browser, without a way through the kernel.
    """

    levels = traitlets.List(traitlets.Float()).tag(sync=True)
    limits = traitlets.Dict().tag(sync=True)
    hint = traitlets.Unicode("press Measure").tag(sync=True)
    fit: Any = traitlets.List().tag(sync=True)
    costs = traitlets.Dict().tag(sync=True, **w.widget_serialization)

    _charts: Any = traitlets.List().tag(sync=True)
    _columns = traitlets.List(list(COLUMNS)).tag(sync=True)
    _key = traitlets.List(list(_KEY)).tag(sync=True)
    # Never assigned, hence never sent by itself; read afresh whenever the state is asked for.
    _snapshot = traitlets.Any(default_value=()).tag(
        sync=True, to_json=lambda _, board: board._everything
    )

    def __init__(self, **kwargs: Any) -> None:
        esm, css = _bundle()
        self._lock = Lock()
        self._rows, self._series, self._number = Rows(), Series(), 0
        self._copying: dict[int, Callable[[bool], None]] = {}
        self._copies = count()
        self._watching: list[Callable[[], None]] = []
        self._esm, self._css = esm, css
        kwargs.setdefault("layout", {"width": "100%"})
        super().__init__(_charts=board_charts(), **kwargs)
        self.on_msg(self._answer)

    def update(self, rows: Iterable[Mapping[str, Any]], timeline: Timeline | None = None) -> None:
        """Show these operating points, and this course, instead of the former ones.

        Sends what changed, in one message, or nothing. A row that is the same object as before is
        taken to be unchanged.
        """
        with self._lock:  # or an answer to "ready" could overtake with older rows
            news = {
                "points": self._rows.change(rows),
                "series": self._series.change(timeline) if timeline is not None else None,
            }
            if any(news.values()):
                self._number += 1
                found = {name: new for name, new in news.items() if new}
                self.send({"type": "change", "number": self._number, **found})

    def commit(self) -> None:
        """Put the rows into the widget's saved state; call it once, when a run has ended."""
        with self._lock:
            self.send_state("_snapshot")

    def copy(self, text: str, done: Callable[[bool], None] | None = None) -> None:
        """Put a text onto the clipboard of the browser that shows the board.

        Parameters
        ----------
        text
            What to copy.
        done
            Is called once with whether the browser let us.
        """
        number = next(self._copies)
        if done is not None:
            self._copying[number] = done
        self.send({"type": "copy", "id": number, "text": text})

    def viewed(self, callback: Callable[[], None]) -> None:
        """Call back when a view asks for all: a new one, or one that has missed something."""
        self._watching.append(callback)

    def _answer(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("type") == "ready":
            with self._lock:
                self.send({"type": "everything", **self._everything})
            for callback in self._watching:
                callback()
        elif content.get("type") == "copied":
            done = self._copying.pop(content.get("id", -1), None)
            if done is not None:
                done(bool(content.get("ok")))

    @property
    def _everything(self) -> dict[str, Any]:
        """What a view needs that knows nothing."""
        return {"number": self._number, "points": self._rows.all, "series": self._series.all}

    def __repr__(self) -> str:
        return f"<Board: {len(self._rows.packed)} operating points>"


@cache
def _bundle() -> tuple[str, str]:
    script = _HERE / "static" / "board.js"
    if not script.exists():
        raise RuntimeError(
            f"The live board's JavaScript is missing ({script}). In a source checkout, build it "
            "with `python hatch_build.py`; otherwise reinstall tpwidgets."
        )
    return script.read_text("utf-8"), (_HERE / "board.css").read_text("utf-8")
