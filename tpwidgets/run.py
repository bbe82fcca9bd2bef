"""Run: what was measured, and the conditions without which it is worth nothing."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .conditions import one_line
from .cost.price import Price, known
from .metrics.slo import Limits
from .samples import Sample, Window

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from .metrics.scaling import Scaling
    from .use_cases.kpi import KpiAnswer
    from .use_cases.presets import UseCase


@dataclass(eq=False)
class Run:
    """A finished measurement, or as much of it as there was when it was stopped.

    Attributes
    ----------
    samples : list of Sample
        One per request, whatever became of it, in the order in which they ended.
    windows : list of Window
        One per operating point, in the order in which they were measured.
    conditions : dict
        Endpoint, model, server, protocol, lengths asked and counted, client, date and notes: plain
        values, no secret.
    state : str
        ``done``, ``stopped`` or ``failed``.
    """

    samples: list[Sample] = field(repr=False)
    windows: list[Window] = field(repr=False)
    conditions: dict[str, Any] = field(repr=False)
    state: str = "done"
    price: Price | None = None
    """The price that `chart`, `cost` and `answer` use unless given another."""
    limits: Limits | None = None
    """What the operating points are judged by; see `with_limits`."""
    compared: Sequence[Price] = ()
    """Prices that `chart`, `cost` and `report` show beside `price`, unless given others."""

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The operating points as plain dicts (`points` is the same as a table)."""
        from .metrics.ledger import Ledger
        from .metrics.points import operating_point

        samples = Ledger(self.samples)
        return [operating_point(samples, w, limits=self.limits) for w in self.windows]

    @property
    def cut_short(self) -> list[str]:
        """Say that it ended at a limit on what it may spend; [] if it did not."""
        return [n for n in self.conditions.get("notes", []) if n.startswith("Stopped at the ")]

    @property
    def ended_early(self) -> list[str]:
        """Say why it ended before its end without having been stopped; [] if it did not."""
        return [n for n in self.conditions.get("notes", []) if n.startswith("ended early")]

    def with_limits(self, limits: "Limits | Mapping[str, float] | None") -> "Run":
        """Return the same run, judged by other limits: nothing need be measured again.

        Where it had none before, its levels began among the users of those before them: how long
        people wait at one may be otherwise where it is run alone.

        Parameters
        ----------
        limits : dict, optional
            Such as ``{"ttft_p95_ms": 500, "tpot_p95_ms": 50, "error_rate": 0.01}``.

        Raises
        ------
        SettingsError
            Names the limit that is refused.
        """
        return replace(self, limits=Limits.of(limits))

    @cached_property
    def points(self) -> "pd.DataFrame":
        """A row per operating point; `tpwidgets.metrics.points.COLUMNS` defines each column."""
        from .metrics.tables import points_table

        return points_table(self.rows)

    @cached_property
    def requests(self) -> "pd.DataFrame":
        """A row per request; ``token_ms`` has the chunks' arrivals in ms since `sent`, as an array.

        The phase says whether a request ended inside a window (``measured``), before it
        (``warmup``) or after it (``cooldown``).
        """
        from .metrics.tables import requests_table

        return requests_table(self.samples)

    def chart(
        self, price: Price | Iterable[Price] | None = None, *, fit: bool = False
    ) -> "alt.VConcatChart | alt.HConcatChart | alt.Chart":
        """Draw TTFT, tokens/s and cost against concurrency (or the rate), as an Altair chart.

        Parameters
        ----------
        price : Price or iterable of Price, optional
            At most three are drawn. None: the run's own.
        fit : bool
            Draw the fitted law (`scaling`) over the throughput, too, grey and dashed.

        Raises
        ------
        MeasurementError
            If there is no law to be fitted.
        """
        from .charts.overview import overview

        bounds = self.limits.bounds if self.limits else None
        law = self.scaling() if fit else None
        return overview(self.rows, self.prices(price), self.title, bounds, law)

    def scaling(self) -> "Scaling":
        """Fit the universal scalability law: throughput between the levels measured, and beyond.

        Raises
        ------
        MeasurementError
            If there are fewer than four levels of concurrency, or the levels are rates.
        """
        from .metrics.scaling import fit

        return fit(self.rows)

    def breakdown(self) -> "alt.LayerChart":
        """Draw what TTFT consists of, as far as the server tells, as an Altair chart."""
        from .charts.breakdown import breakdown

        return breakdown(self.rows, self.title)

    def cost(self, price: Price | Iterable[Price] | None = None) -> "pd.DataFrame":
        """Tabulate cost against concurrency, TTFT and tokens/s per user.

        Parameters
        ----------
        price : Price or iterable of Price, optional
            ``Price.per_token(...)``, ``Price.per_hour(...)`` or ``Price.listed(...)``; several are
            told apart by the column ``price``. None: the run's own.

        Raises
        ------
        SettingsError
            If neither the call nor the run has a price.
        """
        from .cost.table import cost_table

        return cost_table(self.rows, self._priced(price))

    def cost_chart(
        self,
        prices: Price | Iterable[Price] | None = None,
        against: str = "concurrency",
        per: str = "output",
    ) -> "alt.LayerChart":
        """Draw cost, a line per price, as an Altair chart.

        Parameters
        ----------
        prices : Price or iterable of Price, optional
            None: the run's own.
        against : {"concurrency", "ttft"}
            What lies to the right: how many use it at once, or how long they wait.
        per : {"output", "total", "request"}
            USD per 1M output tokens, per 1M prompt and output tokens, or per request.

        Raises
        ------
        SettingsError
            If there is no price, or `against` or `per` is none of these.
        """
        from .charts.costs import cost_chart

        return cost_chart(self.rows, self._priced(prices), against, per, self.title)

    def prices(self, given: Price | Iterable[Price] | None = None) -> list[Price]:
        """Return the prices given or, where there are none, the run's own."""
        if isinstance(given, Price):
            return [given]
        given = [known(price) for price in given or ()]
        own = [self.price] if self.price is not None else []
        return given or [*own, *self.compared]

    def spent_usd(self, price: Price) -> float:
        """Return what it has cost by the token: as its spend limit counted, else by its usage."""
        from .cost.bill import bill

        spent = self.conditions.get("spent_usd")
        return bill(self.samples, price) if spent is None else float(spent)

    def _priced(self, prices: Price | Iterable[Price] | None) -> list[Price]:
        chosen = self.prices(prices)
        if not chosen:
            from .errors import SettingsError

            raise SettingsError(
                "No price is set: give one, such as Price.per_token(output=10) in $ per 1M tokens, "
                "or Price.per_hour(4.5)."
            )
        return chosen

    def answer(self, price: Price | None = None) -> str:
        """Say in one sentence where to operate and what lies beyond."""
        from .plan import answer

        said = [answer(self.rows, price or self.price, self.limits)]
        return " ".join([*said, *(f"{note.rstrip('.')}." for note in self.cut_short)])

    def answer_for(self, use_case: "UseCase | str", price: Price | None = None) -> "KpiAnswer":
        """Say what the endpoint makes of a use case; see `tpwidgets.answer_for`.

        Raises
        ------
        SettingsError
            If there is no use case of this name.
        """
        from .use_cases.kpi import answer_for

        return answer_for(self, use_case, price)

    def report(
        self,
        path: str | Path,
        *,
        question: str | None = None,
        use_case: "UseCase | str | None" = None,
        price: Price | Iterable[Price] | None = None,
        tokens_per_day: float | None = None,
    ) -> Path:
        """Write a page for those who decide: one HTML file below 2 MB that needs no network.

        It has the question and the answer, key figures, limits, curves, cost, assumptions,
        conditions, data handling, and its data as CSV files within.

        Parameters
        ----------
        path : str or Path
        question : str, optional
            What the page answers. None: the use case's, or one about the run's limits.
        use_case : UseCase or str, optional
            In whose terms it is answered; its limits, if it has some, are those of the page.
        price : Price or iterable of Price, optional
            The first is the answer's. One by the hour and one by the token are compared: from how
            many tokens a day the former costs less. None: the run's own.
        tokens_per_day : float, optional
            Output tokens a day, for that comparison.

        Raises
        ------
        SettingsError
            If the file can't be written, there is no such use case, or `tokens_per_day` is not
            above 0 or lacks the two prices.
        """
        from .report.page import report

        return report(
            self, path, question=question, use_case=use_case, price=price,
            tokens_per_day=tokens_per_day,
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Save everything but secrets to one JSON file; `tpwidgets.load` reads it back."""
        from .store import save

        return save(self, path)

    @property
    def title(self) -> str:
        """Model and endpoint, for headings and legends."""
        return f"{self.conditions.get('model', '?')} at {self.conditions.get('endpoint', '?')}"

    @property
    def conditions_line(self) -> str:
        """The conditions on one line."""
        return one_line(self.conditions, self.rows)

    def __repr__(self) -> str:
        axis = "rate" if any(w.rate for w in self.windows) else "concurrency"
        levels = ", ".join(f"{getattr(w, axis):g}" for w in self.windows) or "none"
        n = f"{len(self.samples):,} requests"
        return f"<Run {self.state}: {self.title}; {axis} {levels}; {n}>"

    def _repr_html_(self) -> str:
        from .report.static import tables_html

        return tables_html(self)


def escape(text: object) -> str:
    """Escape text for HTML."""
    return html.escape(str(text))
