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
    """Token chunks that shared a read with an earlier token chunk of this stream."""
    events: int = 0
    usage: Usage = field(default_factory=Usage)
    has_usage: bool = False
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
        tokens = len(self.outcome.token_ns)
        for event, stamp in self._parser.feed(chunk, stamp_ns):
            self._take(event, stamp)
        new = len(self.outcome.token_ns) - tokens
        if new > 1:
            self.outcome.merged += new - 1

    def finish(self, stamp_ns: int) -> Outcome:
        """End the stream and return what it said."""
        for event, stamp in self._parser.finish(stamp_ns):
            self._take(event, stamp)
        return self.outcome

    def _take(self, event: bytes, stamp: int) -> None:
        outcome = self.outcome
        outcome.events += 1
        try:
            delta: Delta = self._protocol.read(event)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            # whatever shape the data has: it is a result ("malformed"), not our crash
            outcome.malformed = outcome.malformed or f"{type(error).__name__} in {event[:80]!r}"
            return
        if delta.token:
            outcome.token_ns.append(stamp)
            if delta.output and outcome.first_output_ns is None:
                outcome.first_output_ns = stamp
        if delta.usage is not None:
            outcome.usage, outcome.has_usage = delta.usage, True
        outcome.finish_reason = delta.finish_reason or outcome.finish_reason
        outcome.error = outcome.error or delta.error
        outcome.done = outcome.done or delta.done
