"""The workers of one measurement, as if they were one: as many as the load needs cores.

A level's users, or an open loop's arrivals, are shared out among them. Each walks the level by
itself; what they tell is put together here: the window in which all of them counted, requests in
flight as their sum.
"""

import math
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..masking import Mask
from ..workload.ramps import middle
from .budget import Purse
from .limits import users_per_worker
from .process import LocalWorker

_USERS_PER_WORKER = 256
"""So many users one worker takes on before it is known how busy they keep it."""
_RATE_PER_WORKER = 100.0
"""The same for an open loop, in requests per second."""
_COMFORTABLE = 0.6
"""How much of a core a worker should need at most: beyond, tokens begin to share reads."""
_SATURATED = 0.85
"""A worker that needs more of its core than this gets help."""
_SETTLE_S = 3.0
"""So long after users were shared out it shows how busy they keep the workers."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _share(users: int, number: int, n: int) -> int:
    """Return how many users worker `number` of `n` gets."""
    return users // n + (number < users % n)


def _sum_of_ramps(
    ramps: Sequence[Sequence[float] | None], *, shared: bool
) -> tuple[float, float] | None:
    """Put together from where to where a ramp went, each worker with a share of its users."""
    known = [ramp for ramp in ramps if ramp is not None]
    if not known:
        return None
    if not shared:
        return known[0][0], known[0][1]
    return sum(ramp[0] for ramp in known), sum(ramp[1] for ramp in known)


class _Member:
    """What is known of one worker."""

    def __init__(self, mask: Mask) -> None:
        self.worker = LocalWorker(mask)
        self.users = self.first_slot = 0
        """Its share of the level: users, or 1 where it has a part of the arrivals."""
        self.live: dict[str, Any] | None = None
        self.window: dict[str, Any] | None = None
        self.left: list[dict[str, Any] | None] = []
        """The window of each level that it has left, None where it had none."""
        self.idle = False

    def leave(self) -> None:
        """File the level's window."""
        self.left.append(self.window)
        self.window = None


