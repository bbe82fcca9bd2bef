"""Samples by hand, and those of a closed loop whose truth is known."""

import numpy as np

from tpwidgets.samples import Sample


def request(sent_s=0.0, token_ms=(200.0, 210.0, 220.0), **kwargs):
    """A request that ended well, one token a chunk, unless told otherwise."""
    token_ms = list(token_ms)
    defaults = {
        "request_id": f"r{sent_s}",
        "slot": 0,
        "concurrency": 1,
        "sent_s": sent_s,
        "token_ms": token_ms,
        "ttfo_ms": token_ms[0] if token_ms else None,
        "ended_ms": token_ms[-1] + 1 if token_ms else 5.0,
        "prompt_tokens": 100,
        "output_tokens": len(token_ms),
        "requested_tokens": len(token_ms),
    }
    return Sample(**defaults | kwargs)


def failure(sent_s=0.0, status="http_error", **kwargs):
    bare = {"prompt_tokens": None, "output_tokens": None}
    return request(sent_s, (), status=status, **bare | kwargs)


def closed_loop(concurrency, seconds, *, gap=10.0, ttft=200.0, tokens=100, per_chunk=1, seed=0):
    """Each slot sends its next request as soon as the last has ended; phases are random."""
    rng = np.random.default_rng(seed)
    samples = []
    for slot in range(concurrency):
        now = -float(rng.uniform(0, (ttft + gap * tokens) / 1000))
        while now < seconds:
            chunks = 1 + max(2, int(rng.normal(tokens, tokens / 4))) // per_chunk
            gaps = rng.gamma(25, gap / 25, size=chunks - 1)
            token_ms = np.cumsum([ttft * rng.lognormal(0, 0.2), *gaps]).tolist()
            output = 1 + (chunks - 1) * per_chunk
            samples.append(
                request(
                    now,
                    token_ms,
                    slot=slot,
                    concurrency=concurrency,
                    output_tokens=output,
                    requested_tokens=output,
                )
            )
            now += token_ms[-1] / 1000
    return samples
