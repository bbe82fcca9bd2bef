"""The live board: one widget that draws all charts of a dashboard and takes rows without redrawing.

Rows travel in custom messages, one per call; the snapshot trait is sent only on request (a page
reload, saved state) and by `Board.commit`, so that nothing is sent twice while a run is going on.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import anywidget
import traitlets

from ..chart_layers import STATES
from ..charts import PRICE, board_charts, clean_rows

_HERE = Path(__file__).parent
_KEY = (
    *STATES,
    {"name": "95 % interval", "shape": "band", "hollow": False},
    {"name": "earlier run", "shape": "pale", "hollow": False},
)


class Board(anywidget.AnyWidget):
    """All charts of a dashboard: TTFT, tokens per second (whole system, per user) and cost.

    One thread may call `update`; the browser's questions are answered from any other. The price
    traits are named as in `charts.PRICE` and can be driven by ``ipywidgets.jslink``: the cost
    chart is computed in the browser.

    Attributes
    ----------
    levels : list of int
        Concurrencies that will be measured, so that the axis stands still meanwhile.
    hint : str
        What an empty chart says.
    """

    levels = traitlets.List(traitlets.Int()).tag(sync=True)
    hint = traitlets.Unicode("press Measure").tag(sync=True)
    price_basis = traitlets.Enum(["token", "hour"], PRICE["price_basis"]).tag(sync=True)
    price_input = traitlets.Float(PRICE["price_input"]).tag(sync=True)
    price_cached_input = traitlets.Float(None, allow_none=True).tag(sync=True)
    price_output = traitlets.Float(PRICE["price_output"]).tag(sync=True)
    price_hour = traitlets.Float(PRICE["price_hour"]).tag(sync=True)
    replicas = traitlets.Int(PRICE["replicas"]).tag(sync=True)
    utilisation = traitlets.Float(PRICE["utilisation"]).tag(sync=True)

    _charts: Any = traitlets.List().tag(sync=True)
    _key = traitlets.List(list(_KEY)).tag(sync=True)
    # Never assigned, hence never sent by itself; read afresh whenever the state is asked for.
    _snapshot = traitlets.Any(default_value=()).tag(
        sync=True, to_json=lambda _, board: board._packed
    )

    def __init__(self, **kwargs: Any) -> None:
        esm, css = _bundle()
        self._lock = Lock()
        self._packed: dict[str, Any] = _pack([])
        self._copying: dict[int, Callable[[bool], None]] = {}
        self._copies = count()
        self._esm, self._css = esm, css
        kwargs.setdefault("layout", {"width": "100%"})
        super().__init__(_charts=board_charts(), **kwargs)
        self.on_msg(self._answer)

    def update(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Show these operating points instead of the former ones; one message."""
        packed = _pack(clean_rows(rows))
        with self._lock:  # or an answer to "ready" could overtake with older rows
            self._packed = packed
            self.send({"type": "rows", **packed})

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

    def _answer(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("type") == "ready":
            with self._lock:
                self.send({"type": "rows", **self._packed})
        elif content.get("type") == "copied":
            done = self._copying.pop(content.get("id", -1), None)
            if done is not None:
                done(bool(content.get("ok")))

    def __repr__(self) -> str:
        return f"<Board: {len(self._packed['rows'])} operating points>"


def _pack(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Name each column once instead of once per row: a third of the bytes."""
    cols = list(dict.fromkeys(name for row in rows for name in row))
    return {"cols": cols, "rows": [[row.get(name) for name in cols] for row in rows]}


@cache
def _bundle() -> tuple[str, str]:
    script = _HERE / "static" / "board.js"
    if not script.exists():
        raise RuntimeError(
            f"The live board's JavaScript is missing ({script}). In a source checkout, build it "
            "with `python hatch_build.py`; otherwise reinstall tpwidgets."
        )
    return script.read_text("utf-8"), (_HERE / "board.css").read_text("utf-8")
