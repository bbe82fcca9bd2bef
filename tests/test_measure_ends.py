"""How a measurement ends: stopped, interrupted, killed, and with its kernel."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import (
    PATIENCE_S,
    STREAM,
    Api,
    Peer,
    Server,
    answer,
    chunk,
    token,
)

import tpwidgets as tp
from tpwidgets.errors import MeasurementError
from tpwidgets.measuring.measurement import Measurement

ROOT = str(Path(__file__).parents[1])
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def until(measurement: Measurement, ready: Callable[[Measurement], bool]) -> None:
    """Wait until a measurement has come so far."""
    reached = threading.Event()
    measurement.on_update(lambda m: reached.set() if ready(m) or m.done else None)
    assert reached.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def sim() -> Iterator[Any]:
    with tp.simulate("vllm-llama-70b", speed=20) as running:
        yield running


def begin(url: str, **settings: Any) -> Measurement:
    return tp.start(url, **({"prompt_tokens": 48, "output_tokens": 8} | settings))


def worker_gone(measurement: Measurement) -> bool:
    fleet = measurement._fleet
    return fleet is None or fleet._members[0].worker._process.poll() is not None


def test_stop_keeps_what_there_is_and_answers(sim: Any) -> None:
    measurement = begin(sim.url, concurrency=(2, 4), seconds=1000)
    until(measurement, lambda m: m.live.requests > 8)
    measurement.stop()
    run = measurement.wait(PATIENCE_S)
    assert run.state == "stopped"
    assert measurement.progress.state == "stopped"
    assert sum(sample.status == "ok" for sample in run.samples) > 8
    assert run.windows[0].note == "stopped"
    assert isinstance(run.answer(), str)
    assert run._repr_html_()
    assert worker_gone(measurement)
    measurement.stop()  # again is fine


def test_stop_at_once(sim: Any) -> None:
    measurement = begin(sim.url)
    measurement.stop()
    assert measurement.wait(PATIENCE_S).state == "stopped"
    assert worker_gone(measurement)


def test_stop_does_not_wait_for_a_silent_server() -> None:
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        asked.set()
        peer.gone()

    with Server(script) as server:
        measurement = begin(server.url, timeout_s=1000)
        assert asked.wait(PATIENCE_S)
        measurement.stop()
        assert measurement.wait(PATIENCE_S).state == "stopped"


def test_a_killed_worker_is_an_error_and_leaves_nothing(sim: Any) -> None:
    measurement = begin(sim.url, concurrency=2, seconds=1000)
    until(measurement, lambda m: m.live.requests > 4)
    os.kill(measurement._fleet.pids[0], signal.SIGKILL)
    with pytest.raises(MeasurementError, match="ended by itself"):
        measurement.wait(PATIENCE_S)
    assert worker_gone(measurement)
    assert measurement.run.state == "failed"
    assert len(measurement.run.samples) > 4


def test_a_killed_worker_takes_no_level_with_it_that_was_measured(sim: Any) -> None:
    killed: list[bool] = []

    def kill(m: Any) -> None:
        if not killed and any(not row["provisional"] for row in m.rows):
            killed.append(True)
            os.kill(m._fleet.pids[0], signal.SIGKILL)

    measurement = begin(sim.url, concurrency=range(1, 9), requests=20)
    measurement.on_update(kill)
    run = measurement.wait(PATIENCE_S)
    assert run.state == "stopped"
    told = [row["concurrency"] for row in run.rows]
    assert told == list(range(1, len(told) + 1))
    assert 0 < len(told) < 8
    assert all(window.closed for window in run.windows)
    assert "ended early: the measuring process ended by itself" in measurement.progress.text
    assert "the measuring process ended by itself" in run.conditions["notes"][-1]


# --- processes ------------------------------------------------------------------------------------

HELD = """
import sys
import tpwidgets as tp
measurement = tp.start(sys.argv[1], concurrency=2, seconds=1000)
worker = None
while worker is None:
    worker = measurement._fleet
print(worker.pids[0], flush=True)
run = measurement.wait()
"""
INTERRUPTED = """
import signal, sys
import tpwidgets as tp
# a shell lets what it starts in the background ignore it
signal.signal(signal.SIGINT, signal.default_int_handler)
run = tp.measure(sys.argv[1], concurrency=2, seconds=1000, progress=False)
print(run.state, *(sample.status for sample in run.samples), flush=True)
"""


class Holding:
    """An API that answers a few measured requests, then lets them hang."""

    def __init__(self, good: int) -> None:
        self._left = good
        self.holding = threading.Event()

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.request()
            if request.method == "GET":
                peer.send(Api().routes["/v1/models"])  # type: ignore[arg-type]
                continue
            if "x-request-id" in request.headers:
                self._left -= 1
                if self._left < 0:
                    peer.send(STREAM + chunk(token()))
                    self.holding.set()
                    peer.gone()
                    return
            peer.send(answer(3, prompt=len(request.json["messages"][0]["content"].split())))


def child(script: str, url: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": ROOT}, start_new_session=True, **more,
    )  # fmt: skip


@linux
def test_a_worker_does_not_outlive_its_kernel() -> None:
    held = Holding(4)
    with Server(held) as server, child(HELD, server.url) as process:
        assert process.stdout is not None
        worker = os.pidfd_open(int(process.stdout.readline()))
        try:
            assert held.holding.wait(PATIENCE_S)  # it is amid requests that do not end
            assert select.select([worker], [], [], 0) == ([], [], [])
            process.kill()
            ended, _, _ = select.select([worker], [], [], PATIENCE_S)
            assert ended == [worker]
        finally:
            os.close(worker)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to a group")
def test_an_interrupt_stops_the_measurement_and_not_the_worker() -> None:
    held = Holding(4)
    with Server(held) as server, child(INTERRUPTED, server.url) as process:
        assert held.holding.wait(PATIENCE_S)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_S)
    state, *statuses = out.split()
    assert state == "stopped"
    assert statuses.count("ok") == 4
    assert "stopped" in statuses  # only a worker that is alive can tell of it
    assert process.returncode == 0
