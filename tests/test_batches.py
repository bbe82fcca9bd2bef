"""Requests of several items, answers that come whole, prompts that begin alike."""

import random
from typing import Any

import pytest

from tpwidgets.charts.overview import overview_spec
from tpwidgets.charts.picture import picture_png
from tpwidgets.cost.price import Price
from tpwidgets.cost.table import cost_table
from tpwidgets.errors import SettingsError
from tpwidgets.metrics.points import operating_point, precise_enough
from tpwidgets.plan import answer
from tpwidgets.samples import Sample, Window
from tpwidgets.workload.prompts import Workload, prompt

pytestmark = pytest.mark.quick


def whole(number: int, slot: int, **more: Any) -> Sample:
    """An answer without a stream: 100 ms long, 32 texts of 10 tokens."""
    return Sample(
        f"r{number}", slot, 4, sent_s=number * 0.1, ended_ms=100.0, items=32, prompt_tokens=320,
        **more,
    )  # fmt: skip


def embeddings(rounds: int = 60, users: int = 4) -> list[Sample]:
    return [whole(n, slot) for n in range(rounds) for slot in range(users)]


def test_items_and_batches_are_counted_apart() -> None:
    point = operating_point(embeddings(), Window(4, 0.0, 6.0))
    assert point["rps"] == pytest.approx(40, rel=0.02)
    assert point["batches_per_s"] == point["rps"]
    assert point["items_per_s"] == pytest.approx(32 * 40, rel=0.02)
    assert point["input_tps"] == pytest.approx(320 * 40, rel=0.03)
    assert point["total_tps"] == point["input_tps"]
    assert point["e2e_p50_ms"] == pytest.approx(100)
    assert point["items_mean"] == 32
    # what was not measured is not there
    assert point["ttft_p50_ms"] is None
    assert point["output_tps"] is None


def test_one_text_a_request_is_a_batch_too_but_a_stream_is_none() -> None:
    single = [Sample(f"r{n}", 0, 1, sent_s=n / 10, ended_ms=100.0) for n in range(50)]
    assert operating_point(single, Window(1, 0.0, 5.0))["items_per_s"] == pytest.approx(10, rel=0.1)
    streamed = [
        Sample(f"r{n}", 0, 1, sent_s=n / 10, ended_ms=100.0, token_ms=[50.0, 90.0], output_tokens=2)
        for n in range(50)
    ]
    assert operating_point(streamed, Window(1, 0.0, 5.0))["items_per_s"] is None


def test_choices_side_by_side_share_the_tokens() -> None:
    stamps = [100.0 + 10 * (n // 4) for n in range(44)]  # 4 choices of 11 tokens
    sample = Sample("r", 0, 1, token_ms=stamps, output_tokens=44, items=4)
    assert sample.tpot_ms == pytest.approx(10)


def test_a_sweep_over_whole_answers_knows_when_it_has_seen_enough() -> None:
    point = operating_point(embeddings(), Window(4, 0.0, 6.0), provisional=True)
    assert precise_enough(point)


@pytest.mark.parametrize("price", [Price.per_token(0.0, 0.02), Price.per_hour(2.0)])
def test_answer_cost_and_picture_speak_of_items(price: Price) -> None:
    rows = [
        operating_point([whole(n, s) for n in range(60) for s in range(users)], Window(users, 0, 6))
        for users in (1, 4)
    ]
    said = answer(rows, price)
    assert "At 4 concurrent: 1,280 items/s, E2E latency p95 100 ms" in said
    assert "TTFT" not in said
    costs = cost_table(rows, price)
    expected = 0.02 if price.hour is None else 2.0 / 3600 / (40 * 320) * 1e6
    assert costs.usd_per_1m_total_tokens[1] == pytest.approx(expected, rel=0.03)
    assert costs.usd_per_request[1] == pytest.approx(expected * 320 / 1e6, rel=0.03)
    spec = overview_spec(rows, price)
    assert next(p for p in spec["params"] if p["name"] == "whole")["value"] is True
    empty = overview_spec([row | {"items_per_s": None} for row in rows], price)
    assert len(picture_png(spec, 1)) > len(picture_png(empty, 1))


def test_a_shared_prefix_is_shared_and_the_rest_is_not() -> None:
    rng = random.Random(1)
    prefix = prompt(20, rng, instructed=False)
    first, second = (prompt(50, rng, instructed=False, prefix=prefix) for _ in range(2))
    assert first.split()[:20] == second.split()[:20] == prefix.split()
    assert first.split()[20:30] != second.split()[20:30]
    assert len(first.split()) == 50


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ((256, 64, 0), "batch"),
        ((256, 64, 1.5), "batch"),
        ((256, 64, 1, 256), "shared_prefix_tokens"),
        ((256, 64, 1, -1), "shared_prefix_tokens"),
    ],
)
def test_settings_are_refused_by_name(settings: tuple[Any, ...], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Workload.of(*settings)
