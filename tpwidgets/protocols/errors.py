"""What an error says, in one short line, whatever its form."""

import json
from typing import Any

_DECODER = json.JSONDecoder()


def error_message(body: bytes, limit: int = 300) -> str:
    """Return what an error body says, in one short line, whatever its form (JSON, text, HTML)."""
    text = body[:100_000].decode("utf-8", "replace").strip().removeprefix("data:").strip()
    try:
        found = _dig(_DECODER.raw_decode(text)[0])  # an event stream may go on behind it
    except (ValueError, RecursionError):
        if text[:1] == "<":
            return "an HTML page, not an API's answer"
    else:
        text = found if found is not None else text
    text = " ".join(text.encode("utf-8", "replace").decode().split())  # JSON may hold half a pair
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _dig(said: Any) -> str | None:
    """Find the sentence in the usual places: error.message, message, detail, error.

    Pydantic's refusals name the field apart from what is wrong with it.
    """
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return _dig(said[0]) if said else None
    if isinstance(said, dict):
        name, message = said.get("error"), said.get("message")
        if name and message and isinstance(name, str) and isinstance(message, str):
            longer = max(name, message, key=len)
            both = min(name, message, key=len) in longer
            return longer if both else f"{name}: {message}"  # as web frameworks have it
        for key in ("error", "message", "detail", "msg"):
            if said.get(key):
                found = _dig(said[key])
                field = said.get("loc")
                named = found and isinstance(field, list) and len(field) > 1
                return f"{said['loc'][-1]}: {found}" if named else found
    return None
