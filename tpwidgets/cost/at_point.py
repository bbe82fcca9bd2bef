"""What an operating point costs at a price: per token and per request; what a run will cost."""

from collections.abc import Mapping

from ..errors import SettingsError
from ..words import is_whole, measured
from .price import HOUR_S, MILLION, Price


def usd_per_1m_output(
    point: Mapping[str, object], price: Price
) -> tuple[float | None, float | None, float | None]:
    """Return USD per 1M output tokens at an operating point, and its 95 % interval.

    By the token: output + input · input_per_output, the prices of the cached share of the input
    and of the reasoning share of the output included, for prompts as long as the point's mean; a
    bill has no interval. By the hour: hour · replicas / (output_tps · utilisation · 3600) · 10⁶; it
    costs least where the rate is highest, so the interval's ends change places.
    """
    if price.hour is None:
        ratio = measured(point, "input_per_output")
        price, rate = for_point(point, price), input_usd(point, price)
        if (ratio is None and rate) or measured(point, "n") == 0:
            return None, None, None
        return price.output_at(_reasoning_share(point)) + rate * (ratio or 0.0), None, None
    return (
        _hourly(price, measured(point, "output_tps"), MILLION),
        _hourly(price, measured(point, "output_tps_hi"), MILLION),
        _hourly(price, measured(point, "output_tps_lo"), MILLION),
    )


def for_point(point: Mapping[str, object], price: Price) -> Price:
    """Return the price for prompts as long as those of a point."""
    return price.at(measured(point, "prompt_tokens_mean"))


def input_usd(point: Mapping[str, object], price: Price) -> float:
    """Return USD per 1M prompt tokens of a point, cached ones among them."""
    return for_point(point, price).input_at(measured(point, "cached_pct"))


def untold(point: Mapping[str, object], price: Price) -> str:
    """Say why a point's cost is not known though requests ended well; "" where it is."""
    if price.hour is not None or is_whole(point) or not measured(point, "n"):
        return ""
    if measured(point, "prompt_tokens_mean") is not None or not input_usd(point, price):
        return ""
    if measured(point, "input_per_output") is not None:
        return ""
    return "no cost is known: the server told no prompt tokens, which have a price"


def _reasoning_share(point: Mapping[str, object]) -> float | None:
    thought, output = (measured(point, f"{name}_tokens_mean") for name in ("reasoning", "output"))
    return thought / output if thought is not None and output else None


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
        return input_usd(point, price)
    output, ratio = usd_per_1m_output(point, price)[0], measured(point, "input_per_output")
    return None if output is None or ratio is None else output / (1 + ratio)


def usd_per_request(
    point: Mapping[str, object], price: Price
) -> tuple[float | None, float | None, float | None]:
    """Return USD per request that ended well, and its 95 % interval: these pay for failed ones."""
    if price.hour is not None:
        ends = (measured(point, f"rps{end}") for end in ("", "_hi", "_lo"))
        value, lo, hi = (_hourly(price, end, 1) for end in ends)
        return value, lo, hi
    if is_whole(point):
        tokens = measured(point, "prompt_tokens_mean")
        each = usd_per_1m_total(point, price)
        return None if tokens is None or each is None else each * tokens / MILLION, None, None
    output, tokens = usd_per_1m_output(point, price)[0], measured(point, "billed_output_tokens")
    n = measured(point, "n")
    if output is None or tokens is None or not n:
        return None, None, None
    return output * tokens / MILLION / n, None, None


def own_cost(point: Mapping[str, object], price: Price | None) -> dict[str, object]:
    """Return columns by which a chart draws a point at this price, whatever else is set there."""
    if price is None:
        return {"own_cost": True}
    ends = "", "_lo", "_hi"
    output, request = usd_per_1m_output(point, price), usd_per_request(point, price)
    return {
        "own_cost": True,
        **{f"usd{end}": value for end, value in zip(ends, output, strict=True)},
        "usd_total": usd_per_1m_total(point, price),
        **{f"usd_request{end}": value for end, value in zip(ends, request, strict=True)},
    }


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
        price = price.at(prompt_tokens)
        each = prompt_tokens * price.input + output_tokens * price.output_at_most
        return requests * each / MILLION
    if seconds is None:
        raise SettingsError("seconds is needed to estimate the cost of a price by the hour")
    return price.hour * price.replicas * seconds / HOUR_S
