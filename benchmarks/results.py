"""`results.json`: every round's figures, as the table is made from them."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .truth import HERE

FILE = HERE / "results.json"


class Runnable(Protocol):
    """A cell of a benchmark."""

    @property
    def label(self) -> dict[str, Any]:
        """What it is: client, streams and so on."""

    def run(self) -> Mapping[str, Any]:
        """Run it once."""


def collect(section: str, rounds: int, jobs: Iterable[Runnable]) -> None:
    """Run all jobs, `rounds` times in turn, and keep their figures as `section`.

    Interleaved, so that whatever else the machine does falls on all alike. A job that fails leaves
    no row; the table names it.
    """
    jobs = list(jobs)
    rows, failed = [], []
    began = time.monotonic()
    for number in range(1, rounds + 1):
        for job in jobs:
            name = ", ".join(str(value) for value in job.label.values())
            print(f"{section} {number}/{rounds}: {name}", flush=True)
            try:
                rows.append({**job.label, "round": number, **job.run()})
            except RuntimeError as error:
                failed.append(f"{name}, round {number}")
                print(f"failed: {error}", flush=True)
    results = load()
    results[section] = {
        "date": time.strftime("%Y-%m-%d"),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "rounds": rounds,
        "machine": machine(),
        "commit": _commit(),
        "failed": failed,
        "rows": [_rounded(row) for row in rows],
    }
    FILE.write_text(json.dumps(results, indent=1) + "\n")


def load() -> dict[str, Any]:
    """Return all sections so far."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def machine() -> str:
    """Return what this machine is, in a line."""
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line
    )
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def _commit() -> str:
    command = ["git", "log", "-1", "--format=%h", "--", "tpwidgets"]
    return subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True).stdout.strip()


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}
