"""What tokens cost: an API's price list or one's own machine, at each operating point, in USD."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, TypeGuard

from .errors import SettingsError
from .words import is_whole, measured, percent, usd

if TYPE_CHECKING:
    import pandas as pd

MILLION = 1_000_000
HOUR_S = 3600

_COLUMNS = {
    "concurrency": "int64",
    "usd_per_1m_output_tokens": "float64",
    "usd_per_1m_output_tokens_lo": "float64",
    "usd_per_1m_output_tokens_hi": "float64",
    "usd_per_1m_total_tokens": "float64",
    "usd_per_request": "float64",
    "basis": "object",
    "assumption": "object",
}
"""The cost table's columns, in order → their pandas dtypes."""


@dataclass(frozen=True)
class Price:
    """What an endpoint costs: by the token or by the hour. Make one with `per_token` or `per_hour`.

    Attributes
    ----------
    output, input, cached_input : float or None
        USD per 1M tokens; `cached_input` None: cached prompt tokens cost what others do.
    hour : float or None
        USD per hour and replica; None for a price by the token.
    replicas : int
        How many replicas served the measured endpoint.
    utilisation : float
        The share of its hours in which the endpoint is as busy as measured, above 0, up to 1.
    source, date : str
        Where the price was read, and when.
    """

    output: float | None = None
    input: float = 0.0
    cached_input: float | None = None
    hour: float | None = None
    replicas: int = 1
    utilisation: float = 1.0
    source: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        if (self.output is None) == (self.hour is None):
            raise SettingsError(
                "a price is either by the token or by the hour: "
                "use Price.per_token(output, ...) or Price.per_hour(hour, ...)"
            )
        _refuse_negative("input", self.input)
        for name in ("output", "cached_input", "hour"):
            if getattr(self, name) is not None:
                _refuse_negative(name, getattr(self, name))
        if not (_is_number(self.replicas) and self.replicas >= 1):
            raise SettingsError(f"replicas must be 1 or more; got {self.replicas!r}")
        if not (_is_number(self.utilisation) and 0 < self.utilisation <= 1):
            raise SettingsError(
                f"utilisation must be above 0 and at most 1; got {self.utilisation!r}"
            )

    @classmethod
    def per_token(
        cls,
        output: float,
        input: float = 0.0,  # noqa: A002
        cached_input: float | None = None,
        source: str = "",
        date: str = "",
    ) -> "Price":
        """Price by the token: USD per 1M output, input and cached input tokens."""
        _refuse_negative("output", output)
        return cls(output, input, cached_input, source=source, date=date)

    @classmethod
    def per_hour(
        cls,
        hour: float,
        replicas: int = 1,
        utilisation: float = 1.0,
        source: str = "",
        date: str = "",
    ) -> "Price":
        """Price by the hour: USD per hour and replica, busy for a share `utilisation` of it."""
        _refuse_negative("hour", hour)
        return cls(hour=hour, replicas=replicas, utilisation=utilisation, source=source, date=date)

    @property
    def basis(self) -> str:
        """What is paid for, in words."""
        if self.hour is not None:
            many = f" × {self.replicas} replicas" if self.replicas != 1 else ""
            return f"{usd(self.hour)} per hour{many}"
        cached = "" if self.cached_input is None else f", {usd(self.cached_input)} cached input"
        return f"per 1M tokens: {usd(self.output)} output, {usd(self.input)} input{cached}"

    @property
    def assumption(self) -> str:
        """What has to hold for the cost to be right, in words."""
        if self.hour is None:
            stated = "usage billed in the window, failed requests included"
        elif self.utilisation < 1:
            stated = f"busy as measured {percent(100 * self.utilisation)} of the hours paid for"
        else:
            stated = "busy as measured in every hour paid for"
        origin = ", ".join(filter(None, (self.source, self.date)))
        return f"{stated}; price: {origin}" if origin else stated

    def input_at(self, cached_pct: float | None) -> float:
        """Return USD per 1M prompt tokens of which `cached_pct` % came from the server's cache."""
        if self.cached_input is None or cached_pct is None:
            return self.input
        cached = cached_pct / 100
        return self.input * (1 - cached) + self.cached_input * cached


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _refuse_negative(name: str, value: object) -> None:
    if not (_is_number(value) and value >= 0):
        raise SettingsError(f"{name} must be 0 or more USD, and finite; got {value!r}")


