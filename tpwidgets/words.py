"""What the numbers are called, and how they are written for humans: each in one place.

Units stand in the names: ``_ms`` milliseconds, ``_s`` seconds on the worker's clock, ``_tps``
tokens per second, ``_pct`` percent; ``_lo`` and ``_hi`` bound the 95 % interval.
"""

from collections.abc import Iterable, Mapping
from math import floor, isfinite, log10

MISSING = "–"

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

LATENCIES = {
    "ttft": "time to first token: request sent → first chunk with content, reasoning or tool call",
    "tpot": "time per output token: (e2e − ttft) / (output tokens − those in the first chunk)",
    "itl": "inter-token latency: the chunk gap where a chunk is one token; empty where it isn't",
    "gap": "chunk gap: time between successive token chunks, pooled over requests",
    "e2e": "end to end: request sent → last token chunk (not [DONE], not the usage chunk)",
    "ttfo": "time to first output: request sent → first output that isn't reasoning",
}


def _with_interval(name: str, definition: str) -> dict[str, tuple[str, str]]:
    return {
        name: ("float64", definition),
        f"{name}_lo": ("float64", f"lower 95 % bound of {name}"),
        f"{name}_hi": ("float64", f"upper 95 % bound of {name}"),
    }


def _percentile_columns() -> dict[str, tuple[str, str]]:
    columns: dict[str, tuple[str, str]] = {}
    for latency, definition in LATENCIES.items():
        for label in PERCENTILES:
            columns |= _with_interval(f"{latency}_{label}_ms", f"{label} of {definition}; ms")
    for label, p in PERCENTILES.items():
        enough = f"n ≥ {round(10 / (1 - p))}"
        columns[f"ttft_{label}_firm"] = ("bool", f"whether ttft_{label}_ms is firm: {enough}")
    return columns


def _from_scheduled() -> dict[str, tuple[str, str]]:
    delay = "p99 of scheduled → taken up by this tool; ms"
    columns = {"sched_delay_p99_ms": ("float64", f"open loop: {delay}")}
    for latency, end in (("ttft", "first token"), ("e2e", "last token")):
        for label in PERCENTILES:
            definition = f"open loop: {label} of the time its request was scheduled for → {end}; ms"
            columns |= _with_interval(f"{latency}_from_scheduled_{label}_ms", definition)
    return columns


TTFT_PARTS = {
    "write": ("request write", "until the system took the request"),
    "server_queue": ("server queue", "received → scheduled, as the server tells"),
    "server_prefill": ("server prefill", "scheduled → first token, as the server tells"),
    "server_start": ("server until it answers", "of a server that tells neither queue nor prefill"),
    "rest": ("rest", "the network, and what the server doesn't tell"),
}
"""What a mean TTFT is the sum of: its name, and what it is."""


def _ttft_parts() -> dict[str, tuple[str, str]]:
    parts = {
        f"ttft_{part}_mean_ms": ("float64", f"mean part of TTFT: {what}; empty if unknown; ms")
        for part, (_, what) in TTFT_PARTS.items()
    }
    connect = "mean of opening a connection (DNS, TCP, TLS), where one was; before sent; ms"
    return {
        "ttft_mean_ms": ("float64", "mean time to first token: the sum of its parts; ms"),
        **parts,
        "connect_mean_ms": ("float64", connect),
    }


