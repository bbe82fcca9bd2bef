"""Pace: what changes faster than anyone reads, or it can be worked out, is told less often."""

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Wish = TypeVar("Wish")


class Pace:
    """Tells when it is time again."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._state: Any = None

    def due(self, pause_s: float, state: Any) -> bool:
        """Tell whether so much time has passed since the last yes, or the state is another."""
        now_s = time.monotonic()
        if now_s < self._next_s and state == self._state:
            return False
        self._next_s, self._state = now_s + pause_s, state
        return True


class Latest(Generic[Wish]):
    """Does what takes a while in a thread; of wishes that come meanwhile, the last one counts.

    What fails is told where a thread's failures are, and stops no later wish.

    Parameters
    ----------
    fulfil : callable
        Is called with a wish, one at a time.
    name : str
        The thread's.
    failed : callable, optional
        Is called with a wish that could not be fulfilled, and why.
    """

    def __init__(
        self,
        fulfil: Callable[[Wish], None],
        name: str,
        failed: Callable[[Wish, Exception], None] = lambda *_: None,
    ) -> None:
        self._fulfil, self._name, self._failed = fulfil, name, failed
        self._wishes: list[Wish] = []
        self._busy = False
        self._lock = threading.Lock()

    def wish(self, wish: Wish) -> None:
        """Have it done; returns at once."""
        with self._lock:
            self._wishes = [wish]
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wishes:
                    self._busy = False
                    return
                wish = self._wishes.pop()
            try:
                self._fulfil(wish)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                _tell(error)
                try:
                    self._failed(wish, error)
                except Exception as another:  # noqa: BLE001 - nor does that stop later wishes
                    _tell(another)


def _tell(error: Exception) -> None:
    told = type(error), error, error.__traceback__, threading.current_thread()
    threading.excepthook(threading.ExceptHookArgs(told))
