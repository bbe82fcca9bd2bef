"""run_sync: the one place that lets a coroutine run where an event loop already runs."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, in a notebook cell as in a script.

    Nothing else in tpwidgets needs this: `measure` waits on a thread. It is for your own
    coroutines, ``tp.run_sync(my_client_call())``, where ``await`` can't be written.

    Without a running loop this is `asyncio.run`. In one, it nests: by ``nest_asyncio`` where that
    is safe, by its maintained fork ``nest_asyncio2`` on ipykernel 7 and newer, where the original
    makes the kernel lose queued cells. The patch is applied on the first such call, never on
    import.

    Raises
    ------
    RuntimeError
        If the running loop can't be nested (uvloop).
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    try:
        _nesting().apply(loop)
    except ValueError as error:
        coroutine.close()
        raise RuntimeError(
            f"this event loop can't be nested ({error}): write await instead"
        ) from None
    return loop.run_until_complete(coroutine)


def _nesting() -> Any:
    """Return the module that nests loops here."""
    import sys

    ipykernel = sys.modules.get("ipykernel")
    if ipykernel is not None and int(ipykernel.__version__.split(".")[0]) >= 7:
        import nest_asyncio2

        return nest_asyncio2
    import nest_asyncio

    return nest_asyncio
