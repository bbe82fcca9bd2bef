"""One request and its response, as they pass over a connection."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class BrokenOff(Exception):  # noqa: N818 - it is no error of ours
    """We broke off an answer: `status` is what becomes of its sample, the message says why."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Exchange:
    """One request and its response, as they pass over a connection."""

    __slots__ = (
        "_ended", "answered", "body", "complete", "connect_ns", "dns_ns", "error", "headers",
        "headers_ns", "last_ns", "late_ns", "on_body", "on_wait", "reused", "sent_ns", "stamp",
        "status", "tcp_ns", "tls_ns", "written_ns",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.on_body: Callable[[Exchange, bytes], bool] | None = None
        """Called for each piece of the body as it comes, with `last_ns` its stamp; returns whether
        it has taken the piece, which is not kept then."""
        self.on_wait: Callable[[Exchange], None] | None = None
        """Called a few times a second until the answer is complete; may `end` it."""
        self.sent_ns = self.written_ns = self.headers_ns = self.last_ns = 0
        self.late_ns = 0
        """How long bytes lay in the socket before we read them, at worst."""
        self.connect_ns: int | None = None
        self.dns_ns: int | None = None
        self.tcp_ns: int | None = None
        self.tls_ns: int | None = None
        """How long opening the connection took, and its parts; None if it was used before."""
        self.reused = False
        self.answered = False
        """Whether any byte came back."""
        self.complete = False
        self.error: Exception | None = None
        self.stamp = "socket"
        self._ended: asyncio.Future[None] = loop.create_future()

    def take(self, body: bytes, stamp: int) -> None:
        """Take a piece of the body with its read's stamp (ns, monotonic)."""
        self.last_ns = stamp
        if self.on_body is None or not self.on_body(self, body):
            self.body.append(body)

    @property
    def header_fields(self) -> dict[str, str]:
        """The response's header fields by lower-case name; repeated ones are joined by commas."""
        fields: dict[str, str] = {}
        for raw_name, raw_value in self.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return fields

    def end(self, error: Exception | None = None) -> None:
        """Complete the response, or fail it; the first to do so is right."""
        if not self.complete:
            self.complete, self.error = True, error
            if not self._ended.done():
                self._ended.set_result(None)

    async def finished(self) -> None:
        """Wait for the end; raise what went wrong."""
        await self._ended
        if self.error is not None:
            raise self.error
