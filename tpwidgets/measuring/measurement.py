"""Measurement: a run that is under way. It supervises a worker from one daemon thread."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..conditions import at_start, found
from ..cost.price import Price
from ..endpoints.endpoint import Endpoint
from ..engine.budget import Purse
from ..errors import EndpointError, MeasurementError, TpwidgetsError, bare
from ..metrics.slo import Limits
from ..metrics.timeline import Timeline
from ..run import Run
from ..workload.loads import Load
from ..workload.prompts import Workload
from ..workload.rates import OpenLoad
from .gathered import Gathered
from .meter import Live
from .underway import UnderWay

_UPDATE_S = 0.1
_POINT_S = 0.3
"""How often, at most, listeners are called and a point that is still growing is computed."""
_STOP_S = 0.7
"""How long a worker may take to stop before it is killed."""


_UNDER_WAY: "set[Measurement]" = set()


def under_way() -> bool:
    """Tell whether this process measures anything right now, be it a self-check."""
    return bool(_UNDER_WAY)


@dataclass(frozen=True)
class Progress:
    """Where a measurement stands."""

    state: str = "preparing"
    """``preparing``, ``running``, ``done``, ``stopped`` or ``failed``."""
    text: str = "preparing"
    concurrency: int | None = None
    """The level under way; None in an open loop."""
    level: int = 0
    """Which level is under way, from 1."""
    levels: int = 0
    fraction: float = 0.0
    remaining_s: float | None = None
    bad: bool = False
    """Whether it ended for a reason that nobody asked for."""


class Measurement(UnderWay[Run]):
    """A run that is under way: look at it, stop it, wait for it, await it.

    Listeners (`on_update`) are called from the supervising thread, at most ten times a second and
    once at the end.
    """

    def __init__(
        self, endpoint: Endpoint, workload: Workload, load: Load | OpenLoad, timeout_s: float,
        price: Price | None = None, purses: Sequence[Purse] = (), limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.endpoint, self.workload, self.load = endpoint, workload, load
        self.timeout_s, self.price, self.limits = timeout_s, price, limits
        super().__init__(self._supervise, "measurement")
        self.epoch_ns = time.perf_counter_ns()
        """Where the workers' clock has its zero, on `time.perf_counter_ns`."""
        self._state = Gathered(
            at_start(endpoint, workload, load, limited=limits is not None), purses, limits
        )
        self._state.sections = len(load.sections)
        self._progress = Progress(levels=len(load.levels))
        self._stop = threading.Event()

    # -- what callers see ----------------------------------------------------------------------

    def begin(self) -> "Measurement":
        """Start the supervising thread; return self."""
        _UNDER_WAY.add(self)
        self._thread.start()
        return self

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        return self._progress

    @property
    def live(self) -> Live:
        """What the last few seconds look like."""
        return self._state.live

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The operating points so far; the last one may be provisional.

        As long as it is the same list, nothing is new: don't change it.
        """
        return self._state.rows

    @property
    def timeline(self) -> Timeline:
        """Tokens per second over time; it grows until the measurement is `done`."""
        return self._state.timeline

    @property
    def conditions(self) -> dict[str, Any]:
        """The conditions as far as they are known."""
        with self._state.lock:
            return self._state.conditions

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._future.done()

    @property
    def cut_short(self) -> str:
        """Say that it ended at a limit on what it may spend; "" if it did not."""
        return self._state.cut_short

    @property
    def busy(self) -> float:
        """How many cores the workers used of late, at the most."""
        return self._fleet.busy if self._fleet is not None else 0.0

    @property
    def run(self) -> Run:
        """The run as far as it has come; the finished one once `done`."""
        if self._future.done():
            return self._future.result()
        return self._snapshot("running")

    def stop(self) -> None:
        """Break off; what was measured is kept. Returns at once."""
        self._stop.set()
        fleet = self._fleet
        if fleet is not None:
            fleet.send({"do": "stop"})
            threading.Thread(target=fleet.kill_unless_ended, args=(_STOP_S,), daemon=True).start()

    def __repr__(self) -> str:
        return f"<Measurement {self._progress.text}: {self.endpoint.label}>"

    # -- the supervising thread ----------------------------------------------------------------

    _fleet: Any = None
    _answering = False
    """Whether the endpoint was found and is about to be asked for tokens."""

    def _supervise(self) -> None:
        state = "done"
        try:
            state = self._measure()
        except TpwidgetsError as error:
            self.error = bare(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            said = self.endpoint.mask()(f"{type(error).__name__}: {error}")
            self.error = bare(MeasurementError(said)).with_traceback(error.__traceback__)
        if self._stop.is_set() or self._state.broken:
            state = "stopped"
        if self._stop.is_set():
            self.error = None
        if self.error is not None:
            state = "failed"
        run = self._snapshot(state)
        self._state.end()
        with suppress(Exception):  # figures that can't be computed must not hold up who waits
            self._state.rows = run.rows
            self._state.rest()
        text = str(self.error) if state == "failed" else state
        if state == "done" and self._state.cut_short:
            text = self._state.cut_short
        if state == "stopped" and self._state.broken:
            text = f"ended early: {self._state.broken}"
        self._progress = Progress(
            state, text, None, len(run.windows), self._progress.levels,
            1.0 if text == "done" else self._progress.fraction,
            bad=state == "failed" or bool(self._state.broken),
        )  # fmt: skip
        _UNDER_WAY.discard(self)
        self._future.set_result(run)
        self._tell()

    def _measure(self) -> str:
        complaint = ""
        try:
            prepared = self._prepare()
            if prepared is None:
                return "stopped"
            from ..engine.assignment import assignment
            from ..engine.sweep import Sweep

            fleet = self._warm_up()
            tariffs = self._state.tariffs_of(prepared)
            open_loop = isinstance(self.load, OpenLoad)
            fleet.send(
                assignment(prepared, self.timeout_s, self.epoch_ns, tariffs, open_loop=open_loop)
            )
            sweep = Sweep(self.load, limited=self.limits is not None)
            self._next(fleet, sweep)
            if self._stop.is_set():  # it may have been set before there was a worker to tell
                fleet.send({"do": "stop"})
            self._listen(fleet, sweep, prepared.probe_ttft_s)
            self._state.left_out = tuple(map(self.load.named, sweep.left))
        finally:
            if self._fleet is not None:
                complaint = self._fleet.close()
        if not self._state.finished and not self._stop.is_set():
            said = self.endpoint.mask()(f"the measuring process ended by itself. {complaint}")
            said = said.strip(". ")
            if not self._state.measured:
                raise MeasurementError(f"{said[0].upper()}{said[1:]}.")
            self._state.broken, self._state.open_window = said, None
        ended = {sample.status for sample in self._state.samples}
        nothing_failed = self._state.cut_short and not self._state.note
        if "ok" not in ended and not nothing_failed and not self._stop.is_set():
            said = self._state.note or "no request was answered"
            if ended == {"client_limit"}:
                raise MeasurementError(f"No request could be sent: {said}.")
            raise EndpointError(f"{self.endpoint.label}: every request failed: {said}.", "http")
        return "done"

    def _prepare(self) -> Any:
        """Probe in a thread of its own, so that Stop need not wait for a silent server."""
        from ..endpoints.probe import prepare

        self._report(f"asking {self.endpoint.label}")
        probed: Future[Any] = Future()
        purses = self._state.purses

        def probe() -> None:
            try:
                probed.set_result(
                    prepare(self.endpoint, self.workload, self.timeout_s, self._going_on, purses)
                )
            except BaseException as error:  # noqa: BLE001 - carried over to the supervisor
                probed.set_exception(error)

        threading.Thread(target=probe, name="tpwidgets-probe", daemon=True).start()
        while not self._stop.is_set():
            if self._answering:  # and not before: the first request must not wait for a worker
                self._warm_up()
            try:
                prepared = probed.result(timeout=0.05)
            except TimeoutError:
                if probed.done():
                    raise
                continue
            self._state.found |= found(prepared)
            self._look_up_price(prepared)
            return prepared
        return None

    def _look_up_price(self, prepared: Any) -> None:
        """Take the listed price where none is set; the conditions say which one it is."""
        if self.price is None:
            from ..cost.listed import listed

            asked = prepared.workload.prompt_tokens
            self.price = listed(prepared.base.url, prepared.model, asked)
        if self.price is not None:
            self._state.found["price"] = self.price.stated

    def _warm_up(self) -> Any:
        """Start a worker, and load what figures are computed with; once."""
        if self._fleet is None:
            from ..engine.fleet import Fleet
            from ..metrics.ledger import Ledger

            self._fleet = Fleet(self.endpoint.mask(), purses=self._state.purses)
            self._state.samples = Ledger()
        return self._fleet

    def _going_on(self) -> bool:
        self._answering = True
        return not self._stop.is_set()

    def _next(self, fleet: Any, sweep: Any) -> None:
        command = sweep.next(self._state.rows)
        self._state.since_s = (time.perf_counter_ns() - self.epoch_ns) / 1e9
        fleet.send(command or {"do": "finish"})
        self._level_began = time.monotonic()
        if command is not None:
            level = self.load.asked[-1] if sweep.holding else sweep.level
            self._state.timeline.begin_level(level, self.load.named(level))

    _level_began = 0.0

    def _listen(self, fleet: Any, sweep: Any, ttft_s: float) -> None:
        """Take in what the worker sends until it ends, and steer it through the levels."""
        state = self._state
        computed = told = 0.0
        pause_s = _POINT_S
        e2e_s = max(0.05, 2 * ttft_s)
        over = False
        for message in fleet.messages():
            live = message.get("live")
            if live is None:
                over = state.take(message) or over
                continue
            now = time.monotonic()
            state.watch(live, steady=sweep.level is not None)
            e2e_s = state.e2e_s or e2e_s
            going_on = not (state.ending or self._stop.is_set())
            if over or now - computed > pause_s:
                point = state.compute_rows()
                computed = time.monotonic()
                pause_s = max(_POINT_S, 10 * (computed - now))  # many requests: less often
                if going_on and (over or (point is not None and sweep.may_leave(point))):
                    self._next(fleet, sweep)
                over = False
            spent_s = now - self._level_began
            if going_on and sweep.holding and (state.all_ended or sweep.held_enough(spent_s)):
                self._next(fleet, sweep)
            if now - told > _UPDATE_S:
                told = now
                self._report_level(sweep, e2e_s, spent_s)

    def _report_level(self, sweep: Any, e2e_s: float, spent_s: float) -> None:
        level, unit = sweep.level, self.load.unit
        left = sweep.remaining_s(e2e_s, spent_s)
        settling = "" if self._state.open_window is not None else " (settling)"
        if level is None:
            text = "finishing: the last requests are coming in"
        elif self.load.auto:
            text = f"level {level:g}{unit}, searched for{settling}, about {left:.0f} s left"
        elif self.load.ramp_s is not None:
            most = self.load.highest
            text = f"ramp, {self.load.named(level)} of {most:g}{unit}, {left:.0f} s left"
        else:
            most = max(self.load.levels)
            text = f"level {level:g} of {most:g}{unit}{settling}, {left:.0f} s left"
        self._progress = Progress(
            "running", text, None if unit else level or self._progress.concurrency,
            sweep.number, sweep.levels, sweep.fraction(e2e_s, spent_s), left,
        )  # fmt: skip
        self._tell()

    def _report(self, text: str) -> None:
        self._progress = Progress("preparing", text, levels=len(self.load.levels))
        self._tell()

    def _snapshot(self, state: str) -> Run:
        gathered = self._state
        with gathered.lock:
            samples, windows = list(gathered.samples), gathered.all_windows()
            return Run(samples, windows, gathered.conditions, state, self.price, self.limits)
