"""A closed loop of users that walks levels without draining, and the window of each level.

Pure scheduling: it knows neither HTTP nor processes, only a coroutine function that makes one
request and returns its sample.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..samples import Sample, Window
from .breaker import Breaker
from .budget import Budget

_STAGGER_S = 0.02
_STAGGER_MAX_S = 1.0
"""New users start so far apart, all within a second: an opening burst is no steady state."""


@dataclass(slots=True)
class Level:
    """One operating point that was asked for; None leaves the end to whoever steers."""

    concurrency: int
    requests: int | None = None
    seconds: float | None = None


class ClosedLoop:
    """So many users at once, each sending its next request as soon as one ends.

    Parameters
    ----------
    request : callable
        ``await request(slot)`` makes one request and returns ``(sample, pause_s)``: how long the
        server asked the user to wait before the next one (Retry-After), else 0.
    now : callable
        Seconds on the worker's clock.
    emit : callable
        Takes messages: ``{"sample": …}``, ``{"window": …}``,
        ``{"level_over": True}``, ``{"broken": …}``, ``{"spent": True}``, ``{"idle": True}``.
    breaker : Breaker
        Tells when failures end it all, and how long a user waits after one.
    budget : Budget, optional
        Tells before each request whether there is still money for it.
    """

    def __init__(
        self,
        request: Callable[[int], Awaitable[tuple[Sample, float]]],
        now: Callable[[], float],
        emit: Callable[[dict[str, Any]], None],
        breaker: Breaker,
        budget: Budget | None = None,
    ) -> None:
        self._request, self._now, self._emit, self._breaker = request, now, emit, breaker
        self._budget = budget
        self._slots: dict[int, asyncio.Task[None]] = {}
        self._pausing: set[int] = set()
        self._size = 0
        self._level = Level(0)
        self._refilled: set[int] = set()
        self._window: Window | None = None
        self._closed = False
        self._counted = 0
        self._over = False
        self._finishing = self._idle_told = False
        self._in_flight = 0
        self._area = 0.0
        self._changed_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- commands ------------------------------------------------------------------------------

    def set_level(self, level: Level) -> None:
        """Go over to a level: close the window, let users carry on, add or retire some."""
        self.close_window()
        added = level.concurrency - len(self._slots)
        spacing = min(_STAGGER_S, _STAGGER_MAX_S / max(1, added))
        self._level, self._size = level, level.concurrency
        self._refilled.clear()
        self._closed = self._over = False
        self._breaker.set_users(self._size)
        self._wake_retired()
        fresh = (i for i in range(self._size) if i not in self._slots)
        for order, slot in enumerate(fresh):
            self._slots[slot] = asyncio.create_task(self._user(slot, order * spacing))

    def finish(self) -> None:
        """Send nothing more; let what is in flight come to its end."""
        self.close_window()
        self._size, self._finishing = 0, True
        self._wake_retired()
        self._tell_if_idle()

    async def stop(self) -> None:
        """Break off everything now; what was in flight becomes a sample with status `stopped`."""
        self.close_window("stopped")
        self._size, self._finishing = 0, True
        tasks = list(self._slots.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._slots.clear()  # a task that was cancelled before it began has not left by itself
        self._tell_if_idle()

    @property
    def in_flight(self) -> int:
        """Requests in flight right now."""
        return self._in_flight

    @property
    def live(self) -> dict[str, Any]:
        """What is going on right now, the window as if it closed now."""
        window = None
        if self._window is not None:
            self._integrate()
            window = asdict(self._measured(self._window))
        return {
            "now_s": self._now(),
            "concurrency": self._level.concurrency,
            "in_flight": self._in_flight,
            "window": window,
        }

    # -- users ---------------------------------------------------------------------------------

    async def _user(self, slot: int, delay_s: float) -> None:
        failures = 0
        try:
            while slot < self._size:
                if delay_s:
                    self._pausing.add(slot)
                    await asyncio.sleep(delay_s)
                    self._pausing.discard(slot)
                    if slot >= self._size:
                        break
                if self._budget is not None and not await self._may_send(self._budget, slot):
                    break
                self._moved(+1)
                sample, asked_s = await self._request(slot)
                self._moved(-1)
                if self._budget is not None:
                    self._budget.settle(sample)
                self._ended(sample, asked_s)
                if sample.status == "stopped":
                    break
                failures = 0 if sample.status == "ok" else failures + 1
                delay_s = self._breaker.pause_s(failures, asked_s) if failures else 0.0
        finally:
            self._pausing.discard(slot)
            del self._slots[slot]
            self._open_if_settled()
            self._tell_if_idle()

    async def _may_send(self, budget: Budget, slot: int) -> bool:
        """Hold back what a request may cost; end it all where so much is not left."""
        if await budget.take(self._size):
            if slot < self._size:
                return True
            budget.give_back()  # the level went down meanwhile
        elif self._size:
            self._end_early({"spent": True}, "the spend limit was reached")
        return False

    def _wake_retired(self) -> None:
        for slot in self._pausing:
            if slot >= self._size:
                self._slots[slot].cancel()

    def _tell_if_idle(self) -> None:
        if self._finishing and not self._slots and not self._idle_told:
            self._idle_told = True
            self._emit({"idle": True})

    def _moved(self, step: int) -> None:
        self._integrate()
        self._in_flight += step

    def _integrate(self) -> None:
        now = self._now()
        self._area += self._in_flight * (now - self._changed_s)
        self._changed_s = now

    def _ended(self, sample: Sample, asked_s: float) -> None:
        sample.concurrency = self._level.concurrency
        window = self._window
        if window is not None and sample.ended_s > window.start_s and sample.status != "stopped":
            sample.phase = "measured"
            self._counted += 1
        elif not self._size or self._closed:
            sample.phase = "cooldown"
        self._emit({"sample": sample})
        broken = self._breaker.verdict(sample, asked_s)
        if broken and self._size:
            self._end_early({"broken": broken}, "ended early")
            return
        if sample.slot < self._size:
            self._refilled.add(sample.slot)
        if window is None:
            self._open_if_settled()
        wanted = self._level.requests
        if self._window is not None and wanted is not None and self._counted >= wanted:
            self._level_over()

    def _end_early(self, why: dict[str, Any], note: str) -> None:
        self._emit(why)
        self.close_window(note)
        self.finish()

    # -- the window ----------------------------------------------------------------------------

    def _open_if_settled(self) -> None:
        """Open the window once every user has been refilled and those who retire have left."""
        settled = len(self._refilled) >= self._level.concurrency >= len(self._slots)
        if settled and self._window is None and not self._closed and self._size:
            self._open_window()

    def _open_window(self) -> None:
        self._integrate()
        now = self._now()
        self._window = Window(self._level.concurrency, now, now)
        self._area, self._counted = 0.0, 0
        if self._level.seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._level.seconds, self._level_over)

    def _measured(self, window: Window) -> Window:
        window.end_s = self._changed_s
        span = window.end_s - window.start_s
        window.in_flight_mean = self._area / span if span > 0 else float(self._in_flight)
        return window

    def _level_over(self) -> None:
        """Tell, once, that the level has counted what it was asked for.

        The load is kept up, and counted, until a command comes.
        """
        if not self._over:
            self._over = True
            self._emit({"level_over": True})

    def close_window(self, note: str = "") -> None:
        """Close the level's window, if it is open, and tell. The load goes on until a command."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        window, self._window = self._window, None
        self._closed = True
        if window is not None:
            self._integrate()
            window = self._measured(window)
            window.closed, window.note = True, note
            self._emit({"window": asdict(window)})
