"""Samples in, operating points out: what each number means is written once, in `COLUMNS`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .intervals import (
    Floats,
    Interval,
    arrival_rate_interval,
    firm,
    percentile,
    percentile_interval,
    percentile_with_failures,
    pooled_percentiles,
)
from .samples import Sample, Window
from .words import (
    COLUMNS,
    PERCENTILES,
    POINT_DTYPES,
    REQUEST_DTYPES,
    count,
    duration,
    measured,
    percent,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "operating_point", "points_table", "precise_enough", "requests_table"]

Row = dict[str, object]

CHUNKS = "chunks"
"""The `token_source` of a request whose tokens the server didn't count."""

EDGE_S = 1e-6
"""Clock arithmetic rounds; an event this close to a window's edge is on it."""

SEEN_SHARE = 0.1
"""A provisional rate is given once at least this share of the open window is fully known."""

ONE_TOKEN = 0.1
"""Chunks are tokens (and gaps inter-token latencies) where tokens_per_chunk is within 1 ± this."""

REACHED = 0.9
"""Below this share of the asked concurrency a point was not reached, unless requests failed."""

LATE_TTFT = 0.1
LATE_GAP = 0.25
"""The client was the limit where its stamps can be later than these shares of the median. A late
stamp adds to TTFT in full; in gaps it cancels out within a request, so the latter is laxer."""

MERGED_PCT = 25.0
"""Above this, gaps are said to be bunched. Not held against the client: servers that decode several
tokens a step write their chunks together."""


def operating_point(samples: Sequence[Sample], window: Window, *, provisional: bool = False) -> Row:
    """Make the row of `run.points` for one window; every name and unit is in `COLUMNS`.

    Requests are taken by time alone, whatever their phase or level, from the half-open window
    (start_s, end_s], so that adjoining windows count each event once.

    * Latencies pool the requests with status ok whose last token arrived inside the window. That
      is a sample of events: each request ends exactly once, so long requests are neither favoured
      nor left out by the window's edges.
    * Token rates count arrivals inside the window, also of requests that straddle its edges,
      failed or were stopped. Prompt tokens are credited at the first token.
    * A request that was cut short never got its usage: its chunks are worth, and its prompt is as
      long as, the mean of the requests that did.
    * While the window is open (`provisional`), requests in flight aren't samples yet; token rates
      then end where the first slot's knowledge ends, or they would be too low.

    Parameters
    ----------
    samples : sequence of Sample
        All that is known, of any level.

    Returns
    -------
    dict
        The columns of `run.points`, in order: plain values, None where unmeasured, never NaN.
    """
    start, end = window.start_s + EDGE_S, window.end_s + EDGE_S
    ended = [s for s in samples if start < s.ended_s <= end]
    ok = [s for s in ended if s.status == "ok"]
    row: Row = dict.fromkeys(POINT_DTYPES)
    row |= {
        "concurrency": window.concurrency,
        "window_start_s": float(window.start_s),
        "window_end_s": float(window.end_s),
        "window_s": float(window.end_s - window.start_s),
        "in_flight_mean": window.in_flight_mean or None,
        "client_error_p99_ms": percentile(_array(s.client_error_ms for s in ended), 0.99),
        "provisional": provisional,
    }
    row |= _outcomes(ended)
    row |= _usage(ok, ended)
    arrivals = _Arrivals.of([s for s in samples if _overlaps(s, start, end)])
    row |= _completions(ok, start, end)
    row |= _token_rates(arrivals, start, _known_until(samples, window) if provisional else end)
    row |= _latencies(ok, row)
    row |= _gaps(arrivals, start, end, row)
    row["client_limited"], row["note"] = _judge(row, ended, window)
    return row


def _outcomes(ended: list[Sample]) -> Row:
    tally = Counter(s.status for s in ended)
    n, stopped = tally["ok"], tally["stopped"]
    failed = len(ended) - n - stopped
    return {
        "n": n,
        "n_failed": failed,
        "n_stopped": stopped,
        "n_rate_limited": tally["rate_limited"],
        "error_rate": failed / (n + failed) if n + failed else None,
        "new_connections": sum(not s.reused_connection for s in ended),
    }


