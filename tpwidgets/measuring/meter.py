"""The running figures: what the last few seconds of a measurement look like."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..samples import Sample
from ..words import is_whole


@dataclass(frozen=True)
class Live:
    """What the last few seconds look like; None where nothing was measured yet."""

    ttft_ms: float | None = None
    user_tps: float | None = None
    output_tps: float | None = None
    rps: float | None = None
    whole: bool = False
    """Whether answers come whole, as embeddings do: then no token is timed, but these are known."""
    e2e_ms: float | None = None
    e2e_p95_ms: float | None = None
    items_per_s: float | None = None
    input_tps: float | None = None
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
            output_tps=row["output_tps"], rps=row["rps"], whole=is_whole(row),
            e2e_ms=row["e2e_p50_ms"], e2e_p95_ms=row["e2e_p95_ms"],
            items_per_s=row["items_per_s"], input_tps=row["input_tps"],
            in_flight=0, concurrency=row["concurrency"],
        )  # fmt: skip


class Meter:
    """Rates over the last few seconds, from the counts that the worker sends."""

    SPAN_S = 2.0
    _TAIL = 20
    """From so many answers on there is a 95th percentile, and of the last so many × 10."""

    def __init__(self) -> None:
        self._counts: list[tuple[float, int, int, int, int]] = []
        self.items = 0
        """How many items (texts, prompts, choices) have come."""
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
            self.items += sample.items if sample.status == "ok" else 0
        self._seen = len(samples)
        good = len(samples) - errors
        whole = good > 0 and not live["chunks"]
        self._counts.append((now, live["chunks"], good, self.items, self._prompt_tokens))
        while len(self._counts) > 2 and now - self._counts[0][0] > self.SPAN_S:
            self._counts.pop(0)
        recent = [s for s in samples[-max(8, live["concurrency"]) :] if s.status == "ok"]
        span = now - self._counts[0][0]
        chunks_per_s, rps, items_per_s, input_tps = (
            (after - before) / span if span > 0.5 else None
            for before, after in zip(self._counts[0][1:], self._counts[-1][1:], strict=True)
        )
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
            output_tps=None if whole or chunks_per_s is None else chunks_per_s * per_chunk,
            rps=rps,
            whole=whole,
            e2e_ms=e2e,
            e2e_p95_ms=self._tail(samples, live["concurrency"]) if whole else None,
            items_per_s=items_per_s if whole else None,
            input_tps=input_tps if whole else None,
            in_flight=live["in_flight"],
            concurrency=live["concurrency"],
            requests=len(samples),
            errors=errors,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
        )

    def _tail(self, samples: list[Sample], concurrency: int) -> float | None:
        """Return the 95th percentile of the level's last E2E latencies; ms."""
        known = sorted(
            sample.e2e_ms
            for sample in samples[-10 * self._TAIL :]
            if sample.concurrency == concurrency and sample.e2e_ms is not None
        )
        return known[int(0.95 * len(known))] if len(known) >= self._TAIL else None


def median(values: Iterable[float | None]) -> float | None:
    """Return the (upper) median of what is known."""
    known = sorted(v for v in values if v is not None)
    return known[len(known) // 2] if known else None
