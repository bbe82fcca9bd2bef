"""The simulated endpoint's wire format, without a network and by raw sockets."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_client import CHAT, COMPLETIONS, FAST, PATIENCE_S, USAGE, Client, chat, opened

from tpwidgets.simulator import Simulation, simulate
from tpwidgets.simulator.http1 import MAX_BODY, Reader, Refusal

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


@pytest.fixture
def client(sim: Simulation) -> Iterator[Client]:
    with opened(sim) as client:
        yield client


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
    assert client.json()[2] == {"version": "tpwidgets-simulator, 50 times as fast"}


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


def test_a_stock_client_reads_it(sim: Simulation) -> None:
    address = urlsplit(sim.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)
    for _ in range(2):
        connection.request("POST", CHAT, json.dumps(chat(max_tokens=3, **USAGE)))
        answer = connection.getresponse().read()
        assert answer.count(b"data: ") == 1 + 3 + 1 + 1 + 1
    connection.close()
