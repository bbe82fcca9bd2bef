"""Bodies that a server compressed although it was asked not to, unpacked as they come."""

import zlib
from collections.abc import Iterator

_PIECE = 64 * 1024
"""So much at most comes out at once: a small body that unpacks to gigabytes fills no memory."""


class Unpacker:
    """Unpacks gzip and deflate, read by read.

    Parameters
    ----------
    encoding : str
        The value of ``Content-Encoding``.

    Raises
    ------
    ValueError
        If it is another one.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in ("gzip", "x-gzip", "deflate"):
            raise ValueError(f"compressed ({self._encoding}), which nobody asked for")
        self._begin()

    def _begin(self) -> None:
        self._inflate = zlib.decompressobj(47)  # gzip or zlib, whichever it turns out to be
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take one read; yield what it unpacks to, in pieces. Raises ValueError if it is none."""
        while data:
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error:
                if self._begun or self._encoding != "deflate":
                    raise ValueError("compressed, and the compression is broken") from None
                self._inflate = zlib.decompressobj(-15)  # some call it deflate without zlib's frame
                self._begun = True
                continue
            self._begun = True
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                self._begin()
