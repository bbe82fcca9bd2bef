"""The engine in virtual time: minutes of load in milliseconds, for planning and for tests."""

from dataclasses import dataclass

from .physics import Engine, Request
from .profiles import Profile


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a closed loop of users got, counted after the warm-up."""

    output_tps: float
    """Output tokens per second, all users together."""
    ttft_ms: list[float]
    """Submission to first token, per request that ended in the window, in ascending order."""
    tpot_ms: list[float]
    """Mean time per output token after the first, in ascending order."""

    def ttft(self, q: float) -> float:
        """Return the `q` quantile of the TTFT (nearest rank)."""
        return self.ttft_ms[min(len(self.ttft_ms) - 1, int(q * len(self.ttft_ms)))]


def closed_loop(
    profile: Profile,
    users: int,
    *,
    prompt_tokens: int = 256,
    output_tokens: int = 64,
    seconds: float = 60.0,
    warmup: float = 15.0,
    seed: int = 0,
) -> Outcome:
    """Let `users` each send one request after the other, and count for `seconds`.

    Rate limits and faults belong to the server and play no part here.
    """
    engine = Engine(profile, seed)
    end = warmup + seconds
    sent: dict[Request, float] = {}
    first: dict[Request, float] = {}
    tokens, ttft, tpot = 0, [], []

    def send(now: float) -> None:
        request = Request(prompt_tokens, output_tokens)
        sent[request] = now
        engine.submit(request, now)

    for _ in range(users):
        send(0.0)
    now = 0.0
    while (start := engine.wake_at(now)) is not None:
        step = engine.step(start)
        now = start + step.duration_s
        if now > end:
            break
        for request in step.emitted:
            first.setdefault(request, now)
            tokens += now > warmup
            if request.finished:
                began, answered = sent.pop(request), first.pop(request)
                if now > warmup:
                    ttft.append((answered - began) * 1000)
                    tpot.append((now - answered) * 1000 / max(1, output_tokens - 1))
                send(now)
    return Outcome(tokens / seconds, sorted(ttft), sorted(tpot))
