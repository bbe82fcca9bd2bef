"""The dashboard's controls: which endpoint, how much load, what it costs."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w

from ..endpoints.endpoint import Endpoint
from ..measuring.politeness import Outlook, spoken
from ..measuring.shapes import Plan
from ..use_cases.presets import UseCase
from ..words import thousands, usd
from ..workload.loads import MAX_CONCURRENCY, Load
from ..workload.rates import OpenLoad
from .endpoint_fields import EndpointFields
from .fields import Fold, LengthField
from .limit_fields import LimitFields
from .load_fields import LoadFields, load_from
from .price_fields import PriceFields
from .request_fields import RequestFields
from .slo_fields import SloFields
from .use_case_fields import UseCaseFields
from .usual_price import Asked, UsualPrice

_GIVEN: dict[str, Any] = {"concurrency": "1-64", "prompt_tokens": 256, "output_tokens": 64}
"""What the fields stand at if nothing else was given."""
_END = dict.fromkeys(("requests", "seconds", "precision"))
"""What says when a level ends, as a whole."""


class Controls(w.VBox):
    """Everything that is set before a measurement."""

    def __init__(
        self, target: str | Endpoint, given: dict[str, Any], case: UseCase | None = None
    ) -> None:
        self._listeners: list[Callable[[Any], None]] = []
        in_code = given.keys() | ({"concurrency"} if given.get("rate") is not None else set())
        self._own_end = not given.keys().isdisjoint({*_END, "ramp_s"})
        given = {name: said for name, said in _GIVEN.items() if name not in in_code} | given
        self.use_case = UseCaseFields(case)
        self.loads = LoadFields(given)
        self.slo = SloFields(given)
        self.request = RequestFields(given, getattr(target, "protocol", None), self._say)
        self.limits = LimitFields(given)
        more = w.VBox([self.limits, self.request])
        self.groups = self.loads, self.slo, self.limits, self.request
        self.where = EndpointFields(target, given, self.request, self._endpoint_changed)
        self.prompt = LengthField(
            "Prompt",
            "tp-prompt-tokens",
            given["prompt_tokens"],
            "Prompt length, as the server counts",
        )
        self.output = LengthField(
            "Output", "tp-output-tokens", given["output_tokens"], "Output length asked for"
        )
        self._before = self._stands()
        self._by_case: dict[Any, Any] = {}
        if case is not None:
            asked = {n: said for n, said in self._asked(case).items() if n not in in_code}
            self._take(asked | {"ramp_s": given.get("ramp_s")})
        Plan.of(self._said())
        own = "price" in given
        self.price = PriceFields(given["price"] if own else None)
        self.usual = UsualPrice(self.price.first, self._priced, fixed=own)
        self._key, self._url, self._hint = self.where.key, self.where.url, self.where.hint
        self._spend_limit = self.limits.spend_usd
        opens = Fold(
            more, "more settings", "Requests and seconds per level, precision, time and spend "
            "limits, protocol, batches, headers",
        )  # fmt: skip
        opens.add_class("tp-more")
        row = w.Box([self.loads, self.prompt, self.output, opens])
        row.add_class("tp-row")
        super().__init__([self.use_case, self.where, row, self.price, self.slo, more])
        self.loads.changed(lambda _: self.limits.amid(ramp=self.loads.ramped))
        self.limits.amid(ramp=self.loads.ramped)
        self.request.changed(self._show_output)
        self.where.model.observe(lambda _: self.usual.look(), "value")
        self.prompt.changed(lambda _: self.usual.look())
        self.use_case.follow(self.slo.value)
        self.slo.changed(lambda _: self.use_case.follow(self.slo.value))
        self.use_case.changed(self._case_changed)
        self._show_output()
        self.usual.look()

    # -- values --------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """What stands in the endpoint menu."""
        return str(self.where.menu.label)

    @property
    def load(self) -> Load | OpenLoad:
        """The load that is set.

        Raises
        ------
        SettingsError
            If it can't be.
        """
        return load_from(self._said())

    @property
    def plan(self) -> Plan:
        """What is set to be measured: one run or, of several lengths or batches, more.

        Raises
        ------
        SettingsError
            If it can't be.
        """
        return Plan.of(self._said())

    def endpoint(self) -> Endpoint:
        """Return the endpoint that is set; a simulated one is started if need be.

        Raises
        ------
        SettingsError
            If it can't be one.
        """
        return self.where.value()

    def settings(self) -> dict[str, Any]:
        """Return the keywords for `tp.measure` or, where lengths vary, `tp.sweep`; checked.

        Raises
        ------
        SettingsError
            Names the first that is refused.
        """
        return self.plan.asked

    @property
    def at_once(self) -> int:
        """How many requests there will be at once, at the most; in an open loop a guess.

        Raises
        ------
        SettingsError
            If a setting is refused.
        """
        return min(self._outlook().concurrency, MAX_CONCURRENCY)

    def estimate(self) -> str:
        """Say what the settings will send, as HTML: "at least", "about" or "up to" so much.

        Raises
        ------
        SettingsError
            If a setting is refused.
        """
        sent, load = self._outlook(), self.load
        text = f"{sent.requests:,} requests, {thousands(sent.tokens)} tokens"
        text += f", {usd(sent.usd)}" if sent.usd is not None else ""
        if load.auto:
            return f"estimate: {text} if the search goes up to {load.levels[-1]:g}{load.unit}"
        return f"estimate: {sent.how} {text}"

    def _outlook(self) -> Outlook:
        protocol = spoken(self.where.address, self.request.overrides().get("protocol"))
        plan, price = self.plan, self.price.value
        sent = [Outlook.of(each, plan.load, price, protocol) for each in plan.workloads]
        return Outlook.sum(sent).capped(self.limits.token_limit)

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when the endpoint or a setting of the load or the workload changed."""
        self._listeners.append(callback)
        for field in (self.prompt, self.output):
            field.changed(callback)
        for group in self.groups:
            group.changed(callback)

    def _said(self) -> dict[str, Any]:
        """Return what the fields say, as keywords; each group has checked its own."""
        said = {
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

    def _priced(self) -> Asked:
        return Asked(self.where.name, str(self.where.model.value or ""), self.prompt.first)

    def _endpoint_changed(self) -> None:
        self.usual.look()
        self._show_output()
        for listener in self._listeners:
            listener(None)

    def _show_output(self, _: Any = None) -> None:
        """Ask for an output length only where tokens come back."""
        protocol = spoken(self.where.address, self.request.protocol)
        self.output.layout.display = "none" if protocol == "embeddings" else None

    # -- the use case --------------------------------------------------------------------------

    def _take(self, given: Mapping[str, Any]) -> None:
        """Set the fields to a use case's keywords of `tp.measure`; note what that changed."""
        before = self._stands()
        for name, field in (("prompt_tokens", self.prompt), ("output_tokens", self.output)):
            if name in given:
                field.value = given[name]
        for group in self.groups:
            group.take(given)
        stands = self._stands()
        self._by_case |= {
            key: stands.get(key) for key in before | stands if stands.get(key) != before.get(key)
        }

    def _case_changed(self, former: UseCase | None, case: UseCase | None) -> None:
        """Set what a use case asks for or, of the same with another assumption, what is new."""
        if case is None:
            self._put_back()
            return
        if former is None:
            self._before, self._by_case = self._stands(), {}
        asked = self._asked(case)
        if former is not None and former.name == case.name:
            before = self._asked(former)
            asked = {name: value for name, value in asked.items() if value != before[name]}
            limits = dict(case.limits.items() - former.limits.items())
            asked["limits"] = self.slo.value | limits  # all others stay
        self._take(asked)

    def _asked(self, case: UseCase) -> dict[str, Any]:
        """Return all that a use case sets, as keywords for `tp.measure`."""
        asked = {"batch": 1, "limits": {}, **_END, **case.settings()}
        # what is said in code of a level's end is no use case's
        left_out = _END if self._own_end else {}
        return {name: value for name, value in asked.items() if name not in left_out}

    def _stands(self) -> dict[Any, Any]:
        """Return what stands in each field that a use case can set, and each limit by its name."""
        fields = [each for group in self.groups for each in group.taken]
        return {
            field: field.value for field in (self.prompt, self.output, *fields)
        } | self.slo.value

    def _put_back(self) -> None:
        """Set what stood there before the use case, but where it was changed by hand since."""
        stands = self._stands()
        back = {
            key: self._before.get(key)
            for key, value in self._by_case.items()
            if stands.get(key) == value
        }
        limits = self.slo.value | {key: back.pop(key) for key in [*back] if isinstance(key, str)}
        for field, value in back.items():
            field.value = value
        self.slo.take({"limits": {name: ms for name, ms in limits.items() if ms is not None}})

    def _say(self, text: str) -> None:
        self.where.say(text)
