"""The running figures: what the last few seconds of a measurement look like."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .samples import Sample


@dataclass(frozen=True)
class Live:
    """What the last few seconds look like; None where nothing was measured yet."""

    ttft_ms: float | None = None
    user_tps: float | None = None
    output_tps: float | None = None
    rps: float | None = None
    in_flight: int = 0
    requests: int = 0
    errors: int = 0

    @classmethod
    def of_point(cls, row: dict[str, Any], requests: int, errors: int) -> "Live":
        """Return the figures of an operating point: what stays when nothing runs any more."""
        return cls(
            row["ttft_p50_ms"], row["user_tps_p50"], row["output_tps"], row["rps"],
            0, requests, errors,
        )  # fmt: skip


class Meter:
    """Rates over the last few seconds, from the counts that the worker sends."""

    SPAN_S = 2.0

    def __init__(self) -> None:
        self._counts: list[tuple[float, int, int]] = []
        self.e2e_s: float | None = None

    def read(self, live: dict[str, Any], samples: list[Sample], errors: int) -> Live:
        """Take in one of the worker's messages; return the figures."""
        now = live["now_s"]
        self._counts.append((now, live["chunks"], len(samples)))
        while len(self._counts) > 2 and now - self._counts[0][0] > self.SPAN_S:
            self._counts.pop(0)
        recent = [s for s in samples[-max(8, live["concurrency"]) :] if s.status == "ok"]
        since, chunks, ended = self._counts[0]
        span = now - since
        tokens = sum(s.output_tokens or 0 for s in recent)
        per_chunk = tokens / max(1, sum(len(s.token_ms) for s in recent)) if tokens else 1.0
        e2e = median([s.e2e_ms for s in recent])
        self.e2e_s = e2e / 1000 if e2e else self.e2e_s
        tpot = median([s.tpot_ms for s in recent])
        return Live(
            ttft_ms=median([s.ttft_ms for s in recent]),
            user_tps=1000 / tpot if tpot else None,
            output_tps=(live["chunks"] - chunks) * per_chunk / span if span > 0.5 else None,
            rps=(len(samples) - ended) / span if span > 0.5 else None,
            in_flight=live["in_flight"],
            requests=len(samples),
            errors=errors,
        )


def median(values: Iterable[float | None]) -> float | None:
    """Return the (upper) median of what is known."""
    known = sorted(v for v in values if v is not None)
    return known[len(known) // 2] if known else None
