"""Runs as files: one JSON document, gzipped where the name ends in .gz.

It is written and read one request at a time: ten million stamps as text, as a list and as an
array, all at once, would be a gigabyte.
"""

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from .cost import Price
from .errors import SettingsError
from .run import Run
from .samples import Sample, Window

FORMAT = "tpwidgets.run/1"

_SAMPLE = [field.name for field in fields(Sample)]
_WINDOW = [field.name for field in fields(Window)]

_CHUNK = 1 << 18
"""So many characters are read at once."""


def save(run: Run, path: str | Path) -> Path:
    """Save a run; the file is whole or not there at all.

    Raises
    ------
    SettingsError
        If the folder does not exist or can't be written to.
    """
    target = Path(path).expanduser()
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as raw:
            packed = gzip.GzipFile("", "wb", 5, raw, 0) if target.suffix == ".gz" else raw
            with TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
                file.writelines(_document(run))
        os.replace(part, target)  # noqa: PTH105 - atomic, also over an older file
    except OSError as error:
        raise SettingsError(f"path {str(target)!r} can't be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            part.unlink()
    return target


def _document(run: Run) -> Iterator[str]:
    """Yield the document piece by piece: a line per request."""
    head = {
        "format": FORMAT,
        "state": run.state,
        "price": asdict(run.price) if run.price else None,
        "conditions": run.conditions,
        "windows": [asdict(window) for window in run.windows],
    }
    yield _json(head)[:-1] + ',"samples":['
    between = "\n"
    for sample in run.samples:
        values = {name: getattr(sample, name) for name in _SAMPLE} | {
            "token_ms": sample.token_ms.tolist()
        }
        yield between + _json({k: v for k, v in values.items() if v is not None})
        between = ",\n"
    yield "\n]}\n"


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def load(path: str | Path) -> Run:
    """Load a run that `Run.save` wrote.

    Raises
    ------
    SettingsError
        If there is no such file, or it holds no run.
    """
    source = Path(path).expanduser()
    document: dict[str, Any] = {}
    samples: list[Sample] = []
    try:
        with source.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            unpacked = gzip.GzipFile(fileobj=raw) if zipped else raw
            with TextIOWrapper(unpacked, encoding="utf-8") as file:
                for name, value in _members(file):
                    if name == "samples":
                        samples.append(_sample(value))
                    elif name == "format" and value != FORMAT:
                        raise SettingsError(
                            f"path {str(source)!r} holds {value!r}, not {FORMAT!r}: it was saved "
                            "by another version of tpwidgets."
                        )
                    else:
                        document[name] = value
        if "format" not in document:
            raise ValueError("of unknown format")
        return Run(
            samples,
            [_window(row, samples) for row in document["windows"]],
            document["conditions"],
            document["state"],
            Price(**document["price"]) if document["price"] else None,
        )
    except OSError as error:
        said = error.strerror or error  # gzip's own errors have no strerror
        raise SettingsError(f"path {str(source)!r} can't be read: {said}.") from None
    except (ValueError, KeyError, TypeError, EOFError, RecursionError, zlib.error) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"path {str(source)!r} holds no run of tpwidgets.") from None


def _sample(row: dict[str, Any]) -> Sample:
    """Make a sample; what a later version added is left out."""
    return Sample(**{name: row[name] for name in _SAMPLE if name in row})


def _window(row: dict[str, Any], samples: list[Sample]) -> Window:
    """Make a window; an older one says itself how late its samples' stamps can be."""
    window = Window(**{name: row[name] for name in _WINDOW if name in row})
    if late := sorted(row.get("client_error_ms", ())):
        for sample in samples:
            if window.start_s < sample.ended_s <= window.end_s:
                sample.client_error_ms = late[99 * len(late) // 100]
    return window


class _Text:
    """JSON text, of which little more than the value being read is in memory."""

    _decode = json.JSONDecoder().raw_decode
    _space = re.compile(r"[ \t\n\r]*")

    def __init__(self, file: IO[str]) -> None:
        self._file, self._text, self._at = file, "", 0

    def more(self) -> bool:
        """Read on; tell whether there was more."""
        # twice as much each time: a value is begun anew whenever it turns out to be cut off
        chunk = self._file.read(max(_CHUNK, len(self._text) - self._at))
        if chunk:
            self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)

    def peek(self) -> str:
        """Return the next character that is no space, "" at the end."""
        while True:
            self._at = self._space.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self.more():
                return self._text[self._at : self._at + 1]

    def take(self, allowed: str) -> str:
        """Return that character and go on; it must be one of those allowed."""
        found = self.peek()
        if not found or found not in allowed:
            raise ValueError(f"{found!r} instead of one of {allowed!r}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Return the next value and go on."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except ValueError:
                if not self.more():
                    raise
                continue
            if end == len(self._text) and self.more():  # a number may go on
                continue
            self._at = end
            return value


def _members(file: IO[str]) -> Iterator[tuple[str, Any]]:
    """Go through the names and values of an object; each item of "samples" comes by itself."""
    text = _Text(file)
    text.take("{")
    after = text.take("}") if text.peek() == "}" else ","
    while after == ",":
        name = text.value()
        text.take(":")
        if name == "samples":
            text.take("[")
            after = text.take("]") if text.peek() == "]" else ","
            while after == ",":
                yield name, text.value()
                after = text.take(",]")
        else:
            yield name, text.value()
        after = text.take(",}")
    if text.peek():
        raise ValueError("something follows")
