"""The simulated endpoint: its physics in virtual time, its wire format by raw sockets."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpwidgets.errors import EndpointError, SettingsError
from tpwidgets.simulator import PROFILES, Simulation, simulate
from tpwidgets.simulator import prompts as counting
from tpwidgets.simulator.http1 import MAX_BODY, Reader, Refusal
from tpwidgets.simulator.limits import RateLimiter
from tpwidgets.simulator.physics import BLOCK, Engine, Request
from tpwidgets.simulator.virtual import Outcome, closed_loop

FAST = 50.0
VLLM = PROFILES["vllm-llama-70b"]
PATIENCE_S = 60.0
"""For a broken server, not for a slow machine."""

# --- the laws, in virtual time --------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep() -> dict[tuple[int, int], Outcome]:
    return {
        (users, prompt): closed_loop(VLLM, users, prompt_tokens=prompt)
        for users in (1, 4, 16, 64)
        for prompt in (256, 1024)
    }


def test_alone_a_70b_model_speaks_about_45_tokens_per_second(sweep: dict[Any, Outcome]) -> None:
    alone = sweep[1, 256]
    assert 40 < alone.output_tps < 50
    assert 80 < alone.ttft(0.5) < 120


def test_throughput_grows_with_the_batch(sweep: dict[Any, Outcome]) -> None:
    curve = [sweep[users, 256].output_tps for users in (1, 4, 16, 64)]
    assert curve == sorted(curve)
    assert curve[-1] > 8 * curve[0]
    assert 1500 < curve[-1] < 1700


@pytest.mark.parametrize("prompt", [256, 1024])
def test_throughput_is_bought_with_latency(sweep: dict[Any, Outcome], prompt: int) -> None:
    points = [sweep[users, prompt] for users in (1, 4, 16, 64)]
    for fewer, more in pairwise(points):
        assert more.ttft(0.95) > 1.2 * fewer.ttft(0.95)
        assert more.tpot_ms[len(more.tpot_ms) // 2] > fewer.tpot_ms[len(fewer.tpot_ms) // 2]


@pytest.mark.parametrize("users", [16, 64])
def test_longer_prompts_cost_throughput_and_latency(sweep: dict[Any, Outcome], users: int) -> None:
    short, long = sweep[users, 256], sweep[users, 1024]
    assert long.output_tps < 0.75 * short.output_tps
    assert long.ttft(0.5) > 1.5 * short.ttft(0.5)


@pytest.mark.parametrize("users", [1, 32, 64])
def test_an_api_gives_each_user_about_100_tokens_per_second(users: int) -> None:
    load = closed_loop(PROFILES["gpt-4-api"], users)
    assert 93 < 1000 / load.tpot_ms[len(load.tpot_ms) // 2] < 107
    assert 400 < load.ttft(0.5) < 500
    assert load.ttft(0.95) > 1.2 * load.ttft(0.5)


def test_a_laptop_serves_four_at_a_time() -> None:
    laptop = PROFILES["laptop-8b"]
    one, four, eight = (closed_loop(laptop, users, seconds=300) for users in (1, 4, 8))
    assert 18 < 1000 / one.tpot_ms[0] < 23
    assert four.output_tps > 1.5 * one.output_tps
    assert eight.output_tps == pytest.approx(four.output_tps, rel=0.05)
    assert eight.ttft(0.5) > 2 * four.ttft(0.5)


def test_the_same_seed_gives_the_same_load() -> None:
    assert closed_loop(VLLM, 3, seconds=5, seed=7) == closed_loop(VLLM, 3, seconds=5, seed=7)
    assert closed_loop(VLLM, 3, seconds=5, seed=7) != closed_loop(VLLM, 3, seconds=5, seed=8)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_profile_is_priced_and_sourced_and_fits_what_it_promises(profile: Any) -> None:
    assert (profile.price_hour is None) == (profile.price_output is not None)
    figures = {name for name in type(profile).__dataclass_fields__ if name in profile.sources}
    assert figures == set(profile.sources), "a source for something that isn't a field"
    physics = {
        *("fixed_ms", "per_sequence_ms", "per_kv_token_ms", "prefill_rate", "step_tokens"),
        *("max_sequences", "kv_tokens", "cache_tokens", "front_ms", "front_sigma"),
    }
    assert physics <= figures
    assert profile.max_model_len <= profile.kv_tokens
    assert profile.description.endswith(".")


# --- the scheduler --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12)), min_size=1, max_size=25),
    gaps=st.lists(st.floats(0, 0.5), min_size=25, max_size=25),
    cancelled=st.sets(st.integers(0, 24), max_size=5),
    step_tokens=st.integers(1, 64),
    max_sequences=st.integers(1, 6),
    kv_tokens=st.integers(72, 200),
    cache_tokens=st.integers(0, 100),
)
def test_every_request_gets_exactly_its_tokens_within_the_limits(
    sizes: list[tuple[int, int]],
    gaps: list[float],
    cancelled: set[int],
    step_tokens: int,
    max_sequences: int,
    kv_tokens: int,
    cache_tokens: int,
) -> None:
    engine = Engine(
        replace(
            VLLM,
            step_tokens=step_tokens,
            max_sequences=max_sequences,
            kv_tokens=kv_tokens,
            cache_tokens=cache_tokens,
        )
    )
    requests = [Request(p, o, counting.blocks([str(k) for k in range(p)])) for p, o in sizes]
    todo = list(zip(requests, gaps, strict=False))
    got = dict.fromkeys(requests, 0)
    now = 0.0
    while True:
        if todo:
            request, gap = todo.pop(0)
            now += gap
            engine.submit(request, now)
        start = engine.wake_at(now)
        if start is None:
            if not todo:
                break
            continue
        before = sum(request.prefilled + request.generated for request in requests)
        step = engine.step(start)
        assert step.duration_s > 0
        assert len(set(step.emitted)) == len(step.emitted)
        now = start + step.duration_s
        for request in step.emitted:
            got[request] += 1
        assert len(engine.running) <= max_sequences
        assert 0 <= engine.kv_reserved <= kv_tokens
        assert sum(request.kv_tokens for request in engine.running) == engine.kv_reserved
        cached = sum(request.cached_tokens for request in requests)
        after = sum(request.prefilled + request.generated for request in requests)
        # A prompt's last token and the first output token are one piece of work.
        assert after - before - cached <= step_tokens + len(step.emitted)
        for index in cancelled & set(range(len(requests))):
            if got[requests[index]]:
                engine.cancel(requests[index])
    for request in requests:
        assert got[request] == request.generated
        assert request.finished or request.cancelled
        assert not (request.finished and request.cancelled)
    assert engine.kv_reserved == 0
    assert engine.running == []


def test_first_come_first_served() -> None:
    engine = Engine(replace(VLLM, max_sequences=1, front_ms=0, kv_tokens=100_000))
    requests = [Request(100, 3) for _ in range(4)]
    for request in requests:
        engine.submit(request, 0.0)
    served, now = [], 0.0
    while (start := engine.wake_at(now)) is not None:
        step = engine.step(start)
        now = start + step.duration_s
        served += step.emitted
    assert served == [request for request in requests for _ in range(3)]


def test_a_request_that_can_never_run_is_refused() -> None:
    engine = Engine(VLLM)
    with pytest.raises(ValueError, match="cannot fit"):
        engine.submit(Request(VLLM.kv_tokens, 1), 0.0)
    with pytest.raises(ValueError, match="at least one"):
        engine.submit(Request(1, 0), 0.0)


def test_a_repeated_prompt_is_cached_by_blocks_and_quicker() -> None:
    engine = Engine(replace(VLLM, noise_sigma=0.0, front_ms=0))
    tokens = [str(index) for index in range(10 * BLOCK)]
    durations, cached = [], []
    for words in (
        tokens,
        tokens,
        [*tokens[: 3 * BLOCK], "other", *tokens[3 * BLOCK + 1 :]],
        ["new", *tokens],
    ):
        request = Request(len(words), 1, counting.blocks(words))
        engine.submit(request, 0.0)
        durations.append(engine.step(0.0).duration_s)
        cached.append(request.cached_tokens)
    # Of a prompt that is known in full, the last token is computed again, hence its block.
    assert cached == [0, 9 * BLOCK, 3 * BLOCK, 0]
    assert durations[1] < durations[2] < durations[0]


def test_the_prefix_cache_forgets_the_least_recently_used() -> None:
    engine = Engine(replace(VLLM, cache_tokens=4 * BLOCK, front_ms=0))

    def cached(name: str) -> int:
        words = [f"{name}{index}" for index in range(2 * BLOCK + 1)]
        request = Request(len(words), 1, counting.blocks(words))
        engine.submit(request, 0.0)
        engine.step(0.0)
        return request.cached_tokens

    assert [cached(name) for name in "abab"] == [0, 0, 2 * BLOCK, 2 * BLOCK]
    assert [cached(name) for name in "cba"] == [0, 2 * BLOCK, 0]


# --- counting and limits --------------------------------------------------------------------------


def test_prompts_are_counted_by_words() -> None:
    assert counting.of_text("  a few\nwords ") == ["a", "few", "words"]
    assert [len(counting.of_text("x" * n)) for n in (1, 8, 9, 12, 13)] == [1, 1, 2, 2, 3]
    assert len(counting.of_messages([{"role": "user", "content": "one two"}])) == 11 + 2
    assert len(counting.of_prompt("one two")) == 1 + 2
    assert len(counting.of_prompt([5, 6, 7])) == 3
    parts = [{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}]
    assert len(counting.of_messages([{"role": "user", "content": parts}])) == 11 + 3


def test_a_sweep_stays_below_the_rate_limit_until_64_users() -> None:
    limit = PROFILES["gpt-4-api"].rate_limit
    assert limit
    for users, refused in ((16, False), (32, False), (64, True)):
        limiter = RateLimiter(limit, speed=1.0)
        cycle_s = 0.44 + 64 * 0.0099  # closed loop: TTFT and 64 tokens
        times = [number * cycle_s / users for number in range(20 * users)]
        denials = [limiter.admit(256 + 64, now) for now in times]
        assert any(denials) == refused


def test_a_rate_limit_frees_up_when_it_said_it_would() -> None:
    limit = PROFILES["gpt-4-api"].rate_limit
    assert limit
    limiter = RateLimiter(limit, speed=2.0)
    while (denied := limiter.admit(5000, 10.0)) is None:
        pass
    kind, wait = denied
    assert kind == "tokens"
    assert limiter.admit(5000, 10.0 + 2.0 * wait * 0.99)
    assert limiter.admit(5000, 10.0 + 2.0 * wait * 1.01) is None


# --- HTTP, without a network ----------------------------------------------------------------------

PLAIN = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1), st.permutations([PLAIN, CHUNKED, PLAIN]))
def test_requests_are_read_however_the_bytes_arrive(cuts: list[int], wire: list[bytes]) -> None:
    reader, data, bodies = Reader(), b"".join(wire), []
    while data:
        size = cuts[len(data) % len(cuts)]
        reader.feed(data[:size])
        data = data[size:]
        while message := reader.next():
            assert (message.method, message.path) == ("POST", "/a")
            bodies.append(message.body)
    assert bodies == [b"hello"] * 3


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFF\r\n", 413),
        (b"POST / HTTP/1.1\r\ncontent-length: 999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, 431),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, status: int) -> None:
    reader = Reader()
    reader.feed(data)
    with pytest.raises(Refusal) as caught:
        reader.next()
    assert caught.value.status == status
    assert caught.value.close


# --- the server, by raw sockets -------------------------------------------------------------------


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulator") / "log.jsonl"


@pytest.fixture(scope="module")
def sim(log: Path) -> Iterator[Simulation]:
    with simulate(speed=FAST, log=log) as simulation:
        yield simulation


class Client:
    """A socket and just enough HTTP to see each write of the server as it was framed."""

    def __init__(self, sim: Simulation) -> None:
        address = urlsplit(sim.url)
        assert address.hostname
        assert address.port
        self.socket = socket.create_connection((address.hostname, address.port), PATIENCE_S)
        self.file = self.socket.makefile("rb")

    def send(self, path: str, body: Any = None, **headers: str) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "host: x"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(content)}"]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    def head(self) -> tuple[int, dict[str, str]]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().decode().rstrip("\r\n"):
            name, _, value = line.partition(": ")
            headers[name] = value
        return status, headers

    def chunk(self) -> bytes:
        size = int(self.file.readline(), 16)
        data = self.file.read(size)
        assert self.file.readline() == b"\r\n"
        return data

    def event(self) -> Any:
        data = self.chunk()
        assert data.startswith(b"data: ")
        assert data.endswith(b"\n\n")
        text = data[6:-2].decode()
        return text if text == "[DONE]" else json.loads(text)

    def events(self) -> list[Any]:
        events: list[Any] = []
        while not events or events[-1] != "[DONE]":
            events.append(self.event())
        assert self.chunk() == b""
        return events

    def json(self) -> tuple[int, dict[str, str], Any]:
        status, headers = self.head()
        return status, headers, json.loads(self.file.read(int(headers["content-length"])))

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def client(sim: Simulation) -> Iterator[Client]:
    with opened(sim) as client:
        yield client


@contextmanager
def opened(sim: Simulation) -> Iterator[Client]:
    client = Client(sim)
    try:
        yield client
    finally:
        client.close()


def chat(text: str = "hello", **rest: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "stream": True, **rest}


USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def test_a_chat_stream(client: Client, sim: Simulation) -> None:
    client.send(CHAT, chat("one two", max_tokens=60, **USAGE), x_request_id="my-id")
    status, headers = client.head()
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-request-id"] == "my-id"
    role, *tokens, finish, usage, done = client.events()
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(tokens) == 60
    assert all(event["choices"][0]["delta"]["content"] for event in tokens)
    assert not "".join(event["choices"][0]["delta"]["content"] for event in tokens).isascii()
    assert all(event["choices"][0]["finish_reason"] is None for event in [role, *tokens])
    assert finish["choices"] == [
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
    ]
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 13,
        "completion_tokens": 60,
        "total_tokens": 73,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert done == "[DONE]"
    for event in (role, *tokens, finish, usage):
        assert event["object"] == "chat.completion.chunk"
        assert event["id"] == "chatcmpl-my-id"
        assert event["model"] == sim.profile.model


def test_a_completions_stream(client: Client) -> None:
    body = {"prompt": "one two", "stream": True, "ignore_eos": True, "min_tokens": 16, **USAGE}
    client.send(COMPLETIONS, body)
    assert client.head()[0] == 200
    *tokens, finish, usage, _ = client.events()
    assert len(tokens) == 16, "the default of the completions API"
    assert all(event["choices"][0]["text"] for event in tokens)
    assert all(event["object"] == "text_completion" for event in (*tokens, finish, usage))
    assert finish["choices"][0] == {
        "index": 0,
        "text": "",
        "logprobs": None,
        "finish_reason": "length",
    }
    assert usage["usage"]["prompt_tokens"] == 3


def test_without_include_usage_there_is_none(client: Client) -> None:
    client.send(CHAT, chat(max_completion_tokens=2))
    client.head()
    assert not any("usage" in event for event in client.events()[:-1])


def test_not_streaming(client: Client) -> None:
    client.send(CHAT, chat(stream=False, max_tokens=3))
    status, _, body = client.json()
    assert status == 200
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": " the throughput of",
    }
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 3
    client.send(COMPLETIONS, {"prompt": "a", "max_tokens": 2})
    _, _, body = client.json()
    assert body["choices"][0]["text"] == " the throughput"


def test_a_connection_is_kept_through_streams_and_errors(client: Client) -> None:
    for _ in range(2):
        client.send(CHAT, chat(max_tokens=2))
        client.head()
        assert client.events()[-1] == "[DONE]"
        client.send("/nowhere")
        assert client.json()[0] == 404


def test_a_connection_is_closed_on_request(client: Client) -> None:
    client.send(CHAT, chat(max_tokens=2), connection="close")
    _, headers = client.head()
    assert headers["connection"] == "close"
    client.events()
    assert client.file.read() == b""


def test_pipelined_requests_are_answered_in_turn(client: Client) -> None:
    for number in range(3):
        client.send(CHAT, chat(max_tokens=3 - number), x_request_id=str(number))
    for number in range(3):
        assert client.head()[1]["x-request-id"] == str(number)
        assert len(client.events()) == 3 - number + 3


def test_a_client_may_wait_for_100_continue(client: Client) -> None:
    body = json.dumps(chat(max_tokens=1)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
    client.socket.sendall(head.encode())
    assert client.head() == (100, {})
    client.socket.sendall(body)
    assert client.head()[0] == 200
    assert client.events()[-1] == "[DONE]"


def test_a_repeated_prompt_shows_cached_tokens(client: Client) -> None:
    cached = []
    for _ in range(2):
        client.send(CHAT, chat("a unique prompt " * 20, max_tokens=1, **USAGE))
        client.head()
        cached.append(client.events()[-2]["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached == [0, 64]


def test_discovery(client: Client, sim: Simulation) -> None:
    client.send("/v1/models")
    _, _, body = client.json()
    (model,) = body["data"]
    assert model["id"] == sim.profile.model
    assert model["max_model_len"] == sim.profile.max_model_len
    assert model["owned_by"] == "tpwidgets-simulator"
    client.send("/health")
    assert client.json()[0] == 200
    client.send("/version")
    assert client.json()[2] == {"version": "tpwidgets-simulator"}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/nothing", None, 404, "Not Found"),
        (CHAT, None, 405, "Method Not Allowed"),
        ("/v1/models", {}, 405, "Method Not Allowed"),
        (CHAT, chat(model="nope"), 404, "The model `nope` does not exist."),
        (CHAT, chat(max_tokens=99_999), 400, "max_tokens=99999 cannot be greater than"),
        (CHAT, chat(max_tokens=32_760), 400, "your request has 12 input tokens (32760 > 32768"),
        (CHAT, chat("w " * 32_768), 400, "maximum context length is 32768 tokens"),
        (CHAT, chat(max_tokens=0), 400, "max_tokens must be at least 1, got 0."),
        (CHAT, {}, 400, "messages must be a non-empty list."),
        (CHAT, {"messages": ["x"]}, 400, "each message must be an object."),
        (CHAT, {"messages": [{"content": 5}]}, 400, "a message's content must be text."),
        (COMPLETIONS, {}, 400, "prompt must be one string"),
        (CHAT, [], 400, "must be a JSON object"),
    ],
)
def test_errors_read_as_real_servers_write_them(
    client: Client, path: str, body: Any, status: int, message: str
) -> None:
    client.send(path, body)
    got, headers, answer = client.json()
    assert got == status
    assert message in answer["error"]["message"]
    assert answer["error"]["code"] == status
    assert "connection" not in headers


def test_malformed_json(client: Client) -> None:
    for content in (b'{"messages": [', b"\xff\xfe", b"[" * 100_000):
        head = f"POST {CHAT} HTTP/1.1\r\ncontent-length: {len(content)}\r\n\r\n".encode()
        client.socket.sendall(head + content)
        status, _, answer = client.json()
        assert status == 400
        assert answer["error"]["message"].startswith("Invalid JSON")


def test_an_absurd_size_is_refused_before_it_is_read(client: Client) -> None:
    client.socket.sendall(
        f"POST {CHAT} HTTP/1.1\r\ncontent-length: {MAX_BODY + 1}\r\n\r\n".encode() + b"x" * 100_000
    )
    status, headers, _ = client.json()
    assert status == 413
    assert headers["connection"] == "close"
    assert client.file.read() == b""


def test_the_log_tells_when_each_token_was_written(
    sim: Simulation, client: Client, log: Path
) -> None:
    for number in range(3):
        client.send(CHAT, chat(max_tokens=5 + number), x_request_id=f"logged-{number}")
        client.head()
        assert len(client.events()) == 5 + number + 3
    client.send(CHAT, {}, x_request_id="logged-refused")
    assert client.json()[0] == 400
    client.send("/health")  # its answer comes after the line of the one before is written
    client.json()
    lines = {line["request_id"]: line for line in map(json.loads, log.read_text().splitlines())}
    for number in range(3):
        line = lines[f"logged-{number}"]
        stamps = [line["received_ns"], *line["tokens_ns"]]
        assert stamps == sorted(stamps)
        assert len(line["tokens_ns"]) == line["output_tokens"] == 5 + number
        assert line["prompt_tokens"] == 12
        assert line["status"] == "ok"
    assert lines["logged-refused"]["status"] == 400
    assert lines["logged-refused"]["tokens_ns"] == []


def test_no_token_is_earlier_than_the_physics_allow(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with simulate(speed=FAST, seed=3, log=log) as sim, opened(sim) as client:
        client.send(CHAT, chat(max_tokens=40))
        client.head()
        client.events()
    (line,) = map(json.loads, log.read_text().splitlines())
    engine, request, due, now = Engine(VLLM, seed=3), Request(12, 40), [], 0.0
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


def test_a_stock_client_reads_it(sim: Simulation) -> None:
    address = urlsplit(sim.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)
    for _ in range(2):
        connection.request("POST", CHAT, json.dumps(chat(max_tokens=3, **USAGE)))
        answer = connection.getresponse().read()
        assert answer.count(b"data: ") == 1 + 3 + 1 + 1 + 1
    connection.close()
