"""What a measurement may spend: held back before each request is sent, settled when it has ended.

The rule: a request is not sent if what is spent, and the requests in flight and it at their
maximum, would come to more than the limit. Pure accounting, that knows of no process and no server.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..cost.price import MILLION, Price
from ..errors import SettingsError
from ..samples import Sample
from ..words import count, usd
from ..workload.loads import positive
from ..workload.prompts import Workload

_NEVER_SENT = "refused", "client_limit"


@dataclass(frozen=True)
class Tariff:
    """What requests of one kind cost.

    Attributes
    ----------
    price : Price
        By the token.
    prompt_tokens, output_tokens : int
        The most that one request takes: its prompt as calibrated, and the output asked for.
    """

    price: Price
    prompt_tokens: int
    output_tokens: int

    @property
    def most_usd(self) -> float:
        """What a request costs at most, nothing taken as cached."""
        return self.usd(self.prompt_tokens, self.output_tokens)

    def usd(self, prompt_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Return what so many tokens cost."""
        cached_pct = 100 * cached_tokens / prompt_tokens if prompt_tokens else None
        rate = self.price.input_at(cached_pct)
        return (prompt_tokens * rate + output_tokens * self.price.output_at_most) / MILLION

    def bill_usd(self, sample: Sample) -> float:
        """Return what a request has cost.

        The server's own count is right, be it above the maximum. Without one: an answer that ended
        is taken for as long as asked, or for its chunks if they are more. One that the server broke
        off with an error brought what came. One that was cut off counts at its maximum, since the
        server may have gone on without us. What was refused, or never sent, costs nothing.
        """
        status, chunks = sample.http_status, len(sample.token_ms)
        if sample.status in _NEVER_SENT or status not in (None, 200):
            return 0.0
        prompt, output = sample.prompt_tokens, sample.output_tokens
        if prompt is None:
            prompt = self.prompt_tokens
        counted = output is not None and sample.token_source == "usage"  # noqa: S105
        if not counted and sample.status != "http_error":
            output = self.output_tokens
        return self.usd(prompt, max(output or 0, chunks), sample.cached_tokens or 0)


class Budget:
    """One worker's gate: whoever is to send a request takes leave here first.

    Parameters
    ----------
    tariff : Tariff
        What requests cost.
    ask : callable
        ``ask(usd)`` asks for so much more to spend; the answer comes by `grant`.
    """

    def __init__(self, tariff: Tariff, ask: Callable[[float], None]) -> None:
        self._tariff, self._ask = tariff, ask
        self._most = tariff.most_usd
        self._granted = self._spent = 0.0
        self._in_flight = 0
        self._asked = self._refused = False
        self._answered = asyncio.Event()

    async def take(self, users: int) -> bool:
        """Hold back a request's maximum; return False if there is not so much left.

        Parameters
        ----------
        users : int
            How many requests there may be at once: asked for ahead, so that none has to wait.
        """
        while not self._holds(1):
            if self._refused:
                return False
            self._ask_for(users)
            await self._answered.wait()
        self._in_flight += 1
        if not self._holds(users) and not self._refused:
            self._ask_for(users)
        return True

    def give_back(self) -> None:
        """Take back a request that is not sent after all."""
        self._in_flight -= 1

    def settle(self, sample: Sample) -> None:
        """Put what a request has cost in the place of its maximum."""
        self._in_flight -= 1
        billed = self._tariff.bill_usd(sample)
        self._spent += billed
        self._most = max(self._most, billed)  # this server takes more than it was asked for

    def grant(self, usd: float) -> None:
        """Take in how much more may be spent; 0: nothing is left."""
        self._granted += usd
        self._asked, self._refused = False, not usd
        self._answered.set()

    def _holds(self, more: int) -> bool:
        return self._spent + (self._in_flight + more) * self._most <= self._granted

    def _ask_for(self, users: int) -> None:
        if not self._asked:
            self._asked = True
            self._answered.clear()
            self._ask(users * self._most)


class Purse:
    """A measurement's spending limit: its probes pay from it, its workers get it in parts.

    What was given to a worker is not taken back, so that all of them together can never spend more
    than there is; the parts become smaller as it comes to an end.

    Parameters
    ----------
    limit_usd : float
        How much there is.
    price : Price
        By the token.
    """

    def __init__(self, limit_usd: float, price: Price) -> None:
        self.limit_usd, self.price = limit_usd, price
        self.probes_usd = 0.0
        """What probing has cost."""
        self._left = limit_usd
        self._lock = threading.Lock()

    @classmethod
    def of(cls, limit_usd: object, price: Price | None, workload: Workload) -> "Purse":
        """Check the limit and make a purse that holds so much.

        Raises
        ------
        SettingsError
            If there is no price by the token above 0, or the limit does not cover one request.
        """
        if price is None or not (price.output or price.input):
            raise SettingsError(
                "spend_limit_usd needs a price by the token: price=Price.per_token(output, input)."
            )
        limit = positive("spend_limit_usd", limit_usd, "(USD)")
        purse = cls(limit, price)
        one = purse.tariff(workload.prompt_tokens, workload.output_tokens).most_usd
        if one > limit:
            raise SettingsError(
                f"spend_limit_usd ({usd(limit)}) does not cover a single request, which may take "
                f"${count(one)}."
            )
        return purse

    def hold(self, prompt_tokens: int, output_tokens: int) -> float:
        """Hold back what a probe costs at most, in USD.

        Raises
        ------
        SettingsError
            If there is not so much left.
        """
        most = Tariff(self.price, prompt_tokens, output_tokens).most_usd
        with self._lock:
            if most > self._left:
                raise SettingsError(
                    f"spend_limit_usd ({usd(self.limit_usd)}) is used up before the measurement "
                    f"began: asking the endpoint took ${count(self.probes_usd)}, and the next "
                    f"request may take ${count(most)}. Raise the limit, or ask for shorter prompts."
                )
            self._left -= most
            self.probes_usd += most
        return most

    def settle(self, held_usd: float, billed_usd: float) -> None:
        """Put what a probe has cost in the place of what was held back for it."""
        with self._lock:
            self._left += held_usd - billed_usd
            self.probes_usd += billed_usd - held_usd

    def lease(self, wanted_usd: float, workers: int) -> float:
        """Give one of so many workers what it wants or, while there is much, its share of a half.

        Returns
        -------
        float
            USD; 0 if nothing is left.
        """
        with self._lock:
            given = max(0.0, min(self._left, max(wanted_usd, self._left / (2 * workers))))
            self._left -= given
        return given

    def tariff(self, prompt_tokens: int, output_tokens: int) -> Tariff:
        """Return what requests of so many tokens cost here."""
        return Tariff(self.price, prompt_tokens, output_tokens)
