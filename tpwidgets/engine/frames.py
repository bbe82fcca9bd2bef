"""Messages between the kernel and a worker, over pipes: JSON, and the token stamps as raw floats.

A frame is two lengths, a JSON document, and the token stamps of all its samples, one after the
other: text would cost more than all the rest of a sample's way.
"""

import json
import struct
from array import array
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from ..samples import Sample

_LENGTHS = struct.Struct(">II")
_NAMES = [field.name for field in fields(Sample)]
_values = attrgetter(*_NAMES)
_STAMPS = _NAMES.index("token_ms")


def encode(message: dict[str, Any]) -> bytes:
    """Return the bytes of one frame; its batch may hold ``{"sample": Sample}``."""
    stamps: list[bytes] = []
    if "batch" in message:
        batch = [
            {"sample": _row(item["sample"], stamps)} if "sample" in item else item
            for item in message["batch"]
        ]
        message = {**message, "batch": batch}
    body = json.dumps(message, separators=(",", ":")).encode()
    blob = b"".join(stamps)
    return _LENGTHS.pack(len(body), len(blob)) + body + blob


def _row(sample: Sample, stamps: list[bytes]) -> list[Any]:
    row = list(_values(sample))
    stamps.append(row[_STAMPS].tobytes())
    row[_STAMPS] = len(stamps[-1])
    return row


def read(read_exactly: Callable[[int], bytes]) -> dict[str, Any] | None:
    """Read one frame with a blocking reader; None at the end of the pipe (or amid a frame)."""
    head = read_exactly(_LENGTHS.size)
    if len(head) < _LENGTHS.size:
        return None
    sizes = _LENGTHS.unpack(head)
    body, blob = read_exactly(sizes[0]), read_exactly(sizes[1])
    if (len(body), len(blob)) != sizes:
        return None
    message: dict[str, Any] = json.loads(body)
    at = 0
    for item in message.get("batch", ()):
        if "sample" in item:
            row = item["sample"]
            end = at + row[_STAMPS]
            row[_STAMPS] = array("d")
            row[_STAMPS].frombytes(blob[at:end])
            item["sample"] = Sample(*row)
            at = end
    return message
