"""How an endpoint is spoken to and how it counts: what is settled before the first sample."""

import random
import re
import time
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any

from .cost import Price
from .discovery import Base, candidates, find_base
from .endpoints import Endpoint, http_client
from .engine.budget import Purse
from .errors import EndpointError
from .protocols import PROTOCOLS, Outcome, StreamReader, WireProtocol
from .refusals import check_stream, masked, no_model, refusal, sentences, timed_out, whole
from .workload import Calibration, Workload, prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

_FORCES_LENGTH = ("vllm", "llama.cpp", "sglang", "tpwidgets")
"""Servers that obey ``ignore_eos``: the output is exactly as long as asked."""


@dataclass
class Prepared:
    """An endpoint ready to be measured. Holds a key: never shown, never saved."""

    endpoint: Endpoint
    base: Base
    model: str
    protocol: WireProtocol
    headers: dict[str, str] = field(repr=False)
    extra: dict[str, Any] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    """Body fields that this server wants under another name."""
    calibration: Calibration = field(default_factory=Calibration)
    workload: Workload = field(default_factory=Workload)
    probe_ttft_s: float = 0.0

    @property
    def url(self) -> str:
        """Where requests are posted."""
        return self.endpoint.at(self.base.url, self.protocol.path)

    @property
    def most_tokens(self) -> tuple[int, int]:
        """How many prompt and output tokens one request takes, all its items together."""
        asked, batch = self.workload, self.workload.batch
        prompt_tokens = self.calibration.tokens(self.calibration.words(asked.prompt_tokens))
        prompts = 1 if self.protocol.batch == "n" else batch
        output_tokens = asked.output_tokens * batch if self.protocol.streamed else 0
        return prompt_tokens * prompts, output_tokens

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
        for old, new in self.renamed.items():
            if old in body:
                value = body.pop(old)
                if new:
                    body[new] = value
        return {**body, **self.extra, **self.endpoint.extra_body}


def prepare(
    endpoint: Endpoint,
    workload: Workload,
    timeout_s: float = 60.0,
    wanted: "Callable[[], bool]" = lambda: True,
    purse: Purse | None = None,
) -> Prepared:
    """Find base, model and protocol, check that answers stream, and calibrate the prompt length.

    Sends two to four short requests (a long prompt costs one request of that length), and no
    further one once `wanted` says no. They are paid from `purse`, if there is one.

    Raises
    ------
    EndpointError
        With one sentence that says what is wrong and what to do.
    SettingsError
        If the purse does not hold what they may cost.
    """
    with http_client(endpoint, timeout_s) as client, masked(endpoint):
        base = find_base(client, endpoint, timeout_s)
        model = _choose_model(endpoint, base)
        prober = _Prober(client, endpoint, base, model, timeout_s)
        prober.wanted, prober.purse = wanted, purse or prober.purse
        prepared = prober.first_contact(workload)
        prober.calibrate(prepared)
        return prepared


