"""An open loop: each request is sent at its time, whatever is still in flight."""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from random import Random
from typing import Any

from ..samples import Sample, Window
from ..workload.loads import MAX_CONCURRENCY
from ..workload.ramps import middle, tidy
from ..workload.rates import arrival_times, ramped
from .breaker import Breaker
from .budget import Budget
from .loop import Emit, Loop, Request

_WHOLE = 0.99
"""From this share of its time on a ramp's section is whole: clocks and timers round."""


@dataclass(slots=True)
class OpenLevel:
    """One operating point that was asked for; None leaves the end to whoever steers.

    Several workers draw the same arrivals, and each sends its part of them.
    """

    rate: float
    """Requests per second, of all workers together."""
    arrivals: str = "poisson"
    burstiness: float = 1.0
    seed: int = 0
    begin_s: float | None = None
    """When the arrivals begin, s on the worker's clock; None: at once."""
    part: int | None = 0
    parts: int = 1
    """Of every `parts` arrivals, number `part` is ours; None: none is."""
    most: int = MAX_CONCURRENCY
    """So many requests may be in flight at once."""
    requests: int | None = None
    seconds: float | None = None
    ramp: tuple[float, float, float] | None = None
    """Amid a ramp: from which rate to which, in so many seconds; counted from the first on."""

    def times(self) -> Iterator[float]:
        """Yield when requests are due, in s since the level began."""
        random = Random(self.seed)
        if self.ramp is None:
            return arrival_times(self.rate, self.arrivals, self.burstiness, random)
        return ramped(arrival_times(1.0, self.arrivals, self.burstiness, random), *self.ramp)


class OpenLoop(Loop):
    """So many requests per second, each sent at its scheduled time.

    A level's arrivals are drawn ahead as points in time, so that no delay adds up. What can't be
    sent, since too many are in flight, is a sample too: it is neither dropped nor put off. Nobody
    waits after a failure or for a Retry-After: that the server refuses is a result.

    Parameters
    ----------
    unsent : callable
        ``unsent(message)`` makes the sample of a request that this machine did not send.
    """

    def __init__(
        self,
        request: Request,
        now: Callable[[], float],
        emit: Emit,
        breaker: Breaker,
        budgets: Sequence[Budget] = (),
        *,
        unsent: Callable[[str], Sample],
    ) -> None:
        super().__init__(request, now, emit, breaker, budgets)
        self._unsent = unsent
        self._level = OpenLevel(0.0)
        self._sender: asyncio.Task[None] | None = None
        self._free: list[int] = []
        """Slots below the highest one in use that are not, as a heap."""
        self._used = 0
        self._begun = False
        self._awaited: set[int] = set()
        """Whose end the window waits for."""

    def set_level(self, level: OpenLevel) -> None:
        """Go over to a level: close the window, and send at the new rate from now on."""
        self._begin_level(level.requests, level.seconds)
        self._level = level
        self._begun, self._awaited = False, set(self._slots)
        self._breaker.set_users(math.ceil(level.rate / level.parts))
        self._cancel_sender()
        if level.ramp is not None:
            self._open_window()
        if level.part is not None:
            self._sender = asyncio.create_task(self._send_on_time(level, level.part))

    @property
    def live(self) -> dict[str, Any]:
        """What is going on right now, the window as if it closed now."""
        return {**super().live, "concurrency": self._in_flight}

    async def _send_on_time(self, level: OpenLevel, part: int) -> None:
        entered_s = self._now()
        begin_s = entered_s if level.begin_s is None else level.begin_s
        for after_s in islice(level.times(), part, None, level.parts):
            at_s = begin_s + after_s
            if at_s < entered_s:
                continue
            await asyncio.sleep(max(0.0, at_s - self._now()))
            while (early_s := at_s - self._now()) > 0:  # timers and clocks round
                await asyncio.sleep(early_s)
            self._take_up(level, at_s)

    def _take_up(self, level: OpenLevel, at_s: float) -> None:
        if len(self._slots) >= level.most:
            self._turn_away(level, at_s)
            return
        if self._free:
            slot = heappop(self._free)
        else:
            slot, self._used = self._used, self._used + 1
        if not self._begun:
            self._begun = True
            self._awaited.add(slot)
        self._slots[slot] = asyncio.create_task(self._one(level, slot, at_s))

    def _turn_away(self, level: OpenLevel, at_s: float) -> None:
        """Tell of a request that is not sent. It says nothing of the server: no breaker hears."""
        sample = self._unsent(f"{level.most:,} were in flight already")
        sample.rate, sample.concurrency = level.rate, self._in_flight
        sample.scheduled_s, sample.dispatched_s = at_s, sample.sent_s
        self._tell(sample)

    async def _one(self, level: OpenLevel, slot: int, at_s: float) -> None:
        try:
            # a second's worth ahead, so that none has to wait for money
            ahead = len(self._slots) + math.ceil(level.rate / level.parts)
            if not await self._may_send(ahead, lambda: self._sending):
                return
            dispatched_s, concurrency = self._now(), self._in_flight + 1
            sample, asked_s = await self._send(slot)
            sample.rate, sample.concurrency = level.rate, concurrency
            sample.scheduled_s, sample.dispatched_s = at_s, dispatched_s
            self._ended(sample, asked_s)
        finally:
            del self._slots[slot]
            heappush(self._free, slot)
            self._tell_if_idle()

    @property
    def _sending(self) -> bool:
        return self._sender is not None

    def _send_no_more(self) -> None:
        self._cancel_sender()

    def _cancel_sender(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None

    def _has_ended(self, sample: Sample) -> None:
        self._awaited.discard(sample.slot)
        self._open_if_settled()

    @property
    def _settled(self) -> bool:
        """Whether the level's first request has ended, and all those of the level before."""
        return self._begun and not self._awaited

    def _new_window(self, now_s: float) -> Window:
        level = self._level
        ramp = None if level.ramp is None else level.ramp[:2]
        return Window(0, now_s, now_s, rate=level.rate, ramp=ramp)

    def _measured(self, window: Window) -> Window:
        window = super()._measured(window)
        window.known_s = self._oldest_s
        if self._level.ramp is not None:
            first, last, seconds = self._level.ramp
            share = (window.end_s - window.start_s) / seconds
            if share < _WHOLE:  # it is cut short, or not over yet
                last = tidy(first + share * (last - first))
            window.ramp, window.rate = (first, last), middle(first, last)
        return window
