"""The worker's selector: it hands readable sockets straight to who reads them.

asyncio makes a handle for every readable socket and runs it a moment later, in a context of its
own. For a socket that brings one token that costs as much as reading it. So the measured sockets
are served right where the system names them, and asyncio sees only the rest.
"""

import math
import select
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# as Linux has them; other systems have no epoll, and only import this
_IN, _OUT = getattr(select, "EPOLLIN", 1), getattr(select, "EPOLLOUT", 4)
_OTHER = ~_OUT
"""Bytes, the end or an error: reading tells which."""
_SHORT_S = 0.0001
"""A nap any shorter takes longer than it should."""

Came = tuple[Callable[[bytes, int], None], bytes, int]
"""Who takes in what a read brought, the bytes, and their stamp in ns."""


class InlineSelector(selectors.BaseSelector):
    """An epoll selector for an asyncio loop, with sockets of its own beside the loop's.

    Available on Linux only.

    Attributes
    ----------
    period_s : float
        How far apart looks at the sockets lie at least, so that some gather. Waking for each token
        costs more than reading it; stamps that the kernel makes don't mind. Work counts: who is
        behind has no time to lose.
    served : int
        Sockets found ready so far.
    """

    def __init__(self) -> None:
        self.period_s = 0.0
        self.served = 0
        self._looked_at = 0.0
        self._epoll = select.epoll()
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self._inline: dict[int, tuple[Callable[[], Came | None], Callable[[], None]]] = {}

    # -- sockets served here -------------------------------------------------------------------

    def watch(
        self, fd: int, readable: Callable[[], Came | None], writable: Callable[[], None]
    ) -> None:
        """Call `readable` whenever the socket has something; nothing called may raise.

        What it returns is taken in when all sockets that are ready have been read: that is cheaper
        than reading and parsing by turns, and bytes wait less to be read.
        """
        self._epoll.register(fd, _IN)
        self._inline[fd] = (readable, writable)

    def want_write(self, fd: int, wanted: bool) -> None:
        """Call `writable` too, or no more, when the socket takes bytes."""
        self._epoll.modify(fd, _IN | (_OUT if wanted else 0))

    def unwatch(self, fd: int) -> None:
        """Forget a socket, before it is closed."""
        if self._inline.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    # -- what asyncio asks for -----------------------------------------------------------------

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Register one of asyncio's own sockets."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        mask = (events & _READ and _IN) | (events & _WRITE and _OUT)
        self._epoll.register(fd, mask)
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Forget one of asyncio's own sockets."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys.pop(fd)
        self._epoll.unregister(fd)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve our sockets; return asyncio's that are ready."""
        if timeout is None:
            wait = -1.0
        else:
            wait = math.ceil(timeout * 1e3) * 1e-3 if timeout > 0 else 0.0
        if self.period_s:
            nap_s = self._looked_at + self.period_s - time.perf_counter()
            if nap_s > _SHORT_S and (timeout is None or timeout > nap_s):
                time.sleep(nap_s)
            self._looked_at = time.perf_counter()
        ready = []
        came: list[Came] = []
        inline, keys = self._inline, self._keys
        events = self._epoll.poll(wait)
        self.served += len(events)
        for fd, event in events:
            served = inline.get(fd)  # not there if one served before it has closed it
            if served is not None:
                if event & _OUT:
                    served[1]()
                if event & _OTHER and (read := served[0]()):
                    came.append(read)
            elif fd in keys:
                key = keys[fd]
                mask = (event & ~_IN and _WRITE) | (event & _OTHER and _READ)
                if mask & key.events:
                    ready.append((key, mask & key.events))
        for received, data, stamp in came:
            received(data, stamp)
        return ready

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return asyncio's own sockets."""
        return self._keys

    def close(self) -> None:
        """Close the epoll."""
        self._epoll.close()
