"""What a row of fields has to have that set keywords of `tp.measure`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as w


class Group(w.Box):
    """Fields that belong together. `Controls.groups` names them, and needs to know no more.

    Parameters
    ----------
    children
        The fields in order.
    names
        What each field is called in the page: ``tp-`` and its name.
    """

    def __init__(self, children: Sequence[w.Widget], names: Mapping[str, w.DOMWidget]) -> None:
        super().__init__(children)
        self.taken: list[Any] = []
        """The fields that `take` sets, each with a `value`; not limits, which have names."""
        for name, field in names.items():
            field.add_class(f"tp-{name}")
        self.add_class("tp-row")

    def settings(self) -> dict[str, Any]:
        """Return what is set here and isn't the default, as keywords for `tp.measure`.

        Raises
        ------
        SettingsError
            If it can't be set.
        """
        raise NotImplementedError

    def take(self, given: Mapping[str, Any]) -> None:
        """Set the fields to those keywords of `tp.measure` that are given and are set here."""
        raise NotImplementedError

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when something changed that changes what will be sent, or is refused."""
        raise NotImplementedError
