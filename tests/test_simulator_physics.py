"""The simulated endpoint's physics, in virtual time."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpwidgets.simulator import PROFILES
from tpwidgets.simulator import prompts as counting
from tpwidgets.simulator.limits import RateLimiter
from tpwidgets.simulator.physics import BLOCK, Engine, Request
from tpwidgets.simulator.virtual import Outcome, closed_loop

VLLM = PROFILES["vllm-llama-70b"]


# --- the laws -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep() -> dict[tuple[int, int], Outcome]:
    return {
        (users, prompt): closed_loop(VLLM, users, prompt_tokens=prompt)
        for users in (1, 4, 16, 64)
        for prompt in (256, 1024)
    }


def test_alone_a_70b_model_speaks_about_45_tokens_per_second(sweep: dict[Any, Outcome]) -> None:
    alone = sweep[1, 256]
    assert 40 < alone.output_tps < 50
    assert 80 < alone.ttft(0.5) < 120


def test_throughput_grows_with_the_batch(sweep: dict[Any, Outcome]) -> None:
    curve = [sweep[users, 256].output_tps for users in (1, 4, 16, 64)]
    assert curve == sorted(curve)
    assert curve[-1] > 8 * curve[0]
    assert 1500 < curve[-1] < 1700


@pytest.mark.parametrize("prompt", [256, 1024])
def test_throughput_is_bought_with_latency(sweep: dict[Any, Outcome], prompt: int) -> None:
    points = [sweep[users, prompt] for users in (1, 4, 16, 64)]
    for fewer, more in pairwise(points):
        assert more.ttft(0.95) > 1.2 * fewer.ttft(0.95)
        assert more.tpot_ms[len(more.tpot_ms) // 2] > fewer.tpot_ms[len(fewer.tpot_ms) // 2]


@pytest.mark.parametrize("users", [16, 64])
def test_longer_prompts_cost_throughput_and_latency(sweep: dict[Any, Outcome], users: int) -> None:
    short, long = sweep[users, 256], sweep[users, 1024]
    assert long.output_tps < 0.75 * short.output_tps
    assert long.ttft(0.5) > 1.5 * short.ttft(0.5)


@pytest.mark.parametrize("users", [1, 32, 64])
def test_an_api_gives_each_user_about_100_tokens_per_second(users: int) -> None:
    load = closed_loop(PROFILES["gpt-4-api"], users)
    assert 93 < 1000 / load.tpot_ms[len(load.tpot_ms) // 2] < 107
    assert 400 < load.ttft(0.5) < 500
    assert load.ttft(0.95) > 1.2 * load.ttft(0.5)


def test_a_laptop_serves_four_at_a_time() -> None:
    laptop = PROFILES["laptop-8b"]
    one, four, eight = (closed_loop(laptop, users, seconds=300) for users in (1, 4, 8))
    assert 18 < 1000 / one.tpot_ms[0] < 23
    assert four.output_tps > 1.5 * one.output_tps
    assert eight.output_tps == pytest.approx(four.output_tps, rel=0.05)
    assert eight.ttft(0.5) > 2 * four.ttft(0.5)


def test_the_same_seed_gives_the_same_load() -> None:
    assert closed_loop(VLLM, 3, seconds=5, seed=7) == closed_loop(VLLM, 3, seconds=5, seed=7)
    assert closed_loop(VLLM, 3, seconds=5, seed=7) != closed_loop(VLLM, 3, seconds=5, seed=8)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_profile_is_priced_and_sourced_and_fits_what_it_promises(profile: Any) -> None:
    assert (profile.price_hour is None) == (profile.price_output is not None)
    figures = {name for name in type(profile).__dataclass_fields__ if name in profile.sources}
    assert figures == set(profile.sources), "a source for something that isn't a field"
    physics = {
        *("fixed_ms", "per_sequence_ms", "per_kv_token_ms", "prefill_rate", "step_tokens"),
        *("max_sequences", "kv_tokens", "cache_tokens", "front_ms", "front_sigma"),
    }
    assert physics <= figures
    assert profile.max_model_len <= profile.kv_tokens
    assert profile.description.endswith(".")


# --- the scheduler --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12)), min_size=1, max_size=25),
    gaps=st.lists(st.floats(0, 0.5), min_size=25, max_size=25),
    cancelled=st.sets(st.integers(0, 24), max_size=5),
    step_tokens=st.integers(1, 64),
    max_sequences=st.integers(1, 6),
    kv_tokens=st.integers(72, 200),
    cache_tokens=st.integers(0, 100),
)
def test_every_request_gets_exactly_its_tokens_within_the_limits(
    sizes: list[tuple[int, int]],
    gaps: list[float],
    cancelled: set[int],
    step_tokens: int,
    max_sequences: int,
    kv_tokens: int,
    cache_tokens: int,
) -> None:
    engine = Engine(
        replace(
            VLLM,
            step_tokens=step_tokens,
            max_sequences=max_sequences,
            kv_tokens=kv_tokens,
            cache_tokens=cache_tokens,
        )
    )
    requests = [Request(p, o, counting.blocks([str(k) for k in range(p)])) for p, o in sizes]
    todo = list(zip(requests, gaps, strict=False))
    got = dict.fromkeys(requests, 0)
    now = 0.0
    while True:
        if todo:
            request, gap = todo.pop(0)
            now += gap
            engine.submit(request, now)
        start = engine.wake_at(now)
        if start is None:
            if not todo:
                break
            continue
        before = sum(request.prefilled + request.generated for request in requests)
        step = engine.step(start)
        assert step.duration_s > 0
        assert len(set(step.emitted)) == len(step.emitted)
        now = start + step.duration_s
        for request in step.emitted:
            got[request] += 1
        assert len(engine.running) <= max_sequences
        assert 0 <= engine.kv_reserved <= kv_tokens
        assert sum(request.kv_tokens for request in engine.running) == engine.kv_reserved
        cached = sum(request.cached_tokens for request in requests)
        after = sum(request.prefilled + request.generated for request in requests)
        # A prompt's last token and the first output token are one piece of work.
        assert after - before - cached <= step_tokens + len(step.emitted)
        for index in cancelled & set(range(len(requests))):
            if got[requests[index]]:
                engine.cancel(requests[index])
    for request in requests:
        assert got[request] == request.generated
        assert request.finished or request.cancelled
        assert not (request.finished and request.cancelled)
    assert engine.kv_reserved == 0
    assert engine.running == []


def test_first_come_first_served() -> None:
    engine = Engine(replace(VLLM, max_sequences=1, front_ms=0, kv_tokens=100_000))
    requests = [Request(100, 3) for _ in range(4)]
    for request in requests:
        engine.submit(request, 0.0)
    served, now = [], 0.0
    while (start := engine.wake_at(now)) is not None:
        step = engine.step(start)
        now = start + step.duration_s
        served += step.emitted
    assert served == [request for request in requests for _ in range(3)]


def test_a_request_that_can_never_run_is_refused() -> None:
    engine = Engine(VLLM)
    with pytest.raises(ValueError, match="cannot fit"):
        engine.submit(Request(VLLM.kv_tokens, 1), 0.0)
    with pytest.raises(ValueError, match="at least one"):
        engine.submit(Request(1, 0), 0.0)


def test_a_repeated_prompt_is_cached_by_blocks_and_quicker() -> None:
    engine = Engine(replace(VLLM, noise_sigma=0.0, front_ms=0))
    tokens = [str(index) for index in range(10 * BLOCK)]
    durations, cached = [], []
    for words in (
        tokens,
        tokens,
        [*tokens[: 3 * BLOCK], "other", *tokens[3 * BLOCK + 1 :]],
        ["new", *tokens],
    ):
        request = Request(len(words), 1, counting.blocks(words))
        engine.submit(request, 0.0)
        durations.append(engine.step(0.0).duration_s)
        cached.append(request.cached_tokens)
    # Of a prompt that is known in full, the last token is computed again, hence its block.
    assert cached == [0, 9 * BLOCK, 3 * BLOCK, 0]
    assert durations[1] < durations[2] < durations[0]


def test_the_prefix_cache_forgets_the_least_recently_used() -> None:
    engine = Engine(replace(VLLM, cache_tokens=4 * BLOCK, front_ms=0))

    def cached(name: str) -> int:
        words = [f"{name}{index}" for index in range(2 * BLOCK + 1)]
        request = Request(len(words), 1, counting.blocks(words))
        engine.submit(request, 0.0)
        engine.step(0.0)
        return request.cached_tokens

    assert [cached(name) for name in "abab"] == [0, 0, 2 * BLOCK, 2 * BLOCK]
    assert [cached(name) for name in "cba"] == [0, 2 * BLOCK, 0]


# --- counting and limits --------------------------------------------------------------------------


def test_prompts_are_counted_by_words() -> None:
    assert counting.of_text("  a few\nwords ") == ["a", "few", "words"]
    assert [len(counting.of_text("x" * n)) for n in (1, 8, 9, 12, 13)] == [1, 1, 2, 2, 3]
    assert len(counting.of_messages([{"role": "user", "content": "one two"}])) == 11 + 2
    assert len(counting.of_prompt("one two")) == 1 + 2
    assert len(counting.of_prompt([5, 6, 7])) == 3
    parts = [{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}]
    assert len(counting.of_messages([{"role": "user", "content": parts}])) == 11 + 3


def test_a_sweep_stays_below_the_rate_limit_until_64_users() -> None:
    limit = PROFILES["gpt-4-api"].rate_limit
    assert limit
    for users, refused in ((16, False), (32, False), (64, True)):
        limiter = RateLimiter(limit, speed=1.0)
        cycle_s = 0.44 + 64 * 0.0099  # closed loop: TTFT and 64 tokens
        times = [number * cycle_s / users for number in range(20 * users)]
        denials = [limiter.admit(256 + 64, now) for now in times]
        assert any(denials) == refused


def test_a_rate_limit_frees_up_when_it_said_it_would() -> None:
    limit = PROFILES["gpt-4-api"].rate_limit
    assert limit
    limiter = RateLimiter(limit, speed=2.0)
    while (denied := limiter.admit(5000, 10.0)) is None:
        pass
    kind, wait = denied
    assert kind == "tokens"
    assert limiter.admit(5000, 10.0 + 2.0 * wait * 0.99)
    assert limiter.admit(5000, 10.0 + 2.0 * wait * 1.01) is None
