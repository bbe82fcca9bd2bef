"""What a URL and a server tell: protocol, base URL, model, software; and how the key travels."""

from collections.abc import Callable
from typing import Any

import pytest
from hostile import (
    NOT_FOUND,
    PATIENCE_S,
    Api,
    Peer,
    Request,
    Server,
    answer,
    models,
    response,
    said,
    stream,
    token,
)  # fmt: skip

from tpwidgets import addresses
from tpwidgets.conditions import found
from tpwidgets.endpoints.discovery import list_models, scan
from tpwidgets.endpoints.endpoint import Endpoint
from tpwidgets.endpoints.prepared import Prepared
from tpwidgets.endpoints.probe import prepare
from tpwidgets.errors import EndpointError
from tpwidgets.protocols import PROTOCOLS
from tpwidgets.workload.prompts import Workload

KEY = "sk-MARKED-0123456789abcdef"
AZURE = "https://me.openai.azure.com"


def probe(
    routes: dict[str, bytes | Callable[[Request], bytes]], path: str = "/v1", **settings: Any
) -> tuple[Prepared, list[Request]]:
    """Probe a server that has these paths and no other."""
    api = Api()
    api.routes = routes
    with Server(api) as server:
        prepared = prepare(Endpoint(server.origin + path, **settings), Workload(), PATIENCE_S)
    return prepared, server.requests


# --- what a URL says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "protocol", "base", "model"),
    [
        ("https://api.openai.com", None, "https://api.openai.com/v1", None),
        ("https://api.openai.com/v1/responses", "responses", "https://api.openai.com/v1", None),
        ("https://api.openai.com/v1/embeddings", "embeddings", "https://api.openai.com/v1", None),
        ("https://api.anthropic.com", "anthropic", "https://api.anthropic.com/v1", None),
        ("https://api.anthropic.com/v1/messages", "anthropic", "https://api.anthropic.com/v1",
         None),
        ("https://api.anthropic.com/v1/chat/completions", "chat", "https://api.anthropic.com/v1",
         None),
        ("https://generativelanguage.googleapis.com", "gemini",
         "https://generativelanguage.googleapis.com/v1beta", None),
        ("https://generativelanguage.googleapis.com/v1beta/models/gemini-x:generateContent",
         "gemini", "https://generativelanguage.googleapis.com/v1beta", "gemini-x"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", None,
         "https://generativelanguage.googleapis.com/v1beta/openai", None),
        ("http://localhost:11434/api/chat", "ollama", "http://localhost:11434", None),
        ("http://localhost:11434/api/generate", "ollama-generate", "http://localhost:11434", None),
        ("http://localhost:8000/v1/completions", "completions", "http://localhost:8000/v1", None),
        ("https://openrouter.ai", None, "https://openrouter.ai/api/v1", None),
        ("https://api.groq.com/openai/v1/chat/completions", "chat",
         "https://api.groq.com/openai/v1", None),
        ("https://api.fireworks.ai", None, "https://api.fireworks.ai/inference/v1", None),
        (f"{AZURE}/openai/deployments/mine/chat/completions?api-version=2024-10-21", "chat",
         f"{AZURE}/openai/deployments/mine?api-version=2024-10-21", "mine"),
        (AZURE, None, f"{AZURE}/openai/v1", None),
        ("https://me.services.ai.azure.com/models", None,
         "https://me.services.ai.azure.com/models", None),
    ],
)  # fmt: skip
def test_the_usual_urls(url: str, protocol: str | None, base: str, model: str | None) -> None:
    read = addresses.read(url)
    assert (read.protocol and read.protocol.name) == protocol
    assert read.model == model
    assert addresses.candidates(url, read.protocol or PROTOCOLS["chat"])[0][0] == base


def test_a_url_of_the_other_kind_leads_to_the_root() -> None:
    for path in ("", "/v1", "/api", "/v1/chat/completions"):
        found = addresses.candidates(f"http://localhost:11434{path}", PROTOCOLS["ollama"])
        assert found[0][0] == "http://localhost:11434"


