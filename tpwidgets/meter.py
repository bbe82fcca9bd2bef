"""The running figures: what the last few seconds of a measurement look like."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    concurrency: int | None = None
    """The level that the figures belong to."""
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    """What the whole measurement has used so far, as far as the server told."""

    @classmethod
    def of_point(cls, row: dict[str, Any], live: "Live") -> "Live":
        """Return an operating point's figures: what stays when nothing runs any more."""
        return replace(
            live, ttft_ms=row["ttft_p50_ms"], user_tps=row["user_tps_p50"],
            output_tps=row["output_tps"], rps=row["rps"], in_flight=0,
            concurrency=row["concurrency"],
        )  # fmt: skip


class Meter:
    """Rates over the last few seconds, from the counts that the worker sends."""

    SPAN_S = 2.0

    def __init__(self) -> None:
        self._counts: list[tuple[float, int, int]] = []
        self._seen = self._prompt_tokens = self._output_tokens = 0
        self.e2e_s: float | None = None
        self.per_chunk: float | None = None
        """Tokens per chunk of the last answers; None until one has ended."""

    def read(self, live: dict[str, Any], samples: list[Sample], errors: int) -> Live:
        """Take in one of the worker's messages; return the figures."""
        now = live["now_s"]
        for sample in samples[self._seen :]:
            self._prompt_tokens += sample.prompt_tokens or 0
            self._output_tokens += sample.output_tokens or 0
        self._seen = len(samples)
        good = len(samples) - errors
        self._counts.append((now, live["chunks"], good))
        while len(self._counts) > 2 and now - self._counts[0][0] > self.SPAN_S:
            self._counts.pop(0)
        recent = [s for s in samples[-max(8, live["concurrency"]) :] if s.status == "ok"]
        since, chunks, ended = self._counts[0]
        span = now - since
        tokens = sum(s.output_tokens or 0 for s in recent)
        if tokens:
            self.per_chunk = tokens / max(1, sum(len(s.token_ms) for s in recent))
        per_chunk = self.per_chunk or 1.0
        e2e = median([s.e2e_ms for s in recent])
        self.e2e_s = e2e / 1000 if e2e else self.e2e_s
        tpot = median([s.tpot_ms for s in recent])
        return Live(
            ttft_ms=median([s.ttft_ms for s in recent]),
            user_tps=1000 / tpot if tpot else None,
            output_tps=(live["chunks"] - chunks) * per_chunk / span if span > 0.5 else None,
            rps=(good - ended) / span if span > 0.5 else None,
            in_flight=live["in_flight"],
            concurrency=live["concurrency"],
            requests=len(samples),
            errors=errors,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
        )


def median(values: Iterable[float | None]) -> float | None:
    """Return the (upper) median of what is known."""
    known = sorted(v for v in values if v is not None)
    return known[len(known) // 2] if known else None
