"""A server that is frozen, killed and started again while it is measured."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import tls
from hostile import PATIENCE_S, STREAM, Api, Peer, Request, Server, answer, chunk, free_port, token
from test_measure_ends import linux, until, worker_gone

import tpwidgets as tp


class Victim:
    """A simulated endpoint in a process of its own, to be frozen, killed and started again."""

    def __init__(self, log: Path) -> None:
        self._log, self._port = log, free_port()
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tpwidgets.simulator", "vllm-llama-70b", "--speed", "20",
             "--port", str(self._port), "--log", str(self._log), "--exit-with-parent"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = json.loads(self._process.stdout.readline())["url"]

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        with self._process:
            self._process.kill()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    made = Victim(tmp_path / "server.jsonl")
    yield made
    made.kill()


@linux
def test_a_server_that_is_frozen_killed_and_started_again_under_64_streams(
    victim: Victim, tmp_path: Path
) -> None:
    measurement = tp.start(
        victim.url, concurrency=(8, *range(64, 99)), seconds=0.5, timeout_s=1.0,
        prompt_tokens=48, output_tokens=12,
    )  # fmt: skip

    def gained(errors: int, good: int) -> None:
        """Wait until there are so many more failures and successes."""
        live = measurement.live
        errors += live.errors
        good += live.requests - live.errors
        until(
            measurement,
            lambda m: m.live.errors >= errors and good <= m.live.requests - m.live.errors,
        )
        assert not measurement.done, measurement.progress.text

    until(measurement, lambda m: (m.live.concurrency or 0) >= 64)
    gained(0, 64)
    victim.signal(signal.SIGSTOP)
    gained(64, 0)
    victim.signal(signal.SIGCONT)
    gained(0, 64)
    victim.kill()
    gained(64, 0)
    victim.start()
    gained(0, 64)
    victim.kill()
    run = measurement.wait(2 * PATIENCE_S)

    assert run.state == "stopped"
    assert worker_gone(measurement)
    assert measurement.progress.text.startswith("ended early: ")
    assert measurement.progress.text.endswith("no connection (Connection refused)")
    assert any("ended early: " in note for note in run.conditions["notes"])
    assert run.rows[0]["concurrency"] == 8
    assert run.rows[0]["n_failed"] == 0
    assert run.rows[0]["n"] > 8

    # every request has a row, and the server knows of none that hasn't
    rows = {s.request_id: s for s in run.samples}
    assert len(rows) == len(run.samples)
    last: dict[str, int] = Counter()
    for name in rows:
        worker, _, number = name.rpartition("-")
        last[worker] = max(last[worker], int(number))
    assert sum(last.values()) == len(rows)
    log = {}
    for line in (tmp_path / "server.jsonl").read_text().splitlines():
        record = json.loads(line)
        log[record["request_id"]] = record
    assert {name for name in log if not name.startswith("sim-")} <= set(rows)
    unlogged = 0
    for name, sample in rows.items():
        assert sample.status in ("ok", "timeout", "disconnected", "refused")
        if sample.status == "ok":
            assert len(sample.token_ms) == 12
            # what was killed between its last word and its log knows nothing of it
            unlogged += name not in log
            if name in log:
                assert log[name]["status"] == "ok"
                assert len(log[name]["tokens_ns"]) == 12
        elif sample.status == "timeout":
            assert "within 1 s" in sample.message
        elif sample.status == "refused":
            assert not sample.token_ms
    assert unlogged <= 2  # it was killed twice, and ends one answer at a time
    # whether the kill also cuts an answer off ("disconnected") is up to what the server was at
    assert {"ok", "timeout", "refused"} <= {s.status for s in run.samples}


def test_stop_does_not_wait_for_a_server_that_lets_nobody_connect_any_more(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while the next level's connections are opened; what is in flight has its row."""
    closed, knocked, held = threading.Event(), threading.Event(), threading.Event()
    context = tls(certificate)
    asked: list[Request] = []

    def script(peer: Peer) -> None:
        if closed.is_set():
            knocked.set()
            peer.gone()
            return
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        Api(chat_completions=chat)(peer)

    def chat(request: Request) -> bytes:
        if "x-request-id" in request.headers:
            closed.set()
            asked.append(request)
            if len(asked) == 9:
                held.set()
                return STREAM + chunk(token())
        return answer(3, prompt=len(request.json["messages"][0]["content"].split()))

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with Server(script) as server:
        measurement = tp.start(
            server.url.replace("http:", "https:"), concurrency=(1, 2), requests=3, timeout_s=1000
        )
        assert knocked.wait(PATIENCE_S)
        assert held.wait(PATIENCE_S)
        measurement.stop()
        run = measurement.wait(PATIENCE_S)
        assert run.state == "stopped"
        assert {s.request_id for s in run.samples} == {r.headers["x-request-id"] for r in asked}
        assert [s.status for s in run.samples] == ["ok"] * 8 + ["stopped"]
