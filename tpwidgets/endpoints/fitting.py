"""Prompts and outputs that a model's context can hold, by what the server says when it refuses."""

import re
from dataclasses import replace

from ..errors import EndpointError
from ..workload.prompts import Workload

_LIMIT = r"(?:context|max_model_len|n_ctx|maximum|limit|at most|up to|<=)\D{0,40}?(\d{2,9})"
"""How servers name what they can hold: "maximum context length is 2048 tokens"."""
_OUTPUT_LIMIT = r"(?:at most|>|<=)\s*(\d{2,9})\D{0,60}(?:completion|output) tokens"
"""How they name the longest output: "supports at most 16384 completion tokens"."""


_CUT = r"min_tokens must be less than or equal to max_tokens=(\d+), got (\d+)"
"""vLLM shortens an output that its context can't hold, and minds that we insist on its length."""


def total(workload: Workload, *, writes: bool) -> int:
    """Return the tokens of prompt and output, if there is one (`writes`)."""
    return workload.prompt_tokens + (workload.output_tokens if writes else 0)


def shortened(
    was: Workload, said: str, context: int | None, *, writes: bool, spread_tokens: int = 0
) -> Workload:
    """Return a workload that fits, by the server's own words or the context it declares.

    `spread_tokens` are left free, since some prompts are so much longer than others.

    Raises
    ------
    EndpointError
        If there is nothing left to shorten (kind ``context``).
    """
    longest = re.search(_OUTPUT_LIMIT, _plain(said))
    if longest and writes and int(longest[1]) < was.output_tokens:
        return replace(was, output_tokens=int(longest[1]))
    room = _room(_plain(said), was, context, writes=writes) - spread_tokens
    output = min(was.output_tokens, max(1, room // 2, room - was.prompt_tokens))
    prompt_tokens = max(1, min(room - (output if writes else 0), was.prompt_tokens))
    shared = min(was.shared_prefix_tokens, prompt_tokens - 1)
    fits = replace(
        was, prompt_tokens=prompt_tokens, output_tokens=output, shared_prefix_tokens=shared
    )
    if fits == was or room < 2:
        raise EndpointError(said, "context")
    return fits


def _plain(said: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", said)


def _room(said: str, was: Workload, context: int | None, *, writes: bool) -> int:
    """Return how many tokens prompt and output may have together."""
    asked = total(was, writes=writes)
    if cut := re.search(_CUT, said):
        return asked - (int(cut[2]) - int(cut[1])) - 8
    named = re.findall(_LIMIT, said, re.IGNORECASE) + re.findall(r"(\d+) maximum", said)
    # else the largest number that is clearly below what was asked
    numbers = named or [n for n in re.findall(r"\d+", said) if int(n) < 0.95 * was.prompt_tokens]
    below = [n for n in map(int, numbers) if 16 <= n < asked]
    if context and context < asked:
        below, named = [context], [str(context)]
    room = (min if named else max)(below) if below else asked // 2
    return room - 8  # a little for a chat template that is counted otherwise at the limit
