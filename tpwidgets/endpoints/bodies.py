"""Body fields that hold secrets: Azure's data sources and LiteLLM's ``api_key`` travel there."""

import re
from collections.abc import Iterator
from typing import Any

from ..masking import MASK, is_secret_name, looks_like_a_key

_PLAIN = re.compile(
    r"(?i)\W*|<.*>|auto|none|null|default|true|false|yes|no|on|off|any|required|optional|bearer|basic"
)
"""No secrets, whatever their field is called: ``"auth": "none"``, ``"sep_token": "</s>"``."""
_NO_SECRET = re.compile(r"(?i)prompt_cache_key|(stop|eos|bos|pad|unk|mask)_token")
"""Fields whose names only sound like it."""
_SURELY = re.compile(r"(?i)(.*[_-])?(api-?key|key|password|passwd|pwd|secret|token|authorization)")
"""Fields whose values are secrets, however short."""
_SHORT = 8


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
    if not isinstance(value, str):  # numbers are never secrets: a limit is one
        return False
    if looks_like_a_key(value):
        return True
    if _NO_SECRET.fullmatch(name) or _PLAIN.fullmatch(value.strip()):
        return False
    return is_secret_name(name) and (len(value) >= _SHORT or bool(_SURELY.fullmatch(name)))