_POINT: dict[str, tuple[str, str]] = {
    "concurrency": (
        "int64",
        "asked concurrency: requests kept in flight; open loop: in_flight_mean, rounded, not 0",
    ),
    "rate": ("float64", "open loop: requests/s that were to be sent; empty in a closed loop"),
    "sent_rps": ("float64", "open loop: requests that were sent in the window / its length"),
    "queue_grows": ("bool", "open loop: whether more and more were in flight: no steady state"),
    "ramp_from": (
        "float64",
        "amid a ramp, which is no steady state: the level at the section's beginning; else empty",
    ),
    "ramp_to": ("float64", "… and at its end; the level itself is the middle"),
    "drifts": ("bool", "whether TTFT (or, without one, E2E latency) rose or fell over the window"),
    "n": ("int64", "requests that ended well inside the window; the percentiles pool these"),
    "n_failed": ("int64", "requests that failed inside the window (stopped ones apart)"),
    "n_stopped": ("int64", "requests that the user or the end of the run cut short"),
    "n_client_limit": (
        "int64",
        "requests that this machine could not send (open files, ports); not part of n_failed",
    ),
    "n_rate_limited": ("int64", "requests refused by a rate limit; part of n_failed"),
    "error_rate": ("float64", "n_failed / (n + n_failed), 0 to 1"),
    "window_start_s": ("float64", "when counting began, s on the worker's clock"),
    "window_end_s": ("float64", "when counting ended, s on the worker's clock"),
    "window_s": ("float64", "how long counting took, s"),
    "rates_start_s": (
        "float64",
        "rates are counted over whole turns of a user: from here, s on the worker's clock",
    ),
    "rates_end_s": ("float64", "… to here"),
    **_with_interval(
        "output_tps",
        "output tokens that arrived in the whole turns / their length; tokens per second",
    ),
    "input_tps": (
        "float64",
        "prompt tokens, credited at first token / whole turns; tokens per second",
    ),
    "total_tps": ("float64", "output_tps + input_tps; tokens per second"),
    **_with_interval(
        "rps",
        "requests that ended well per second of the whole turns; those that straddle their "
        "edges by the share within",
    ),
    "batches_per_s": ("float64", "rps, where a request asks for several items; per second"),
    **_with_interval("items_per_s", "items (texts, prompts, choices) in these; per second"),
    **_with_interval(
        "goodput_rps",
        "requests that met every limit in the whole turns / their length; per second",
    ),
    **_with_interval(
        "slo_attainment",
        "requests that met every limit / all that ended, failures being misses; 0 to 1",
    ),
    "limits_hold": (
        "object",
        "whether every limit is kept, as measured; empty where there is none, or nothing to judge",
    ),
    "limits_sure": (
        "object",
        "whether that is so beyond 95 % doubt; that few requests fail is counted, not tested",
    ),
    "limits_note": ("object", "which limits are broken, and by what, or why none can be judged"),
    **_percentile_columns(),
    **_from_scheduled(),
    **_ttft_parts(),
    "ttft_p95_incl_failures_ms": ("float64", "ttft_p95_ms with each failure counted as +∞; ms"),
    "e2e_p95_incl_failures_ms": ("float64", "e2e_p95_ms with each failure counted as +∞; ms"),
    **_with_interval(
        "user_tps_p50", "what one stream's user sees: 1000 / tpot_p50_ms; tokens per second"
    ),
    "e2e_tps_p50": (
        "float64",
        "median of output_tokens / e2e; tokens per second, waiting included",
    ),
    "tokens_per_chunk": ("float64", "output tokens (the server's count) / token chunks"),
    "merged_pct": ("float64", "chunks that share their stamp with an earlier one; %"),
    "in_flight_mean": ("float64", "achieved concurrency: time-weighted mean of requests in flight"),
    "client_error_p99_ms": ("float64", "how late this tool's stamps can be, p99; ms"),
    "client_limited": ("bool", "whether this tool, not the endpoint, was the limit (see note)"),
    "items_mean": ("float64", "mean number of items (texts, prompts, choices) of a request"),
    "prompt_tokens_mean": ("float64", "mean prompt tokens of a request, by the server's count"),
    "output_tokens_mean": ("float64", "mean output tokens of a request, reasoning included"),
    "reasoning_tokens_mean": ("float64", "mean reasoning tokens of a request"),
    "cached_pct": ("float64", "prompt tokens that the server took from its cache; %"),
    "short_output_pct": ("float64", "requests with fewer output tokens than requested; %"),
    "estimated": ("bool", "whether tokens were counted as chunks, for want of the server's count"),
    "billed_input_tokens": (
        "Int64",
        "prompt tokens of the window's requests, failed ones included",
    ),
    "billed_output_tokens": (
        "Int64",
        "output tokens of the window's requests, failed ones included",
    ),
    "input_per_output": ("float64", "billed_input_tokens / billed_output_tokens"),
    "new_connections": ("int64", "requests in the window that opened a connection"),
    "note": ("object", "what a reader has to know about this point; empty if nothing"),
    "provisional": ("bool", "whether the window was still open"),
}

