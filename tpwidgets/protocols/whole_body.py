"""A body that isn't streamed, as one event."""

MAX_BODY = 256 * 1024 * 1024
"""A longer body is dropped. 2048 embeddings of 4096 numbers take 180 MB."""


class BodyParser:
    """Gather a body; its only event is all of it, with the stamp of its last byte."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = self._stamp = 0
        self.dropped = False
        """Whether the body was longer than `MAX_BODY`."""

    def feed(self, chunk: bytes, stamp: int) -> list[tuple[bytes, int]]:
        """Take one read's bytes; return nothing yet."""
        if chunk and not self.dropped:
            self._parts.append(chunk)
            self._held += len(chunk)
            self._stamp = stamp
            if self._held > MAX_BODY:
                self._parts, self.dropped = [], True
        return []

    def finish(self, stamp: int) -> list[tuple[bytes, int]]:  # noqa: ARG002
        """End the body; return it, unless it is empty."""
        parts, self._parts = self._parts, []
        return [(b"".join(parts), self._stamp)] if parts else []
