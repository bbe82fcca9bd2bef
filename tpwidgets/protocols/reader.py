"""One response's reads folded into an outcome."""

import json

from .base import WireProtocol
from .outcome import Outcome

_BEGINNING = 100
_MISSES = 8
"""So many events in turn for which the protocol's shortcut was none, and it's left alone."""


class StreamReader:
    """Fold reads of a streamed response into an `Outcome`; never raises on what a server sends.

    Parameters
    ----------
    protocol : WireProtocol
        How to read it.
    several : bool
        Whether it may have several choices: then each event is asked which one it belongs to.
    """

    def __init__(self, protocol: WireProtocol, *, several: bool = False) -> None:
        self.outcome = Outcome()
        self.begun = b""
        """How the body begins."""
        self._read, self._plain_text = protocol.read, protocol.plain_text
        self._decode = protocol.decode
        self._misses = _MISSES if several else 0  # the shortcut does not see a choice's index
        self._parser = protocol.parser()

    @property
    def dropped(self) -> bool:
        """Whether an event was too long to be kept."""
        return self._parser.dropped

    def feed(self, chunk: bytes, stamp_ns: int) -> None:
        """Take one read's body bytes and the moment at which they arrived."""
        if not self.begun:
            self.begun = chunk[:_BEGINNING]
        for event, stamp in self._parser.feed(chunk, stamp_ns):
            self._take(event, stamp)

    def finish(self, stamp_ns: int) -> Outcome:
        """End the stream and return what it said."""
        for event, stamp in self._parser.finish(stamp_ns):
            self._take(event, stamp)
        if self._parser.dropped:
            self.outcome.malformed = "an event too long for any token"
        self.outcome.close()
        return self.outcome

    def _take(self, event: bytes, stamp: int) -> None:
        outcome = self.outcome
        outcome.events += 1
        if self._misses < _MISSES:  # a third less work, where it is all that there is to know
            try:
                plain = self._plain_text(event)
            except (ValueError, RecursionError):
                plain = ""
            if plain:
                outcome.token(stamp, len(plain))
                self._misses = 0
                return
            self._misses += 1
        try:
            try:
                said = self._decode(event)
            except ValueError:
                text = event.strip()
                if text == b"[DONE]":
                    outcome.done = True
                    return
                if not text:  # legal, and some servers' way of keeping a connection alive
                    outcome.events -= 1
                    return
                # msgspec is five times as fast and stricter: what it refuses (NaN, half a surrogate
                # pair, a BOM) has another chance, since servers send it
                try:
                    said = json.loads(event)
                except UnicodeDecodeError:  # a text cut amid a character is a token all the same
                    said = json.loads(event.decode("utf-8", "replace"))
            if type(said) is dict and said.get("error"):
                outcome.fail(said)
            else:
                self._read(said, stamp, outcome)
        except (
            ValueError, LookupError, TypeError, AttributeError, RecursionError
        ) as error:  # fmt: skip
            # whatever shape the data has: it is a result ("malformed"), not our crash
            outcome.malformed = outcome.malformed or _unreadable(error, event)


def _unreadable(error: Exception, event: bytes) -> str:
    what = "no JSON" if isinstance(error, ValueError) else "not of this protocol"
    return f"an event that is {what}: {event[:80].decode('utf-8', 'replace')!r}"
