"""A drift within a window is found, and steady windows are left in peace."""

import numpy as np
import pytest
from virtual import closed_loop_run, steady_run

from tpwidgets.metrics.drift import BEYOND_CHANCE, trend
from tpwidgets.metrics.points import operating_point
from tpwidgets.samples import Sample, Window


def drifting(n, *, ttft=1.0, tpot=1.0, at_once=1, seed=0):
    """So many requests, with noise of 15 %; their times end at so many times what they began at."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(n):
        first = 200 * (1 + (ttft - 1) * i / n) * rng.lognormal(0, 0.15)
        gap = 10 * (1 + (tpot - 1) * i / n) * rng.lognormal(0, 0.15)
        token_ms = first + gap * np.arange(20)
        samples.append(
            Sample(
                f"r{i}", i % at_once, at_once, sent_s=float(i), token_ms=token_ms.tolist(),
                ended_ms=token_ms[-1], output_tokens=20, prompt_tokens=100,
            )
        )  # fmt: skip
    return samples, Window(at_once, -1.0, n + 1.0, float(at_once))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ttft": 1.3, "seed": 1}, ["TTFT rose from 2", " (a throttling GPU, another load?)"]),
        ({"ttft": 0.6}, ["TTFT fell from 186 ms to 128 ms within the window (a warming cache?)"]),
        ({"tpot": 1.4}, ["TPOT rose from 11 ms to 13 ms"]),
        ({"ttft": 1.5, "tpot": 1.5}, ["TTFT rose", "TPOT rose"]),
        ({"tpot": 1.5, "at_once": 8}, ["TPOT rose"]),
        ({}, []),
        ({"ttft": 1.05}, []),
    ],
)
def test_a_note_says_what_changed(changes, said):
    point = operating_point(*drifting(120, **changes))
    assert point["note"].count("within the window") == len([w for w in said if w.startswith("T")])
    for words in said:
        assert words in point["note"]
    assert not operating_point(*drifting(120, **changes), provisional=True)["note"]


def test_answers_that_come_whole_drift_too():
    samples, window = drifting(120, ttft=1.4)
    whole = [Sample(s.request_id, 0, 1, sent_s=s.sent_s, ended_ms=s.token_ms[0]) for s in samples]
    assert operating_point(whole, window)["note"].startswith("E2E latency rose from")


def test_what_can_not_be_told_is_not_said():
    assert trend(np.arange(30.0), 30 / 8) == 0  # too few turns
    assert trend(np.arange(15.0), 15) == 0  # too few requests
    assert trend(np.full(200, 5.0), 200) == 0
    assert trend(np.arange(200.0), 200) == np.inf
    assert trend(-np.arange(200.0), 200) == -np.inf
    assert not operating_point(*drifting(120, tpot=3, at_once=32))["note"]
    assert not operating_point([], Window(1, 0.0, 1.0))["note"].count("within")


def test_a_stalled_request_is_no_drift():
    values = np.random.default_rng(3).lognormal(5, 0.1, 200)
    values[-1] = 1e6
    assert abs(trend(values, 200)) < BEYOND_CHANCE


@pytest.mark.parametrize("users", [1, 12])
def test_false_alarms_are_rare(users):
    """Waves that users make, as long as a turn, and noise that follows itself, are no drift."""
    rng = np.random.default_rng(users)
    n, found, tries = 16 * users + 100, 0, 1000
    waves = 0.3 * np.sin(2 * np.pi * np.arange(n) / users + 1)
    for _ in range(tries):
        noise = rng.normal(0, 0.1, n + users)
        followed = np.convolve(noise, np.ones(users) / users, "valid")[:n] * np.sqrt(users)
        found += abs(trend(np.exp(waves + followed), n / users)) > BEYOND_CHANCE
    assert found <= tries / 100 / 2  # two latencies are looked at


def test_steady_runs_have_no_such_note():
    levels = (1, 4, 8)
    runs = [
        steady_run({1: 0.5, 4: 0.8}, 256, 32, turns=100),
        closed_loop_run("vllm-llama-70b", levels, 256, 32, 60.0),
        closed_loop_run("laptop-8b", levels, 64, 16, 60.0),
    ]
    assert not [row["note"] for run in runs for row in run.rows if "within" in row["note"]]
