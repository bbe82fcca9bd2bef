"""What comes back of one request: read as it comes, and broken off when it has been enough."""

import time

from ..protocols import StreamReader, WireProtocol
from .encoding import Unpacker
from .exchange import BrokenOff, Exchange

_ENOUGH = 64 * 1024
"""So much of an error is enough."""
_END_S = 2.0
"""How long the end of an answer is waited for that is whole but for its end."""
_LONGEST = 16, 1024
_THOUGHTS = 32 * 1024
"""An answer of more token chunks than 16 × what was asked + 1024 has no end. A chunk may be a
character, a token of text four or more of them, and some servers round the limit up; beyond that,
nobody obeys it. Thoughts may lie outside of the limit, so that they may be longer."""


class Incoming:
    """The answer to one request, as it comes.

    Its `on_body` and `on_wait` go into the exchange. Nothing outlasts the time limit: it is the
    longest wait for a token, the first or the next, and comments or half an event are none.

    Parameters
    ----------
    protocol : WireProtocol
        How to read the answer.
    output_tokens : int
        How many tokens were asked for.
    timeout_s : float
        The time limit, in seconds.
    items : int
        How many choices the answer has to have.
    """

    def __init__(
        self, protocol: WireProtocol, output_tokens: int, timeout_s: float, items: int = 1
    ) -> None:
        self.reader = StreamReader(protocol, several=items > 1)
        self.refusal = bytearray()
        """The beginning of a body under another status than 200."""
        self._longest = _LONGEST[0] * output_tokens + _LONGEST[1]
        self._timeout_s, self._items = timeout_s, items
        self._whole_ns = 0
        self._rejected = False

    @property
    def whole(self) -> bool:
        """Whether the answer has said all, be its end still missing."""
        outcome = self.reader.outcome
        # a choice may be waited for while all others have ended
        ended = outcome.finish_reason is not None and len(outcome.finished) >= self._items
        return not self._rejected and (outcome.done or ended)

    def on_body(self, exchange: Exchange, data: bytes) -> bool:
        """Take the body's first piece; see to it that those after it are taken without delay."""
        # Events are read as they come: that costs a stamp nothing where the kernel makes it,
        # and a stream's end brings no burst of work that would delay other streams.
        feed = self.reader.feed

        def read(exchange: Exchange, data: bytes) -> bool:
            feed(data, exchange.last_ns)
            return True

        encoding = exchange.header_fields.get("content-encoding", "identity")
        exchange.on_body = read if exchange.status == 200 else self._keep
        if encoding.strip().lower() not in ("", "identity"):
            self._unpack(exchange, encoding)
        return exchange.on_body(exchange, data)

    def _keep(self, exchange: Exchange, data: bytes) -> bool:
        self.refusal += data[: _ENOUGH - len(self.refusal)]
        if len(self.refusal) >= _ENOUGH:
            self._break_off(exchange, "http_error", "")
        return True

    def _unpack(self, exchange: Exchange, encoding: str) -> None:
        take = exchange.on_body
        assert take is not None  # noqa: S101

        def unpack(exchange: Exchange, data: bytes) -> bool:
            try:
                for piece in unpacker.feed(data):
                    if exchange.complete:
                        break
                    take(exchange, piece)
            except ValueError as error:
                self._break_off(exchange, "malformed", f"the answer is {error}")
            return True

        try:
            unpacker = Unpacker(encoding)
        except ValueError as error:
            self._break_off(exchange, "malformed", f"the answer is {error}")
        else:
            exchange.on_body = unpack

    def _break_off(self, exchange: Exchange, status: str, why: str) -> None:
        self._rejected = status == "malformed"
        exchange.on_body = lambda *_: True  # the rest of what was read already
        exchange.end(BrokenOff(status, why))

    def on_wait(self, exchange: Exchange) -> None:
        """Break the answer off if it goes on for too long, or if nothing comes of it."""
        outcome, now = self.reader.outcome, time.perf_counter_ns()
        chunks, thoughts = len(outcome.token_ns), outcome.reasoning_chunks
        if self.reader.dropped:
            self._break_off(exchange, "malformed", "an event too long for any token")
        elif chunks - thoughts > self._longest or chunks > self._longest + _THOUGHTS:
            why = f"an endless answer: broken off after {chunks:,} pieces"
            self._break_off(exchange, "malformed", why)
        elif self.whole:
            # one of several choices may end long before another
            self._whole_ns = max(self._whole_ns or now, outcome.token_ns[-1] if chunks else 0)
            # where the reason to finish came with a token, only silence tells that it was the last
            amid = outcome.finished_amid and not outcome.done
            within_s = self._timeout_s if amid else min(_END_S, self._timeout_s)
            if now - self._whole_ns > within_s * 1e9:
                self._break_off(exchange, "timeout", "the answer was whole and did not end")
        else:
            since = outcome.token_ns[-1] if chunks else exchange.sent_ns
            if now - since > self._timeout_s * 1e9:
                self._break_off(exchange, "timeout", self._what_is_missing(exchange, since))

    def _what_is_missing(self, exchange: Exchange, since_ns: int) -> str:
        within = f"within {self._timeout_s:g} s"
        if not exchange.headers_ns:
            return f"no answer {within}"
        token = "further token" if self.reader.outcome.token_ns else "token"
        came = exchange.last_ns > max(since_ns, exchange.headers_ns)
        return f"no {token} {within}" + (", though bytes came" if came else "")
