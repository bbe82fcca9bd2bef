"""Which dashboards each notebook cell shows: run again, a cell goes on where it was."""

import sys
from typing import Any, TypeVar

_D = TypeVar("_D")
_SHOWN: dict[str, list[tuple[Any, str | None]]] = {}
"""By cell: the dashboards, each with the execution that showed it."""


def take_turn(dashboard: _D) -> _D | None:
    """Note that the cell under way shows a dashboard; return one that it showed before, if any."""
    cell, execution = _under_way()
    if cell is None:
        return None
    shown = _SHOWN[cell] = [turn for turn in _SHOWN.get(cell, []) if turn[0] is not dashboard]
    # dashboards of this same execution stay: a cell may show several side by side
    former = next((turn for turn in shown if turn[1] != execution), None)
    if former is not None:
        shown.remove(former)
    shown.append((dashboard, execution))
    return None if former is None else former[0]


def _under_way() -> tuple[str | None, str | None]:
    """Return the ids of the notebook cell that is being run and of this execution of it."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return None, None
    parent: dict[str, Any] = kernel.get_parent("shell") or {}
    return parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")
