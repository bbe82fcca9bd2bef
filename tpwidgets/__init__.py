"""tpwidgets: measure, show and explain the throughput of LLM endpoints.

The public names are imported on first use, so that ``import tpwidgets`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Endpoint": "endpoints.endpoint",
    "Explorer": "widgets",
    "Grid": "measuring.grid",
    "Key": "endpoints.keys",
    "Measurement": "measuring.measurement",
    "Price": "cost.price",
    "Run": "run",
    "answer_for": "use_cases.kpi",
    "break_even": "cost.breakeven",
    "load": "store",
    "measure": "measuring.api",
    "pool": "measuring.repeats",
    "run_sync": "nesting",
    "self_check": "selfcheck",
    "simulate": "simulator",
    "start": "measuring.api",
    "start_sweep": "measuring.sweeping",
    "sweep": "measuring.sweeping",
    "use_case": "use_cases.presets",
    "EndpointError": "errors",
    "MeasurementError": "errors",
    "SettingsError": "errors",
    "TpwidgetsError": "errors",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from .cost.breakeven import break_even as break_even
    from .cost.price import Price as Price
    from .endpoints.endpoint import Endpoint as Endpoint
    from .endpoints.keys import Key as Key
    from .errors import EndpointError as EndpointError
    from .errors import MeasurementError as MeasurementError
    from .errors import SettingsError as SettingsError
    from .errors import TpwidgetsError as TpwidgetsError
    from .measuring.api import measure as measure
    from .measuring.api import start as start
    from .measuring.grid import Grid as Grid
    from .measuring.measurement import Measurement as Measurement
    from .measuring.repeats import pool as pool
    from .measuring.sweeping import start_sweep as start_sweep
    from .measuring.sweeping import sweep as sweep
    from .nesting import run_sync as run_sync
    from .run import Run as Run
    from .selfcheck import self_check as self_check
    from .simulator import simulate as simulate
    from .store import load as load
    from .use_cases.kpi import answer_for as answer_for
    from .use_cases.presets import use_case as use_case
    from .widgets import Explorer as Explorer


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
