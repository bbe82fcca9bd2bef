"""tpwidgets: measure, show and explain the throughput of LLM endpoints.

The public names are imported on first use, so that ``import tpwidgets`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Endpoint": "endpoints",
    "Explorer": "widgets",
    "Grid": "grid",
    "Key": "keys",
    "Measurement": "measurement",
    "Price": "cost",
    "Run": "run",
    "answer_for": "kpi",
    "break_even": "breakeven",
    "load": "store",
    "measure": "api",
    "pool": "repeats",
    "run_sync": "nesting",
    "self_check": "selfcheck",
    "simulate": "simulator",
    "start": "api",
    "sweep": "grid",
    "use_case": "use_cases",
    "EndpointError": "errors",
    "MeasurementError": "errors",
    "SettingsError": "errors",
    "TpwidgetsError": "errors",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from .api import measure as measure
    from .api import start as start
    from .breakeven import break_even as break_even
    from .cost import Price as Price
    from .endpoints import Endpoint as Endpoint
    from .errors import EndpointError as EndpointError
    from .errors import MeasurementError as MeasurementError
    from .errors import SettingsError as SettingsError
    from .errors import TpwidgetsError as TpwidgetsError
    from .grid import Grid as Grid
    from .grid import sweep as sweep
    from .keys import Key as Key
    from .kpi import answer_for as answer_for
    from .measurement import Measurement as Measurement
    from .nesting import run_sync as run_sync
    from .repeats import pool as pool
    from .run import Run as Run
    from .selfcheck import self_check as self_check
    from .simulator import simulate as simulate
    from .store import load as load
    from .use_cases import use_case as use_case
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
