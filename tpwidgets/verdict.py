"""Whether the client was the limit, and what a reader of an operating point has to know."""

from collections import Counter
from collections.abc import Mapping, Sequence

from .samples import Sample, Window
from .words import count, duration, measured, percent

REACHED = 0.9
"""Below this share of the asked concurrency a point was not reached, unless requests failed."""

LATE_TTFT = 0.1
LATE_GAP = 0.25
"""The client was the limit where its stamps can be later than these shares of the median: TTFT's
at the 99th percentile, since a late stamp adds to it in full; those of gaps on average, since in
them it cancels out within a request."""

MERGED_PCT = 25.0
"""Above this, gaps are said to be bunched. Not held against the client: servers that decode several
tokens a step write their chunks together."""


def judge(
    row: Mapping[str, object],
    failures: Sequence[Sample],
    window: Window,
    gap_ms: float | None,
    late_ms: float | None,
) -> tuple[bool, str]:
    """Tell whether the client was the limit, and write all that a reader has to know.

    Parameters
    ----------
    row
        The operating point, all but complete.
    failures
        The requests that failed inside the window.
    gap_ms
        The median time between chunks.
    late_ms
        How late stamps can be, on average.
    """
    reasons, notes = [], [window.note] if window.note else []
    n, failed = int(measured(row, "n") or 0), len(failures)
    reached = window.in_flight_mean
    if 0 < reached < REACHED * window.concurrency and not failed:
        reasons.append(f"{count(reached)} of {window.concurrency} requests were in flight")
    worst_ms, ttft_ms = measured(row, "client_error_p99_ms"), measured(row, "ttft_p50_ms")
    for late, share, median, how, words in (
        (worst_ms, LATE_TTFT, ttft_ms, "up to", "TTFT"),
        (late_ms, LATE_GAP, gap_ms, "on average", "chunk gap"),
    ):
        if late is not None and median and late > share * median:
            reasons.append(f"stamps {how} {duration(late)} late at a {words} of {duration(median)}")
    if reasons:
        notes.append("the client was the limit: " + ", ".join(reasons))
    if not n and not failed:
        notes.append("no request ended inside the window: count for more seconds")
    if failed:
        what = "every request" if not n else f"{failed} of {n + failed} requests"
        notes.append(f"{what} failed: {_commonest(failures)}")
    merged = measured(row, "merged_pct")
    if merged is not None and merged > MERGED_PCT:
        notes.append(f"{percent(merged)} of chunks arrived together with another")
    return bool(reasons), "; ".join(notes)


def _commonest(failures: Sequence[Sample]) -> str:
    status = Counter(s.status for s in failures).most_common(1)[0][0]
    message = next((s.message for s in failures if s.status == status and s.message), "")
    words = status.replace("_", " ")
    return f"{words} ({message.splitlines()[0][:120]})" if message.strip() else words
