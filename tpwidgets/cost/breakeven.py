"""From which volume on own hardware costs less than an API, and at which concurrency."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..metrics.slo import MAX_ERROR_RATE
from ..metrics.usable import usable
from ..words import amid_ramp, at_level, duration, level, measured, percent, thousands, usd
from ..workload.loads import positive
from .at_point import usd_per_1m_output
from .price import HOUR_S, MILLION, Price

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from ..metrics.slo import Limits
    from ..run import Run

DAY_H = 24

_COLUMNS = {
    "concurrency": "int64",
    "rate": "float64",
    "ttft_p50_ms": "float64",
    "ttft_p95_ms": "float64",
    "user_tps_p50": "float64",
    "api_usd_per_1m_output_tokens": "float64",
    "own_usd_per_1m_output_tokens": "float64",
    "own_usd_per_day": "float64",
    "from_output_tokens_per_day": "float64",
    "from_requests_per_day": "float64",
    "most_output_tokens_per_day": "float64",
    "reachable": "bool",
    "client_limited": "bool",
    "usable": "bool",
}
_AT_VOLUME = {"systems": "float64", "own_usd": "float64", "api_usd": "float64"}
"""The table's columns, in order → their pandas dtypes; the latter where a volume was given."""


@dataclass(frozen=True, repr=False)
class BreakEven:
    """Own hardware against an API, at each operating point; it prints as one sentence.

    Attributes
    ----------
    own, api : Price
        By the hour, and by the token.
    rows : list of dict
        `table` as plain dicts.
    tokens_per_day : float or None
        The volume asked about: output tokens a day.
    limits : Limits or None
        Only levels that keep them decide.
    """

    own: Price
    api: Price
    rows: list[dict[str, Any]]
    tokens_per_day: float | None = None
    limits: "Limits | None" = None

    @property
    def table(self) -> "pd.DataFrame":
        """A row per operating point.

        ``own_usd_per_day`` is paid however little is asked for; from
        ``from_output_tokens_per_day`` (or ``from_requests_per_day``) on the API would cost more.
        ``most_output_tokens_per_day`` is what the point makes in the share of the day that the
        price's utilisation says, and ``reachable`` whether that is more; beyond it a second system
        is needed. ``usable`` points decide (`metrics.usable`; limits are kept, if there are any).
        At the volume asked about, ``systems`` such systems are needed, which cost ``own_usd`` a
        day, and the API ``api_usd``.
        """
        import pandas as pd

        dtypes = _COLUMNS | (_AT_VOLUME if self.tokens_per_day is not None else {})
        rows = [[row[name] for name in dtypes] for row in self.rows]
        return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)

    @property
    def usable(self) -> list[dict[str, Any]]:
        """The rows to decide by, by their level."""
        rows = [
            row for row in self.rows
            if row["most_output_tokens_per_day"] and row["from_output_tokens_per_day"] is not None
            and row["usable"]
        ]  # fmt: skip
        return sorted(rows, key=level)

    @property
    def first(self) -> dict[str, Any] | None:
        """The row with the lowest level at which own hardware can cost less."""
        return next((row for row in self.usable if row["reachable"]), None)

    @property
    def best(self) -> dict[str, Any] | None:
        """The row that makes the most tokens."""
        return max(self.usable, key=lambda row: row["most_output_tokens_per_day"], default=None)

    @property
    def systems_for_good(self) -> int:
        """How many systems it takes until own hardware costs less at any larger volume; 0: never.

        What one system makes ends at ``most_output_tokens_per_day``. A further one costs as much
        again, so that n of them cost less from n times the first crossing on: that is within what
        those before make, for a large n.
        """
        first, best = self.first, self.best
        if first is None or best is None:
            return 0
        crossing: float = first["from_output_tokens_per_day"]
        spare: float = best["most_output_tokens_per_day"] - crossing
        return max(1, ceil(crossing / spare - 1e-9))

    @property
    def answer(self) -> str:
        """Who is cheaper from where on, in a sentence; one more for a volume, and for limits."""
        best = self.best
        if best is None:
            return self._why_not()
        said = [self._from_where(best)]
        if self.tokens_per_day is not None:
            said.insert(0, self._at_volume(self.tokens_per_day))
        if self.limits is not None:
            said.append(f"Only levels that keep {self.limits.text} are looked at.")
        return " ".join(said)

    def chart(self) -> "alt.LayerChart":
        """Draw what both cost a day against output tokens a day, as an Altair chart."""
        from ..charts.breakeven import break_even_chart

        return break_even_chart(self)

    def __repr__(self) -> str:
        return self.answer

    def _why_not(self) -> str:
        if not self.rows or any(row["usable"] for row in self.rows):
            return "No break-even: at no level both the throughput and the API's cost are known."
        if self.limits is not None and all(row["limits_hold"] is False for row in self.rows):
            return f"No break-even: no level keeps {self.limits.text}."
        why = "requests fail, a queue grows or the client was the limit"
        why += "" if self.limits is None else f", or {self.limits.text} is not kept"
        return f"No break-even: at each level {why}."

    def _from_where(self, best: dict[str, Any]) -> str:
        first, api_usd, own_usd = self.first, _api_usd(best), best["own_usd_per_day"]
        systems = self.systems_for_good
        own, api = f"hardware ({self._own()})", f"the API ({self._api(first or best)})"
        at_most = (
            f"at most {'one system' if systems > 1 else 'it'} makes "
            f"{_amount(best['most_output_tokens_per_day'])} a day, at {_where(best)}"
        )
        if not api_usd and not own_usd:
            return "Both cost nothing."
        if not api_usd:
            return f"Own {own} never pays: the API costs nothing."
        if not own_usd:
            return f"Own hardware costs nothing, and so less from the first token on; {at_most}."
        if first is None:
            each = usd(best["own_usd_per_1m_output_tokens"])
            return f"Own {own} never costs less than {api}: {at_most}, which is {each} per 1M."
        volume, requests = (first[f"from_{of}_per_day"] for of in ("output_tokens", "requests"))
        asked = "" if requests is None else f" ({_amount(requests)} requests)"
        said = f"From {_amount(volume)} output tokens a day{asked} on"
        if systems > 1:  # another system is paid for before it is needed all day
            most = _amount(best["most_output_tokens_per_day"])
            said = (
                f"From {_amount(volume)}{asked} to {most} output tokens a day, and again from "
                f"{_amount(systems * volume)} on"
            )
        amid = "; in between only where each system is busy enough" if systems > 2 else ""
        that = f"{_amount(volume)} a day" if systems > 1 else "that"
        return (
            f"{said}, own {own} costs less than {api}{amid}; {_where(first)} is enough for {that}; "
            f"{at_most}."
        )

    def _at_volume(self, tokens: float) -> str:
        systems = min(row["systems"] for row in self.usable)
        row = next(row for row in self.usable if row["systems"] == systems)
        own_usd, api_usd = row["own_usd"], row["api_usd"]
        many = f"{systems} such systems, each" if systems > 1 else "one such system"
        less = usd(abs(own_usd - api_usd))
        cheaper = "own hardware" if own_usd < api_usd else "the API"
        verdict = "no difference" if own_usd == api_usd else f"{cheaper} is cheaper by {less}"
        return (
            f"{_amount(tokens)} output tokens a day cost {usd(own_usd)} on own hardware "
            f"({many} at {_where(row)}) and {usd(api_usd)} at the API: {verdict}."
        )

    def _own(self) -> str:
        busy = percent(100 * self.own.utilisation)
        share = "" if self.own.utilisation == 1 else f"busy {busy} of the time"
        return ", ".join(filter(None, (self.own.name, self.own.basis, share)))

    def _api(self, row: dict[str, Any]) -> str:
        each = f"{usd(_api_usd(row))} per 1M output tokens with their input"
        return ", ".join(filter(None, (self.api.name, each)))


