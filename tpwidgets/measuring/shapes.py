"""Plan: what a sweep over prompt length, output length or batch consists of, checked."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..errors import SettingsError
from ..workload.loads import Load, levels
from ..workload.prompts import MAX_BATCH, MAX_TOKENS, Workload
from ..workload.rates import OpenLoad, load_of
from .api import SETTINGS, start

SHAPES = {"prompt_tokens": MAX_TOKENS, "output_tokens": MAX_TOKENS, "batch": MAX_BATCH}
"""What runs may differ in beside the load's levels, and the most that each may be."""

_LOAD = (
    "concurrency", "rate", "arrivals", "burstiness", "requests", "seconds", "precision", "ramp_s",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a sweep consists of, checked.

    Attributes
    ----------
    axes : dict
        What varies, shapes first, then the load's levels, be it one.
    workloads : list of Workload
        One for each run.
    settings : dict
        For `start`, but for what varies from run to run.
    """

    load: Load | OpenLoad
    axes: dict[str, tuple[float, ...]]
    workloads: list[Workload]
    settings: dict[str, Any]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Plan":
        """Check keywords of `measure`, of which lengths and batch may each be several.

        Raises
        ------
        SettingsError
            Names what is refused.
        """
        full = {**_usual(), **given}
        several = {name: levels(full[name], name, most) for name, most in SHAPES.items()}
        load = load_of(*(full[name] for name in _LOAD))
        varying: dict[str, tuple[float, ...]] = {n: v for n, v in several.items() if len(v) > 1}
        if varying and load.ramp_s is not None:
            name = next(iter(varying))
            raise SettingsError(
                f"A sweep compares steady levels: leave ramp_s away, or give one {name}."
            )
        if varying and load.auto:
            raise SettingsError(
                "A sweep compares the same levels in each run, and auto finds others in each: give "
                f"levels such as 1, 4, 16, or one {next(iter(varying))}."
            )
        names = [*varying, *([load.axis] if len(load.levels) > 1 else [])]
        if len(names) > 2:
            raise SettingsError(
                f"{', '.join(names[:-1])} and {names[-1]} all vary: a sweep is over one or two "
                f"things. Give one value for {names[-1]}, say."
            )
        workloads = [
            Workload.of(prompt, output, batch, full["shared_prefix_tokens"])
            for prompt, output, batch in product(*several.values())
        ]
        fixed = {n: v[0] for n, v in several.items() if n in given and n not in varying}
        settings = {name: value for name, value in given.items() if name not in varying} | fixed
        if not load.auto:  # an iterator is used up by now
            settings[load.axis] = load.asked
        return cls(load, varying | {load.axis: load.levels}, workloads, settings)

    @property
    def shapes(self) -> list[dict[str, int]]:
        """What is asked of each run beside `settings`, in the order of `workloads`."""
        names = [name for name in self.axes if name in SHAPES]
        values = product(*(self.axes[name] for name in names))
        return [dict(zip(names, map(int, each), strict=True)) for each in values]

    @property
    def asked(self) -> dict[str, Any]:
        """All settings as keywords for `start_sweep`; for `start`, where no shape varies."""
        return {n: v for n, v in self.axes.items() if n in SHAPES} | self.settings


def _usual() -> dict[str, Any]:
    return {n: p.default for n, p in inspect.signature(start).parameters.items() if n in SETTINGS}
