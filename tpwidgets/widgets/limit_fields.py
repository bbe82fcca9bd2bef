"""Where it ends: how much a level counts, how long a request may take, what may be spent."""

from collections.abc import Callable
from typing import Any

import ipywidgets as w

from ..loads import positive
from .group import Group

_TIMEOUT_S = 60
_FIT: dict[str, Any] = {"description_width": "initial"}


class LimitFields(Group):
    """The part of the controls in which 0 mostly means that the measurement finds its own end."""

    def __init__(self, given: dict[str, Any]) -> None:
        timeout_s = positive("timeout_s", given.get("timeout_s", _TIMEOUT_S), "(seconds)")
        self.requests = w.BoundedIntText(
            value=given.get("requests") or 0, min=0, max=10_000_000, style=_FIT,
            description="Requests per level", tooltip="0: until the interval is narrow enough",
            layout=w.Layout(width="200px"),
        )  # fmt: skip
        self.seconds = w.BoundedFloatText(
            value=given.get("seconds") or 0, min=0, max=86_400, style=_FIT,
            description="Seconds per level", tooltip="0: until the interval is narrow enough",
            layout=w.Layout(width="200px"),
        )  # fmt: skip
        self.timeout_s = w.BoundedFloatText(
            value=timeout_s, min=0.1, max=3600, style=_FIT, layout=w.Layout(width="180px"),
            description="Time limit (s)", tooltip="Give up on a request that long without a token",
        )  # fmt: skip
        self.spend_usd = w.BoundedFloatText(
            value=given.get("spend_limit_usd") or 0, min=0, max=1e6, step=0.01, style=_FIT,
            layout=w.Layout(width="200px"), description="Spend limit ($)",
            tooltip="0: none; else stop before more is spent. Needs a price per 1M tokens",
        )  # fmt: skip
        note = w.HTML("<small>0: until the 95 % interval is within ±10 %</small>")
        super().__init__(
            [self.requests, self.seconds, note, self.timeout_s, self.spend_usd],
            {
                "requests": self.requests, "seconds": self.seconds,
                "timeout": self.timeout_s, "spend-limit": self.spend_usd,
            },
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """Return what is set here and isn't the default, as keywords for `tp.measure`."""
        timeout_s = positive("timeout_s", self.timeout_s.value, "(seconds)")
        found = {
            "requests": int(self.requests.value) or None,
            "seconds": float(self.seconds.value) or None,
            "timeout_s": timeout_s if timeout_s != _TIMEOUT_S else None,
            "spend_limit_usd": float(self.spend_usd.value) or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when something changed that changes what will be sent, or is refused."""
        for box in (self.requests, self.seconds, self.timeout_s):
            box.observe(callback, "value")
