"""JSON objects out of an array that comes piece by piece, and may be cut anywhere."""

import re

from . import sse
from .sse import EventParser

_MARKS = re.compile(rb'[{}\[\]"]')
_IN_STRING = re.compile(rb'["\\]')
_HEAD = 1024
"""Within so many bytes a body shows what it is."""


class ArrayParser:
    """Split a JSON array, as it comes, into its objects, each with the stamp of its last byte."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = self._depth = 0
        self._in_string = self._escaped = False
        self.dropped = False
        """Whether an object was longer than `sse.MAX_EVENT`."""

    def feed(self, chunk: bytes, stamp: int) -> list[tuple[bytes, int]]:
        """Take one read's bytes; return the ``(data, stamp)`` of each object it completed."""
        found, start, at = [], 0, int(self._escaped and bool(chunk))
        if chunk:
            self._escaped = False
        while mark := (_IN_STRING if self._in_string else _MARKS).search(chunk, at):
            at = mark.end()
            sign = mark[0]
            if sign == b"\\":
                self._escaped = at == len(chunk)
                at += 1
            elif sign == b'"':
                self._in_string = not self._in_string
            elif sign in b"[{":
                self._depth += 1
                if self._depth == 2:
                    self._parts, self._held, start = [], 0, mark.start()
            else:
                self._depth -= 1
                if self._depth == 1:
                    found.append((b"".join((*self._parts, chunk[start:at])), stamp))
                    self._parts, self._held = [], 0
        if self._depth > 1:
            self._keep(chunk[start:])
        return found

    def finish(self, stamp: int) -> list[tuple[bytes, int]]:
        """End the body; return the object that its end cut off, if any."""
        parts, self._parts = self._parts, []
        return [(b"".join(parts), stamp)] if parts else []

    def _keep(self, part: bytes) -> None:
        """Keep a piece of an object; drop what has gathered once it is too much."""
        self._parts.append(part)
        self._held += len(part)
        if self._held > sse.MAX_EVENT:
            self._parts, self._held = [], 0
            self.dropped = True


class EventsOrArray:
    """Take a body for events, or, if it begins like one, for an array."""

    def __init__(self) -> None:
        self._parser: EventParser | ArrayParser | None = None
        self._head = b""

    @property
    def dropped(self) -> bool:
        """Whether something was too long to be kept."""
        return self._parser is not None and self._parser.dropped

    def feed(self, chunk: bytes, stamp: int) -> list[tuple[bytes, int]]:
        """Take one read's bytes; return the ``(data, stamp)`` of each event it completed."""
        if self._parser is None:
            chunk = self._head = self._head + chunk
            begun = chunk[:_HEAD].lstrip()
            if not begun and len(chunk) < _HEAD:
                return []
            self._parser = ArrayParser() if begun[:1] == b"[" else EventParser()
        return self._parser.feed(chunk, stamp)

    def finish(self, stamp: int) -> list[tuple[bytes, int]]:
        """End the body; return the event that its end cut off, if any."""
        return self._parser.finish(stamp) if self._parser is not None else []
