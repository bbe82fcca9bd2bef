"""What a kernel is asked by: which cell shows a dashboard, and which page a message is from."""

import sys
from typing import Any, TypeVar

_D = TypeVar("_D")
_SHOWN: dict[str, list[tuple[Any, str | None]]] = {}
"""By cell: the dashboards, each with the execution that showed it."""


def take_turn(dashboard: _D) -> _D | None:
    """Note that the cell under way shows a dashboard; return one that it showed before, if any."""
    asked = _asked()
    cell = asked.get("metadata", {}).get("cellId")
    execution = asked.get("header", {}).get("msg_id")
    if cell is None:
        return None
    shown = _SHOWN[cell] = [turn for turn in _SHOWN.get(cell, []) if turn[0] is not dashboard]
    # dashboards of this same execution stay: a cell may show several side by side
    former = next((turn for turn in shown if turn[1] != execution), None)
    if former is not None:
        shown.remove(former)
    shown.append((dashboard, execution))
    return None if former is None else former[0]


def page() -> str | None:
    """Return which client the message under way is from, if that is known.

    A page that is loaded anew is another, and so is a notebook that is opened again; a second view
    of an output in the same page isn't.
    """
    session: str | None = _asked().get("header", {}).get("session")
    return session


def _asked() -> dict[str, Any]:
    """Return the message that the kernel is at: a cell that is being run, or one of a widget's."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return {}
    parent: dict[str, Any] = kernel.get_parent("shell") or {}
    return parent
