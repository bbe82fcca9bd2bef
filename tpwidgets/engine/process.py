"""A worker as a process on this machine."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..masking import Mask, is_key_variable
from . import frames

_ROOT = Path(__file__).resolve().parents[2]
_INSTALLED = _ROOT.name in ("site-packages", "dist-packages")


class LocalWorker:
    """A worker process on this machine.

    It runs in a session of its own, so that interrupting the kernel does not kill it, and it ends
    when its standard input does, so that it never outlives the kernel.

    Parameters
    ----------
    mask : Mask
        What it must not inherit in any environment variable: the key travels in a frame. Variables
        with the name of a key are none of its business either.
    """

    def __init__(self, mask: Mask) -> None:
        env = {
            name: value
            for name, value in os.environ.items()
            if not is_key_variable(name) and not mask.hides(value)
        }
        # -P: never import from the directory that the notebook happens to be in
        if not _INSTALLED:  # site-packages must not come before the standard library
            paths = (str(_ROOT), env.get("PYTHONPATH", ""))
            env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tpwidgets.engine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=env,
            start_new_session=True,
        )
        self._sending = threading.Lock()

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Send a command; a worker that is gone is noticed where its messages are read."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101
        with self._sending, suppress(OSError, ValueError):
            stdin.write(frames.encode(message))
            stdin.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield the worker's messages until it ends."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101
        with suppress(ValueError):  # closed while reading
            while (message := frames.read(stdout.read)) is not None:
                yield message

    def kill_unless_ended(self, within_s: float) -> None:
        """Kill the worker if it has not ended by itself in time."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
            return
        self._process.kill()

    def close(self) -> str:
        """End the worker, by force if need be; return the last line of what it complained of."""
        with self._sending, suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self.kill_unless_ended(2.0)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self._errors.close()
        return lines[-1] if lines else ""
