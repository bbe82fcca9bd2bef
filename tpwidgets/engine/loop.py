"""What the closed and the open loop share: requests under way, the window, and the ends.

Pure scheduling: it knows neither HTTP nor processes, only a coroutine function that makes one
request and returns its sample.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

from ..samples import Sample, Window
from .breaker import Breaker
from .budget import Budget

Request = Callable[[int], Awaitable[tuple[Sample, float]]]
Emit = Callable[[dict[str, Any]], None]


class Loop(ABC):
    """Sends requests, level by level, and counts in the window of each.

    Parameters
    ----------
    request : callable
        ``await request(slot)`` makes one request and returns ``(sample, pause_s)``: how long the
        server asked to wait before the next one (Retry-After), else 0.
    now : callable
        Seconds on the worker's clock.
    emit : callable
        Takes messages: ``{"sample": …}``, ``{"window": …}``,
        ``{"level_over": True}``, ``{"broken": …}``, ``{"spent": …}`` (which budget),
        ``{"idle": True}``.
    breaker : Breaker
        Tells when failures end it all, and how long a user waits after one.
    budgets : sequence of Budget
        Each tells before each request whether there is still enough for it.
    """

    def __init__(
        self,
        request: Request,
        now: Callable[[], float],
        emit: Emit,
        breaker: Breaker,
        budgets: Sequence[Budget] = (),
    ) -> None:
        self._request, self._now, self._emit, self._breaker = request, now, emit, breaker
        self._budgets = budgets
        self._slots: dict[int, asyncio.Task[None]] = {}
        """Who sends, or may: a user of the closed loop, one request of the open one."""
        self._requests: int | None = None
        self._seconds: float | None = None
        """What the level is to count; None leaves its end to whoever steers."""
        self._window: Window | None = None
        self._closed = False
        self._counted = 0
        self._over = False
        self._finishing = self._idle_told = False
        self._in_flight = 0
        self._dispatched: dict[int, float] = {}
        """When what is in flight was taken up, by slot, the oldest first."""
        self._area = 0.0
        self._changed_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- what differs --------------------------------------------------------------------------

    @property
    @abstractmethod
    def _sending(self) -> bool:
        """Whether requests are sent, or will be."""

    @abstractmethod
    def _send_no_more(self) -> None:
        """Let no request begin any more."""

    @property
    @abstractmethod
    def _settled(self) -> bool:
        """Whether the level is in its steady state, as far as can be told."""

    @abstractmethod
    def _new_window(self, now_s: float) -> Window:
        """Return a window that opens now."""

    @abstractmethod
    def _has_ended(self, sample: Sample) -> None:
        """Take note of how a request ended, right after its sample was told."""

    # -- commands ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Send nothing more; let what is in flight come to its end."""
        self.close_window()
        self._finishing = True
        self._send_no_more()
        self._tell_if_idle()

    async def stop(self) -> None:
        """Break off everything now; what was in flight becomes a sample with status `stopped`."""
        self.close_window("stopped")
        self._finishing = True
        self._send_no_more()
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
            "now_s": self._now(), "in_flight": self._in_flight, "oldest_s": self._oldest_s,
            "window": window,
        }  # fmt: skip

    @property
    def _oldest_s(self) -> float | None:
        return next(iter(self._dispatched.values()), None)

    # -- requests ------------------------------------------------------------------------------

    async def _may_send(self, at_once: int, still: Callable[[], bool]) -> bool:
        """Hold back what a request may cost; end it all where so much is not left.

        Parameters
        ----------
        at_once : int
            How many requests there may be at once.
        still : callable
            Whether it is still to be sent, after it had to wait.
        """
        if not self._budgets:
            return True
        for number, budget in enumerate(self._budgets):
            if not await budget.take(at_once):
                self._give_back(number)
                if self._sending:
                    self._end_early({"spent": number}, f"the {budget.limit} was reached")
                return False
        if still():
            return True
        self._give_back(len(self._budgets))
        return False

    def _give_back(self, budgets: int) -> None:
        for budget in self._budgets[:budgets]:
            budget.give_back()

    async def _send(self, slot: int) -> tuple[Sample, float]:
        """Make one request, in flight until it has ended."""
        self._moved(+1)
        self._dispatched[slot] = self._changed_s
        try:
            sample, asked_s = await self._request(slot)
        finally:
            del self._dispatched[slot]
        self._moved(-1)
        for budget in self._budgets:
            budget.settle(sample)
        return sample, asked_s

    def _ended(self, sample: Sample, asked_s: float) -> None:
        self._tell(sample)
        broken = self._breaker.verdict(sample, asked_s)
        if broken and self._sending:
            self._end_early({"broken": broken}, "ended early")
            return
        self._has_ended(sample)
        wanted = self._requests
        if self._window is not None and wanted is not None and self._counted >= wanted:
            self._level_over()

    def _tell(self, sample: Sample) -> None:
        window = self._window
        if window is not None and sample.ended_s > window.start_s and sample.status != "stopped":
            sample.phase = "measured"
            self._counted += 1
        elif not self._sending or self._closed:
            sample.phase = "cooldown"
        self._emit({"sample": sample})

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

    def _end_early(self, why: dict[str, Any], note: str) -> None:
        self._emit(why)
        self.close_window(note)
        self.finish()

    # -- the window ----------------------------------------------------------------------------

    def _begin_level(self, requests: int | None, seconds: float | None) -> None:
        self.close_window()
        self._requests, self._seconds = requests, seconds
        self._closed = self._over = False

    def _open_if_settled(self) -> None:
        """Open the window, once, if the level has settled."""
        if self._window is None and not self._closed and self._sending and self._settled:
            self._open_window()

    def _open_window(self) -> None:
        self._integrate()
        self._window = self._new_window(self._now())
        self._area, self._counted = 0.0, 0
        if self._seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._level_over)

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
