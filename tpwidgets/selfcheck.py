"""The self-check: what this machine can resolve, measured against a server with known times.

A simulated endpoint on this machine writes a token to every stream at a known rate and logs when.
We measure it as we measure any endpoint; what our stamps differ from its log is our own error.
"""

import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import TpwidgetsError
from .words import count, duration, percent
from .workload.loads import MAX_CONCURRENCY, positive, whole

_OUTPUT_TOKENS = 64
_SECONDS = 2.0
_TIMEOUT_S = 10.0
_DELAY_S = 1.0
"""A dashboard has to be drawn first."""
_HEADROOM = 0.85
"""A worker that uses more of its core than this is said to be at its limit."""
_WRONG = 0.1
"""Gaps that are wrong by more than this share of a gap (p99) are too wrong."""
_REACHED = 0.98
"""Less than this share of the asked streams in flight is too few."""


@dataclass(frozen=True)
class SelfCheck:
    """What a self-check found. Errors are stamps less the true time of the write, p99.

    Attributes
    ----------
    concurrency : int
        Streams at once.
    user_tps : float
        Tokens per second of each stream.
    stamp_error_p99_ms : float
        How late arrivals were stamped; it bounds the error of TTFT and E2E latency.
    gap_error_p99_ms : float
        How wrong the times between tokens were; that of ITL and TPOT.
    merged_pct : float
        Tokens that shared their stamp with another of their stream; %.
    in_flight_mean : float
        Requests in flight, of the `concurrency` asked for.
    busy : float
        Cores that measuring took.
    limit : int
        From about how many such streams on this machine itself would be the limit; estimated from
        `busy` and the number of cores, and not above `concurrency` if that was too much already.
    """

    concurrency: int
    user_tps: float
    stamp_error_p99_ms: float
    gap_error_p99_ms: float
    merged_pct: float
    in_flight_mean: float
    busy: float
    limit: int

    @property
    def text(self) -> str:
        """What it found, in one line."""
        error = max(self.stamp_error_p99_ms, self.gap_error_p99_ms)
        streams = f"{self.concurrency} stream{'s' if self.concurrency > 1 else ''}"
        merged = f", {percent(self.merged_pct)} of tokens merged" if self.merged_pct >= 1 else ""
        limit = f"above about {self.limit:,}" if self.limit > self.concurrency else "at that"
        return (
            f"this machine: ±{duration(error)} at {streams} of {count(self.user_tps)} tokens/s"
            f"{merged}; client-limited {limit}"
        )

    def __str__(self) -> str:
        return self.text


def self_check(concurrency: int = 64, user_tps: float = 100.0) -> SelfCheck:
    """Measure what this machine can resolve; takes about five seconds.

    Parameters
    ----------
    concurrency : int
        Streams at once.
    user_tps : float
        Tokens per second of each stream.

    Raises
    ------
    SettingsError
        If a setting is not usable.
    EndpointError, MeasurementError
        If the check itself broke down.
    """
    whole("concurrency", concurrency, 1, MAX_CONCURRENCY)
    positive("user_tps", user_tps, "(tokens per second)")
    return _check(concurrency, user_tps, lambda _: None)


def _check(concurrency: int, user_tps: float, begun: Callable[[Any], None]) -> SelfCheck:
    """Check, and hand over the measurement so that it can be stopped."""
    from .endpoints.endpoint import resolve
    from .measuring.measurement import Measurement
    from .simulator import simulate
    from .workload.loads import Load
    from .workload.prompts import Workload

    with (
        tempfile.TemporaryDirectory(prefix="tpwidgets-") as folder,
        simulate("metronome", speed=user_tps / 100, log=Path(folder) / "truth.jsonl") as server,
    ):
        measurement = Measurement(
            resolve(server.url), Workload(32, _OUTPUT_TOKENS),
            Load((concurrency,), seconds=_SECONDS), _TIMEOUT_S,
        )  # fmt: skip
        begun(measurement.begin())
        run = measurement.wait()
        lines = (Path(folder) / "truth.jsonl").read_text("utf-8").splitlines()
    truth = {record["request_id"]: record["tokens_ns"] for record in map(json.loads, lines)}
    return _judge(measurement, run, truth, user_tps)


