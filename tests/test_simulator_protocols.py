"""The simulated endpoint in every protocol that it speaks, as the client reads it."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from tpwidgets.protocols import PROTOCOLS, Outcome, StreamReader
from tpwidgets.simulator import PROFILES, Simulation, simulate

pytestmark = pytest.mark.quick

STREAMED = ["chat", "completions", "responses", "anthropic"]
THINKER = next(name for name, profile in PROFILES.items() if profile.reasoning_share)


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with simulate("vllm-llama-70b", speed=50) as sim:
        yield sim


@pytest.fixture(scope="module")
def thinker() -> Iterator[Simulation]:
    with simulate(THINKER, speed=50) as sim:
        yield sim


def post(sim: Simulation, name: str, body: dict[str, Any], **headers: str) -> tuple[int, bytes]:
    url = urlsplit(sim.url)
    connection = HTTPConnection(str(url.hostname), url.port, timeout=60)
    connection.request(
        "POST", f"{url.path}/{PROTOCOLS[name].path}", json.dumps(body),
        {name.replace("_", "-"): value for name, value in headers.items()},
    )  # fmt: skip
    answer = connection.getresponse()
    said = answer.status, answer.read()
    connection.close()
    return said


def ask(sim: Simulation, name: str, prompt: str = "one two three", output: int = 40) -> Outcome:
    protocol = PROTOCOLS[name]
    status, data = post(sim, name, protocol.body(sim.profile.model, prompt, output))
    assert status == 200
    reader = StreamReader(protocol)
    reader.feed(data, 1)
    return reader.finish(2)


@pytest.mark.parametrize("name", STREAMED)
def test_tokens_and_counts(sim: Simulation, name: str) -> None:
    outcome = ask(sim, name)
    prompt = 4 if name == "completions" else 14
    assert (len(outcome.token_ns), outcome.usage.output_tokens) == (40, 40)
    assert (outcome.usage.prompt_tokens, outcome.reasoning_chunks) == (prompt, 0)
    assert (outcome.done, outcome.malformed, outcome.error) == (True, None, None)
    why = {"responses": "max_output_tokens", "anthropic": "max_tokens"}
    assert outcome.finish_reason == why.get(name, "length")


@pytest.mark.parametrize("name", STREAMED)
def test_a_repeated_prompt_is_cached(sim: Simulation, name: str) -> None:
    prompt = f"{name} " * 64
    cold, warm = ask(sim, name, prompt), ask(sim, name, prompt)
    assert warm.usage.prompt_tokens == cold.usage.prompt_tokens
    assert (cold.usage.cached_tokens or 0) < 32 <= (warm.usage.cached_tokens or 0)


@pytest.mark.parametrize("name", ["chat", "responses", "anthropic"])
def test_thoughts_come_first(thinker: Simulation, name: str) -> None:
    outcome = ask(thinker, name)
    thoughts = int(thinker.profile.reasoning_share * 40)
    assert (outcome.reasoning_chunks, len(outcome.token_ns)) == (thoughts, 40)
    if name != "anthropic":  # which does not count them apart
        assert outcome.usage.reasoning_tokens == thoughts
    assert (outcome.done, outcome.malformed) == (True, None)


@pytest.mark.parametrize("name", ["responses", "anthropic"])
def test_not_streaming(thinker: Simulation, name: str) -> None:
    protocol = PROTOCOLS[name]
    body = protocol.body(thinker.profile.model, "hello", 10) | {"stream": False}
    status, data = post(thinker, name, body)
    said = json.loads(data)
    assert (status, said["usage"]["output_tokens"]) == (200, 10)
    parts = said["output"][0]["content"] if name == "responses" else said["content"]
    assert parts[-1]["text"]


def test_embeddings(sim: Simulation) -> None:
    protocol = PROTOCOLS["embeddings"]
    for texts, items in (("one two", 1), (["one two", "three"], 2)):
        body = {**protocol.body(sim.profile.model, "", 0), "input": texts}
        status, data = post(sim, "embeddings", body)
        assert status == 200
        reader = StreamReader(protocol)
        reader.feed(data, 1)
        outcome = reader.finish(2)
        assert (outcome.items, outcome.malformed) == (items, None)
        assert outcome.usage.prompt_tokens == (3 if items == 1 else 5)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("embeddings", {"input": []}),
        ("embeddings", {}),
        ("embeddings", {"input": "word " * 200_000}),
        ("responses", {}),
        ("anthropic", {"messages": [], "max_tokens": 4}),
        ("responses", {"input": "hi", "max_output_tokens": 0}),
    ],
)
def test_what_makes_no_sense_is_refused(sim: Simulation, name: str, body: dict[str, Any]) -> None:
    status, data = post(sim, name, body)
    assert status == 400
    assert json.loads(data)["error"]["message"]


def test_a_key_may_come_as_anthropics_clients_send_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM_KEY", "sk-test")
    with simulate("vllm-llama-70b", speed=50, api_key_env="SIM_KEY") as sim:
        body = PROTOCOLS["anthropic"].body(sim.profile.model, "hi", 3)
        assert post(sim, "anthropic", body)[0] == 401
        assert post(sim, "anthropic", body, x_api_key="wrong")[0] == 401
        assert post(sim, "anthropic", body, x_api_key="sk-test")[0] == 200
