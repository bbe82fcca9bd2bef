"""The loops in virtual time: every moment is exact, and nothing waits."""

import asyncio
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from tpwidgets.engine.breaker import Breaker
from tpwidgets.engine.budget import Budget
from tpwidgets.engine.closed_loop import ClosedLoop
from tpwidgets.engine.open_loop import OpenLoop
from tpwidgets.samples import Sample, Window


class VirtualTime(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer whenever there is nothing else to do."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        due = [timer._when for timer in self._scheduled if not timer._cancelled]
        if not self._ready and due:
            self.now = max(self.now, min(due))
        super()._run_once()


def run(test: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(test())


class Bench:
    """What a loop, made by the subclass, tells whoever steers it."""

    loop: ClosedLoop | OpenLoop

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.aio = asyncio.get_running_loop()
        self._wait: list[tuple[str, asyncio.Event]] = []

    def _emit(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        for kind, event in self._wait:
            if kind in message:
                event.set()
        if "level_over" in message:  # what whoever steers does next
            self.loop.close_window()

    async def until(self, kind: str) -> None:
        event = asyncio.Event()
        self._wait.append((kind, event))
        await event.wait()

    @property
    def samples(self) -> list[Sample]:
        return [m["sample"] for m in self.messages if "sample" in m]

    @property
    def windows(self) -> list[Window]:
        return [Window(**m["window"]) for m in self.messages if "window" in m]

    def count(self, kind: str) -> int:
        return sum(kind in message for message in self.messages)


class ClosedBench(Bench):
    """A closed loop over requests that take as long as the test says."""

    def __init__(
        self,
        takes: Callable[[int, int], float] = lambda slot, turn: 1.0,
        judge: Callable[[int, int], tuple[Any, ...]] = lambda slot, turn: ("ok", 0.0),
    ) -> None:
        super().__init__()
        self.sent: list[tuple[float, int]] = []
        self.flying: list[tuple[float, float]] = []
        self.turns: dict[int, int] = {}
        self._takes, self._judge = takes, judge
        self.loop = ClosedLoop(self._request, self.aio.time, self._emit, Breaker(1))

    async def _request(self, slot: int) -> tuple[Sample, float]:
        turn = self.turns[slot] = self.turns.get(slot, -1) + 1
        begun = self.aio.time()
        self.sent.append((begun, slot))
        status, pause, *code = self._judge(slot, turn)
        try:
            await asyncio.sleep(self._takes(slot, turn))
        except asyncio.CancelledError:
            status = "stopped"
        took = self.aio.time() - begun
        self.flying.append((begun, self.aio.time()))
        sample = Sample(f"{slot}-{turn}", slot, 0, status=status, sent_s=begun)
        sample.token_ms = array("d", [took * 1000] if status == "ok" else [])
        sample.ended_ms = took * 1000
        sample.http_status = code[0] if code else None
        sample.message = "" if status in ("ok", "stopped") else f"said {status}"
        return sample, pause

    def in_flight(self, start: float, end: float) -> float:
        """Return the mean in flight by the requests' own account."""
        area = sum(max(0.0, min(b, end) - max(a, start)) for a, b in self.flying)
        return area / (end - start)

    async def drained(self) -> None:
        self.loop.finish()
        if not self.count("idle"):
            await self.until("idle")


class OpenBench(Bench):
    """An open loop over requests that take as long as the test says."""

    def __init__(
        self,
        takes: Callable[[int], float] = lambda number: 1.0,
        judge: Callable[[int], tuple[Any, ...]] = lambda number: ("ok", 0.0),
        budgets: Sequence[Budget] = (),
    ) -> None:
        super().__init__()
        self.sent: list[float] = []
        self.slots: list[int] = []
        self._takes, self._judge = takes, judge
        self.loop = OpenLoop(
            self._request, self.aio.time, self._emit, Breaker(1), budgets, unsent=self._unsent
        )

    def _unsent(self, message: str) -> Sample:
        now = self.aio.time()
        return Sample("", -1, 0, status="client_limit", message=message, sent_s=now)

    async def _request(self, slot: int) -> tuple[Sample, float]:
        number, begun = len(self.sent), self.aio.time()
        self.sent.append(begun)
        self.slots.append(slot)
        status, asked_s, *code = self._judge(number)
        try:
            await asyncio.sleep(self._takes(number))
        except asyncio.CancelledError:
            status = "stopped"
        took_ms = (self.aio.time() - begun) * 1000
        sample = Sample(f"{number}", slot, 0, status=status, sent_s=begun, ended_ms=took_ms)
        sample.token_ms = array("d", [took_ms] if status == "ok" else [])
        sample.http_status = code[0] if code else None
        return sample, asked_s
