"""Runs as files: one JSON document, gzipped where the name ends in .gz.

It is written and read one request at a time: ten million stamps as text, as a list and as an
array, all at once, would be a gigabyte.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from .cost import Price
from .errors import SettingsError
from .run import Run
from .samples import Sample, Window
from .slo import Limits

FORMAT = "tpwidgets.run/1"

_SAMPLE = [field.name for field in fields(Sample)]
_WINDOW = [field.name for field in fields(Window)]

_SAMPLES, _END = ',"samples":[', "]}\n"
"""Between what a document holds besides its samples and these, a line each; and after them."""


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
        "limits": run.limits.bounds if run.limits else None,
        "conditions": run.conditions,
        "windows": [asdict(window) for window in run.windows],
    }
    yield _json(head)[:-1] + _SAMPLES
    between = "\n"
    for sample in run.samples:
        values = {name: getattr(sample, name) for name in _SAMPLE} | {
            "token_ms": sample.token_ms.tolist()
        }
        yield between + _json({k: v for k, v in values.items() if v is not None})
        between = ",\n"
    yield "\n" + _END


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
    try:
        with source.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            unpacked = gzip.GzipFile(fileobj=raw) if zipped else raw
            with TextIOWrapper(unpacked, encoding="utf-8") as file:
                document, rows = _read(file)
                said = document["format"]
                if said != FORMAT:
                    raise SettingsError(
                        f"path {str(source)!r} holds {said!r}, not {FORMAT!r}: it was saved by "
                        "another version of tpwidgets."
                    )
                samples = [_sample(row) for row in rows]
        return Run(
            samples,
            [_window(row, samples) for row in document["windows"]],
            document["conditions"],
            document["state"],
            Price(**document["price"]) if document["price"] else None,
            Limits.of(document.get("limits")),
        )
    except OSError as error:
        said = error.strerror or error  # gzip's own errors have no strerror
        raise SettingsError(f"path {str(source)!r} can't be read: {said}.") from None
    except (ValueError, KeyError, TypeError, EOFError, RecursionError, zlib.error) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"path {str(source)!r} holds no run of tpwidgets.") from None


def _read(file: IO[str]) -> tuple[dict[str, Any], Iterable[dict[str, Any]]]:
    """Read a document but for its samples, and how to get at those one by one."""
    first = file.readline()
    if first.endswith(_SAMPLES + "\n"):  # as `save` lays it out
        return json.loads(first.removesuffix(_SAMPLES + "\n") + "}"), _rows(file)
    document = json.loads(first + file.read())
    return document, document["samples"]


def _rows(file: IO[str]) -> Iterator[dict[str, Any]]:
    for line in file:
        if line == _END:
            break
        yield json.loads(line.rstrip(",\n"))
    else:
        raise ValueError("it was cut off")
    if file.read().strip():
        raise ValueError("something follows")


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
