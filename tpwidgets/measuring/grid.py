"""sweep: over prompt length, output length or batch, beside the load's levels; a run for each."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cost.price import Price
from ..endpoints.endpoint import Endpoint, resolve
from ..errors import SettingsError, TpwidgetsError, refuse_unknown
from ..run import Run, escape
from ..words import level
from ..workload.loads import Load, levels
from ..workload.prompts import MAX_BATCH, MAX_TOKENS, Workload
from ..workload.rates import OpenLoad, load_of
from .api import SETTINGS, start, waited
from .politeness import ask_first

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

Row = dict[str, Any]

SHAPES = {"prompt_tokens": MAX_TOKENS, "output_tokens": MAX_TOKENS, "batch": MAX_BATCH}
"""What runs may differ in beside the load's levels, and the most that each may be."""

COLUMNS = {
    "prompt_tokens": ("prompt_tokens_asked", "prompt_tokens_asked"),
    "output_tokens": ("output_tokens_asked", "output_tokens_asked"),
    "batch": ("batch", "items_per_request"),
}
"""What these are called in `Grid.points`, and in a run's conditions."""

_SPENT = {"spend_limit_usd": "spent_usd", "token_limit": "tokens_used"}
"""The limits that are for all runs together, and what a run's conditions call what it took."""


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
    """

    runs: list[Run] = field(repr=False)
    axes: dict[str, tuple[float, ...]]
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """The operating points of all runs as plain dicts; `points` is the same as a table."""
        return [_asked(run) | row for run in self.runs for row in run.rows]

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

        return heatmap(self._priced(value, price), self._drawn, value, self.title)

    def chart(self, value: str = "ttft_p50_ms", price: Price | None = None) -> "alt.LayerChart":
        """Draw a column against what was varied, a line for each level, as an Altair chart.

        Takes what `heatmap` takes, and raises what it raises.
        """
        from ..charts.heatmap import curves

        return curves(self._priced(value, price), self._drawn, value, self.title)

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
            found += [_asked(run) | row for row in cost_rows(run.rows, chosen)]
        return found

    def save(self, path: str | Path) -> Path:
        """Save all runs to one zip file; `Grid.load` reads it back."""
        from ..store import save_all

        return save_all(self.runs, {"axes": self.axes, "notes": self.notes}, path)

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
        return cls(runs, {k: tuple(v) for k, v in about["axes"].items()}, about["notes"])

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
        from ..report.static import tables_html

        page = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        for run in self.runs:
            shape = {name: _asked(run)[COLUMNS[name][0]] for name in self.axes if name in SHAPES}
            page += f"<p><b>{escape(_said(shape))}</b></p>{tables_html(run)}"
        return page


def sweep(endpoint: "str | Endpoint", *, progress: bool | None = None, **settings: Any) -> Grid:
    """Measure a run for each of several prompt lengths, output lengths or batches.

    Takes what `measure` takes, where `prompt_tokens`, `output_tokens` and `batch` may each be
    several: ``(128, 512, 2048)`` or ``"128-2048"`` (128, 256 … 2048). Two things may vary, the
    load's levels being one. Interrupting it returns what there is. More than is sent unasked to
    someone else's server has to be confirmed once, for all runs; `spend_limit_usd` and
    `token_limit` are for all too.

    Raises
    ------
    SettingsError
        If a setting is refused, or more than two things vary. Nothing was sent then.
    EndpointError, MeasurementError
        If no run could be measured; where only some could not, `Grid.notes` tell why.
    """
    load, axes = _planned(endpoint, settings)
    shapes = [dict(zip(axes, values, strict=False)) for values in product(*_shapes_of(axes))]
    grid = Grid([], axes)
    left = {name: settings[name] for name in _SPENT if settings.get(name) is not None}
    refused: TpwidgetsError | None = None
    for number, shape in enumerate(shapes, 1):
        try:
            measurement = start(endpoint, **settings | left | shape)
            run = waited(measurement, progress, f"run {number} of {len(shapes)}: ")
        except KeyboardInterrupt:
            grid.notes.append(f"stopped before run {number} of {len(shapes)}")
            break
        except TpwidgetsError as error:
            if isinstance(error, SettingsError) and number == 1:
                raise
            grid.notes.append(f"{_said(shape)}: {error}")
            refused = refused or error
            continue
        grid.runs.append(run)
        for name in left:
            left[name] -= run.conditions.get(_SPENT[name], 0)
        if run.state == "stopped" or measurement.cut_short:
            ended = measurement.cut_short or measurement.progress.text
            grid.notes.append(f"{ended}, in run {number} of {len(shapes)}")
            break
    if not grid.runs and refused is not None:
        raise refused
    if load.auto:
        found = {level(row) for run in grid.runs for row in run.rows}
        axes[load.axis] = tuple(sorted(found))
    return grid


def _planned(
    endpoint: "str | Endpoint", settings: dict[str, Any]
) -> tuple[Load | OpenLoad, dict[str, tuple[float, ...]]]:
    """Check the settings; return the load, and what varies: shapes first, then the load's levels.

    Settings of a shape that does not vary become plain numbers.
    """
    refuse_unknown(settings.keys() - set(SETTINGS), SETTINGS, "sweep()")
    bound = inspect.signature(start).bind(endpoint, **settings)
    bound.apply_defaults()
    given = bound.arguments
    several = {name: levels(given[name], name, most) for name, most in SHAPES.items()}
    settings |= {name: values[0] for name, values in several.items() if len(values) == 1}
    varying: dict[str, tuple[float, ...]] = {n: v for n, v in several.items() if len(v) > 1}
    load = load_of(*(given[name] for name in _LOAD))
    if not load.auto:  # an iterator is used up by now
        settings[load.axis] = load.levels
    names = [*varying, *([load.axis] if len(load.levels) > 1 else [])]
    if len(names) > 2:
        raise SettingsError(
            f"{', '.join(names[:-1])} and {names[-1]} all vary: a sweep is over one or two things. "
            f"Give one value for {names[-1]}, say."
        )
    workloads = [
        Workload.of(prompt, output, batch, given["shared_prefix_tokens"])
        for prompt, output, batch in product(*several.values())
    ]
    if not given["confirm"]:
        target = resolve(endpoint, model=given["model"], protocol=given["protocol"])
        ask_first(target, workloads, load, given["price"], given["token_limit"])
    return load, varying | {load.axis: load.levels}


_LOAD = "concurrency", "rate", "arrivals", "burstiness", "requests", "seconds", "precision"


def _shapes_of(axes: Mapping[str, tuple[float, ...]]) -> list[tuple[float, ...]]:
    return [values for name, values in axes.items() if name in SHAPES]


def _asked(run: Run) -> Row:
    """Return what a run's requests were asked to be like, by the columns of `Grid.points`."""
    return {column: run.conditions.get(name) for column, name in COLUMNS.values()}


def _said(shape: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in shape.items()) or "as asked"