class _Prober:
    """Sends probing requests, mending what a server's first refusal asks for."""

    SHORT = 16
    """Words in the first of two prompts by which the server's counting is found out. The second is
    about as long as the prompts to be measured, so that their length is hit, not extrapolated."""

    def __init__(
        self, client: "httpx.Client", endpoint: Endpoint, base: Base, model: str, timeout_s: float
    ) -> None:
        self._client, self._endpoint, self._base = client, endpoint, base
        self._model, self._timeout_s = model, timeout_s
        self._rng = random.Random()
        self.wanted: Callable[[], bool] = lambda: True
        self.purse = Purse(inf, Price.per_token(0.0))
        self._output_tokens = 4

    def first_contact(self, workload: Workload) -> Prepared:
        """Return the endpoint with the protocol that it speaks, having seen it stream."""
        names = [self._endpoint.protocol] if self._endpoint.protocol else list(PROTOCOLS)
        bases = [self._base.url]
        if not self._base.models:
            bases = [url for url, _ in candidates(self._endpoint.url)]
        failure: EndpointError | None = None
        for url in bases:
            for name in names:
                self._base.url = url
                prepared = Prepared(
                    self._endpoint,
                    self._base,
                    self._model,
                    PROTOCOLS[name or "chat"],
                    self._endpoint.auth_headers(),
                    workload=workload,
                )
                if self._base.server in _FORCES_LENGTH:
                    prepared.extra["ignore_eos"] = True
                try:
                    self._short = self.probe(prepared, self.SHORT)
                except EndpointError as error:
                    # a base model has no chat template: its server has chat, and refuses it
                    if error.kind != "not_found" and "chat template" not in str(error).lower():
                        raise
                    failure = failure or error
                    continue
                if failure is not None:
                    self._base.notes.append(f"what answers is {name} at {prepared.base.url}")
                return prepared
        raise failure or EndpointError("No protocol to try.", "not_found")

    def calibrate(self, prepared: Prepared) -> None:
        """Find out how the server counts prompts; shorten one that its context can't hold."""
        if self._short.usage.prompt_tokens is None:
            self._base.notes.append(
                "the server sends no usage: token counts are estimated (a chunk taken for a token, "
                "a word for a prompt token)"
            )
        else:
            self._fit(prepared, max(3 * self.SHORT, min(512, prepared.workload.prompt_tokens)))
        self._fit_context(prepared)
        asked = prepared.workload.prompt_tokens
        if prepared.calibration.counted and asked > 512:
            self._fit(prepared, prepared.calibration.words(asked))
        sent = prepared.calibration.tokens(prepared.calibration.words(asked))
        if abs(sent - asked) > max(1, prepared.calibration.slope / 2, 0.02 * asked):
            self._base.notes.append(
                f"the server's template alone is longer than {asked} prompt tokens: sent {sent}"
            )

    def _fit(self, prepared: Prepared, words: int) -> None:
        """Fit the server's counting through the short prompt and one of so many words."""
        first = self._short.usage.prompt_tokens
        while True:
            try:
                second = self.probe(prepared, words).usage.prompt_tokens
                break
            except EndpointError as error:
                words //= 2  # words may be several tokens each: what was asked for may still fit
                if error.kind != "context" or words <= self.SHORT:
                    raise
        if first is not None and second is not None and second > first:
            prepared.calibration = Calibration.fit((self.SHORT, first), (words, second))
        else:
            self._base.notes.append(
                "the server does not count the whole prompt: its length is estimated"
            )

    def _fit_context(self, prepared: Prepared) -> None:
        """Shorten what the server's context can't hold, by what it says when it refuses."""
        limit = self._base.context
        if limit and _total(prepared.workload) <= limit:
            return
        for _ in range(8):
            words = prepared.calibration.words(prepared.workload.prompt_tokens)
            try:
                self.probe(prepared, words, prepared.workload.output_tokens, head_only=True)
            except EndpointError as error:
                if error.kind != "context":
                    raise
                said = str(error)
            else:
                return
            self._shrink(prepared, said)
        raise EndpointError(said, "context")

    def _shrink(self, prepared: Prepared, said: str) -> None:
        was = prepared.workload
        room = _room(said, was, self._base.context)
        output = min(was.output_tokens, max(1, room // 2))
        prompt_tokens = max(1, min(room - output, was.prompt_tokens))
        shared = min(was.shared_prefix_tokens, prompt_tokens - 1)
        fits = replace(
            was, prompt_tokens=prompt_tokens, output_tokens=output, shared_prefix_tokens=shared
        )
        if fits == was or room < 2:
            raise EndpointError(said, "context")
        prepared.workload = fits
        self._base.notes = [n for n in self._base.notes if not n.startswith("too long")]
        self._base.notes.append(
            f"too long for the model's context, so measured at {fits.prompt_tokens} prompt and "
            f"{fits.output_tokens} output tokens; the server said: {said}"
        )

    def probe(
        self, prepared: Prepared, words: int, output_tokens: int = 0, *, head_only: bool = False
    ) -> Outcome:
        """Send one request and read its stream; mend the request once per refused field."""
        text = prompt(words, self._rng, instructed=prepared.workload.instructed)
        for _ in range(len(_MENDS) + 2):
            if not self.wanted():
                raise EndpointError("Stopped while the endpoint was being asked.", "stopped")
            asked = output_tokens or self._output_tokens
            body = prepared.body(text, asked)
            items = prepared.workload.batch if prepared.protocol.batch == "n" else 1
            held_usd = self.purse.hold(prepared.calibration.tokens(words), asked * items)
            try:
                return self._stream(prepared, body, held_usd, head_only=head_only)
            except EndpointError as error:
                if error.kind == "empty_stream" and self._output_tokens < _THINKING_TOKENS:
                    output_tokens = self._output_tokens = _THINKING_TOKENS
                elif error.kind not in ("http", "model") or not _mend(prepared, str(error)):
                    raise
        raise EndpointError("The server refused every form of the request.", "http")

    def _stream(
        self, prepared: Prepared, body: dict[str, Any], held_usd: float, *, head_only: bool
    ) -> Outcome:
        reader = StreamReader(prepared.protocol)
        deadline = time.monotonic() + self._timeout_s
        sent = time.monotonic()
        with (
            sentences(self._endpoint, self._timeout_s),
            self._client.stream(
                "POST", prepared.url, json=body, headers=prepared.headers
            ) as response,
        ):
            if response.status_code != 200:
                self.purse.settle(held_usd, 0.0)
                refused = whole(response, self._endpoint, self._timeout_s)
                raise refusal(refused, self._endpoint, self._model, self._base.models)
            kind = response.headers.get("content-type", "")
            raw = bytearray()
            for chunk in response.iter_raw():
                reader.feed(chunk, time.monotonic_ns())
                if len(raw) < 100_000:
                    raw += chunk
                if reader.outcome.token_ns and not prepared.probe_ttft_s:
                    prepared.probe_ttft_s = time.monotonic() - sent
                if head_only and reader.outcome.token_ns:
                    break  # the server took it: leaving ends the answer
                if time.monotonic() > deadline:
                    raise timed_out(self._endpoint, self._timeout_s)
        outcome = reader.finish(time.monotonic_ns())
        usage = outcome.usage
        if usage.prompt_tokens is not None:
            tariff = self.purse.tariff(usage.prompt_tokens, usage.output_tokens or 0)
            self.purse.settle(held_usd, tariff.most_usd)
        check_stream(outcome, bytes(raw), kind, self._endpoint)
        return outcome


_THINKING_TOKENS = 256
"""A model that thinks in secret has used up a few tokens before it says one."""

_MENDS = (
    # (a word in the refusal, the field it means, the field to send instead; "" leaves it out)
    ("max_completion_tokens", "max_tokens", "max_completion_tokens"),
    ("stream_options", "stream_options", ""),
    ("ignore_eos", "ignore_eos", ""),
)


def _mend(prepared: Prepared, said: str) -> bool:
    for word, old, new in _MENDS:
        if word in said and old not in prepared.renamed:
            prepared.renamed[old] = new
            prepared.extra.pop(old, None)
            prepared.base.notes.append(f"the server refused {old}: sent {new or 'without it'}")
            return True
    return False


def _total(workload: Workload) -> int:
    return workload.prompt_tokens + workload.output_tokens


_LIMIT = r"(?:context|max_model_len|n_ctx|maximum|limit|at most|up to|<=)\D{0,40}?(\d{2,9})"
"""How servers name what they can hold: "maximum context length is 2048 tokens"."""


def _room(said: str, was: Workload, context: int | None) -> int:
    """Return how many tokens prompt and output may have together, by the server's own words."""
    said = re.sub(r"(?<=\d),(?=\d{3})", "", said)
    total = _total(was)
    named = re.findall(_LIMIT, said, re.IGNORECASE) + re.findall(r"(\d+) maximum", said)
    # else the largest number that is clearly below what was asked
    numbers = named or [n for n in re.findall(r"\d+", said) if int(n) < 0.95 * was.prompt_tokens]
    below = [n for n in map(int, numbers) if 16 <= n < total]
    if context and context < total:
        below, named = [context], [str(context)]
    room = (min if named else max)(below) if below else total // 2
    return room - 8  # a little for a chat template that is counted otherwise at the limit


def _choose_model(endpoint: Endpoint, base: Base) -> str:
    where, name = endpoint.label, endpoint.model
    if name is None:
        if not base.models:
            why = f" ({base.unlisted})" if base.unlisted else ""
            raise EndpointError(
                f"{where} lists no models{why}: check the URL, or name a model (model=...).",
                base.unlisted.kind if base.unlisted else "model",
            )
        name = base.models[0]
    elif base.models and name not in base.models:
        raise no_model(where, name, base.models)
    base.context = base.context or base.contexts.get(name)
    return name
