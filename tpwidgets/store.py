"""Runs as files: one JSON document, gzipped where the name ends in .gz."""

import gzip
import json
import os
import zlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cost import Price
from .errors import SettingsError
from .run import Run
from .samples import Sample, Window

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = "tpwidgets.run/1"
_SAMPLE = [field.name for field in fields(Sample)]


def save(run: Run, path: str | Path) -> Path:
    """Save a run; the file is whole or not there at all.

    Raises
    ------
    SettingsError
        If the folder does not exist or can't be written to.
    """
    target = Path(path).expanduser()
    document = {
        "format": FORMAT,
        "state": run.state,
        "price": asdict(run.price) if run.price else None,
        "conditions": run.conditions,
        "windows": [asdict(window) for window in run.windows],
        "samples": [_plain(sample) for sample in run.samples],
    }
    data = json.dumps(document, separators=(",", ":")).encode()
    if target.suffix == ".gz":
        data = gzip.compress(data, 6, mtime=0)
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, target)  # noqa: PTH105 - atomic, also over an older file
    except OSError as error:
        part.unlink(missing_ok=True) if part.parent.is_dir() else None
        raise SettingsError(f"path {str(target)!r} can't be written: {error.strerror}.") from None
    return target


def load(path: str | Path) -> Run:
    """Load a run that `Run.save` wrote.

    Raises
    ------
    SettingsError
        If there is no such file, or it holds no run.
    """
    source = Path(path).expanduser()
    try:
        data = source.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise SettingsError(
                f"path {str(source)!r} holds {document['format']!r}, not {FORMAT!r}: it was saved "
                "by another version of tpwidgets."
            )
        return Run(
            list(_each(Sample, document["samples"])),
            list(_each(Window, document["windows"])),
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


def _plain(sample: Sample) -> dict[str, Any]:
    values = {name: getattr(sample, name) for name in _SAMPLE}
    return values | {"token_ms": list(sample.token_ms)}


def _each(kind: Any, rows: list[dict[str, Any]]) -> "Iterator[Any]":
    return (kind(**row) for row in rows)
