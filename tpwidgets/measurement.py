"""Measurement: a run that is under way. It supervises a worker from one daemon thread."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .conditions import at_start, found
from .cost import Price
from .endpoints import Endpoint
from .errors import EndpointError, MeasurementError, TpwidgetsError
from .loads import Load
from .meter import Live, Meter
from .run import Run
from .samples import Sample, Window
from .workload import Workload

_UPDATE_S = 0.1
_POINT_S = 0.3
"""How often, at most, listeners are called and a point that is still growing is computed."""
_STOP_S = 0.7
"""How long a worker may take to stop before it is killed."""


@dataclass(frozen=True)
class Progress:
    """Where a measurement stands."""

    state: str = "preparing"
    """``preparing``, ``running``, ``done``, ``stopped`` or ``failed``."""
    text: str = "preparing"
    concurrency: int | None = None
    level: int = 0
    """Which level is under way, from 1."""
    levels: int = 0
    fraction: float = 0.0
    remaining_s: float | None = None
    bad: bool = False
    """Whether it ended for a reason that nobody asked for."""


@dataclass
class _State:
    """What the supervising thread has gathered; read by others under the lock."""

    samples: list[Sample] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    open_window: Window | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    conditions: dict[str, Any] = field(default_factory=dict)
    live: Live = field(default_factory=Live)
    errors: int = 0
    note: str = ""
    """What the first failed request said."""
    broken: str = ""
    """Why the sweep was broken off, if it was."""


class Measurement:
    """A run that is under way: look at it, stop it, wait for it, await it.

    Listeners (`on_update`) are called from the supervising thread, at most ten times a second and
    once at the end.
    """

    def __init__(
        self, endpoint: Endpoint, workload: Workload, load: Load, timeout_s: float,
        price: Price | None = None,
    ) -> None:  # fmt: skip
        self.endpoint, self.workload, self.load = endpoint, workload, load
        self.timeout_s, self.price = timeout_s, price
        self.error: TpwidgetsError | None = None
        self.epoch_ns = time.perf_counter_ns()
        """Where the workers' clock has its zero, on `time.perf_counter_ns`."""
        self._state = _State(conditions=at_start(endpoint, workload))
        self._lock = threading.Lock()
        self._progress = Progress(levels=len(load.concurrency))
        self._future: Future[Run] = Future()
        self._stop = threading.Event()
        self._listeners: list[Callable[[Measurement], None]] = []
        self._thread = threading.Thread(
            target=self._supervise, name="tpwidgets-measurement", daemon=True
        )

    # -- what callers see ----------------------------------------------------------------------

    def begin(self) -> "Measurement":
        """Start the supervising thread; return self."""
        self._thread.start()
        return self

    def on_update(self, listener: Callable[["Measurement"], None]) -> None:
        """Have `listener` called whenever there is something new."""
        self._listeners.append(listener)

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
        """The operating points so far; the last one may be provisional."""
        with self._lock:
            return list(self._state.rows)

    @property
    def conditions(self) -> dict[str, Any]:
        """The conditions as far as they are known."""
        with self._lock:
            return self._known_conditions()

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or another."""
        return self._future.done()

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

    def wait(self, timeout_s: float | None = None) -> Run:
        """Block until it has ended and return the run.

        Raises
        ------
        EndpointError, MeasurementError
            If it failed before anything was measured.
        TimeoutError
            If it has not ended in time; it goes on.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._future.done():
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"still running after {timeout_s} s")
            self._thread.join(0.1)  # short, so that an interrupt is heard on every platform
        if self.error is not None:
            raise self.error
        return self._future.result()

    def __await__(self) -> Generator[Any, None, Run]:
        run = yield from asyncio.wrap_future(self._future).__await__()
        if self.error is not None:
            raise self.error
        return run

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
            self.error = error
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            self.error = MeasurementError(f"{type(error).__name__}: {error}")
            self.error.__cause__ = error
        if self._stop.is_set() or self._state.broken:
            state = "stopped"
        if self._stop.is_set():
            self.error = None
        if self.error is not None:
            state = "failed"
        run = self._snapshot(state)
        with suppress(Exception):  # figures that can't be computed must not hold up who waits
            with self._lock:
                self._state.rows = run.rows
            if run.rows:
                self._state.live = self._last_point()
        text = {"done": "done", "stopped": "stopped", "failed": str(self.error)}[state]
        if state == "stopped" and self._state.broken:
            text = f"ended early, every request failed: {self._state.broken}"
        self._progress = Progress(
            state, text, None, len(run.windows), len(self.load.concurrency),
            1.0 if state == "done" else self._progress.fraction,
            bad=state == "failed" or bool(self._state.broken),
        )  # fmt: skip
        self._future.set_result(run)
        self._tell()

    def _measure(self) -> str:
        complaint = ""
        try:
            prepared = self._prepare()
            if prepared is None:
                return "stopped"
            from .engine.sweep import Sweep

            fleet = self._warm_up()
            fleet.send(_assignment(prepared, self.timeout_s, self.epoch_ns))
            sweep = Sweep(self.load)
            self._next(fleet, sweep)
            if self._stop.is_set():  # it may have been set before there was a worker to tell
                fleet.send({"do": "stop"})
            self._listen(fleet, sweep, prepared.probe_ttft_s)
        finally:
            if self._fleet is not None:
                complaint = self._fleet.close()
        if not self._finished and not self._stop.is_set():
            raise MeasurementError(f"The measuring process ended by itself. {complaint}".strip())
        if not any(s.status == "ok" for s in self._state.samples) and not self._stop.is_set():
            said = self._state.note or "no request was answered"
            raise EndpointError(f"{self.endpoint.label}: every request failed: {said}.", "http")
        return "done"

    def _prepare(self) -> Any:
        """Probe in a thread of its own, so that Stop need not wait for a silent server."""
        from .probe import prepare

        self._report(f"asking {self.endpoint.label}")
        probed: Future[Any] = Future()

        def probe() -> None:
            try:
                probed.set_result(
                    prepare(self.endpoint, self.workload, self.timeout_s, self._going_on)
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
            self._state.conditions |= found(prepared)
            return prepared
        return None

    def _warm_up(self) -> Any:
        """Start a worker, and load what figures are computed with; once."""
        if self._fleet is None:
            from .engine.fleet import Fleet
            from .ledger import Ledger

            key = self.endpoint.api_key_env
            self._fleet = Fleet((key,) if key else ())
            self._state.samples = Ledger()
        return self._fleet

    def _going_on(self) -> bool:
        self._answering = True
        return not self._stop.is_set()

    def _next(self, fleet: Any, sweep: Any) -> None:
        command = sweep.next()
        fleet.send(command or {"do": "finish"})
        self._level_began = time.monotonic()

    _finished = False
    _level_began = 0.0

    def _listen(self, fleet: Any, sweep: Any, ttft_s: float) -> None:
        """Take in what the worker sends until it ends, and steer it through the levels."""
        meter = Meter()
        computed = told = 0.0
        pause_s = _POINT_S
        e2e_s = max(0.05, 2 * ttft_s)
        over = False
        for message in fleet.messages():
            live = message.get("live")
            if live is None:
                over = self._take(message) or over
                continue
            now = time.monotonic()
            state, window = self._state, live["window"]
            state.open_window = Window(**window) if window else None
            state.live = meter.read(live, state.samples, state.errors)
            if sweep.concurrency is None and state.rows:  # the last requests: no steady state
                state.live = self._last_point()
            e2e_s = meter.e2e_s or e2e_s
            if over or now - computed > pause_s:
                point = self._compute_rows()
                computed = time.monotonic()
                pause_s = max(_POINT_S, 10 * (computed - now))  # many requests: less often
                going_on = not (self._finished or state.broken or self._stop.is_set())
                if going_on and (over or (point is not None and sweep.may_leave(point))):
                    self._next(fleet, sweep)
                over = False
            if now - told > _UPDATE_S:
                told = now
                self._report_level(sweep, e2e_s, now - self._level_began)

    def _compute_rows(self) -> dict[str, Any] | None:
        """Make the rows as far as they are known; return that of the window still open, if any."""
        from .metrics import operating_point

        state = self._state
        rows = state.rows[: max(0, len(state.windows) - 2)]
        # a window's last requests end after it: its row is made anew for a while
        rows += [operating_point(state.samples, w) for w in state.windows[len(rows) :]]
        point = None
        if state.open_window is not None:
            point = operating_point(state.samples, state.open_window, provisional=True)
            if point["n"]:
                rows.append(point)
        with self._lock:
            state.rows = rows
        return point

    def _take(self, message: dict[str, Any]) -> bool:
        """File what came; return whether it says that the level under way is over."""
        state = self._state
        with self._lock:
            if "sample" in message:
                sample: Sample = message["sample"]
                state.samples.append(sample)
                if sample.status not in ("ok", "stopped"):
                    state.errors += 1
                    state.note = state.note or sample.message or sample.status
            elif "window" in message:
                state.windows.append(Window(**message["window"]))
            elif "broken" in message:
                state.broken = message["broken"]
            elif "idle" in message:
                self._finished = True
        return "level_over" in message

    def _report_level(self, sweep: Any, e2e_s: float, spent_s: float) -> None:
        levels = self.load.concurrency
        index = min(sweep.index, len(levels) - 1)
        left = sweep.remaining_s(e2e_s, spent_s)
        settling = "" if self._state.open_window is not None else " (settling)"
        text = f"level {levels[index]} of {max(levels)}{settling}, {left:.0f} s left"
        if sweep.index >= len(levels):
            text = "finishing: the last requests are coming in"
        self._progress = Progress(
            "running", text, levels[index], index + 1, len(levels),
            sweep.fraction(e2e_s, spent_s), left,
        )  # fmt: skip
        self._tell()

    def _last_point(self) -> Live:
        state = self._state
        return Live.of_point(state.rows[-1], state.live)

    def _report(self, text: str) -> None:
        self._progress = Progress("preparing", text, levels=len(self.load.concurrency))
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:
                import logging

                logging.getLogger("tpwidgets").exception("a listener failed")

    def _snapshot(self, state: str) -> Run:
        with self._lock:
            samples, windows = list(self._state.samples), list(self._state.windows)
            window = self._state.open_window
            # a worker that died could not close its window: what it told of it stays
            if window is not None and window.start_s not in [w.start_s for w in windows]:
                windows.append(window)
            conditions = self._known_conditions()
        return Run(samples, windows, conditions, state, self.price)

    def _known_conditions(self) -> dict[str, Any]:
        conditions = dict(self._state.conditions)
        if self._state.samples:
            conditions["stamps"] = ", ".join(sorted({s.stamp for s in self._state.samples}))
        if self._state.note:
            conditions["failures"] = self._state.note
        return conditions


def _assignment(prepared: Any, timeout_s: float, epoch_ns: int) -> dict[str, Any]:
    """Return all that a worker needs to make requests. Holds the key: goes over the pipe only."""
    workload = prepared.workload
    return {
        "do": "assignment",
        "url": prepared.url,
        "protocol": prepared.protocol.name,
        "body": prepared.body("", workload.output_tokens),
        "prompt_at": prepared.protocol.prompt_at,
        "headers": prepared.headers,
        "words": prepared.calibration.words(workload.prompt_tokens),
        "instructed": workload.instructed,
        "output_tokens": workload.output_tokens,
        "timeout_s": timeout_s,
        "local": prepared.endpoint.local,
        "epoch_ns": epoch_ns,
        "run": uuid.uuid4().hex[:12],
        "seed": uuid.uuid4().int,
    }
