"""Protocols that no server at hand speaks, measured against scripted ones."""

import json
from typing import Any

import pytest
from hostile import Api, Request, Server, chunk, said
from streams import LINES, framed

import tpwidgets as tp

KEY = "key-of-a-test-1234"


def stream(protocol: str, events: list[Any]) -> bytes:
    kind = "application/x-ndjson" if protocol in LINES else "text/event-stream"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(map(chunk, framed(protocol, events))) + b"0\r\n\r\n"


def words(text: str) -> int:
    return len(text.split())


def gemini(request: Request) -> bytes:
    prompt = words(request.json["contents"][0]["parts"][0]["text"])
    tokens = request.json["generationConfig"]["maxOutputTokens"]
    parts = [{"candidates": [{"content": {"parts": [{"text": " word"}]}}]}] * tokens
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": tokens}
    end = {"candidates": [{"finishReason": "MAX_TOKENS"}], "usageMetadata": usage}
    return stream("gemini", [*parts, end])


def ollama(request: Request) -> bytes:
    body = request.json
    text = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
    tokens = body["options"]["num_predict"]
    said = {"response": " word"} if "prompt" in body else {"message": {"content": " word"}}
    end = {
        "done": True, "done_reason": "length", "prompt_eval_count": words(text),
        "eval_count": tokens, "prompt_eval_duration": 5_000_000, "eval_duration": 7_000_000,
    }  # fmt: skip
    return stream("ollama", [*[{**said, "done": False}] * tokens, end])


def measured(server: Server, base: str, protocol: str) -> tp.Run:
    return tp.measure(
        server.origin + base, protocol=protocol, concurrency=1, requests=2,
        prompt_tokens=24, output_tokens=5,
    )  # fmt: skip


def holds(run: tp.Run, why: str) -> None:
    requests = run.requests
    assert (requests.status == "ok").all()
    assert (requests.token_source == "usage").all()
    assert (requests.prompt_tokens == 24).all()
    assert (requests.output_tokens == 5).all()
    assert (requests.finish_reason == why).all()
    assert [len(arrivals) for arrivals in requests.token_ms] == [5] * len(requests)


def test_gemini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    api = Api()
    path = "/v1beta/models/tiny:streamGenerateContent"
    listed = {"models": [{"name": "models/tiny", "inputTokenLimit": 4096}]}
    api.routes = {"/v1beta/models": said(listed), path: gemini}
    with Server(api) as server:
        run = tp.measure(
            tp.Endpoint(f"{server.origin}/v1beta", protocol="gemini", api_key_env="TEST_KEY"),
            concurrency=1, requests=2, prompt_tokens=24, output_tokens=5,
        )  # fmt: skip
        holds(run, "MAX_TOKENS")
        posts = [request for request in server.requests if request.method == "POST"]
    assert {request.target for request in posts} == {f"{path}?alt=sse"}
    assert {request.headers["x-goog-api-key"] for request in posts} == {KEY}
    assert KEY not in json.dumps(run.conditions)


@pytest.mark.parametrize(
    ("protocol", "path"), [("ollama", "/api/chat"), ("ollama-generate", "/api/generate")]
)
def test_ollama(protocol: str, path: str) -> None:
    api = Api()
    api.routes = {"/api/tags": said({"models": [{"name": "tiny:latest"}]}), path: ollama}
    with Server(api) as server:
        run = measured(server, "", protocol)
        holds(run, "length")
        posts = [request for request in server.requests if request.method == "POST"]
    assert {request.target for request in posts if "options" in request.json} == {path}
    assert {request.json["model"] for request in posts} == {"tiny:latest"}
    assert (run.requests.server_prefill_ms == 5).all()
    assert (run.requests.server_decode_ms == 7).all()
