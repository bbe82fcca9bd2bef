"""When bytes arrived: the kernel's own receive stamps, brought onto our monotonic clock.

On Linux the kernel stamps every packet (SO_TIMESTAMPNS) and `recvmsg` tells, so it does not matter
how late the process gets to read.
"""

import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")

ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
"""How much room `recvmsg` needs for a stamp."""

KERNEL_STAMPS = sys.platform == "linux" and struct.calcsize("l") == 8
"""Whether arrivals are stamped by the kernel here (64-bit Linux)."""


def ask_for_stamps(sock: socket.socket) -> None:
    """Have the kernel stamp what this socket receives; where it won't, reads come unstamped."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def kernel_stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the stamp (ns, CLOCK_REALTIME) that `recvmsg` brought, if there is one."""
    for _, kind, value in ancillary:
        if kind == _SO_TIMESTAMPNS and len(value) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            stamp: int = seconds * 1_000_000_000 + nanoseconds
            return stamp
    return None


def keep_stamping() -> socket.socket | None:
    """Return a socket that does nothing but keep the kernel stamping while it is open.

    The kernel stamps only while some socket asks for it, and begins a moment after the first does:
    without this one the first reads of a run might come without a stamp.
    """
    if not KERNEL_STAMPS:
        return None
    keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ask_for_stamps(keeper)
    return keeper


class Clock:
    """The offset between the kernel's CLOCK_REALTIME stamps and our monotonic clock.

    Both follow the same rate corrections, so the offset moves only when the system's clock is set.
    It is measured anew all through a run, since that may happen at any time.
    """

    def __init__(self) -> None:
        self.offset_ns, bracket = _offset()
        self._errors: deque[int] = deque([bracket], maxlen=64)

    @property
    def error_ns(self) -> int:
        """How wrong stamps can have been of late: the offset's moves and what measuring adds.

        The worst of the last measurements: a request may end some time after the stamp that a
        moved offset spoiled.
        """
        return max(self._errors)

    def measure(self) -> None:
        """Measure the offset anew."""
        offset, bracket = _offset()
        moved = abs(offset - self.offset_ns)
        # what lies within the bracket is no move: keep the older offset, so that gaps don't jitter
        if moved > bracket:
            self.offset_ns = offset
        else:
            moved = 0
        self._errors.append(moved + bracket)


def _offset() -> tuple[int, int]:
    """Return CLOCK_REALTIME less the monotonic clock and how wrong that can be, in ns.

    It is the tightest of a few brackets: the process may be interrupted within any of them.
    """
    best, offset = sys.maxsize, 0
    for _ in range(5):
        before = time.perf_counter_ns()
        wall = time.time_ns()
        after = time.perf_counter_ns()
        if after - before < best:
            best, offset = after - before, wall - (before + after) // 2
    return offset, best // 2 + 1
