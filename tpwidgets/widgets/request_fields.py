"""How a request is made: protocol, items, what prompts share, further headers and fields."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w

from ..endpoints import bodies
from ..endpoints.endpoint import PROTOCOL_TITLES, Endpoint
from ..endpoints.typed import REFERENCE, read_fields, read_headers
from ..errors import SettingsError
from ..masking import is_secret_name, looks_like_a_key
from ..workload.loads import whole
from ..workload.prompts import MAX_TOKENS, Workload
from .fields import LengthField
from .group import Group

_FIT: dict[str, Any] = {"description_width": "initial"}
_SHARED = "shared_prefix_tokens"


class RequestFields(Group):
    """The part of the controls that most measurements leave as it is.

    What is typed into a box is saved with the notebook, so what looks like a secret is taken
    out, and `say` told why: a key has a place of its own, and ``$NAME`` stands for a
    variable's value.

    Raises
    ------
    SettingsError
        Names the first setting that is refused.
    """

    def __init__(
        self, given: dict[str, Any], protocol: str | None, say: Callable[[str], None]
    ) -> None:
        body, headers = given.get("extra_body") or {}, given.get("headers") or {}
        if not isinstance(body, dict):
            raise SettingsError("extra_body must be a dict that JSON can hold.")
        # whatever the address is, it checks these
        Endpoint("localhost", protocol=given.get("protocol"), headers=headers, extra_body=body)
        hidden = {name: value for name, value in body.items() if any(bodies.secrets(value, name))}
        shown = {name: value for name, value in body.items() if name not in hidden}
        self._given = {"headers": headers, "extra_body": hidden}
        self._say = say
        self._protocol = w.Dropdown(
            options=[("found out", ""), *((name, key) for key, name in PROTOCOL_TITLES.items())],
            value=given.get("protocol") or protocol or "", description="Protocol", style=_FIT,
            tooltip="How the endpoint is spoken to", layout=w.Layout(width="270px"),
        )  # fmt: skip
        self._batch = LengthField(
            "Items per request", "tp-batch", given.get("batch", 1),
            "Texts to embed, prompts in a list, or choices (n); each as long as is set",
            [2**power for power in range(12)], "",
        )  # fmt: skip
        self._batch.slider.layout.width = "240px"
        self._shared = w.BoundedIntText(
            value=whole(_SHARED, given.get(_SHARED, 0), 0, MAX_TOKENS), min=0, max=MAX_TOKENS,
            description="Shared prefix (tok)", style=_FIT, layout=w.Layout(width="210px"),
            tooltip="So many tokens are the same in all prompts, for a prefix cache to serve; "
            "0: cold prompts, different from the first word on",
        )  # fmt: skip
        self._headers = w.Textarea(
            description="Headers", placeholder="X-Name: value, or $VARIABLE; one a line", rows=2,
            continuous_update=False, style=_FIT, layout=w.Layout(flex="1 1 320px"),
            tooltip="Sent with every request. Keys go into \N{LEFT DOUBLE QUOTATION MARK}Key from",
        )  # fmt: skip
        self._body = w.Textarea(
            value=json.dumps(shown) if shown else "",
            description="Body fields", placeholder='{"temperature": 0, "reasoning_effort": "low"}',
            rows=2, continuous_update=False, style=_FIT, layout=w.Layout(flex="1 1 340px"),
            tooltip="JSON, merged into every request",
        )  # fmt: skip
        self._headers.observe(self._typed, "value")
        self._body.observe(self._typed, "value")
        texts = w.HBox([self._headers, self._body])
        super().__init__(
            [self._protocol, self._batch, self._shared, texts],
            {
                "protocol": self._protocol, "batch-slider": self._batch.slider,
                "shared-prefix": self._shared, "headers": self._headers, "extra-body": self._body,
                "texts": texts,
            },
        )  # fmt: skip

        self.taken = [self._batch, self._shared]

    @property
    def protocol(self) -> str | None:
        """The protocol that is set; None: it is found out."""
        return self._protocol.value or None

    def settings(self) -> dict[str, Any]:
        """Return what is set here and isn't the default, as keywords for `tp.measure`.

        What belongs to the endpoint is in `overrides`; a prefix is not checked against the
        prompts' length.
        """
        found = {"batch": self._batch.value, _SHARED: int(self._shared.value)}
        return {name: value for name, value in found.items() if value != getattr(Workload, name)}

    def take(self, given: Mapping[str, Any]) -> None:
        """Set the items per request and the shared prefix, if they are given."""
        fields: dict[str, Any] = {"batch": self._batch, _SHARED: self._shared}
        for name, field in fields.items():
            if name in given:
                field.value = given[name]

    def overrides(self) -> dict[str, Any]:
        """Return what an endpoint's protocol, headers and body fields are to be.

        Raises
        ------
        SettingsError
            If headers or body fields can't be meant; a value that may be a secret is not echoed.
        """
        found = {
            "protocol": self.protocol,
            "headers": {**self._given["headers"], **read_headers(self._headers.value)} or None,
            "extra_body": {**self._given["extra_body"], **read_fields(self._body.value)} or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when something changed."""
        for field in (self._protocol, self._shared, self._headers, self._body):
            field.observe(callback, "value")
        self._batch.changed(callback)

    def _typed(self, change: Any) -> None:
        """Take what may be a secret out of the box at once: its text is saved with the notebook."""
        box, text = change["owner"], change["new"]
        refused = _secret_in_headers(text) if box is self._headers else _secret_in_body(text)
        if refused:
            box.value = ""
            self._say(refused)

    def swap(self, state: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """Go over to earlier headers and body fields (None: to none); return the present ones."""
        former = (self._given, self._headers.value, self._body.value)
        self._given, self._headers.value, self._body.value = state or (
            {"headers": {}, "extra_body": {}}, "", "",
        )  # fmt: skip
        return former


def _secret_in_body(text: str) -> str:
    """Say why body fields must not stand in a box; "" if they may."""
    written = REFERENCE.sub("", text)
    try:
        secret = any(bodies.secrets(json.loads(written)))
    except ValueError:  # half of an object may hold a whole key
        named = re.findall(r'"([^"]+)"\s*:\s*"([^"]*)', written)
        secret = looks_like_a_key(written) or any(
            any(bodies.secrets(value, name)) for name, value in named
        )
    return (
        "Body fields: that looks like a secret, and what is typed here is saved with the "
        'notebook. Put it into a variable and write {"name": "$VARIABLE"}.'
        if secret
        else ""
    )


def _secret_in_headers(text: str) -> str:
    """Say why headers must not stand in a box; "" if they may."""
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        written = REFERENCE.sub("", value).removeprefix("Bearer").strip()
        if looks_like_a_key(written) or (is_secret_name(name) and written):
            return (
                "Headers: that looks like a secret, and what is typed here is saved with the "
                "notebook. Use Key from, or put it into a variable and write X-Name: $VARIABLE."
            )
    return ""
