"""Sweeps whose runs are not measured: each ends as a test says."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from virtual import steady_run

from tpwidgets.endpoints.endpoint import Endpoint
from tpwidgets.errors import TpwidgetsError
from tpwidgets.measuring.measurement import Progress
from tpwidgets.measuring.meter import Live
from tpwidgets.metrics.slo import Limits
from tpwidgets.metrics.timeline import Timeline
from tpwidgets.run import Run
from tpwidgets.workload.loads import Load


class Measured:
    """A measurement of two levels that has ended, or `waits` until it is stopped.

    One that ends with a number waits, too, and has prompts of so many tokens.
    """

    waits = "waits"

    def __init__(self, url: str, settings: dict[str, Any], end: Any) -> None:
        self.endpoint, self.price = Endpoint(url), settings.get("price")
        self.load, self.timeline = Load(settings["concurrency"]), Timeline()
        self.error = end if isinstance(end, TpwidgetsError) else None
        self.cut_short = end if isinstance(end, str) and end != self.waits else ""
        self.live = Live(rps=20.0, requests=10, prompt_tokens=50, output_tokens=50)
        if isinstance(end, int):
            self.live = Live(requests=1)
        prompt, output = settings["prompt_tokens"], settings.get("output_tokens", 16)
        self.run = steady_run(dict.fromkeys(settings["concurrency"], 0.5), prompt, output)
        self.run.conditions |= {
            "endpoint": "here", "model": "m", "items_per_request": settings.get("batch", 1),
            "spent_usd": 0.25, "tokens_used": 100, "date": "2026-01-01T00:00:00", "notes": [],
        }  # fmt: skip
        self.run.limits = Limits.of(settings.get("limits"))
        self.conditions = self.run.conditions
        for window in self.run.windows:
            window.closed = True
        if self.error:
            self.run = Run([], [], self.conditions, "failed")
        self._ended, self._heard = threading.Event(), threading.Event()
        self.progress = Progress("failed" if self.error else "done", str(self.error or "done"))
        if isinstance(end, int):
            self.conditions["prompt_tokens_sent"] = end
        elif end != self.waits:
            self._ended.set()
        if not self.done:
            self.walk(1)
        self._listeners: list[Callable[[Any], None]] = []

    def walk(self, number: int) -> None:
        """Be at so many levels, the last of them open."""
        text = f"level {number} of 2, 5 s left"
        self.progress = Progress("running", text, number, number, 2, (number - 1) / 2, 5.0)
        for i, window in enumerate(self.run.windows):
            window.closed = i + 1 < number
        for listener in getattr(self, "_listeners", ()):
            listener(self)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return replace(self.run).rows

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def on_update(self, listener: Callable[[Any], None]) -> None:
        self._listeners.append(listener)
        self._heard.set()

    def end(self) -> None:
        """End well."""
        self.progress = Progress("done", "done", fraction=1.0)
        self._ended.set()

    def stop(self) -> None:
        if not self.done:
            self.run.state = "stopped"
            self.progress = Progress("stopped", "stopped", fraction=0.5)
            self._ended.set()

    def wait(self, timeout_s: float | None = None) -> Run:
        assert self._ended.wait(30)
        if self.error:
            raise self.error
        return self.run


class Ends:
    """How the runs to come will end, in order (then: well), and what was asked of each."""

    def __init__(self) -> None:
        self.coming: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self._begun: list[Measured] = []
        self._news = threading.Condition()

    def start(self, endpoint: Any, **settings: Any) -> Measured:
        with self._news:
            self.asked.append(settings)
            end = self.coming.pop(0) if self.coming else None
            url = getattr(endpoint, "url", endpoint)
            self._begun.append(Measured(url, settings, end))
            self._news.notify_all()
            return self._begun[-1]

    def begun(self, number: int) -> Measured:
        """Wait until so many have begun and are listened to; return the last of them."""
        with self._news:
            assert self._news.wait_for(lambda: len(self._begun) >= number, 30)
        assert self._begun[number - 1]._heard.wait(30)
        return self._begun[number - 1]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Ends:
    """Sweeps measure nothing, and end as this says."""
    from tpwidgets.measuring import sweeping

    made = Ends()
    monkeypatch.setattr(sweeping, "start", made.start)
    return made
