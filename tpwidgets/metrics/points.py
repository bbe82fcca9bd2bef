"""Samples in, operating points out: what each number means is written once, in `COLUMNS`."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from ..samples import Sample, Window
from ..words import COLUMNS, PERCENTILES, POINT_DTYPES, is_whole, measured
from .arrivals import Floats, Grid, gaps, tokens_course
from .drift import drift_notes, settling
from .intervals import (
    BINS,
    NONE,
    Interval,
    arrival_rate_interval,
    firm,
    percentile,
    percentile_with_failures,
    percentiles,
    pooled_percentiles,
    rate_interval,
)
from .ledger import CLIENT_LIMIT, OK, RATE_LIMITED, STOPPED, Columns, Ledger
from .offered import offered, queue_grows
from .pooled import pooled_rates, unlike, within
from .ramp import UNSTEADY
from .slo import Limits, assess
from .turns import EDGE_S, OPENING_SHARE, by_turns, known_until, whole_turns
from .verdict import judge

__all__ = ["COLUMNS", "operating_point", "precise_enough"]

Row = dict[str, object]
Masks = NDArray[np.bool_]

ONE_TOKEN = 0.1
"""Chunks are tokens (and gaps inter-token latencies) where tokens_per_chunk is within 1 ± this."""

OVERTOLD = 1.05
"""A server that tells more than this share of the TTFT means something else by its times."""

HEADLINE = (("output_tps", "ttft_p50_ms"), ("items_per_s", "e2e_p50_ms"))
"""The columns that a sweep goes by: where tokens stream, and where answers come whole."""

LIVE = {"ttft": ("p50", "p95"), "tpot": ("p50",), "e2e": ("p50",)}
"""The percentiles that a board draws, and a sweep decides by, while a window is open."""


def operating_point(
    samples: Sequence[Sample], window: Window, *, provisional: bool = False,
    limits: Limits | None = None,
) -> Row:  # fmt: skip
    """Make the row of `run.points` for one window; every name and unit is in `COLUMNS`.

    Requests are taken by time alone, whatever their phase or level, from the half-open window
    (start_s, end_s], so that adjoining windows count each event once.

    * Latencies pool the requests with status ok whose last token arrived inside the window. That
      is a sample of events: each request ends exactly once, so long requests are neither favoured
      nor left out by the window's edges.
    * Rates count what arrived in whole turns of a user (`whole_turns`), tokens also of requests
      that straddle the edges, failed or were stopped. Prompt tokens are credited at the first
      token. Of requests that straddle the edges that share counts which lies within (`by_turns`):
      users who fell into step end theirs together, just inside the edges or just outside.
    * A request that was cut short never got its usage: its chunks are worth, and its prompt is as
      long as, the mean of the requests that did.
    * An open loop has no users, hence no turns: its rates are counted over the whole window, and
      while that is open up to when the oldest request in flight was sent (`offered.py`).
    * While the window is open (`provisional`), requests in flight aren't samples yet; token rates
      then end where the first slot's knowledge ends, or they would be too low, and are counted to
      20 ms. What nobody looks at so early (gaps, p99, the intervals of rps) is left out.
    * Amid a ramp (`Window.ramp`) latencies pool the requests that were sent inside the window,
      whenever they ended; nothing is taken for steady, so nothing has an interval, is firm, or is
      judged by limits.
    * A window of repeats (`Window.parts`) pools the requests of all its parts; its rates are all
      that these counted over all the time they took (`pooled_rates`).

    Parameters
    ----------
    samples : sequence of Sample
        All that is known, of any level. A `Ledger` remembers what was computed from it.
    limits : Limits, optional
        What the point is judged by.

    Returns
    -------
    dict
        The columns of `run.points`, in order: plain values, None where unmeasured, never NaN.
    """
    ledger = Ledger.of(samples)
    start, end = window.start_s + EDGE_S, window.end_s + EDGE_S
    c = ledger.since(start - OPENING_SHARE * (end - start) - EDGE_S)

    def make() -> Row:
        return _row(ledger, c, window, provisional, limits)

    if provisional:
        return make()
    # requests that were in flight at the window's end still bring tokens that belong to it
    touching = int(((c["ended_s"] > start) & (c["sent_s"] <= end)).sum())
    return dict(ledger.once((astuple(window), limits), touching, make))


def _row(
    ledger: Ledger, c: Columns, window: Window, provisional: bool, limits: Limits | None
) -> Row:
    start, end = window.start_s + EDGE_S, window.end_s + EDGE_S
    ramp = window.ramp
    ended = c.where(within(window, c["ended_s" if ramp is None else "sent_s"]))
    ok = ended.where(ended["status"] == OK)
    row: Row = dict.fromkeys(POINT_DTYPES)
    row |= {
        "concurrency": window.concurrency,
        "window_start_s": float(window.start_s),
        "window_end_s": float(window.end_s),
        "window_s": float(window.length_s),
        "in_flight_mean": window.in_flight_mean or None,
        "client_error_p99_ms": percentile(ended["client_error_ms"], 0.99),
        "provisional": provisional,
    }
    row |= _outcomes(ended)
    row |= _usage(ok, ended)
    known = known_until(c, start, end, window) if provisional else end
    parts = [_row(ledger, c, part, provisional, limits) for part in window.parts]
    if parts:
        row, known = row | pooled_rates(parts), None
    else:
        row |= _rates(ledger, c, ok, (start, known, end), window, provisional)
        waits = bool(window.rate) and not provisional and ramp is None
        row["queue_grows"] = waits and queue_grows(c, start, end)
    at_once = ok.at_once
    if parts:  # none was under way between them
        at_once *= (window.end_s - window.start_s) / window.length_s
    row |= _latencies(ok, row, at_once, provisional)
    if limits is not None and ramp is None:
        failures, growing = int(measured(row, "n_failed") or 0), bool(row["queue_grows"])
        row |= assess(limits, ok, failures, at_once, growing=growing)
        if not parts:
            row |= _goodput(c, row, limits, window)
    if window.rate is not None:
        row |= offered(c, ended, ok, window, start, known, at_once, provisional=provisional)
    row |= _ttft_parts(ok)
    if not provisional:
        row |= _gaps(ok, row, at_once)
    failed = ended.where(ended["status"] >= RATE_LIMITED)
    unsent = ended.where(ended["status"] == CLIENT_LIMIT)
    late_ms = float(ended["client_error_ms"].mean()) if len(ended) else None
    row["client_limited"], row["note"] = judge(
        row, failed.samples, unsent.samples, window, _gap_ms(ok, row), late_ms,
        sum(s.phase == "cooldown" for s in ok.samples) if ramp is not None else 0,
    )  # fmt: skip
    if ramp is not None:
        row |= UNSTEADY | {"ramp_from": float(ramp[0]), "ramp_to": float(ramp[1])}
    elif not provisional:
        drifts = [] if row["queue_grows"] else drift_notes(ok, window)
        row["note"] = "; ".join(filter(None, (str(row["note"]), *unlike(parts), *drifts)))
    return row


def _outcomes(ended: Columns) -> Row:
    status = ended["status"]
    n, failed = int((status == OK).sum()), int((status >= RATE_LIMITED).sum())
    return {
        "n": n,
        "n_failed": failed,
        "n_stopped": int((status == STOPPED).sum()),
        "n_client_limit": int((status == CLIENT_LIMIT).sum()),
        "n_rate_limited": int((status == RATE_LIMITED).sum()),
        "error_rate": failed / (n + failed) if n + failed else None,
        "new_connections": int((ended["reused_connection"] == 0).sum()),
    }


def _usage(ok: Columns, ended: Columns) -> Row:
    prompt = ok["prompt_tokens"]
    cached, reasoning = (_or_none(ok[f"{name}_tokens"]) for name in ("cached", "reasoning"))
    told = (prompt > 0) & ~np.isnan(cached)
    output, requested = ok["output_tokens"], ok["requested_tokens"]
    asked = (requested > 0) & ~np.isnan(output)
    # Stopped requests are billed too, but by the measurement's end, not by the operating point.
    billed = ended.where(ended["status"] != STOPPED)
    per_chunk, prompt_mean = ok.tokens_per_chunk(), _mean(prompt)
    priced = not np.isnan(billed["prompt_tokens"]).all()
    billed_input = float(billed.prompt_tokens(prompt_mean).sum())
    billed_output = float(billed.tokens(per_chunk).sum())
    return {
        "tokens_per_chunk": per_chunk,
        "merged_pct": _pct(ok["merged_chunks"].sum(), ok["chunks"].sum()),
        "items_mean": _mean(ok["items"]),
        "prompt_tokens_mean": prompt_mean,
        "output_tokens_mean": _mean(output),
        "reasoning_tokens_mean": _mean(reasoning),
        "cached_pct": _pct(cached[told].sum(), prompt[told].sum()),
        "short_output_pct": _pct(float((output < requested)[asked].sum()), float(asked.sum())),
        "estimated": bool((ok["estimated"] == 1).any()),
        "billed_input_tokens": round(billed_input) if priced else None,
        "billed_output_tokens": round(billed_output),
        "input_per_output": billed_input / billed_output if priced and billed_output else None,
    }


def _rates(
    ledger: Ledger, c: Columns, ok: Columns, span: tuple[float, float | None, float],
    window: Window, provisional: bool,
) -> Row:  # fmt: skip
    """Count over whole turns, if there are users; `span`: from when, until when known, and to."""
    start, known, end = span
    users = window.rate is None and window.ramp is None
    turns = whole_turns(c, start, known or end) if users else None
    out: Row = {}
    since, until = turns or (start, end)
    if len(ok) and until > since:
        # where tokens stream, an open window is judged by these, not by its requests
        by_tokens = provisional and bool(ok["chunks"].any())
        out |= _completions(c, c["status"] == OK, since, until, window, by_tokens=by_tokens)
        out |= _items(ok, out)
    if known is None:
        return out
    since, until = turns or (start, known)
    out |= {"rates_start_s": since - EDGE_S, "rates_end_s": until - EDGE_S}
    length = until - since
    if length <= 0:
        return out
    first_s, last_s = (c["sent_s"] + c[name] / 1000 for name in ("ttft_ms", "last_ms"))
    arrived = c.where((first_s <= until) & (last_s > since))
    tokens = 0.0
    if len(arrived):
        per_chunk = arrived.where(arrived["status"] == OK).tokens_per_chunk()
        if not provisional:
            course = tokens_course(arrived.streams(per_chunk), since, until)
        else:
            course = ledger.grid(per_chunk).up_to
        bins = min(BINS, int(length / Grid.STEP_S))
        counts = np.diff(course(np.linspace(since, until, max(bins, 1) + 1)))
        tokens = float(counts.sum())
        rate = tokens / length
        _, interval = by_turns(c, c.tokens(per_chunk), since, until, rate, users=users)
        if interval == NONE:
            interval = rate_interval(counts, length / max(bins, 1))
        out |= _cell("output_tps", rate, interval)
    # prompts count from the first token on or, where none stream, from the answer
    credited_s = np.where(np.isnan(first_s), c["ended_s"], first_s)
    begun = c.where((credited_s > since) & (credited_s <= until))
    prompt = _mean(begun.where(begun["status"] == OK)["prompt_tokens"])
    if prompt is not None:
        prompts = float(begun.prompt_tokens(prompt).sum())
        out |= {"input_tps": prompts / length, "total_tps": (tokens + prompts) / length}
    return out


def _completions(
    c: Columns, which: Masks, since: float, until: float, window: Window, name: str = "rps",
    *, by_tokens: bool = False,
) -> Row:  # fmt: skip
    """Count those requests that `which` says; of those that straddle an edge, what lies within."""
    ends = c["ended_s"][which & (c["ended_s"] > since) & (c["ended_s"] <= until)]
    rate, interval = ends.size / (until - since), NONE
    if not by_tokens:
        # whole turns fill hardly ever all of the window
        whole = window.rate is None and until - since < window.length_s - EDGE_S
        rate, interval = by_turns(
            c, which.astype(float), since, until, None if whole else rate,
            users=window.rate is None,
        )  # fmt: skip
        if interval == NONE:
            interval = arrival_rate_interval(ends, since, until)
    return _cell(name, rate, interval)


def _goodput(c: Columns, row: Row, limits: Limits, window: Window) -> Row:
    """Count the requests that meet the limits, over the same span as the other rates."""
    since, until = measured(row, "rates_start_s"), measured(row, "rates_end_s")
    if since is None or until is None or until <= since:
        return {}
    good = (c["status"] == OK) & limits.good(c)
    return _completions(c, good, since + EDGE_S, until + EDGE_S, window, "goodput_rps")


def _items(ok: Columns, row: Row) -> Row:
    """Tell batches and items apart, where a request has several or is no stream of tokens."""
    items = _mean(ok["items"])
    if items is None or (items == 1 and ok["chunks"].any()):
        return {}
    out: Row = {"batches_per_s": row["rps"]}
    for end in ("", "_lo", "_hi"):
        rps = measured(row, f"rps{end}")
        out[f"items_per_s{end}"] = None if rps is None else rps * items
    return out


def _latencies(ok: Columns, row: Row, at_once: float, provisional: bool) -> Row:
    out: Row = {}
    ok = ok.in_order()
    for name in ("ttft", "ttfo", "tpot", "e2e"):
        labels = LIVE.get(name, ()) if provisional else tuple(PERCENTILES)
        found = percentiles(
            _known(ok[f"{name}_ms"]), [PERCENTILES[label] for label in labels], at_once
        )
        for label, (value, interval) in zip(labels, found, strict=True):
            out |= _cell(f"{name}_{label}_ms", value, interval)
    ttft, e2e = _known(ok["ttft_ms"]), _known(ok["e2e_ms"])
    out["drifts"] = settling(ttft if ttft.size else e2e)
    for label, p in PERCENTILES.items():
        out[f"ttft_{label}_firm"] = firm(ttft.size, p)
    # Fast is short: the speed's lower bound is the time's upper one.
    out["user_tps_p50"] = _per_second(out["tpot_p50_ms"])
    out["user_tps_p50_lo"] = _per_second(out["tpot_p50_ms_hi"])
    out["user_tps_p50_hi"] = _per_second(out["tpot_p50_ms_lo"])
    failed = int(measured(row, "n_failed") or 0)
    if failed or not provisional:
        out["ttft_p95_incl_failures_ms"] = percentile_with_failures(ttft, failed, 0.95)
        out["e2e_p95_incl_failures_ms"] = percentile_with_failures(e2e, failed, 0.95)
    if not provisional:
        some = ok.where((ok["output_tokens"] > 0) & (ok["e2e_ms"] > 0))
        out["e2e_tps_p50"] = percentile(1000 * some["output_tokens"] / some["e2e_ms"], 0.5)
    return out


def _ttft_parts(ok: Columns) -> Row:
    """Take the mean TTFT apart. What is unknown of a request is in its rest."""
    opened = _known(ok["connect_ms"])
    out: Row = {"connect_mean_ms": float(opened.mean()) if opened.size else None}
    ok = ok.where(ok["chunks"] > 0)
    if not len(ok):
        return out
    ttft = left = ok["ttft_ms"]
    queue, prefill, begun = (ok[f"server_{name}_ms"] for name in ("queue", "prefill", "start"))
    told = ~np.isnan(queue) | ~np.isnan(prefill)
    begun = np.where(told, np.nan, begun)  # it covers the same time
    plausible = np.nansum([queue, prefill, begun], axis=0) <= OVERTOLD * ttft
    parts = {"server_queue": queue, "server_prefill": prefill, "server_start": begun}
    parts = {name: np.where(plausible, part, np.nan) for name, part in parts.items()}
    for name, part in {"write": ok["write_ms"], **parts}.items():
        unknown = np.isnan(part)
        part = np.minimum(np.where(unknown, 0.0, part), left)
        left = left - part
        out[f"ttft_{name}_mean_ms"] = None if unknown.all() else float(part.mean())
    out |= {"ttft_mean_ms": float(ttft.mean()), "ttft_rest_mean_ms": float(left.mean())}
    return out


def _gaps(ok: Columns, row: Row, at_once: float) -> Row:
    """Percentiles of the times between successive chunks of the requests that ended well."""
    several = ok.where(ok["chunks"] > 1).in_order()
    stamps = several.stamps
    total = int(several["chunks"].sum()) - len(several)
    found = pooled_percentiles(lambda: gaps(stamps), total, list(PERCENTILES.values()), at_once)
    per_chunk = measured(row, "tokens_per_chunk")
    chunk_is_token = per_chunk is not None and abs(per_chunk - 1) <= ONE_TOKEN
    out: Row = {}
    for label, (value, interval) in zip(PERCENTILES, found, strict=True):
        for name in ("gap", "itl") if chunk_is_token else ("gap",):
            out |= _cell(f"{name}_{label}_ms", value, interval)
    return out


def _gap_ms(ok: Columns, row: Row) -> float | None:
    """Return the median gap; while a window is open, the median of the requests' mean gaps."""
    if not row["provisional"]:
        return measured(row, "gap_p50_ms")
    several = ok.where(ok["chunks"] > 1)
    mean = (several["last_ms"] - several["ttft_ms"]) / (several["chunks"] - 1)
    return percentile(mean, 0.5)


def _cell(name: str, value: float | None, interval: Interval) -> Row:
    return {name: value, f"{name}_lo": interval[0], f"{name}_hi": interval[1]}


def _per_second(ms: object) -> float | None:
    return 1000 / ms if isinstance(ms, float) and ms > 0 else None


def _pct(part: float, whole: float) -> float | None:
    return 100 * float(part) / float(whole) if whole else None


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _or_none(counts: Floats) -> Floats:
    """Return counts, a missing one being 0 if others are told: servers leave out what is none."""
    return counts if np.isnan(counts).all() else np.nan_to_num(counts)


def _mean(values: Floats) -> float | None:
    known = _known(values)
    return float(known.mean()) if known.size else None


def precise_enough(point: Mapping[str, object], target: float = 0.10) -> bool:
    """Tell whether ± of output_tps and of the median TTFT is at most `target` of their values.

    Where no tokens stream: ± of items_per_s and of the median E2E latency.
    """
    for name in HEADLINE[is_whole(point)]:
        value, lo, hi = (measured(point, name + end) for end in ("", "_lo", "_hi"))
        if not value or lo is None or hi is None or (hi - lo) / 2 > target * value:
            return False
    return True
