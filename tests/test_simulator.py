"""The simulated endpoint as a server: what it does over time, and how it begins and ends."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from raw_client import CHAT, FAST, PATIENCE_S, USAGE, Client, chat, opened

from tpwidgets.errors import EndpointError, SettingsError
from tpwidgets.simulator import PROFILES, simulate
from tpwidgets.simulator.physics import Engine, Request


def test_no_token_is_earlier_than_the_physics_allow(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with simulate(speed=FAST, seed=3, log=log) as sim, opened(sim) as client:
        client.send(CHAT, chat(max_tokens=40))
        client.head()
        client.events()
    (line,) = map(json.loads, log.read_text().splitlines())
    engine, request, due, now = Engine(PROFILES["vllm-llama-70b"], seed=3), Request(12, 40), [], 0.0
    engine.submit(request, 0.0)
    while (start := engine.wake_at(now)) is not None:
        now = start + engine.step(start).duration_s
        due.append(now)
    for stamp, at in zip(line["tokens_ns"], due, strict=True):
        # The loop may run a timer early by its clock's resolution.
        assert (stamp - line["received_ns"]) / 1e9 > at / FAST - 1e-6


def test_a_client_that_leaves_frees_its_place(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with simulate("laptop-8b", speed=FAST, log=log) as sim:
        clients = [Client(sim) for _ in range(5)]
        for client in clients[:4]:  # as many as the laptop serves at a time, for hours
            client.send(CHAT, chat(max_tokens=8000))
            client.head()
            client.event()
            client.event()
        clients[4].send(CHAT, chat(max_tokens=3))
        clients[0].close()
        clients[4].head()
        assert clients[4].events()[-1] == "[DONE]"
        for client in clients[1:]:
            client.close()
    first, second, *rest = map(json.loads, log.read_text().splitlines())
    assert first["status"] == "disconnected"
    assert 1 <= first["output_tokens"] < 8000
    assert second["status"] == "ok"
    assert [line["status"] for line in rest] == ["disconnected"] * 3


def test_a_key_is_required_but_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATOR_KEY", "sk-secret")
    with simulate(speed=FAST, api_key_env="SIMULATOR_KEY") as sim, opened(sim) as client:
        for headers in ({}, {"authorization": "Bearer sk-wrong"}):
            client.send(CHAT, chat(max_tokens=1), **headers)
            status, _, body = client.json()
            assert status == 401
            assert body["error"]["code"] == "invalid_api_key"
            assert "sk-" not in json.dumps(body)
        client.send("/v1/models", authorization="Bearer sk-secret")
        assert client.json()[0] == 200
        client.send("/health")
        assert client.json()[0] == 200
        assert "sk-secret" not in repr(sim)


def test_beyond_the_rate_limit_there_is_429() -> None:
    with simulate("gpt-4-api") as sim, opened(sim) as client:
        limit = sim.profile.rate_limit
        assert limit
        statuses = []
        waiting = []
        while 429 not in statuses:
            waiting.append(Client(sim))
            waiting[-1].send(CHAT, chat(max_tokens=8000))
            status, headers = waiting[-1].head()
            statuses.append(status)
            assert headers["x-ratelimit-limit-requests"] == "5000"
            assert headers["x-ratelimit-limit-tokens"] == "800000"
            assert headers["x-ratelimit-reset-tokens"].endswith("s")
        assert statuses[:3] == [200, 200, 200]
        assert int(headers["retry-after"]) >= 1
        assert int(headers["retry-after-ms"]) <= 1000 * int(headers["retry-after"])
        body = json.loads(waiting[-1].file.read(int(headers["content-length"])))
        assert body["error"]["type"] == "tokens"
        assert body["error"]["code"] == "rate_limit_exceeded"
        for other in waiting:
            other.close()
        client.send("/health")
        assert client.json()[0] == 200


def test_reasoning_comes_first_and_is_counted() -> None:
    with simulate("reasoning-api", speed=FAST) as sim, opened(sim) as client:
        client.send(CHAT, chat(max_tokens=10, **USAGE))
        client.head()
        role, *tokens, _, usage, _ = client.events()
        assert "role" in role["choices"][0]["delta"]
        keys = [next(iter(event["choices"][0]["delta"])) for event in tokens]
        assert keys == ["reasoning_content"] * 6 + ["content"] * 4
        assert usage["usage"]["completion_tokens"] == 10
        assert usage["usage"]["completion_tokens_details"] == {"reasoning_tokens": 6}
        client.send(CHAT, chat(max_tokens=10, stream=False))
        message = client.json()[2]["choices"][0]["message"]
        assert message["reasoning_content"]
        assert message["content"]


def test_a_flaky_api_fails_in_every_way_it_says(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with simulate("flaky-api", speed=400.0, log=log) as sim:
        answers = []
        for number in range(300):
            with opened(sim) as client:
                client.send(CHAT, chat(max_tokens=8), connection="close", x_request_id=str(number))
                answers.append(client.file.read())
        faults = sim.profile.faults
    lines = list(map(json.loads, log.read_text().splitlines()))
    lines.sort(key=lambda line: int(line["request_id"]))
    seen = {"error": 0, "cut": 0, "stall": 0, "ok": 0}
    for answer, line in zip(answers, lines, strict=True):
        tokens = answer.count(b'"delta":{"content"')
        gaps = [b - a for a, b in pairwise([line["received_ns"], *line["tokens_ns"]])]
        if answer.startswith(b"HTTP/1.1 500 "):
            seen["error"] += line["status"] == 500
        elif line["status"] == "cut":
            seen["cut"] += 1
            assert 1 <= tokens < 8
            assert b"[DONE]" not in answer
        else:
            assert line["status"] == "ok"
            assert tokens == 8
            assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            seen["stall" if max(gaps) >= faults.stall_s / 400.0 * 1e9 else "ok"] += 1
    assert min(seen.values()) >= 1
    assert seen["ok"] > 200


def test_a_simulation_ends_with_its_parent() -> None:
    script = (
        "import sys; from tpwidgets.simulator import simulate; sim = simulate()\n"
        "print(sim.url, sim.pid, flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as parent:
        assert parent.stdout
        url, pid = parent.stdout.readline().decode().split()
        address = urlsplit(url)
        connection = socket.create_connection((address.hostname, address.port), PATIENCE_S)
        handle = os.pidfd_open(int(pid))
        parent.kill()
        assert connection.recv(1) == b"", "the server closes its connections"
        assert select.select([handle], [], [], PATIENCE_S)[0], "and its process ends"
        os.close(handle)
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_in_mid_stream(number: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    sim = simulate(log=log)
    with opened(sim) as client:
        client.send(CHAT, chat(max_tokens=8000))
        client.head()
        client.event()
        client.event()
        os.kill(sim.pid, number)
        client.file.read()
    assert sim._process.wait(PATIENCE_S) == 0
    assert not sim.alive
    sim.close()
    (line,) = map(json.loads, log.read_text().splitlines())
    assert line["status"] == "disconnected"


# --- simulate() -----------------------------------------------------------------------------------


def test_a_simulation_is_closed_once_and_says_so() -> None:
    sim = simulate("laptop-8b")
    assert sim.url.startswith("http://127.0.0.1:")
    assert sim.url.endswith("/v1")
    assert repr(sim) == f"<Simulation laptop-8b: {sim.url}>"
    assert sim.alive
    sim.close()
    sim.close()
    assert not sim.alive
    assert repr(sim) == "<Simulation laptop-8b: closed>"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "vllm-lama-70b"}, "Did you mean 'vllm-llama-70b'"),
        ({"profile": "?"}, "Known: vllm-llama-70b, gpt-4-api"),
        ({"speed": 0}, "speed=0 must be"),
        ({"speed": float("inf")}, "speed=inf must be"),
        ({"speed": float("nan")}, "speed=nan must be"),
        ({"speed": "2"}, "speed='2' must be"),
        ({"speed": True}, "speed=True must be"),
        ({"api_key_env": "TPWIDGETS_UNSET"}, "TPWIDGETS_UNSET"),
    ],
)
def test_settings_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        simulate(**arguments)
    assert message in str(caught.value)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"did not start\. .*No such file"):
        simulate(log=tmp_path / "missing" / "log")


def test_a_notebook_folder_cannot_shadow_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with simulate() as sim:
        assert sim.alive


def test_the_server_shares_no_code_with_the_client() -> None:
    script = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "import tpwidgets.simulator.__main__, tpwidgets.simulator as home\n"
        "print(*sorted(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    out = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    ours = {name for name in out if name.split(".")[0] == "tpwidgets"}
    assert ours <= {"tpwidgets"} | {n for n in ours if n.startswith("tpwidgets.simulator")}
    assert not {"httpx", "httptools", "pandas", "anyio"} & set(out)
