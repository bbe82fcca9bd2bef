"""One request of one user: its bytes out, its bytes back, and the sample that comes of it."""

import asyncio
import http
import json
import random
import time
from array import array
from contextlib import suppress
from dataclasses import fields
from typing import Any

import httpx

from .. import __version__
from ..masking import Mask
from ..protocols import (
    PROTOCOLS,
    Outcome,
    ServerTimes,
    StreamReader,
    error_message,
    server_times_from_headers,
)
from ..samples import Sample
from ..workload.prompts import prompt, put
from .exchange import BrokenOff, Exchange
from .incoming import Incoming
from .selector import InlineSelector
from .stamps import KERNEL_STAMPS, Clock
from .throttle import THROTTLES, limits_told, pause_s
from .transport import StampedTransport

_SERVER_TIMES = [field.name for field in fields(ServerTimes)]


class Requester:
    """Makes one request at a time for a user, and a sample of what came of it."""

    def __init__(
        self, assignment: dict[str, Any], clock: Clock, selector: InlineSelector | None
    ) -> None:
        self._clock = clock
        self._epoch_ns: int = assignment["epoch_ns"]
        self._url = httpx.URL(assignment["url"])
        self._protocol = PROTOCOLS[assignment["protocol"]]
        self._body: dict[str, Any] = assignment["body"]
        self._prompt_at: list[Any] = assignment["prompt_at"]
        self._words: int = assignment["words"]
        self._instructed: bool = assignment["instructed"]
        self._prefix: str = assignment["prefix"]
        # what can't be asked for isn't counted either
        self._batch: int = assignment["batch"] if self._protocol.batch else 1
        self._output_tokens: int = assignment["output_tokens"]
        self._timeout_s: float = assignment["timeout_s"]
        self._mask = Mask([*assignment["headers"].items(), *self._url.params.multi_items()])
        self._run = assignment["run"]
        self._rng = random.Random(assignment["seed"])
        self._number = 0
        self.lag_ms = 0.0
        """How late the loop was of late; set by whoever measures it."""
        self._chunks = 0
        self._reading: set[StreamReader] = set()
        # how long to wait for an answer `Incoming` knows
        timeout = httpx.Timeout(None, connect=min(self._timeout_s, 10.0))
        self._extensions = {"timeout": timeout.as_dict()}
        self._headers = {
            "user-agent": f"tpwidgets/{__version__}",
            **assignment["headers"],
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        # no httpx client around it: cookies, redirects and the like have no place in a measurement
        self._transport = StampedTransport(clock, selector, trust_env=not assignment["local"])

    def now(self) -> float:
        """Return seconds on the worker's clock."""
        return (time.perf_counter_ns() - self._epoch_ns) / 1e9

    @property
    def chunks(self) -> int:
        """Token chunks seen so far."""
        return self._chunks + sum(len(r.outcome.token_ns) for r in self._reading)

    async def open(self, count: int) -> None:
        """Open connections ahead of a level."""
        await self._transport.open(self._url, count, min(self._timeout_s, 10.0))

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def unsent(self, message: str) -> Sample:
        """Return the sample of a request that this machine did not send."""
        self._number += 1
        name = f"{self._run}-{self._number}"
        sample = Sample(name, -1, 0, status="client_limit", message=message, sent_s=self.now())
        sample.items, sample.stamp = self._batch, self._stamp
        return sample

    def _content(self) -> bytes:
        several = self._protocol.batch == "prompts" and self._batch > 1
        prompts = [self._prompt() for _ in range(self._batch if several else 1)]
        put(self._body, self._prompt_at, prompts if several else prompts[0])
        return json.dumps(self._body).encode()

    def _prompt(self) -> str:
        return prompt(self._words, self._rng, instructed=self._instructed, prefix=self._prefix)

    async def __call__(self, slot: int) -> tuple[Sample, float]:
        """Make one request; return its sample and how long the server asks the user to wait."""
        self._number += 1
        sample = Sample(
            f"{self._run}-{self._number}", slot, 0,
            requested_tokens=self._output_tokens * self._batch if self._protocol.streamed else 0,
            items=self._batch,
        )  # fmt: skip
        asked = self._output_tokens * self._batch
        incoming = Incoming(self._protocol, asked, self._timeout_s, self._batch)
        reader = incoming.reader
        self._reading.add(reader)
        request = httpx.Request(
            "POST",
            self._url,
            headers={**self._headers, "x-request-id": sample.request_id},
            content=self._content(),
            extensions={
                **self._extensions, "on_body": incoming.on_body, "on_wait": incoming.on_wait,
                "slot": slot,
            },
        )  # fmt: skip
        called_ns = time.perf_counter_ns()
        try:
            await self._transport.send(request)
        except asyncio.CancelledError:
            sample.status = "stopped"
        except BrokenOff as off:
            sample.status, sample.message = off.status, str(off)
        except httpx.TimeoutException as error:
            sample.status, sample.message = "timeout", str(error)
        except httpx.RemoteProtocolError as error:
            sample.status, sample.message = "malformed", str(error)
        except httpx.ConnectError as error:
            sample.status, sample.message = "refused", str(error)
        except Exception as error:  # noqa: BLE001 - a request that can't be made is a sample too
            sample.status, sample.message = "disconnected", str(error) or type(error).__name__
        finally:
            self._reading.discard(reader)
            self._chunks += len(reader.outcome.token_ns)
        exchange: Exchange | None = request.extensions.get("exchange")
        self._fill(sample, exchange, incoming, called_ns)
        asked_s = 0.0
        if exchange is not None:
            times = server_times_from_headers(exchange.header_fields)
            times.note(reader.outcome)  # what the body says is finer than the headers
            for name in _SERVER_TIMES:
                setattr(sample, name, getattr(times, name))
            if exchange.status not in (0, 200) and sample.status != "stopped":
                asked_s = _refused(sample, exchange, bytes(incoming.refusal))
        sample.message = self._mask(sample.message)
        if sample.finish_reason:
            sample.finish_reason = self._mask(sample.finish_reason)
        return sample, asked_s

    def _fill(
        self, sample: Sample, exchange: Exchange | None, incoming: Incoming, called_ns: int
    ) -> None:
        now_ns = time.perf_counter_ns()
        sent_ns = exchange.sent_ns if exchange is not None else called_ns
        sample.sent_s = (sent_ns - self._epoch_ns) / 1e9
        sample.ended_ms = (now_ns - sent_ns) / 1e6
        if exchange is None:  # no connection
            sample.stamp = self._stamp
            return
        sample.stamp = exchange.stamp
        sample.client_error_ms = self._error_ms(exchange)
        sample.reused_connection = exchange.reused
        sample.connect_ms, sample.dns_ms = _ms(exchange.connect_ns), _ms(exchange.dns_ns)
        sample.tcp_ms, sample.tls_ms = _ms(exchange.tcp_ns), _ms(exchange.tls_ns)
        if exchange.written_ns:
            sample.write_ms = (exchange.written_ns - sent_ns) / 1e6
        sample.http_status = exchange.status or None
        if exchange.headers_ns:
            sample.headers_ms = (exchange.headers_ns - sent_ns) / 1e6
        if exchange.status == 200:
            before_the_end = incoming.reader.outcome.malformed
            outcome = incoming.reader.finish(exchange.last_ns or now_ns)
            if incoming.whole and sample.status in ("timeout", "disconnected", "malformed"):
                # what broke is only the connection after the answer, amid its usage at worst
                sample.status, sample.message = "ok", ""
                outcome.malformed = before_the_end
            if sample.status == "ok":
                _judge(sample, outcome, incoming.reader.begun)
                sample.ended_ms = ((exchange.last_ns or now_ns) - sent_ns) / 1e6
            _record(sample, outcome, sent_ns)
            came = len(outcome.choices)
            if sample.status == "ok" and 0 < came < self._batch:  # not every server knows `n`
                sample.items, sample.requested_tokens = came, self._output_tokens * came
            if outcome.merged and exchange.stamp == "kernel":
                # tokens that shared a read may have come as much earlier as the read was late;
                # a few of them spoil a few gaps, but the first one spoils TTFT
                first, second = outcome.token_ns[:2]
                share = 1.0 if first == second else outcome.merged / len(outcome.token_ns)
                sample.client_error_ms += share * exchange.late_ns / 1e6

    @property
    def _stamp(self) -> str:
        """Where arrivals are stamped."""
        if not self._transport.direct(self._url):
            return "httpx"
        return "kernel" if KERNEL_STAMPS else "socket"

    def _error_ms(self, exchange: Exchange) -> float:
        """Return how wrong a stamp can be.

        Kernel stamps err by the clocks' offset, others by how late the loop got round to reading.
        """
        return self._clock.error_ns / 1e6 if exchange.stamp == "kernel" else self.lag_ms


def _ms(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e6


def _judge(sample: Sample, outcome: Outcome, begun: bytes) -> None:
    """Set the status of a response that ended cleanly under HTTP 200."""
    if outcome.error:
        sample.status, sample.message = "http_error", outcome.error
    elif outcome.malformed:
        sample.status, sample.message = "malformed", outcome.malformed
    elif outcome.hidden_tokens:
        # nothing else fits: what was asked for did not come, though the answer is well-formed; the
        # breaker tells it apart (`Sample.hidden`), since the server is alive
        sample.status = "http_error"
        sample.message = (
            f"all {outcome.hidden_tokens:,} output tokens went into reasoning that is not shown: "
            "ask for more (output_tokens)"
        )
    elif not (outcome.token_ns or outcome.items):
        sample.status = "malformed"
        sample.message = _instead_of_a_stream(begun.lstrip())
    elif not (outcome.done or outcome.ended or outcome.items is not None):
        sample.status, sample.message = "disconnected", "the stream ended before the answer did"


def _instead_of_a_stream(begun: bytes) -> str:
    if begun[:1] == b"<":
        return error_message(begun)
    if begun[:1] in (b"{", b"["):
        said = f": {error_message(begun)}" if b'"error"' in begun else ""
        return f"answered without streaming{said}"
    return "an empty stream: no token came"


def _record(sample: Sample, outcome: Outcome, sent_ns: int) -> None:
    sample.token_ms = array("d", [(ns - sent_ns) / 1e6 for ns in outcome.token_ns])
    if outcome.first_output_ns is not None:
        sample.ttfo_ms = (outcome.first_output_ns - sent_ns) / 1e6
    sample.merged_chunks = outcome.merged
    sample.finish_reason = outcome.finish_reason
    usage = outcome.usage
    sample.prompt_tokens, sample.cached_tokens = usage.prompt_tokens, usage.cached_tokens
    sample.output_tokens, sample.reasoning_tokens = usage.output_tokens, usage.reasoning_tokens
    sample.first_chunk_tokens = outcome.first_chunk_tokens
    if outcome.items is not None:
        sample.items = outcome.items
    elif not sample.output_tokens:  # a server that reports 0 did not count
        sample.token_source = "chunks"  # noqa: S105
        sample.output_tokens = len(outcome.token_ns)


def _refused(sample: Sample, exchange: Exchange, body: bytes) -> float:
    """Fill in what came of a request under another status than 200; return the pause asked for."""
    status, headers = exchange.status, exchange.header_fields
    sample.status = "rate_limited" if status == 429 else "http_error"
    said = error_message(body, 200)
    if 300 <= status < 400:
        said = "it redirects to another address, and a key is not taken along"
    if not said:
        with suppress(ValueError):
            said = http.HTTPStatus(status).phrase
    limits = limits_told(headers) if status in THROTTLES else ""
    sample.message = "; ".join(filter(None, (said, limits)))
    return pause_s(status, headers, body.decode("utf-8", "replace")) if status in THROTTLES else 0.0