def usd_per_1m_output(
    point: Mapping[str, object], price: Price
) -> tuple[float | None, float | None, float | None]:
    """Return USD per 1M output tokens at an operating point, and its 95 % interval.

    By the token: output + input · input_per_output, the price of the cached share included; a bill
    has no interval. By the hour: hour · replicas / (output_tps · utilisation · 3600) · 10⁶; it
    costs least where the rate is highest, so the interval's ends change places.
    """
    if price.hour is None:
        ratio = measured(point, "input_per_output")
        rate = price.input_at(measured(point, "cached_pct"))
        if (ratio is None and rate) or measured(point, "n") == 0:
            return None, None, None
        return (price.output or 0.0) + rate * (ratio or 0.0), None, None
    return (
        _hourly(price, measured(point, "output_tps"), MILLION),
        _hourly(price, measured(point, "output_tps_hi"), MILLION),
        _hourly(price, measured(point, "output_tps_lo"), MILLION),
    )


def _hourly(price: Price, per_second: float | None, units: int) -> float | None:
    """Return what `units` of something cost that is made `per_second`."""
    if not per_second:
        return None
    paid = (price.hour or 0.0) * price.replicas
    return paid / (per_second * price.utilisation * HOUR_S) * units


def usd_per_1m_total(point: Mapping[str, object], price: Price) -> float | None:
    """Return USD per 1M prompt and output tokens together at an operating point."""
    if price.hour is not None:
        return _hourly(price, measured(point, "total_tps"), MILLION)
    if is_whole(point):
        return price.input_at(measured(point, "cached_pct"))
    output, ratio = usd_per_1m_output(point, price)[0], measured(point, "input_per_output")
    return None if output is None or ratio is None else output / (1 + ratio)


def _usd_per_request(point: Mapping[str, object], price: Price) -> float | None:
    if price.hour is not None:
        return _hourly(price, measured(point, "rps"), 1)
    if is_whole(point):
        tokens = measured(point, "prompt_tokens_mean")
        each = usd_per_1m_total(point, price)
        return None if tokens is None or each is None else each * tokens / MILLION
    output, tokens = usd_per_1m_output(point, price)[0], measured(point, "billed_output_tokens")
    n = measured(point, "n")
    return None if output is None or tokens is None or not n else output * tokens / MILLION / n


def cost_table(points: Iterable[Mapping[str, object]], price: Price) -> "pd.DataFrame":
    """Make the cost curve: a row per operating point, in USD; see `Price` for what is assumed.

    ``usd_per_request`` is per request that ended well: failed ones are paid for by these.
    """
    import pandas as pd

    rows = [
        (
            point["concurrency"],
            *usd_per_1m_output(point, price),
            usd_per_1m_total(point, price),
            _usd_per_request(point, price),
            price.basis,
            price.assumption,
        )
        for point in points
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def own_cost(point: Mapping[str, object], price: Price | None) -> dict[str, object]:
    """Return columns by which a chart draws a point at this price, whatever else is set there."""
    value, lo, hi = usd_per_1m_output(point, price) if price is not None else (None, None, None)
    return {"own_cost": True, "usd": value, "usd_lo": lo, "usd_hi": hi}


def estimate(
    requests: int,
    prompt_tokens: float,
    output_tokens: float,
    price: Price,
    seconds: float | None = None,
) -> float:
    """Return what a run will cost, in USD, before it is started; nothing is taken as cached.

    Parameters
    ----------
    requests : int
    prompt_tokens, output_tokens : float
        Tokens per request.
    price : Price
    seconds : float, optional
        How long the run will take; only a price by the hour needs it.

    Raises
    ------
    SettingsError
        If the price is by the hour and `seconds` is missing.
    """
    if price.hour is None:
        each = prompt_tokens * price.input + output_tokens * (price.output or 0.0)
        return requests * each / MILLION
    if seconds is None:
        raise SettingsError("seconds is needed to estimate the cost of a price by the hour")
    return price.hour * price.replicas * seconds / HOUR_S
