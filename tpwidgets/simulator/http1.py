"""As much of HTTP/1.1 as a server needs that writes its own bytes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MAX_HEAD = 64 * 1024
MAX_BODY = 4 * 1024 * 1024

Headers = Iterable[tuple[str, str]]


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of ours
    """An error response in OpenAI's form."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        param: str | None = None,
        code: int | str | None = None,
        headers: Headers = (),
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = tuple(headers)
        self.close = close
        self.body = {
            "error": {
                "message": message,
                "type": kind or HTTPStatus(status).phrase.title().replace(" ", "") + "Error",
                "param": param,
                "code": status if code is None else code,
            }
        }


@dataclass(frozen=True, slots=True)
class Message:
    """A request, fully read."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def keep_alive(self) -> bool:
        """Whether the client lets the connection serve another request."""
        return "close" not in self.headers.get("connection", "").lower()


class Reader:
    """Bytes in, requests out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None
        self.expects_continue = False
        """The client waits for 100 Continue before it sends its body."""

    @property
    def size(self) -> int:
        """How many bytes lie unread."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add what came from the socket."""
        self._buffer += data

    def next(self) -> Message | None:
        """Return the next whole request, or None while it is incomplete.

        Raises
        ------
        Refusal
            If this cannot become a request that we serve.
        """
        self._head = self._head or self._read_head()
        if self._head is None:
            return None
        method, path, headers = self._head
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunks()
        else:
            body = self._read_length(headers.get("content-length", "0"))
        if body is None:
            return None
        self._head = None
        self.expects_continue = False
        return Message(method, path, headers, body)

    def _read_head(self) -> tuple[str, str, dict[str, str]] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, len(self._buffer) if end < 0 else 0) > MAX_HEAD:
            raise Refusal(431, "Request header fields too large.", close=True)
        if end < 0:
            return None
        start, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        parts = start.split(" ")
        if len(parts) != 3 or parts[2] != "HTTP/1.1":
            raise Refusal(400, "Invalid HTTP request received.", close=True)
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise Refusal(400, "Invalid HTTP request received.", close=True)
            headers[name.lower()] = value.strip()
        self.expects_continue = headers.get("expect", "").lower() == "100-continue"
        return parts[0], parts[1].partition("?")[0], headers

    def _read_length(self, value: str) -> bytes | None:
        if not value.isdecimal():
            raise Refusal(400, "Invalid HTTP request received.", close=True)
        if len(value) > 12 or int(value) > MAX_BODY:
            raise _too_large()
        length = int(value)
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _read_chunks(self) -> bytes | None:
        """Join a chunked body; from its beginning each time, since clients hardly ever send one."""
        body, at = bytearray(), 0
        while (line := self._buffer.find(b"\r\n", at)) >= 0:
            try:
                size = int(self._buffer[at:line].split(b";")[0], 16)
            except ValueError:
                size = -1
            if size < 0:
                raise Refusal(400, "Invalid HTTP request received.", close=True)
            if len(body) + size > MAX_BODY:
                raise _too_large()
            at = line + 2 + size + 2
            if len(self._buffer) < at:
                return None
            if size == 0:
                del self._buffer[:at]
                return bytes(body)
            body += self._buffer[line + 2 : at - 2]
        return None


def head(status: int, headers: Headers) -> bytes:
    """Return a response head."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "server: tpwidgets-simulator"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def response(status: int, body: Any, headers: Headers = ()) -> bytes:
    """Return a whole JSON response."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    length = ("content-length", str(len(content)))
    return head(status, [*headers, length, ("content-type", "application/json")]) + content


def chunk(data: bytes) -> bytes:
    """Frame `data` for chunked transfer."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def _too_large() -> Refusal:
    return Refusal(413, f"The request body is larger than {MAX_BODY} bytes.", close=True)
