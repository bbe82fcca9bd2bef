"""A worker moves off a core that something else keeps busy."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tpwidgets.engine.place import Place

pytestmark = pytest.mark.skipif(
    not Path("/proc/thread-self/schedstat").exists() or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and two cores",
)


def waited_ns() -> int:
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1])


def in_thread(look: object) -> None:
    """Run it in a thread of its own: what it does to its core dies with it."""
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()


def test_who_is_kept_waiting_goes_to_another_core() -> None:
    allowed = os.sched_getaffinity(0)
    crowded = min(allowed)
    seen: list[set[int]] = []

    def compete() -> None:
        place = Place()
        os.sched_setaffinity(0, {crowded})
        place.look()  # sees where it is
        before, until = waited_ns(), time.monotonic() + 20
        began = time.monotonic_ns()
        # compute until the other one has taken nearly half of the time
        while time.monotonic() < until:
            taken = (waited_ns() - before) / (time.monotonic_ns() - began)
            if taken > 0.4 and waited_ns() - before > 20_000_000:
                break
        place.look()
        seen.append(os.sched_getaffinity(0))

    rival = subprocess.Popen(
        [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{crowded}}})\nwhile 1: pass"]
    )
    try:
        in_thread(compete)
    finally:
        rival.kill()
        rival.wait()
    assert seen == [allowed - {crowded}]
