"""What is under way in a thread of its own: have it tell, wait for it, await it."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    from ..errors import TpwidgetsError

T = TypeVar("T")


class UnderWay(Generic[T]):
    """Something that ends with a result, be it one of a failure, and tells how it comes along.

    Parameters
    ----------
    work : callable
        Runs in the thread once that is started, and sets `_future`'s result.
    name : str
        The thread's.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self.error: TpwidgetsError | None = None
        """Why nothing at all could be measured."""
        self._future: Future[T] = Future()
        self._listeners: list[Callable[[Any], None]] = []
        self._thread = threading.Thread(target=work, name=f"tpwidgets-{name}", daemon=True)

    def on_update(self, listener: Callable[[Self], None]) -> None:
        """Have `listener` called whenever there is something new."""
        self._listeners.append(listener)

    def wait(self, timeout_s: float | None = None) -> T:
        """Block until it has ended and return what came of it.

        Raises
        ------
        EndpointError, MeasurementError
            If nothing could be measured.
        TimeoutError
            If it has not ended in time; it goes on.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._future.done():
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"still running after {timeout_s} s")
            self._thread.join(0.1)  # short, so that an interrupt is heard on every platform
        return self._outcome(self._future.result())

    def __await__(self) -> Generator[Any, None, T]:
        return self._outcome((yield from asyncio.wrap_future(self._future).__await__()))

    def _outcome(self, result: T) -> T:
        if self.error is not None:
            raise self.error
        return result

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:
                logging.getLogger("tpwidgets").exception("a listener failed")
