"""Events that are lines (NDJSON) out of a byte stream that may be cut anywhere."""

from . import sse

_BOM = b"\xef\xbb\xbf"


class LineParser:
    """Split a byte stream into its lines, each with the stamp of the read that ended it.

    A line ends in LF or CRLF (a CR before it is white space to JSON); blank ones are passed over.
    What the end of the stream cut off is handed out as well.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._at_start = True
        self.dropped = False
        """Whether a line was longer than `sse.MAX_EVENT`."""

    def feed(self, chunk: bytes, stamp: int) -> list[tuple[bytes, int]]:
        """Take one read's bytes; return the ``(data, stamp)`` of each line it completed."""
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        if self._parts:
            chunk = b"".join((*self._parts, chunk))
        *lines, rest = chunk.split(b"\n")
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        self._parts, self._held = [], 0
        self._keep(rest)
        return [(line, stamp) for line in lines if line.strip()]

    def finish(self, stamp: int) -> list[tuple[bytes, int]]:
        """End the stream; return the line that its end cut off, if any."""
        rest, self._parts = b"".join(self._parts), []
        if self._at_start:
            rest = rest.removeprefix(_BOM)
        return [(rest, stamp)] if rest.strip() else []

    def _keep(self, part: bytes) -> None:
        """Keep a piece of a line; drop what has gathered once it is too much."""
        if part:
            self._parts.append(part)
            self._held += len(part)
        if self._held > sse.MAX_EVENT:
            self._parts, self._held = [], 0
            self.dropped = True
