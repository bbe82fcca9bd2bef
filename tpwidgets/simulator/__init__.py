"""An endpoint with known physics: to learn from, and to check the tool against.

``python -m tpwidgets.simulator`` imports this module, so it stays light.
"""

import atexit
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from .profiles import METRONOME, PROFILES, Profile

__all__ = ["PROFILES", "Profile", "Simulation", "simulate"]

_START_S = 20.0
_STOP_S = 3.0


class Simulation:
    """A simulated endpoint that runs in a process of its own; see `simulate`.

    Attributes
    ----------
    profile : Profile
        What it simulates.
    url : str
        Its base URL, which ends in ``/v1``.
    pid : int
        Its process.
    log : Path or None
        Where it writes the true time of every token.
    """

    def __init__(
        self, profile: Profile, process: subprocess.Popen[bytes], url: str, log: Path | None
    ) -> None:
        self.profile = profile
        self.url = url
        self.pid = process.pid
        self.log = log
        self._process = process
        atexit.register(self.close)

    @property
    def alive(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def close(self) -> None:
        """Stop the endpoint; again is fine."""
        atexit.unregister(self.close)
        _stop(self._process)

    def __enter__(self) -> "Simulation":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self.url if self.alive else "closed"
        return f"<Simulation {self.profile.name}: {state}>"


def simulate(
    profile: str = "vllm-llama-70b",
    *,
    speed: float = 1.0,
    seed: int = 0,
    log: str | os.PathLike[str] | None = None,
    api_key_env: str | None = None,
) -> Simulation:
    """Start a simulated endpoint on this machine: a real HTTP server with known physics.

    Parameters
    ----------
    profile : str
        A name in `PROFILES`.
    speed : float
        Divides all durations: at 4, everything happens four times as fast.
    seed : int
        Seeds the noise, the jitter and the faults.
    log : path, optional
        A file to which it appends a JSON line per request, with the true time of every token.
    api_key_env : str, optional
        The environment variable with the API key that it is to require.

    Returns
    -------
    Simulation
        Has a ``url``; stop it with ``close()`` or by leaving its ``with`` block. It ends with this
        process in any case.

    Raises
    ------
    SettingsError
        If a setting is not usable.
    EndpointError
        If the server does not start.
    """
    from ..errors import EndpointError, SettingsError  # the server process doesn't need them

    known = PROFILES | {METRONOME.name: METRONOME}
    if profile not in known:
        raise SettingsError(_unknown(profile))
    if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not _positive(speed):
        raise SettingsError(f"speed={speed!r} must be a positive, finite number.")
    if api_key_env and not os.environ.get(api_key_env):
        raise SettingsError(
            f"api_key_env={api_key_env!r} names no environment variable that is set."
        )
    path = None if log is None else Path(log).absolute()
    # -P: a notebook's folder may hold a random.py.
    command = [sys.executable, "-P", "-m", __name__, profile, "--exit-with-parent"]
    command += ["--speed", str(speed), "--seed", str(seed)]
    command += ["--log", str(path)] if path else []
    command += ["--api-key-env", api_key_env] if api_key_env else []
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            start_new_session=True,  # Kernel > Interrupt is not meant for it
        )
        line = _first_line(process)
        if line is None:
            _stop(process)
            errors.seek(0)
            tail = errors.read().decode(errors="replace").strip()[-2000:]
            raise EndpointError(
                f"The simulated endpoint {profile!r} did not start. {tail}", "unreachable"
            )
    return Simulation(known[profile], process, json.loads(line)["url"], path)


def _unknown(profile: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(str(profile), PROFILES, n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"profile={profile!r} is not known.{hint} Known: {', '.join(PROFILES)}."


def _positive(value: float) -> bool:
    return value > 0 and math.isfinite(value)


def _environment() -> dict[str, str]:
    """Return an environment in which the child finds this package even if it isn't installed."""
    root = Path(__file__).parents[2]
    if root.name in {"site-packages", "dist-packages"}:
        return dict(os.environ)
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _first_line(process: subprocess.Popen[bytes]) -> bytes | None:
    """Return the line that a server prints once it listens; None if it doesn't come."""
    lines: list[bytes] = []

    def read() -> None:
        with cast("IO[bytes]", process.stdout) as stream:
            lines.append(stream.readline())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(_START_S)
    return lines[0] if lines and lines[0] else None


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin:
        process.stdin.close()
