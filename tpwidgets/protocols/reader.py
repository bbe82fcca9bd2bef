"""One response's events folded into what the metrics need."""

from dataclasses import dataclass, field

from .base import Delta, Usage, WireProtocol
from .sse import EventParser


@dataclass(slots=True)
class Outcome:
    """What a stream said, with the stamp (ns) of each chunk that counts."""

    token_ns: list[int] = field(default_factory=list)
    first_output_ns: int | None = None
    merged: int = 0
    """Token chunks that share their stamp, hence their read, with the token chunk before."""
    events: int = 0
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    error: str | None = None
    done: bool = False
    malformed: str | None = None


class StreamReader:
    """Fold reads of a streamed response into an `Outcome`; never raises on what a server sends."""

    def __init__(self, protocol: WireProtocol) -> None:
        self.outcome = Outcome()
        self._protocol = protocol
        self._parser = EventParser()

    def feed(self, chunk: bytes, stamp_ns: int) -> None:
        """Take one read's body bytes and the moment at which they arrived."""
        for event, stamp in self._parser.feed(chunk, stamp_ns):
            self._take(event, stamp)

    def finish(self, stamp_ns: int) -> Outcome:
        """End the stream and return what it said."""
        for event, stamp in self._parser.finish(stamp_ns):
            self._take(event, stamp)
        if self._parser.dropped:
            self.outcome.malformed = "an event longer than a server has any reason to send"
        return self.outcome

    def _take(self, event: bytes, stamp: int) -> None:
        outcome = self.outcome
        if not event.strip():
            return  # an empty event: legal, and some servers' way of keeping a connection alive
        outcome.events += 1
        try:
            delta: Delta = self._protocol.read(event)
        except (
            ValueError, LookupError, TypeError, AttributeError, RecursionError
        ) as error:  # fmt: skip
            # whatever shape the data has: it is a result ("malformed"), not our crash
            outcome.malformed = outcome.malformed or f"{type(error).__name__} in {event[:80]!r}"
            return
        if delta.token:
            # by the stamp and not by the feed: one read may hold several HTTP chunks
            outcome.merged += outcome.token_ns[-1:] == [stamp]
            outcome.token_ns.append(stamp)
            if delta.output and outcome.first_output_ns is None:
                outcome.first_output_ns = stamp
        if delta.usage is not None:
            outcome.usage = delta.usage
        outcome.finish_reason = delta.finish_reason or outcome.finish_reason
        outcome.error = outcome.error or delta.error
        outcome.done = outcome.done or delta.done
