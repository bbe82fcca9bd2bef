"""What can go wrong, as exceptions whose message says what to do. None ever holds a key."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


class TpwidgetsError(Exception):
    """The base of every exception that tpwidgets raises on purpose."""


class SettingsError(TpwidgetsError, ValueError):
    """A setting was refused; the message names it, its value and what is allowed."""


class EndpointError(TpwidgetsError):
    """The endpoint could not be used.

    Attributes
    ----------
    kind : str
        ``unreachable``, ``tls``, ``auth``, ``not_found``, ``model``, ``timeout``, ``no_stream``,
        ``empty_stream``, ``context``, ``rate_limited``, ``http``, ``missing_key``,
        ``stopped``.
    status : int or None
        The HTTP status by which the server refused, if it did.
    """

    def __init__(self, message: str, kind: str, status: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.status = kind, status


class MeasurementError(TpwidgetsError):
    """The measurement itself failed (its worker process died, say)."""


def refuse_unknown(kwargs: Iterable[str], known: Sequence[str], where: str) -> None:
    """Raise a TypeError that names the nearest known keyword, if any keyword is left over.

    Raises
    ------
    TypeError
        For the first keyword in `kwargs`.
    """
    for name in kwargs:
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."
        raise TypeError(f"{where} got an unexpected keyword argument {name!r}.{hint}")


def bare(error: _Error) -> _Error:
    """Return the error without its traceback and the errors behind it: these may hold a key."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
