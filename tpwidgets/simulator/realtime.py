"""The engine in real time, on an asyncio loop."""

import asyncio
import select
import selectors
from collections.abc import Callable

from .physics import Engine, Request


class RealTime:
    """Drives an engine by deadlines that are counted from the start, so that no delay adds up.

    Parameters
    ----------
    engine : Engine
        The engine.
    speed : float
        How many of its seconds pass in one of ours.
    """

    def __init__(self, engine: Engine, speed: float) -> None:
        self._engine = engine
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._sinks: dict[Request, Callable[[], None]] = {}
        self._stepping = False
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Return the engine's time."""
        return (self._loop.time() - self._origin) * self._speed

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back after `seconds` of the engine's time."""
        self._loop.call_later(seconds / self._speed, callback)

    def submit(self, request: Request, sink: Callable[[], None]) -> None:
        """Queue a request; `sink` is called at each of its tokens."""
        now = self.now()
        self._engine.submit(request, now)
        self._sinks[request] = sink
        if not self._stepping:
            self._plan(now)

    def cancel(self, request: Request) -> None:
        """Drop a request; its sink isn't called any more."""
        self._engine.cancel(request)
        self._sinks.pop(request, None)

    def _plan(self, now: float) -> None:
        """Set the alarm for the next step (an earlier arrival may move it)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        start = self._engine.wake_at(now)
        if start is not None and start <= now:
            self._begin(now)
        elif start is not None:
            self._timer = self._at(start, self._begin)

    def _begin(self, now: float) -> None:
        step = self._engine.step(now)
        self._stepping = True
        self._timer = self._at(now + step.duration_s, self._end, step.emitted)

    def _end(self, now: float, emitted: list[Request]) -> None:
        for request in emitted:
            sink = self._sinks.get(request)
            if sink is not None:
                if request.finished:
                    del self._sinks[request]
                sink()
        self._stepping = False
        # The next step begins when this one was due, not when we came to it.
        self._plan(now)

    def _at(
        self, when: float, callback: Callable[..., None], *rest: list[Request]
    ) -> asyncio.TimerHandle:
        return self._loop.call_at(self._origin + when / self._speed, callback, when, *rest)


class PreciseSelector(selectors.DefaultSelector):
    """A selector whose time-out is exact to the microsecond.

    epoll counts in milliseconds, rounded up, which would shift every token by up to one. An epoll
    object is itself a file descriptor, and select() on it counts in microseconds.
    """

    if hasattr(selectors, "EpollSelector"):

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Wait as `selectors.BaseSelector.select` does."""
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)
