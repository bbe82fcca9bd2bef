"""The protocols that a real LLM server speaks, measured: its counts and ours agree."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from browser import need
from real_model import NoModelServerError, serve

import tpwidgets as tp

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that embeds."""
    try:
        log = tmp_path_factory.mktemp("embedder") / "server.log"
        with serve(log, "--embeddings", "--pooling", "mean") as url:
            yield url
    except NoModelServerError as error:
        need(str(error))


@pytest.mark.parametrize(
    ("protocol", "why"),
    [("responses", "completed"), ("anthropic", "max_tokens")],
)
def test_a_protocol_is_measured(llama: str, protocol: str, why: str) -> None:
    run = tp.measure(
        llama, protocol=protocol, concurrency=1, requests=2, prompt_tokens=64, output_tokens=8
    )
    requests = run.requests
    assert (requests.status == "ok").all()
    assert (requests.token_source == "usage").all()
    # these protocols can't force a length: the model may have said all before
    cut = requests.output_tokens == 8
    assert cut.any()
    assert requests.output_tokens.between(1, 8).all()
    assert (requests.finish_reason[cut] == why).all()
    assert requests.prompt_tokens.between(58, 70).all()
    assert (requests.ttft_ms > requests.headers_ms).all()
    for arrivals, tokens in zip(requests.token_ms, requests.output_tokens, strict=True):
        # llama.cpp holds back bytes that are no whole character yet, and shows no end
        assert tokens - 4 <= len(arrivals) <= tokens
        assert all(later > earlier for earlier, later in pairwise(arrivals))


def test_embeddings_are_measured(embedder: str) -> None:
    run = tp.measure(
        embedder, protocol="embeddings", concurrency=1, requests=2, batch=3, prompt_tokens=32
    )
    requests = run.requests
    assert (requests.status == "ok").all()
    assert (requests["items"] == 3).all()
    assert requests.prompt_tokens.between(3 * 28, 3 * 36).all()
    assert requests.ttft_ms.isna().all()
