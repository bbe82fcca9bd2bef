"""When an endpoint has failed for good, and how long a user waits after a failure."""

import random

from ..metrics.verdict import why
from ..samples import Sample

_ROW, _SILENT_ROW = 8, 3
_LASTING_S = 10.0
_FOR_GOOD = 401, 402, 403, 404
MAX_PAUSE_S = 120.0
"""A user waits so long at most, whatever it was asked to."""
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 1.0


class Breaker:
    """Tells when to end a sweep early, and how long a user waits after a failure.

    The rule. A row of failures begins when a request fails and ends when one ends well; a refusal
    by a rate limit ends it too, since whatever limits is alive, and so does an answer whose tokens
    all went into hidden reasoning. The sweep is ended

    * when as many requests failed in a row as there are users, but at least 8, for at least 10 s:
      a server that is restarted is back by then. If all of them timed out, 3 will do instead of 8,
      for each has waited a whole time limit already, which counts among the 10 s.
    * at once when waiting will not help: if no request of the run ended well yet and all in a row,
      one of each user up to 8 and 2 at least, were refused for good (401, 402, 403, 404: no key,
      no money, no access, no such model); or if each user, or 8 of them in a row, are asked to wait
      for more than 2 minutes, or told that their quota is used up.

    A user whose request failed waits as long as the server asks (Retry-After), at most 2 minutes,
    or if it doesn't ask, at random between 0.25 and 0.5 s, then twice as long after each further
    failure, between 1 and 2 s in the end.

    Parameters
    ----------
    seed : int
        Seeds the waiting times.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._answered = False
        self._users = self._row = 0
        self._since_s = 0.0
        self._silent = self._final = False

    def set_users(self, users: int) -> None:
        """Go over to so many users; what failed under a higher load says nothing of a lower one."""
        if users < self._users:
            self._row = 0
        self._users = users

    def pause_s(self, failures: int, asked_s: float) -> float:
        """Return how long a user waits whose last `failures` requests failed."""
        least = min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 10), _LAST_PAUSE_S)
        if asked_s:
            return min(max(asked_s, _FIRST_PAUSE_S), MAX_PAUSE_S)
        return self._random.uniform(least, 2 * least)

    def verdict(self, sample: Sample, asked_s: float) -> str:
        """Take in how a request ended; return why to end the sweep, or "" to go on.

        Parameters
        ----------
        sample : Sample
            The request.
        asked_s : float
            How long the server asked to wait before the next, in seconds.
        """
        too_long = asked_s > MAX_PAUSE_S
        if sample.status == "stopped":
            return ""
        answered = sample.status == "ok" or sample.hidden
        if answered or (sample.status == "rate_limited" and not too_long):
            self._answered |= answered
            self._row = 0
            return ""
        silent = sample.status == "timeout"
        if not self._row:
            heard_ms = sample.token_ms[-1] if sample.token_ms else 0.0
            self._since_s = sample.sent_s + heard_ms / 1000 if silent else sample.ended_s
            self._silent = self._final = True
        self._row += 1
        self._silent &= silent
        self._final &= too_long or (sample.http_status in _FOR_GOOD and not self._answered)
        most = min(self._users, _ROW)
        if self._final and self._row >= (most if too_long else max(2, most)):
            return f"{'it asks to wait too long: ' if too_long else ''}{why(sample)}"
        enough = max(_SILENT_ROW if self._silent else _ROW, self._users)
        lasted_s = sample.ended_s - self._since_s
        if self._row < enough or lasted_s < _LASTING_S:
            return ""
        return f"{self._row} requests in a row failed, for {lasted_s:.0f} s: {why(sample)}"
