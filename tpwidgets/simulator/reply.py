"""One answer on its way out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from .connection import Connection
from .http1 import Headers
from .physics import Request
from .profiles import Faults
from .realtime import RealTime
from .wire import Written


@dataclass(frozen=True, slots=True)
class Mishap:
    """What goes wrong with one answer."""

    cut_after: int | None = None
    """Tokens until the connection is closed."""
    stall_after: int | None = None
    """Tokens until the answer stalls."""
    stall_s: float = 0.0

    @classmethod
    def draw(cls, faults: Faults, tokens: int, random: Random) -> "Mishap":
        """Draw what happens to an answer of so many tokens: mostly nothing."""
        draw, after = random.random(), random.randint(min(1, tokens - 1), tokens - 1)
        if draw < faults.cut:
            return cls(cut_after=after)
        if draw < faults.cut + faults.stall:
            return cls(stall_after=after, stall_s=faults.stall_s)
        return cls()


@dataclass(eq=False, slots=True, kw_only=True)
class Reply:
    """Writes the answer to one request, token by token as the engine makes them."""

    clock: RealTime
    connection: Connection
    request: Request
    answer: Written
    stream: bool
    include_usage: bool
    headers: Headers
    mishap: Mishap
    log: Callable[[dict[str, Any]], None]
    record: dict[str, Any]
    """What becomes its line in the log."""
    _written: int = 0
    _held: bool = False
    _gone: bool = False

    def begin(self) -> None:
        """Send what comes before the first token, and queue the request."""
        self.connection.on_lost = self._lost
        if self.stream:
            self.connection.start(self.headers)
            opening = self.answer.opening(self.request)
            if opening:
                self.connection.write(opening)
        self.clock.submit(self.request, self._token)

    def _token(self) -> None:
        before = self.request.generated - 1
        if before == self.mishap.cut_after:
            self.connection.on_lost = None
            self.connection.transport.abort()
            self.clock.cancel(self.request)
            self._end("cut")
        elif before == self.mishap.stall_after:
            self._held = True
            self.clock.later(self.mishap.stall_s, self._release)
        elif not self._held:
            self._flush()

    def _release(self) -> None:
        self._held = False
        if not self._gone:
            self._flush()

    def _flush(self) -> None:
        """Write the tokens that are due, each by itself; usually that is one."""
        if self.stream:
            stamps = self.record["tokens_ns"]
            for index in range(self._written, self.request.generated):
                data = self.answer.token(index)
                stamps.append(time.perf_counter_ns())
                self.connection.write(data)
            self._written = self.request.generated
        if self.request.finished:
            self._finish()

    def _finish(self) -> None:
        if self.stream:
            self.connection.write(self.answer.finish())
            if self.include_usage:
                self.connection.write(self.answer.usage(self.request))
            self.connection.write(self.answer.end)
            self.connection.done()
        else:
            body = self.answer.whole(self.request)
            self.record["tokens_ns"].append(time.perf_counter_ns())
            self.connection.respond(200, body, self.headers)
        self._end("ok")

    def _lost(self) -> None:
        self._gone = True
        self.clock.cancel(self.request)
        self._end("disconnected")

    def _end(self, status: str) -> None:
        counts = {
            "cached_tokens": self.request.cached_tokens,
            "output_tokens": self.request.generated,
            "status": status,
        }
        self.log(self.record | counts)
