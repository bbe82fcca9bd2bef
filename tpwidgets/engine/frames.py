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
