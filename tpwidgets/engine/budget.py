"""What a measurement may spend: held back before each request is sent, settled when it has ended.

The rule: a request is not sent if what is spent, and the requests in flight and it at their
maximum, would come to more than the limit. A limit on tokens is one at a price of 1 a token, so
amounts are USD or tokens. Pure accounting, that knows of no process and no server.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..cost.price import MILLION, Price
from ..errors import SettingsError
from ..samples import Sample
from ..words import count, usd
from ..workload.loads import positive, whole
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
    limit : str
        What the limit is called that such requests count towards.
    """

    price: Price
    prompt_tokens: int
    output_tokens: int
    limit: str = "spend limit"

    @property
    def most(self) -> float:
        """What a request costs at most, nothing taken as cached."""
        return self.cost(self.prompt_tokens, self.output_tokens)

    def cost(self, prompt_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Return what so many tokens cost."""
        cached_pct = 100 * cached_tokens / prompt_tokens if prompt_tokens else None
        price = self.price.at(prompt_tokens)
        rate = price.input_at(cached_pct)
        return (prompt_tokens * rate + output_tokens * price.output_at_most) / MILLION

    def bill(self, sample: Sample) -> float:
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
        return self.cost(prompt, max(output or 0, chunks), sample.cached_tokens or 0)


class Budget:
    """One worker's gate: whoever is to send a request takes leave here first.

    Parameters
    ----------
    tariff : Tariff
        What requests cost.
    ask : callable
        ``ask(amount)`` asks for so much more to spend; the answer comes by `grant`.
    """

    def __init__(self, tariff: Tariff, ask: Callable[[float], None]) -> None:
        self._tariff, self._ask = tariff, ask
        self.limit = tariff.limit
        self._most = tariff.most
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
        billed = self._tariff.bill(sample)
        self._spent += billed
        self._most = max(self._most, billed)  # this server takes more than it was asked for

    def grant(self, amount: float) -> None:
        """Take in how much more may be spent; 0: nothing is left."""
        self._granted += amount
        self._asked, self._refused = False, not amount
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
    limit : float
        How much there is.
    price : Price
        By the token.
    """

    name = "spend limit"
    setting, spent = "spend_limit_usd", "spent_usd"
    """What the limit, and what was spent of it, is called in settings and conditions."""
    digits: int | None = 6

    def __init__(self, limit: float, price: Price) -> None:
        self.limit, self.price = limit, price
        self.probes = 0.0
        """What probing has cost."""
        self._left = limit
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
        return cls(positive("spend_limit_usd", limit_usd, "(USD)"), price)._covering(workload)

    def _covering(self, workload: Workload) -> "Purse":
        one = self.tariff(workload.prompt_tokens, workload.output_tokens).most
        if one > self.limit:
            raise SettingsError(
                f"{self.setting} ({self.written}) does not cover a single request, which may take "
                f"{self.amount(one)}."
            )
        return self

    @property
    def written(self) -> str:
        """The limit as people read it."""
        return usd(self.limit)

    @staticmethod
    def amount(spent: float) -> str:
        """Write what was spent, or may be."""
        return f"${count(spent)}"

    def hold(self, prompt_tokens: int, output_tokens: int) -> float:
        """Hold back what a probe costs at most; return it.

        Raises
        ------
        SettingsError
            If there is not so much left.
        """
        most = self.tariff(prompt_tokens, output_tokens).most
        with self._lock:
            if most > self._left:
                raise SettingsError(
                    f"{self.setting} ({self.written}) is used up before the measurement "
                    f"began: asking the endpoint took {self.amount(self.probes)}, and the next "
                    f"request may take {self.amount(most)}. Raise the limit, or ask for shorter "
                    "prompts."
                )
            self._left -= most
            self.probes += most
        return most

    def settle(self, held: float, billed: float) -> None:
        """Put what a probe has cost in the place of what was held back for it."""
        with self._lock:
            self._left += held - billed
            self.probes += billed - held

    def lease(self, wanted: float, workers: int) -> float:
        """Give one of so many workers what it wants or, while there is much, its share of a half.

        Returns
        -------
        float
            0 if nothing is left.
        """
        with self._lock:
            given = max(0.0, min(self._left, max(wanted, self._left / (2 * workers))))
            self._left -= given
        return given

    def tariff(self, prompt_tokens: int, output_tokens: int) -> Tariff:
        """Return what requests of so many tokens cost here."""
        return Tariff(self.price, prompt_tokens, output_tokens, self.name)


class TokenPurse(Purse):
    """The same of tokens, those of prompts and answers together: each costs 1."""

    name = "token limit"
    setting, spent = "token_limit", "tokens_used"
    digits = None

    @classmethod
    def of_tokens(cls, token_limit: object, workload: Workload) -> Purse:
        """Check the limit and make a purse that holds so many tokens.

        Raises
        ------
        SettingsError
            If it is no whole number above 0, or does not cover one request.
        """
        limit = whole("token_limit", token_limit, 1, 10**12)
        return cls(limit, Price.per_token(MILLION, MILLION))._covering(workload)

    @property
    def written(self) -> str:
        """The limit as people read it."""
        return f"{self.limit:,.0f}"

    @staticmethod
    def amount(spent: float) -> str:
        """Write what was spent, or may be."""
        return f"{spent:,.0f} tokens"
