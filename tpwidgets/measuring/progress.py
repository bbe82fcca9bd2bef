"""How far a blocking `measure` is: a bar in a terminal, a line in a notebook."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..words import count, duration

if TYPE_CHECKING:
    from .measurement import Measurement


def summary(measurement: "Measurement") -> str:
    """Return the running figures on one line."""
    live = measurement.live
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
def shown(measurement: "Measurement", wanted: bool | None, which: str = "") -> Iterator[None]:
    """Show the progress of `measurement` while the block runs.

    Parameters
    ----------
    wanted : bool, optional
        None: in a notebook, and in a terminal.
    which : str
        Stands before it all: which of several measurements it is.
    """
    shell = _notebook()
    if wanted is False or (wanted is None and shell is None and not sys.stderr.isatty()):
        yield
    elif shell is not None:
        with _in_notebook(measurement, which):
            yield
    else:
        with _in_terminal(measurement, which):
            yield


def _notebook() -> Any:
    """Return the running IPython kernel's shell, if this is one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


@contextmanager
def _in_notebook(measurement: "Measurement", which: str) -> Iterator[None]:
    from IPython import display

    show: Any = display.display
    handle = show({"text/plain": f"{which}preparing"}, raw=True, display_id=True)
    last = [""]

    def update(m: "Measurement") -> None:
        text = f"{which}{m.progress.text}  {summary(m)}".strip()
        if text != last[0]:
            last[0] = text
            handle.update({"text/plain": text}, raw=True)

    measurement.on_update(update)
    yield


@contextmanager
def _in_terminal(measurement: "Measurement", which: str) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        BarColumn(bar_width=30),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(f"{which}preparing", total=1.0)
    lock = threading.Lock()

    def update(m: "Measurement") -> None:
        with lock:
            text = f"{which}{m.progress.text}  {summary(m)}"
            bar.update(task, completed=m.progress.fraction, description=text)

    measurement.on_update(update)
    with bar:
        yield
