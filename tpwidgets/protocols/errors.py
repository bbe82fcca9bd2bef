"""What an error says, in one short line, whatever its form."""

import json
from typing import Any


def error_message(body: bytes, limit: int = 300) -> str:
    """Return what an error body says, in one short line, whatever its form (JSON, text, HTML)."""
    text = body[:100_000].decode("utf-8", "replace").strip().removeprefix("data:").strip()
    try:
        found = _dig(json.loads(text))
    except (ValueError, RecursionError):
        if text[:1] == "<":
            return "an HTML page, not an API's answer"
    else:
        text = found if found is not None else text
    text = " ".join(text.encode("utf-8", "replace").decode().split())  # JSON may hold half a pair
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _dig(said: Any) -> str | None:
    """Find the sentence in the usual places: error.message, message, detail, error."""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return _dig(said[0]) if said else None
    if isinstance(said, dict):
        for key in ("error", "message", "detail", "msg"):
            if said.get(key):
                return _dig(said[key])
    return None
