"""The dashboard's controls: which endpoint, how much load, what it costs."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w

from ..cost import Price
from ..endpoints import Endpoint
from ..loads import Load
from ..politeness import Outlook, spoken, thousands
from ..simulator import PROFILES
from ..words import usd
from ..workload import Workload
from .endpoint_fields import EndpointFields
from .fields import LengthField, LevelsField, PriceField
from .limit_fields import LimitFields
from .request_fields import RequestFields

_GIVEN: dict[str, Any] = {"concurrency": "1-64", "prompt_tokens": 256, "output_tokens": 64}
"""What the fields stand at if nothing else was given."""


class Controls(w.VBox):
    """Everything that is set before a measurement."""

    def __init__(self, target: str | Endpoint, given: dict[str, Any]) -> None:
        self.keep_price = False
        """Set once something was measured: choosing another endpoint must not reprice it."""
        self._listeners: list[Callable[[Any], None]] = []
        given = _GIVEN | given
        load, lengths = _load(given), _workload(given)
        self.request = RequestFields(given, getattr(target, "protocol", None), self._say)
        self.limits = LimitFields(given)
        self.groups = self.limits, self.request
        """The rows under "more settings", each a `Group`."""
        self.where = EndpointFields(target, given, self.request, self._endpoint_changed)
        levels = given["concurrency"]
        self.concurrency = LevelsField(
            levels if isinstance(levels, str) else ", ".join(map(str, load.concurrency))
        )
        self.prompt = LengthField(
            "Prompt",
            "tp-prompt-tokens",
            lengths.prompt_tokens,
            "Prompt length, as the server counts",
        )
        self.output = LengthField(
            "Output", "tp-output-tokens", lengths.output_tokens, "Output length asked for"
        )
        price = given["price"] if "price" in given else _usual_price(self.where.name)
        self._own_price = "price" in given
        self._priced = self.where.name
        self._price_when_chosen = price
        self.price = PriceField(price)
        self._key, self._url, self._hint = self.where.key, self.where.url, self.where.hint
        self._spend_limit = self.limits.spend_usd
        more = w.VBox(self.groups)
        loads = w.Box([self.concurrency, self.prompt, self.output, self.price, _opens(more)])
        loads.add_class("tp-row")
        super().__init__([self.where, loads, more])
        self.request.changed(self._show_output)
        self._show_output()

    # -- values --------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """What stands in the endpoint menu."""
        return str(self.where.menu.label)

    @property
    def load(self) -> Load:
        """The load that is set.

        Raises
        ------
        SettingsError
            If it can't be.
        """
        return _load(self._said())

    @property
    def workload(self) -> Workload:
        """What is set to be asked for.

        Raises
        ------
        SettingsError
            If it can't be.
        """
        return _workload(self._said())

    def endpoint(self) -> Endpoint:
        """Return the endpoint that is set; a simulated one is started if need be.

        Raises
        ------
        SettingsError
            If it can't be one.
        """
        return self.where.value()

    def settings(self) -> dict[str, Any]:
        """Return the keywords for `tp.measure`, checked.

        Raises
        ------
        SettingsError
            Names the first that is refused.
        """
        said = self._said()
        _workload(said)
        return said | {"concurrency": _load(said).concurrency}

    def estimate(self) -> str:
        """Say what the settings will send, as HTML: "at least", "about" or "up to" so much.

        Raises
        ------
        SettingsError
            If a setting is refused.
        """
        said = self._said()
        protocol = spoken(self.where.address, self.request.overrides().get("protocol"))
        sent = Outlook.of(_workload(said), _load(said), self.price.value, protocol)
        text = f"{sent.how} {sent.requests:,} requests, {thousands(sent.tokens)} tokens"
        return f"estimate: {text}" + (f", {usd(sent.usd)}" if sent.usd is not None else "")

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when the endpoint or a setting of the load or the workload changed."""
        self._listeners.append(callback)
        for field in (self.concurrency, self.prompt, self.output):
            field.changed(callback)
        for group in self.groups:
            group.changed(callback)

    def _said(self) -> dict[str, Any]:
        """Return what the fields say, as keywords; each group has checked its own."""
        said = {
            "concurrency": self.concurrency.value,
            "prompt_tokens": self.prompt.value,
            "output_tokens": self.output.value,
        }
        for group in self.groups:
            said |= group.settings()
        return said

    # -- the endpoint and its price ------------------------------------------------------------

    def look_around(self) -> None:
        """Look for servers on loopback and start the simulated one, in the background."""
        self.where.look_around()

    def settle_price(self) -> None:
        """Take the endpoint's usual price, if another one was chosen and no price was typed."""
        name = self.where.name
        usual = _usual_price(name)
        typed = self.price.value != self._price_when_chosen
        if usual is not None and name != self._priced and not self._own_price and not typed:
            self.price.value = usual
        self._priced = name

    def _endpoint_changed(self) -> None:
        if not self._own_price and not self.keep_price:
            self.price.value = _usual_price(self.where.name)
        self._price_when_chosen = self.price.value
        self._show_output()
        for listener in self._listeners:
            listener(None)

    def _show_output(self, _: Any = None) -> None:
        """Ask for an output length only where tokens come back."""
        protocol = spoken(self.where.address, self.request.protocol)
        self.output.layout.display = "none" if protocol == "embeddings" else None

    def _say(self, text: str) -> None:
        self.where.say(text)


def _load(said: Mapping[str, Any]) -> Load:
    return Load.of(said["concurrency"], said.get("requests"), said.get("seconds"))


def _workload(said: Mapping[str, Any]) -> Workload:
    names = ("prompt_tokens", "output_tokens", "batch", "shared_prefix_tokens")
    return Workload.of(**{name: said[name] for name in names if name in said})


def _opens(settings: w.Widget) -> w.ToggleButton:
    """Return a button that shows some settings, which it hides at first, and hides them again."""
    settings.layout.display = "none"
    button = w.ToggleButton(
        description="more settings", icon="caret-right", layout=w.Layout(width="auto"),
        tooltip="Requests and seconds per level, limits, protocol, batches, headers",
    )  # fmt: skip
    button.add_class("tp-more")

    def show(change: Any) -> None:
        settings.layout.display = None if change["new"] else "none"
        button.icon = "caret-down" if change["new"] else "caret-right"

    button.observe(show, "value")
    return button


def _usual_price(name: str) -> Price | None:
    """Return a simulated endpoint's price; a real one's is for its user to say."""
    profile = PROFILES.get(name)
    if profile is None:
        return None
    if profile.price_hour is not None:
        return Price.per_hour(profile.price_hour, profile.replicas)
    if profile.price_output is not None:
        return Price.per_token(profile.price_output, profile.price_input or 0.0)
    return None
