"""What tokens cost: an API's price list or one's own machine, at each operating point, in USD."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple, TypeGuard, TypeVar

from ..errors import SettingsError
from ..words import percent, usd

F = TypeVar("F", float, float | None)

MILLION = 1_000_000
HOUR_S = 3600


class Tier(NamedTuple):
    """What an API asks for prompts above so many tokens: USD per 1M tokens, as in a `Price`."""

    above: int
    output: float
    input: float
    cached_input: float | None = None
    reasoning: float | None = None


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
    reasoning : float or None
        USD per 1M reasoning tokens, which are part of the output; None: they cost what others do.
    name : str
        What legends call it; "": what is paid for.
    tiers : tuple of Tier
        Where the price depends on how long a prompt is: all there are, from that above 0 tokens on.
        What a point costs is by its own prompts (`at`); the other fields count where no length is
        known.
    """

    output: float | None = None
    input: float = 0.0
    cached_input: float | None = None
    hour: float | None = None
    replicas: int = 1
    utilisation: float = 1.0
    source: str = ""
    date: str = ""
    reasoning: float | None = None
    name: str = ""
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        # a saved price has lists
        object.__setattr__(self, "tiers", tuple(Tier(*tier) for tier in self.tiers))
        if (self.output is None) == (self.hour is None):
            raise SettingsError(
                "a price is either by the token or by the hour: "
                "use Price.per_token(output, ...) or Price.per_hour(hour, ...)"
            )
        _refuse_negative("input", self.input)
        for name in ("output", "cached_input", "hour", "reasoning"):
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
        reasoning: float | None = None,
        name: str = "",
    ) -> "Price":
        """Price by the token: USD per 1M output, input, cached input and reasoning tokens."""
        _refuse_negative("output", output)
        return cls(
            output, input, cached_input, source=source, date=date, reasoning=reasoning, name=name
        )

    @classmethod
    def per_hour(
        cls,
        hour: float,
        replicas: int = 1,
        utilisation: float = 1.0,
        source: str = "",
        date: str = "",
        name: str = "",
    ) -> "Price":
        """Price by the hour: USD per hour and replica, busy for a share `utilisation` of it."""
        _refuse_negative("hour", hour)
        return cls(
            hour=hour, replicas=replicas, utilisation=utilisation,
            source=source, date=date, name=name,
        )  # fmt: skip

    @classmethod
    def listed(
        cls, url: str, model: str | None = None, prompt_tokens: int = 0, *, batched: bool = False
    ) -> "Price | None":
        """Price as the `genai-prices` package lists it; see `tpwidgets.cost.listed.listed`."""
        from .listed import listed

        return listed(url, model, prompt_tokens, batched=batched)

    def batched(self, share_off: float = 0.5, source: str = "") -> "Price":
        """Return what the API's batch tier takes: a share less of each price by the token.

        Parameters
        ----------
        share_off : float
            From 0 to 1; most APIs take off half.
        source : str
            Where that was read.

        Raises
        ------
        SettingsError
            If the price is by the hour, or the share is none.
        """
        if self.hour is not None:
            raise SettingsError("batched() is for a price by the token: this one is by the hour")
        if not (_is_number(share_off) and 0 <= share_off <= 1):
            raise SettingsError(f"share_off must be from 0 to 1; got {share_off!r}")
        tier = f"batch tier at {percent(100 * share_off)} off"
        tier += f" ({source})" if source else ""

        def less(full: F) -> F:
            return None if full is None else full * (1 - share_off)

        return replace(
            self,
            output=less(self.output),
            input=less(self.input),
            cached_input=less(self.cached_input),
            reasoning=less(self.reasoning),
            tiers=tuple(
                Tier(at, less(out), less(read), less(cached), less(thought))
                for at, out, read, cached, thought in self.tiers
            ),
            source=f"{self.source}, {tier}" if self.source else tier,
            name=f"{self.name} (batch)" if self.name else "",
        )

    def at(self, prompt_tokens: float | None) -> "Price":
        """Return the price for prompts of so many tokens; None: nobody knows how many."""
        if not self.tiers or prompt_tokens is None:
            return self
        tier = [*self.tiers[:1], *(t for t in self.tiers if prompt_tokens > t.above)][-1]
        return replace(
            self, output=tier.output, input=tier.input, cached_input=tier.cached_input,
            reasoning=tier.reasoning,
        )  # fmt: skip

    @property
    def basis(self) -> str:
        """What is paid for, in words."""
        if self.hour is not None:
            many = f" × {self.replicas} replicas" if self.replicas != 1 else ""
            return f"{exact_usd(self.hour)} per hour{many}"
        kinds = {
            "output": self.output,
            "input": self.input,
            "cached input": self.cached_input,
            "reasoning": self.reasoning,
        }
        listed = [f"{exact_usd(each)} {kind}" for kind, each in kinds.items() if each is not None]
        return f"per 1M tokens: {', '.join(listed)}{self._prompts}"

    @property
    def _prompts(self) -> str:
        """For which prompts the price is, where it depends on their length."""
        now = self.output, self.input, self.cached_input, self.reasoning
        ends = [*(tier.above for tier in self.tiers), None]
        for tier, end in zip(self.tiers, ends[1:], strict=True):
            if tier[1:] == now:
                said = [f"above {tier.above:,}"] if tier.above else []
                said += [f"up to {end:,}"] if end else []
                return f", for prompts {' and '.join(said)} tokens" if said else ""
        return ""

    @property
    def label(self) -> str:
        """What legends call it: its name, else what is paid for."""
        return self.name or self.basis

    @property
    def assumption(self) -> str:
        """What has to hold for the cost to be right, in words."""
        return self.assumed()

    def assumed(self, *, estimated: bool = False) -> str:
        """Say what has to hold; `estimated`: the server counted no tokens, so chunks were."""
        if self.hour is None:
            billed = "usage" if estimated else "usage billed"
            stated = f"{billed} in the window, failed requests included"
        elif self.utilisation < 1:
            stated = f"busy as measured {percent(100 * self.utilisation)} of the hours paid for"
        else:
            stated = "busy as measured in every hour paid for"
        stated += "; tokens are counted as chunks, an estimate" if estimated else ""
        return f"{stated}; price: {self.origin}" if self.origin else stated

    @property
    def origin(self) -> str:
        """Where the price was read, and when."""
        return ", ".join(filter(None, (self.source, self.date)))

    @property
    def stated(self) -> str:
        """The price in one line: its name, what is paid for, and where that was read."""
        return "; ".join(filter(None, (self.name, self.basis, self.origin)))

    def input_at(self, cached_pct: float | None) -> float:
        """Return USD per 1M prompt tokens of which `cached_pct` % came from the server's cache."""
        if self.cached_input is None or cached_pct is None:
            return self.input
        return _mixed(self.input, self.cached_input, cached_pct / 100)

    def output_at(self, reasoning_share: float | None) -> float:
        """Return USD per 1M output tokens of which a share, 0 to 1, are reasoning tokens."""
        output = self.output or 0.0
        if self.reasoning is None or reasoning_share is None:
            return output
        return _mixed(output, self.reasoning, reasoning_share)

    @property
    def output_at_most(self) -> float:
        """USD per 1M output tokens, whatever share of them is reasoning."""
        return max(self.output or 0.0, self.reasoning or 0.0)


def known(price: object) -> Price:
    """Return what was given as a price, if it is one.

    Raises
    ------
    SettingsError
        If it is not; `Price.listed` may have found none.
    """
    if isinstance(price, Price):
        return price
    found = " (Price.listed is None where no list has the model)" if price is None else ""
    raise SettingsError(
        f"price must be a Price, such as Price.per_hour(4.50) or Price.per_token(10, 2.5), not "
        f"{price!r}{found}."
    )


def exact_usd(price: float) -> str:
    """Write a price as lists have it: ``$2.50``, ``$0.125``."""
    return usd(price) if price in (0, round(price, 2)) else f"${price:.6g}"


def _mixed(usual: float, other: float, share: float) -> float:
    return usual * (1 - share) + other * share


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _refuse_negative(name: str, value: object) -> None:
    if not (_is_number(value) and value >= 0):
        raise SettingsError(f"{name} must be 0 or more USD, and finite; got {value!r}")
