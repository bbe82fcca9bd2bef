"""The simulated endpoint by a raw socket: each write as it was framed."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tpwidgets.simulator import Simulation

FAST = 50.0
PATIENCE_S = 60.0
"""For a broken server, not for a slow machine."""


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
