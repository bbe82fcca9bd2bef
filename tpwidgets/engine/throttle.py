"""What a server says about how much it takes, and when to come again."""

import email.utils
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from math import inf, isfinite

THROTTLES = 429, 503, 529
"""The statuses that say: too much for now (529 is Anthropic's)."""
_UNTOLD_S = 1.0
"""How long a user waits after a 429 that does not say."""
_OF = "requests|tokens|input-tokens|output-tokens"
_LIMITS = (
    re.compile(f"x-ratelimit-(?P<which>limit|remaining)-(?P<of>{_OF})"),
    re.compile(f"anthropic-ratelimit-(?P<of>{_OF})-(?P<which>limit|remaining)"),
)


def pause_s(status: int, headers: Mapping[str, str], said: str) -> float:
    """Return how long a refusal asks to wait, in seconds; 0 if it does not ask.

    Infinity stands for a quota that is used up, of which waiting makes no more. A 429 that does not
    say asks for a second. (RFC 9110 10.2.3.)
    """
    if status == 429 and "insufficient_quota" in said:
        return inf
    told = _told_s(headers)
    if told is not None:
        return max(told, 0.0)
    return _UNTOLD_S if status == 429 else 0.0


def _told_s(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        with suppress(ValueError):
            told = float(headers.get(name, "")) * unit
            if isfinite(told):
                return told
    with suppress(LookupError, ValueError, TypeError, OverflowError):
        return email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time()
    return None


def limits_told(headers: Mapping[str, str]) -> str:
    """Put the headers on rate limits into words, such as ``its limits: 500 requests (0 left)``."""
    limits: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        found = next(filter(None, (pattern.fullmatch(name) for pattern in _LIMITS)), None)
        if found and value.strip().isdecimal():
            limits.setdefault(found["of"], {})[found["which"]] = f"{int(value):,}"
    words = []
    for of, told in limits.items():
        what, left = of.replace("-", " "), told.get("remaining")
        if "limit" in told:
            words.append(f"{told['limit']} {what}" + (f" ({left} left)" if left else ""))
        else:
            words.append(f"{left} {what} left")
    return "its limits: " + ", ".join(words) if words else ""
