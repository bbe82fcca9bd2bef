"""Messages between the kernel and a worker: JSON with its length before it, over pipes."""

import json
import struct
from collections.abc import Callable
from typing import Any

_LENGTH = struct.Struct(">I")


def encode(message: dict[str, Any]) -> bytes:
    """Return the bytes of one frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def read(read_exactly: Callable[[int], bytes]) -> dict[str, Any] | None:
    """Read one frame with a blocking reader; None at the end of the pipe (or amid a frame)."""
    head = read_exactly(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = read_exactly(length)
    if len(body) < length:
        return None
    message: dict[str, Any] = json.loads(body)
    return message


class FrameParser:
    """Cut a byte stream that arrives in pieces into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """Take some bytes; return the messages they completed."""
        self._buffer += chunk
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(json.loads(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return messages
