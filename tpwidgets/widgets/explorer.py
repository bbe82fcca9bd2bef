"""The Explorer: one cell in which an endpoint is picked, measured and understood."""

import threading
from contextlib import suppress
from typing import Any

import ipywidgets as w

from ..conditions import one_line
from ..endpoints.endpoint import Endpoint
from ..errors import TpwidgetsError, refuse_unknown
from ..live.board import Board
from ..measuring.api import SETTINGS
from ..measuring.grid import Grid
from ..measuring.measurement import Measurement
from ..measuring.politeness import NotConfirmed
from ..measuring.sweeping import Sweep
from ..metrics.slo import Limits
from ..run import Run, escape
from ..use_cases.presets import UseCase
from ..use_cases.presets import use_case as named
from . import texts
from .bar import Bar
from .cells import take_turn
from .closing import close_all
from .consent import Consent
from .controls import Controls
from .cost_line import CostLine
from .drawing import Drawing
from .fitted import FittedCurve
from .history import History
from .machine import MachineCheck
from .pace import Pace
from .result import Result
from .sweep_view import SweepView
from .takeaway import Takeaway
from .use_case_fields import KpiLine

_SETTLE_S = 0.3
"""How long a press waits for values that were typed before it and are still on their way."""
_TELL_S, _EXPLAIN_S = 0.4, 2.0
"""How often, at most, figures in words and the conditions are told anew: nobody reads faster."""


