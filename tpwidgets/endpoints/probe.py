"""How an endpoint is spoken to and how it counts: what is settled before the first sample."""

import json
import random
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import addresses
from ..errors import EndpointError, SettingsError
from ..masking import is_secret_name
from ..protocols import PROTOCOLS, Outcome, StreamReader, WireProtocol
from ..workload.prompts import Calibration, Workload, prompt
from .discovery import Base, find_base, look_at
from .endpoint import Endpoint, http_client
from .fitting import shortened, total
from .mending import Mender, fewest_tokens
from .prepared import Prepared
from .refusals import check_stream, masked, no_model, refusal, sentences, timed_out, whole
from .servers import told_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from ..engine.budget import Purse

_EMBEDS = re.compile(r"embed", re.IGNORECASE)
_NO_TEXT = re.compile(r"embed|whisper|tts|dall-e|rerank|moderation|image|sora", re.IGNORECASE)
"""Models that write no text, by their names."""


def prepare(
    endpoint: Endpoint,
    workload: Workload,
    timeout_s: float = 60.0,
    wanted: "Callable[[], bool]" = lambda: True,
    purses: "Sequence[Purse]" = (),
) -> Prepared:
    """Find base, model and protocol, check that answers stream, and calibrate the prompt length.

    Sends two to four short requests (a long prompt costs one request of that length), and no
    further one once `wanted` says no. They are paid from `purses`, each of them.

    Raises
    ------
    EndpointError
        With one sentence that says what is wrong and what to do.
    SettingsError
        If a purse does not hold what they may cost, or for a batch that can't be asked for.
    """
    with http_client(endpoint, timeout_s) as client, masked(endpoint):
        base = find_base(client, endpoint, timeout_s)
        look_at(client, base, endpoint, timeout_s)
        base.notes += _in_clear(endpoint)
        model = _choose_model(endpoint, base)
        prober = _Prober(client, endpoint, base, model, timeout_s)
        prober.wanted, prober.purses = wanted, purses
        prepared = prober.first_contact(workload)
        if workload.batch > 1 and not prepared.protocol.batch:
            raise SettingsError(
                f"batch={workload.batch}: {prepared.protocol.title} (protocol="
                f"{prepared.protocol.name!r}) has one item per request: set batch=1."
            )
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
        self.purses: Sequence[Purse] = ()
        self._per_word = 1.0
        """Prompt tokens a word, at most, as long as the server's counting is not known."""
        self._output_tokens = 4
        self._first = b""
        """All that came of the last answer until its first token was there."""
        self._found_url = base.url

    def first_contact(self, workload: Workload) -> Prepared:
        """Return the endpoint with the protocol that it speaks, having seen it stream."""
        failure: EndpointError | None = None
        for protocol in self._protocols():
            for url, mended in self._bases(protocol):
                self._base.url = url
                prepared = Prepared(
                    self._endpoint,
                    self._base,
                    self._model,
                    protocol,
                    self._endpoint.auth_headers(protocol),
                    workload=workload,
                )
                try:
                    self._short = self.probe(prepared, self.SHORT)
                except EndpointError as error:
                    if error.kind != "not_found" and not _is_otherwise(error):
                        raise
                    failure = failure or error
                    continue
                if mended:
                    self._base.notes.append(f"the URL was mended ({mended}): {url}")
                if failure is not None:
                    self._base.notes.append(f"what answers is {protocol.title} at {url}")
                self._note_length(prepared)
                counted = self._short.usage.prompt_tokens
                prepared.usage_told = counted is not None
                self._per_word = max(1.0, (counted or 0) / self.SHORT)
                return prepared
        raise failure or EndpointError("No protocol to try.", "not_found")

    def _protocols(self) -> list[WireProtocol]:
        """Return the protocol that is named, or all, the likeliest first."""
        named = self._base.protocol
        if named is None:
            embeds = _EMBEDS.search(self._model) is not None
            usual = next(iter(PROTOCOLS.values()))
            # whoever lists models as OpenAI does speaks one of the protocols that stand beside it
            spoken = [p for p in PROTOCOLS.values() if p.version == usual.version]
            protocols = spoken if self._base.models else PROTOCOLS.values()
            return sorted(protocols, key=lambda protocol: protocol.streamed == embeds)
        if self._endpoint.protocol:
            return [named]
        others = PROTOCOLS.values()
        return [named, *(p for p in others if p is not named and p.streamed == named.streamed)]

    def _note_length(self, prepared: Prepared) -> None:
        """Note that a server writes more, or fewer choices, than it is asked for."""
        items = prepared.workload.batch if prepared.protocol.batch == "n" else 1
        came = len(self._short.choices)
        if 0 < came < items:
            self._base.notes.append(f"the server does not mind n: {came} of {items} choices came")
        asked = self._output_tokens * items
        written = self._short.usage.output_tokens or len(self._short.token_ns)
        if written > 2 * asked + 16:
            self._base.notes.append(
                f"the server does not mind the output length: {asked} tokens were asked for, "
                f"{written} came"
            )

    def _bases(self, protocol: WireProtocol) -> list[tuple[str, str]]:
        """Return the base URLs at which a protocol may be spoken, and what was mended."""
        base, answered = self._base, self._base.protocol or next(iter(PROTOCOLS.values()))
        if base.models and protocol.version == answered.version:
            return [(self._found_url, base.mended)]
        return addresses.candidates(self._endpoint.url, protocol)

    def calibrate(self, prepared: Prepared) -> None:
        """Find out how the server counts prompts; shorten one that its context can't hold."""
        if not prepared.usage_told:
            chunk = "a chunk taken for a token, " if prepared.protocol.streamed else ""
            self._base.notes.append(
                f"the server sends no usage: token counts are estimated ({chunk}a word for a "
                "prompt token)"
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
        writes = prepared.protocol.streamed
        if limit and total(prepared.workload, writes=writes) <= limit:
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
                if limit and total(prepared.workload, writes=writes) > limit:
                    self._base.notes.append(
                        f"prompt and output together are longer than the model's context ({limit} "
                        "tokens), and the server takes them: it may cut either"
                    )
                return
            self._shrink(prepared, said)
        raise EndpointError(said, "context")

    def _shrink(self, prepared: Prepared, said: str) -> None:
        fits = shortened(
            prepared.workload, said, self._base.context,
            writes=prepared.protocol.streamed, spread_tokens=prepared.spread_tokens,
        )  # fmt: skip
        prepared.workload = fits
        self._base.notes = [n for n in self._base.notes if not n.startswith("too long")]
        output = f" and {fits.output_tokens} output" if prepared.protocol.streamed else ""
        self._base.notes.append(
            f"too long for the model's context, so measured at {fits.prompt_tokens} prompt{output} "
            f"tokens; the server said: {said}"
        )

    def probe(
        self, prepared: Prepared, words: int, output_tokens: int = 0, *, head_only: bool = False
    ) -> Outcome:
        """Send one request and read its stream; mend the request once per refused field."""
        text = prompt(words, self._rng, instructed=prepared.workload.instructed)
        mender = Mender(prepared)
        for _ in range(_TRIES):
            if not self.wanted():
                raise EndpointError("Stopped while the endpoint was being asked.", "stopped")
            asked = output_tokens or self._output_tokens
            body = prepared.body(text, asked)
            items = prepared.workload.batch if prepared.protocol.batch == "n" else 1
            most = self._prompt_tokens(prepared, words), asked * items
            held = [purse.hold(*most) for purse in self.purses]
            try:
                outcome = self._stream(prepared, body, held, head_only=head_only)
            except EndpointError as error:
                longest = max(_THINKING_TOKENS, prepared.workload.output_tokens)
                if error.kind == "empty_stream" and asked < longest:
                    more = _THINKING_TOKENS if asked < _THINKING_TOKENS else longest
                    output_tokens = self._output_tokens = more
                elif getattr(error, "status", None) not in (400, 422):
                    raise
                elif fewest := fewest_tokens(str(error), asked):
                    output_tokens = self._output_tokens = fewest
                    self._lengthen(prepared, fewest)
                elif error.kind not in ("http", "model") or not mender.mend(error):
                    raise
            else:
                mender.accepted()
                if text[:_ECHOED].encode() in self._first and _ECHO not in self._base.notes:
                    self._base.notes.append(_ECHO)
                return outcome
        raise EndpointError("The server refused every form of the request.", "http")

    def _settle(self, held: list[float], prompt_tokens: int, output_tokens: int) -> None:
        for purse, amount in zip(self.purses, held, strict=True):
            purse.settle(amount, purse.tariff(prompt_tokens, output_tokens).most)

    def _lengthen(self, prepared: Prepared, fewest: int) -> None:
        """Ask for as many output tokens as the server makes at least."""
        if prepared.workload.output_tokens < fewest:
            prepared.workload = replace(prepared.workload, output_tokens=fewest)
            self._base.notes.append(
                f"the server makes at least {fewest} output tokens: measured with so many"
            )

    def _prompt_tokens(self, prepared: Prepared, words: int) -> int:
        known = prepared.calibration
        return known.tokens(words) if known.counted else round(self._per_word * words)

    def _stream(
        self, prepared: Prepared, body: dict[str, Any], held: list[float], *, head_only: bool
    ) -> Outcome:
        several = prepared.protocol.batch == "n" and prepared.workload.batch > 1
        reader = StreamReader(prepared.protocol, several=several)
        deadline = time.monotonic() + self._timeout_s
        sent = time.monotonic()
        with (
            sentences(self._endpoint, self._timeout_s),
            self._client.stream(
                "POST", prepared.url, json=body, headers=prepared.headers
            ) as response,
        ):
            if response.status_code != 200:
                self._settle(held, 0, 0)
                refused = whole(response, self._endpoint, self._timeout_s)
                raise refusal(refused, self._endpoint, self._model, self._base.models)
            kind = response.headers.get("content-type", "")
            self._base.server = told_by(response.headers, self._base.server)
            raw = bytearray()
            for chunk in response.iter_raw():
                begun = bool(reader.outcome.token_ns)
                reader.feed(chunk, time.monotonic_ns())
                if len(raw) < _KEPT:
                    raw += chunk
                if reader.outcome.token_ns and not begun:
                    self._first = bytes(raw)
                if reader.outcome.token_ns and not prepared.probe_ttft_s:
                    prepared.probe_ttft_s = time.monotonic() - sent
                if head_only and reader.outcome.token_ns:
                    break  # the server took it: leaving ends the answer
                if len(reader.outcome.token_ns) > _ENDLESS:
                    break  # it minds no length that it is asked for
                if time.monotonic() > deadline:
                    raise timed_out(self._endpoint, self._timeout_s)
        outcome = reader.finish(time.monotonic_ns())
        usage = outcome.usage
        if usage.prompt_tokens is not None:
            self._settle(held, usage.prompt_tokens, usage.output_tokens or 0)
        streamed = prepared.protocol.streamed
        check_stream(outcome, bytes(raw), kind, self._endpoint, streamed=streamed)
        if not streamed:
            prepared.dimensions = _dimensions(bytes(raw))
            prepared.probe_ttft_s = prepared.probe_ttft_s or time.monotonic() - sent
        return outcome


_OTHERWISE = re.compile(r"(?i)chat template|does(n't| not) support|not a chat model|embedding")
"""What servers say that have a protocol and whose model does not: base models, those that embed."""
_UNFIT = None, 400, 404, 405, 422, 501
"""Statuses under which they say so; None: in the stream. Others are about key, load or failure."""
_THINKING_TOKENS = 256
"""A model that thinks in secret has used up a few tokens before it says one."""
_ECHOED = 60
"""So many characters of the prompt in one piece are no model's words: those come one by one."""
_ECHO = (
    "the server repeats the prompt as the first piece of its answer: TTFT is the time to that, not "
    "to a token"
)
_ENDLESS = 2048
"""So many chunks are no answer to a probe."""
_KEPT = 1_000_000
"""So much of an answer is kept (bytes): enough for a vector."""
_TRIES = 8
"""How often one request is mended, at most."""


def _is_otherwise(error: EndpointError) -> bool:
    return error.status in _UNFIT and _OTHERWISE.search(str(error)) is not None


def _in_clear(endpoint: Endpoint) -> list[str]:
    """Return a note if a key travels to another machine without TLS."""
    parts = urlsplit(endpoint.url)
    sent = endpoint.key or endpoint.secret_query or any(map(is_secret_name, endpoint.headers))
    if not sent or parts.scheme == "https" or endpoint.local:
        return []
    return [f"the key goes to {parts.hostname} unencrypted"]


def _dimensions(answer: bytes) -> int | None:
    """Return the length of the first vector in an answer, if it has one."""
    try:
        return len(json.loads(answer)["data"][0]["embedding"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _choose_model(endpoint: Endpoint, base: Base) -> str:
    where, name = endpoint.label, endpoint.model or addresses.read(endpoint.url).model
    if name is None:
        if not base.models:
            why = f" ({base.unlisted})" if base.unlisted else ""
            raise EndpointError(
                f"{where} lists no models{why}: check the URL, or name a model (model=...).",
                base.unlisted.kind if base.unlisted else "model",
            )
        writes = base.protocol is None or base.protocol.streamed
        kind = _NO_TEXT if writes else _EMBEDS
        fit = [name for name in base.models if (kind.search(name) is None) is writes]
        name = (fit or base.models)[0]
    name = name.removeprefix("models/")  # Gemini's list says so, its paths do anyway
    if base.models and base.complete and not {name, f"{name}:latest"} & set(base.models):
        raise no_model(where, name, base.models)
    base.context = base.context or base.contexts.get(name)
    return name