def _usage(ok: list[Sample], ended: list[Sample]) -> Row:
    chunks = sum(len(s.token_ms) for s in ok)
    cached = [s for s in ok if s.cached_tokens is not None and s.prompt_tokens]
    cached_of = sum(s.prompt_tokens or 0 for s in cached)
    asked = [s for s in ok if s.output_tokens is not None and s.requested_tokens]
    short = sum((s.output_tokens or 0) < s.requested_tokens for s in asked)
    per_chunk, prompt = _tokens_per_chunk(ok), _mean(s.prompt_tokens for s in ok)
    # Stopped requests are billed too, but by the measurement's end, not by the operating point.
    billed = [s for s in ended if s.status != "stopped"]
    priced = any(s.prompt_tokens is not None for s in billed)
    billed_input = sum(_prompt_tokens(s, prompt) for s in billed)
    billed_output = sum(_output_tokens(s, per_chunk) for s in billed)
    return {
        "tokens_per_chunk": per_chunk,
        "merged_pct": _pct(sum(s.merged_chunks for s in ok), chunks),
        "prompt_tokens_mean": prompt,
        "output_tokens_mean": _mean(s.output_tokens for s in ok),
        "reasoning_tokens_mean": _mean(s.reasoning_tokens for s in ok),
        "cached_pct": _pct(sum(s.cached_tokens or 0 for s in cached), cached_of),
        "short_output_pct": _pct(short, len(asked)),
        "estimated": any(s.token_source == CHUNKS for s in ok),
        "billed_input_tokens": round(billed_input) if priced else None,
        "billed_output_tokens": round(billed_output),
        "input_per_output": billed_input / billed_output if priced and billed_output else None,
    }


def _tokens_per_chunk(ok: Iterable[Sample]) -> float | None:
    """Pool the requests whose tokens the server counted."""
    counted = [s for s in ok if s.token_source != CHUNKS and s.output_tokens and s.token_ms]
    chunks = sum(len(s.token_ms) for s in counted)
    return sum(s.output_tokens or 0 for s in counted) / chunks if chunks else None


def _output_tokens(sample: Sample, per_chunk: float | None) -> float:
    """Return the server's count or, where the request was cut short, what its chunks are worth."""
    cut = sample.output_tokens is None or (sample.status != "ok" and sample.token_source == CHUNKS)
    return len(sample.token_ms) * (per_chunk or 1.0) if cut else float(sample.output_tokens or 0)


def _prompt_tokens(sample: Sample, mean: float | None) -> float:
    """Return the server's count or, where tokens came but no count, the mean of the others."""
    if sample.prompt_tokens is not None:
        return float(sample.prompt_tokens)
    return (mean or 0.0) if sample.token_ms else 0.0


@dataclass(frozen=True)
class _Arrivals:
    """Token chunks of several requests, one request after the other; `ms` since `sent`."""

    samples: list[Sample]
    ms: Floats
    sizes: NDArray[np.intp]
    first: NDArray[np.intp]
    """Where each request's first chunk is in `ms`."""

    @classmethod
    def of(cls, samples: list[Sample]) -> "_Arrivals":
        sizes = np.array([len(s.token_ms) for s in samples], dtype=np.intp)
        flat = chain.from_iterable(s.token_ms for s in samples)
        ms = np.fromiter(flat, dtype=float, count=int(sizes.sum()))
        return cls(samples, ms, sizes, np.cumsum(sizes) - sizes)

    def at_s(self) -> Floats:
        """Return when each chunk arrived, in seconds on the worker's clock."""
        return np.repeat([s.sent_s for s in self.samples], self.sizes) + self.ms / 1000

    def tokens(self, per_chunk: float | None) -> Floats:
        """Say how many tokens each chunk is worth, so that a request's chunks sum to its tokens."""
        total = np.array([_output_tokens(s, per_chunk) for s in self.samples])
        first = np.array([s.first_chunk_tokens for s in self.samples], dtype=float)
        # One chunk only, or nothing left for those after the first: all are worth the same.
        even = (self.sizes == 1) | (total <= first)
        first = np.where(even, total / self.sizes, first)
        rest = np.where(even, first, (total - first) / np.maximum(self.sizes - 1, 1))
        tokens = np.repeat(rest, self.sizes)
        tokens[self.first] = first
        return tokens


