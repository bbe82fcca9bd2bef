"""What is secret, and how it is taken out of what is shown: servers quote keys in what they say."""

import base64
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, unquote

MASK = "•••"
_WHOLE = 6
"""Shorter values are no secrets, and masking them would garble what a server says."""
_PART = 10
"""So many characters of a secret in a row are masked too: what is cut off may be cut amid a key."""

_SECRET_NAME = re.compile(
    r"(?i).*(key|token|secret|password|passwd|pwd|signature|sig|auth|authorization|cookie"
    r"|credentials?|jwt)|code"
)
_VARIABLE = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD|_KEY)$")


def is_secret_name(name: str) -> bool:
    """Return whether the header or the item of a query with this name holds a secret."""
    return _SECRET_NAME.fullmatch(name) is not None


def is_key_variable(name: str) -> bool:
    """Return whether an environment variable of this name usually holds a key."""
    return _VARIABLE.search(name) is not None


def looks_like_a_key(text: str) -> bool:
    """Return whether a text looks like a key rather than like a name or a word."""
    pieces = re.split(r"[^A-Za-z0-9]+", text)
    return any(len(piece) >= 16 and re.search(r"\d", piece) for piece in pieces)


class Mask:
    """Takes secrets out of texts: whole, as part of a URL, in base64, or cut off.

    Parameters
    ----------
    sent : iterable of (str, str)
        What travels with a request, as names and values: headers, and the items of the URL's query.
        Secret is what has the name of a secret or looks like a key.
    """

    def __init__(self, sent: Iterable[tuple[str, str]]) -> None:
        secrets = {
            secret
            for name, value in sent
            if is_secret_name(name) or looks_like_a_key(value)
            for secret in _within(value)
            if len(secret) >= _WHOLE
        }
        forms = {form for secret in secrets for form in _forms(secret)}
        self._whole = sorted(forms, key=len, reverse=True)
        self._parts = frozenset(
            form[at : at + _PART] for form in forms for at in range(len(form) - _PART + 1)
        )

    def __call__(self, text: str) -> str:
        """Return the text with every secret masked."""
        for secret in self._whole:
            text = text.replace(secret, MASK)
        windows = range(len(text) - _PART + 1)
        starts = [at for at in windows if text[at : at + _PART] in self._parts]
        for first, last in reversed(_runs(starts)):
            text = text[:first] + MASK + text[last + _PART :]
        return text

    def hides(self, text: str) -> bool:
        """Return whether the text holds a secret as a whole."""
        return any(secret in text for secret in self._whole)

    @contextmanager
    def over_logs(self) -> Iterator[None]:
        """Mask what httpx logs meanwhile, in any thread: addresses, and a server's headers."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_filter)  # once, however often it is added
        _OVER_LOGS.append(self)
        try:
            yield
        finally:
            _OVER_LOGS.remove(self)

    def __repr__(self) -> str:
        return f"<Mask of {len(self._whole)} texts>"


def _within(value: str) -> Iterable[str]:
    """Yield what is secret in a header's value."""
    kind, _, rest = value.partition(" ")
    yield rest if kind.lower() in ("bearer", "basic") else value
    if kind.lower() == "basic":
        try:
            user, _, password = base64.b64decode(rest).decode().partition(":")
        except ValueError:
            return
        yield password
        if not password or looks_like_a_key(user):
            yield user


def _forms(secret: str) -> Iterable[str]:
    yield secret
    yield unquote(secret)
    yield quote(secret, safe="")
    raw = secret.encode()
    for before in range(3):  # in base64, what stands before a secret shifts it
        packed = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        yield packed[before + (before > 0) :]


def _runs(starts: list[int]) -> list[tuple[int, int]]:
    """Join starts of parts that overlap or touch; return each run's first and last."""
    runs: list[tuple[int, int]] = []
    for at in starts:
        if runs and at <= runs[-1][1] + _PART:
            runs[-1] = runs[-1][0], at
        else:
            runs.append((at, at))
    return runs


_LOGGERS = "httpx", "httpcore.http11", "httpcore.proxy"
_OVER_LOGS: list[Mask] = []


def _filter(record: logging.LogRecord) -> bool:
    for mask in tuple(_OVER_LOGS):
        record.msg, record.args = mask(record.getMessage()), ()
    return True
