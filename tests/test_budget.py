"""A spend limit: what is held back, what is billed, and that no server's bill is ever above it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hostile import DONE, Api, Request, Server, finish, stream, token, usage
from hypothesis import given, settings
from hypothesis import strategies as st

import tpwidgets as tp
from tpwidgets.engine import fleet
from tpwidgets.engine.budget import Budget, Purse, Tariff, TokenPurse
from tpwidgets.errors import SettingsError
from tpwidgets.samples import Sample
from tpwidgets.workload.prompts import Workload

PRICE = tp.Price.per_token(output=10.0, input=2.0, cached_input=0.5)
TARIFF = Tariff(PRICE, prompt_tokens=100, output_tokens=20)
MOST = (100 * 2 + 20 * 10) / 1e6


def sample(status: str = "ok", http: int | None = 200, chunks: int = 0, **known: object) -> Sample:
    row = Sample("r", 0, 1, status=status, http_status=http, token_ms=[1.0] * chunks)  # type: ignore[arg-type]
    for name, value in known.items():
        setattr(row, name, value)
    return row


# --- what a request is taken to have cost ---------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "micro_usd"),
    [
        (sample(prompt_tokens=90, output_tokens=10, chunks=10), 90 * 2 + 10 * 10),
        # the server ignored the limit that it was given: what it counts is what it bills
        (sample(prompt_tokens=90, output_tokens=500, chunks=500), 90 * 2 + 500 * 10),
        (sample(prompt_tokens=90, cached_tokens=80, output_tokens=10), 10 * 2 + 80 * 0.5 + 10 * 10),
        # no count: as long as asked, or as many as came
        (sample(output_tokens=5, token_source="chunks", chunks=5), MOST * 1e6),
        (sample(output_tokens=50, token_source="chunks", chunks=50), 100 * 2 + 50 * 10),
        # cut off: the server may have gone on
        (sample("disconnected", chunks=5, output_tokens=5, token_source="chunks"), MOST * 1e6),
        (sample("disconnected", None), MOST * 1e6),
        (sample("timeout", None), MOST * 1e6),
        (sample("stopped", chunks=3, output_tokens=3, token_source="chunks"), MOST * 1e6),
        # the server itself gave up amid the answer
        (sample("http_error", chunks=5, output_tokens=5, token_source="chunks"), 200 + 50),
        (sample("http_error", 500), 0),
        (sample("rate_limited", 429), 0),
        (sample("refused", None), 0),
        (sample("client_limit", None), 0),
    ],
)
def test_a_request_is_billed_by_what_is_known_of_it(ended: Sample, micro_usd: float) -> None:
    assert TARIFF.bill(ended) * 1e6 == pytest.approx(micro_usd)


# --- the gate of one worker -----------------------------------------------------------------------


def test_a_request_is_not_sent_if_all_in_flight_at_their_maximum_would_exceed_the_limit() -> None:
    async def test() -> None:
        asked: list[float] = []
        budget = Budget(TARIFF, asked.append)
        budget.grant(MOST * 3.5)
        assert [await budget.take(1) for _ in range(3)] == [True] * 3
        fourth = asyncio.ensure_future(budget.take(1))
        await asyncio.sleep(0)
        assert not fourth.done()
        assert asked
        budget.grant(0.0)
        assert not await fourth
        assert not await budget.take(1), "nothing more will come"

    asyncio.run(test())


def test_what_a_request_did_not_use_is_there_for_the_next() -> None:
    async def test() -> None:
        budget = Budget(TARIFF, lambda usd: None)
        budget.grant(MOST)
        for _ in range(3):
            assert await budget.take(0)
            budget.settle(sample("rate_limited", 429))
        assert await budget.take(0)
        budget.settle(sample(prompt_tokens=100, output_tokens=1))
        budget.grant(0.0)
        assert not await budget.take(0)

    asyncio.run(test())


def test_a_server_that_takes_more_than_asked_is_held_to_what_it_took() -> None:
    async def test() -> None:
        budget = Budget(TARIFF, lambda usd: None)
        budget.grant(10 * MOST)
        assert await budget.take(0)
        budget.settle(sample(prompt_tokens=100, output_tokens=140))  # 4 × the maximum
        assert await budget.take(0)
        budget.grant(0.0)
        assert not await budget.take(0), "two more like the first would be 12"

    asyncio.run(test())


def test_who_waits_goes_on_once_there_is_more() -> None:
    async def test() -> None:
        asked: list[float] = []
        budget = Budget(TARIFF, asked.append)
        waiting = [asyncio.ensure_future(budget.take(2)) for _ in range(2)]
        await asyncio.sleep(0)
        assert asked == pytest.approx([2 * MOST]), "asked once for both"
        budget.grant(2.5 * MOST)
        assert await asyncio.gather(*waiting) == [True, True]

    asyncio.run(test())


# --- all workers together -------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    limit=st.floats(0.5, 300.0),
    workers=st.integers(1, 4),
    turns=st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 20)), min_size=1, max_size=400
    ),
)
def test_whatever_workers_do_their_bills_add_up_to_no_more_than_the_limit(
    limit: float, workers: int, turns: list[tuple[int, bool, int]]
) -> None:
    async def test() -> None:
        purse = Purse(limit * MOST, PRICE)
        budgets: list[Budget] = []
        for number in range(workers):
            budgets.append(
                Budget(
                    TARIFF,
                    lambda usd, number=number: budgets[number].grant(purse.lease(usd, workers)),
                )
            )
        in_flight = [0] * workers
        billed = 0.0
        for which, ends, output in turns:
            at = which % workers
            if ends and in_flight[at]:
                in_flight[at] -= 1
                ended = sample(prompt_tokens=100, output_tokens=output)
                billed += TARIFF.bill(ended)
                budgets[at].settle(ended)
            elif await budgets[at].take(4):
                in_flight[at] += 1
            assert billed + sum(in_flight) * MOST <= limit * MOST * (1 + 1e-9)

    asyncio.run(test())


def test_one_worker_gets_all_there_is() -> None:
    async def test() -> None:
        purse = Purse(100.5 * MOST, PRICE)
        budget = Budget(TARIFF, lambda usd: budget.grant(purse.lease(usd, 1)))
        sent = 0
        while await budget.take(8):
            sent += 1
            budget.settle(sample(prompt_tokens=100, output_tokens=20))
        assert sent == 100

    asyncio.run(test())


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "price", "said"),
    [
        (1.0, None, "needs a price by the token"),
        (1.0, tp.Price.per_hour(4), "needs a price by the token"),
        (1.0, tp.Price.per_token(0), "needs a price by the token"),
        (0, PRICE, "spend_limit_usd must be a number above 0"),
        ("1", PRICE, "spend_limit_usd must be a number above 0"),
        (MOST / 2, PRICE, r"spend_limit_usd \(\$0.0002\) does not cover a single request"),
    ],
)
def test_a_limit_that_can_not_be_meant_is_refused(
    limit: object, price: tp.Price | None, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        tp.start(
            "http://127.0.0.1:9", prompt_tokens=100, output_tokens=20, price=price,
            spend_limit_usd=limit,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (0.5, "token_limit must be a whole number"),
        (119, r"token_limit \(119\) does not cover a single request, which may take 120 tokens"),
    ],
)
def test_a_token_limit_that_can_not_be_meant_is_refused(limit: object, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        tp.start("http://127.0.0.1:9", prompt_tokens=100, output_tokens=20, token_limit=limit)


def test_a_token_limit_is_a_spend_limit_at_a_price_of_1_a_token() -> None:
    """Cached tokens and reasoning count like any other; both limits hold at once."""
    tokens = TokenPurse.of_tokens(1000, Workload.of(100, 20))
    ended = sample(prompt_tokens=90, cached_tokens=80, output_tokens=10, reasoning_tokens=5)
    assert tokens.tariff(100, 20).bill(ended) == 100
    assert tokens.tariff(100, 20).most == 120


def words(request: Request) -> int:
    """Return how long a prompt is, for a server that takes a word for a token."""
    return len(request.json["messages"][-1]["content"].split())


# --- against servers ------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "by_tokens"), [(1, False), (2, False), (2, True)])
def test_the_servers_own_bill_is_never_above_the_limit(
    workers: int, by_tokens: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_USERS_PER_WORKER", 16 // workers)
    monkeypatch.setattr(fleet, "usable_cores", lambda: workers)
    log = tmp_path / "server.jsonl"
    limit = 120 * MOST
    settings: dict[str, Any] = {"price": PRICE, "spend_limit_usd": limit}
    if by_tokens:  # the other one is far away
        settings = {"price": PRICE, "spend_limit_usd": 1000 * MOST, "token_limit": 120 * 120}
    with tp.simulate("vllm-llama-70b", speed=8, log=log) as sim:
        measurement = tp.start(
            sim.url, concurrency=(16, 8), requests=1000, prompt_tokens=100, output_tokens=20,
            **settings,
        )  # fmt: skip
        run = measurement.wait(60)
        assert len(measurement._fleet.pids) == workers
    records = [json.loads(line) for line in log.read_text().splitlines()]
    bill = sum(r["prompt_tokens"] * 2 + len(r["tokens_ns"]) * 10 for r in records) / 1e6
    spent = run.conditions["spent_usd"]
    assert spent == pytest.approx(bill, rel=1e-3)
    assert run.conditions["spend_limit_usd"] == settings["spend_limit_usd"]
    assert run.state == "done"
    text = measurement.progress.text
    if by_tokens:
        tokens = sum(r["prompt_tokens"] + len(r["tokens_ns"]) for r in records)
        assert 0.75 * 14_400 < tokens <= 14_400
        used = run.conditions["tokens_used"]
        assert used == pytest.approx(tokens, rel=1e-3)
        assert text.startswith(f"Stopped at the token limit of 14,400: {used:,} tokens spent")
    else:
        assert 0.75 * limit < bill <= limit
        assert text.startswith("Stopped at the spend limit of $0.048: $0.0")
    assert text.endswith("level 16 not finished, 8 not begun")
    assert text in run.conditions["notes"]
    assert not measurement.progress.bad
    assert list(run.points.concurrency) == [16]
    assert run.points.n[0] > 0
    limited = "token" if by_tokens else "spend"
    assert f"the {limited} limit was reached" in run.points.note[0]
    assert {s.status for s in run.samples} == {"ok"}


def test_a_run_within_its_limit_is_like_any_other() -> None:
    with tp.simulate("vllm-llama-70b", speed=8) as sim:
        run = tp.measure(
            sim.url, concurrency=2, requests=4, prompt_tokens=100, output_tokens=20, price=PRICE,
            spend_limit_usd=1.0, progress=False,
        )  # fmt: skip
    assert len(run.points) == 1
    assert not any("spend limit" in note for note in run.conditions["notes"])
    requests = sum(TARIFF.bill(s) for s in run.samples)
    assert requests < run.conditions["spent_usd"] < requests + 3 * MOST, "probes count too"


def test_probes_do_not_go_over_the_limit_either() -> None:
    """The server counts five tokens a word, which only a probe can find out."""

    def tokens(request: Request) -> int:
        return 5 * words(request)

    def chat(request: Request) -> bytes:
        return stream([*[token()] * 4, usage(tokens(request), 4), DONE])

    with Server(Api(chat_completions=chat)) as server:
        with pytest.raises(SettingsError, match="used up before the measurement began"):
            tp.measure(
                server.url, concurrency=1, prompt_tokens=2000, output_tokens=1,
                price=tp.Price.per_token(0.0, 1000.0), spend_limit_usd=2.1, progress=False,
            )  # fmt: skip
        bill = sum(tokens(r) for r in server.requests if r.method == "POST") * 1000 / 1e6
    assert 0 < bill <= 2.1


def test_answers_that_break_off_count_as_whole_ones() -> None:
    """Every other answer ends before its end: the server may bill for all of it."""
    posted: list[Request] = []

    def chat(request: Request) -> bytes:
        posted.append(request)
        if len(posted) > 3 and len(posted) % 2:
            return stream([token()] * 2)
        return stream([*[token()] * 20, finish(), usage(words(request), 20), DONE])

    with Server(Api(chat_completions=chat)) as server:
        measurement = tp.start(
            server.url, concurrency=1, requests=1000, prompt_tokens=100, output_tokens=20,
            price=PRICE, spend_limit_usd=8 * MOST,
        )  # fmt: skip
        run = measurement.wait(60)
    assert measurement.progress.text.startswith("Stopped at the spend limit")
    assert {s.status for s in run.samples} == {"ok", "disconnected"}
    bill = sum(words(request) * 2 + 20 * 10 for request in posted) / 1e6
    assert 6.5 * MOST < bill <= run.conditions["spent_usd"] + 1e-6 <= 8 * MOST


def test_long_prompts_are_billed_by_their_tier() -> None:
    price = tp.Price.listed("https://api.anthropic.com", "claude-sonnet-4-5")
    assert price is not None
    short, long = (Tariff(price, tokens, 1000).most for tokens in (100_000, 300_000))
    assert (short, long) == (pytest.approx(0.315), pytest.approx(1.8225))
