"""Bodies of answers in the framing of each protocol, and what is read out of them."""

import json
from collections.abc import Iterable
from typing import Any

from tpwidgets.protocols import PROTOCOLS, Outcome, ServerTimes, StreamReader

LINES = ("ollama", "ollama-generate")
"""Protocols whose events are lines."""
DONE = b"data: [DONE]\n\n"


def framed(protocol: str, events: Iterable[Any]) -> list[bytes]:
    """Return each event's bytes; bytes among them are taken as they are."""
    if protocol in LINES:
        return [e if isinstance(e, bytes) else json.dumps(e).encode() + b"\n" for e in events]
    if not PROTOCOLS[protocol].streamed:
        return [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    return [
        (e if isinstance(e, bytes) else b"data: " + json.dumps(e).encode()) + b"\n\n"
        for e in events
    ]


def read(*events: Any, protocol: str = "chat", end: bytes | None = None) -> Outcome:
    """Read events, each in a read of its own whose stamp is its number."""
    reader = StreamReader(PROTOCOLS[protocol])
    for stamp, data in enumerate(framed(protocol, events)):
        reader.feed(data, stamp)
    if end is None:
        end = DONE if protocol in ("chat", "completions") else b""
    reader.feed(end, len(events))
    return reader.finish(len(events) + 1)


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    """Return a chat's event."""
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def times(said: ServerTimes) -> dict[str, float]:
    """Return what is known of the server's own times, by the middle of its name."""
    fields = ("queue", "prefill", "decode", "total", "start")
    found = {name: getattr(said, f"server_{name}_ms") for name in fields}
    return {name: ms for name, ms in found.items() if ms is not None}
