"""Runs as files: one JSON document, gzipped where the name ends in .gz; several in a zip file.

It is written and read one request at a time: ten million stamps as text, as a list and as an
array, all at once, would be a gigabyte.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from .cost.price import Price
from .errors import SettingsError
from .files import replacing
from .metrics.slo import Limits
from .run import Run
from .samples import Sample, Window

FORMAT, SEVERAL = "tpwidgets.run/1", "tpwidgets.runs/1"

_ABOUT = "about.json"
"""What a file of several runs tells of them."""

_UNREADABLE = ValueError, KeyError, TypeError, EOFError, RecursionError, zlib.error, BadZipFile

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
    with replacing(target) as raw:
        packed = gzip.GzipFile("", "wb", 5, raw, 0) if target.suffix == ".gz" else raw
        _write(run, packed)
    return target


def save_all(runs: Sequence[Run], about: dict[str, Any], path: str | Path) -> Path:
    """Save several runs, and plain values about them, as one zip file of JSON documents.

    Raises
    ------
    SettingsError
        If the folder does not exist or can't be written to.
    """
    target = Path(path).expanduser()
    with replacing(target) as raw, ZipFile(raw, "w", ZIP_DEFLATED) as file:
        file.writestr(_ABOUT, _json(about | {"format": SEVERAL}))
        for number, run in enumerate(runs, 1):
            with file.open(f"run-{number}.json", "w", force_zip64=True) as document:
                _write(run, document)
    return target


def _write(run: Run, raw: IO[bytes] | gzip.GzipFile) -> None:
    with TextIOWrapper(raw, encoding="utf-8", newline="\n") as file:
        file.writelines(_document(run))


def _document(run: Run) -> Iterator[str]:
    """Yield the document piece by piece: a line per request."""
    head = {
        "format": FORMAT,
        "state": run.state,
        "price": asdict(run.price) if run.price else None,
        "compared": [asdict(price) for price in run.compared],
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
    with _told(source), source.open("rb") as raw:
        begins = raw.read(2)
        raw.seek(0)
        if begins == b"PK":
            raise SettingsError(f"path {str(source)!r} holds several runs: use tp.Grid.load.")
        return _run(gzip.GzipFile(fileobj=raw) if begins == b"\x1f\x8b" else raw, source)


def load_all(path: str | Path) -> tuple[list[Run], dict[str, Any]]:
    """Load what `save_all` wrote.

    Raises
    ------
    SettingsError
        If there is no such file, or it holds no runs.
    """
    source = Path(path).expanduser()
    with _told(source), ZipFile(source) as file:
        about = json.loads(file.read(_ABOUT))
        _same(about, SEVERAL, source)
        names = [f"run-{number}.json" for number in range(1, len(file.namelist()))]
        runs = []
        for name in names:
            with file.open(name) as document:
                runs.append(_run(document, source))
        return runs, about


@contextmanager
def _told(source: Path) -> Iterator[None]:
    """Say in words why a file can't be loaded."""
    try:
        yield
    except OSError as error:
        said = error.strerror or error  # gzip's own errors have no strerror
        raise SettingsError(f"path {str(source)!r} can't be read: {said}.") from None
    except _UNREADABLE as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"path {str(source)!r} holds no run of tpwidgets.") from None


def _same(document: dict[str, Any], expected: str, source: Path) -> None:
    if document["format"] != expected:
        raise SettingsError(
            f"path {str(source)!r} holds {document['format']!r}, not {expected!r}: it was saved by "
            "another version of tpwidgets."
        )


def _run(raw: IO[bytes] | gzip.GzipFile, source: Path) -> Run:
    with TextIOWrapper(raw, encoding="utf-8") as file:
        document, rows = _read(file)
        _same(document, FORMAT, source)
        samples = [_sample(row) for row in rows]
    return Run(
        samples,
        [_window(row, samples) for row in document["windows"]],
        document["conditions"],
        document["state"],
        Price(**document["price"]) if document["price"] else None,
        Limits.of(document.get("limits")),
        [Price(**price) for price in document.get("compared", ())],
    )


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