class Explorer(w.VBox):
    """A dashboard that measures an endpoint's throughput and explains it.

    Parameters
    ----------
    endpoint : str or Endpoint, optional
        A URL, an `Endpoint` or a simulated profile's name. It can be changed in the dashboard.
    use_case : str or UseCase, optional
        The name of a use case (`tpwidgets.use_case`), or one with other assumptions: lengths, load
        and limits are its own unless given, and a run is answered in its terms.
    price : Price or iterable of Price, optional
        That of what is measured, and up to two to compare it with.
    concurrency, rate, limits, prompt_tokens, output_tokens, precision, … : optional
        What the controls stand at first; as in `tpwidgets.measure` and `tpwidgets.sweep`.
    confirm : bool, optional
        Don't ask before much is sent to someone else's server.

    Raises
    ------
    SettingsError, TypeError
        As `tpwidgets.measure` raises them.
    """

    def __init__(
        self,
        endpoint: str | Endpoint = "vllm-llama-70b",
        *,
        use_case: str | UseCase | None = None,
        **settings: Any,
    ) -> None:
        known = (*SETTINGS, "use_case")
        refuse_unknown([name for name in settings if name not in known], known, "Explorer()")
        self._lock = threading.RLock()
        self._sweep: Sweep | None = None
        self._history = History()
        self._tell, self._explaining = Pace(), Pace()
        self._closed = self._starting = False
        case = named(use_case) if isinstance(use_case, str) else use_case
        self.controls = Controls(endpoint, settings, case)
        self.board = Board()
        self._result, self._kpi = Result(), KpiLine()
        self._fitted = FittedCurve(self.board)
        self._drawing = Drawing(self.board, self._history, self._fitted)
        self._drawing.limit(self.controls.slo.value)
        self._drawing.plan(self.controls.load)
        self._cost = CostLine(self.controls.price)
        self._machine = MachineCheck(lambda: self.controls.at_once)
        self._map = SweepView(self._result.show)
        self._takeaway = Takeaway(
            self.controls, self.board, lambda: self._history.counted(self.run),
            lambda: self.grid if self._varied else None, self._forget,
        )  # fmt: skip
        self._bar = Bar(self._pressed, self.stop)
        self._consent = Consent(self._bar.question, given=bool(settings.get("confirm")))
        self._tiles, self._answer, self._conditions = w.HTML(texts.tiles(None)), w.HTML(), w.HTML()
        for name in ("tiles", "answer", "conditions"):
            getattr(self, f"_{name}").add_class(f"tp-{name}")
        self.board.add_class("tp-chart")
        self.board.viewed(self._result.viewed)
        self.controls.price.link(self.board)
        self.controls.price.changed(self._price_changed)
        self.controls.changed(self._settings_changed)
        self.controls.slo.changed(self._limits_changed)
        self.controls.use_case.changed(lambda *_: self._tell_kpi())
        self._settings_changed()
        super().__init__(
            [
                w.HTML(texts.STYLE), self.controls, self._bar, self._tiles, self.board,
                self._fitted, self._map, self._answer, self._cost, self._kpi, self._conditions,
                self._machine, self._takeaway, self._result.note,
            ]
        )  # fmt: skip
        self.layout = w.Layout(width="100%")
        self.add_class("tp-explorer")
        self.controls.look_around()

    # -- for users -----------------------------------------------------------------------------

    @property
    def run(self) -> Run | None:
        """The latest run: the one under way as far as it has come, else the last one."""
        measurement = self.measurement
        if measurement is not None and not measurement.done:
            return measurement.run
        return self._history.last

    @property
    def runs(self) -> list[Run]:
        """The last runs in which something was measured, oldest first: five, or all of a sweep."""
        return list(self._history.runs)

    @property
    def grid(self) -> Grid | None:
        """The last sweep over lengths or batches; one under way as far as it has come."""
        sweep = self._sweep
        return sweep.grid if sweep and sweep.varies and not sweep.done else self._map.grid

    @property
    def measurement(self) -> Measurement | None:
        """The measurement under way, or the last one; of a sweep, its run."""
        return self._sweep.measurement if self._sweep is not None else None

    @property
    def _running(self) -> bool:
        return self._sweep is not None and not self._sweep.done

    _varied = False
    """Whether what was measured last is a sweep over lengths."""

    def measure(self) -> None:
        """Start to measure with what the controls say now; returns at once."""
        if self._claim():
            self._start()

    def stop(self) -> None:
        """Stop the measurement under way and keep what was measured, as the button does."""
        with self._lock:
            self._bar.stop.disabled = True
            if self._starting:  # it may not have begun: then it never will
                self._starting = False
                self._ended("stopped", "before it began", bad=False)
        if self._sweep is not None:
            self._sweep.stop()

    def close(self) -> None:
        """Stop what is under way and take the widgets down."""
        if self.comm is None:  # refused before it was a widget, or closed already
            return
        self._closed = True
        if self._sweep is not None:
            self._sweep.stop()
        close_all(self)

    def __repr__(self) -> str:
        return f"<Explorer: {self.controls.label}; {len(self._history.runs)} runs>"

    def _ipython_display_(self, **_: Any) -> None:
        """Show the dashboard and, below it, the place where each result stays as plain output."""
        from IPython.display import display

        former = take_turn(self)
        if former is not None:
            self._take_over(former)
        display(w.Widget._repr_mimebundle_(self), raw=True)
        self._result.place()
        self._machine.once()

    # -- parts ---------------------------------------------------------------------------------

    def _claim(self) -> bool:
        """Take the right to start, if nothing is under way or about to be."""
        with self._lock:
            if self._closed or self._starting or self._running:
                return False
            self._starting = True
            self._bar.busy(busy=True)
            self._takeaway.offer(0)
            self._bar.question.withdraw()
            self.controls.where.say("")  # what is wrong by now, the status will say
            self._machine.give_way()
            self._bar.say("running", "starting")
            return True

    def _pressed(self) -> None:
        """Start a moment after the button was pressed.

        The press overtakes a value that was typed just before it: ipywidgets holds a change back
        until the one before it was answered, but never a press.
        """
        if self._claim():
            timer = threading.Timer(_SETTLE_S, self._start)
            timer.daemon = True
            timer.start()

    def _start(self) -> None:
        with self._lock:
            if not self._starting:
                return
            try:
                self.controls.usual.settle()
                endpoint, settings = self.controls.endpoint(), self.controls.settings()
                self._drawing.plan(self.controls.load)
                price = self.controls.price.value
                sweep = self._consent.begin(endpoint, {**settings, "price": price})
            except NotConfirmed as big:
                self._ended("waiting", "nothing was sent yet", bad=False)
                self._consent.ask(endpoint.url, big, self._answered)
                return
            except TpwidgetsError as error:
                self._ended("refused", str(error))
                return
            except Exception as error:
                self._ended("failed", f"{type(error).__name__}: {error}")
                raise
            finally:
                self._starting = False
            self._sweep, self._varied = sweep, sweep.varies
            self._history.make_room(len(sweep.plan.workloads))
            self.controls.usual.keep = True  # whatever endpoint is chosen meanwhile
            if not sweep.varies:
                self._map.hide()
        self._result.warm_up()
        self._kpi.tell(None, None)
        sweep.on_update(self._updated)
        if sweep.done:  # it ended before we could listen
            self._updated(sweep)

    def _answered(self, yes: bool) -> None:
        if yes:
            self.measure()
        else:
            self._bar.say("ready", "nothing was sent")

    # -- what the supervising thread calls -----------------------------------------------------

    def _updated(self, sweep: Sweep) -> None:
        if self._closed:
            if sweep.done:
                self._keep(sweep)
            return
        with self._lock:
            if sweep.ended:
                self._keep(sweep)
            if sweep.varies:
                self._map.follow(sweep, self._limits, self.controls.price.value)
            if sweep.done:
                self._show_end(sweep)
                return
            measurement, progress = sweep.measurement, sweep.progress
            self._drawing.draw(measurement)
            level = (progress.state, progress.level)
            if self._tell.due(_TELL_S, level):
                self._bar.progress.value = progress.fraction
                self._bar.say("running", progress.text)
                self._tell_figures(sweep)
            rows = measurement.rows
            if rows and self._explaining.due(_EXPLAIN_S, level):
                self._conditions.value = texts.conditions(
                    one_line(measurement.conditions, rows), measurement.conditions
                )

    def _tell_figures(self, sweep: Sweep) -> None:
        timeline, live = sweep.measurement.timeline, sweep.live
        walked = timeline.levels if sweep.plan.load.axis == "rate" else []
        self._tiles.value = texts.tiles(live, walked[-1].level if walked else None)
        runs = sweep.ended if sweep.done else None
        self._bar.estimate.value = texts.used(live, self.controls.price.value, runs)

    def _keep(self, sweep: Sweep) -> None:
        price = self.controls.price.value
        for run in sweep.ended:
            run.price = price or run.price  # it may have been edited while the run was put together
            self._history.keep(run)
        self._history.judge(self.controls.slo.value)  # they may have changed meanwhile
        self._show_beside()
        self.controls.usual.keep = bool(self._history.runs)

    def _show_end(self, sweep: Sweep) -> None:
        measurement, progress = sweep.measurement, sweep.progress
        run = measurement.run
        self._tell_figures(sweep)
        self._drawing.keep(measurement.timeline)
        self._drawing.draw(measurement)
        self.board.commit()
        self._bar.progress.value = progress.fraction
        text = progress.text if progress.text != progress.state else texts.what_there_is(run)
        self._ended(progress.state, text, bad=progress.bad)
        last = self._history.last
        if last is not None:
            if run.windows and not sweep.varies:
                self._result.show(last)
            self._explain(last)

    def _ended(self, state: str, text: str, *, bad: bool = True) -> None:
        with self._lock:
            self._bar.say(state, text, bad=bad)
            self._bar.busy(busy=False)
            self._takeaway.offer(len(self._history.runs))
            self._machine.ready()

    def _explain(self, run: Run) -> None:
        newest = self.measurement.run if self.measurement is not None else run
        said = "" if self._varied else escape(self._history.answer(run, newest))
        self._answer.value = f"<b>{said}</b>"  # a sweep's runs are answered below its map
        self._conditions.value = texts.conditions(run.conditions_line, run.conditions)
        self._tell_kpi()
        self._cost.tell(None if self._varied else self._history.last)

    def _tell_kpi(self) -> None:
        self._kpi.tell(self._history.last, self.controls.use_case.value)

    # -- callbacks -----------------------------------------------------------------------------

    def _settings_changed(self, _: Any = None) -> None:
        try:
            self._bar.estimate.value = self.controls.estimate()
        except TpwidgetsError as error:
            self._bar.estimate.value = f'<span class="tp-bad">{escape(error)}</span>'

    def _price_changed(self, _: Any = None) -> None:
        self._settings_changed()
        with self._lock:
            if self._running and self._sweep is not None:
                self._sweep.price = self.controls.price.value
                self._map.again(self._limits, self.controls.price.value)
            elif self._history.last is not None and not self._starting:
                priced = [self._history.last]
                if self._varied and self.grid is not None:
                    priced += self.grid.runs
                for run in priced:
                    run.price = self.controls.price.value
                self._show_beside()
                self._show_last()

    def _forget(self) -> None:
        with self._lock:
            if not self._running and not self._starting:  # else the press was overtaken
                self._history.forget()
                self._drawing.draw(self.measurement)
                self.board.commit()
                self._takeaway.offer(len(self._history.runs))

    def _show_beside(self) -> None:
        """Let the last run show the other prices too."""
        if self._history.last is not None:
            self._history.last.compared = self.controls.price.others

    def _limits_changed(self, _: Any = None) -> None:
        self._drawing.limit(self.controls.slo.value)
        with self._lock:
            if not self._running and not self._starting:
                self._history.judge(self.controls.slo.value)
                self._show_last()

    def _show_last(self) -> None:
        last = self._history.last
        if last is not None:
            self._drawing.draw(self.measurement)
            self._explain(last)
            if not self._varied:
                self._result.show(last)
        if self._varied:
            self._map.again(self._limits, self.controls.price.value)

    @property
    def _limits(self) -> Limits | None:
        return Limits.of(self.controls.slo.value)

    def _take_over(self, former: "Explorer") -> None:
        """Go on where the same cell's former dashboard was: its runs stay beside the new ones."""
        pending = former._sweep
        former.close()
        if pending is not None:
            with suppress(TimeoutError, TpwidgetsError):
                pending.wait(2.0)
            if pending.done:
                former._keep(pending)
        with self._lock:
            self._history.adopt(former._history)
            self._history.judge(self.controls.slo.value)
            self._drawing.timeline = former._drawing.timeline
            if pending is not None:
                self._drawing.keep(pending.measurement.timeline)
            self.controls.usual.keep = bool(self._history.runs)
            self._varied = former._varied
            grid = pending.grid if pending and pending.varies else former.grid
            if grid is not None and self._varied:
                self._map.show(grid, self._limits, self.controls.price.value, ended=True)
            self._show_last()
            self._takeaway.offer(len(self._history.runs))
