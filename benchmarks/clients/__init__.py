"""What loads the truth server: tpwidgets and two controls, each a script that pickles a `Seen`.

Each is run as ``python -m benchmarks.clients.NAME URL STREAMS REQUESTS TOKENS RESULT``.
"""

import pickle
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROMPT_WORDS = 249
"""With the truth server's seven tokens of overhead a prompt of 256."""


@dataclass
class Settings:
    """What a client is asked for, from its command line."""

    url: str
    streams: int
    requests: int
    tokens: int
    result: Path

    @classmethod
    def given(cls) -> "Settings":
        url, streams, requests, tokens, result = sys.argv[1:6]
        return cls(url, int(streams), int(requests), int(tokens), Path(result))


@dataclass
class Seen:
    """What a client saw; nanoseconds are on CLOCK_MONOTONIC."""

    called_ns: int
    """When the measuring call began: everything was imported."""
    returned_ns: int = 0
    requests: list[tuple[str, float, list[float]]] = field(default_factory=list)
    """Id, when it was sent (s, on any one clock), arrivals of its token chunks in ms since then; of
    each request that was answered in full."""
    reported: dict[str, Any] = field(default_factory=dict)
    """The figures that the client shows, with `ids`, the requests that they pool."""

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(vars(self)))

    @classmethod
    def load(cls, path: Path) -> "Seen":
        return cls(**pickle.loads(path.read_bytes()))


def bodies(settings: Settings) -> list[dict[str, Any]]:
    """Return a chat request for each prompt, made before the clock starts."""
    return [
        {
            "model": "truth",
            "messages": [{"role": "user", "content": _prompt()}],
            "max_tokens": settings.tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for _ in range(settings.requests)
    ]


def _prompt() -> str:
    return " ".join(f"w{random.randrange(1000)}" for _ in range(PROMPT_WORDS))
