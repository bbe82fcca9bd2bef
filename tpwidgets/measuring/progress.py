"""How far a blocking `measure` is: a bar in a terminal, a line in a notebook."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..words import count, duration

if TYPE_CHECKING:
    from .measurement import Progress as Where
    from .meter import Live

Found = TypeVar("Found", covariant=True)


class UnderWay(Protocol[Found]):
    """A measurement or a sweep."""

    @property
    def progress(self) -> "Where":
        """Where it stands."""

    @property
    def live(self) -> "Live":
        """What the last few seconds look like."""

    def on_update(self, listener: Callable[[Any], None], /) -> None:
        """Have `listener` called whenever there is something new."""

    def stop(self) -> None:
        """Break off."""

    def wait(self, timeout_s: float | None = None) -> Found:
        """Block until it has ended; return what was found."""


def summary(under_way: UnderWay[Any]) -> str:
    """Return the running figures on one line."""
    live = under_way.live
    parts = []
    if live.ttft_ms is not None:
        parts.append(f"TTFT {duration(live.ttft_ms)}")
    if live.user_tps is not None:
        parts.append(f"{count(live.user_tps)} tok/s per user")
    if live.output_tps is not None:
        parts.append(f"{count(live.output_tps)} tok/s in all")
    if live.errors:
        parts.append(f"{live.errors} errors")
    return " · ".join(parts)


@contextmanager
def shown(measurement: UnderWay[Any], wanted: bool | None) -> Iterator[None]:
    """Show the progress of `measurement` while the block runs.

    Parameters
    ----------
    wanted : bool, optional
        None: in a notebook, and in a terminal.
    """
    shell = _notebook()
    if wanted is False or (wanted is None and shell is None and not sys.stderr.isatty()):
        yield
    elif shell is not None:
        with _in_notebook(measurement):
            yield
    else:
        with _in_terminal(measurement):
            yield


def _notebook() -> Any:
    """Return the running IPython kernel's shell, if this is one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


@contextmanager
def _in_notebook(measurement: UnderWay[Any]) -> Iterator[None]:
    from IPython import display

    show: Any = display.display
    handle = show({"text/plain": "preparing"}, raw=True, display_id=True)
    last = [""]

    def update(m: UnderWay[Any]) -> None:
        text = f"{m.progress.text}  {summary(m)}".strip()
        if text != last[0]:
            last[0] = text
            handle.update({"text/plain": text}, raw=True)

    measurement.on_update(update)
    yield


@contextmanager
def _in_terminal(measurement: UnderWay[Any]) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        BarColumn(bar_width=30),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("preparing", total=1.0)
    lock = threading.Lock()

    def update(m: UnderWay[Any]) -> None:
        with lock:
            text = f"{m.progress.text}  {summary(m)}"
            bar.update(task, completed=m.progress.fraction, description=text)

    measurement.on_update(update)
    with bar:
        yield
