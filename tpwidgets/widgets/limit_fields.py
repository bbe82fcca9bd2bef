"""Where it ends: how much a level counts, how long a request may take, what may be spent."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as w

from ..workload.loads import PRECISION, ends, positive, whole
from .group import Group

_TIMEOUT_S = 60
_MOST_TOKENS = 10**12
_ANY = 1e12
"""More than anyone means: `tp.measure` knows no bound, and a box has to have one."""
_FIT: dict[str, Any] = {"description_width": "initial"}


class LimitFields(Group):
    """The part of the controls in which 0 mostly means that the measurement finds its own end.

    In code, None means that: a 0 that is given is refused, as `tp.measure` refuses it.

    Raises
    ------
    SettingsError
        Names the first setting that is refused.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        given = _checked(given)
        self.requests = w.BoundedIntText(
            value=given.get("requests") or 0, min=0, max=10_000_000, style=_FIT,
            description="Requests per level", tooltip="0: until the interval is narrow enough",
            layout=w.Layout(width="200px"),
        )  # fmt: skip
        self.seconds = w.BoundedFloatText(
            value=given.get("seconds") or 0, min=0, max=_ANY, style=_FIT,
            description="Seconds per level", tooltip="0: until the interval is narrow enough",
            layout=w.Layout(width="200px"),
        )  # fmt: skip
        self.precision = w.BoundedFloatText(
            value=round(100 * (given.get("precision") or 0), 4), min=0, max=50, step=1, style=_FIT,
            description="Precision (± %)", layout=w.Layout(width="170px"),
            tooltip="End a level once its 95 % intervals are that narrow; 0: ±10 %, unless "
            "requests or seconds say when it ends",
        )  # fmt: skip
        self.timeout_s = w.BoundedFloatText(
            value=given["timeout_s"], min=0, max=_ANY, style=_FIT, layout=w.Layout(width="180px"),
            description="Time limit (s)", tooltip="Give up on a request that long without a token",
        )  # fmt: skip
        self.spend_usd = w.BoundedFloatText(
            value=given.get("spend_limit_usd") or 0, min=0, max=_ANY, step=0.01, style=_FIT,
            layout=w.Layout(width="200px"), description="Spend limit ($)",
            tooltip="0: none; else stop before more is spent. Needs a price per 1M tokens",
        )  # fmt: skip
        self.tokens = w.BoundedIntText(
            value=given.get("token_limit") or 0, min=0, max=_MOST_TOKENS, step=10_000, style=_FIT,
            layout=w.Layout(width="200px"), description="Token limit",
            tooltip="0: none; else stop before more tokens are used, of prompts and answers "
            "together, at all levels together",
        )  # fmt: skip
        self._ends = self.requests, self.seconds, self.precision
        self._ramp = False
        self._note = w.HTML()
        super().__init__(
            [self.requests, self.seconds, self.precision, self._note, self.timeout_s,
             self.spend_usd, self.tokens],
            {
                "requests": self.requests, "seconds": self.seconds, "precision": self.precision,
                "timeout": self.timeout_s, "spend-limit": self.spend_usd,
                "token-limit": self.tokens,
            },
        )  # fmt: skip
        self.taken = [*self._ends, self.timeout_s]
        for box in self._ends:
            box.observe(self._tell_end, "value")
        self._tell_end()

    def settings(self) -> dict[str, Any]:
        """Return what is set here and isn't the default, as keywords for `tp.measure`."""
        timeout_s = positive("timeout_s", self.timeout_s.value, "(seconds)")
        found = {
            **({} if self._ramp else self._ended()),
            "timeout_s": timeout_s if timeout_s != _TIMEOUT_S else None,
            "spend_limit_usd": float(self.spend_usd.value) or None,
            "token_limit": self.token_limit,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _ended(self) -> dict[str, Any]:
        return {
            "requests": int(self.requests.value) or None,
            "seconds": float(self.seconds.value) or None,
            "precision": round(self.precision.value / 100, 6) or None,
        }

    @property
    def token_limit(self) -> int | None:
        """How many tokens may be used; None: no limit is set."""
        return int(self.tokens.value) or None

    def take(self, given: Mapping[str, Any]) -> None:
        """Set the time limit, and when a level ends, as far as they are given."""
        if "requests" in given:
            self.requests.value = given["requests"] or 0
        if "seconds" in given:
            self.seconds.value = given["seconds"] or 0
        if "precision" in given:
            self.precision.value = round(100 * (given["precision"] or 0), 4)
        if "timeout_s" in given:
            self.timeout_s.value = given["timeout_s"]

    def amid(self, *, ramp: bool) -> None:
        """Ask when a level ends, or not, where a ramp says so itself."""
        self._ramp = ramp
        for box in self._ends:
            box.layout.display = "none" if ramp else None
        self._tell_end()

    def changed(self, callback: Callable[[Any], None]) -> None:
        """Call back when something changed that changes what will be sent, or is refused."""
        for box in (self.requests, self.seconds, self.precision, self.timeout_s, self.tokens):
            box.observe(callback, "value")

    def _tell_end(self, _: Any = None) -> None:
        """Say when a level ends."""
        asked, most = self.precision.value, self.requests.value or self.seconds.value
        said = f"until the 95 % intervals are within ±{asked or 100 * PRECISION:g} %"
        if most and asked:
            said += ", or that much was counted"
        elif most:
            said = "until that much was counted"
        if self._ramp:
            said = "a ramp's sections end by themselves"
        self._note.value = f"<small>{said}</small>"


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given, checked as `tp.measure` does; a limit that is not given is None."""
    usd, tokens = given.get("spend_limit_usd"), given.get("token_limit")
    return {
        **ends(*(given.get(name) for name in ("requests", "seconds", "precision", "ramp_s"))),
        "timeout_s": positive("timeout_s", given.get("timeout_s", _TIMEOUT_S), "(seconds)"),
        "spend_limit_usd": None if usd is None else positive("spend_limit_usd", usd, "(USD)"),
        "token_limit": None if tokens is None else whole("token_limit", tokens, 1, _MOST_TOKENS),
    }
