"""The simulated endpoint as an HTTP server. Standard library only; it writes its own bytes.

It shares no code with the client: a test that shares a bug with what it tests proves nothing.
"""

import hmac
import json
import time
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any, TextIO

from . import prompts
from .connection import Connection
from .embeddings import Embeddings
from .http1 import Message, Refusal
from .limits import RateLimiter
from .physics import Engine, Request
from .profiles import Profile
from .realtime import RealTime
from .reply import Mishap, Reply
from .wire import Answer, Written
from .wire_events import Messages, Responses

if TYPE_CHECKING:
    from collections.abc import Callable


_NAMED_EVENTS: dict[str, type[Responses | Messages]] = {
    "/v1/responses": Responses,
    "/v1/messages": Messages,
}


class App:
    """The endpoint: what it serves, and to whom.

    Parameters
    ----------
    profile : Profile
        What to simulate.
    speed : float
        All durations are divided by it.
    seed : int
        Seeds the noise, the jitter and the faults.
    log : TextIO or None
        Gets a JSON line per request.
    api_key : str or None
        Required of every request below /v1, if given.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        speed: float = 1.0,
        seed: int = 0,
        log: TextIO | None = None,
        api_key: str | None = None,
    ) -> None:
        self.profile = profile
        self._speed = speed
        self._clock = RealTime(Engine(profile, seed), speed)
        self.connections: set[Connection] = set()
        self._limiter = profile.rate_limit and RateLimiter(profile.rate_limit, speed)
        self._random = Random(seed)
        self._log = log
        self._api_key = api_key
        self._started = int(time.time())
        self._count = 0
        self._routes: dict[str, tuple[str, Callable[[Connection, Message, str, int], None]]] = {
            "/health": ("GET", self._health),
            "/version": ("GET", self._version),
            "/v1/models": ("GET", self._models),
            "/v1/chat/completions": ("POST", self._generate),
            "/v1/completions": ("POST", self._generate),
            "/v1/responses": ("POST", self._generate),
            "/v1/messages": ("POST", self._generate),
            "/v1/embeddings": ("POST", self._embed),
        }

    def connect(self) -> Connection:
        """Return the protocol for a new connection."""
        return Connection(self._handle, self.connections)

    def _handle(self, connection: Connection, message: Message) -> None:
        """Answer a request, or see to it that it will be."""
        received = time.perf_counter_ns()
        self._count += 1
        request_id = message.headers.get("x-request-id", f"sim-{self._count}")
        try:
            if message.path not in self._routes:
                raise Refusal(404, "Not Found", kind="Not Found")
            method, handler = self._routes[message.path]
            if message.method != method:
                raise Refusal(405, "Method Not Allowed", headers=[("allow", method)])
            if message.path.startswith("/v1/"):
                self._authorize(message)
            handler(connection, message, request_id, received)
        except Refusal as refusal:
            if message.method == "POST":
                self._write_log(_record(request_id, received) | {"status": refusal.status})
            connection.refuse(refusal, [("x-request-id", request_id)])

    def _authorize(self, message: Message) -> None:
        if self._api_key is None:
            return
        given = message.headers.get("authorization", "")
        if "x-api-key" in message.headers:  # as Anthropic's clients send it
            given = f"Bearer {message.headers['x-api-key']}"
        if not hmac.compare_digest(given.encode("latin-1"), f"Bearer {self._api_key}".encode()):
            raise Refusal(
                401,
                "Incorrect API key provided." if given else "You didn't provide an API key.",
                kind="invalid_request_error",
                code="invalid_api_key",
            )

    def _health(self, connection: Connection, *_: object) -> None:
        connection.respond(200, {})

    def _version(self, connection: Connection, *_: object) -> None:
        times = "" if self._speed == 1 else f", {self._speed:g} times as fast"
        connection.respond(200, {"version": f"tpwidgets-simulator{times}"})

    def _models(self, connection: Connection, *_: object) -> None:
        model = {
            "id": self.profile.model,
            "object": "model",
            "created": self._started,
            "owned_by": "tpwidgets-simulator",
            "root": self.profile.model,
            "parent": None,
            "max_model_len": self.profile.max_model_len,
        }
        connection.respond(200, {"object": "list", "data": [model]})

    def _generate(
        self, connection: Connection, message: Message, request_id: str, received: int
    ) -> None:
        path, body = message.path, self._body(message)
        tokens = prompts.of_request(path, body)
        output = self._output_tokens(body, len(tokens), chat=path != "/v1/completions")
        request = Request(len(tokens), output, prompts.blocks(tokens))
        share = 0.0 if path == "/v1/completions" else self.profile.reasoning_share
        options = body.get("stream_options")
        about: dict[str, Any] = {
            "request_id": request_id,
            "model": self.profile.model,
            "created": int(time.time()),
            "reasoning": int(share * output),
        }
        answer: Written
        if path in _NAMED_EVENTS:
            answer, usage = _NAMED_EVENTS[path](**about), True
        else:
            answer = Answer(chat=path == "/v1/chat/completions", **about)
            usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._reply(
            connection, request, answer, request_id, received, bool(body.get("stream")), usage
        )

    def _embed(
        self, connection: Connection, message: Message, request_id: str, received: int
    ) -> None:
        texts = prompts.of_texts(self._body(message).get("input"))
        tokens = sum(map(len, texts))
        if tokens >= self.profile.max_model_len:
            raise Refusal(
                400,
                f"This model's maximum context length is {self.profile.max_model_len} tokens."
                f" However, your request has {tokens} input tokens.",
            )
        answer = Embeddings(
            len(texts), request_id=request_id, model=self.profile.model, created=int(time.time())
        )
        # a prompt is worked through when its first token would be there
        self._reply(connection, Request(tokens, 1, ()), answer, request_id, received)

    def _body(self, message: Message) -> dict[str, Any]:
        """Return a request's body, which must name our model or none."""
        body = _parse(message.body)
        model = body.get("model", self.profile.model)
        if model != self.profile.model:
            raise Refusal(
                404,
                f"The model `{model}` does not exist. Valid aliases: {self.profile.model}.",
                kind="NotFoundError",
                param="model",
            )
        return body

    def _reply(
        self,
        connection: Connection,
        request: Request,
        answer: Written,
        request_id: str,
        received: int,
        stream: bool = False,
        include_usage: bool = False,
    ) -> None:
        """Answer a request, unless a limit or a fault is in its way."""
        headers = [("x-request-id", request_id), *self._limit(request.kv_tokens)]
        if self._random.random() < self.profile.faults.error:
            raise Refusal(500, "The server had an error while processing your request.")
        Reply(
            clock=self._clock,
            connection=connection,
            request=request,
            answer=answer,
            stream=stream,
            include_usage=include_usage,
            headers=headers,
            mishap=Mishap.draw(self.profile.faults, request.output_tokens, self._random),
            log=self._write_log,
            record=_record(request_id, received) | {"prompt_tokens": request.prompt_tokens},
        ).begin()

    def _output_tokens(self, body: dict[str, Any], prompt_tokens: int, *, chat: bool) -> int:
        longest = self.profile.max_model_len
        if prompt_tokens >= longest:
            raise Refusal(
                400,
                f"This model's maximum context length is {longest} tokens. However, your request"
                f" has {prompt_tokens} input tokens. Please reduce the length of the input"
                " messages.",
            )
        names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
        asked = next((body[name] for name in names if name in body), None)
        if asked is None:
            return min(128 if chat else 16, longest - prompt_tokens)
        if not isinstance(asked, int) or asked < 1:
            raise Refusal(400, f"max_tokens must be at least 1, got {asked}.", param="max_tokens")
        if asked > longest:
            raise Refusal(
                400,
                f"max_tokens={asked} cannot be greater than max_model_len={longest}. Please request"
                f" fewer output tokens. (parameter=max_tokens, value={asked})",
                param="max_tokens",
            )
        if prompt_tokens + asked > longest:
            raise Refusal(
                400,
                "'max_tokens' or 'max_completion_tokens' is too large:"
                f" {asked}. This model's maximum context length is {longest} tokens and your"
                f" request has {prompt_tokens} input tokens ({asked} > {longest} -"
                f" {prompt_tokens}).",
                param="max_tokens",
            )
        return asked

    def _limit(self, tokens: int) -> list[tuple[str, str]]:
        """Return the headers that say what is left of the rate limit; refuse beyond it."""
        if not self._limiter:
            return []
        denied = self._limiter.admit(tokens, self._clock.now())
        headers = self._limiter.headers()
        if denied is None:
            return headers
        kind, wait = denied
        raise Refusal(
            429,
            f"Rate limit reached for {self.profile.model} on {kind} per min. Please try again in"
            f" {wait:.3f}s.",
            kind=kind,
            code="rate_limit_exceeded",
            headers=[
                *headers,
                ("retry-after", str(ceil(wait))),
                ("retry-after-ms", str(ceil(wait * 1000))),
            ],
        )

    def _write_log(self, record: dict[str, Any]) -> None:
        if self._log:
            self._log.write(json.dumps(record) + "\n")
            self._log.flush()


def _record(request_id: str, received: int) -> dict[str, Any]:
    return {"request_id": request_id, "received_ns": received, "tokens_ns": []}


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"Invalid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(400, "The request body must be a JSON object.")
    return value
