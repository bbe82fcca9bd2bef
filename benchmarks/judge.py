"""What a client saw and reported, against the truth server's log of the same requests.

All errors are client interval minus server interval of the same request, never against the nominal
schedule: a server that was late is no client's fault.
"""

import numpy as np

from .clients import Seen
from .truth import Served
from .watch import Watched

Figures = dict[str, float]


def errors(seen: Seen, log: dict[str, Served]) -> Figures:
    """Return the per-request errors: TTFT on kept-alive connections, and every gap; ms.

    The first request on a connection is left out of the TTFT errors, since what opening it costs is
    another figure; it is part of `all_requests`.
    """
    ttft, gaps = [], []
    for request_id, _, token_ms in seen.requests:
        served = log[request_id]
        true_ms = _token_ms(served)
        if served.nth > 1:
            ttft.append(token_ms[0] - true_ms[0])
        gaps.append(np.diff(token_ms) - np.diff(true_ms))  # raises if a chunk was lost
    gap = np.abs(np.concatenate(gaps))
    late = np.abs(np.array(ttft))
    return {
        "n": len(seen.requests),
        "ttft_error_p50_ms": _percentile(late, 50),
        "ttft_error_p99_ms": _percentile(late, 99),
        "gap_error_p50_ms": _percentile(gap, 50),
        "gap_error_p99_ms": _percentile(gap, 99),
        "gap_error_max_ms": float(gap.max()),
    }


def all_requests(seen: Seen, log: dict[str, Served]) -> Figures:
    """Return TTFT and gaps over all answered requests, first wave included: seen and true."""
    mine = [np.asarray(token_ms) for _, _, token_ms in seen.requests]
    true = [_token_ms(log[request_id]) for request_id, _, _ in seen.requests]
    figures: Figures = {}
    for p in (50, 99):
        figures[f"all_ttft_p{p}_ms"] = _percentile([ms[0] for ms in mine], p)
        figures[f"all_true_ttft_p{p}_ms"] = _percentile([ms[0] for ms in true], p)
        figures[f"all_itl_p{p}_ms"] = _percentile(_gaps(mine), p)
        figures[f"all_true_itl_p{p}_ms"] = _percentile(_gaps(true), p)
    return figures


def truth(log: dict[str, Served], ids: list[str]) -> Figures:
    """Return the true TTFT, gaps and TPOT of the requests `ids`."""
    served = [log[request_id] for request_id in ids]
    times = [_token_ms(one) for one in served]
    figures: Figures = {}
    for p in (50, 99):
        figures[f"true_ttft_p{p}_ms"] = _percentile([ms[0] for ms in times], p)
        figures[f"true_itl_p{p}_ms"] = _percentile(_gaps(times), p)
    return figures


def true_tpot_p50_ms(log: dict[str, Served], ids: list[str], tokens_per_chunk: int) -> float:
    """Return the median of (last − first write) / (tokens − those in the first chunk)."""
    served = [log[request_id] for request_id in ids]
    tpots = [
        (one.write_ns[-1] - one.write_ns[0])
        / 1e6
        / (one.tokens - min(tokens_per_chunk, one.tokens))
        for one in served
    ]
    return _percentile(tpots, 50)


def true_output_tps(
    log: dict[str, Served], window_ns: tuple[float, float], tokens_per_chunk: int = 1
) -> float:
    """Return tokens written inside the window / its length."""
    start, end = window_ns
    tokens = 0
    for served in log.values():
        writes = np.array(served.write_ns)
        inside = (writes >= start) & (writes < end)
        sizes = np.full(len(writes), tokens_per_chunk)
        if len(sizes):
            sizes[-1] = served.tokens - tokens_per_chunk * (len(sizes) - 1)
        tokens += int(sizes[inside].sum())
    return tokens / ((end - start) / 1e9)


def window_on_server_ns(seen: Seen, log: dict[str, Served]) -> tuple[float, float]:
    """Return the client's window on the server's clock: requests were sent when they came in."""
    offset = np.median([log[name].received_ns - sent * 1e9 for name, sent, _ in seen.requests])
    start, end = seen.reported["window_s"]
    return start * 1e9 + offset, end * 1e9 + offset


def load(log: dict[str, Served]) -> list[Served]:
    """Return the requests of the load: all from the first long one on, which leaves out probes."""
    longest = max(served.tokens for served in log.values())
    first = min(s.received_ns for s in log.values() if 2 * s.tokens > longest)
    return [s for s in log.values() if s.write_ns and s.received_ns >= first]


def in_flight_pct(requests: list[Served], asked: int) -> float:
    """Return the mean number of requests in flight at the server, in % of what was asked.

    Time-weighted from the arrival of as many requests as were asked for at once to the arrival of
    the last: between the two a closed loop keeps every slot filled.
    """
    begins = np.sort([one.received_ns for one in requests])
    ends = np.array([one.write_ns[-1] for one in requests])
    start, end = begins[asked - 1], begins[-1]
    return float(
        100 * (_busy(ends, start, end) - _busy(begins, start, end)) / (end - start) / asked
    )


def _busy(times: "np.ndarray", start: int, end: int) -> float:
    """Return the sum of the time from `start` to each of `times`, within the span."""
    return float((np.clip(times, start, end) - start).sum())


def cost(watched: Watched, requests: list[Served]) -> Figures:
    """Return what the measurement took, all processes and start-up included."""
    tokens = sum(one.tokens for one in requests)
    first = min(one.received_ns for one in requests)
    last = max(one.write_ns[-1] for one in requests)
    return {
        "tokens": tokens,
        "true_load_tps": tokens / ((last - first) / 1e9),
        "cpu_us_per_token": watched.cpu_s * 1e6 / tokens,
        "peak_pss_mb": watched.peak_pss_mb,
        "processes": len(watched.processes),
        "start_s": (first - watched.started_ns) / 1e9,
        "end_s": (watched.ended_ns - last) / 1e9,
        "connections": len({one.connection for one in requests}),
    }


def _token_ms(served: Served) -> "np.ndarray":
    return (np.array(served.write_ns) - served.received_ns) / 1e6


def _gaps(times: "list[np.ndarray]") -> "np.ndarray":
    return np.concatenate([np.diff(ms) for ms in times])


def _percentile(values: "list[float] | np.ndarray", p: int) -> float:
    return float(np.percentile(values, p))
