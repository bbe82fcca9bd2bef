"""Grid: what a sweep over prompt length, output length or batch measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cost.price import Price
from ..errors import SettingsError
from ..run import Run

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from ..metrics.slo import Limits

Row = dict[str, Any]

COLUMNS = {
    "prompt_tokens": ("prompt_tokens_asked", "prompt_tokens_asked"),
    "output_tokens": ("output_tokens_asked", "output_tokens_asked"),
    "batch": ("batch", "items_per_request"),
}
"""What runs may differ in beside the load's levels: what it is called in `Grid.points`, and in a
run's conditions."""

_SAID = {
    "prompt_tokens": "prompt {:,} tokens",
    "output_tokens": "output {:,} tokens",
    "batch": "{:,} items per request",
}


def said(shape: Mapping[str, Any]) -> str:
    """Write what requests are like: ``prompt 1,024 tokens, output 64 tokens``."""
    return ", ".join(_SAID[name].format(value) for name, value in shape.items())


@dataclass(eq=False)
class Grid:
    """What `sweep` measured: a run for each shape of request.

    Attributes
    ----------
    runs : list of Run
        In the order in which they were measured.
    axes : dict
        What was asked for, all of it: ``{"prompt_tokens": (128, 512), "concurrency": (1, 4)}``.
    notes : list of str
        What was not measured, and why.
    failed : list of dict
        What could not be measured, as columns of `points`, and ``why``.
    """

    runs: list[Run] = field(repr=False)
    axes: dict[str, tuple[float, ...]]
    notes: list[str] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list, repr=False)

    @property
    def rows(self) -> list[Row]:
        """The operating points of all runs as plain dicts; `points` is the same as a table."""
        return [asked(run) | row for run in self.runs for row in run.rows]

    @property
    def points(self) -> "pd.DataFrame":
        """A row per operating point: what was asked for, then as of `Run.points`."""
        from ..metrics.tables import points_table

        rows = self.rows
        table = points_table(rows)
        for place, (column, _) in enumerate(COLUMNS.values()):
            table.insert(place, column, [row[column] for row in rows])
        return table

    def heatmap(self, value: str = "output_tps", price: Price | None = None) -> "alt.LayerChart":
        """Draw a column of the points over what was varied, as an Altair chart.

        Parameters
        ----------
        value : str
            ``output_tps``, ``ttft_p95_ms``, ``slo_attainment``, ``usd_per_1m_output_tokens`` or
            any other number in `points` or `Run.cost`.
        price : Price, optional
            For what costs; None: the runs' own.

        Raises
        ------
        SettingsError
            If there is no such column, or no price.
        """
        from ..charts.heatmap import heatmap

        return heatmap(self._priced(value, price), self._drawn, value, self.title, self.failed)

    def chart(self, value: str = "ttft_p50_ms", price: Price | None = None) -> "alt.LayerChart":
        """Draw a column against what was varied, a line for each level, as an Altair chart.

        Takes what `heatmap` takes, and raises what it raises.
        """
        from ..charts.heatmap import curves

        return curves(self._priced(value, price), self._drawn, value, self.title)

    def picture(self, value: str = "output_tps", price: Price | None = None) -> dict[str, Any]:
        """Return the map as a Vega-Lite specification; the curve where but one thing varies.

        Takes what `heatmap` takes, and raises what it raises.
        """
        from ..charts.heatmap import curves_spec, heatmap_spec

        rows = self._priced(value, price)
        if sum(len(values) > 1 for values in self.axes.values()) > 1:
            return heatmap_spec(rows, self._drawn, value, self.title, self.failed)
        return curves_spec(rows, self._drawn, value, self.title)

    @property
    def varied(self) -> tuple[str, ...]:
        """What the runs differ in: ``prompt_tokens``, ``output_tokens``, ``batch``."""
        return tuple(name for name in self.axes if name in COLUMNS)

    def shape(self, run: Run) -> str:
        """Write what tells a run from the others: ``prompt 1,024 tokens``."""
        found = asked(run)
        return said({name: found[COLUMNS[name][0]] for name in self.varied})

    @property
    def _drawn(self) -> dict[str, tuple[float, ...]]:
        """What the charts have to the right and upwards: columns of `rows`, and their values."""
        names = [*self.axes, "prompt_tokens"][:2]  # shapes stand before the load's levels
        columns = [COLUMNS[name][0] if name in COLUMNS else name for name in names]
        rows = self.rows
        return {
            column: self.axes.get(name) or tuple({row[column]: None for row in rows})
            for name, column in zip(names, columns, strict=True)
        }

    def _priced(self, value: str, price: Price | None) -> list[Row]:
        """Return the rows that have such a column; of costs, with the points priced."""
        if not value.startswith("usd_"):
            return self.rows
        from ..cost.table import cost_rows

        found = []
        for run in self.runs:
            chosen = price or run.price
            if chosen is None:
                raise SettingsError(f"{value} needs a price: give one, or measure with one.")
            found += [asked(run) | row for row in cost_rows(run.rows, chosen)]
        return found

    def with_limits(self, limits: "Limits | Mapping[str, float] | None") -> "Grid":
        """Return the same grid, judged by other limits; see `Run.with_limits`."""
        return replace(self, runs=[run.with_limits(limits) for run in self.runs])

    def save(self, path: str | Path) -> Path:
        """Save all runs to one zip file; `Grid.load` reads it back."""
        from ..store import save_all

        about = {"axes": self.axes, "notes": self.notes, "failed": self.failed}
        return save_all(self.runs, about, path)

    @classmethod
    def load(cls, path: str | Path) -> "Grid":
        """Load what `Grid.save` wrote.

        Raises
        ------
        SettingsError
            If there is no such file, or it holds no runs.
        """
        from ..store import load_all

        runs, about = load_all(path)
        axes = {name: tuple(values) for name, values in about["axes"].items()}
        return cls(runs, axes, about["notes"], about.get("failed", []))

    @property
    def state(self) -> str:
        """``stopped`` if a run was; else ``done``, be it that something could not be measured."""
        return "stopped" if any(run.state == "stopped" for run in self.runs) else "done"

    @property
    def price(self) -> Price | None:
        """The price that the runs have."""
        return self.runs[0].price if self.runs else None

    @property
    def limits(self) -> "Limits | None":
        """What the runs are judged by."""
        return self.runs[0].limits if self.runs else None

    @property
    def title(self) -> str:
        """Model and endpoint, for headings."""
        return self.runs[0].title if self.runs else ""

    def __repr__(self) -> str:
        axes = " × ".join(
            f"{name} {', '.join(f'{value:g}' for value in values)}"
            for name, values in self.axes.items()
        )
        n = sum(len(run.samples) for run in self.runs)
        return f"<Grid of {axes}: {self.title}; {len(self.runs)} runs, {n:,} requests>"

    def _repr_html_(self) -> str:
        from ..report.static import grid_html

        return grid_html(self)


def asked(run: Run) -> Row:
    """Return what a run's requests were asked to be like, by the columns of `Grid.points`."""
    return {column: run.conditions.get(name) for column, name in COLUMNS.values()}
