"""What public APIs ask for their models, from the data in `genai-prices`: nothing is fetched."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from .. import addresses
from .price import Price

_PATH = re.compile(r"^(?:.*/)?models/")
"""What some APIs write before a model's name: ``models/``, ``accounts/NAME/models/``."""
_DATE = re.compile(r"-20\d\d-?\d\d-?\d\d$")
_BATCH = {"processing": "batch"}
_KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "reasoning": "output_reasoning_mtok",
}
"""What we call each price by the token, and what the list calls it."""


def listed(
    url: str, model: str | None = None, prompt_tokens: int = 0, *, batched: bool = False
) -> Price | None:
    """Return what a model costs at a public API as of now, or None where no list says so.

    Servers of one's own network have no price; none is guessed from the model they serve.

    Parameters
    ----------
    url : str
        Its host tells whose API it is.
    model : str, optional
        As the API names it; a date behind the name may be unknown. Azure's deployments have names
        of their own: a model's name within is taken, and the price's source says so. None: the
        model that the URL names.
    prompt_tokens : int
        Some prices depend on how long the prompt is.
    batched : bool
        Ask for the price of the API's batch tier.

    Returns
    -------
    Price or None
        By the token. Its `date` is that of the newest price in the data that is in force: when
        the data was made, the package does not say.
    """
    try:
        url = url if "://" in url else f"https://{url}"
        host, name = urlsplit(url).hostname or "", model or addresses.read(url).model
        if not host or not name or addresses.is_near(host):
            return None
        return _find(url, name, prompt_tokens, batched=batched)
    except (ImportError, LookupError, AttributeError, TypeError, ValueError):
        return None  # no such API or model, or another version of the package keeps it otherwise


def _find(url: str, model: str, prompt_tokens: int, *, batched: bool) -> Price | None:
    snapshot, version, date = _data()
    parts = urlsplit(url)
    provider = snapshot.find_provider(None, None, f"https://{parts.hostname}{parts.path}")
    for name, told in _names(model, deployment=addresses.is_azure(url)):
        found = provider.find_model(name, all_providers=snapshot.providers)
        if found is None:
            continue
        now = datetime.now(UTC)
        prices, label = found.get_prices(now), f"{provider.id} {found.id}"
        if batched:
            own = any(found is each for each in provider.models)  # not what another API takes off
            in_batch = found.get_prices(now, _BATCH) if own else prices
            if in_batch == prices:
                return None
            prices, told, label = in_batch, [*told, "batch tier"], f"{label} (batch)"
        return _price(prices, prompt_tokens, [f"genai-prices {version}", *told], date, label)
    return None


@cache
def _data() -> tuple[Any, str, str]:
    """Load the data that came with the package, its version, and the date of its newest price."""
    from importlib.metadata import version

    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    begins = {
        price.constraint.start_date.isoformat()
        for provider in providers
        for model in provider.models
        for price in [*_conditional(model.prices), *(model.price_variants or ())]
        if hasattr(price.constraint, "start_date")
    }
    today = datetime.now(UTC).date().isoformat()
    date = max((begun for begun in begins if begun <= today), default="")
    return DataSnapshot(providers, from_auto_update=False), version("genai-prices"), date


def _conditional(prices: Any) -> list[Any]:
    return prices if isinstance(prices, list) else []


def _names(model: str, *, deployment: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield what a model may be listed as, and what a reader has to know if that is a guess."""
    name = _PATH.sub("", model)
    for listed_as in dict.fromkeys((model, name, _DATE.sub("", name))):
        yield listed_as, []
    if not deployment:
        return
    parts = re.split(r"[-_]", name.lower())
    for length in range(len(parts), 0, -1):
        for first in range(len(parts) - length + 1):
            within = "-".join(parts[first : first + length])
            if re.search(r"[a-z].*\d", within):  # "ada" may be a colleague
                yield within, [f"taken for {within} by its deployment's name"]


def _price(
    prices: Any, prompt_tokens: int, source: list[str], date: str, name: str
) -> Price | None:
    """Make a price of what is listed; None if that is not by the token (but by the hour, say)."""
    found = {ours: _tier(getattr(prices, theirs), prompt_tokens) for ours, theirs in _KINDS.items()}
    usd = {ours: float(each) for ours, (each, _) in found.items() if each is not None}
    if not usd.keys() & {"input", "output"}:
        return None
    if above := max(start for _, start in found.values()):
        source = [*source, f"prompts above {above:,} tokens"]
    usd.setdefault("output", 0.0)  # of vectors, say
    return Price.per_token(**usd, source=", ".join(source), date=date, name=name)


def _tier(price: Any, prompt_tokens: int) -> tuple[Any, int]:
    """Return what is asked for prompts of this length, and from how many tokens on."""
    start = 0
    if hasattr(price, "tiers"):
        tiers, price = price.tiers, price.base
        for tier in tiers:  # in ascending order
            if prompt_tokens > tier.start:
                start, price = tier.start, tier.price
    return price, start
