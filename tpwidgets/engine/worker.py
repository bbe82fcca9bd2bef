"""The worker: one process, one event loop, one load. ``python -m tpwidgets.engine.worker``.

A process and not a thread, so that a notebook cell that computes takes nothing from the stamps.
It takes frames on its standard input (``assignment``, ``level``, ``grant``, ``finish``, ``stop``),
sends samples and what is going on as frames on its standard output, and ends when its input does:
nobody is left behind by a kernel that died.
"""

import asyncio
import gc
import math
import os
import queue
import sys
import threading
import time
import traceback
from contextlib import suppress
from functools import partial
from typing import Any

from ..cost.price import Price
from . import frames
from .breaker import Breaker
from .budget import Budget, Tariff
from .closed_loop import ClosedLoop, Level
from .limits import raise_open_files
from .open_loop import OpenLevel, OpenLoop
from .place import Busy, Place, go_first
from .requester import Requester
from .selector import InlineSelector
from .stamps import KERNEL_STAMPS, Clock

_FLUSH_S = 0.1
_BEAT_S = 0.05
_GATHER_FROM = 1000.0
"""From so many reads a second on, reads are let gather for a moment."""
_PERIOD_S = 0.00075, 0.0025
"""How far apart looks at the sockets lie then: at least, where it is worth it, and at most."""
_PERIOD_PER_GAP = 1 / 4
"""The same in relation to the gap between a stream's tokens: longer, they would merge."""
_OPENED_AHEAD = 64
"""So many connections an open loop's level opens ahead at most: how many it needs, time shows."""


