"""Messages between the kernel and a worker, over pipes: JSON, and the token stamps as raw floats.

A frame is two lengths, a JSON document, and, for a sample, its token stamps: as text they would
cost more than all the rest of a sample's way.
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
    """Return the bytes of one frame; the message may be ``{"sample": Sample}``."""
    blob = b""
    if "sample" in message:
        row = list(_values(message["sample"]))
        blob = row[_STAMPS].tobytes()
        row[_STAMPS] = None
        message = {"sample": row}
    body = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(body), len(blob)) + body + blob


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
    if "sample" in message:
        row = message["sample"]
        row[_STAMPS] = array("d", blob)
        message["sample"] = Sample(*row)
    return message
