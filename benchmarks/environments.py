"""A virtual environment per tool under test, made on demand with pinned versions."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = Path(__file__).parent / ".venvs"


@dataclass(frozen=True)
class Environment:
    """Pinned packages in a virtual environment of their own."""

    name: str
    packages: tuple[str, ...]
    first: tuple[str, ...] = ()
    """Installed before the others, so that pip does not pull a larger build of them."""
    python: str = ""
    """As ``3.12``; empty: the Python that runs the benchmark."""
    notes: tuple[str, ...] = field(default=())

    @property
    def folder(self) -> Path:
        return _FOLDER / self.name

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def make(self) -> "Environment":
        """Make the environment unless it is there as pinned."""
        stamp = self.folder / "pinned.txt"
        pinned = "\n".join((*self.first, *self.packages)) + "\n"
        if stamp.exists() and stamp.read_text() == pinned:
            return self
        python = interpreter(self.python)
        print(f"installing {', '.join(self.packages)} …", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", self.folder], check=True)
        for packages in filter(None, (self.first, self.packages)):
            subprocess.run([self.bin / "pip", "install", "-q", *packages], check=True)
        stamp.write_text(pinned)
        return self

    def version(self, package: str) -> str:
        """Return the version of `package` that is installed there."""
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        return subprocess.run(
            [self.bin / "python", "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()


def interpreter(version: str) -> str:
    """Return a Python of that version.

    Raises
    ------
    FileNotFoundError
        If this machine has none.
    """
    if not version or sys.version.startswith(f"{version}."):
        return sys.executable
    listed = Path(__file__).parents[1] / "scripts" / "pythons"
    if listed.exists():
        lines = subprocess.run([listed], capture_output=True, text=True, check=True).stdout
        for line in lines.splitlines():
            found, _, path = line.partition(" ")
            if found == version:
                return path
    path = shutil.which(f"python{version}")
    if path is None:
        raise FileNotFoundError(f"no Python {version} on this machine")
    return path
