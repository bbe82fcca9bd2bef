"""The answer in a use case's terms: how long, how many, what it costs, with the interval."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..cost.price import Price
from ..metrics.intervals import firm
from ..metrics.usable import failing
from ..words import bound, count, duration, is_whole, measured, percent, usd
from .kpi_chats import chats
from .kpi_figures import Figure, Point, lowest, measured_between, named, request_usd, with_interval
from .kpi_jobs import job
from .presets import ALONE, CHATS, Assumption, UseCase
from .service import usable

if TYPE_CHECKING:
    import pandas as pd

    from ..run import Run
    from .capacity import Between

ALIKE = 0.1
"""A run whose lengths differ by more than this share from the use case's says nothing of it."""


@dataclass(frozen=True)
class KpiAnswer:
    """What a run says of a use case.

    Attributes
    ----------
    text : str
        One sentence.
    figures : tuple of Figure
        Its numbers, and some more; none where there is no answer.
    use_case : UseCase
        With the assumptions that it rests on.
    """

    text: str
    figures: tuple[Figure, ...] = field(default=(), repr=False)
    use_case: UseCase | None = field(default=None, repr=False)

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What it rests on."""
        return self.use_case.assumptions if self.use_case else ()

    @property
    def table(self) -> "pd.DataFrame":
        """The figures: ``figure``, ``value``, ``lo``, ``hi``, ``unit``."""
        import pandas as pd

        rows = [(f.label, f.value, f.lo, f.hi, f.unit) for f in self.figures]
        frame = pd.DataFrame(rows, columns=["figure", "value", "lo", "hi", "unit"])
        return frame.astype(dict.fromkeys(("value", "lo", "hi"), "float64"))

    @property
    def assumed(self) -> "pd.DataFrame":
        """The assumptions: ``assumption``, ``value``, ``unit``, ``source``."""
        import pandas as pd

        rows = [(a.label, a.value, a.unit, a.source) for a in self.assumptions]
        return pd.DataFrame(rows, columns=["assumption", "value", "unit", "source"])

    def __str__(self) -> str:
        return self.text


def answer_for(run: "Run", use_case: UseCase | str, price: Price | None = None) -> KpiAnswer:
    """Say what a measured endpoint makes of a use case.

    Points that are provisional, at which the client was the limit or more than 1 % of requests
    failed, play no part. Where there is no answer the text says why.

    Parameters
    ----------
    run : Run
        Measured with the use case's settings (`UseCase.settings`).
    use_case : UseCase or str
        Or the name of one.
    price : Price, optional
        None: the run's own, if it has one.

    Raises
    ------
    SettingsError
        If there is no use case of this name.
    """
    from .presets import use_case as named

    case = named(use_case) if isinstance(use_case, str) else use_case
    price = price or run.price
    why = _why_not(run, case)
    if why:
        return KpiAnswer(why, (), case)
    make = {CHATS: chats, ALONE: _alone}.get(case.wants, job)
    said, figures = make(run, case, price)
    if figures:
        said += _shorter(run, case)
        said += ["no price is known"] if price is None else []
    return KpiAnswer("; ".join(said) + ".", tuple(figures), case)


def _why_not(run: "Run", case: UseCase) -> str:
    asked = {
        name: run.conditions.get(f"{name}_sent") or run.conditions.get(f"{name}_asked")
        for name in ("prompt_tokens", "output_tokens")
    }
    for name, tokens in asked.items():
        wanted = getattr(case, name)
        if tokens and abs(tokens / wanted - 1) > ALIKE:
            return (
                f"No answer: measured with {count(tokens)} {name.replace('_', ' ')} a request, "
                f"{case.title} has {count(wanted)}; measure with the use case's settings."
            )
    if any(map(usable, run.rows)):
        return ""
    finished = [p for p in run.rows if not p.get("provisional") and not p.get("client_limited")]
    failed = [p for p in finished if failing(p)]
    if any(map(is_whole, finished)):
        return "No answer: its answers come whole, and a use case is about streamed ones."
    if failed:
        least = min(failed, key=lambda p: measured(p, "error_rate") or 0)
        return (
            f"No answer: requests fail at every concurrency, {_share(least)} of them at "
            f"{least['concurrency']}."
        )
    from ..plan import answer

    return answer(run.rows)


def _shorter(run: "Run", case: UseCase) -> list[str]:
    """Say so where answers were shorter than asked for: everything would take longer."""
    told = [measured(p, "output_tokens_mean") or 0.0 for p in run.rows if usable(p)]
    mean = sum(told) / len(told)
    if mean >= (1 - ALIKE) * case.output_tokens:
        return []
    return [f"but answers had {count(mean)} tokens, not {count(case.output_tokens)}"]


def _share(point: Point) -> str:
    return percent(100 * (measured(point, "error_rate") or 0))


def _alone(run: "Run", case: UseCase, price: Price | None) -> tuple[list[str], list[Figure]]:
    point = lowest(run)
    ttft, e2e = measured_between(point, "ttft_p50_ms"), measured_between(point, "e2e_p50_ms")
    speed = measured(point, "user_tps_p50")
    n = int(measured(point, "concurrency") or 1)
    who = "A single user" if n == 1 else f"A user among {n}, the fewest measured,"
    said = [
        f"{who} waits {with_interval(ttft, duration)} for the first token and "
        f"{with_interval(e2e, duration)} for an answer"
        + (f", at {count(speed)} tokens/s" if speed else "")
    ]
    figures = [
        Figure.of("TTFT, median", ttft, "ms"),
        Figure.of("whole answer, median", e2e, "ms"),
    ]
    if speed:
        figures.append(Figure.of("tokens/s", measured_between(point, "user_tps_p50")))
    for name, ms in case.limits.items():
        value = measured(point, name)
        if value is not None:
            figures.append(Figure.of(named(name), measured_between(point, name), "ms"))
            kept = f"is within {bound(ms)}" if value <= ms else f"exceeds {bound(ms)}"
            counted = int(measured(point, "n") or 0)
            few = not firm(counted, float(name.split("_")[1][1:]) / 100)
            about = f"about {duration(value)} (n = {counted})" if few else duration(value)
            said.append(f"{named(name)}, {about}, {kept}")
    if price is not None:
        each: Between | None
        if price.hour is not None:
            each = e2e * (price.hour * price.replicas / price.utilisation / 3_600_000)
        else:
            each = request_usd(run, price, 1)
        if each is not None:
            figures.append(Figure.of("cost of an answer", each, "USD"))
            said.append(f"{with_interval(each, usd)} an answer")
    return said, figures
