"""What an endpoint usually costs, put into the price fields until somebody says otherwise."""

from collections.abc import Callable
from typing import NamedTuple

from ..cost.listed import unlisted
from ..cost.price import Price
from ..simulator import PROFILES
from .pace import Latest
from .price_fields import PriceRow


class Asked(NamedTuple):
    """Which price is asked for."""

    name: str
    """The endpoint's URL, or a simulated profile's name."""
    model: str
    """"": the server's first."""
    prompt_tokens: int
    """Some prices depend on how long the prompt is."""


class UsualPrice:
    """Keeps a row at the price of the endpoint that is chosen; what was typed stays.

    Lists are read in a thread: that takes a second when it is done for the first time.

    Parameters
    ----------
    row : PriceRow
    asked : callable
        Returns what is chosen now.
    fixed : bool
        A price was given in code, and stays.
    """

    def __init__(self, row: PriceRow, asked: Callable[[], Asked], *, fixed: bool) -> None:
        self._row, self._asked, self._fixed = row, asked, fixed
        self.keep = False
        """Set once something was measured: it is not repriced when another endpoint is chosen."""
        self._found: tuple[Asked, Price | None, str] | None = None
        self._settled: Asked | None = None
        self._reader = Latest(self._read, "tpwidgets-price")

    def look(self) -> None:
        """Look up what is chosen by now; returns at once."""
        asked = self._asked()
        if self._fixed:
            return
        if asked.name in PROFILES:
            self._take(asked, of_profile(asked.name), "assumed for this simulated endpoint")
        else:
            self._take(asked, None, "")
            self._reader.wish(asked)

    def settle(self) -> None:
        """Take the price of the endpoint that is about to be measured."""
        self._settled = self._asked()
        self._put()

    def _read(self, asked: Asked) -> None:
        price = Price.listed(asked.name, asked.model or None, asked.prompt_tokens)
        if price is not None:
            self._take(asked, price, f"listed for {price.name} ({price.origin}); can be edited")
        elif why := unlisted(asked.name, asked.model or None):
            self._take(asked, None, why)

    def _take(self, asked: Asked, price: Price | None, said: str) -> None:
        if asked != self._asked():
            return
        known = self._found
        if price is None and not said and known is not None and known[0][:2] == asked[:2]:
            return  # it is being looked up again, for another length
        self._found = asked, price, said
        if not self.keep or asked == self._settled:
            self._put()

    def _put(self) -> None:
        if self._found is None or self._fixed or self._row.edited:
            return
        asked, price, said = self._found
        if asked[:2] == self._asked()[:2] and (price != self._row.value or price is None):
            self._row.set(price, said)


def of_profile(name: str) -> Price | None:
    """Return a simulated endpoint's price; a real one's is for its user to say, or listed."""
    profile = PROFILES.get(name)
    if profile is None:
        return None
    if profile.price_hour is not None:
        return Price.per_hour(profile.price_hour, profile.replicas)
    if profile.price_output is not None:
        return Price.per_token(profile.price_output, profile.price_input or 0.0)
    return None
