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
_BUILD = HERE / ".build"


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


def compiled(*, tls: bool = False) -> Path:
    """Return the server's binary, compiled if this source has not been yet.

    With TLS it needs OpenSSL's headers (on Debian: libssl-dev).
    """
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    binary = _BUILD / f"truth-server-{'tls-' if tls else ''}{digest}"
    if not binary.exists():
        _BUILD.mkdir(exist_ok=True)
        fresh = binary.with_suffix(f".{os.getpid()}")
        extra = ("-DTLS", "-lssl", "-lcrypto") if tls else ()
        subprocess.run(["cc", "-O2", "-o", fresh, _SOURCE, *extra], check=True)
        fresh.rename(binary)
    return binary


def certificate() -> Path:
    """Return a self-signed certificate for 127.0.0.1 with its key, made if it is not there."""
    pem = _BUILD / "certificate.pem"
    if not pem.exists():
        _BUILD.mkdir(exist_ok=True)
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 "
            "-subj /CN=truth -addext subjectAltName=IP:127.0.0.1"
        )
        subprocess.run(
            [*command.split(), "-keyout", pem, "-out", pem.with_suffix(".crt")],
            check=True,
            capture_output=True,
        )
        pem.write_text(pem.read_text() + pem.with_suffix(".crt").read_text())
    return pem


class TruthServer:
    """A running truth server.

    Parameters
    ----------
    *options : str
        As `truth_server.c` takes them.
    core : int, optional
        The core it is pinned to. With the right to do so it also gets a real-time priority, so
        that what else runs there delays no write.
    tls : bool
        Speak https, with a certificate that `env` makes clients trust.
    """

    def __init__(self, *options: str, core: int | None = None, tls: bool = False) -> None:
        self._options, self._core, self._tls = options, core, tls
        self.env: dict[str, str] = {}
        """For clients."""
        if tls:
            self._options += ("--certificate", str(certificate()))
            self.env["SSL_CERT_FILE"] = str(certificate())

    def __enter__(self) -> "TruthServer":
        handle, name = tempfile.mkstemp(prefix="truth-", suffix=".log")
        os.close(handle)
        self.log = Path(name)
        self._process = subprocess.Popen(
            [compiled(tls=self._tls), "--port", "0", "--log", self.log, *self._options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1"
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
