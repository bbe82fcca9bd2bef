"""What a dashboard's board shows: the run under way over the earlier ones, or the last one."""

from collections.abc import Mapping
from typing import Any

from ..live.board import Board
from ..measuring.measurement import Measurement
from ..metrics.timeline import Timeline
from ..workload.loads import Load
from ..workload.rates import OpenLoad
from .fitted import FittedCurve
from .history import History


class Drawing:
    """Gives a board its rows; from one thread at a time."""

    def __init__(self, board: Board, history: History, fitted: FittedCurve) -> None:
        self._board, self._history, self._fitted = board, history, fitted
        self.timeline: Timeline | None = None
        """The last one that has a point: what stays when nothing runs any more."""
        self._marked: tuple[Any, list[dict[str, Any]]] = (None, [])

    def plan(self, load: Load | OpenLoad) -> None:
        """Let the axis stand still from the start, where it is known how far it goes."""
        self._board.levels = [] if load.auto else list(load.levels)

    def limit(self, limits: Mapping[str, float]) -> None:
        """Draw these limits, those that are latencies."""
        self._board.limits = {n: bound for n, bound in limits.items() if n != "error_rate"}

    def keep(self, timeline: Timeline) -> None:
        """Keep the course of a run, unless nothing came in it."""
        if timeline.points:
            self.timeline = timeline

    def draw(self, measurement: Measurement | None) -> None:
        """Draw what is under way over the earlier runs, or the last run as current."""
        last = self._history.last
        if measurement is not None and not measurement.done:
            self.keep(measurement.timeline)
            rows = measurement.rows
            if rows is not self._marked[0]:
                marks = {"run": self._history.next_name, "current": True}
                self._marked = rows, [row | marks for row in rows]
            drawn = self._history.rows(measurement.endpoint.label, None)
            self._fitted.tell(None)
            self._board.update(drawn + self._marked[1], measurement.timeline)
        else:
            endpoint = last.conditions["endpoint"] if last is not None else None
            self._board.update(self._history.rows(endpoint, last), self.timeline)
            self._fitted.tell(last)
