"""Pace: what changes faster than anyone reads is told less often."""

import time
from typing import Any


class Pace:
    """Tells when it is time again."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._state: Any = None

    def due(self, pause_s: float, state: Any) -> bool:
        """Tell whether so much time has passed since the last yes, or the state is another."""
        now_s = time.monotonic()
        if now_s < self._next_s and state == self._state:
            return False
        self._next_s, self._state = now_s + pause_s, state
        return True
