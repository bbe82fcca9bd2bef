"""Compressed answers, unpacked."""

import os
import zlib

import pytest
from faulty import GZIP, ZLIB

from tpwidgets.engine.encoding import Unpacker


@pytest.mark.parametrize(
    ("encoding", "wbits"), [("gzip", GZIP), ("deflate", ZLIB), (" X-GZIP", GZIP)]
)
def test_unpacking_byte_by_byte_and_several_members(encoding: str, wbits: int) -> None:
    text = os.urandom(3000) * 3
    parts = [zlib.compressobj(wbits=wbits) for _ in range(2)]
    data = b"".join(part.compress(text) + part.flush() for part in parts)
    unpacker = Unpacker(encoding)
    pieces = [piece for byte in data for piece in unpacker.feed(bytes([byte]))]
    assert b"".join(pieces) == 2 * text


def test_a_small_body_that_unpacks_to_much_comes_in_small_pieces() -> None:
    bomb = zlib.compress(bytes(50 * 2**20), wbits=GZIP)
    sizes = [len(piece) for piece in Unpacker("gzip").feed(bomb)]
    assert sum(sizes) == 50 * 2**20
    assert max(sizes) <= 64 * 1024