def break_even(
    run: "Run", own: Price, api: Price, tokens_per_day: float | None = None
) -> BreakEven:
    """Compare own hardware with an API, at each operating point of a run on that hardware.

    Own hardware is paid for whether it is used or not, and makes no more than was measured, in the
    share of the day that its `utilisation` says; beyond that a further system is paid for. The API
    is paid by the token, input and cached input in the run's own proportions. What the API makes
    people wait is not part of it. If the run has limits, levels that break them don't count.

    Parameters
    ----------
    run : Run
        Measured on the hardware.
    own : Price
        By the hour; its replicas are those that served the measured endpoint.
    api : Price
        By the token; ``Price.listed(url, model)`` knows many.
    tokens_per_day : float, optional
        Output tokens a day, to be told what these cost; more such systems are taken where one
        does not make so many.

    Raises
    ------
    SettingsError
        If `own` is not by the hour, `api` not by the token, or `tokens_per_day` not above 0.
    """
    if own.hour is None:
        raise SettingsError("own must be a price by the hour: Price.per_hour(4.5).")
    if api.hour is not None:
        raise SettingsError("api must be a price by the token: Price.per_token(10, 2.5).")
    if tokens_per_day is not None:
        tokens_per_day = positive("tokens_per_day", tokens_per_day, "(output tokens)")
    limits = run.limits
    errors = limits.error_rate if limits is not None else MAX_ERROR_RATE
    rows = [
        _row(point, own, api, tokens_per_day)
        | {"limits_hold": point.get("limits_hold")}
        | {"usable": usable(point, errors) and point.get("limits_hold") is not False}
        for point in run.rows if not amid_ramp(point)
    ]  # fmt: skip
    return BreakEven(own, api, rows, tokens_per_day, limits)


