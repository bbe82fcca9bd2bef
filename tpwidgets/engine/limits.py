"""What this machine itself has no more of: open files, local ports, memory for sockets."""

import errno
import math
import os
import sys
from contextlib import ExitStack, suppress

from ..errors import SettingsError

OWN_FILES = 64
"""So many open files a worker needs besides its connections: pipes, selector, host look-ups."""
_LOOK_UP_FILES = 16
"""So many of these, as several names are looked up at once."""
_MACOS_FILES = 10_240
"""macOS names no hard limit, yet refuses more than this."""

_SAID = {
    errno.EMFILE: "the worker may open no more files: raise ulimit -n",
    errno.ENFILE: "the whole system may open no more files",
    errno.EADDRNOTAVAIL: "no local port is left: each closed connection keeps its own for about a "
    "minute, so let the server keep connections open, or ask less of it",
    errno.ENOBUFS: "no memory is left for sockets",
    errno.ENOMEM: "no memory is left",
}


def used_up(error: BaseException, *, connected_before: bool) -> str:
    """Say which of this machine's limits kept a connection from being opened; "" if none did.

    Parameters
    ----------
    error : BaseException
        What went wrong; what it was raised from counts too.
    connected_before : bool
        Whether any connection was opened to that address. If none was, an address that can't be
        had says that the machine speaks no IPv6, say, and nothing of ports.
    """
    cause: BaseException | None = error
    while cause is not None:
        number = getattr(cause, "errno", None)
        if number in _SAID and (number != errno.EADDRNOTAVAIL or connected_before):
            return _SAID[number]
        cause = cause.__cause__ or cause.__context__
    return ""


def open_some_files() -> None:
    """Open as many files as look-ups need and close them again.

    Where none is left for it, looking up a host's name fails with an error that doesn't say so.

    Raises
    ------
    OSError
        As the system says it, if there are not so many left.
    """
    with ExitStack() as opened:
        for _ in range(_LOOK_UP_FILES):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def open_files() -> float:
    """Return how many files a process may open at most, once it has raised its limit; inf: any."""
    if sys.platform == "win32":
        return math.inf
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        return _MACOS_FILES if sys.platform == "darwin" else math.inf
    return hard


def raise_open_files() -> None:
    """Let this process open as many files as it may: the usual soft limit is 1024 or less."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, _MACOS_FILES):
        if soft == hard or soft >= wanted:
            return
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def users_per_worker() -> float:
    """Return how many connections one worker can hold at most; inf: any number."""
    return max(1, open_files() - OWN_FILES)


def check(users: int, cores: int) -> None:
    """Refuse more users at once than this machine's workers can open connections for.

    Parameters
    ----------
    users : int
        The highest concurrency that is asked for.
    cores : int
        How many workers there may be.

    Raises
    ------
    SettingsError
        With the numbers, and what to do.
    """
    most = users_per_worker() * cores
    if users <= most:
        return
    workers = "the one worker" if cores == 1 else f"each of the {cores} workers"
    raise SettingsError(
        f"concurrency {users:,} is more than this machine allows: {workers} may open "
        f"{open_files():,.0f} files, {OWN_FILES} of which it needs itself. Measure up to "
        f"{most:,.0f}, or raise the hard limit (ulimit -Hn, LimitNOFILE=, docker run --ulimit "
        "nofile=) and start Python anew."
    )
