"""What both controls share: a closed loop behind a semaphore, `perf_counter`, JSON per event.

This is how ``vllm bench serve`` is built, and most scripts that people write.
"""

import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from . import Seen, Settings, bodies


class Stream:
    """One request's clock: when it was sent, and when each chunk with content was looked at."""

    def __init__(self) -> None:
        self.request_id = uuid.uuid4().hex
        self.sent = time.perf_counter()
        self.token_ms: list[float] = []

    def event(self, data: str) -> None:
        """Take the payload of one ``data:`` line."""
        if data == "[DONE]":
            return
        now = time.perf_counter()
        choices = json.loads(data).get("choices")
        if choices and choices[0]["delta"].get("content"):
            self.token_ms.append((now - self.sent) * 1000)


def percentile(values: list[float], p: int) -> float:
    """Return a percentile by linear interpolation."""
    return statistics.quantiles(values, n=100, method="inclusive")[p - 1]


async def closed_loop(
    settings: Settings, post: Callable[[dict[str, Any]], Awaitable[Stream]]
) -> Seen:
    """Make all requests, so many at once; `post` makes one."""
    prepared = bodies(settings)
    gate = asyncio.Semaphore(settings.streams)
    seen = Seen(time.monotonic_ns())

    async def one(body: dict[str, Any]) -> Stream:
        async with gate:
            return await post(body)

    start = time.perf_counter()
    streams = await asyncio.gather(*(one(body) for body in prepared))
    end = time.perf_counter()
    ttft = [stream.token_ms[0] for stream in streams]
    gaps = [b - a for s in streams for a, b in zip(s.token_ms, s.token_ms[1:], strict=False)]
    tokens = sum(len(stream.token_ms) for stream in streams)
    seen.reported = {
        "ttft_p50_ms": percentile(ttft, 50),
        "ttft_p99_ms": percentile(ttft, 99),
        "itl_p50_ms": percentile(gaps, 50),
        "itl_p99_ms": percentile(gaps, 99),
        "output_tps": tokens / (end - start),
        "window_s": (start, end),
        "ids": [stream.request_id for stream in streams],
    }
    seen.returned_ns = time.monotonic_ns()
    seen.requests = [(s.request_id, s.sent, s.token_ms) for s in streams]
    return seen
