"""Which endpoint: those known, a URL box, the model, the key, and what is wrong with them."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import ipywidgets as w

from ..endpoints.endpoint import Endpoint, may_be_url, resolve
from ..endpoints.keys import chosen
from ..errors import SettingsError, TpwidgetsError
from ..masking import looks_like_a_key
from ..run import escape
from ..simulator import PROFILES
from .key_field import KeyField
from .request_fields import RequestFields

_FIRST = "(the server's first)"
_NO_URL = "That is neither a URL nor a simulated endpoint's name."
_A_KEY = "That looks like a key."
_KEY_FROM = (
    "A key goes into \N{LEFT DOUBLE QUOTATION MARK}Key from\N{RIGHT DOUBLE QUOTATION MARK}: what "
    "is typed here is saved with the notebook."
)
_FIT: dict[str, Any] = {"description_width": "initial"}


class EndpointFields(w.VBox):
    """Where requests go. What is meant for one address, such as a key, is sent to no other.

    Parameters
    ----------
    target : str or Endpoint
        What is chosen at first; it is checked but not contacted.
    given : dict
        As of `tp.measure`: ``model``, ``key`` and ``api_key_env`` are read.
    request : RequestFields
        Protocol, headers and body fields that go along.
    chosen : callable
        Is called when another endpoint was chosen.

    Raises
    ------
    SettingsError
        If the target or the key can't be one.
    """

    def __init__(
        self,
        target: str | Endpoint,
        given: dict[str, Any],
        request: RequestFields,
        changed: Callable[[], None],
    ) -> None:
        self._lock = threading.RLock()
        self._request, self._changed = request, changed
        self._targets: dict[str, str | Endpoint] = {}
        self._keys: dict[str, tuple[Any, ...]] = {}
        self._fields: dict[str, tuple[Any, ...]] = {}
        """The keys, and the headers and body fields, of addresses that were left."""
        key = chosen(given.get("key"), given.get("api_key_env")) or getattr(target, "key", None)
        model = given.get("model") or getattr(target, "model", None)
        name = self._known(target)
        self.menu = w.Dropdown(
            options=[(_label(target), name) for name, target in self._targets.items()],
            value=name, description="Endpoint", style=_FIT, layout=w.Layout(width="330px"),
            tooltip="Simulated endpoints, servers found on this machine, URLs typed in",
        )  # fmt: skip
        again = w.Button(
            icon="refresh", tooltip="Look for servers on this machine again",
            layout=w.Layout(width="34px"),
        )  # fmt: skip
        self.url = w.Text(
            description="or URL", placeholder="http://127.0.0.1:8000/v1", continuous_update=False,
            style=_FIT, layout=w.Layout(width="270px"),
            tooltip="Any URL of an API, as its provider's page has it; press Enter",
        )  # fmt: skip
        self.model = w.Dropdown(
            options=[(model or _FIRST, model or "")], value=model or "",
            description="Model", style=_FIT,
            tooltip="From the server's own list", layout=w.Layout(width="230px"),
        )  # fmt: skip
        self.key = KeyField(key, self._key_changed)
        self.hint = w.HTML()
        self._refused = False
        self._keyed = _address(name)
        endpoint = w.HBox([self.menu, again, self.url])
        row = w.Box([endpoint, self.model, self.key])
        for css, widget in {
            "endpoint": endpoint, "look": again, "model": self.model, "hint": self.hint, "row": row,
        }.items():  # fmt: skip
            widget.add_class(f"tp-{css}")
        super().__init__([row, self.hint])
        self.menu.observe(self._chosen, "value")
        self.url.observe(self._typed, "value")
        again.on_click(self.look_around)

    @property
    def name(self) -> str:
        """The URL that is chosen, or a simulated profile's name."""
        return str(self.menu.value)

    @property
    def address(self) -> str:
        """The URL that is chosen; "" for a simulated endpoint."""
        return "" if self.name in PROFILES else self.name

    def value(self) -> Endpoint:
        """Return the endpoint that is set; a simulated one is started if need be.

        Raises
        ------
        SettingsError
            If it can't be one.
        """
        if self.url.value.strip():  # an accepted one was taken out of the box
            Endpoint(self.url.value)
        return self._as_set(self.name, self.model.value or None)()

    def say(self, text: str) -> None:
        """Say below the fields what is wrong with them; "" if nothing is."""
        self.hint.value = f'<span class="tp-bad">{escape(text)}</span>' if text else ""

    def look_around(self, _: Any = None) -> None:
        """Look for servers on loopback and start the simulated one, in the background."""

        def look() -> None:
            from ..endpoints.discovery import scan

            for label, endpoint in scan():
                if endpoint.url not in self._targets:
                    self._add(label, endpoint.url, endpoint)

        self._ask_models()
        threading.Thread(target=look, name="tpwidgets-look", daemon=True).start()

    def _as_set(self, name: str, model: str | None = None) -> Callable[[], Endpoint]:
        """Take key and fields as they are now: they may be others before it is resolved."""
        fields, key = self._request.overrides(), self.key.value

        def resolved() -> Endpoint:
            endpoint = resolve(self._targets[name], model=model, **fields)
            return replace(endpoint, key=key, api_key_env=None)

        return resolved

    # -- which there are -----------------------------------------------------------------------

    def _known(self, target: str | Endpoint) -> str:
        """Return the menu's name for a target, which is checked but not contacted."""
        for name, profile in PROFILES.items():
            self._targets[name] = profile.name
        if isinstance(target, str) and target.strip() in PROFILES:
            return target.strip()
        endpoint = resolve(target)
        self._targets[endpoint.url] = endpoint
        return endpoint.url

    def _add(self, label: str, name: str, endpoint: Endpoint, *, choose: bool = False) -> None:
        with self._lock:
            self._targets[name] = endpoint
            now = name if choose else self.name
            options = [option for option in self.menu.options if option[1] != name]
            self.menu.unobserve(self._chosen, "value")
            self.menu.options = [*options, (label, name)]
            self.menu.value = now
            self.menu.observe(self._chosen, "value")

    def _typed(self, change: Any) -> None:
        text = change["new"].strip()
        if not text:
            return
        if text in PROFILES:
            self.say("")
            self.url.value, self.menu.value = "", text
            return
        try:
            if not may_be_url(text):
                raise SettingsError(f"{_NO_URL} {_KEY_FROM}")
            endpoint = Endpoint(text)
        except SettingsError as error:
            is_key = looks_like_a_key(text)
            if is_key or not may_be_url(text) or re.search(r"[@?\s]", text):
                self.url.value = ""  # a password may stand before an @, a key anywhere else
            self.say(f"{_A_KEY} {_KEY_FROM}" if is_key else str(error))
            self._refused = True
            return
        # a password in the URL must not stay in the box, nor in the notebook's saved state
        self.url.value = ""
        self._add(endpoint.label, endpoint.url, endpoint, choose=True)
        self._chosen()

    def _chosen(self, _: Any = None) -> None:
        self._take_the_key_back(_address(self.name))
        self.model.options = [(_FIRST, "")]
        self._changed()
        self._ask_models()

    def _take_the_key_back(self, address: str) -> None:
        """See to it that what is meant for one address, such as a key, is sent to no other."""
        if address and address != self._keyed:
            if self._keyed:
                self._keys[self._keyed] = self.key.swap(self._keys.get(address))
                self._fields[self._keyed] = self._request.swap(self._fields.get(address))
            self._keyed = address

    # -- its models ----------------------------------------------------------------------------

    def _key_changed(self) -> None:
        if self.key.complete:
            self._ask_models()

    def _ask_models(self) -> None:
        self.say("")
        self._refused = False
        name = self.name
        try:
            wanted = name, self._as_set(name)
        except TpwidgetsError as error:
            self.say(str(error))
            return
        threading.Thread(
            target=self._fetch_models, args=wanted, name="tpwidgets-models", daemon=True
        ).start()

    def _fetch_models(self, name: str, resolved: Callable[[], Endpoint]) -> None:
        try:
            from ..endpoints.discovery import list_models

            models = list_models(resolved())
        except TpwidgetsError as error:
            if self.name == name:
                self.say(str(error))
            return
        with self._lock:
            if self.name != name or not models:
                return
            now = self.model.value
            if now and now not in models:
                models = [now, *models]  # the measurement will say that the server lacks it
            self.model.options = [(model, model) for model in models]
            self.model.value = now or models[0]
            if not self._refused:
                self.say("")


def _address(name: str) -> str:
    """Return scheme, host and port of what the menu's name stands for; "" for simulated ones."""
    return "" if name in PROFILES else "://".join(urlsplit(name)[:2])


def _label(target: str | Endpoint) -> str:
    return f"{target} (simulated)" if isinstance(target, str) else target.label
