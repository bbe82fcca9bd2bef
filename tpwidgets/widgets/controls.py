"""The dashboard's controls: which endpoint, how much load, what it costs."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import ipywidgets as w

from ..cost import Price
from ..endpoints import Endpoint, resolve
from ..errors import SettingsError, TpwidgetsError
from ..keys import Key, chosen
from ..loads import Load, positive
from ..politeness import Outlook, spoken, thousands
from ..run import escape
from ..simulator import PROFILES
from ..words import usd
from ..workload import Workload
from .fields import LengthField, LevelsField, PriceField
from .key_field import KeyField
from .request_fields import RequestFields

_FIRST = "(the server's first)"


class Controls(w.VBox):
    """Everything that is set before a measurement."""

    def __init__(self, target: str | Endpoint, given: dict[str, Any]) -> None:
        self._lock = threading.RLock()
        self.keep_price = False
        """Set once something was measured: choosing another endpoint must not reprice it."""
        self._targets: dict[str, str | Endpoint] = {}
        key = chosen(given.get("key"), given.get("api_key_env")) or getattr(target, "key", None)
        model = given.get("model") or getattr(target, "model", None)
        load = Load.of(
            given.get("concurrency", "1-64"), given.get("requests"), given.get("seconds")
        )
        positive("timeout_s", given.get("timeout_s", 60), "(seconds)")
        names = ("prompt_tokens", "output_tokens", "batch", "shared_prefix_tokens")
        lengths = Workload.of(
            **{"prompt_tokens": 256, "output_tokens": 64}
            | {name: given[name] for name in names if name in given}
        )
        self.request = RequestFields(given, getattr(target, "protocol", None), self._say)
        self._endpoint_row(self._known(target), model, key)
        self.concurrency = LevelsField(_levels_text(given.get("concurrency", "1-64"), load))
        self.prompt = LengthField(
            "Prompt",
            "tp-prompt-tokens",
            lengths.prompt_tokens,
            "Prompt length, as the server counts",
        )
        self.output = LengthField(
            "Output", "tp-output-tokens", lengths.output_tokens, "Output length asked for"
        )
        price = given["price"] if "price" in given else _usual_price(self._endpoint.value)
        self._own_price = "price" in given
        self._priced = self._endpoint.value
        self._price_when_chosen = price
        self.price = PriceField(price)
        self._more(given)
        loads = w.Box([self.concurrency, self.prompt, self.output, self.price])
        for row in (self._row, loads):
            row.add_class("tp-row")
        loads.children = [*loads.children, self._more_button]
        super().__init__([self._row, self._hint, loads, self._settings])

    # -- values --------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """What stands in the endpoint menu."""
        return str(self._endpoint.label)

    @property
    def load(self) -> Load:
        """The load that is set.

        Raises
        ------
        SettingsError
            If it can't be.
        """
        return Load.of(self.concurrency.value, self._requests.value or None, self._seconds())

    @property
    def workload(self) -> Workload:
        """What is set to be asked for.

        Raises
        ------
        SettingsError
            If it can't be.
        """
        return Workload.of(
            self.prompt.value, self.output.value, self.request.batch,
            self.request.shared_prefix_tokens,
        )  # fmt: skip

    def endpoint(self) -> Endpoint:
        """Return the endpoint that is set; a simulated one is started if need be.

        Raises
        ------
        SettingsError
            If it can't be one.
        """
        if self._url.value.strip():  # an accepted one was taken out of the box
            Endpoint(self._url.value)
        return self._as_set(self._endpoint.value, self._model.value or None)()

    def _as_set(self, name: str, model: str | None = None) -> Callable[[], Endpoint]:
        """Take key and fields as they are now: they may be others before it is resolved."""
        fields, key = self.request.overrides(), self._key.value

        def resolved() -> Endpoint:
            endpoint = resolve(self._targets[name], model=model, **fields)
            return replace(endpoint, key=key, api_key_env=None)

        return resolved

    def settings(self) -> dict[str, Any]:
        """Return the keywords for `tp.measure`, checked.

        Raises
        ------
        SettingsError
            Names the first that is refused.
        """
        load, lengths = self.load, self.workload
        settings: dict[str, Any] = {
            "concurrency": load.concurrency,
            "prompt_tokens": lengths.prompt_tokens,
            "output_tokens": lengths.output_tokens,
        }
        for name in ("batch", "shared_prefix_tokens"):
            if getattr(lengths, name) != getattr(Workload, name):
                settings[name] = getattr(lengths, name)
        if load.requests is not None:
            settings["requests"] = load.requests
        if load.seconds is not None:
            settings["seconds"] = load.seconds
        timeout_s = positive("timeout_s", self._timeout.value, "(seconds)")
        if timeout_s != 60:
            settings["timeout_s"] = timeout_s
        if self._spend_limit.value:
            settings["spend_limit_usd"] = float(self._spend_limit.value)
        return settings

    def estimate(self) -> str:
        """Say what the settings will send, as HTML: "at least", "about" or "up to" so much.

        Raises
        ------
        SettingsError
            If a setting is refused.
        """
        self.settings()
        key = self._endpoint.value
        url = "" if key in PROFILES else key
        protocol = spoken(url, self.request.overrides().get("protocol"))
        sent = Outlook.of(self.workload, self.load, self.price.value, protocol)
        said = f"{sent.how} {sent.requests:,} requests, {thousands(sent.tokens)} tokens"
        return f"estimate: {said}" + (f", {usd(sent.usd)}" if sent.usd is not None else "")

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when a setting of the load or the workload changed."""
        for field in (self.concurrency, self.prompt, self.output):
            field.changed(callback)
        for box in (self._requests, self._seconds_box, self._timeout):
            box.observe(callback, "value")
        self.request.changed(callback)

    # -- endpoint, model, key ------------------------------------------------------------------

    def look_around(self, _: Any = None) -> None:
        """Look for servers on loopback and start the simulated one, in the background."""

        def look() -> None:
            from ..discovery import scan

            for label, endpoint in scan():
                if endpoint.url not in self._targets:
                    self._add(label, endpoint.url, endpoint)

        self._ask_models()
        threading.Thread(target=look, name="tpwidgets-look", daemon=True).start()

    def _known(self, target: str | Endpoint) -> str:
        """Return the menu's key for a target, which is checked but not contacted."""
        for name, profile in PROFILES.items():
            self._targets[name] = profile.name
        if isinstance(target, str) and target.strip() in PROFILES:
            return target.strip()
        endpoint = resolve(target)
        self._targets[endpoint.url] = endpoint
        return endpoint.url

    def _endpoint_row(self, name: str, model: str | None, key: Key | None) -> None:
        fit: dict[str, Any] = {"description_width": "initial"}
        options = [(_label(target), name) for name, target in self._targets.items()]
        self._endpoint = w.Dropdown(
            options=options, value=name, description="Endpoint", style=fit,
            tooltip="Simulated endpoints, servers found on this machine, URLs typed in",
            layout=w.Layout(width="330px"),
        )  # fmt: skip
        self._url = w.Text(
            description="or URL", placeholder="http://127.0.0.1:8000/v1", continuous_update=False,
            style=fit, layout=w.Layout(width="270px"),
            tooltip="Any OpenAI-compatible base URL; press Enter",
        )  # fmt: skip
        self._model = w.Dropdown(
            options=[(model or _FIRST, model or "")], value=model or "",
            description="Model", style=fit,
            tooltip="From the server's own list", layout=w.Layout(width="230px"),
        )  # fmt: skip
        self._key = KeyField(key, self._key_changed)
        self._keys: dict[str, tuple[Any, ...]] = {}
        self._fields: dict[str, tuple[Any, ...]] = {}
        """The headers and body fields of addresses that were left, as the keys."""
        self._keyed = _address(self._endpoint.value)
        endpoint = w.HBox([self._endpoint, self._url])
        endpoint.add_class("tp-endpoint")
        self._model.add_class("tp-model")
        self._row = w.Box([endpoint, self._model, self._key])
        self._hint = w.HTML()
        self._hint.add_class("tp-hint")
        self._endpoint.observe(self._endpoint_chosen, "value")
        self._url.observe(self._url_typed, "value")

    def _add(self, label: str, key: str, endpoint: Endpoint, *, choose: bool = False) -> None:
        with self._lock:
            self._targets[key] = endpoint
            chosen = key if choose else self._endpoint.value
            options = [o for o in self._endpoint.options if o[1] != key]
            self._endpoint.unobserve(self._endpoint_chosen, "value")
            self._endpoint.options = [*options, (label, key)]
            self._endpoint.value = chosen
            self._endpoint.observe(self._endpoint_chosen, "value")

    def _url_typed(self, change: Any) -> None:
        text = change["new"].strip()
        if not text:
            return
        try:
            endpoint = Endpoint(text)
        except SettingsError as error:
            if "@" in text or "?" in text:
                self._url.value = ""  # a password may stand before the one, a key after the other
            self._say(str(error))
            return
        # a password in the URL must not stay in the box, nor in the notebook's saved state
        self._url.value = ""
        self._add(endpoint.label, endpoint.url, endpoint, choose=True)
        self._endpoint_chosen()

    def _endpoint_chosen(self, _: Any = None) -> None:
        key = self._endpoint.value
        self._take_the_key_back(_address(key))
        self._model.options = [(_FIRST, "")]
        if not self._own_price and not self.keep_price:
            self.price.value = _usual_price(key)
        self._price_when_chosen = self.price.value
        self._ask_models()

    def _take_the_key_back(self, address: str) -> None:
        """See to it that what is meant for one address, such as a key, is sent to no other."""
        if address and address != self._keyed:
            if self._keyed:
                self._keys[self._keyed] = self._key.swap(self._keys.get(address))
                self._fields[self._keyed] = self.request.swap(self._fields.get(address))
            self._keyed = address

    def _key_changed(self) -> None:
        if self._key.complete:
            self._ask_models()

    def settle_price(self) -> None:
        """Take the endpoint's usual price, if another one was chosen and no price was typed."""
        key = self._endpoint.value
        usual = _usual_price(key)
        typed = self.price.value != self._price_when_chosen
        if usual is not None and key != self._priced and not self._own_price and not typed:
            self.price.value = usual
        self._priced = key

    def _ask_models(self) -> None:
        self._say("")
        key = self._endpoint.value
        try:
            wanted = key, self._as_set(key)
        except TpwidgetsError as error:
            self._say(str(error))
            return
        threading.Thread(
            target=self._fetch_models, args=wanted, name="tpwidgets-models", daemon=True
        ).start()

    def _fetch_models(self, key: str, resolved: Callable[[], Endpoint]) -> None:
        try:
            from ..discovery import list_models

            names = list_models(resolved())
        except TpwidgetsError as error:
            if self._endpoint.value == key:
                self._say(str(error))
            return
        with self._lock:
            if self._endpoint.value != key or not names:
                return
            chosen = self._model.value
            if chosen and chosen not in names:
                names = [chosen, *names]  # the measurement will say that the server lacks it
            self._model.options = [(name, name) for name in names]
            self._model.value = chosen or names[0]
            if not self._url.value:
                self._say("")

    def _say(self, text: str) -> None:
        self._hint.value = f'<span class="tp-bad">{escape(text)}</span>' if text else ""

    # -- more settings -------------------------------------------------------------------------

    def _more(self, given: dict[str, Any]) -> None:
        fit: dict[str, Any] = {"description_width": "initial"}
        narrow = w.Layout(width="240px")
        self._requests = w.BoundedIntText(
            value=given.get("requests") or 0, min=0, max=10_000_000, style=fit, layout=narrow,
            description="Requests per level", tooltip="0: until the interval is narrow enough",
        )  # fmt: skip
        self._seconds_box = w.BoundedFloatText(
            value=given.get("seconds") or 0, min=0, max=86_400, style=fit, layout=narrow,
            description="Seconds per level", tooltip="0: until the interval is narrow enough",
        )  # fmt: skip
        self._timeout = w.BoundedFloatText(
            value=given.get("timeout_s", 60), min=0.1, max=3600, style=fit, layout=narrow,
            description="Time limit (s)", tooltip="Give up on a request that long without a token",
        )  # fmt: skip
        self._spend_limit = w.BoundedFloatText(
            value=given.get("spend_limit_usd") or 0, min=0, max=1e6, step=0.01, style=fit,
            layout=narrow, description="Spend limit ($)",
            tooltip="0: none; else stop before more is spent. Needs a price per 1M tokens",
        )  # fmt: skip
        for css, box in (
            ("requests", self._requests),
            ("seconds", self._seconds_box),
            ("timeout", self._timeout),
            ("spend-limit", self._spend_limit),
        ):
            box.add_class(f"tp-{css}")
        again = w.Button(
            description="Look for servers", tooltip="Ask loopback's usual ports again",
            layout=w.Layout(width="auto"),
        )  # fmt: skip
        again.on_click(self.look_around)
        again.add_class("tp-look")
        note = w.HTML("<small>0 = until the 95 % interval is within ±10 %</small>")
        loads = w.Box(
            [self._requests, self._seconds_box, note, self._timeout, self._spend_limit, again]
        )
        loads.add_class("tp-row")
        self._settings = w.VBox([loads, self.request])
        self._settings.layout.display = "none"
        self._more_button = w.ToggleButton(
            description="more settings",
            tooltip="Requests and seconds per level, limits, protocol, batches, headers",
            layout=w.Layout(width="auto"),
        )  # fmt: skip
        self._more_button.add_class("tp-more")

        def show(change: Any) -> None:
            self._settings.layout.display = None if change["new"] else "none"

        self._more_button.observe(show, "value")

    def _seconds(self) -> float | None:
        return float(self._seconds_box.value) or None


def _address(key: str) -> str:
    """Return scheme, host and port of what the menu's key stands for; "" for simulated ones."""
    return "" if key in PROFILES else "://".join(urlsplit(key)[:2])


def _label(target: str | Endpoint) -> str:
    return f"{target} (simulated)" if isinstance(target, str) else target.label


def _levels_text(given: Any, load: Load) -> str:
    return given if isinstance(given, str) else ", ".join(map(str, load.concurrency))


def _usual_price(key: str) -> Price | None:
    """Return a simulated endpoint's price; a real one's is for its user to say."""
    profile = PROFILES.get(key)
    if profile is None:
        return None
    if profile.price_hour is not None:
        return Price.per_hour(profile.price_hour, profile.replicas)
    if profile.price_output is not None:
        return Price.per_token(profile.price_output, profile.price_input or 0.0)
    return None
