"""The runs that a dashboard keeps side by side."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ..cost.at_point import own_cost
from ..metrics.slo import Limits
from ..run import Run
from ..words import are_whole

_KEEP = 5


class History:
    """The last few runs, each with the name that it keeps."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        """Oldest first."""
        self.most = _KEEP
        """How many are kept: all of a sweep. So many are drawn as usually are kept."""
        self._names: WeakKeyDictionary[Run, str] = WeakKeyDictionary()
        self._count = 0
        self._drawn: tuple[Any, list[dict[str, Any]]] = (None, [])

    @property
    def last(self) -> Run | None:
        """The newest run in which something was measured."""
        return self.runs[-1] if self.runs else None

    def counted(self, run: Run | None) -> tuple[str, Run | None]:
        """Return how code calls a dashboard's run, and it; the last one while it has no point."""
        if self.runs and not (run is not None and run.windows):
            return "explorer.runs[-1]", self.last
        return "explorer.run", run

    @property
    def next_name(self) -> str:
        """What the run under way will be called."""
        return f"run {self._count + 1}"

    def make_room(self, runs: int) -> None:
        """Be about to take in so many that belong together."""
        self.most = max(_KEEP, runs)

    def keep(self, run: Run) -> None:
        """Keep a run; one that was stopped before its first window pushes no other out."""
        if run.windows and run not in self._names:
            self._names[run] = self.next_name
            self._count += 1
            self.runs = [*self.runs, run][-self.most :]

    def forget(self) -> None:
        """Keep the newest run alone; it keeps its name."""
        self.runs = self.runs[-1:]

    def judge(self, bounds: Mapping[str, float]) -> None:
        """Judge the newest run by these limits; it keeps its name and its place."""
        last, limits = self.last, Limits.of(bounds)
        if last is not None and last.limits != limits:
            judged = last.with_limits(limits)
            self._names[judged] = self._names[last]
            self.runs = [*self.runs[:-1], judged]

    def adopt(self, former: "History") -> None:
        """Put another history before this one."""
        self.most = max(self.most, former.most)
        self.runs = [*former.runs, *self.runs][-self.most :]
        self._names.update(former._names)
        self._count += former._count

    def rows(self, endpoint: str | None, current: Run | None) -> list[dict[str, Any]]:
        """Return the rows that a board draws: the same ones until something is different.

        Parameters
        ----------
        endpoint : str, optional
            Whose price stands above: runs of another endpoint are drawn at their own.
        current : Run, optional
            The one that is not pale.
        """
        state = (endpoint, current, [(run, run.price) for run in self.runs])
        if state == self._drawn[0]:
            return self._drawn[1]
        drawn: list[dict[str, Any]] = []
        for run in self.runs[-_KEEP:]:
            marks: dict[str, Any] = {"run": self._label(run), "current": run is current}
            own = run.conditions["endpoint"] != endpoint
            drawn += [row | marks | (own_cost(row, run.price) if own else {}) for row in run.rows]
        self._drawn = state, drawn
        return drawn

    def answer(self, run: Run, newest: Run | None) -> str:
        """Return a run's answer, with its name before it where it could be taken for another's."""
        name = self._names[run]
        alone = self._count == 1 and newest is not None and self._names.get(newest) == name
        return run.answer() if alone else f"{name}: {run.answer()}"

    def _label(self, run: Run) -> str:
        c = run.conditions
        lengths = f"{c['prompt_tokens_asked']}"
        if not are_whole(run.rows):  # else no tokens come back
            lengths += f" → {c['output_tokens_asked']}"
        return f"{self._names[run]}: {c.get('model') or c.get('endpoint')}, {lengths} tok"
