"""What one request and one operating point's window left behind: the engine's whole output.

A worker makes samples, a run keeps them, metrics turn them into operating points. All times are
the worker's monotonic clock; ``*_s`` in seconds since the worker's clock began, ``*_ms`` in
milliseconds since the request was handed to the socket ("sent").
"""

from array import array
from dataclasses import dataclass, field
from sys import intern

USED_UP = "length", "max_tokens", "max_output_tokens", "incomplete"
"""How servers put it that an answer was as long as it might be, in lower case."""


@dataclass(slots=True)
class Sample:
    """One request as the worker saw it. A failed or stopped request is a sample too."""

    request_id: str
    slot: int
    """Which of the concurrent users sent it; -1 if an open loop could send it no more."""
    concurrency: int
    """The level in force when the request ended; in an open loop, how many requests its worker had
    in flight when it was sent, itself included."""
    phase: str = "warmup"
    """``warmup``, ``measured`` (ended inside the level's window) or ``cooldown``."""
    status: str = "ok"
    """``ok``, ``http_error``, ``rate_limited``, ``timeout``, ``disconnected``, ``malformed``,
    ``refused``, ``client_limit`` (this machine could open no connection for it), ``stopped``.
    An ``http_error`` under HTTP 200 is an error in the stream, or `hidden` reasoning."""
    http_status: int | None = None
    message: str = ""
    sent_s: float = 0.0
    connect_ms: float | None = None
    """How long opening the connection took (DNS, TCP, TLS), before `sent`; None if reused."""
    dns_ms: float | None = None
    tcp_ms: float | None = None
    tls_ms: float | None = None
    """The parts of `connect_ms`, as far as they were there and could be told apart."""
    reused_connection: bool = False
    write_ms: float | None = None
    """sent → the system has taken the request's last byte."""
    headers_ms: float | None = None
    """sent → response headers (not TTFT)."""
    ttfo_ms: float | None = None
    """sent → first non-reasoning output."""
    token_ms: "array[float]" = field(default_factory=lambda: array("d"))
    """sent → arrival of each chunk that carried content, reasoning or a tool call."""
    ended_ms: float = 0.0
    """sent → [DONE], close or failure."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    server_queue_ms: float | None = None
    server_prefill_ms: float | None = None
    server_decode_ms: float | None = None
    server_total_ms: float | None = None
    server_start_ms: float | None = None
    """The server's own numbers, where it gives them; see `protocols.ServerTimes`."""
    first_chunk_tokens: int = 1
    requested_tokens: int = 0
    items: int = 1
    """How many items it asked for in one: texts to embed, prompts, or choices; how many choices
    came, if it ended well with fewer."""
    token_source: str = "usage"  # noqa: S105
    """``usage`` (the server's count) or ``chunks`` (an estimate: one token per chunk)."""
    finish_reason: str | None = None
    merged_chunks: int = 0
    """Token chunks whose stamp they share with an earlier chunk of the same socket read."""
    stamp: str = "kernel"
    """Where arrivals were stamped: ``kernel``, ``socket`` or ``httpx``."""
    client_error_ms: float = 0.0
    """How wrong its stamps can be, as far as the client can tell: the first one's, if it shares its
    read with the second, else the mean over all."""
    rate: float | None = None
    """Open loop: the level that it was scheduled in, requests/s; None in a closed loop."""
    scheduled_s: float | None = None
    """Open loop: when it was to be sent."""
    dispatched_s: float | None = None
    """Open loop: when it was taken up, before its connection was there."""

    def __post_init__(self) -> None:
        if not isinstance(self.token_ms, array):
            self.token_ms = array("d", self.token_ms)
        # of a hundred thousand samples each would else have its own "ok"
        self.phase, self.status = intern(self.phase), intern(self.status)
        self.token_source, self.stamp = intern(self.token_source), intern(self.stamp)
        if self.finish_reason is not None:
            self.finish_reason = intern(self.finish_reason)

    @property
    def ended_s(self) -> float:
        """When the last token or the whole answer arrived, or the failure; s, worker's clock."""
        last = self.token_ms[-1] if self.status == "ok" and self.token_ms else self.ended_ms
        return self.sent_s + last / 1000

    @property
    def hidden(self) -> bool:
        """Whether all its output tokens went into reasoning that is not shown.

        That is a failure (an ``http_error`` under HTTP 200), but a server that lives.
        """
        used_up = (self.finish_reason or "").lower() in USED_UP and bool(self.output_tokens)
        return self.status == "http_error" and used_up and not self.token_ms

    @property
    def ttft_ms(self) -> float | None:
        """Sent → first chunk with a non-empty content, reasoning or tool-call delta."""
        return self.token_ms[0] if self.token_ms else None

    @property
    def e2e_ms(self) -> float | None:
        """Sent → last token chunk (not [DONE], not the usage chunk); None unless it ended well.

        Where no tokens stream: sent → the whole answer.
        """
        if self.status != "ok":
            return None
        return self.token_ms[-1] if self.token_ms else self.ended_ms

    @property
    def late_ms(self) -> float | None:
        """Open loop: scheduled → sent, what a latency from the scheduled time has more."""
        return None if self.scheduled_s is None else (self.sent_s - self.scheduled_s) * 1000

    @property
    def tpot_ms(self) -> float | None:
        """(e2e − ttft) / (output tokens − tokens in the first chunk); None below two tokens.

        Several items share the output tokens evenly, since they stream side by side.
        """
        rest = (self.output_tokens or 0) / self.items - self.first_chunk_tokens
        if self.status != "ok" or len(self.token_ms) < 2 or rest < 1:
            return None
        return (self.token_ms[-1] - self.token_ms[0]) / rest


@dataclass(slots=True)
class Window:
    """The span of one operating point in which counting took place.

    In a closed loop it opens when every slot has been refilled at least once since the level began,
    and closes before the first slot is left empty. In an open loop it opens when the first request
    of the level, and all of the level before, have ended. Amid a ramp nothing settles: it opens and
    closes with its section. While it is still open, `end_s` is "now".
    """

    concurrency: int
    """The level; 0 in an open loop. Amid a ramp, of the section's middle, as `rate` is."""
    start_s: float
    end_s: float
    in_flight_mean: float = 0.0
    """Time-weighted mean of requests in flight inside the window."""
    closed: bool = False
    note: str = ""
    """Why the level ended other than as asked (stopped, failures, time); empty otherwise."""
    rate: float | None = None
    """Open loop: the level, requests/s; None in a closed loop."""
    known_s: float | None = None
    """Open loop, while the window is open: when the oldest request in flight was sent, before which
    all is known."""
    ramp: tuple[float, float] | None = None
    """From which level to which the load went meanwhile, if it was amid a ramp."""
    parts: "tuple[Window, ...]" = ()
    """The windows that were pooled into this one, one after the other on the same clock, if it is
    of repeats."""

    def __post_init__(self) -> None:
        # a message or a file has them as plain values
        self.ramp = None if self.ramp is None else (self.ramp[0], self.ramp[1])
        self.parts = tuple(p if isinstance(p, Window) else Window(**p) for p in self.parts)

    @property
    def spans(self) -> "tuple[Window, ...]":
        """The windows in which counting took place: its parts, or itself."""
        return self.parts or (self,)

    @property
    def length_s(self) -> float:
        """How long counting took, in all."""
        return sum(span.end_s - span.start_s for span in self.spans)
