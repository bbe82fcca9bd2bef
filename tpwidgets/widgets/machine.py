"""What this machine can resolve: a line, and a button that has it measured again."""

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from ..errors import SettingsError
from ..measuring.measurement import under_way
from ..run import escape
from ..selfcheck import BACKGROUND


class MachineCheck(w.Box):
    """The self-check's line in a dashboard. It never runs beside a measurement.

    Parameters
    ----------
    concurrency : callable
        Returns how many streams to check with; raises SettingsError where that can't be said.
    """

    def __init__(self, concurrency: Callable[[], int]) -> None:
        self._concurrency = concurrency
        self._measuring = self._checking = False
        self._lock = threading.Lock()
        self._line = w.HTML()
        self._line.add_class("tp-selfcheck")
        self._button = w.Button(
            description="Check this machine", layout=w.Layout(width="auto"),
            tooltip="Measure what this machine can resolve at the highest concurrency set above; "
            "takes about five seconds",
        )  # fmt: skip
        self._button.add_class("tp-check")
        self._button.on_click(self._pressed)
        super().__init__([self._button, self._line])
        self.add_class("tp-row")

    def once(self) -> None:
        """Check in the background, unless that was done in this process."""
        BACKGROUND.start(self._told)

    def give_way(self) -> None:
        """Break off for a measurement, which is about to begin; `ready` follows when it ended."""
        with self._lock:
            self._measuring = True
            BACKGROUND.cancel()
        self._enable()

    def ready(self) -> None:
        """Let the button be pressed again, and make up for a first check that gave way."""
        self._measuring = False
        self._enable()
        if BACKGROUND.found is None:
            self.once()

    def _enable(self) -> None:
        self._button.disabled = self._measuring or self._checking

    def _pressed(self, _: Any) -> None:
        if not self._checking:
            self._checking = True
            self._enable()
            threading.Thread(target=self._check, name="tpwidgets-check", daemon=True).start()

    def _check(self) -> None:
        try:
            concurrency = self._concurrency()
            BACKGROUND.cancel()  # the one that every dashboard begins with, say
            BACKGROUND.join()
            former = BACKGROUND.found
            if not self._begin(concurrency):
                self._say("Not checked: a measurement is under way.")
                return
            BACKGROUND.join()
            found = BACKGROUND.found
            if found is None:
                self._say("Not checked: it was broken off.")
            elif found is former:
                self._told(f"{found.text} (as checked before; this time it was broken off)")
        except SettingsError as error:
            self._say(str(error))
        finally:
            self._checking = False
            self._enable()

    def _begin(self, concurrency: int) -> bool:
        with self._lock:
            if self._measuring or under_way():
                return False
            self._say(f"Checking this machine with {concurrency} streams: about 5 s.")
            BACKGROUND.start(self._told, concurrency, again=True)
            return True

    def _told(self, text: str) -> None:
        self._say(f"Self-check of {text}")

    def _say(self, text: str) -> None:
        self._line.value = f"<small>{escape(text)}</small>"
