"""A worker's place on the machine: how busy it is, how soon it is run, and on which core."""

import os
import platform
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

_NICE = -10
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call's number; Python has no function for it."""
_SCHED_ATTR = "=IIQiIQQQ"
"""Its struct: size, policy, flags, nice, priority, runtime, deadline, period (sched_setattr(2))."""
_SLICE_NS = 100_000
_KEPT_WAITING = 0.15
"""So much of the time may pass waiting for a core before another one is tried."""
_BETTER = 0.05
"""By so much a core must be better to be gone to: where all are alike, nobody should hop about."""
_FADING = 0.99
"""How much of what is known of a core is still believed at the next look."""


def go_first() -> None:
    """Ask to be run before others when bytes come: where it isn't allowed, nothing is lost.

    A worker sleeps most of the time. What it needs is to be woken soon, also beside a notebook
    cell that computes: bytes that wait for it share a stamp.
    """
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    with suppress(OSError):  # Linux weighs sessions first, processes within them second
        Path("/proc/self/autogroup").write_text(str(_NICE))
    _ask_for_short_slices()


def _ask_for_short_slices() -> None:
    """Ask for the core in short slices only, as anybody may from Linux 6.12 on.

    Who wants it for less long gets it sooner: without that, even a process of lower priority may
    run its slice of some milliseconds to the end before we are woken.
    """
    call = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or call is None:
        return
    import ctypes

    nice = os.getpriority(os.PRIO_PROCESS, 0)
    size = struct.calcsize(_SCHED_ATTR)
    attributes = struct.pack(_SCHED_ATTR, size, 0, 0, nice, 0, _SLICE_NS, 0, 0)
    ctypes.CDLL(None).syscall(call, 0, attributes, 0)  # where it isn't allowed, nothing is lost


class Busy:
    """How much of a core this process used of late, from 0 to 1."""

    def __init__(self) -> None:
        self.share = 0.0
        self._at, self._used = time.perf_counter(), time.process_time()

    def measure(self) -> None:
        """Take in what was used since the last time; it fades within a second."""
        at, used = time.perf_counter(), time.process_time()
        self.share += 0.2 * ((used - self._used) / (at - self._at) - self.share)
        self._at, self._used = at, used


class Place:
    """Which core the calling thread runs on: another one, if something there keeps it waiting.

    A real-time process or interrupts take a core whenever they like, and a scheduler that finds
    some work on the other cores too may leave us beside them. Linux only; elsewhere nothing moves.
    """

    def __init__(self) -> None:
        self._at, self._waited = time.perf_counter(), _waited_s()
        self._core = -1
        self._kept: dict[int, float] = {}
        """Core → how much of the time we were kept waiting when we were there; fades."""
        with suppress(OSError, AttributeError):
            self._kept = dict.fromkeys(os.sched_getaffinity(0), 0.0)

    def look(self) -> None:
        """Move, if since the last look this thread was ready to run and did not for too long."""
        at, waited = time.perf_counter(), _waited_s()
        share = (waited - self._waited) / (at - self._at)
        self._at, self._waited = at, waited
        self._kept = {core: _FADING * kept for core, kept in self._kept.items()}
        with suppress(OSError, AttributeError, IndexError, ValueError):
            core = _core()
            if core != self._core:  # how long it waited on the way says nothing of the new one
                self._core = core
                return
            # halfway only: a single look may catch a passing disturbance
            self._kept[core] = share = (self._kept.get(core, share) + share) / 2
            if share > _KEPT_WAITING:
                better = {core for core, kept in self._kept.items() if kept < share - _BETTER}
                if better:
                    os.sched_setaffinity(0, better)


def _waited_s() -> float:
    """Return how long this thread was ready to run and did not, so far, in s (0 if unknown)."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def _core() -> int:
    """Return the core that this thread ran on last (field 39 of proc_pid_stat(5))."""
    return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])
