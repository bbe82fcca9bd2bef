"""Do intervals cover the truth, and what does a search save? On simulated endpoints."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from tpwidgets.engine.sweep import Sweep
from tpwidgets.metrics.largest import Largest
from tpwidgets.metrics.slo import Limits
from tpwidgets.workload.loads import Load
from tpwidgets.workload.rates import OpenLoad

from .results import collect
from .virtual import OUTPUT_TOKENS, Level, Point, stopped

COLUMNS = "output_tps", "rps", "ttft_p50_ms", "ttft_p95_ms", "e2e_p50_ms", "tpot_p50_ms"
RUNS = 1000
FIXED_S = 20.0
STEADY_S = 30.0
"""Windows of fixed length begin so long after the load has settled: of 32 users who ask for the
same number of tokens some fall into step, which takes them ten turns."""
TRUTH = 200
"""The truth is from a window so many times as long."""

LOADS: dict[str, Load | OpenLoad] = {
    **{f"{users} users": Load.of(users) for users in (1, 8, 32)},
    "8 requests/s": OpenLoad.of(8),
}
CASES = [
    *((name, f"{users} users") for name in ("vllm-llama-70b", "gpt-4-api") for users in (1, 8, 32)),
    *((name, f"{users} users") for name in ("lognormal", "bimodal") for users in (1, 8, 32)),
    ("vllm-llama-70b", "8 requests/s"),
]

LIMITED = "vllm-llama-70b"
LIMITS_MS = 200, 300, 600
"""Limits of TTFT's p95."""
SEARCHES, GRIDS = 20, 2
"""So many seeds for each limit; a grid's requests hardly differ from one to the next."""


def coverage(seed: int, runs: int = RUNS) -> None:
    """In how many of `runs` simulated runs 95 % intervals cover the truth."""
    collect("coverage", 1, [Covered(name, load, seed, runs) for name, load in CASES])


def economy(seed: int) -> None:
    """The requests of a search for the largest level that keeps a limit, against a fixed grid's."""
    collect("economy", 1, [Searched(ms, seed) for ms in LIMITS_MS])


@dataclass
class Covered:
    """One endpoint under one load."""

    endpoint: str
    load: str
    seed: int
    runs: int

    @property
    def label(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint, "load": self.load}

    def run(self) -> dict[str, Any]:
        """Return, per window and column: % covered, mean ± in %, and % of runs with an interval."""
        truth = self.truth()
        # each run has a seed of its own, and so has the truth
        seeds = range(1 + self.seed * (self.runs + 1), (1 + self.seed) * (self.runs + 1))
        with ProcessPoolExecutor() as pool:
            points = list(pool.map(self.points, seeds, chunksize=10))
        windows = zip(("left", "fixed"), zip(*points, strict=True), strict=True)
        return {"runs": self.runs, "seed": self.seed} | {
            window: {name: told(name, truth[name], some) for name in COLUMNS}
            | {"n": fmean(p["n"] for p in some)}
            for window, some in windows
        }

    def level(self, seed: int) -> Level:
        load = LOADS[self.load]
        return Level(self.endpoint, load, load.levels[0], seed)

    def truth(self) -> dict[str, float]:
        """Return the true figures, not by way of what is tested."""
        level = self.level(self.seed * (self.runs + 1))
        start = level.settled() + STEADY_S
        end = start + TRUTH * FIXED_S
        level.run(end)
        samples = [s for s in level.samples if start < s.ended_s <= end]
        ms = {
            name: np.array([getattr(s, f"{name}_ms") for s in samples])
            for name in ("ttft", "e2e", "tpot")
        }
        rps = len(samples) / (end - start)
        latencies = {
            f"{name}_p{p}_ms": float(np.percentile(ms[name], p))
            for name, p in (("ttft", 50), ("ttft", 95), ("e2e", 50), ("tpot", 50))
        }
        return {"output_tps": OUTPUT_TOKENS * rps, "rps": rps, **latencies}

    def points(self, seed: int) -> tuple[Point, Point]:
        """Measure until the sweep leaves the level, and, in the steady state, for a fixed time."""
        level, sweep = self.level(seed), Sweep(LOADS[self.load])
        sweep.next()
        left = level.point(stopped(level, sweep))
        level.start = level.settled() + STEADY_S
        return left, level.point(level.start + FIXED_S)