def _judge(measurement: Any, run: Any, truth: dict[str, list[int]], user_tps: float) -> SelfCheck:
    import numpy as np

    from .engine.fleet import usable_cores
    from .errors import MeasurementError

    late, gaps = [], []
    for sample in run.samples:
        wrote = truth.get(sample.request_id, [])
        if sample.status != "ok" or len(wrote) != len(sample.token_ms):
            continue
        sent_ns = measurement.epoch_ns + sample.sent_s * 1e9
        error = (sent_ns - np.asarray(wrote, dtype=float)) / 1e6 + np.asarray(sample.token_ms)
        late.append(error)
        gaps.append(np.abs(np.diff(error)))
    if not late or not run.rows:
        raise MeasurementError("The self-check measured nothing: see run.samples for why.")
    point = run.rows[-1]
    concurrency, in_flight = point["concurrency"], point["in_flight_mean"] or 0.0
    gap_error_ms = float(np.quantile(np.concatenate(gaps), 0.99))
    limit = _HEADROOM * usable_cores() / max(measurement.busy, 1e-3) * concurrency
    if gap_error_ms > _WRONG * 1000 / user_tps or in_flight < _REACHED * concurrency:
        limit = min(limit, concurrency)
    return SelfCheck(
        concurrency=concurrency,
        user_tps=user_tps,
        stamp_error_p99_ms=float(np.quantile(np.abs(np.concatenate(late)), 0.99)),
        gap_error_p99_ms=gap_error_ms,
        merged_pct=point["merged_pct"] or 0.0,
        in_flight_mean=in_flight,
        busy=measurement.busy,
        limit=_two_digits(min(limit, MAX_CONCURRENCY)),
    )


def _two_digits(value: float) -> int:
    """Round down: an estimate has no more digits than that."""
    unit = 10 ** max(0, len(str(int(value))) - 2)
    return int(value // unit * unit)


class Background:
    """One self-check for this process, in the background, that gives way to real measurements."""

    def __init__(self) -> None:
        self.found: SelfCheck | None = None
        self._lock = threading.Lock()
        self._measurement: Any = None
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self._told: list[Callable[[str], None]] = []
        """Who waits for what the one under way will find."""

    def start(
        self, tell: Callable[[str], None], concurrency: int = 64, *, again: bool = False
    ) -> None:
        """Check, unless that was done; `tell` is called with what was found, from a thread.

        With `again` check anew; what was found before stays until something else is.
        """
        if self.found is not None and not again:
            tell(self.found.text)
            return
        with self._lock:
            if self._busy and not self._cancelled.is_set():
                self._told.append(tell)
                return
            # one that was broken off may take a moment to end: this one waits for it
            former, self._cancelled, self._told = self._thread, threading.Event(), [tell]
            self._thread = threading.Thread(
                target=self._run, args=(concurrency, self._cancelled, former),
                name="tpwidgets-selfcheck", daemon=True,
            )  # fmt: skip
            self._thread.start()

    def cancel(self) -> None:
        """Break off, if one is under way, so that it takes nothing from a measurement."""
        with self._lock:
            self._cancelled.set()
            if self._measurement is not None:
                self._measurement.stop()

    def join(self) -> None:
        """Wait until none is under way."""
        thread = self._thread
        if thread is not None:
            thread.join()

    @property
    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(
        self, concurrency: int, cancelled: threading.Event, former: threading.Thread | None
    ) -> None:
        from .measuring.measurement import under_way

        if former is not None:
            former.join()
        if cancelled.wait(_DELAY_S) or under_way():
            return
        try:
            found = _check(concurrency, 100.0, lambda begun: self._begun(begun, cancelled))
        except (TpwidgetsError, OSError):
            return  # it is a courtesy: nobody asked, so nobody is told that it did not come to be
        finally:
            self._measurement = None
        with self._lock:
            if cancelled.is_set():
                return
            self.found, told = found, self._told
        for tell in told:
            tell(found.text)

    def _begun(self, measurement: Any, cancelled: threading.Event) -> None:
        with self._lock:
            self._measurement = measurement
            if cancelled.is_set():
                measurement.stop()


BACKGROUND = Background()