def _overlaps(s: Sample, start: float, end: float) -> bool:
    """Tell whether a chunk of it may have arrived inside the window."""
    at = [s.sent_s + ms / 1000 for ms in (s.token_ms[:1] + s.token_ms[-1:])]
    return bool(at) and at[0] <= end and at[1] > start


def _known_until(samples: Sequence[Sample], window: Window) -> float:
    """Return when the level's least known slot last ended a request: all before it is known."""
    last: dict[int, float] = {}
    for s in samples:
        if s.slot < window.concurrency:  # users of a higher level before may have left
            last[s.slot] = max(last.get(s.slot, s.ended_s), s.ended_s)
    known = min(min(last.values(), default=window.start_s), window.end_s)
    enough = known - window.start_s >= SEEN_SHARE * (window.end_s - window.start_s)
    return (known if enough else window.start_s) + EDGE_S


def _completions(ok: list[Sample], start: float, end: float) -> Row:
    if not ok:
        return {}
    ends = np.array([s.ended_s for s in ok])
    return _cell("rps", len(ok) / (end - start), arrival_rate_interval(ends, None, start, end))


def _token_rates(arrivals: _Arrivals, start: float, end: float) -> Row:
    at = arrivals.at_s()
    inside = (at > start) & (at <= end)
    if not inside.any():
        return {}
    counted = [s for s in arrivals.samples if s.status == "ok"]
    tokens = arrivals.tokens(_tokens_per_chunk(counted))[inside]
    output = float(tokens.sum()) / (end - start)
    row = _cell("output_tps", output, arrival_rate_interval(at[inside], tokens, start, end))
    mean = _mean(s.prompt_tokens for s in counted)
    if mean is not None:
        prompts = np.array([_prompt_tokens(s, mean) for s in arrivals.samples])
        given = float(prompts[inside[arrivals.first]].sum()) / (end - start)
        row |= {"input_tps": given, "total_tps": output + given}
    return row


def _latencies(ok: list[Sample], row: Row) -> Row:
    """Percentiles of the pooled requests, with intervals."""
    out: Row = {}
    ttft = _array(s.ttft_ms for s in ok)
    e2e = _array(s.e2e_ms for s in ok)
    pools = {
        "ttft": ttft,
        "ttfo": _array(s.ttfo_ms for s in ok),
        "tpot": _array(s.tpot_ms for s in ok),
        "e2e": e2e,
    }
    for name, values in pools.items():
        for label, p in PERCENTILES.items():
            out |= _cell(
                f"{name}_{label}_ms", percentile(values, p), percentile_interval(values, p)
            )
    for label, p in PERCENTILES.items():
        out[f"ttft_{label}_firm"] = firm(ttft.size, p)

    failed = int(measured(row, "n_failed") or 0)
    out["ttft_p95_incl_failures_ms"] = percentile_with_failures(ttft, failed, 0.95)
    out["e2e_p95_incl_failures_ms"] = percentile_with_failures(e2e, failed, 0.95)
    # Fast is short: the speed's lower bound is the time's upper one.
    out["user_tps_p50"] = _per_second(out["tpot_p50_ms"])
    out["user_tps_p50_lo"] = _per_second(out["tpot_p50_ms_hi"])
    out["user_tps_p50_hi"] = _per_second(out["tpot_p50_ms_lo"])
    out["e2e_tps_p50"] = percentile(_array(_e2e_tps(s) for s in ok), 0.5)
    return out


def _gaps(arrivals: _Arrivals, start: float, end: float, row: Row) -> Row:
    """Percentiles of the times between successive chunks of the requests that ended well."""
    pooled = np.array(
        [s.status == "ok" and start < s.ended_s <= end for s in arrivals.samples], dtype=bool
    )
    inner = np.repeat(pooled, arrivals.sizes)
    inner[arrivals.first] = False
    gaps = np.diff(arrivals.ms, prepend=0.0)[inner]
    sizes = arrivals.sizes[pooled & (arrivals.sizes > 1)] - 1
    per_chunk = measured(row, "tokens_per_chunk")
    chunk_is_token = per_chunk is not None and abs(per_chunk - 1) <= ONE_TOKEN
    out: Row = {}
    found = pooled_percentiles(gaps, sizes, list(PERCENTILES.values()))
    for label, (value, interval) in zip(PERCENTILES, found, strict=True):
        for name in ("gap", "itl") if chunk_is_token else ("gap",):
            out |= _cell(f"{name}_{label}_ms", value, interval)
    return out


