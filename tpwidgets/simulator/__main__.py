"""``python -m tpwidgets.simulator PROFILE``: serve a simulated endpoint until stopped."""

import argparse
import asyncio
import gc
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .profiles import METRONOME, PROFILES
from .realtime import PreciseSelector
from .server import App


def main() -> None:
    """Parse the command line and serve."""
    options = _options()
    api_key = None
    if options.api_key_env:
        api_key = os.environ.get(options.api_key_env)
        if not api_key:
            sys.exit(f"The environment variable {options.api_key_env} is not set.")
    try:
        with asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(PreciseSelector())
        ) as runner:
            runner.run(_serve(options, api_key))
    except OSError as error:  # a port that is taken, a log that cannot be written
        sys.exit(str(error))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tpwidgets.simulator",
        description="Serve a simulated LLM endpoint on this machine.",
    )
    parser.add_argument("profile", choices=sorted([*PROFILES, METRONOME.name]))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--speed", type=_speed, default=1.0, help="divides all durations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="a JSON line per request, with true times")
    parser.add_argument(
        "--api-key-env", metavar="NAME", help="require the key in this environment variable"
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="exit when standard input ends"
    )
    return parser.parse_args()


def _speed(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError("must be a positive number")
    return value


async def _serve(options: argparse.Namespace, api_key: str | None) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop(*_: object) -> None:
        if not loop.is_closed():  # asked a second time, on the way out
            loop.call_soon_threadsafe(stopped.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if options.exit_with_parent:
        threading.Thread(target=_await_end_of_input, args=(stop,), daemon=True).start()
    with ExitStack() as stack:
        log = stack.enter_context(options.log.open("a", encoding="utf-8")) if options.log else None
        app = App(
            PROFILES.get(options.profile, METRONOME),
            speed=options.speed,
            seed=options.seed,
            log=log,
            api_key=api_key,
        )
        server = await loop.create_server(app.connect, options.host, options.port, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        url = f"http://{options.host}:{port}/v1"
        sys.stdout.write(json.dumps({"url": url, "port": port, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        if sys.stderr.isatty():
            sys.stderr.write("Ctrl-C stops it.\n")
        # What lives now lives to the end: no need for the collector to look at it again.
        gc.freeze()
        await stopped.wait()
        server.close()
        while app.connections:  # one more may have been accepted just now
            for connection in app.connections:
                connection.transport.abort()
            await asyncio.sleep(0)


def _await_end_of_input(then: Callable[[], None]) -> None:
    # Not sys.stdin: its lock, held by this thread, would trouble the interpreter's end.
    while os.read(0, 4096):
        pass
    then()


if __name__ == "__main__":
    main()
