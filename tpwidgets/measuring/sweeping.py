"""sweep: over prompt length, output length or batch, beside the load's levels; a run for each."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..cost.price import Price, known
from ..endpoints.endpoint import Endpoint, resolve
from ..engine.budget import TokenPurse
from ..errors import EndpointError, TpwidgetsError, refuse_unknown
from ..words import level, per_second
from .api import SETTINGS, start, waited
from .grid import COLUMNS, Grid, said
from .measurement import Measurement, Progress
from .meter import Live
from .politeness import ask_first
from .shapes import Plan
from .underway import UnderWay

if TYPE_CHECKING:
    from ..run import Run

_SPENT = {"spend_limit_usd": "spent_usd", "token_limit": "tokens_used"}
"""The limits that are for all runs together, and what a run's conditions call what it took."""


class Sweep(UnderWay[Grid]):
    """Runs that are measured one after the other: look at them, stop them, wait, await.

    It looks like a `Measurement`, and with one run it tells what that tells. Listeners
    (`on_update`) are called at most ten times a second, whenever a run ends and once at the end,
    never two at a time.
    """

    def __init__(self, endpoint: "str | Endpoint", plan: Plan) -> None:
        super().__init__(self._walk, "sweep")
        self.plan = plan
        self.ended: list[Run] = []
        """The runs that have ended, failed ones too."""
        self._endpoint, self._settings = endpoint, plan.settings
        self._shapes = plan.shapes
        self._grid = Grid([], dict(plan.axes))
        self._number = 0
        """Which run is under way, from 1."""
        self._before = Live()
        """What the runs before it have used."""
        given = plan.settings
        self._left = {name: given[name] for name in _SPENT if given.get(name) is not None}
        """What the runs to come may spend."""
        self._began_s = self._longest_s = 0.0
        self._stopped = self._over = False
        self._lock = threading.Lock()
        self._begin(self._shapes[0])
        self._thread.start()

    # -- what callers see ----------------------------------------------------------------------

    measurement: Measurement
    """The run under way, or the last one."""

    @property
    def varies(self) -> bool:
        """Whether there is more than one run."""
        return len(self._shapes) > 1

    @property
    def done(self) -> bool:
        """Whether nothing more will be measured."""
        last = self._stopped or self._number == len(self._shapes)
        return self._over or (self.measurement.done and last)

    @property
    def grid(self) -> Grid:
        """The grid as far as it has come: levels that have ended; the finished one once `done`."""
        grid, measurement = self._grid, self.measurement
        if self._future.done() or measurement.done:
            return replace(grid, runs=list(grid.runs))
        run = measurement.run
        run = replace(run, windows=[window for window in run.windows if window.closed])
        return replace(grid, runs=[*grid.runs, *([run] if run.windows else [])])

    @property
    def measured(self) -> tuple[int, int, int]:
        """How far the grid has come, to tell cheaply whether it has changed."""
        grid, now = self._grid, self.measurement
        ended = sum(not row["provisional"] for row in now.rows)
        return len(grid.runs), 0 if now.done else ended, len(grid.failed)

    @property
    def live(self) -> Live:
        """What the last few seconds look like, and what all runs have used.

        Once a run has ended in which nothing came, the figures are of the one before.
        """
        now, before = self.measurement.live, self._before
        if self.measurement.done and now.rps is None and self._number > 1:
            return _added(before, now)
        return _added(now, before)

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        now, number = self.measurement.progress, self._number
        if not self.varies:
            return now
        if self._future.done():
            return self._told
        walked = len(self.plan.load.levels)
        at = (number - 1) * walked + max(1, now.level)
        text = f"{at} of {walked * len(self._shapes)}: {said(self._shapes[number - 1])}"
        left = None
        if now.state == "preparing" or now.remaining_s is None:
            text += f", {now.text}"
        else:
            spent_s = time.monotonic() - self._began_s
            each_s = max(self._longest_s, spent_s + now.remaining_s)
            left = now.remaining_s + each_s * (len(self._shapes) - number)
            text += f", {self._level(now)}, about {left:.0f} s left"
        fraction = (number - 1 + now.fraction) / len(self._shapes)
        levels = walked * len(self._shapes)
        return Progress("running", text, now.concurrency, at, levels, fraction, left)

    @property
    def price(self) -> Price | None:
        """What the runs are priced at; may be set at any time."""
        return self.measurement.price

    @price.setter
    def price(self, price: Price | None) -> None:
        with self._lock:
            self._settings = self._settings | {"price": price}
            self.measurement.price = price
        for run in self._grid.runs:
            run.price = price

    def stop(self) -> None:
        """Break off; what was measured is kept. Returns at once."""
        with self._lock:
            self._stopped = True
            self.measurement.stop()

    def __repr__(self) -> str:
        return f"<Sweep {self.progress.text}: {self.measurement.endpoint.label}>"

    # -- the supervising thread ----------------------------------------------------------------

    def _walk(self) -> None:
        going_on = True
        while going_on:
            with suppress(TpwidgetsError):
                self.measurement.wait()
            going_on = self._take(self.measurement) and self._next()
            if going_on:
                self._tell()
        self._over = True
        self._told = self._at_the_end()
        self._future.set_result(self._grid)
        self._tell()

    def _begin(self, shape: Mapping[str, int]) -> None:
        self._began_s = time.monotonic()
        self.measurement = start(self._endpoint, **{**self._settings, **self._left, **shape})
        self._number += 1
        self.measurement.on_update(self._relay)

    def _next(self) -> bool:
        """Begin the next run that can be; return whether there is one."""
        while self._number < len(self._shapes):
            shape, which = self._shapes[self._number], self._which(self._number + 1)
            with self._lock:
                if self._stopped:
                    self._grid.notes.append(f"stopped before {which}")
                    return False
                try:
                    self._begin(shape)
                except TpwidgetsError as error:
                    self._number += 1
                    self._fail(shape, error)
                    continue
            return True
        return False

    def _take(self, measurement: Measurement) -> bool:
        """Take in a run that has ended; return whether to go on."""
        run, grid = measurement.run, self._grid
        self._longest_s = max(self._longest_s, time.monotonic() - self._began_s)
        for name, left in self._left.items():
            self._left[name] = left - run.conditions.get(_SPENT[name], 0)
        if self._number < len(self._shapes):  # else its figures are the last ones
            self._before = _added(measurement.live, self._before)
        too_long = self._too_long(measurement)
        if not too_long:
            self.ended.append(run)
        if error := too_long or measurement.error:
            self._fail(self._shapes[self._number - 1], error)
            return not self._stopped
        grid.runs.append(run)
        if self.plan.load.auto:  # of one run, that is: its levels are those that it found
            grid.axes = {self.plan.load.axis: tuple(sorted({level(row) for row in run.rows}))}
        if run.state == "stopped" or measurement.cut_short:
            ended = measurement.cut_short or measurement.progress.text
            grid.notes.append(f"{ended}, in {self._which(self._number)}")
            return False
        return True

    def _fail(self, shape: Mapping[str, int], error: TpwidgetsError) -> None:
        grid = self._grid
        grid.notes.append(": ".join(part for part in (said(shape), str(error)) if part))
        columns = {COLUMNS[name][0]: value for name, value in shape.items()}
        grid.failed.append(columns | {"why": str(error)})
        self._first_error = self._first_error or error

    _first_error: TpwidgetsError | None = None

    def _at_the_end(self) -> Progress:
        """Say how it ended, and keep why nothing could be measured."""
        grid, last = self._grid, self.measurement.progress
        if not grid.runs:
            self.error = self._first_error
        if not self.varies:
            return last
        points = [window for run in grid.runs for window in run.windows]
        requests = sum(len(run.samples) for run in grid.runs)
        text = f"{len(points)} points in {len(grid.runs)} runs, {requests:,} requests"
        text = "; ".join([f"{text} measured", *grid.notes])
        broken = bool(last.state == "stopped" and last.bad)
        state = "done"
        if self.error is not None:
            state, text = "failed", str(self.error)
        elif any(run.state == "stopped" for run in grid.runs) or self._stopped:
            state = "stopped"
        walked = (self._number - 1 + last.fraction) / len(self._shapes)
        fraction = 1.0 if state == "done" else walked
        return Progress(
            state, text, None, len(points), last.levels * len(self._shapes), fraction,
            bad=broken or state == "failed",
        )  # fmt: skip

    _told = Progress()

    def _which(self, number: int) -> str:
        return f"run {number} of {len(self._shapes)}"

    def _level(self, now: Progress) -> str:
        load = self.plan.load
        at = load.levels[max(1, now.level) - 1]
        return f"{at:g} concurrent" if load.axis == "concurrency" else f"{at:g} {per_second(at)}"

    def _too_long(self, measurement: Measurement) -> EndpointError | None:
        """Tell of a run that was shortened to fit: in its cell it would pass for what was asked."""
        c = measurement.conditions
        lengths = "prompt_tokens", "output_tokens"
        sent = {name: c.get(f"{name}_sent", c[f"{name}_asked"]) for name in lengths}
        if not self.varies or all(sent[name] >= c[f"{name}_asked"] for name in lengths):
            return None
        return EndpointError(f"too long for the model's context: {said(sent)} would fit", "context")

    def _relay(self, measurement: Measurement) -> None:
        if measurement.done:  # then the supervising thread tells
            return
        if self._too_long(measurement):
            measurement.stop()
        self._tell()