@pytest.mark.parametrize(
    ("url", "protocol", "headers"),
    [
        ("http://x", "chat", {"Authorization": f"Bearer {KEY}"}),
        ("https://api.anthropic.com", "anthropic",
         {"x-api-key": KEY, "anthropic-version": "2023-06-01"}),
        ("https://generativelanguage.googleapis.com", "gemini", {"x-goog-api-key": KEY}),
        ("https://me.openai.azure.com/openai/v1", "chat", {"api-key": KEY}),
        ("https://me.cognitiveservices.azure.com/openai/v1", "responses", {"api-key": KEY}),
        # a server of one's own that speaks Anthropic's protocol checks keys as OpenAI does
        ("http://x", "anthropic", {"x-api-key": KEY, "Authorization": f"Bearer {KEY}",
                                   "anthropic-version": "2023-06-01"}),
    ],
)  # fmt: skip
def test_how_a_key_travels(
    url: str, protocol: str, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TP_KEY", KEY)
    assert Endpoint(url, api_key_env="TP_KEY").auth_headers(PROTOCOLS[protocol]) == headers
    own = Endpoint(url, headers={"anthropic-version": "mine"}).auth_headers(PROTOCOLS[protocol])
    assert own == {"anthropic-version": "mine"}


def test_the_model_stands_in_the_path_once_with_the_query() -> None:
    event = b'data: {"candidates": [{"content": {"parts": [{"text": "a"}]}}]}\n\n'
    prepared, requests = probe(
        {"/v1beta/models": said({"models": [{"name": "models/g 1", "inputTokenLimit": 9000}]}),
         "/v1beta/models/g%201:streamGenerateContent": stream([event])},
        "?alt=sse", protocol="gemini",
    )  # fmt: skip
    assert prepared.model == "g 1"
    assert prepared.base.context == 9000
    assert requests[-1].target == "/v1beta/models/g%201:streamGenerateContent?alt=sse"


# --- what answers ---------------------------------------------------------------------------------

CHAT = {"/v1/chat/completions": answer(3)}


@pytest.mark.parametrize(
    ("owner", "routes", "server", "version", "context"),
    [
        ("vllm", {"/version": {"version": "0.32.0"}}, "vllm", "0.32.0", None),
        ("me", {"/version": {"version": "1.0"}}, "", "", None),  # anybody's
        ("llamacpp", {"/props": {"build_info": "b1", "default_generation_settings": {"n_ctx": 9}}},
         "llama.cpp", "b1", 9),
        ("library", {"/api/version": {"version": "0.12"}}, "ollama", "0.12", None),
        ("sglang", {"/get_server_info": {"version": "0.5", "max_total_num_tokens": 99}},
         "sglang", "0.5", None),
        ("me", {"/info": {"model_id": "m", "version": "3", "max_total_tokens": 4096}},
         "TGI", "3", 4096),
        ("organization_owner",
         {"/api/v0/models": {"data": [{"state": "not-loaded", "max_context_length": 5},
                                      {"state": "loaded", "max_context_length": 8192}]}},
         "LM Studio", "", 8192),
        ("openai", {"/health/liveliness": "I'm alive!"}, "LiteLLM", "", None),
        ("vllm", {"/version": ["odd"]}, "vllm", "", None),
        ("", {}, "", "", None),
    ],
)  # fmt: skip
def test_the_server_its_version_and_its_context(
    owner: str, routes: dict[str, Any], server: str, version: str, context: int | None
) -> None:
    told = {path: said(value) for path, value in routes.items()}
    prepared, requests = probe(
        {"/v1/models": models("tiny", owned_by=owner), **CHAT, **told}, "/v1"
    )
    conditions = found(prepared)
    assert (conditions["server"], conditions["server_version"]) == (server, version)
    assert prepared.base.server.context == context
    if owner in ("vllm", "library", "organization_owner"):  # it was known whom to ask
        asked = [
            r.target for r in requests if r.method == "GET" and not r.target.endswith("/v1/models")
        ]
        assert asked == list(routes)


def test_ollama_without_openais_paths() -> None:
    line = b'{"message": {"content": "a"}, "done": false}\n'
    last = b'{"done": true, "done_reason": "length", "prompt_eval_count": 9, "eval_count": 4}\n'
    prepared, _ = probe(
        {"/api/tags": said({"models": [{"name": "llama3.2:latest"}]}),
         "/api/version": said({"version": "0.1"}),
         "/api/chat": response(line * 4 + last, "application/x-ndjson")},
        "", model="llama3.2",
    )  # fmt: skip
    assert prepared.protocol.name == "ollama"
    assert prepared.url.endswith("/api/chat")
    assert found(prepared)["output_length"] == "not forced"
    assert found(prepared)["usage_streamed"]


def test_a_server_that_fails_at_its_list_and_refuses_what_it_does_not_know() -> None:
    """As transformers serve does it."""

    def chat(request: Request) -> bytes:
        unknown = {"ignore_eos", "min_tokens"} & set(request.json)
        if unknown:
            return said({"detail": f"Unexpected fields in the request: {unknown}"}, "422 Oops")
        return answer(4, prompt=len(request.json["messages"][0]["content"].split()))

    prepared, _ = probe(
        {"/v1/models": response(b"Internal Server Error", "text/plain", "500 Oops"),
         "/health": said({"status": "ok"}), "/v1/chat/completions": chat},
        model="mine",
    )  # fmt: skip
    assert prepared.output_length == "not forced"
    assert not {"ignore_eos", "min_tokens"} & set(prepared.body("x", 7))
    assert any("ignore_eos" in note for note in prepared.base.notes)


EMBEDDED = said({"data": [{"embedding": [0.5] * 7}], "usage": {"prompt_tokens": 9}})


def test_embeddings() -> None:
    routes = {"/v1/models": models("chat", "some-embed"), "/v1/embeddings": EMBEDDED}
    for path, settings in (
        ("/v1/embeddings", {}),
        ("/v1", {"protocol": "embeddings"}),
        ("/v1", {"model": "some-embed"}),
    ):
        prepared, _ = probe(routes, path, **settings)
        assert (prepared.protocol.name, prepared.model) == ("embeddings", "some-embed")
        assert prepared.dimensions == 7
        assert prepared.output_length is None
        assert found(prepared)["usage_streamed"]
    uncounted = {**routes, "/v1/embeddings": said({"data": [{"embedding": [0.5]}]})}
    notes = probe(uncounted, "/v1/embeddings")[0].base.notes
    assert notes[-1].endswith("token counts are estimated (a word for a prompt token)")


def test_a_model_that_only_embeds_and_is_not_called_so() -> None:
    sentence = {"message": "The model does not support Chat Completions API", "code": 400}
    refused = said({"error": sentence}, "400 Bad Request")
    routes = {
        "/v1/models": models("bge-m3"),
        "/v1/chat/completions": refused, "/v1/completions": refused, "/v1/embeddings": EMBEDDED,
    }  # fmt: skip
    prepared, requests = probe(routes, "/v1")
    assert prepared.protocol.name == "embeddings"
    # whoever lists models as OpenAI does is not asked in Gemini's way nor in Ollama's
    assert not [r.target for r in requests if r.method == "POST" and r.target[:4] != "/v1/"]
    with pytest.raises(EndpointError, match="does not support Chat"):
        probe(routes, "/v1", protocol="chat")


def test_a_text_that_is_too_long_to_be_embedded() -> None:
    def embed(request: Request) -> bytes:
        if request.body.count(b" ") < 300:
            return EMBEDDED
        why = {"error": {"message": "maximum context length is 200 tokens"}}
        return said(why, "400 Bad Request")

    routes = {"/v1/models": models("some-embed", max_model_len=200), "/v1/embeddings": embed}
    api = Api()
    api.routes = routes
    with Server(api) as server:
        prepared = prepare(Endpoint(server.url), Workload(400), PATIENCE_S)
    assert prepared.workload.prompt_tokens == 192
    assert any("measured at 192 prompt tokens;" in note for note in prepared.base.notes)


def test_an_answer_without_vectors() -> None:
    routes = {"/v1/models": models("embed"), "/v1/embeddings": said({"object": "list"})}
    with pytest.raises(EndpointError, match="something else"):
        probe(routes, "/v1/embeddings")


def test_a_list_that_is_cut_refuses_no_model() -> None:
    listed = said({"data": [{"id": "a"}], "has_more": True})
    prepared, _ = probe({"/v1/models": listed, **CHAT}, model="b")
    assert prepared.model == "b"


def test_a_proxy_tells_its_version_with_its_answers() -> None:
    told = answer(3).replace(b"\r\n", b"\r\nx-litellm-version: 1.2\r\n", 1)
    conditions = found(probe({"/v1/models": models("a"), "/v1/chat/completions": told})[0])
    assert (conditions["server"], conditions["server_version"]) == ("LiteLLM", "1.2")


# --- how long the output is -----------------------------------------------------------------------


def lengths(chat: Callable[[Request], bytes], owner: str = "", **settings: Any) -> Prepared:
    routes = {"/v1/models": models("tiny", owned_by=owner), "/v1/chat/completions": chat}
    return probe(routes, **settings)[0]


def test_length_is_forced_or_asked_for() -> None:
    for owner, extra, is_so in (
        ("vllm", {}, "forced"),
        ("", {}, "asked for"),
        ("vllm", {"ignore_eos": False}, "not forced"),
    ):
        prepared = lengths(lambda _: answer(4), owner, extra_body=extra)
        assert prepared.output_length == is_so
        sent = prepared.body("x", 7)
        assert sent["ignore_eos"] is extra.get("ignore_eos", True)
        assert ("min_tokens" in sent) == (not extra)


@pytest.mark.parametrize("guilty", [True, False])
def test_a_refusal_without_a_name_is_tried_out(guilty: bool) -> None:
    def chat(request: Request) -> bytes:
        if not guilty or "ignore_eos" in request.json:
            return said({"error": {"message": "bad request"}}, "400 Bad Request")
        return answer(4)

    if guilty:
        assert lengths(chat).output_length == "not forced"
    else:
        with pytest.raises(EndpointError, match="bad request"):
            lengths(chat)


def test_what_the_user_says_is_sent_whatever_is_refused() -> None:
    def chat(request: Request) -> bytes:
        return said({"error": {"message": "unknown: ignore_eos"}}, "400 Bad Request")

    with pytest.raises(EndpointError, match="ignore_eos"):
        lengths(chat, extra_body={"ignore_eos": True})


def test_objects_in_the_body_are_added_to() -> None:
    extra = {"stream_options": {"continuous_usage_stats": True}}
    sent = lengths(lambda _: answer(4), extra_body=extra).body("x", 7)
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert sent["max_tokens"] == 7


def test_a_server_that_minds_no_length() -> None:
    noted = lengths(lambda _: answer(400)).base.notes
    assert any("does not mind the output length" in note for note in noted)
    endless = stream([token()] * 3000)
    assert any("does not mind" in note for note in lengths(lambda _: endless).base.notes)


def test_a_minimum_of_output_tokens() -> None:
    def chat(request: Request) -> bytes:
        if request.json["max_tokens"] < 16:
            message = "Invalid 'max_output_tokens': integer below minimum value. Expected >= 16."
            return said({"error": {"message": message}}, "400 Bad Request")
        return answer(16)

    assert lengths(chat).model == "tiny"


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "kind", "says"),
    [
        ("400 Bad Request", "API key not valid. Please pass a valid API key.", "auth", "TP_KEY"),
        ("403 Forbidden", "Project has no access to it", "auth", "Project has no access"),
        ("429 Too Many", "slow down", "rate_limited", "Wait 7 s"),
        ("529 Overloaded", "Overloaded", "http", "overloaded"),
        ("404 Not Found", "model: other", "model", "no model 'other'"),
        ("404 Not Found", "models/other is not found for API version v1beta", "model", "no model"),
        ("400 Bad Request", "other is not a valid model ID", "model", "no model 'other'"),
    ],
)
def test_refusals_say_what_to_do(
    status: str, message: str, kind: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TP_KEY", KEY)
    refused = said({"error": {"message": f"{message} {KEY}"}}, status)
    refused = refused.replace(b"\r\n", b"\r\nretry-after: 7\r\n", 1)
    with pytest.raises(EndpointError) as caught:
        probe(
            {"/v1/models": NOT_FOUND, "/v1/chat/completions": refused},
            model="other", api_key_env="TP_KEY", protocol="chat",
        )  # fmt: skip
    assert caught.value.kind == kind
    assert says in str(caught.value)
    assert KEY not in str(caught.value)


# --- lists ----------------------------------------------------------------------------------------


def test_models_are_listed_and_servers_found() -> None:
    with Server(Api(models=models("a", "b"))) as server:
        assert list_models(Endpoint(server.origin), PATIENCE_S) == ["a", "b"]
        found = scan({server.port: "vLLM"}, PATIENCE_S)
    assert [(label, endpoint.url) for label, endpoint in found] == [
        (f"127.0.0.1:{server.port} (a)", server.url)
    ]
    assert scan({server.port: "vLLM"}, PATIENCE_S) == []


def test_a_server_that_says_nothing_of_itself_is_measured() -> None:
    """What it is asked besides is good to know, not more."""

    def script(peer: Peer) -> None:
        request = peer.request()
        if request.target == "/v1/models":
            peer.send(models("tiny"))
        elif request.method == "POST":
            peer.send(answer(4))

    with Server(script) as server:
        assert prepare(Endpoint(server.url), Workload(), PATIENCE_S).base.server.name == ""
