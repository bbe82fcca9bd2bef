"""Headers and body fields as people type them, in the dashboard and in a terminal."""

import json
import os
import re
from typing import Any

from ..errors import SettingsError

REFERENCE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
"""``$NAME`` or ``${NAME}``: stands for an environment variable's value."""


def read_headers(text: str) -> dict[str, str]:
    """Read ``Name: value``, one a line; ``$NAME`` is replaced by the variable's value.

    Raises
    ------
    SettingsError
        If a line is no header, or a variable is not set. No value is echoed.
    """
    headers = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not name or not value:
            raise SettingsError("Headers: write Name: value, one a line.")
        headers[name] = REFERENCE.sub(_variable, value)
    return headers


def read_fields(text: str) -> dict[str, Any]:
    """Read a JSON object; a text in it that is ``$NAME`` is replaced by the variable's value.

    An empty text is an empty object. Amid a text, ``$`` is left alone: schemas write ``#/$defs/…``.

    Raises
    ------
    SettingsError
        If it is none, or a variable is not set. No value is echoed.
    """
    try:
        fields = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise SettingsError(f"Body fields: not JSON ({error}). Write {{...}}.") from None
    if not isinstance(fields, dict):
        raise SettingsError('Body fields: write an object, such as {"temperature": 0}.')
    return {name: _filled(value) for name, value in fields.items()}


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(its) for name, its in value.items()}
    if isinstance(value, list):
        return [_filled(its) for its in value]
    if isinstance(value, str) and REFERENCE.fullmatch(value.removeprefix("Bearer ")):
        return REFERENCE.sub(_variable, value)
    return value


def _variable(found: re.Match[str]) -> str:
    value = os.environ.get(found[1])
    if value is None:
        raise SettingsError(f"The environment variable {found[1]} is not set.")
    return value
