"""The truth server as a context manager, and its log as numbers.

::

    with TruthServer("--ttft-ms", "200", core=0) as truth:
        ...  # load truth.url
    log = truth.read()  # {request_id: Served}

By hand: ``python -m benchmarks.truth --ttft-ms 200 --itl-ms 10 --log FILE``.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_SOURCE = HERE / "truth_server.c"


@dataclass(slots=True)
class Served:
    """One request as the server saw it; times in CLOCK_MONOTONIC nanoseconds."""

    received_ns: int
    write_ns: list[int]
    """Right before the write of each token chunk."""
    tokens: int
    status: str
    """ok; aborted: the client left; open: the server was stopped."""
    connection: int
    nth: int
    """Which request on its connection, from 1."""


def compiled() -> Path:
    """Return the server's binary, compiled if this source has not been yet."""
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    binary = HERE / ".build" / f"truth-server-{digest}"
    if not binary.exists():
        binary.parent.mkdir(exist_ok=True)
        fresh = binary.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-O2", "-o", fresh, _SOURCE], check=True)
        fresh.rename(binary)
    return binary


class TruthServer:
    """A running truth server.

    Parameters
    ----------
    *options : str
        As `truth_server.c` takes them.
    core : int, optional
        The core it is pinned to. With the right to do so it also gets a real-time priority, so
        that what else runs there delays no write.
    """

    def __init__(self, *options: str, core: int | None = None) -> None:
        self._options, self._core = options, core

    def __enter__(self) -> "TruthServer":
        handle, name = tempfile.mkstemp(prefix="truth-", suffix=".log")
        os.close(handle)
        self.log = Path(name)
        self._process = subprocess.Popen(
            [compiled(), "--port", "0", "--log", self.log, *self._options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"
        if self._core is not None:
            os.sched_setaffinity(self.pid, {self._core})
            with suppress(PermissionError):
                os.sched_setscheduler(self.pid, os.SCHED_FIFO, os.sched_param(1))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.log.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the server; what was under way is in the log then, with the status `open`."""
        self._process.terminate()
        self._process.wait()

    def read(self) -> dict[str, Served]:
        """Return what has been logged so far, by request id."""
        return read_log(self.log)


def read_log(path: Path) -> dict[str, Served]:
    """Read a truth server's log; a request without an id is found under a number of its own."""
    served = {}
    with path.open() as lines:
        for number, line in enumerate(lines):
            if not line.endswith("\n"):
                break  # still being written
            request_id, connection, nth, status, tokens, received, *writes = line.split()
            served[f"#{number}" if request_id == "-" else request_id] = Served(
                int(received),
                [int(received) + int(write) for write in writes],
                int(tokens),
                status,
                int(connection),
                int(nth),
            )
    return served


if __name__ == "__main__":
    os.execv(compiled(), [str(compiled()), *sys.argv[1:]])
