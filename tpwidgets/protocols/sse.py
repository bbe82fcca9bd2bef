"""Server-sent events out of a byte stream that may be cut anywhere."""

_BOM = b"\xef\xbb\xbf"
_LF, _CR = b"\n\r"
MAX_EVENT = 32 * 1024 * 1024
"""A longer event is dropped: a server that never ends its line must not fill the memory."""


class EventParser:
    """Split a byte stream into the data of its events, each with the stamp of its last byte.

    Follows the event-stream format of the HTML standard (9.2.6): lines end in LF, CR or CRLF, a
    blank line ends an event, several ``data`` lines are joined by LF, comments and other fields
    are passed over. Unlike a browser it also hands out an event that the end of the stream cut
    off before its blank line; whoever reads it sees whether it is whole.

    An event's stamp is that of the read that completed its last ``data`` line, not of the read
    that brought the blank line: some servers send that one with the next event.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._data: list[bytes] = []
        self._stamp = 0
        self._unended = self._held = 0  # bytes in _parts and in _data
        self._skip_lf = False
        self._at_start = True
        self._between = False  # two events, with nothing left of the one and had of the other
        self.dropped = False
        """Whether something was longer than `MAX_EVENT`."""

    def feed(self, chunk: bytes, stamp: int) -> list[tuple[bytes, int]]:
        """Take one read's bytes; return the ``(data, stamp)`` of each event it completed."""
        # what most reads are: whole events of one data line
        if self._between and chunk[:6] == b"data: " and chunk[-2:] == b"\n\n" and _CR not in chunk:
            body = chunk[6:-2]
            if _LF not in body:
                return [(body, stamp)]
            events = body.split(b"\n\ndata: ")
            if body.count(b"\n") == 2 * len(events) - 2:
                return [(event, stamp) for event in events]
        found = self._feed(chunk, stamp)
        self._between = not (self._parts or self._data or self._skip_lf or self._at_start)
        return found

    def finish(self, stamp: int) -> list[tuple[bytes, int]]:
        """End the stream; return the event that its end cut off, if any."""
        if self._parts:
            line = b"".join(self._parts)
            self._line(line.removeprefix(_BOM) if self._at_start else line, stamp)
            self._parts = []
        return [self._dispatch()] if self._data else []

    def _feed(self, chunk: bytes, stamp: int) -> list[tuple[bytes, int]]:
        """Take any read: line by line."""
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if _LF not in chunk and _CR not in chunk:
            if chunk:
                self._parts.append(chunk)  # joined only when the line ends: no quadratic copying
                self._unended += len(chunk)
                self._bound()
            return []
        if self._parts:
            self._parts.append(chunk)
            chunk = b"".join(self._parts)
        if _CR in chunk:
            self._skip_lf = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        events = []
        for line in lines:
            if line:
                self._line(line, stamp)
            elif self._data:
                events.append(self._dispatch())
        self._parts = [rest] if rest else []
        self._unended = len(rest)
        return events

    def _line(self, line: bytes, stamp: int) -> None:
        if line[:5] == b"data:":
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            self._stamp = stamp
            self._held += len(line)
            self._bound()
        elif line == b"data":
            self._data.append(b"")
            self._stamp = stamp

    def _bound(self) -> None:
        """Drop what has gathered once it is too much."""
        if self._unended + self._held > MAX_EVENT:
            self._parts, self._data = [], []
            self._unended = self._held = 0
            self.dropped = True

    def _dispatch(self) -> tuple[bytes, int]:
        event = (b"\n".join(self._data), self._stamp)
        self._data, self._held = [], 0
        return event
