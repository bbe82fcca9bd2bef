"""What servers put into their events, taken for what it is: counts and texts."""

import json
from typing import Any

_COUNTABLE = 2**53
"""Metrics calculate in floats: a larger integer is none of theirs, nor a count."""
_WRITTEN = (
    *("text", "thinking", "function", "name", "arguments"),
    *("functionCall", "args", "executableCode", "code"),
)
"""Where in the parts of an answer something stands that the model wrote."""
_OBJECTS = ("arguments", "args")


def count(said: Any, name: str) -> int | None:
    """Return the count of that name, if it is one: the metrics calculate with it."""
    value = said.get(name) if isinstance(said, dict) else None
    return value if type(value) is int and 0 <= value < _COUNTABLE else None


def chars(said: Any) -> int:
    """Count the characters that a model wrote into a text, its parts or tool calls."""
    if isinstance(said, str):
        return len(said)
    if isinstance(said, list):
        return sum(chars(part) for part in said)
    if isinstance(said, dict):
        return sum(_chars_at(key, said[key]) for key in _WRITTEN if key in said)
    return 0


def _chars_at(key: str, said: Any) -> int:
    if key in _OBJECTS and isinstance(said, dict):  # arguments that come in one piece, decoded
        return len(json.dumps(said, ensure_ascii=False))
    return chars(said)
