"""The OpenAI embeddings protocol: a list of texts in, a vector for each out, in one piece."""

from typing import Any, TypedDict

import msgspec

from .base import WireProtocol
from .openai import usage_of
from .outcome import Outcome
from .whole_body import BodyParser


class _Item(msgspec.Struct, gc=False):
    embedding: msgspec.Raw


class _Body(TypedDict, total=False):
    data: list[_Item]
    usage: Any
    error: Any


class Embeddings(WireProtocol):
    """POST {base}/embeddings."""

    name = "embeddings"
    title = "OpenAI embeddings"
    path = "embeddings"
    prompt_at = ("input",)
    parser = BodyParser
    streamed = False
    batch = "prompts"
    # the numbers are passed over: a million of them would take longer than some answers do
    decode = msgspec.json.Decoder(_Body).decode

    def body(self, model: str, prompt: str, output_tokens: int) -> dict[str, Any]:  # noqa: ARG002
        """Return a request; nothing is written, so that `output_tokens` has no meaning."""
        return {"model": model, "input": prompt}

    def read(self, said: Any, stamp_ns: int, outcome: Outcome) -> None:  # noqa: ARG002
        """Count the vectors; raises if there is none."""
        # the long way (NaN is no JSON to msgspec) leads to dicts
        items = said["data"]
        vectors = [item if isinstance(item, _Item) else item["embedding"] for item in items]
        if not vectors:
            raise LookupError("no embeddings")
        outcome.usage = usage_of(said.get("usage")) or outcome.usage
        outcome.items = len(vectors)
        outcome.done = True
