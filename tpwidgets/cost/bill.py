"""What requests have cost by the token, as the server counted them."""

from collections.abc import Iterable

from ..samples import Sample
from .price import MILLION, Price


def bill(samples: Iterable[Sample], price: Price) -> float:
    """Return USD for requests at a price by the token, each by its own prompt's tier.

    What the server did not count is not in it.
    """
    return sum(_usd(sample, price.at(sample.prompt_tokens)) for sample in samples)


def _usd(sample: Sample, price: Price) -> float:
    prompt, output = sample.prompt_tokens or 0, sample.output_tokens or 0
    cached_pct = 100 * (sample.cached_tokens or 0) / prompt if prompt else None
    thought = (sample.reasoning_tokens or 0) / output if output else None
    return (prompt * price.input_at(cached_pct) + output * price.output_at(thought)) / MILLION
