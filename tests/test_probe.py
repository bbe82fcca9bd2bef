"""What is wrong with an endpoint is said in one sentence; what can be mended is, and noted."""

import math
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import (
    DONE,
    NOT_FOUND,
    PATIENCE_S,
    STREAM,
    Api,
    Peer,
    Request,
    Server,
    answer,
    chunk,
    event,
    finish,
    models,
    response,
    said,
    stream,
    token,
    usage,
)
from test_transport import certificate as certificate
from test_transport import tls

from tpwidgets.endpoints import Endpoint
from tpwidgets.errors import EndpointError, SettingsError
from tpwidgets.prepared import Prepared
from tpwidgets.probe import prepare
from tpwidgets.workload import Workload

pytestmark = pytest.mark.quick

KEY = "sk-MARKED-0123456789abcdef"


def probe(
    script: Callable[[Peer], None], path: str = "/v1", workload: Workload | None = None,
    timeout_s: float = PATIENCE_S, **settings: Any,
) -> Prepared:  # fmt: skip
    with Server(script) as server:
        return prepare(
            Endpoint(server.origin + path, **settings), workload or Workload(), timeout_s
        )


def refused(script: Callable[[Peer], None], kind: str, **more: Any) -> str:
    with pytest.raises(EndpointError) as caught:
        probe(script, **more)
    sentence = str(caught.value)
    assert caught.value.kind == kind, sentence
    assert "\n" not in sentence
    assert sentence.endswith(".") or len(sentence) > 20
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return sentence


def error(message: str, status: str) -> bytes:
    return said({"error": {"message": message}}, status)


# --- nothing to be done ---------------------------------------------------------------------------


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


# --- what is mended -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1", "/v1/", "/v1/v1", "/v1/chat/completions", "/v1/completions", "/v1/models"],
)
def test_the_path_is_mended_and_that_is_said(path: str) -> None:
    prepared = probe(Api(), path)
    assert prepared.url.endswith("/v1/chat/completions")
    assert prepared.url.count("/v1") == 1
    mended = [note for note in prepared.base.notes if "mended" in note]
    assert bool(mended) == (path not in ("/v1", "/v1/"))


def test_without_a_model_list_a_named_model_is_measured() -> None:
    for nothing in (NOT_FOUND, error("broken", "500 Oops"), said([1, "x"]), said("[" * 9)):
        prepared = probe(Api(models=nothing), model="mine")
        assert prepared.model == "mine"
    assert "name a model" in refused(Api(models=error("broken", "500 Oops")), "http")


def test_the_context_is_that_of_the_model_chosen() -> None:
    rows = {"data": [{"id": "a", "max_model_len": 99}, {"id": "b", "max_model_len": 5000}]}
    assert probe(Api(models=said(rows)), model="b").base.context == 5000


def test_completions_where_there_is_no_chat() -> None:
    for chat in (NOT_FOUND, error("no chat template is defined", "400 Bad Request")):
        api = Api(chat_completions=chat, completions=answer(chat=False))
        prepared = probe(api)
        assert prepared.protocol.name == "completions"
        assert any("completions" in note for note in prepared.base.notes)


class Counting:
    """A server with a template and a tokenizer; refuses what its context can't hold."""

    def __init__(
        self, slope: float = 1.0, offset: int = 0, context: int | None = None,
        complaint: str = "maximum context length is {context} tokens, you asked for {asked}.",
        declared: bool = False,
    ) -> None:  # fmt: skip
        self.slope, self.offset, self.context = slope, offset, context
        self.complaint = complaint
        more = {"max_model_len": context} if declared else {}
        self.api = Api(models=models("tiny", **more), chat_completions=self.chat)

    def count(self, text: str) -> int:
        return self.offset + math.floor(self.slope * len(text.split()) + 0.5)

    def chat(self, request: Request) -> bytes:
        body = request.json
        prompt, output = self.count(body["messages"][0]["content"]), body["max_tokens"]
        if self.context and prompt + output > self.context:
            message = self.complaint.format(
                context=self.context, asked=prompt + output, prompt=prompt, output=output,
                room=self.context - prompt,
            )  # fmt: skip
            return error(message, "400 Bad Request")
        return answer(min(output, 3), prompt=prompt)

    def __call__(self, peer: Peer) -> None:
        self.api(peer)