_REQUEST: dict[str, tuple[str, str]] = {
    "request_id": ("object", "sent as x-request-id, so that a server's log can be joined"),
    "concurrency": (
        "int64",
        "asked concurrency when it ended; open loop: how many its worker had in flight with it",
    ),
    "rate": ("float64", _POINT["rate"][1]),
    "phase": ("object", "warmup, measured or cooldown: where in its level it ended"),
    "status": ("object", "ok, or how it failed; stopped if it was cut short on purpose"),
    "http_status": ("Int64", "the response's HTTP status code"),
    "message": ("object", "what the server or the connection said when it failed"),
    **{
        f"{name}_ms": ("float64", f"{LATENCIES[name]}; ms")
        for name in ("ttft", "ttfo", "e2e", "tpot")
    },
    "user_tps": ("float64", "1000 / tpot_ms: the stream's decode speed; tokens per second"),
    "e2e_tps": ("float64", "output_tokens / e2e: waiting included; tokens per second"),
    "prompt_tokens": ("Int64", "prompt tokens, by the server's count"),
    "cached_tokens": ("Int64", "prompt tokens that the server took from its cache"),
    "output_tokens": ("Int64", "output tokens, reasoning included"),
    "reasoning_tokens": ("Int64", "reasoning tokens, part of output_tokens"),
    "requested_tokens": ("int64", "output tokens asked for"),
    "items": ("int64", "how many items it asked for in one (texts, prompts, choices)"),
    "token_source": ("object", "usage (the server's count) or chunks (an estimate)"),
    "finish_reason": ("object", "why the server ended the output"),
    "tokens_per_chunk": ("float64", _POINT["tokens_per_chunk"][1]),
    "scheduled_s": ("float64", "open loop: when it was to be sent, s on the worker's clock"),
    "dispatched_s": (
        "float64",
        "open loop: when it was taken up, before its connection was there, s on the worker's clock",
    ),
    "sent_s": ("float64", "when it was handed to the socket, s on the worker's clock"),
    "connect_ms": ("float64", "opening the connection, before sent; empty if it was reused; ms"),
    "dns_ms": ("float64", "part of connect_ms: finding the address; ms"),
    "tcp_ms": ("float64", "part of connect_ms: TCP's handshake; ms"),
    "tls_ms": ("float64", "part of connect_ms: TLS's handshake; ms"),
    "reused_connection": ("bool", "whether it found an open connection"),
    "write_ms": ("float64", "sent → the system has taken the request's last byte; ms"),
    "headers_ms": ("float64", "sent → response headers (not TTFT); ms"),
    "server_queue_ms": ("float64", "received → scheduled, as the server tells; ms"),
    "server_prefill_ms": ("float64", "scheduled → first token, as the server tells; ms"),
    "server_decode_ms": ("float64", "first token → last token, as the server tells; ms"),
    "server_total_ms": ("float64", "the whole request, as the server tells; ms"),
    "server_start_ms": ("float64", "received → the answer begins, as the server tells; ms"),
    "ended_ms": ("float64", "sent → [DONE], close or failure; ms"),
    "first_chunk_tokens": ("int64", "output tokens in the first chunk; 1 if unknown"),
    "merged_chunks": ("int64", "token chunks that share their stamp with an earlier one"),
    "stamp": ("object", "where arrivals were stamped: kernel, socket or httpx"),
    "client_error_ms": ("float64", "how late stamps can be: the first's or the mean over all; ms"),
    "slot": ("int64", "which of the concurrent users sent it; -1 if an open loop sent it no more"),
    "token_ms": ("object", "array: sent → arrival of each token chunk; ms"),
}

COLUMNS = {name: definition for name, (_, definition) in (_REQUEST | _POINT).items()}
"""Every column of `run.requests` and `run.points`: its name → its definition with the unit."""

POINT_DTYPES = {name: dtype for name, (dtype, _) in _POINT.items()}
REQUEST_DTYPES = {name: dtype for name, (dtype, _) in _REQUEST.items()}
"""Columns of the two tables, in order → their pandas dtypes."""


def measured(point: Mapping[str, object], name: str) -> float | None:
    """Return a finite number from a row, or None where nothing was measured (None, NaN, ±inf)."""
    value = point.get(name)
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return None
    number = float(value)
    return number if isfinite(number) else None


