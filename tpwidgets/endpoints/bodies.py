"""Body fields that hold secrets: Azure's data sources and LiteLLM's ``api_key`` travel there."""

from collections.abc import Iterator
from typing import Any

from ..masking import MASK, is_secret_name, looks_like_a_key

_SHORTEST = 8
"""Shorter texts are words, such as ``"tool_choice": "auto"``; numbers are never secrets."""


def secrets(value: Any, name: str = "") -> Iterator[str]:
    """Yield the texts in a body's fields that have a secret's name or look like a key."""
    if isinstance(value, dict):
        for inner, its in value.items():
            yield from secrets(its, str(inner))
    elif isinstance(value, list | tuple):
        for its in value:
            yield from secrets(its, name)
    elif _is_secret(value, name):
        yield value


def masked(value: Any, name: str = "") -> Any:
    """Return a copy of a body's fields with the secrets among them masked."""
    if isinstance(value, dict):
        return {inner: masked(its, str(inner)) for inner, its in value.items()}
    if isinstance(value, list | tuple):
        return [masked(its, name) for its in value]
    return MASK if _is_secret(value, name) else value


def _is_secret(value: Any, name: str) -> bool:
    return (
        isinstance(value, str)
        and len(value) >= _SHORTEST
        and (is_secret_name(name) or looks_like_a_key(value))
    )
