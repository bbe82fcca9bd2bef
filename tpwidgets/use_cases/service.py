"""Service: how long a measured endpoint takes for a request, by how many it has in flight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..metrics.intervals import turns_interval
from ..metrics.pooled import within
from ..metrics.usable import usable as judged_usable
from ..samples import Window
from ..words import measured

if TYPE_CHECKING:
    from ..run import Run

Floats = NDArray[np.float64]
Point = Mapping[str, object]

FLAT = 0.03
"""Levels whose throughput differs by less than this share are no gain over each other."""

MIN_BLOCKS = 4
"""Where users took fewer turns, parts of a turn tell how means differ."""

DOUBT = 0.25
"""By how much, as a share, what is foretold of TTFT may be off, beside chance."""

LEAST = 0.1
"""TTFT alone is at least this share of what was measured at the lowest level."""


def usable(point: Point) -> bool:
    """Tell whether a point is one to run at (`metrics.usable`), of an endpoint that streams."""
    streams = measured(point, "output_tps") and measured(point, "ttft_p50_ms")
    return bool(streams and measured(point, "n") and judged_usable(point))


@dataclass(frozen=True, eq=False)
class Curve:
    """How long an endpoint takes for a request, by how many it has in flight.

    A request in flight makes progress at 1/e2e_s(n) of itself per second while n are; between the
    measured n it is interpolated in log space, below the lowest it is taken for the same. A server
    that is full (`most`, at most the highest n that was measured) lets others wait, first come,
    first served. A new request joins with the next step of those in flight, which reads its prompt
    and those of all that joined meanwhile (`prompt_s` each): that, what the first token takes alone
    (`alone_s`) and the waiting are its TTFT.

    Against the physics of simulated servers (``vllm-llama-70b`` with 256, 1000 and 1528 prompt
    tokens, ``laptop-8b``; Poisson arrivals at 10 to 80 % of what they can do, known from closed
    loops), the medians of TTFT and of E2E latency come out within 15 %, and so does E2E latency's
    p95. TTFT's p95 comes out up to 17 % too low: the bounds are apart by `DOUBT` for that. Where
    more come than were in flight at the highest level measured, it comes out too high, since the
    rest wait: a higher level says more.
    `tests/test_capacity.py` checks some of these loads. (TTFT of the closed loops themselves is up
    to seven times as long, since their users come back together.)
    """

    in_flight: tuple[float, ...]
    """Measured means, in ascending order."""
    e2e_s: tuple[float, ...]
    """The mean E2E latency at each."""
    alone_s: Floats
    """TTFT of a request that meets no other, as a sample, shape (any,)."""
    prompt_s: float = 0.0
    """What each prompt before it adds to a request's TTFT."""
    output_tokens: float = 1.0
    """The mean of a request."""
    doubt: float = 1.0
    """What TTFT is multiplied with, for what such a model may be wrong by."""
    spread: Floats | None = None
    """E2E latency of single requests over the mean of their level, as a sample; None: all alike."""

    @property
    def rates(self) -> Floats:
        """Requests per second at each measured n (Little's law)."""
        return np.divide(self.in_flight, self.e2e_s)

    @property
    def most(self) -> int:
        """How many are served at once: the lowest measured n above which throughput stays."""
        rates = self.rates
        flat = abs(rates / rates[-1] - 1) < FLAT
        changing = np.flatnonzero(~flat)
        return max(1, round(self.in_flight[int(changing[-1]) + 1 if changing.size else 0]))

    @property
    def rising(self) -> bool:
        """Whether throughput may rise beyond the highest n measured, as far as is known."""
        rates = self.rates
        return len(rates) == 1 or bool(rates[-1] > (1 + FLAT) * rates[:-1].max())

    @property
    def best(self) -> int:
        """The lowest measured n at which throughput is, but for 3 %, the highest."""
        rates = self.rates
        return max(1, round(self.in_flight[int(np.argmax(rates > (1 - FLAT) * rates.max()))]))

    def table(self, most: int) -> Floats:
        """Return the mean E2E latency at 0, 1, … `most` in flight; at 0 it is that at 1."""
        n = np.log(np.maximum(1, np.arange(most + 1)))
        log_s = np.interp(n, np.log(self.in_flight), np.log(self.e2e_s))
        return np.exp(log_s)

    @classmethod
    def of(cls, run: "Run", bound: str = "") -> "Curve | None":
        """Take it from a run's usable points, or at their ``"_lo"`` or ``"_hi"`` bounds of time.

        None where there are none.
        """
        # a level measured again replaces the former
        levels = {
            (p.get("rate"), p["concurrency"]): (p, window)
            for p, window in zip(run.rows, run.windows, strict=True)
            if usable(p) and measured(p, "output_tokens_mean")
        }
        if not levels:
            return None
        chosen = sorted(levels.values(), key=lambda pair: _in_flight(pair[0]))
        points = [point for point, _ in chosen]
        output_tokens = float(np.mean([measured(p, "output_tokens_mean") for p in points]))
        e2e_s, wider, alone_s, prompt_s, spread = _requests(run, chosen, output_tokens)
        e2e_s *= {"_lo": 1 / wider, "": np.ones(len(points)), "_hi": wider}[bound]
        e2e_s = np.maximum.accumulate(e2e_s)  # nobody is served faster for the company
        ttft = float(np.mean([_ratio(p, "ttft_p50_ms", bound) for p in points]))
        n = np.array([_in_flight(p) for p in points])
        # prompts aren't read more slowly than requests are served
        prompt_s = min(prompt_s * ttft, float((e2e_s / n).min()))
        levels_n, levels_s = tuple(n.tolist()), tuple(e2e_s.tolist())
        doubt = {"_lo": 1 / (1 + DOUBT), "": 1.0, "_hi": 1 + DOUBT}[bound]
        return cls(levels_n, levels_s, alone_s * ttft, prompt_s, output_tokens, doubt, spread)


