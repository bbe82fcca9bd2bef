"""What a measurement will send, and whether someone else's machine must be asked for it first."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from .. import addresses
from ..addresses import is_near
from ..cost.at_point import estimate
from ..cost.price import Price
from ..endpoints.endpoint import Endpoint
from ..errors import SettingsError
from ..protocols import PROTOCOLS
from ..words import thousands, usd
from ..workload.loads import Load
from ..workload.prompts import Workload
from ..workload.rates import OpenLoad

MAX_CONCURRENCY = 32
MAX_TOKENS = 1_000_000
"""More requests at once, or tokens in all, are not sent unasked to someone else's server."""

_USER_TPS = 50.0
_BRISK_S = 0.1
"""How fast an answer is taken to come where time decides how many do: as of a brisk API, whose
tokens come so many a second, and which takes so many seconds at least (or for vectors)."""


def nearby(endpoint: Endpoint) -> bool:
    """Tell whether an endpoint is in one's own network, so that nobody else's server is loaded."""
    return is_near(urlsplit(endpoint.url).hostname or "")


@dataclass(frozen=True)
class Outlook:
    """What a measurement will send, as far as it can be told before.

    Attributes
    ----------
    requests, tokens : int
        How many; tokens of prompts and answers together.
    usd : float or None
        What they cost at a price by the token, nothing taken as cached.
    concurrency : int
        The most requests at once; in an open loop, how many there are if answers come so fast.
    how : str
        ``about`` where time decides how many requests there are, for which an answer is taken to
        come at 50 tokens/s and to take 0.1 s or more (vectors: 0.1 s): at levels of some seconds,
        in a ramp, and where a level that ends once its figures are precise enough may see more
        requests than it needs in the seconds that it stays open for them. ``at least`` where
        these are what it needs however fast the server is (no upper bound is known: it may go on
        for longer), and ``up to`` where it ends at a number of requests or, if that is earlier, of
        seconds, or at its token limit.
    """

    requests: int
    tokens: int
    usd: float | None
    concurrency: int
    how: str

    @classmethod
    def of(
        cls, workload: Workload, load: Load | OpenLoad, price: Price | None = None,
        protocol: str | None = None,
    ) -> "Outlook":  # fmt: skip
        """Reckon what these settings will send; the protocol tells whether tokens come back."""
        streamed = protocol is None or PROTOCOLS[protocol].streamed
        e2e_s = max(_BRISK_S, workload.output_tokens / _USER_TPS) if streamed else _BRISK_S
        open_s = Load.MAX_SECONDS if load.seconds is None else load.seconds
        requests, by_time = 0, load.seconds is not None or load.ramp_s is not None
        levels = load.levels
        at_once = [math.ceil(load.in_flight(level, e2e_s)) for level in levels]
        most = max(at_once)
        if load.ramp_s is not None:  # nothing settles; at its end all are served once, and drain
            most = math.ceil(load.in_flight(load.highest, e2e_s))
            mean = load.in_flight((levels[0] + levels[-1]) / 2, e2e_s)
            requests = round(mean * load.ramp_s / e2e_s) + 2 * most
            levels, at_once = (), []
        for level, users in zip(levels, at_once, strict=True):
            # each settles for one generation, and the last one drains
            least = load.requests or (load.enough(level) if load.adaptive else 0)
            timed = round(load.in_flight(level, e2e_s) * open_s / e2e_s) if not load.requests else 0
            by_time |= timed > least
            requests += users + max(least, timed)
        prompt_tokens = workload.prompt_tokens * workload.batch
        output_tokens = workload.output_tokens * workload.batch if streamed else 0
        by_token = price is not None and price.hour is None
        return cls(
            requests,
            requests * (prompt_tokens + output_tokens),
            estimate(requests, prompt_tokens, output_tokens, price) if price and by_token else None,
            most,
            "up to" if load.requests and load.seconds else "about" if by_time else "at least",
        )

    @classmethod
    def sum(cls, outlooks: "Sequence[Outlook]") -> "Outlook":
        """Add up what is sent one after the other."""
        usd = [outlook.usd for outlook in outlooks if outlook.usd is not None]
        kinds = {outlook.how for outlook in outlooks}
        return cls(
            sum(outlook.requests for outlook in outlooks),
            sum(outlook.tokens for outlook in outlooks),
            sum(usd) if len(usd) == len(outlooks) else None,
            max(outlook.concurrency for outlook in outlooks),
            kinds.pop() if len(kinds) == 1 else "about",
        )

    def capped(self, token_limit: int | None) -> "Outlook":
        """Return what is sent where a measurement ends at so many tokens."""
        if token_limit is None or self.tokens <= token_limit:
            return self
        share = token_limit / self.tokens
        cost = None if self.usd is None else share * self.usd
        requests = int(share * self.requests)
        return replace(self, requests=requests, tokens=token_limit, usd=cost, how="up to")

    @property
    def big(self) -> bool:
        """Whether it is more than what is sent unasked."""
        return self.concurrency > MAX_CONCURRENCY or self.tokens > MAX_TOKENS

    def within(self, other: "Outlook") -> bool:
        """Tell whether it is no bigger than another, which was agreed to."""
        return self.concurrency <= other.concurrency and self.tokens <= other.tokens

    def sentence(self, where: str) -> str:
        """Say what is sent: "This sends at least 1.2 M tokens to api.example.com, …"."""
        cost = "" if self.usd is None else f", about {usd(self.usd)}"
        return (
            f"This sends {self.how} {thousands(self.tokens)} tokens to {where}{cost}, with up to "
            f"{self.concurrency:,} requests at once."
        )


