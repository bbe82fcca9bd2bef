"""Prepared: an endpoint about which all is settled that has to be before the first sample."""

import random
from dataclasses import dataclass, field
from math import sqrt
from typing import Any
from urllib.parse import quote

from .. import addresses
from ..protocols import WireProtocol
from ..workload.prompts import Calibration, Workload, prompt
from .discovery import Base
from .endpoint import Endpoint
from .mending import merged, renamed

_OBEYS = ("vllm", "llama.cpp", "sglang", "tpwidgets")
"""Servers that obey ``ignore_eos``: the output is exactly as long as asked."""


@dataclass
class Prepared:
    """An endpoint ready to be measured. Holds a key: never shown, never saved."""

    endpoint: Endpoint
    base: Base
    model: str
    protocol: WireProtocol
    headers: dict[str, str] = field(repr=False)
    renamed: dict[str, str] = field(default_factory=dict)
    """Body fields that this server wants under another name, or not at all ("")."""
    usage_told: bool = False
    """Whether the server counts tokens, and tells it with the answer."""
    dimensions: int | None = None
    """The length of a vector, if the answer is one."""
    calibration: Calibration = field(default_factory=Calibration)
    workload: Workload = field(default_factory=Workload)
    probe_ttft_s: float = 0.0

    @property
    def url(self) -> str:
        """Where requests are posted."""
        path = self.protocol.path.replace("{model}", quote(self.model, safe="/@:"))
        return self.endpoint.at(self.base.url, path)

    @property
    def most_tokens(self) -> tuple[int, int]:
        """How many prompt and output tokens one request takes, all its items together."""
        asked, batch = self.workload, self.workload.batch
        prompt_tokens = self.calibration.tokens(self.calibration.words(asked.prompt_tokens))
        prompts = 1 if self.protocol.batch == "n" else batch
        output_tokens = asked.output_tokens * batch if self.protocol.streamed else 0
        return prompt_tokens * prompts, output_tokens

    @property
    def spread_tokens(self) -> int:
        """By how much a prompt may be longer than the mean, where words take several tokens each.

        Three standard deviations, if what a word takes beyond its first token comes at random.
        """
        words = self.calibration.words(self.workload.prompt_tokens)
        return round(3 * sqrt(max(0.0, self.calibration.slope - 1) * words))

    def prefix(self) -> str:
        """Return what all prompts of a run begin with: other words in each run, or nothing."""
        shared = self.workload.shared_prefix_tokens
        if not shared:
            return ""
        words = max(1, round(shared / self.calibration.slope))
        return prompt(words, random.Random(), instructed=False)

    def body(self, text: str, output_tokens: int) -> dict[str, Any]:
        """Return the request body for one prompt."""
        body = self.protocol.body(self.model, text, output_tokens)
        if self.protocol.batch == "n" and self.workload.batch > 1:
            body["n"] = self.workload.batch
        body |= self.forced(output_tokens)
        return merged(renamed(body, self.renamed), self.endpoint.extra_body)

    def forced(self, output_tokens: int = 1) -> dict[str, Any]:
        """Return the fields by which the server is told to go on until the output is so long.

        A known public API gets none that it does not know; whoever says something about one of them
        says all about them.
        """
        fields = self.protocol.forced(output_tokens)
        if addresses.is_public(self.endpoint.url) or fields.keys() & self.endpoint.extra_body:
            return {}
        return fields

    @property
    def output_length(self) -> str | None:
        """Whether output is as long as asked: ``forced``, ``asked for`` or ``not forced``."""
        if not self.protocol.streamed:
            return None
        sent = self.body("", self.workload.output_tokens)
        if not any(sent.get(name) for name in self.protocol.forced(1)):
            return "not forced"
        return "forced" if self.base.server.name in _OBEYS else "asked for"
