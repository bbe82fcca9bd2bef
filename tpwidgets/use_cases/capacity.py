"""Capacity: what a measured endpoint makes of load that was not measured, in virtual time.

A division of averages knows no queue. So the measured endpoint is played through: requests arrive
as they are asked to, slow each other down as the operating points say, and wait where there are too
many. Times are seconds, but for what stands in columns (``_ms``).
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from math import ceil, inf
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SettingsError
from .service import Curve, Floats

if TYPE_CHECKING:
    from ..run import Run

SEEDS = (0, 1, 2)
"""Random arrivals are drawn so many times."""

MIN_PLAYED = 1500
MAX_PLAYED = 20_000
"""So many requests are played through for each draw; between these, ten for each in flight."""

PRECISE = 0.02
"""A highest rate is found to this share."""

MOST_REPLICAS = 16
"""For more replicas than this each is taken to have its share of the requests to itself."""

Bounds = tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What requests got that arrived at known times; arrays of shape (requests,), by arrival."""

    at_s: Floats
    ttft_ms: Floats
    e2e_ms: Floats
    tpot_ms: Floats

    @property
    def finished_s(self) -> float:
        """When the last request ended."""
        return float((self.at_s + self.e2e_ms / 1000).max())

    def percentile_ms(self, name: str) -> float:
        """Return ``ttft_p95_ms``, ``e2e_p50_ms``, ``tpot_p99_ms`` …, without the first tenth.

        The first tenth came to an empty server.
        """
        latency, p, _ = name.split("_")
        values = getattr(self, f"{latency}_ms")
        return float(np.quantile(values[len(values) // 10 :], float(p[1:]) / 100))

    def keeps(self, limits: Mapping[str, float]) -> bool:
        """Tell whether all percentiles are within the limits, given in ms by their column."""
        return all(self.percentile_ms(name) <= ms for name, ms in limits.items())


def simulate(
    curve: Curve, at_s: Floats, *, replicas: int = 1, most: int | None = None, seed: int = 0
) -> Outcome:
    """Let requests arrive, each at the replica with the fewest in flight, and see what they get.

    Parameters
    ----------
    curve : Curve
        Of one replica.
    at_s : array of shape (requests,)
        When they arrive, in ascending order.
    most : int, optional
        How many a replica is given at once; None: as many as it takes. Others wait.
    seed : int
        For what is drawn of the curve's samples.
    """
    most = curve.most if most is None else most
    e2e_s, rng, count = curve.table(most).tolist(), np.random.default_rng(seed), len(at_s)
    steps = np.maximum(0, np.array(e2e_s) - curve.alone_s.mean()) / max(1, curve.output_tokens - 1)
    step_s, longer_s = [0.0, *steps[1:].tolist()], np.maximum(0, steps - steps[0]).tolist()
    alone_s = rng.choice(curve.alone_s, count).tolist()
    work = [1.0] * count if curve.spread is None else rng.choice(curve.spread, count).tolist()
    part = rng.random(count).tolist()  # of a step, which the first token waits for
    first_s, ended_s = [0.0] * count, [0.0] * count
    load, done, since = [0] * replicas, [0.0] * replicas, [0.0] * replicas
    version, begins = [0] * replicas, [0.0] * replicas  # when the next step with prompts begins
    joining: list[list[int]] = [[] for _ in range(replicas)]  # whose prompts that step reads
    serving: list[list[tuple[float, int]]] = [[] for _ in range(replicas)]
    events: list[tuple[float, int, int]] = []  # when a replica's next request ends
    waiting: deque[int] = deque()

    def advance(r: int, now: float) -> None:
        done[r] += (now - since[r]) / e2e_s[load[r]]
        since[r] = now

    def next_end(r: int, now: float) -> None:
        version[r] += 1
        if serving[r]:
            left = max(0.0, serving[r][0][0] - done[r])
            heappush(events, (now + left * e2e_s[load[r]], version[r], r))

    def read(r: int) -> float:
        """Read the prompts of a step, which get their first tokens together, when it ends."""
        others_s = max(0, len(joining[r]) - 1) * curve.prompt_s
        for i in joining[r]:
            first_s[i] = begins[r] + others_s + alone_s[i] + longer_s[load[r]]
        ends = begins[r] + len(joining[r]) * curve.prompt_s
        joining[r].clear()
        return ends

    def begin(i: int, r: int, now: float) -> None:
        if now >= begins[r]:
            ends = read(r)
            begins[r] = ends if ends > now else now + part[i] * step_s[load[r]]
        load[r] += 1
        joining[r].append(i)
        heappush(serving[r], (done[r] + work[i], i))

    arrivals = at_s.tolist()
    i = 0
    while i < count or events:
        if i < count and (not events or arrivals[i] <= events[0][0]):
            now, r = arrivals[i], load.index(min(load))
            if load[r] < most:
                advance(r, now)
                begin(i, r, now)
                next_end(r, now)
            else:
                waiting.append(i)
            i += 1
            continue
        now, current, r = heappop(events)
        if current != version[r]:
            continue
        advance(r, now)
        ended_s[heappop(serving[r])[1]] = now
        load[r] -= 1
        if waiting:
            begin(waiting.popleft(), r, now)
        next_end(r, now)
    for r in range(replicas):
        read(r)
    e2e = np.array(ended_s) - at_s
    ttft = np.minimum(curve.doubt * (np.array(first_s) - at_s), e2e)
    tpot = (e2e - ttft) / max(1.0, curve.output_tokens - 1)
    return Outcome(at_s, 1000 * ttft, 1000 * e2e, 1000 * tpot)


def arrivals(
    kind: str, rate: float, count: int, *, seed: int = 0, burstiness: float = 0.5
) -> Floats:
    """Return when `count` requests arrive at `rate` per second, in s.

    Parameters
    ----------
    kind : {"constant", "poisson", "gamma", "at-once"}
    burstiness : float
        The gamma distribution's shape: 1 is Poisson, below requests come in bursts.

    Raises
    ------
    SettingsError
        For any other kind.
    """
    rng = np.random.default_rng(seed)
    if kind == "at-once":
        return np.zeros(count)
    if kind == "constant":
        return np.arange(count) / rate
    if kind == "poisson":
        return np.cumsum(rng.exponential(1 / rate, count))
    if kind == "gamma":
        return np.cumsum(rng.gamma(burstiness, 1 / (rate * burstiness), count))
    raise SettingsError(f"arrivals must be constant, poisson, gamma or at-once, not {kind!r}.")


def through_the_day(
    count: int, hourly: Sequence[float], *, seed: int = 0, burstiness: float = 1.0
) -> Floats:
    """Return when `count` requests arrive in a day, in s since midnight.

    Parameters
    ----------
    hourly : sequence of 24 floats
        How much comes in each hour, in any unit.
    burstiness : float
        As in `arrivals`.
    """
    rng = np.random.default_rng(seed)
    shares = np.concatenate(([0.0], np.cumsum(hourly))) / np.sum(hourly)
    if burstiness == 1:
        drawn = np.sort(rng.random(count))
    else:
        gaps = np.cumsum(rng.gamma(burstiness, size=count + 1))
        drawn = gaps[:-1] / gaps[-1]
    return np.interp(drawn, shares, 3600 * np.arange(len(shares)))


@dataclass(frozen=True)
class Between:
    """A figure with its interval: both the points' 95 % bounds and random arrivals are in it."""

    value: float
    lo: float
    hi: float

    def __mul__(self, factor: float) -> "Between":
        if not factor:  # of what has no end, too
            return Between(0.0, 0.0, 0.0)
        return Between(self.value * factor, self.lo * factor, self.hi * factor)

    def rate_of(self, total: float) -> "Between":
        """Return `total` over it: the interval's ends change places."""
        return Between(total / self.value, total / self.hi, total / self.lo)


@dataclass(frozen=True)
class Capacity:
    """A measured endpoint as its points say, and as their bounds do."""

    middle: Curve
    fast: Curve
    slow: Curve

    @classmethod
    def of(cls, run: "Run") -> "Capacity | None":
        """Take it from a run; None where no point is usable."""
        middle, fast, slow = (Curve.of(run, bound) for bound in ("", "_lo", "_hi"))
        return cls(middle, fast, slow) if middle and fast and slow else None

    def _each(self, figure: Callable[[Curve, int], float], seeds: Sequence[int] = SEEDS) -> Between:
        """Work a figure out on each curve, with each draw of random arrivals."""
        middle = float(np.median([figure(self.middle, seed) for seed in seeds]))
        others = [figure(curve, seed) for curve in (self.fast, self.slow) for seed in seeds]
        return Between(middle, min(middle, *others), max(middle, *others))

    def percentile(self, name: str, at_s: Floats) -> Between:
        """Return a percentile, ms (`Outcome.percentile_ms`), of requests that arrive so."""
        return self._each(
            lambda curve, seed: simulate(curve, at_s, seed=seed).percentile_ms(name), seeds=(0,)
        )

    def time_for(self, count: int, replicas: int = 1) -> Between:
        """Return how long a job of `count` requests takes, in s, shared evenly by replicas."""
        share = ceil(count / replicas)
        return self._each(lambda curve, seed: job_s(curve, share, seed), seeds=(0,))

    def highest_rate(self, limits: Mapping[str, float], burstiness: float = 1.0) -> Between:
        """Return the requests per second that one replica can be given within the limits.

        0 where even a trickle breaks them.
        """
        bounds = tuple(limits.items())
        return self._each(lambda curve, seed: _highest_rate(curve, bounds, burstiness, seed))

    def replicas(
        self, rate: float, limits: Mapping[str, float], burstiness: float = 1.0
    ) -> Between | None:
        """Return how many replicas keep the limits at `rate` requests per second.

        None where no number is enough: a request alone breaks them. At the bounds that may be so
        too; then the upper end is infinite.
        """
        bounds = tuple(limits.items())
        found = self._each(lambda curve, seed: _replicas(curve, rate, bounds, burstiness, seed))
        return None if found.value == inf else found


def job_s(curve: Curve, count: int, seed: int = 0) -> float:
    """Return how long `count` requests take, in s, of which as many as is best are sent at once.

    Only the first ones are played through: once as many are in flight as is best, they end at a
    steady rate.
    """
    played = min(count, _enough(curve))
    took = simulate(curve, np.zeros(played), most=curve.best, seed=seed).finished_s
    return took + (count - played) * float(curve.table(curve.best)[-1]) / curve.best


@lru_cache(maxsize=32)
def _highest_rate(curve: Curve, bounds: Bounds, burstiness: float, seed: int) -> float:
    limits = dict(bounds)
    low, high = 0.0, float(curve.rates.max())
    trickle = high / 100
    if not simulate(curve, arrivals("constant", trickle, 200), seed=seed).keeps(limits):
        return 0.0
    while high - low > PRECISE * high:
        rate = (low + high) / 2
        due = independent(rate, _enough(curve), burstiness, seed)
        keeps = simulate(curve, due, seed=seed).keeps(limits)
        low, high = (rate, high) if keeps else (low, rate)
        if high < trickle:
            return 0.0
    return low


def _replicas(curve: Curve, rate: float, bounds: Bounds, burstiness: float, seed: int) -> float:
    each = _highest_rate(curve, bounds, burstiness, seed)
    if not each:
        return inf
    # all together they serve no less than if each had its share alone
    low, high = ceil(rate / float(curve.rates.max())) - 1, max(1, ceil(rate / each))
    while high - low > 1 and high <= MOST_REPLICAS:
        middle = (low + high) // 2
        due = independent(rate, _enough(curve, middle), burstiness, seed)
        keeps = simulate(curve, due, replicas=middle, seed=seed).keeps(dict(bounds))
        low, high = (low, middle) if keeps else (middle, high)
    return high


def independent(rate: float, count: int, burstiness: float, seed: int = 0) -> Floats:
    """Return when `count` people arrive who don't know of each other, or in bursts (`arrivals`)."""
    kind = "poisson" if burstiness == 1 else "gamma"
    return arrivals(kind, rate, count, seed=seed, burstiness=burstiness)


def _enough(curve: Curve, replicas: int = 1) -> int:
    return min(MAX_PLAYED, max(MIN_PLAYED, 10 * curve.most * replicas))
