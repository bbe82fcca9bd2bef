"""tpwidgets against a real LLM server with a real model: counts, arrival by token, curves.

The server counts for itself (its /metrics); nothing here asserts how fast it is.
"""

import re
from itertools import pairwise

import httpx
import pytest
from real_model import MODEL

import tpwidgets as tp
from tpwidgets.charts.overview import overview_spec
from tpwidgets.charts.picture import picture_png

pytestmark = pytest.mark.model


def counters(llama: str) -> tuple[int, int]:
    """Return the tokens that the server says it has read and written since it started."""
    text = httpx.get(f"{llama}/metrics", timeout=30).text
    names = ("llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total")
    found = [re.search(rf"^{name} (\S+)$", text, re.MULTILINE) for name in names]
    assert all(found), text
    read, written = (int(float(match[1])) for match in found if match)
    return read, written


@pytest.fixture(scope="module")
def run(llama: str) -> tp.Run:
    tp.measure(f"{llama}/v1", concurrency=1, requests=1, prompt_tokens=32, output_tokens=8)  # warm
    return tp.measure(
        llama,  # without /v1: mended
        concurrency=(1, 4),
        prompt_tokens=96,
        output_tokens=16,
        requests=6,
        price=tp.Price.per_hour(1),
    )


def test_lengths_are_hit_and_counted_by_the_server(run: tp.Run) -> None:
    assert run.state == "done"
    assert run.conditions["model"] == MODEL
    assert run.conditions["server"] == "llama.cpp"
    assert any("added /v1" in note for note in run.conditions["notes"])
    assert (run.requests.status == "ok").all()
    assert (run.requests.token_source == "usage").all()
    assert (run.requests.output_tokens == 16).all()
    assert run.requests.prompt_tokens.mean() == pytest.approx(96, rel=0.05)
    # each prompt is new from its first word on: only the chat template can come from the cache
    assert run.requests.cached_tokens.max() <= 40


def test_counts_agree_with_the_servers_own(llama: str) -> None:
    before = counters(llama)
    run = tp.measure(f"{llama}/v1", concurrency=2, requests=4, prompt_tokens=64, output_tokens=8)
    read, written = (after - b for after, b in zip(counters(llama), before, strict=True))
    requests = run.requests
    ours = int(requests.output_tokens.sum())
    # two probes came before the requests: 4 tokens each, and their prompts
    assert written == ours + 2 * 4
    uncached = int((requests.prompt_tokens - requests.cached_tokens).sum())
    assert uncached < read < uncached + 200


def test_tokens_arrive_one_by_one(run: tp.Run) -> None:
    for arrivals in run.requests.token_ms:
        # llama.cpp holds back bytes that are no whole character yet: a chunk may be missing
        assert 12 <= len(arrivals) <= 16
        assert all(later > earlier for earlier, later in pairwise(arrivals))
    assert run.points.merged_pct.max() < 20
    assert run.points.tokens_per_chunk.between(0.9, 1.4).all()


def test_the_curves_are_drawn(run: tp.Run) -> None:
    assert list(run.points.concurrency) == [1, 4]
    assert run.points.in_flight_mean.iloc[1] == pytest.approx(4, rel=0.1)
    assert (run.points.n >= 6).all()
    empty = picture_png(overview_spec([], None, "x"))
    drawn = picture_png(overview_spec(run.rows, run.price, run.title))
    assert drawn[:4] == b"\x89PNG"
    assert len(drawn) > len(empty)
    assert run.cost().usd_per_1m_output_tokens.gt(0).all()
    assert re.search(r"At \d+ concurrent", run.answer())


def test_a_wrong_model_is_named(llama: str) -> None:
    with pytest.raises(tp.EndpointError, match=rf"no model 'smollm3'.*{MODEL}") as failed:
        tp.measure(f"{llama}/v1", model="smollm3", requests=1, concurrency=1)
    assert failed.value.kind == "model"