class NotConfirmed(SettingsError):  # noqa: N818 - it is a question
    """So much is sent to someone else's server only with ``confirm=True``; nothing was sent yet.

    Attributes
    ----------
    question : str
        What would be sent, to agree to.
    sent : Outlook
        The same in numbers.
    """

    def __init__(self, endpoint: Endpoint, sent: Outlook) -> None:
        self.question = sent.sentence(urlsplit(endpoint.url).hostname or endpoint.label)
        self.sent = sent
        super().__init__(f"{self.question} Pass confirm=True to send it; nothing was sent yet.")


def ask_first(
    endpoint: Endpoint, workload: Workload | Sequence[Workload], load: Load | OpenLoad,
    price: Price | None = None, token_limit: int | None = None,
) -> None:  # fmt: skip
    """Refuse to load someone else's server with more than is sent unasked.

    Of several workloads, one measured after the other, the sum is asked for.

    Raises
    ------
    NotConfirmed
        Says what would be sent.
    """
    if endpoint.profile is not None or nearby(endpoint):
        return
    workloads = [workload] if isinstance(workload, Workload) else workload
    protocol = spoken(endpoint.url, endpoint.protocol)

    def sent(price_of: Callable[[Workload], Price | None]) -> Outlook:
        parts = [Outlook.of(w, load, price_of(w), protocol) for w in workloads]
        return Outlook.sum(parts).capped(token_limit)

    if sent(lambda _: price).big:
        raise NotConfirmed(
            endpoint,
            sent(lambda w: price or Price.listed(endpoint.url, endpoint.model, w.prompt_tokens)),
        )


def restrained(endpoint: Endpoint, load: Load | OpenLoad) -> Load | OpenLoad:
    """Return the load, an open one kept to as many requests at once as are sent unasked.

    A server that falls behind would else get more and more of them.
    """
    if isinstance(load, Load) or endpoint.profile is not None or nearby(endpoint):
        return load
    return replace(load, most=MAX_CONCURRENCY)


def spoken(url: str, protocol: str | None) -> str | None:
    """Return the protocol that is set, else the one that the URL names, if it does."""
    named = addresses.read(url).protocol
    return protocol or (named.name if named is not None else None)