def told(name: str, true: float, points: Iterable[Point]) -> list[float | None]:
    """Return % covered, mean ± in % and in % of how many points there is an interval."""
    points = list(points)
    given = [(p[f"{name}_lo"], p[f"{name}_hi"]) for p in points if p[f"{name}_lo"] is not None]
    if not given:
        return [None, None, 0.0]
    covered = fmean(lo <= true * (1 + 1e-9) and true <= hi * (1 + 1e-9) for lo, hi in given)
    width = fmean((hi - lo) / 2 / true for lo, hi in given)
    return [100 * covered, 100 * width, 100 * len(given) / len(points)]


class Found(NamedTuple):
    """What a search found, and at what price."""

    level: int
    sure: float
    surely_not: float
    requests: int


@dataclass
class Searched:
    """One limit, for which the largest concurrency is searched."""

    ttft_p95_ms: float
    seed: int

    @property
    def label(self) -> dict[str, Any]:
        return {"TTFT p95 ≤": f"{self.ttft_p95_ms:g} ms"}

    def run(self) -> dict[str, Any]:
        """Return what was found, and at what price."""
        first = 1 + 1000 * self.seed
        with ProcessPoolExecutor() as pool:
            true = pool.submit(self.largest, first - 1)
            found = list(pool.map(self.search, range(first, first + SEARCHES)))
            grids = list(pool.map(self.grid, range(first, first + GRIDS)))
            truth = true.result()
        near = [abs(one.level - truth) <= max(1, 0.1 * truth) for one in found]
        between = [one.sure <= truth < one.surely_not for one in found]
        return {
            "seed": self.seed,
            "truth": truth,
            "found": [one.level for one in found],
            "near_pct": 100 * fmean(near),
            "between_pct": 100 * fmean(between),
            "requests": fmean(one.requests for one in found),
            "grid_requests": fmean(sum(one.values()) for one in grids),
            "grid_requests_to_twice": fmean(
                sum(sent for users, sent in one.items() if users <= 2 * truth) for one in grids
            ),
        }

    def search(self, seed: int) -> Found:
        """Search as ``concurrency="auto"`` does."""
        sweep = Sweep(Load.of("auto"), limited=True)
        points: list[Point] = []
        requests = 0
        while (command := sweep.next(points)) is not None:
            users = command["concurrency"]
            again = any(p["concurrency"] == users for p in points)  # another start, by chance
            point, sent = self._measured(sweep, users, seed + 500 * again)
            points.append(point)
            requests += sent
        largest = Largest.of(points)
        level = 0 if largest.point is None else largest.point["concurrency"]
        return Found(level, largest.sure or 0, largest.surely_not or inf, requests)

    def grid(self, seed: int) -> dict[int, int]:
        """Measure levels from 1 to 256, 10 % apart, as precisely; return the requests of each."""
        levels = [1]
        while levels[-1] < 256:
            levels.append(min(256, max(levels[-1] + 1, round(1.1 * levels[-1]))))
        requests = {}
        for users in levels:
            sweep = Sweep(Load((users,), auto=True), limited=True)
            sweep.next()
            _, requests[users] = self._measured(sweep, users, seed)
        return requests

    def largest(self, seed: int) -> int:
        """Return the largest level that keeps the limit in the long run, 400 s of each."""
        low, high = 0, 256
        while high - low > 1:
            middle = (low + high) // 2
            level = Level(LIMITED, Load.of(middle), middle, 1000 * seed + middle)
            start = level.settled() + STEADY_S
            level.run(start + 400)
            ttft_ms = [s.token_ms[0] for s in level.samples if s.ended_s > start]
            kept = float(np.percentile(ttft_ms, 95)) <= self.ttft_p95_ms
            low, high = (middle, high) if kept else (low, middle)
        return low

    def _measured(self, sweep: Sweep, users: int, seed: int) -> tuple[Point, int]:
        """Measure a level until the sweep leaves it; return its point, and requests used."""
        limits = Limits.of({"ttft_p95_ms": self.ttft_p95_ms})
        level = Level(LIMITED, Load.of(users), users, 1000 * seed + users)
        end = stopped(level, sweep, limits)
        return level.point(end, limits), len(level.samples) + level.in_flight
