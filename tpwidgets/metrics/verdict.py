"""Whether the client was the limit, and what a reader of an operating point has to know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf

from ..samples import Sample, Window
from ..words import count, duration, measured, percent

REACHED = 0.9
"""Below this share of the asked concurrency a point was not reached, unless requests failed."""

LATE_TTFT = 0.1
LATE_GAP = 0.25
"""The client was the limit where its stamps can be later than these shares of the median: TTFT's
at the 99th percentile, since a late stamp adds to it in full; those of gaps on average, since in
them it cancels out within a request."""

LATE_SEND_MS = 10.0
"""… and where an open loop's requests were taken up later than this, or than `LATE_TTFT` of the
median TTFT if that is more, at the 99th percentile."""

OUTLIVED = 0.1
"""Amid a ramp, more than this share of its requests that ended after the load are told of."""

MERGED_PCT = 25.0
"""Above this, gaps are said to be bunched. Not held against the client: servers that decode several
tokens a step write their chunks together."""


def judge(
    row: Mapping[str, object],
    failures: Sequence[Sample],
    unsent: Sequence[Sample],
    window: Window,
    gap_ms: float | None,
    late_ms: float | None,
    left: int = 0,
) -> tuple[bool, str]:
    """Tell whether the client was the limit, and write all that a reader has to know.

    Parameters
    ----------
    row
        The operating point, all but complete.
    failures
        The requests that failed inside the window.
    unsent
        Those that this machine could not send.
    gap_ms
        The median time between chunks.
    late_ms
        How late stamps can be, on average.
    left
        Amid a ramp: how many of its requests ended after the load had.
    """
    reasons, notes = [], [window.note] if window.note else []
    n, failed = int(measured(row, "n") or 0), len(failures)
    if unsent:
        reasons.append(f"{len(unsent)} requests could not be sent, {unsent[0].message}")
    reached = window.in_flight_mean
    if window.ramp is None and 0 < reached < REACHED * window.concurrency and not failed:
        reasons.append(f"{count(reached)} of {window.concurrency} requests were in flight")
    worst_ms, ttft_ms = measured(row, "client_error_p99_ms"), measured(row, "ttft_p50_ms")
    for late, share, median, how, words in (
        (worst_ms, LATE_TTFT, ttft_ms, "up to", "TTFT"),
        (late_ms, LATE_GAP, gap_ms, "on average", "chunk gap"),
    ):
        if late is not None and median and late > share * median:
            reasons.append(f"stamps {how} {duration(late)} late at a {words} of {duration(median)}")
    delay_ms = measured(row, "sched_delay_p99_ms")
    if delay_ms is not None and delay_ms > max(LATE_SEND_MS, LATE_TTFT * (ttft_ms or 0.0)):
        reasons.append(f"requests were sent up to {duration(delay_ms)} after their time")
    if reasons:
        notes.append("the client was the limit: " + ", ".join(reasons))
    if window.ramp is not None:
        notes += _amid(window.ramp, window.rate, row, left)
    if row.get("queue_grows"):
        answered = (n + failed) / window.length_s
        notes.append(
            f"not a steady state: {count(measured(row, 'sent_rps'))} requests/s arrive, "
            f"{count(answered)} are answered"
        )
    if not n and not failed and not unsent:
        notes.append(
            "no request ended inside the window: count for more seconds"
            if window.ramp is None
            else "no request that was sent here has ended: let the ramp take longer"
        )
    if failed:
        notes += _failed(row, failures)
    merged = measured(row, "merged_pct")
    if merged is not None and merged > MERGED_PCT:
        notes.append(f"{percent(merged)} of chunks arrived together with another")
    return bool(reasons), "; ".join(notes)


def _amid(
    ramp: tuple[float, float], rate: float | None, row: Mapping[str, object], left: int
) -> list[str]:
    """Say that it is no steady state, and whose latencies are unknown, or not of this load."""
    unit = "users" if rate is None else "requests/s"
    notes = [f"amid a ramp: {' to '.join(dict.fromkeys(f'{end:g}' for end in ramp))} {unit}"]
    stopped, n = (int(measured(row, name) or 0) for name in ("n_stopped", "n"))
    if stopped:
        notes.append(f"latencies are too low: {stopped} requests sent here were stopped")
    if left > OUTLIVED * n:
        notes.append(f"latencies are too low: {left} requests sent here outlived the load")
    return notes


def _failed(row: Mapping[str, object], failures: Sequence[Sample]) -> list[str]:
    """Say how many failed of what, the commonest kind first, and what that makes of TTFT."""
    n, failed = int(measured(row, "n") or 0), len(failures)
    kinds = Counter(_kind(sample) for sample in failures).most_common(3)
    said = []
    for kind, times in kinds:
        alike = [sample for sample in failures if _kind(sample) == kind]
        first = next((sample for sample in alike if sample.message), alike[0])
        said.append(why(first) if len(kinds) == 1 else f"{times} {why(first)}")
    what = "every request" if not n else f"{failed} of {n + failed} requests"
    notes = [f"{what} failed: {', '.join(said)}"]
    p95 = row.get("ttft_p95_incl_failures_ms")
    if n and isinstance(p95, float):
        took = duration(p95) if p95 != inf else "endless"
        notes.append(f"failures counted as endless, TTFT p95 is {took}")
    return notes


def _kind(sample: Sample) -> tuple[str, int | None]:
    return sample.status, sample.http_status


_WORDS = {
    "rate_limited": "rate-limited",
    "timeout": "timed out",
    "disconnected": "cut off",
    "malformed": "not understood",
    "refused": "no connection",
    "client_limit": "this machine's limit",
}


def why(sample: Sample) -> str:
    """Say why a request failed: ``HTTP 503 (overloaded)``, ``timed out (no token within 60 s)``."""
    words = _WORDS.get(sample.status, sample.status.replace("_", " "))
    if sample.status == "http_error" and sample.http_status:
        in_stream = "no answer" if sample.hidden else "an error in the stream"
        words = in_stream if sample.http_status == 200 else f"HTTP {sample.http_status}"
    message = sample.message.strip()
    return f"{words} ({message.splitlines()[0][:200]})" if message else words