class Fleet:
    """Local workers behind the face of one. Commands may come from any thread.

    Parameters
    ----------
    mask : Mask
        What workers must not inherit in any environment variable.
    cores : int
        How many workers there may be, at most; None: one for each core that we may use.
    purses : sequence of Purse
        What they may spend together.
    """

    def __init__(self, mask: Mask, cores: int | None = None, purses: Sequence[Purse] = ()) -> None:
        self._mask, self._cores, self._purses = mask, cores or usable_cores(), purses
        self._told: queue.SimpleQueue[tuple[_Member, dict[str, Any] | None]] = queue.SimpleQueue()
        self._members: list[_Member] = []
        self._assignment: dict[str, Any] = {}
        self._level: dict[str, Any] = {}
        self._leaving: list[list[_Member]] = []
        """For each command that ends a level: who had users, hence owes a window."""
        self._merged = 0
        self._ended_s: list[float] = []
        """When the level's requests ended, of those that were counted by the worker they are of."""
        self._over = False
        self._shared_at = 0.0
        self._ending = False
        self.busy = 0.0
        """How many cores the workers used together, at the most over a second or so."""
        self._sending = threading.Lock()
        self._add()

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [member.worker.pid for member in self._members]

    # -- commands ------------------------------------------------------------------------------

    def send(self, command: dict[str, Any]) -> None:
        """Pass a command on, a level's users shared out; ``assignment`` comes first of all."""
        with self._sending:
            if command["do"] == "assignment":
                self._assignment = command
                for number, member in enumerate(self._members):
                    member.worker.send(self._part(number))
            elif command["do"] == "level":
                self._grow(self._wanted(command))
                self._share_out(command)
            else:
                self._ending = True
                self._leaving.append([m for m in self._members if m.users])
                for member in self._members:
                    member.worker.send(command)

    def _part(self, number: int) -> dict[str, Any]:
        run, seed = self._assignment["run"], self._assignment["seed"]
        own = {"run": f"{run}-{number}", "seed": seed + number} if number else {}
        return {**self._assignment, **own}

    def _wanted(self, level: dict[str, Any]) -> int:
        """Return how many workers a level needs, by how busy the one before kept them."""
        axis = "rate" if "rate" in level else "concurrency"
        load: float = level[axis]
        least = 1
        if axis == "concurrency":
            least = math.ceil(load / users_per_worker())
        busy: float = sum(m.live["busy"] for m in self._members if m.live)
        before: float = self._level.get(axis, 0)
        if before:
            return max(least, math.ceil(busy * load / before / _COMFORTABLE))
        each = _RATE_PER_WORKER if axis == "rate" else _USERS_PER_WORKER
        return max(least, math.ceil(load / each))

    def _grow(self, wanted: int) -> None:
        while len(self._members) < min(wanted, self._cores):
            member = self._add()
            member.worker.send(self._part(len(self._members) - 1))

    def _add(self) -> _Member:
        member = _Member(self._mask)
        member.left = [None] * len(self._leaving)
        self._members.append(member)

        def listen() -> None:
            for message in member.worker.messages():
                if "wants" in message:  # at once: its users wait
                    self._grant(member, **message)
                else:
                    self._told.put((member, message))
            self._told.put((member, None))

        threading.Thread(target=listen, name="tpwidgets-worker", daemon=True).start()
        return member

    def _grant(self, member: _Member, wants: float, of: int) -> None:
        amount = self._purses[of].lease(wants, len(self._members))
        member.worker.send({"do": "grant", "amount": amount, "of": of})

    def _share_out(self, level: dict[str, Any], *, again: bool = False) -> None:
        # a level that is begun again with more workers leaves no window behind
        self._leaving.append([] if again else [m for m in self._members if m.users])
        self._level, self._shared_at = level, time.monotonic()
        n = len(self._members)
        self._ended_s, self._over = [], False
        # one worker sees by itself when it has counted enough; of several, each knows its part only
        count = {} if n == 1 else {"requests": None, "seconds": None}
        parts = self._arrivals(level, n) if "rate" in level else self._users(level, n)
        for member, part in zip(self._members, parts, strict=True):
            member.worker.send({**level, **part, **count})

    def _users(self, level: dict[str, Any], n: int) -> Iterator[dict[str, Any]]:
        """Yield how many of a closed loop's users each worker gets."""
        users, first = level["concurrency"], 0
        for number, member in enumerate(self._members):
            share = _share(users, number, n)
            part: dict[str, Any] = {"concurrency": share}
            most = share
            if "ramp" in level:
                low, high, seconds = level["ramp"]
                low, high = _share(low, number, n), _share(high, number, n)
                part["ramp"], most = (low, high, seconds), max(low, high)
            member.users, member.first_slot = most, first
            first += most
            yield part

    def _arrivals(self, level: dict[str, Any], n: int) -> Iterator[dict[str, Any]]:
        """Yield which of an open loop's arrivals each worker gets: all draw the same.

        Where there are few, not every worker gets some: the window waits for each.
        """
        parts = min(n, max(1, int(level["rate"])))
        most = int(max(1, min(level["most"] // parts, users_per_worker())))
        begin_s = (time.perf_counter_ns() - self._assignment["epoch_ns"]) / 1e9
        seed = self._assignment["seed"] + len(self._leaving)
        for number, member in enumerate(self._members):
            member.users, member.first_slot = int(number < parts), number * most
            yield {
                "part": number if number < parts else None, "parts": parts, "most": most,
                "seed": seed, "begin_s": begin_s if parts > 1 else None,
            }  # fmt: skip

    # -- messages ------------------------------------------------------------------------------

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the workers tell, put together, until all have ended or one broke down."""
        ended = 0
        while ended < len(self._members):
            member, message = self._told.get()
            if message is not None:
                yield from self._together(member, message)
                continue
            ended += 1
            if not member.idle and not self._ending:
                return

    def _together(self, member: _Member, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "sample" in message:
            sample = message["sample"]
            if sample.slot >= 0:
                sample.slot += member.first_slot
            if sample.rate is None:
                sample.concurrency = self._level["concurrency"]
            if sample.phase == "measured":
                self._ended_s.append(sample.ended_s)
            yield message
        elif "live" in message:
            member.live = message["live"]
            if member is self._members[0]:
                self.busy = max(self.busy, sum(m.live["busy"] for m in self._members if m.live))
                yield self._live()
                if len(self._members) > 1 and not self._over and self._counted():
                    self._over = True
                    yield {"level_over": True}
                    yield self._live()
                self._help()
        elif "window" in message:
            member.window = message["window"]
        elif "left" in message:
            member.leave()
            yield from self._windows()
        elif "level_over" in message:
            if len(self._members) == 1:  # else it was told before it got help
                yield message
                yield self._live()
        elif "idle" in message:
            member.leave()
            member.idle = True
            yield from self._windows()
            if all(m.idle for m in self._members):
                yield message
                yield self._live()
        elif "broken" in message or "spent" in message:
            yield message
            self.send({"do": "finish"})

    def _windows(self) -> Iterator[dict[str, Any]]:
        """Yield the windows of levels that all have left by now."""
        while self._merged < min(len(self._leaving), *(len(m.left) for m in self._members)):
            owing = self._leaving[self._merged]
            window = self._common([m.left[self._merged] for m in owing])
            self._merged += 1
            if window is not None:
                yield {"window": window}

    def _live(self) -> dict[str, Any]:
        """Put together what is going on right now."""
        lives = [m.live for m in self._members if m.live is not None]
        in_flight = sum(live["in_flight"] for live in lives)
        oldest = [live["oldest_s"] for live in lives if live["oldest_s"] is not None]
        concurrency = self._level.get("concurrency", 0)
        if "rate" in self._level or "ramp" in self._level:
            concurrency = in_flight
        return {
            "live": {
                "now_s": max((live["now_s"] for live in lives), default=0.0),
                "concurrency": concurrency,
                "in_flight": in_flight,
                "oldest_s": min(oldest, default=None),
                "chunks": sum(live["chunks"] for live in lives),
                "window": self._open(),
            }
        }

    def _open(self) -> dict[str, Any] | None:
        """Return the window in which all workers count right now, if there is one."""
        return self._common(
            [m.live["window"] if m.live else None for m in self._members if m.users]
        )

    def _counted(self) -> bool:
        """Tell whether the level has counted what it was asked for, where all workers count."""
        window = self._open()
        if window is None or any(len(m.left) < len(self._leaving) for m in self._members):
            return False  # some of what is known is of the level before
        requests, seconds = self._level["requests"], self._level["seconds"]
        if seconds is not None and window["end_s"] - window["start_s"] >= seconds:
            return True
        if requests is None:
            return False
        inside = sum(window["start_s"] < ended <= window["end_s"] for ended in self._ended_s)
        return bool(inside >= requests)

    def _common(self, windows: list[dict[str, Any] | None]) -> dict[str, Any] | None:
        """Return the window in which all of them counted, if there is one."""
        open_ = [window for window in windows if window is not None]
        if not open_ or len(open_) < len(windows):
            return None
        start, end = max(w["start_s"] for w in open_), min(w["end_s"] for w in open_)
        if len(open_) > 1 and start >= end:
            return None
        rate = open_[0]["rate"]
        ramp = _sum_of_ramps([w["ramp"] for w in open_], shared=rate is None)
        users = sum(w["concurrency"] for w in open_)
        return {
            "concurrency": users if ramp is None or rate is not None else middle(*ramp),
            "start_s": start,
            "end_s": end,
            "in_flight_mean": sum(w["in_flight_mean"] for w in open_),
            "closed": all(w["closed"] for w in open_),
            "note": next((w["note"] for w in open_ if w["note"]), ""),
            "rate": rate,
            "ramp": ramp,
            "known_s": None if rate is None else min(w["known_s"] or w["end_s"] for w in open_),
        }

    def _help(self) -> None:
        """Begin the level again with one more worker, if those there are too busy for it."""
        n = len(self._members)
        busy = max(m.live["busy"] if m.live else 0.0 for m in self._members)
        early = time.monotonic() - self._shared_at < _SETTLE_S
        with self._sending:
            if busy < _SATURATED or early or n >= self._cores or self._ending:
                return
            if "ramp" in self._level:  # it can't be begun again: the next section gets help
                return
            self._grow(n + 1)
            self._share_out(self._level, again=True)

    # -- the end -------------------------------------------------------------------------------

    def kill_unless_ended(self, within_s: float) -> None:
        """Kill the workers that have not ended by themselves in time."""
        until = time.monotonic() + within_s
        for member in self._members:
            member.worker.kill_unless_ended(max(0.0, until - time.monotonic()))

    def close(self) -> str:
        """End all workers, by force if need be; return the first complaint."""
        complaints = [member.worker.close() for member in self._members]
        return next(filter(None, complaints), "")
