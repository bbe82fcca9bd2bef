"""Loads on simulated endpoints in virtual time, measured as a sweep measures, level by level."""

from array import array
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any, Protocol

import numpy as np

from tpwidgets.engine.sweep import Sweep
from tpwidgets.metrics.drift import settling
from tpwidgets.metrics.ledger import Ledger
from tpwidgets.metrics.points import HEADLINE, operating_point
from tpwidgets.metrics.slo import Limits
from tpwidgets.samples import Sample, Window
from tpwidgets.simulator.physics import Engine, Request
from tpwidgets.simulator.profiles import PROFILES
from tpwidgets.workload.loads import Load
from tpwidgets.workload.rates import OpenLoad, arrival_times

PROMPT_TOKENS, OUTPUT_TOKENS = 256, 64
POLL_S = 0.3
"""So often a measurement asks whether a level may be left."""
_STAGGER_S = 0.02
Point = dict[str, Any]
Ended = tuple[int, float, "array[float]"]
"""Whose request ended, when it was sent (s), and when each token came (ms since then)."""


class Endpoint(Protocol):
    """What answers requests."""

    def submit(self, slot: int, now: float) -> None:
        """Take a request in."""

    def advance(self, now: float, until: float) -> tuple[float, list[Ended]]:
        """Go on until some requests end, at most to `until` or just beyond."""


class Batching:
    """One of the simulator's profiles."""

    def __init__(self, name: str, seed: int) -> None:
        self._engine = Engine(PROFILES[name], seed)
        self._pending: dict[Request, tuple[int, float, array[float]]] = {}

    def submit(self, slot: int, now: float) -> None:
        request = Request(PROMPT_TOKENS, OUTPUT_TOKENS)
        self._pending[request] = slot, now, array("d")
        self._engine.submit(request, now)

    def advance(self, now: float, until: float) -> tuple[float, list[Ended]]:
        engine, pending = self._engine, self._pending
        while True:
            start = engine.wake_at(now)
            if start is None or start >= until:
                return max(now, until), []
            step = engine.step(start)
            now = start + step.duration_s
            ended = []
            for request in step.emitted:
                _, sent, token_ms = pending[request]
                token_ms.append(1000 * (now - sent))
                if request.finished:
                    ended.append(pending.pop(request))
            if ended:
                return now, ended


class Independent:
    """An endpoint whose requests know nothing of each other: TTFT and gap are drawn for each."""

    def __init__(self, drawn: Callable[[Random], tuple[float, float]], seed: int) -> None:
        self._drawn, self._random = drawn, Random(seed)
        self._ends: list[tuple[float, int, float, array[float]]] = []

    def submit(self, slot: int, now: float) -> None:
        ttft_ms, gap_ms = self._drawn(self._random)
        token_ms = array("d", [ttft_ms + i * gap_ms for i in range(OUTPUT_TOKENS)])
        heappush(self._ends, (now + token_ms[-1] / 1000, slot, now, token_ms))

    def advance(self, now: float, until: float) -> tuple[float, list[Ended]]:  # noqa: ARG002
        if not self._ends or self._ends[0][0] >= until:
            return until, []
        end, slot, sent, token_ms = heappop(self._ends)
        return end, [(slot, sent, token_ms)]


def lognormal(random: Random) -> tuple[float, float]:
    """TTFT 150 ms and gaps of 12 ms at the median; p95 is 2.3 and 1.5 times as much."""
    return 150 * random.lognormvariate(0, 0.5), 12 * random.lognormvariate(0, 0.25)


def bimodal(random: Random) -> tuple[float, float]:
    """One of four requests goes to a slow replica."""
    slow = random.random() < 0.25
    return random.gauss(400 if slow else 120, 15), random.gauss(25 if slow else 10, 0.5)


ENDPOINTS: dict[str, Callable[[int], Endpoint]] = {
    **{name: lambda seed, name=name: Batching(name, seed) for name in PROFILES},
    "lognormal": lambda seed: Independent(lognormal, seed),
    "bimodal": lambda seed: Independent(bimodal, seed),
}


