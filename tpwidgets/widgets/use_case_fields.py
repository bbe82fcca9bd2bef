"""A use case in a dashboard: which one, its assumptions, and what a run says of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets as w

from ..run import Run, escape
from ..use_cases.kpi import answer_for
from ..use_cases.presets import USE_CASES, Assumption, UseCase
from .closing import close_all
from .fields import Fold
from .pace import Latest

_FIT: dict[str, Any] = {"description_width": "initial"}


class UseCaseFields(w.VBox):
    """A menu of use cases and, below it, what the chosen one takes for granted, to be changed.

    Parameters
    ----------
    case : UseCase or None
        Which one is chosen at first.
    """

    def __init__(self, case: UseCase | None) -> None:
        self._case = case
        self._cases = USE_CASES | ({case.name: case} if case is not None else {})
        self._listeners: list[Callable[[UseCase | None, UseCase | None], None]] = []
        self._boxes: dict[str, w.BoundedFloatText] = {}
        self._sources: dict[str, w.HTML] = {}
        self._menu = w.Dropdown(
            options=[("none", ""), *((known.title, name) for name, known in self._cases.items())],
            value=case.name if case is not None else "", description="Use case", style=_FIT,
            layout=w.Layout(width="330px"),
            tooltip="Sets lengths, load and limits to a use case's, and answers in its terms",
        )  # fmt: skip
        self._about = w.HTML()
        self._assumptions = w.Box()
        self._fold = Fold(
            self._assumptions, "assumptions", "What the use case takes for granted", opened=True
        )
        row = w.Box([self._menu, self._fold, self._about])
        for css, widget in {
            "use-case": self._menu, "about": self._about, "assumptions": self._assumptions,
            "fold": self._fold, "row": row,
        }.items():  # fmt: skip
            widget.add_class(f"tp-{css}")
        super().__init__([row, self._assumptions])
        self._menu.observe(self._chosen, "value")
        self._show()

    @property
    def value(self) -> UseCase | None:
        """The use case that is chosen, with its assumptions as they stand."""
        return self._case

    def changed(self, callback: Callable[[UseCase | None, UseCase | None], None]) -> None:
        """Call back, with the former use case and the new one, when another or otherwise."""
        self._listeners.append(callback)

    def follow(self, limits: dict[str, float]) -> None:
        """Take a limit that was set elsewhere for what is assumed, where it may be that."""
        for a in self._case.assumptions if self._case is not None else ():
            if a.part == "limit" and a.low <= limits.get(a.name, 0) <= a.high:
                self._boxes[a.name].value = limits[a.name]

    def _chosen(self, change: Any) -> None:
        former, self._case = self._case, self._cases.get(change["new"])
        self._show()
        self._tell(former)

    def _set(self, name: str, change: Any) -> None:
        former = self._case
        if former is not None and former[name] != change["new"]:
            self._case = case = former.with_assumptions(**{name: change["new"]})
            self._sources[name].value = _source(next(a for a in case.assumptions if a.name == name))
            self._tell(former)

    def _tell(self, former: UseCase | None) -> None:
        for listener in self._listeners:
            listener(former, self._case)

    def _show(self) -> None:
        case = self._case
        former = self._assumptions.children
        assumptions = case.assumptions if case is not None else ()
        self._boxes = {a.name: _box(a) for a in assumptions}
        self._sources = {a.name: w.HTML(_source(a)) for a in assumptions}
        for name, box in self._boxes.items():
            box.observe(partial(self._set, name), "value")
        self._assumptions.children = [
            _with_source(a, self._boxes[a.name], self._sources[a.name]) for a in assumptions
        ]
        for widget in former:
            close_all(widget)
        self._about.value = f"<small>{escape(case.description)}</small>" if case else ""
        self._fold.layout.display = None if case is not None else "none"


class KpiLine(w.HTML):
    """What a run says of a use case. It is worked out in a thread: a day is played through."""

    def __init__(self) -> None:
        super().__init__()
        self.add_class("tp-kpi")
        self._latest = Latest(self._work_out, "tpwidgets-kpi", self._failed)
        self._asked: tuple[Run | None, UseCase | None] = None, None

    def tell(self, run: Run | None, case: UseCase | None) -> None:
        """Say it, or nothing where there is no run or no use case; returns at once."""
        self._asked = asked = run, case
        # what stood there was of another run, or of another case
        self._say(asked, "being worked out")
        self._latest.wish(asked)

    def _work_out(self, asked: tuple[Run | None, UseCase | None]) -> None:
        run, case = asked
        if run is not None and case is not None:
            self._say(asked, str(answer_for(run, case)))

    def _failed(self, asked: tuple[Run | None, UseCase | None], error: Exception) -> None:
        self._say(asked, f"could not be worked out ({type(error).__name__}: {error})")

    def _say(self, asked: tuple[Run | None, UseCase | None], text: str) -> None:
        run, case = asked
        if asked is self._asked:  # else something else was asked meanwhile
            known = run is not None and case is not None
            self.value = f"<b>{escape(case.title)}</b>: {escape(text)}" if known and case else ""


def _box(a: Assumption) -> w.BoundedFloatText:
    return w.BoundedFloatText(
        value=a.value, min=a.low, max=a.high, step=a.step, description=a.label, style=_FIT,
        tooltip=a.source, layout=w.Layout(width="auto"),
    )  # fmt: skip


def _source(a: Assumption) -> str:
    return f"<small>{escape(a.source)}</small>"


def _with_source(a: Assumption, box: w.BoundedFloatText, source: w.HTML) -> w.Box:
    """Put an assumption's unit behind it, and its source below."""
    place = w.VBox([w.HBox([box, w.Label(a.unit)]), source])
    for css, widget in ((a.name.replace("_", "-"), box), ("source", source)):
        widget.add_class(f"tp-{css}")
    return place