def _ratio(point: Point, name: str, bound: str) -> float:
    """Return how far a column's bound is from its value; 1 where it has none."""
    value, end = measured(point, name), measured(point, f"{name}{bound}")
    return end / value if end and value else 1.0


def _in_flight(point: Point) -> float:
    return measured(point, "in_flight_mean") or measured(point, "concurrency") or 1.0


def _requests(
    run: "Run", points: Sequence[tuple[Point, Window]], output_tokens: float
) -> tuple[Floats, Floats, Floats, float, Floats]:
    """Tell the points' mean E2E latencies, TTFT alone, what another prompt adds, and the spread.

    The mean of the requests that ended is steadier than what Little's law makes of a short window's
    tokens/s, since users of a closed loop come back together. The second array has the upper 95 %
    bounds of these means over them.

    When users come back together their prompts wait for each other, more than those of independent
    users do. How many others got their first token while one waited is known, so TTFT, less half a
    step and what steps are longer than alone, is taken for ``alone + prompt · others`` and fitted
    by least squares, all levels with the same weight.
    """
    ok = [s for s in run.samples if s.status == "ok" and s.ttft_ms is not None]
    sent, ended = (np.array([getattr(s, f"{name}_s") for s in ok]) for name in ("sent", "ended"))
    ttft = np.array([s.ttft_ms for s in ok], dtype=float) / 1000
    e2e = ended - sent
    firsts = np.sort(sent + ttft)
    means, wider, waits, before, spread, steps, weights = [], [], [], [], [], [], []
    for point, window in points:
        mine = within(window, ended)
        means.append(float(e2e[mine].mean()))
        wider.append(_wider(e2e[mine][np.argsort(ended[mine])], round(_in_flight(point))))
        ttft_s = float(ttft[mine].mean())
        steps.append(max(0.0, means[-1] - ttft_s) / max(1.0, output_tokens - 1))
        weights.append(np.full(mine.sum(), 1 / (ttft_s * mine.sum() ** 0.5)))
        spread.append(e2e[mine] / means[-1])
        # prompts that were read in the same step count as well
        until = sent[mine] + ttft[mine] + steps[-1] / 2
        others = np.searchsorted(firsts, until) - np.searchsorted(firsts, sent[mine]) - 1
        before.append(np.maximum(0, others))
        met = _in_flight(point) > 1.5  # else there is no step to join
        waits.append(ttft[mine] - steps[-1] / 2 * met - max(0.0, steps[-1] - steps[0]))
    y, x, weight = (np.concatenate(parts) for parts in (waits, before, weights))
    design = np.stack([np.ones(len(x)), x], axis=1) * weight[:, None]
    alone, each = np.linalg.lstsq(design, y * weight, rcond=None)[0]
    each = float(each) if alone > 0 and each > 0 else 0.0
    lowest = waits[0] + steps[0] / 2 * (_in_flight(points[0][0]) > 1.5)
    alone_s = np.maximum(waits[0] - each * before[0], LEAST * float(lowest.mean()))
    return np.array(means), np.array(wider), alone_s, each, np.concatenate(spread)


def _wider(e2e_s: Floats, users: int) -> float:
    """Return a mean's upper 95 % bound over it, from the means of turns of all users."""
    blocks = max(e2e_s.size // users, MIN_BLOCKS)
    if e2e_s.size < blocks:
        return 1.0
    means = np.array([block.mean() for block in np.array_split(e2e_s, blocks)])
    mean = float(means.mean())
    high = turns_interval(means, np.ones(blocks), 1, mean, float(blocks))[1]
    return 1.0 if high is None else high / mean
