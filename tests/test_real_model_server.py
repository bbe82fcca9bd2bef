"""The real model server is what the measurement tests take it for."""

import json

import httpx
import pytest
from real_model import MODEL

pytestmark = pytest.mark.model


def test_it_lists_its_model(llama: str) -> None:
    listed = httpx.get(f"{llama}/v1/models", timeout=30).json()["data"]
    assert [model["id"] for model in listed] == [MODEL]


def test_a_chat_streams_tokens_and_its_usage(llama: str) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Count from one to five."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 16,
        "ignore_eos": True,
    }
    with httpx.stream("POST", f"{llama}/v1/chat/completions", json=body, timeout=120) as answer:
        assert answer.status_code == 200
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    texts = [
        choice["delta"]["content"]
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["delta"].get("content")
    ]
    assert len(texts) > 8
    usage = next(chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage"))
    assert usage["completion_tokens"] == 16
    assert usage["prompt_tokens"] > 8