def level(point: Mapping[str, object]) -> float:
    """Return the level that a point was measured at: its rate or, in a closed loop, concurrency."""
    rate = measured(point, "rate")
    return measured(point, "concurrency") or 0.0 if rate is None else rate


def amid_ramp(point: Mapping[str, object]) -> bool:
    """Tell whether the load changed while a point was counted, so that it is no steady state."""
    return measured(point, "ramp_from") is not None


def named(point: Mapping[str, object]) -> str:
    """Write the level without its unit: ``16`` or, amid a ramp, ``9–16``."""
    if not amid_ramp(point):
        return f"{level(point):g}"
    ends = (measured(point, name) for name in ("ramp_from", "ramp_to"))
    return "–".join(dict.fromkeys(f"{end:g}" for end in ends))


def at_level(point: Mapping[str, object]) -> str:
    """Write the level: ``16 concurrent``, ``2.5 requests/s``; amid a ramp ``9–16 concurrent``."""
    unit = "concurrent" if point.get("rate") is None else per_second(level(point))
    return f"{named(point)} {unit}"


def per_second(rate: float) -> str:
    """Return the unit of a rate: ``request/s`` or ``requests/s``."""
    return "request/s" if rate == 1 else "requests/s"


def is_whole(point: Mapping[str, object]) -> bool:
    """Tell whether a point's answers came whole (embeddings, say), so that no token was timed."""
    return measured(point, "items_per_s") is not None and measured(point, "ttft_p50_ms") is None


def throughput(point: Mapping[str, object]) -> str:
    """Return the column of what a system makes per second: items where answers come whole."""
    return "items_per_s" if is_whole(point) else "output_tps"


def are_whole(points: Iterable[Mapping[str, object]]) -> bool:
    """Tell whether the answers of a run came whole: its current one, where others stand beside it.

    Answers of another kind have other figures, which can't be drawn on the same axes.
    """
    answered = [point for point in points if point.get("n")]
    current = [point for point in answered if point.get("current") is not False]
    return bool(answered) and all(map(is_whole, current or answered))


def are_open(points: Iterable[Mapping[str, object]]) -> bool:
    """Tell whether a run's levels are rates: of its current one, where others stand beside it."""
    rows = list(points)
    current = [point for point in rows if point.get("current") is not False] or rows
    return bool(current) and all(measured(point, "rate") is not None for point in current)


def count(value: float | None) -> str:
    """Write a count or a rate: ``1,240``, ``412``, ``42.5``, ``0.425``."""
    return MISSING if value is None else _significant(value, 3)


def thousands(tokens: int) -> str:
    """Write a number of tokens: ``900``, ``85 k``, ``1.2 M``."""
    if tokens >= 999_500:
        return f"{count(float(f'{tokens / 1e6:.3g}'))} M"
    return f"{count(tokens / 1000)} k" if tokens >= 10_000 else f"{tokens:,}"


def duration(ms: float | None) -> str:
    """Write a time given in milliseconds: ``8.5 ms``, ``85 ms``, ``0.8 s``, ``12 s``."""
    if ms is None:
        return MISSING
    return f"{_significant(ms / 1000, 2)} s" if abs(ms) >= 500 else f"{_significant(ms, 2)} ms"


def bound(ms: float) -> str:
    """Write a limit given in milliseconds, to the last digit: ``12.5 ms``, ``1.25 s``."""
    return f"{ms / 1000:.12g} s" if ms >= 500 else f"{ms:.12g} ms"


def usd(value: float | None) -> str:
    """Write dollars: ``$1,240``, ``$12.40``, ``$0.42``, ``$0.0042``, ``$0``."""
    if value is None:
        return MISSING
    if value == 0:
        return "$0"
    if value < 0.0995:
        return f"${_significant(value, 2)}"
    return f"${value:,.2f}" if value < 100 else f"${value:,.0f}"


def percent(value: float | None) -> str:
    """Write a share given in percent: ``12 %``, ``4 %``, ``0.4 %``."""
    if value is None:
        return MISSING
    return f"{_significant(value, 1 if abs(value) < 1 else 2)} %"


def _significant(value: float, digits: int) -> str:
    """Round to `digits` significant digits, but never away a digit before the decimal point."""
    if value == 0 or not isfinite(value):
        return f"{value:.0f}"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
