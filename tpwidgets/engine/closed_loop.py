"""A closed loop of users that walks levels, draining only if asked to; the window of each level."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..samples import Sample, Window
from ..workload.ramps import middle
from .breaker import Breaker
from .budget import Budget
from .loop import Emit, Loop, Request

_STAGGER_S = 0.02
_STAGGER_MAX_S = 1.0
"""New users start so far apart, all within a second: an opening burst is no steady state."""


@dataclass(slots=True)
class Level:
    """One operating point that was asked for; None leaves the end to whoever steers."""

    concurrency: int
    requests: int | None = None
    seconds: float | None = None
    ramp: tuple[int, int, float] | None = None
    """Amid a ramp: from so many users to so many, in so many seconds; counted from the first on."""
    anew: bool = False
    """Let all leave first, and begin as if it were the first level.

    Users who ask for equally many tokens end together, in groups that stay as they are for long.
    How large these are, and so how long each waits, hangs on the levels before: what is to hold of
    the level by itself must not. Of several workers each sees to its own users.
    """


class ClosedLoop(Loop):
    """So many users at once, each sending its next request as soon as one ends.

    A user whose request failed waits as the breaker says before the next.
    """

    def __init__(
        self,
        request: Request,
        now: Callable[[], float],
        emit: Emit,
        breaker: Breaker,
        budgets: Sequence[Budget] = (),
    ) -> None:
        super().__init__(request, now, emit, breaker, budgets)
        self._pausing: dict[int, tuple[float, int]] = {}
        """Until when (the loop's time) who waits, and after how many failures."""
        self._owed: dict[int, tuple[float, int]] = {}
        """The same of users who left amid their pause: who begins anew in their place waits on."""
        self._size = 0
        self._level = Level(0)
        self._refilled: set[int] = set()
        self._steps: list[asyncio.TimerHandle] = []
        """When the number of users will change, amid a ramp."""
        self._draining = False
        """Whether the level begins once all users of the one before have left."""

    def set_level(self, level: Level) -> None:
        """Go over to a level: close the window, let users carry on, add or retire some."""
        self._begin_level(level.requests, level.seconds)
        self._level = level
        self._refilled.clear()
        self._stand_still()
        self._draining = level.anew and bool(self._slots)
        if self._draining:
            self._breaker.set_users(level.concurrency)
            self._size = 0
            self._owed = dict(self._pausing)
            self._wake_retired()
        elif level.ramp is None:
            self._resize(level.concurrency)
        else:
            self._open_window()
            self._climb(*level.ramp)

    def _climb(self, first: int, last: int, seconds: float) -> None:
        """Have each number of users from first to last for as long as any other."""
        self._resize(first)
        step = 1 if last >= first else -1
        users = range(first + step, last + step, step)
        loop = asyncio.get_running_loop()
        self._steps = [
            loop.call_later(seconds * number / (len(users) + 1), self._resize, size)
            for number, size in enumerate(users, 1)
        ]

    def _stand_still(self) -> None:
        for step in self._steps:
            step.cancel()
        self._steps = []

    def _resize(self, users: int) -> None:
        added = users - len(self._slots)
        spacing = min(_STAGGER_S, _STAGGER_MAX_S / max(1, added))
        self._size = users
        self._breaker.set_users(self._size)
        self._wake_retired()
        fresh = (i for i in range(self._size) if i not in self._slots)
        now = asyncio.get_running_loop().time()
        for order, slot in enumerate(fresh):
            until, failures = self._owed.get(slot, (now, 0))
            delay_s = max(order * spacing, until - now)
            self._slots[slot] = asyncio.create_task(self._user(slot, delay_s, failures))
        self._owed = {}

    @property
    def live(self) -> dict[str, Any]:
        """What is going on right now, the window as if it closed now."""
        return {**super().live, "concurrency": self._level.concurrency}

    async def _user(self, slot: int, delay_s: float, failures: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            while slot < self._size:
                if delay_s:
                    self._pausing[slot] = loop.time() + delay_s, failures
                    await asyncio.sleep(delay_s)
                    self._pausing.pop(slot, None)
                    if slot >= self._size:
                        break
                # the level may go down while one waits for money
                if not await self._may_send(self._size, lambda: slot < self._size):
                    break
                sample, asked_s = await self._send(slot)
                sample.concurrency = self._level.concurrency
                self._ended(sample, asked_s)
                if sample.status == "stopped":
                    break
                failures = 0 if sample.status == "ok" else failures + 1
                delay_s = self._breaker.pause_s(failures, asked_s) if failures else 0.0
        finally:
            self._pausing.pop(slot, None)
            del self._slots[slot]
            if self._draining and not self._slots:
                self._draining = False
                self._resize(self._level.concurrency)
            self._open_if_settled()
            self._tell_if_idle()

    @property
    def _sending(self) -> bool:
        return self._size > 0 or self._draining

    def _send_no_more(self) -> None:
        self._stand_still()
        self._draining = False
        self._size = 0
        self._wake_retired()

    def _wake_retired(self) -> None:
        for slot in self._pausing:
            if slot >= self._size:
                self._slots[slot].cancel()

    def _has_ended(self, sample: Sample) -> None:
        if sample.slot < self._size:
            self._refilled.add(sample.slot)
        self._open_if_settled()

    @property
    def _settled(self) -> bool:
        """Whether every user has been refilled and those who retire have left."""
        return len(self._refilled) >= self._level.concurrency >= len(self._slots)

    def _new_window(self, now_s: float) -> Window:
        level = self._level
        ramp = None if level.ramp is None else level.ramp[:2]
        return Window(level.concurrency, now_s, now_s, ramp=ramp)

    def _measured(self, window: Window) -> Window:
        if window.ramp is not None:  # it may be cut short
            first = window.ramp[0]
            window.ramp = first, self._size
            window.concurrency = int(middle(first, self._size))
        return super()._measured(window)
