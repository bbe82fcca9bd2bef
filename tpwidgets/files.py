"""Files that are whole or not there at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import SettingsError


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the target's place once it is whole.

    Raises
    ------
    SettingsError
        If the folder does not exist or can't be written to.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as raw:
            yield raw
        os.replace(part, target)  # noqa: PTH105 - atomic, also over an older file
    except OSError as error:
        raise SettingsError(f"path {str(target)!r} can't be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            part.unlink()