def counted(server: Counting, prepared: Prepared) -> int:
    """Return what the server counts for the prompts that will be measured."""
    import random

    from tpwidgets.workload import prompt

    words = prepared.calibration.words(prepared.workload.prompt_tokens)
    return server.count(prompt(words, random.Random(1), instructed=prepared.workload.instructed))


@pytest.mark.parametrize("slope", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("offset", [0, 11, 40])
@pytest.mark.parametrize("asked", [100, 256, 2000])
def test_the_prompt_length_is_hit(slope: float, offset: int, asked: int) -> None:
    server = Counting(slope, offset)
    prepared = probe(server, workload=Workload(asked, 16))
    assert prepared.calibration.counted
    assert counted(server, prepared) == pytest.approx(asked, rel=0.02)
    assert prepared.base.notes == []


def test_a_template_longer_than_the_prompt_is_noted() -> None:
    prepared = probe(Counting(offset=60), workload=Workload(20, 16))
    assert any("template" in note for note in prepared.base.notes)


COMPLAINTS = [
    "This model's maximum context length is {context} tokens. However, you requested {asked}.",
    "context of {context} exceeded: requested {asked} ({prompt} in the messages, {output} more).",
    "request ({asked} tokens) exceeds the available context size ({context} tokens)",
    "'max_completion_tokens' is too large: {output}. This model's maximum context is {context}.",
    "`inputs` tokens + `max_new_tokens` must be <= {context}. Given: {prompt} and {output}",
    "prompt is too long: {asked} tokens > {context} maximum",
    "the prompt is too long",
]


@pytest.mark.parametrize("complaint", COMPLAINTS)
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("asked", [(400, 64), (3000, 64), (100, 5000)])
def test_a_prompt_longer_than_the_context_is_shortened(
    complaint: str, declared: bool, asked: tuple[int, int]
) -> None:
    server = Counting(1.3, 11, 400, complaint, declared)
    prepared = probe(server, workload=Workload(*asked))
    fits = prepared.workload
    total = counted(server, prepared) + fits.output_tokens
    assert total <= 400
    assert total >= 150
    assert fits.prompt_tokens <= asked[0]
    assert fits.output_tokens <= asked[1]
    if asked[0] < 150:  # only the output has to be shorter
        assert fits.prompt_tokens == asked[0]
    [note] = [note for note in prepared.base.notes if "too long" in note]
    assert complaint[:15].split("{")[0] in note  # the server's own words


def test_an_output_that_the_server_would_cut_is_too_long() -> None:
    """As vLLM does: it cuts the output to what fits, and refuses that it be as long as asked."""
    why = "min_tokens must be less than or equal to max_tokens={room}, got {output}."
    server = Counting(2.0, 11, 400, why)
    prepared = probe(server, workload=Workload(350, 64))
    assert "min_tokens" in prepared.body("x", 7)
    # where words are several tokens each, some prompts are longer than others
    left = 400 - counted(server, prepared) - prepared.workload.output_tokens
    assert 3 * 140**0.5 < left < 60


def test_a_context_that_is_declared_and_not_minded_is_noted() -> None:
    prepared = probe(Api(models=models("tiny", max_model_len=100)), workload=Workload(80, 64))
    assert prepared.workload == Workload(80, 64)
    assert any("(100 tokens), and the server takes them" in note for note in prepared.base.notes)


def test_a_prompt_that_fits_is_left_alone_however_many_tokens_a_word_has() -> None:
    server = Counting(2.0, 11, 600)
    prepared = probe(server, workload=Workload(500, 64))
    assert prepared.workload == Workload(500, 64)
    assert prepared.base.notes == []


def test_a_long_answer_is_not_waited_for_while_probing() -> None:
    """A server that would speak for ever on the request that checks the context."""

    def chat(request: Request) -> bytes:
        return answer(3) if request.json["max_tokens"] < 1000 else STREAM + chunk(token())

    prepared = probe(Api(chat_completions=chat), workload=Workload(256, 4000))
    assert prepared.workload.output_tokens == 4000


@pytest.mark.parametrize(
    ("message", "field", "instead"),
    [
        ("Unrecognized request argument supplied: stream_options", "stream_options", None),
        ("Unknown parameter stream_options for this model", "stream_options", None),
        ("Not supported by this model: max_tokens. Use 'max_completion_tokens' instead.",
         "max_tokens", "max_completion_tokens"),
    ],
)  # fmt: skip
def test_a_refused_field_is_mended_and_noted(message: str, field: str, instead: str | None) -> None:
    def chat(request: Request) -> bytes:
        if field in request.json:
            return error(message, "400 Bad Request")
        return answer(3, prompt=len(request.json["messages"][0]["content"].split()))

    prepared = probe(Api(chat_completions=chat))
    body = prepared.body("x", 7)
    assert field not in body
    if instead:
        assert body[instead] == 7
    assert sum(field in note for note in prepared.base.notes) == 1


def test_a_server_that_does_not_know_several_choices_is_noted() -> None:
    notes = probe(Api(), workload=Workload(batch=3)).base.notes
    assert "the server does not mind n: 1 of 3 choices came" in notes


def test_several_items_are_refused_where_the_protocol_has_none() -> None:
    line = response(b'{"message":{"content":"a"},"done":true,"eval_count":1}\n', "x-ndjson")
    api = Api()
    api.routes = {"/api/tags": said({"models": [{"name": "tiny:latest"}]}), "/api/chat": line}
    with pytest.raises(SettingsError, match=r"batch=3: Ollama chat \(protocol='ollama'\)"):
        probe(api, "", Workload(batch=3), protocol="ollama")


def test_a_model_that_thinks_in_secret_first() -> None:
    def chat(request: Request) -> bytes:
        spoken = max(0, request.json["max_tokens"] - 100)
        return answer(spoken, prompt=len(request.json["messages"][0]["content"].split()))

    for output_tokens in (64, 300):
        workload = Workload(256, output_tokens)
        assert probe(Api(chat_completions=chat), workload=workload).calibration.counted


def test_a_model_that_thinks_for_longer_than_a_probe_gets_what_is_asked_for() -> None:
    def chat(request: Request) -> bytes:
        spoken = max(0, request.json["max_tokens"] - 600)
        return answer(spoken, prompt=len(request.json["messages"][0]["content"].split()))

    workload = Workload(256, 700)
    assert probe(Api(chat_completions=chat), workload=workload).workload == workload


def test_a_least_output_length_is_met_and_said() -> None:
    def chat(request: Request) -> bytes:
        if request.json["max_tokens"] < 16:
            sentence = "Invalid 'max_tokens': integer below minimum value. Expected a value >= 16"
            return error(sentence, "400 Bad Request")
        return answer(16, prompt=len(request.json["messages"][0]["content"].split()))

    prepared = probe(Api(chat_completions=chat), workload=Workload(256, 8))
    assert prepared.workload.output_tokens == 16
    assert any("at least 16 output tokens" in note for note in prepared.base.notes)


def test_a_model_that_only_thinks_is_refused() -> None:
    def chat(request: Request) -> bytes:
        spoken = max(0, request.json["max_tokens"] - 5000)
        return answer(spoken, prompt=len(request.json["messages"][0]["content"].split()))

    assert "output_tokens" in refused(Api(chat_completions=chat), "empty_stream")


def test_without_usage_counts_are_estimated_and_that_is_said() -> None:
    silent = stream([token(), token(), finish(), DONE])
    prepared = probe(Api(chat_completions=silent), workload=Workload(100, 8))
    assert not prepared.calibration.counted
    assert prepared.calibration.words(100) == 100
    assert any("no usage" in note for note in prepared.base.notes)


def test_a_server_that_does_not_count_the_prompt() -> None:
    prepared = probe(Api(chat_completions=answer(3, prompt=1)))
    assert any("does not count" in note for note in prepared.base.notes)


@pytest.mark.parametrize("echoes", [True, False])
def test_a_prompt_that_is_repeated_is_no_token(echoes: bool) -> None:
    def chat(request: Request) -> bytes:
        said = request.json["messages"][0]["content"]
        pieces = [said] if echoes else re.findall(r"\S+\s*", said)
        return stream([*map(token, pieces), token(), finish(), usage(len(said.split()), 3), DONE])

    prepared = probe(Api(chat_completions=chat))
    assert any("repeats the prompt" in note for note in prepared.base.notes) is echoes


def test_sentences_are_sentences() -> None:
    """Nothing of Python, of httpx or of a traceback in what a user reads."""
    for script in (Api(chat_completions=b"\x00"), Api(models=b"HTTP/1.1 200 OK\r\n\r\n{")):
        with Server(script) as server, pytest.raises(EndpointError) as caught:
            prepare(Endpoint(server.url, model="tiny"), Workload(), 0.5)
        assert not re.search(r"Traceback|object at 0x|<class", str(caught.value))