def _cell(name: str, value: float | None, interval: Interval) -> Row:
    return {name: value, f"{name}_lo": interval[0], f"{name}_hi": interval[1]}


def _judge(row: Row, ended: list[Sample], window: Window) -> tuple[bool, str]:
    """Tell whether the client was the limit, and write all that a reader has to know."""
    reasons, notes = [], [window.note] if window.note else []
    n, failed = (int(measured(row, name) or 0) for name in ("n", "n_failed"))
    reached = window.in_flight_mean
    if 0 < reached < REACHED * window.concurrency and not failed:
        reasons.append(f"{count(reached)} of {window.concurrency} requests were in flight")
    late = measured(row, "client_error_p99_ms")
    for name, words, share in (("ttft", "TTFT", LATE_TTFT), ("gap", "chunk gap", LATE_GAP)):
        median = measured(row, f"{name}_p50_ms")
        if late is not None and median and late > share * median:
            reasons.append(f"stamps up to {duration(late)} late at a {words} of {duration(median)}")
    if reasons:
        notes.append("the client was the limit: " + ", ".join(reasons))
    if not n and not failed:
        notes.append("no request ended inside the window: count for more seconds")
    if failed:
        what = "every request" if not n else f"{failed} of {n + failed} requests"
        notes.append(f"{what} failed: {_commonest_failure(ended)}")
    merged = measured(row, "merged_pct")
    if merged is not None and merged > MERGED_PCT:
        notes.append(f"{percent(merged)} of chunks arrived together with another")
    return bool(reasons), "; ".join(notes)


def _commonest_failure(ended: list[Sample]) -> str:
    failures = [s for s in ended if s.status not in ("ok", "stopped")]
    status = Counter(s.status for s in failures).most_common(1)[0][0]
    message = next((s.message for s in failures if s.status == status and s.message), "")
    words = status.replace("_", " ")
    return f"{words} ({message.splitlines()[0][:120]})" if message.strip() else words


def _e2e_tps(s: Sample) -> float | None:
    return 1000 * s.output_tokens / s.e2e_ms if s.e2e_ms and s.output_tokens else None


def _per_second(ms: object) -> float | None:
    return 1000 / ms if isinstance(ms, float) and ms > 0 else None


def _pct(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _array(values: Iterable[float | None]) -> Floats:
    return np.array([v for v in values if v is not None], dtype=float)


def _mean(values: Iterable[float | None]) -> float | None:
    known = _array(values)
    return float(known.mean()) if known.size else None


def precise_enough(point: Mapping[str, object], target: float = 0.10) -> bool:
    """Tell whether ± of output_tps and of the median TTFT is at most `target` of their values."""
    for name in ("output_tps", "ttft_p50_ms"):
        value, lo, hi = (measured(point, name + end) for end in ("", "_lo", "_hi"))
        if not value or lo is None or hi is None or (hi - lo) / 2 > target * value:
            return False
    return True


def requests_table(samples: Iterable[Sample]) -> "pd.DataFrame":
    """Make `run.requests`: a row per request, names and units as in `COLUMNS`."""
    return _table(map(_request, samples), REQUEST_DTYPES)


def _request(s: Sample) -> Row:
    derived: Row = {
        "user_tps": _per_second(s.tpot_ms),
        "e2e_tps": _e2e_tps(s),
        "tokens_per_chunk": _tokens_per_chunk([s]),
    }
    return {k: derived[k] if k in derived else getattr(s, k) for k in REQUEST_DTYPES}


def points_table(points: Iterable[Mapping[str, object]]) -> "pd.DataFrame":
    """Make `run.points`: a row per operating point, names and units as in `COLUMNS`."""
    return _table(points, POINT_DTYPES)


def _table(rows: Iterable[Mapping[str, object]], columns: Mapping[str, str]) -> "pd.DataFrame":
    """Build a frame with the columns' dtypes, so that a column of None has its own."""
    import pandas as pd

    records = list(rows)
    return pd.DataFrame(
        {
            name: pd.Series([r.get(name) for r in records], dtype=dtype)
            for name, dtype in columns.items()
        }
    )
