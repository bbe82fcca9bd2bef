"""What is wrong with an endpoint is said in one sentence."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from certificates import tls
from hostile import (
    DONE,
    NOT_FOUND,
    PATIENCE_S,
    STREAM,
    Api,
    Peer,
    Server,
    answer,
    chunk,
    event,
    finish,
    models,
    response,
    said,
    stream,
    usage,
)
from probing import error, probe, refused

from tpwidgets.endpoints.endpoint import Endpoint
from tpwidgets.endpoints.probe import prepare
from tpwidgets.errors import EndpointError
from tpwidgets.workload.prompts import Workload

pytestmark = pytest.mark.quick

KEY = "sk-MARKED-0123456789abcdef"


def test_nothing_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match=r"Nothing answers at 127.0.0.1") as caught:
        prepare(Endpoint(f"http://127.0.0.1:{port}/v1"), Workload(), PATIENCE_S)
    assert caught.value.kind == "unreachable"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
def test_a_name_that_leads_nowhere(host: str) -> None:
    with pytest.raises(EndpointError, match="Nothing answers") as caught:
        prepare(Endpoint(f"http://{host}/v1"), Workload(), PATIENCE_S)
    assert caught.value.kind == "unreachable"


def test_a_certificate_that_is_not_trusted(certificate: Path) -> None:
    with (
        Server(Api(), tls=tls(certificate)) as server,
        pytest.raises(EndpointError, match="certificate") as caught,
    ):
        prepare(Endpoint(server.url), Workload(), PATIENCE_S)
    assert caught.value.kind == "tls"


def test_plain_http_where_https_is_asked_for() -> None:
    with Server(Api()) as server, pytest.raises(EndpointError) as caught:
        prepare(Endpoint(server.url.replace("http:", "https:")), Workload(), 2.0)
    assert caught.value.kind in ("tls", "unreachable", "timeout")


def test_silence() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.gone()

    assert "timeout_s" in refused(script, "timeout", timeout_s=0.2)


def test_a_promise_to_keep_the_connection_that_is_not_kept() -> None:
    """As llama.cpp does it: keep-alive is advertised, and the connection closed all the same."""

    def script(peer: Peer) -> None:
        request = peer.request()
        is_list = request.target == "/v1/models"
        peer.send(models("tiny") if is_list else answer(3, prompt=request.body.count(b" ")))

    assert probe(script).calibration.counted


@pytest.mark.parametrize("where", ["models", "chat", "refusal"])
def test_a_drip_is_silence_too(where: str) -> None:
    """A byte now and then never lets a read time out; the limit is for the whole of it."""

    def script(peer: Peer) -> None:
        peer.request()
        if where != "models" and peer.number == 0:
            peer.send(models("tiny"))
            return
        status = b"500 Oops" if where == "refusal" else b"200 OK"
        peer.send(STREAM.replace(b"200 OK", status))
        for _ in range(1000):
            peer.send(chunk(b": ping\n\n"))
            peer.server.pace.wait(0.01)  # type: ignore[attr-defined]

    import threading

    with Server(script) as server:
        server.pace = threading.Event()  # type: ignore[attr-defined]
        with pytest.raises(EndpointError) as caught:
            prepare(Endpoint(server.url), Workload(), 0.3)
        assert caught.value.kind == "timeout"


@pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH_9.6\r\n", b"", b"\x00" * 50])
def test_what_is_not_http(noise: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(noise)

    refused(script, "unreachable")


def test_a_wrong_model_names_the_nearest() -> None:
    api = Api(models=models("llama-70b", "qwen-7b"))
    sentence = refused(api, "model", model="lama-70b")
    assert "Did you mean 'llama-70b'" in sentence
    assert "qwen-7b" in sentence


def test_a_wrong_model_without_a_list() -> None:
    api = Api(
        models=NOT_FOUND,
        chat_completions=error("The model `x` does not exist.", "404 Not Found"),
    )
    assert "no model 'x'" in refused(api, "model", model="x")


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
@pytest.mark.parametrize("where", ["models", "chat_completions"])
def test_a_key_that_is_missing_or_refused(
    status: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TP_KEY", KEY)
    api = Api(**{where: error(f"Incorrect key {KEY}", status)})
    assert "api_key_env" in refused(api, "auth")
    sentence = refused(api, "auth", api_key_env="TP_KEY")
    assert "TP_KEY" in sentence
    assert KEY not in sentence


@pytest.mark.parametrize(
    ("path", "settings", "secret"),
    [
        ("/v1", {"api_key_env": "TP_KEY"}, True),
        ("/v1", {"headers": {"X-API-Key": KEY}}, True),
        (f"/v1?api_key={KEY}", {}, True),
        ("/v1", {"headers": {"X-Team": "us"}}, False),
    ],
)
def test_a_key_that_leaves_this_machine_unencrypted_is_noted(
    path: str, settings: dict[str, Any], secret: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TP_KEY", KEY)
    note = "the key goes to 127.0.0.1 unencrypted"
    assert note not in probe(Api(), path, **settings).base.notes
    monkeypatch.setattr(Endpoint, "local", False)
    assert (note in probe(Api(), path, **settings).base.notes) is secret


def test_a_key_whose_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TP_KEY", raising=False)
    assert "TP_KEY" in refused(Api(), "missing_key", api_key_env="TP_KEY")
    monkeypatch.setenv("TP_KEY", f"{KEY}\u2713")
    assert KEY not in refused(Api(), "missing_key", api_key_env="TP_KEY")


def test_a_key_that_a_refusal_echoes_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TP_KEY", KEY)
    for status in ("400 Bad Request", "500 Oops", "429 Too Many"):
        with Server(Api(chat_completions=error(f"Bearer {KEY} is bad", status))) as server:
            with pytest.raises(EndpointError) as caught:
                prepare(Endpoint(server.url, api_key_env="TP_KEY"), Workload(), PATIENCE_S)
            assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
            assert KEY not in str(caught.value)
            assert "•••" in str(caught.value)


def test_an_answer_in_one_piece() -> None:
    whole = said({"choices": [{"message": {"content": "hello"}}]})
    assert "without streaming" in refused(Api(chat_completions=whole), "no_stream")


@pytest.mark.parametrize("events", [[], [DONE], [finish("stop"), usage(5, 0), DONE]])
def test_an_empty_stream(events: list[bytes]) -> None:
    refused(Api(chat_completions=stream(events)), "empty_stream")


def test_a_stream_of_another_protocol_is_quoted() -> None:
    foreign = stream([event({"type": "foreign"})])
    sentence = refused(Api(chat_completions=foreign), "empty_stream", protocol="chat")
    assert "not of this protocol" in sentence
    assert "foreign" in sentence


def test_an_error_in_the_stream() -> None:
    broken = stream([event({"error": {"message": "out of memory"}})])
    assert "out of memory" in refused(Api(chat_completions=broken), "http")


def test_an_html_page() -> None:
    page = response(b"<!doctype html><html></html>", "text/html")
    sentence = refused(Api(models=page, chat_completions=page), "not_found", model="x")
    assert "HTML" in sentence


def test_nothing_there() -> None:
    def script(peer: Peer) -> None:
        while True:
            peer.request()
            peer.send(NOT_FOUND)

    assert "/v1" in refused(script, "not_found")
    assert "/v1" in refused(script, "not_found", model="x")
    assert "speak this protocol" in refused(script, "not_found", model="x", protocol="embeddings")


def test_a_server_error_is_quoted() -> None:
    api = Api(chat_completions=error("CUDA went away", "500 Oops"))
    assert "CUDA went away" in refused(api, "http")


def test_a_rate_limit() -> None:
    api = Api(chat_completions=error("slow down", "429 Too Many Requests"))
    assert "slow down" in refused(api, "rate_limited")


def test_only_a_refusal_of_the_request_leads_to_another_protocol() -> None:
    for status in ("403 Forbidden", "429 Too Many Requests", "503 Service Unavailable"):
        api = Api(
            chat_completions=error("this tier does not support it", status),
            completions=lambda _: pytest.fail("the next protocol was tried"),
        )
        with pytest.raises(EndpointError, match=status[:3]):
            probe(api)


def test_a_redirect_is_not_followed() -> None:
    there = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"
    assert "redirects" in refused(Api(models=there, chat_completions=there), "http", model="x")


def test_sentences_are_sentences() -> None:
    """Nothing of Python, of httpx or of a traceback in what a user reads."""
    for script in (Api(chat_completions=b"\x00"), Api(models=b"HTTP/1.1 200 OK\r\n\r\n{")):
        with Server(script) as server, pytest.raises(EndpointError) as caught:
            prepare(Endpoint(server.url, model="tiny"), Workload(), 0.5)
        assert not re.search(r"Traceback|object at 0x|<class", str(caught.value))
