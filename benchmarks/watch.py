"""Run a command and account for all of its processes: CPU time, memory, how long.

A script of its own (``python watch.py RESULT.json CORES COMMAND…``), so that orphans of the command
become its children, are waited for, and their CPU time is counted too. Standard library only.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_INTERVAL_S = 0.2
_GRACE_S = 5.0
"""How long processes may outlive the command before they are killed."""


@dataclass
class Watched:
    """What a command and all its descendants took."""

    returncode: int
    started_ns: int
    ended_ns: int
    """CLOCK_MONOTONIC right before the command began and after its last process ended."""
    cpu_s: float
    """User and system time of all processes, from start to end."""
    peak_pss_mb: float
    """The highest sum of the processes' proportional set sizes, sampled."""
    processes: list[tuple[str, list[tuple[float, float]]]]
    """Each process's command line and its samples: seconds since the start, PSS in MB."""


def watch(
    command: list[str],
    cores: set[int],
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    output: Path | None = None,
    timeout_s: float = 1800.0,
) -> Watched:
    """Run `command` on `cores`; its output goes into the file `output`, else nowhere."""
    result = Path(f"{output}.json") if output else Path(f"/tmp/watch-{os.getpid()}.json")
    with (output or Path(os.devnull)).open("wb") as sink:
        watcher = subprocess.Popen(
            [sys.executable, __file__, result, ",".join(map(str, sorted(cores))), *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        try:
            watcher.wait(timeout_s)
        except BaseException:
            watcher.terminate()  # it ends what it watches
            watcher.wait()
            raise
    watched = Watched(**json.loads(result.read_text()))
    result.unlink()
    return watched


def _descendants() -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [os.getpid()]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


class _Memory(threading.Thread):
    """Samples the processes' PSS; rarely where that is expensive, so as not to disturb them."""

    def __init__(self, began: float) -> None:
        super().__init__(daemon=True)
        self._began = began
        self.over = threading.Event()
        self.peak = 0.0
        self.processes: dict[int, tuple[str, list[tuple[float, float]]]] = {}

    def run(self) -> None:
        pause = 0.0
        while not self.over.wait(pause):
            start = time.monotonic()
            total = 0.0
            for pid in _descendants():
                with suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                    pss = int(next(ln for ln in lines if ln.startswith("Pss:")).split()[1]) / 1000
                    name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                    total += pss
                    _, samples = self.processes.setdefault(pid, (name, []))
                    samples.append((start - self._began, pss))
                    self.processes[pid] = (name or self.processes[pid][0], samples)
            self.peak = max(self.peak, total)
            pause = max(_INTERVAL_S, 20 * (time.monotonic() - start))


def _reap(pid: int) -> int:
    """Wait for the command, then for what is left of its processes; return its exit status."""
    status: int | None = None
    deadline = float("inf")
    while True:
        try:
            ended, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status if status is not None else 1
        if ended == pid:
            status = os.waitstatus_to_exitcode(code)
            deadline = time.monotonic() + _GRACE_S
        if not ended:
            if time.monotonic() > deadline:
                for orphan in _descendants():
                    with suppress(ProcessLookupError):
                        os.kill(orphan, signal.SIGKILL)
            time.sleep(0.002)


def main(result: str, cores: str, *command: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def end(*_: object) -> None:
        for pid in _descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    allowed = {int(core) for core in cores.split(",")}
    started_ns = time.monotonic_ns()
    memory = _Memory(time.monotonic())
    process = subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, allowed))
    memory.start()
    returncode = _reap(process.pid)
    ended_ns = time.monotonic_ns()
    memory.over.set()
    memory.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    watched = Watched(
        returncode,
        started_ns,
        ended_ns,
        used.ru_utime + used.ru_stime,
        memory.peak,
        list(memory.processes.values()),
    )
    Path(result).write_text(json.dumps(vars(watched)))


if __name__ == "__main__":
    main(*sys.argv[1:])