def _added(live: Live, before: Live) -> Live:
    names = "requests", "errors", "prompt_tokens", "output_tokens"
    return replace(live, **{name: getattr(live, name) + getattr(before, name) for name in names})


def start_sweep(endpoint: "str | Endpoint", **settings: Any) -> Sweep:
    """Start a sweep and return at once: `Sweep.progress`, `.grid`, `.stop()`, `.wait()`.

    Takes what `sweep` takes.

    Raises
    ------
    SettingsError
        If a setting is refused, or more than two things vary. Nothing was sent then.
    """
    refuse_unknown(settings.keys() - set(SETTINGS), SETTINGS, "sweep()")
    plan = Plan.of(settings)
    if settings.get("price") is not None:
        known(settings["price"])
    if settings.get("token_limit") is not None:
        TokenPurse.of_tokens(settings["token_limit"], plan.workloads[0])
    if not settings.get("confirm"):
        names = {name: settings.get(name) for name in ("model", "protocol")}
        target = resolve(endpoint, **names)
        limits = settings.get("price"), settings.get("token_limit")
        ask_first(target, plan.workloads, plan.load, *limits)
    return Sweep(endpoint, plan)


def sweep(endpoint: "str | Endpoint", *, progress: bool | None = None, **settings: Any) -> Grid:
    """Measure a run for each of several prompt lengths, output lengths or batches.

    Takes what `measure` takes, where `prompt_tokens`, `output_tokens` and `batch` may each be
    several: ``(128, 512, 2048)`` or ``"128-2048"`` (128, 256 … 2048). Two things may vary, the
    load's levels being one: they are the same in each run, not searched for. Interrupting it
    returns what there is. More than is sent unasked to someone else's server has to be confirmed
    once, for all runs; `spend_limit_usd` and `token_limit` are for all too.

    Raises
    ------
    SettingsError
        If a setting is refused, or more than two things vary. Nothing was sent then.
    EndpointError, MeasurementError
        If no run could be measured; where only some could not, `Grid.notes` tell why.
    """
    return waited(start_sweep(endpoint, **settings), progress)
