"""Where the dashboard's key comes from: a variable, the keyring, or a field that forgets it."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as w

from ..endpoints.keys import Key, typed_in
from ..errors import SettingsError, TpwidgetsError
from ..masking import is_key_variable, looks_like_a_key

_HERE = Path(__file__).parent
# no environment variable has such a name
_KEYRING, _TYPED = "keyring…", "type it in…"


class TypedKey(anywidget.AnyWidget):
    """A field that takes a key, which is kept in this process's memory and in no trait."""

    _esm = (_HERE / "key_field.js").read_text("utf-8")
    _css = (_HERE / "key_field.css").read_text("utf-8")

    def __init__(self, key: Key | None, changed: Callable[[], None]) -> None:
        super().__init__()
        self.key = key
        self._changed = changed
        self.on_msg(self._take)

    def _take(self, _: Any, content: dict[str, Any], __: Any) -> None:
        complaint = ""
        if content.get("type") == "key":
            try:
                self.key = typed_in(content["text"])
            except TpwidgetsError as error:
                complaint = str(error)
        elif content.get("type") == "forget":
            self.key = None
        self._answer(complaint)
        if content.get("type") != "ready":
            self._changed()

    def hold(self, key: Key | None) -> None:
        """Hold another key, or none, without telling whoever listens."""
        if key is not self.key:
            self.key = key
            self._answer()

    def _answer(self, complaint: str = "") -> None:
        held = self.key is not None
        text = complaint or ("key set, kept in memory only" if held else "no key yet")
        self.send({"text": text, "set": held, "bad": bool(complaint)})


class KeyField(w.HBox):
    """The menu of places, and what the chosen one needs to know."""

    def __init__(self, key: Key | None, changed: Callable[[], None]) -> None:
        names = sorted(name for name in os.environ if is_key_variable(name))
        named = key.variable if key is not None else None
        if named and named not in names:
            names.insert(0, named)
        service, user = key.entry if key is not None and key.entry else ("", "")
        places = [("none", ""), *zip(names, names, strict=True)]
        if service or find_spec("keyring") is not None:
            places.append((_KEYRING, _KEYRING))
        places.append((_TYPED, _TYPED))
        place = "" if key is None else named or (_KEYRING if service else _TYPED)
        fit = {"description_width": "initial"}
        self._menu = w.Dropdown(
            options=places, value=place, description="Key from", style=fit,
            layout=w.Layout(width="210px"),
            tooltip="Where the key comes from; the key itself is never shown and never saved",
        )  # fmt: skip
        self._service, self._user = (
            w.Text(
                value=value, description=name, continuous_update=False, style=fit,
                layout=w.Layout(width="170px"), tooltip=f"The {name} that the key is stored under",
            )
            for name, value in (("service", service), ("user", user))
        )  # fmt: skip
        self._typed = TypedKey(key if place == _TYPED else None, changed)
        super().__init__([self._menu, self._service, self._user, self._typed])
        self.add_class("tp-key-from")
        self._changed, self._quiet = changed, False
        self._menu.observe(self._chosen, "value")
        for box in (self._service, self._user):
            box.observe(self._named, "value")
        self._show()

    @property
    def complete(self) -> bool:
        """Whether all is known that the chosen place needs."""
        if self._menu.value == _KEYRING:
            return bool(self._service.value.strip() and self._user.value.strip())
        return self._menu.value != _TYPED or self._typed.key is not None

    @property
    def value(self) -> Key | None:
        """Where the key comes from.

        Raises
        ------
        SettingsError
            If that is not known yet.
        """
        place = self._menu.value
        if not self.complete:
            what = "the service and the user" if place == _KEYRING else "the key"
            raise SettingsError(f"Type {what} in, or choose another place for the key.")
        if place == _KEYRING:
            return Key.keyring(self._service.value, self._user.value)
        if place == _TYPED:
            return self._typed.key
        return Key.env(place) if place else None

    def swap(self, state: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """Go over to an earlier state (None: no key), quietly; return the present one."""
        former = (self._menu.value, self._service.value, self._user.value, self._typed.key)
        self._quiet = True
        try:
            place, self._service.value, self._user.value, key = state or ("", "", "", None)
            self._typed.hold(key)
            self._menu.value = place
        finally:
            self._quiet = False
        return former

    def _chosen(self, _: Any) -> None:
        self._show()
        self._tell()

    def _tell(self) -> None:
        if not self._quiet:
            self._changed()

    def _named(self, change: Any) -> None:
        if looks_like_a_key(change["new"]):
            change["owner"].value = ""  # what stands in a box is saved with the notebook
        self._tell()

    def _show(self) -> None:
        place = self._menu.value
        for widget, its in ((self._service, _KEYRING), (self._user, _KEYRING),
                            (self._typed, _TYPED)):  # fmt: skip
            widget.layout.display = None if place == its else "none"
