"""Limits (service level objectives): what users may have to wait, and whether a point keeps them.

A latency limit is a bound on a percentile: "TTFT p95 at most 500 ms" is kept where at least 95 % of
requests waited no longer. So it is tested as a share, exactly, however few requests there are;
those that were under way together count as fewer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SettingsError
from ..words import bound, percent
from .intervals import percentile
from .shares import kept_test, share_interval, share_test

if TYPE_CHECKING:
    from .ledger import Columns

MAX_ERROR_RATE = 0.01
"""The share of requests that may fail where limits don't say."""

NAMES = {"ttft": "TTFT", "ttfo": "time to first output", "tpot": "TPOT", "e2e": "E2E latency"}
_PATTERN = re.compile(rf"({'|'.join(NAMES)})_p(\d{{1,2}}(?:\.\d+)?)_ms")
FAR = 0.6
"""Latencies of at most this share of their limits are far below them."""

_MOST = 99.9
"""The highest percentile that may be limited: beyond it none is ever sure."""

Bounds = Mapping[str, float]
Row = dict[str, object]


@dataclass(frozen=True)
class Limits:
    """What users may have to wait, at a percentile each, and how many requests may fail.

    Attributes
    ----------
    latencies : tuple of (str, float, float)
        Which latency (``ttft``, ``ttfo``, ``tpot``, ``e2e``), at which percentile (0 to 1), and how
        many ms at most.
    error_rate : float
        The share of requests that may fail, 0 to 1.
    """

    latencies: tuple[tuple[str, float, float], ...]
    error_rate: float = MAX_ERROR_RATE

    @classmethod
    def of(cls, value: "Limits | Bounds | None") -> "Limits | None":
        """Make limits of ``{"ttft_p95_ms": 500, "tpot_p95_ms": 50, "error_rate": 0.01}``.

        Any percentile from p1 to p99.9 will do. None and an empty mapping are no limits.

        Raises
        ------
        SettingsError
            Names the limit that is refused.
        """
        if value is None or isinstance(value, Limits):
            return value
        if not isinstance(value, Mapping):
            raise SettingsError(
                f'limits must be a dict such as {{"ttft_p95_ms": 500}}, not {value!r}.'
            )
        latencies, error_rate = [], MAX_ERROR_RATE
        for name, most in value.items():
            number = isinstance(most, Real) and not isinstance(most, bool) and isfinite(most)
            if name == "error_rate":
                if not number or not 0 <= most <= 1:
                    raise SettingsError(f"limit error_rate must be from 0 to 1, not {most!r}.")
                error_rate = float(most)
                continue
            told = _PATTERN.fullmatch(str(name))
            if not told or not 0 < float(told[2]) <= _MOST:
                raise SettingsError(
                    f"limit {name!r} is not known: use error_rate, or a latency at a percentile "
                    f"in ms, such as ttft_p95_ms, tpot_p50_ms, e2e_p99.9_ms."
                )
            if not number or most <= 0:
                raise SettingsError(f"limit {name} must be a number of ms above 0, not {most!r}.")
            latencies.append((told[1], float(told[2]) / 100, float(most)))
        return cls(tuple(latencies), error_rate) if value else None

    @property
    def bounds(self) -> dict[str, float]:
        """The same as `Limits.of` takes it."""
        latencies = {f"{name}_{_label(p)}_ms": bound for name, p, bound in self.latencies}
        return {**latencies, "error_rate": self.error_rate}

    @property
    def text(self) -> str:
        """The limits in words: ``TTFT p95 ≤ 500 ms, errors ≤ 1 %``."""
        parts = [f"{NAMES[name]} {_label(p)} ≤ {bound(ms)}" for name, p, ms in self.latencies]
        return ", ".join([*parts, f"errors ≤ {percent(100 * self.error_rate)}"])

    def good(self, c: "Columns") -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        """Tell which requests, all of which ended well, meet every limit; shape (requests,).

        Of several limits on one latency the widest counts: the others leave some requests to
        exceed them. What a request doesn't have (TPOT below two tokens) it doesn't exceed.
        """
        met = np.ones(len(c), dtype=bool)
        for name in {name for name, _, _ in self.latencies}:
            widest = max(ms for other, _, ms in self.latencies if other == name)
            met &= ~(c[f"{name}_ms"] > widest)
        return met


def _label(p: float) -> str:
    return f"p{100 * p:.4g}"


def assess(
    limits: Limits, ok: "Columns", n_failed: int, at_once: float, *, growing: bool = False
) -> Row:
    """Judge a point: columns ``slo_attainment`` to ``limits_note`` of `metrics.points.COLUMNS`.

    And ``limits_far``, for a search: all latencies are far below their limits.

    A limit on what no request has (TPOT, where each has one token) can't be judged: unless another
    one is broken, nobody knows whether all are kept.

    Parameters
    ----------
    ok : Columns
        The requests that ended well inside the window.
    n_failed : int
        How many failed inside it.
    at_once : float
        How many requests were under way at once.
    growing : bool
        Whether a queue grew: who comes later waits longer, whatever was measured.
    """
    ended = len(ok) + n_failed
    if not ended:
        return {}
    ok = ok.in_order()
    verdicts = [_errors(limits, n_failed, ended)]
    if growing:
        verdicts.append(_Verdict(False, True, "a queue grows"))
    unknown, far = [], True
    for name, p, ms in limits.latencies:
        values = ok[f"{name}_ms"]
        values = values[~np.isnan(values)]
        value = percentile(values, p)
        if value is None:
            unknown.append(f"no request has a {NAMES[name]} to be judged by")
            continue
        far &= value <= FAR * ms
        tested = kept_test(values, ms, p, at_once)
        said = f"{NAMES[name]} {_label(p)} is {_above(value, ms)}, above {ms:,g} ms"
        verdicts.append(_Verdict(value <= ms, (value <= ms) is tested, said))
    broken = [verdict for verdict in verdicts if not verdict.kept]
    known = bool(broken) or not unknown
    sure = any(v.sure for v in broken) if broken else all(v.sure for v in verdicts)
    good = int(limits.good(ok).sum())
    lo, hi = share_interval(good, ended)
    return {
        "slo_attainment": good / ended,
        "slo_attainment_lo": lo,
        "slo_attainment_hi": hi,
        "limits_hold": not broken if known else None,
        "limits_sure": sure if known else None,
        "limits_note": "; ".join([verdict.said for verdict in broken] or unknown),
        "limits_far": far and not broken and not unknown,
    }


@dataclass(frozen=True)
class _Verdict:
    """Whether one limit is kept, whether that is beyond doubt, and what to say if it is not."""

    kept: bool
    sure: bool
    said: str


def _errors(limits: Limits, failed: int, ended: int) -> _Verdict:
    """Judge failures. That few fail takes hundreds of requests to prove: it is not asked for."""
    kept = failed <= limits.error_rate * ended
    tested = share_test(ended - failed, ended, 1 - limits.error_rate)
    most = percent(100 * limits.error_rate)
    said = f"{percent(100 * failed / ended)} of requests failed, more than {most}"
    return _Verdict(kept, kept or tested is False, said)


def _above(value: float, ms: float) -> str:
    """Write a latency by three digits or, where it would seem to be the limit, by more."""
    written = (f"{float(f'{value:.{digits}g}'):,g}" for digits in (3, 4, 5, 6))
    return next((said for said in written if said != f"{ms:,g}"), f"{value:,.6g}") + " ms"
