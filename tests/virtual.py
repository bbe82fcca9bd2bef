"""Runs of a simulated engine in virtual time: what a client without any error would measure."""

from array import array
from functools import lru_cache

import numpy as np

from tpwidgets.run import Run
from tpwidgets.samples import Sample, Window
from tpwidgets.simulator.physics import Engine, Request
from tpwidgets.simulator.profiles import PROFILES


@lru_cache
def closed_loop_run(name, levels, prompt_tokens, output_tokens, seconds=30.0, warmup=15.0):
    """Walk the levels, each with its users beginning 1 ms after one another."""
    samples, windows, offset = [], [], 0.0
    for users in levels:
        engine, pending = Engine(PROFILES[name], seed=users), {}

        def send(now, slot, engine=engine, pending=pending):
            request = Request(prompt_tokens, output_tokens)
            pending[request] = slot, now, array("d")
            engine.submit(request, now)

        for slot in range(users):
            send(slot / 1000, slot)
        now = 0.0
        while True:
            step = engine.step(start := engine.wake_at(now))
            now = start + step.duration_s
            if now > warmup + seconds:
                break
            for request in step.emitted:
                slot, sent, token_ms = pending[request]
                token_ms.append(1000 * (now - sent))
                if request.finished:
                    samples.append(
                        Sample(
                            f"{users}-{len(samples)}", slot, users, sent_s=offset + sent,
                            token_ms=token_ms, ended_ms=token_ms[-1], prompt_tokens=prompt_tokens,
                            output_tokens=output_tokens, requested_tokens=output_tokens,
                        )
                    )  # fmt: skip
                    del pending[request]
                    send(now, slot)
        windows.append(Window(users, offset + warmup, offset + warmup + seconds, float(users)))
        offset += warmup + seconds + 1
    asked = {"prompt_tokens_asked": prompt_tokens, "output_tokens_asked": output_tokens}
    return Run(samples, windows, asked)


def open_loop(name, at_s, prompt_tokens, output_tokens, seed=0):
    """Let requests arrive at known times; return their TTFT and E2E latency in ms."""
    engine, index, sent, now = Engine(PROFILES[name], seed), {}, 0, 0.0
    ttft_ms, e2e_ms = np.zeros(len(at_s)), np.zeros(len(at_s))

    def submit_until(until):
        nonlocal sent
        while sent < len(at_s) and at_s[sent] <= until:
            request = Request(prompt_tokens, output_tokens)
            index[request] = sent
            engine.submit(request, at_s[sent])
            sent += 1

    while True:
        if engine.wake_at(now) is None and sent < len(at_s):
            submit_until(at_s[sent])
        start = engine.wake_at(now)
        if start is None:
            return ttft_ms, e2e_ms
        submit_until(start)
        step = engine.step(start)
        now = start + step.duration_s
        submit_until(now)
        for request in step.emitted:
            i = index[request]
            if request.generated == 1:
                ttft_ms[i] = 1000 * (now - at_s[i])
            if request.finished:
                e2e_ms[i] = 1000 * (now - at_s[i])


def steady_run(levels, prompt_tokens, output_tokens, ttft_s=0.1, turns=8, **flaws):
    """At each of so many users every request takes so long (s), one user after the other."""
    samples, windows, offset = [], [], 0.0
    for users, e2e_s in levels.items():
        token_ms = np.linspace(1000 * ttft_s, 1000 * e2e_s, output_tokens)
        samples += [
            Sample(
                f"{users}-{turn}-{slot}", slot, users, token_ms=array("d", token_ms),
                sent_s=offset + (turn + slot / users) * e2e_s, ended_ms=1000 * e2e_s,
                prompt_tokens=prompt_tokens, output_tokens=output_tokens,
                requested_tokens=output_tokens, **flaws,
            )
            for turn in range(turns) for slot in range(users)
        ]  # fmt: skip
        windows.append(Window(users, offset + e2e_s, offset + turns * e2e_s, float(users)))
        offset += (turns + 2) * e2e_s
    asked = {"prompt_tokens_asked": prompt_tokens, "output_tokens_asked": output_tokens}
    return Run(samples, windows, asked)