class Worker:
    """Steers a loop by frames from the kernel."""

    def __init__(
        self,
        out: "queue.SimpleQueue[bytes | None]",
        selector: InlineSelector | None,
    ) -> None:
        self._out, self._selector = out, selector
        self._clock = Clock()
        self._busy = Busy()
        self._place = Place()
        self._paced_at, self._paced_served = time.perf_counter(), 0
        self._unsent: list[bytes] = []
        self._requester: Requester | None = None
        self._loop: ClosedLoop | OpenLoop | None = None
        self._budgets: list[Budget] = []
        self._commands: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._opening: asyncio.Task[None] | None = None
        self._aio = asyncio.get_running_loop()

    def post(self, message: dict[str, Any]) -> None:
        """Hand over a command from another thread."""
        self._aio.call_soon_threadsafe(self._take, message)

    def _take(self, message: dict[str, Any]) -> None:
        # a server that does not let connect must not hold up who wants to end
        if message["do"] in ("finish", "stop") and self._opening is not None:
            self._opening.cancel()
        self._commands.put_nowait(message)

    async def run(self) -> None:
        """Obey commands until told to stop or all is done."""
        beat = asyncio.create_task(self._beat())
        try:
            while True:
                message = await self._commands.get()
                if await self._obey(message):
                    break
        finally:
            beat.cancel()
            if self._requester is not None:
                await self._requester.close()
            self._flush()

    async def _obey(self, message: dict[str, Any]) -> bool:
        """Carry out one command; return whether it was the last."""
        do = message.pop("do")
        if do == "assignment":
            self._budgets = [
                self._budget_of(number, told) for number, told in enumerate(message.pop("tariffs"))
            ]
            self._requester = Requester(message, self._clock, self._selector)
            breaker = Breaker(message["seed"])
            parts = (self._requester, self._requester.now, self._emit, breaker, self._budgets)
            unsent = self._requester.unsent
            self._loop = (
                OpenLoop(*parts, unsent=unsent) if message["open_loop"] else ClosedLoop(*parts)
            )
            # What is there stays, and a request leaves next to no cycles behind: the collector
            # need not walk through thousands of reads amid a run.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000)
        elif self._loop is None or self._requester is None:
            return True
        elif do == "level":
            gc.collect()
            self._loop.close_window()  # a hundred connections being opened belong to no window
            self._emit({"left": True})
            if isinstance(self._loop, OpenLoop):
                level = OpenLevel(**message)
                await self._open(min(math.ceil(level.rate / level.parts), _OPENED_AHEAD))
                self._loop.set_level(level)
            else:
                await self._open(max(message.get("ramp", [message["concurrency"]])[:2]))
                self._loop.set_level(Level(**message))
        elif do == "grant":
            self._budgets[message["of"]].grant(message["amount"])
        elif do == "finish":
            self._loop.finish()
            self._emit({"left": True})
        elif do == "stop":
            await self._loop.stop()
            return True
        elif do == "exit":
            return True
        return False

    async def _open(self, connections: int) -> None:
        assert self._requester is not None  # noqa: S101
        self._opening = asyncio.create_task(self._requester.open(connections))
        await asyncio.wait([self._opening])

    def _budget_of(self, number: int, told: dict[str, Any]) -> Budget:
        tariff = Tariff(Price(**told.pop("price")), **told)
        return Budget(tariff, lambda amount: self._emit({"wants": amount, "of": number}))

    def _emit(self, message: dict[str, Any]) -> None:
        # encoded one by one, as they come: a batch of them would hold up the streams
        self._unsent.append(frames.encode(message))
        if "sample" not in message:
            self._flush()
        if "idle" in message:
            self._commands.put_nowait({"do": "exit"})

    def _flush(self) -> None:
        if self._loop is not None and self._requester is not None:
            live = {**self._loop.live, "chunks": self._requester.chunks, "busy": self._busy.share}
            self._unsent.append(frames.encode({"live": live}))
        self._out.put(b"".join(self._unsent))
        self._unsent = []

    async def _beat(self) -> None:
        due, flush_at = time.perf_counter(), 0.0
        while True:
            due += _BEAT_S
            await asyncio.sleep(due - time.perf_counter())
            now = time.perf_counter()
            if self._requester is not None:
                self._requester.lag_ms = max(0.0, (now - due) * 1000)
            due = max(due, now - _BEAT_S)
            self._clock.measure()
            if now >= flush_at:
                flush_at = now + _FLUSH_S - _BEAT_S / 2  # every second beat, though one be early
                self._busy.measure()
                self._place.look()
                self._pace(now)
                if self._loop is not None:
                    self._flush()

    def _pace(self, now: float) -> None:
        """Let reads gather where many streams bring many of them, none of them too fast for it."""
        if self._selector is None or self._loop is None:
            return
        served, since = self._selector.served, now - self._paced_at
        rate = (served - self._paced_served) / since
        self._paced_at, self._paced_served = now, served
        gap_s = self._loop.in_flight / max(rate, 1.0)
        period_s = min(_PERIOD_PER_GAP * gap_s, _PERIOD_S[1])
        worth_it = rate > _GATHER_FROM and period_s >= _PERIOD_S[0]
        self._selector.period_s = period_s if worth_it else 0.0


def main() -> None:
    """Run a worker on this process's pipes."""
    go_first()
    raise_open_files()
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not end up among the frames
    out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def write() -> None:
        with suppress(BrokenPipeError):
            while (data := out.get()) is not None:
                pipe.write(data)
                pipe.flush()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()

    selector = InlineSelector() if KERNEL_STAMPS else None

    async def serve() -> None:
        worker = Worker(out, selector)

        def listen() -> None:
            while (message := frames.read(sys.stdin.buffer.read)) is not None:
                worker.post(message)
            os._exit(0)  # the kernel is gone: so are we, whatever the loop is doing

        threading.Thread(target=listen, daemon=True).start()
        await worker.run()

    status = 1
    try:
        loop = None if selector is None else partial(asyncio.SelectorEventLoop, selector)
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(serve())
        status = 0
    except Exception:  # noqa: BLE001 - its last line is what the kernel shows
        traceback.print_exc()
    out.put(None)
    writer.join(timeout=5)
    sys.stderr.flush()
    os._exit(status)  # the listening thread is blocked in a read: do not wait for it


if __name__ == "__main__":
    main()