class Level:
    """One level of a load on a fresh endpoint; samples come as time goes by.

    Users of a closed loop begin as the engine lets them, 20 ms after one another or within a
    second; counting begins when each has been refilled once. An open loop counts once its first
    request has ended.
    """

    def __init__(self, endpoint: str, load: Load | OpenLoad, level: float, seed: int) -> None:
        self.samples = Ledger()
        self.start: float | None = None
        self.now = 0.0
        self._endpoint = ENDPOINTS[endpoint](seed)
        self._rate = float(level) if isinstance(load, OpenLoad) else None
        self._level = level
        self._sent: dict[int, float] = {}
        """When what is in flight was sent, by slot."""
        if isinstance(load, OpenLoad):
            times = arrival_times(level, load.arrivals, load.burstiness, Random(seed + 1))
            self._due: Iterator[tuple[float, int]] = ((at, i) for i, at in enumerate(times))
        else:
            spacing = min(_STAGGER_S, 1 / level)
            self._due = ((i * spacing, i) for i in range(int(level)))
        self._unsettled = 1 if self._rate else int(level)
        self._refilled: set[int] = set()
        self._next = next(self._due)

    def run(self, until: float) -> None:
        """Let time go by."""
        while self.now < until:
            due_s, slot = self._next
            self.now, ended = self._endpoint.advance(self.now, min(due_s, until))
            for one in ended:
                self._file(*one)
            while self.now >= self._next[0]:
                due_s, slot = self._next
                self._submit(slot, due_s)
                self._next = next(self._due, (inf, 0))

    def settled(self) -> float:
        """Go on until the level has settled; return when that was."""
        while self.start is None:
            self.run(self.now + POLL_S)
        return self.start

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return len(self._sent)

    def window(self, end: float) -> Window:
        """Return the window that opened when the level had settled, as if it closed at `end`."""
        users = 0 if self._rate else int(self._level)
        oldest = min(self._sent.values(), default=None)
        return Window(
            users, self.settled(), end, float(users or self.in_flight), rate=self._rate,
            known_s=oldest,
        )  # fmt: skip

    def best(self, end: float) -> Point:
        """Return what a level could be left with at `end`, at the best: a point costs more."""
        window = self.window(end)
        ttft_ms = np.array([s.token_ms[0] for s in self.samples if s.ended_s > window.start_s])
        sure = {f"{name}{end}": 1.0 for name in HEADLINE[0] for end in ("", "_lo", "_hi")}
        return sure | {
            "concurrency": window.concurrency, "rate": window.rate, "window_s": window.length_s,
            "n": ttft_ms.size, "n_failed": 0, "limits_sure": True, "drifts": settling(ttft_ms),
        }  # fmt: skip

    def point(self, end: float, limits: Limits | None = None) -> Point:
        """Return the operating point of the window that closes at `end`."""
        window = self.window(end)
        self.run(end)
        while any(sent <= end for sent in self._sent.values()):
            self.run(self.now + POLL_S)
        return operating_point(self.samples, window, limits=limits)

    def _submit(self, slot: int, now: float) -> None:
        self._sent[slot] = now
        self._endpoint.submit(slot, now)

    def _file(self, slot: int, sent: float, token_ms: "array[float]") -> None:
        del self._sent[slot]
        extra = {} if self._rate is None else {
            "rate": self._rate, "scheduled_s": sent, "dispatched_s": sent
        }  # fmt: skip
        sample = Sample(
            str(len(self.samples)), slot, int(self._level), sent_s=sent, token_ms=token_ms,
            ended_ms=token_ms[-1], prompt_tokens=PROMPT_TOKENS, output_tokens=OUTPUT_TOKENS,
            requested_tokens=OUTPUT_TOKENS, **extra,
        )  # fmt: skip
        self.samples.append(sample)
        self._refilled.add(slot)
        if self.start is None and len(self._refilled) >= self._unsettled:
            self.start = sample.ended_s
        if self._rate is None:
            self._submit(slot, sample.ended_s)


def stopped(level: Level, sweep: Sweep, limits: Limits | None = None) -> float:
    """Go on until the sweep would leave the level; return when that was."""
    end = level.settled() + POLL_S * int(Load.MIN_SECONDS / POLL_S)  # none is left before that
    while True:
        end += POLL_S
        level.run(end)
        if not sweep.may_leave(level.best(end)):
            continue
        point = operating_point(level.samples, level.window(end), provisional=True, limits=limits)
        if sweep.may_leave(point):
            return end
