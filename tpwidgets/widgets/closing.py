"""Taking widgets down: what is left open stays in the kernel, and in what a notebook saves."""

from typing import Any

import ipywidgets as w


def close_all(box: w.Widget) -> None:
    """Close a widget, every widget inside it, and their layouts and styles."""
    for widget in [*inside(box), box]:
        for part in ("layout", "style"):
            if isinstance(getattr(widget, part, None), w.Widget):
                getattr(widget, part).close()
        w.Widget.close(widget)


def inside(box: Any) -> list[w.Widget]:
    """Return every widget inside a box."""
    found: list[w.Widget] = []
    for child in getattr(box, "children", ()):
        found += [child, *inside(child)]
    return found
