"""Continuous batching with known physics: the scheduler, without a clock of its own.

Whoever holds a clock drives it: real time behind the HTTP server, virtual time for planning.
All times are seconds on the driver's clock.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from .profiles import Profile

BLOCK = 16
"""Tokens per block of the prefix cache, as in vLLM."""


@dataclass(eq=False, slots=True)
class Request:
    """A request as the scheduler sees it: counts, no text."""

    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    """Chained hashes of the prompt's full blocks: equal hashes, equal prefixes."""
    cached_tokens: int = 0
    prefilled: int = 0
    generated: int = 0
    cancelled: bool = False

    @property
    def finished(self) -> bool:
        """Whether the last token has been generated."""
        return self.generated == self.output_tokens

    @property
    def kv_tokens(self) -> int:
        """The KV cache that it can come to need."""
        return self.prompt_tokens + self.output_tokens


class Step(NamedTuple):
    """What one iteration of the engine cost and brought."""

    duration_s: float
    emitted: list[Request]
    """The requests that have one more token when the step ends."""


@dataclass(eq=False)
class Engine:
    """An inference engine with iteration-level (continuous) batching and chunked prefill.

    Each step serves the running requests first come, first served, with one token each, or with
    as much of their prompt as the step's token limit leaves; then admits waiting ones, in order,
    while sequences and KV cache last. KV cache is reserved in full at admission, so that, other
    than in vLLM, nothing is ever preempted.
    """

    profile: Profile
    seed: int = 0
    running: list[Request] = field(default_factory=list, init=False)
    kv_reserved: int = field(default=0, init=False)
    _arriving: list[tuple[float, int, Request]] = field(default_factory=list, init=False)
    _waiting: deque[Request] = field(default_factory=deque, init=False)
    _cache: OrderedDict[int, None] = field(default_factory=OrderedDict, init=False)
    _submitted: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def submit(self, request: Request, now: float) -> None:
        """Take a request in; it reaches the queue once the front end has worked on it.

        Raises
        ------
        ValueError
            If it asks for nothing, or could never fit the KV cache.
        """
        if request.prompt_tokens < 1 or request.output_tokens < 1:
            raise ValueError("a request needs at least one prompt token and one output token")
        if request.kv_tokens > self.profile.kv_tokens:
            raise ValueError(
                f"{request.kv_tokens} tokens cannot fit the KV cache of {self.profile.kv_tokens}"
            )
        front_s = self.profile.front_ms / 1000 * self._noise(self.profile.front_sigma)
        self._submitted += 1
        heappush(self._arriving, (now + front_s, self._submitted, request))

    def cancel(self, request: Request) -> None:
        """Drop a request wherever it stands; a finished one is left alone."""
        if request.cancelled or request.finished:
            return
        request.cancelled = True
        if request in self.running:
            self.running.remove(request)
            self.kv_reserved -= request.kv_tokens

    def wake_at(self, now: float) -> float | None:
        """Return when the next step can begin (`now` or later), or None if there is no work."""
        while self._waiting and self._waiting[0].cancelled:
            self._waiting.popleft()
        if self.running or self._waiting:
            return now
        while self._arriving and self._arriving[0][2].cancelled:
            heappop(self._arriving)
        return max(now, self._arriving[0][0]) if self._arriving else None

    def step(self, now: float) -> Step:
        """Run one iteration that begins `now`; its tokens are out when it ends."""
        while self._arriving and self._arriving[0][0] <= now:
            self._waiting.append(heappop(self._arriving)[2])
        profile = self.profile
        budget = profile.step_tokens
        batch = context = prefill = 0
        emitted: list[Request] = []
        while budget and (batch < len(self.running) or self._admit()):
            request = self.running[batch]
            batch += 1
            chunk = min(budget, request.prompt_tokens - request.prefilled)
            budget -= chunk or 1
            prefill += chunk
            request.prefilled += chunk
            context += request.prefilled + request.generated
            if request.prefilled == request.prompt_tokens:
                if chunk:
                    self._remember(request)
                request.generated += 1
                emitted.append(request)
                if request.finished:
                    self.kv_reserved -= request.kv_tokens
        self.running = [request for request in self.running if not request.finished]
        cost_ms = (
            profile.fixed_ms + profile.per_sequence_ms * batch + profile.per_kv_token_ms * context
        )
        seconds = cost_ms / 1000 + prefill / profile.prefill_rate
        return Step(seconds * self._noise(profile.noise_sigma), emitted)

    def _admit(self) -> bool:
        """Move the head of the queue into the batch, if there is one and it fits."""
        while self._waiting and self._waiting[0].cancelled:
            self._waiting.popleft()
        if not self._waiting or len(self.running) >= self.profile.max_sequences:
            return False
        request = self._waiting[0]
        if self.kv_reserved + request.kv_tokens > self.profile.kv_tokens:
            return False
        self._waiting.popleft()
        self.running.append(request)
        self.kv_reserved += request.kv_tokens
        self._recall(request)
        return True

    def _recall(self, request: Request) -> None:
        """Skip the part of the prompt whose blocks are cached; one token is always computed."""
        hits = 0
        for block in request.blocks[: (request.prompt_tokens - 1) // BLOCK]:
            if block not in self._cache:
                break
            self._cache.move_to_end(block)
            hits += 1
        request.cached_tokens = request.prefilled = hits * BLOCK

    def _remember(self, request: Request) -> None:
        for block in request.blocks:
            self._cache[block] = None
            self._cache.move_to_end(block)
        while len(self._cache) > self.profile.cache_tokens // BLOCK:
            self._cache.popitem(last=False)

    def _noise(self, sigma: float) -> float:
        """Return a factor around 1 (a lognormal of mean 1)."""
        return self._random.lognormvariate(-sigma * sigma / 2, sigma) if sigma else 1.0
