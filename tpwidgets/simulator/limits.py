"""Requests and tokens per minute, as hosted APIs limit them."""

from dataclasses import dataclass

from .profiles import RateLimit


@dataclass(slots=True)
class _Bucket:
    per_minute: float
    burst_s: float
    spent: float = 0.0

    @property
    def rate(self) -> float:
        return self.per_minute / 60

    @property
    def capacity(self) -> float:
        return self.rate * self.burst_s

    def refill(self, elapsed: float) -> None:
        self.spent = max(0.0, self.spent - elapsed * self.rate)

    def wait(self, amount: float) -> float:
        """Return the seconds until there is room; what exceeds the bucket waits until it's full."""
        return max(0.0, self.spent + min(amount, self.capacity) - self.capacity) / self.rate

    @property
    def remaining(self) -> int:
        """What the header says: the share that is left, of the whole minute's limit."""
        return max(0, int(self.per_minute * (1 - self.spent / self.capacity)))


class RateLimiter:
    """Two token buckets that refill continuously.

    Parameters
    ----------
    limit : RateLimit
        The limits.
    speed : float
        Headers speak of the client's time, which is shorter than ours by this factor.
    """

    def __init__(self, limit: RateLimit, speed: float) -> None:
        self._requests = _Bucket(limit.requests_per_minute, limit.burst_s)
        self._tokens = _Bucket(limit.tokens_per_minute, limit.burst_s)
        self._speed = speed
        self._at = 0.0

    def admit(self, tokens: int, now: float) -> tuple[str, float] | None:
        """Book a request, or return what it hits and how long to wait; a refusal costs nothing."""
        for bucket in (self._requests, self._tokens):
            bucket.refill(now - self._at)
        self._at = now
        waits = {"requests": self._requests.wait(1), "tokens": self._tokens.wait(tokens)}
        hit = max(waits, key=lambda name: waits[name])
        if waits[hit] > 0:
            return hit, waits[hit] / self._speed
        self._requests.spent += 1
        self._tokens.spent += tokens
        return None

    def headers(self) -> list[tuple[str, str]]:
        """Return the x-ratelimit-* headers."""
        result = []
        for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            reset = bucket.spent / bucket.rate / self._speed
            result += [
                (f"x-ratelimit-limit-{name}", str(int(bucket.per_minute * self._speed))),
                (f"x-ratelimit-remaining-{name}", str(int(bucket.remaining * self._speed))),
                (f"x-ratelimit-reset-{name}", f"{reset:.3f}s"),
            ]
        return result
