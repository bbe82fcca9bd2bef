"""What public APIs ask for their models, from the data in `genai-prices`: nothing is fetched."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from .. import addresses
from .price import Price, Tier, exact_usd

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
_BESIDE = {
    "requests_kcount": "a fee per 1,000 requests",
    "output_citation_mtok": "a price per 1M tokens of citations",
}
"""What is charged for beside tokens that servers tell, and what that is."""


def listed(
    url: str, model: str | None = None, prompt_tokens: int = 0, *, batched: bool = False
) -> Price | None:
    """Return what a model costs at a public API as of now, or None where no list says so.

    Servers of one's own network have no price; none is guessed from the model they serve. Nor has
    a model of which more is charged for than tokens that are told: `unlisted` says so.

    Parameters
    ----------
    url : str
        Its host tells whose API it is.
    model : str, optional
        As the API names it; a date behind the name may be unknown. Azure's deployments have names
        of their own: a model's name within is taken, and the price's source says so. None: the
        model that the URL names.
    prompt_tokens : int
        Some prices depend on how long the prompt is: which is stated. What a run costs is by the
        prompts that it had.
    batched : bool
        Ask for the price of the API's batch tier.

    Returns
    -------
    Price or None
        By the token. The date in its `source` is that of the newest price in the data that is in
        force, of whatever model: when the data was made, the package does not say. Where a price
        depends on the hour it is that of now, and its source says of which hours that is.
    """
    found = _look_up(url, model, batched=batched)
    return found.at(prompt_tokens) if isinstance(found, Price) else None


def unlisted(url: str, model: str | None = None) -> str:
    """Say why a model that is listed has no price here; "" where it has one, or isn't listed."""
    found = _look_up(url, model, batched=False)
    return found if isinstance(found, str) else ""


def _look_up(url: str, model: str | None, *, batched: bool) -> Price | str | None:
    try:
        url = url if "://" in url else f"https://{url}"
        host, name = urlsplit(url).hostname or "", model or addresses.read(url).model
        if not host or not name or addresses.is_near(host):
            return None
        return _find(url, name, batched=batched)
    except (ImportError, LookupError, AttributeError, TypeError, ValueError):
        return None  # no such API or model, or another version of the package keeps it otherwise


def _find(url: str, model: str, *, batched: bool) -> Price | str | None:
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
        data = [f"genai-prices {version}", f"data of {date}" if date else ""]
        return _price(prices, label, [*data, *told, _hours(found.prices, now)])
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


def _hours(listed: Any, now: datetime) -> str:
    """Say at which hours the price of now holds; "" where it doesn't depend on the hour."""
    prices = _conditional(listed)
    when = [each.constraint for each in prices]
    active = [i for i, each in enumerate(when) if each is None or each.active(now)]
    chosen = max(active, default=0)  # the last one takes precedence
    timed = [each for each in when[chosen:] if hasattr(each, "start_time")]
    spans = [f"{hours.start_time:%H:%M} to {hours.end_time:%H:%M}" for hours in timed]
    if not spans:
        return ""
    if timed[0] is when[chosen]:
        return f"from {spans[0]} UTC"
    return f"outside of {' and '.join(spans)} UTC"


def _price(prices: Any, name: str, source: list[str]) -> Price | str | None:
    """Make a price of what is listed; None if that is not by the token (but by the hour, say).

    Return the reason if it is by more than tokens that are told.
    """
    for theirs, what in _BESIDE.items():
        if fee := getattr(prices, theirs, None):
            return f"{name} is listed with {what} beside its tokens: {exact_usd(float(fee))}"
    kinds = {ours: getattr(prices, theirs) for ours, theirs in _KINDS.items()}
    if kinds["input"] is None and kinds["output"] is None:
        return None
    starts = {tier.start for each in kinds.values() for tier in getattr(each, "tiers", ())}
    tiers = [Tier(above, **_above(kinds, above)) for above in sorted({0, *starts})]
    writes = getattr(prices, "cache_write_mtok", None)
    if writes is not None and writes != kinds["input"]:
        source = [*source, "cache writes priced as other input"]
    said = ", ".join(filter(None, source))
    lowest = Price.per_token(**_above(kinds, 0), source=said, name=name)
    return replace(lowest, tiers=tuple(tiers)) if starts else lowest


def _above(kinds: dict[str, Any], prompt_tokens: int) -> dict[str, Any]:
    """Return what is asked for prompts of more than so many tokens."""
    usd = {"input": 0.0, "output": 0.0}  # of vectors, say, there is no output
    for kind, each in kinds.items():
        if hasattr(each, "tiers"):  # in ascending order
            reached = [tier.price for tier in each.tiers if prompt_tokens >= tier.start]
            each = [each.base, *reached][-1]
        if each is not None:
            usd[kind] = float(each)
    return usd
