"""A server that writes exactly the bytes a test scripts, when the test says so."""

import json
import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

PATIENCE_S = 30.0
"""For a broken test, not for a slow machine."""


class HangupError(Exception):
    """The client closed the connection."""


class Request:
    """One request as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head, self.body = head, body
        line, *rest = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ")
        self.headers = {
            name.lower(): value for name, _, value in (row.partition(": ") for row in rest)
        }

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """One connection of a client, seen from the server."""

    def __init__(self, server: "Server", sock: socket.socket, number: int) -> None:
        self.server, self.sock, self.number = server, sock, number
        self._buffer = b""

    def request(self, *, body: bool = True) -> Request:
        """Read the next request; raise HangupError if the client is gone instead."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        request = Request(head, b"")
        length = int(request.headers.get("content-length", 0)) if body else 0
        while len(self._buffer) < length:
            self._more()
        request.body, self._buffer = self._buffer[:length], self._buffer[length:]
        self.server.requests.append(request)
        return request

    def _more(self) -> None:
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise HangupError
        self._buffer += data

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            raise HangupError from None

    def close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Close by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def gone(self) -> None:
        """Wait until the client has closed the connection."""
        with suppress(HangupError):
            while True:
                self._more()


Script = Callable[[Peer], None]


class Server:
    """Runs a script for each connection, in a thread of its own.

    Leaving the ``with`` block raises what a script raised: a script that fails fails its test.
    """

    def __init__(
        self, script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._script, self._tls = script, tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=256)
        self.port = self._listener.getsockname()[1]
        self.requests: list[Request] = []
        self.peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        name = f"[{host}]" if ":" in host else host
        self.origin = f"{'https' if tls else 'http'}://{name}:{self.port}"
        self.url = f"{self.origin}/v1"

    def __enter__(self) -> "Server":
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.stop()
        if self._errors and error is None:
            raise self._errors[0]

    def stop(self) -> None:
        """Close the listener and every connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            peer.close()
        for thread in [self._accepting, *self._threads]:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True)
            except OSError:
                return
        peer = Peer(self, sock, len(self.peers))
        self.peers.append(peer)
        try:
            self._script(peer)
        except HangupError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            self._errors.append(error)
        finally:
            peer.close()


def free_port() -> int:
    """Return a port at which nobody listens, and that no connection gets by chance either."""
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


# --- what servers say -----------------------------------------------------------------------------


def response(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def said(value: Any, status: str = "200 OK") -> bytes:
    return response(json.dumps(value).encode(), status=status)


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def token(text: str = " word", *, chat: bool = True) -> bytes:
    said = {"delta": {"content": text}} if chat else {"text": text}
    return event({"choices": [{"index": 0, **said, "finish_reason": None}]})


def finish(reason: str = "length", *, chat: bool = True) -> bytes:
    said = {"delta": {}} if chat else {"text": ""}
    return event({"choices": [{"index": 0, **said, "finish_reason": reason}]})


def usage(prompt: int, output: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output}})


DONE = event(b"[DONE]")


def stream(events: Iterable[bytes]) -> bytes:
    return STREAM + b"".join(map(chunk, events)) + END


def answer(tokens: int = 3, *, prompt: int = 10, chat: bool = True) -> bytes:
    """Return a whole, faultless answer."""
    return stream([
        *[token(chat=chat)] * tokens, finish(chat=chat), usage(prompt, tokens), DONE
    ])  # fmt: skip


def models(*names: str, **more: Any) -> bytes:
    return said({"object": "list", "data": [{"id": name, **more} for name in names]})


NOT_FOUND = said({"detail": "Not Found"}, "404 Not Found")


class Api:
    """A script: an API with a model list and answers; a test changes what it wants to see.

    Attributes
    ----------
    routes : dict
        Path → the bytes to answer, or a function from the request to them.
    """

    def __init__(self, **routes: "bytes | Callable[[Request], bytes]") -> None:
        self.routes: dict[str, bytes | Callable[[Request], bytes]] = {
            "/v1/models": models("tiny"),
            "/v1/chat/completions": lambda request: answer(request.json["max_tokens"]),
        }
        self.routes |= {f"/v1/{name.replace('_', '/')}": said for name, said in routes.items()}

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.request()
            found = self.routes.get(request.target.partition("?")[0], NOT_FOUND)
            peer.send(found if isinstance(found, bytes) else found(request))