def _row(
    point: Mapping[str, object], own: Price, api: Price, tokens_per_day: float | None
) -> dict[str, Any]:
    tps, n = measured(point, "output_tps"), measured(point, "n")
    api_usd, own_usd = usd_per_1m_output(point, api)[0], (own.hour or 0.0) * own.replicas * DAY_H
    most = None if tps is None else tps * own.utilisation * DAY_H * HOUR_S
    volume = None
    if api_usd is not None:
        volume = own_usd / api_usd * MILLION if api_usd else inf
    billed = measured(point, "billed_output_tokens")
    each = billed / n if billed and n else None  # failed requests' tokens are paid for too
    row: dict[str, Any] = {
        "concurrency": point["concurrency"],
        "rate": measured(point, "rate"),
        **{name: measured(point, name) for name in ("ttft_p50_ms", "ttft_p95_ms", "user_tps_p50")},
        "api_usd_per_1m_output_tokens": api_usd,
        "own_usd_per_1m_output_tokens": usd_per_1m_output(point, own)[0],
        "own_usd_per_day": own_usd,
        "from_output_tokens_per_day": volume,
        "from_requests_per_day": None if volume is None or each is None else volume / each,
        "most_output_tokens_per_day": most,
        "reachable": bool(most) and volume is not None and volume < (most or 0.0),
        "client_limited": bool(point.get("client_limited")),
        **dict.fromkeys(_AT_VOLUME),
    }
    if tokens_per_day is not None and most:
        row["systems"] = ceil(tokens_per_day / most)
        row["own_usd"] = row["systems"] * own_usd
        row["api_usd"] = None if api_usd is None else api_usd * tokens_per_day / MILLION
    return row


def _api_usd(row: dict[str, Any]) -> float:
    return float(row["api_usd_per_1m_output_tokens"])


def _where(row: dict[str, Any]) -> str:
    """Say at which level, and what people wait there."""
    waits = [
        f"TTFT {name} {duration(row[column])}"
        for name, column in (("p95", "ttft_p95_ms"), ("median", "ttft_p50_ms"))
        if row[column] is not None
    ]
    return at_level(row) + (f" with {waits[0]}" if waits else "")


def _amount(value: float) -> str:
    return thousands(round(value))
