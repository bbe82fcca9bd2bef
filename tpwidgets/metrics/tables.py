"""Samples and operating points as DataFrames, every column with its dtype."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from ..samples import Sample
from ..words import POINT_DTYPES, REQUEST_DTYPES
from .ledger import CHUNKS

if TYPE_CHECKING:
    import pandas as pd


def requests_table(samples: Sequence[Sample]) -> "pd.DataFrame":
    """Make `run.requests`: a row per request, names and units as in `COLUMNS`.

    ``token_ms`` holds the samples' own arrays: no stamp is copied.
    """
    derived: dict[str, Callable[[Sample], object]] = {
        "user_tps": lambda s: 1000 / s.tpot_ms if s.tpot_ms else None,
        "e2e_tps": _e2e_tps,
        "tokens_per_chunk": _tokens_per_chunk,
    }
    return _table(
        {name: map(derived.get(name) or attrgetter(name), samples) for name in REQUEST_DTYPES},
        REQUEST_DTYPES,
    )


def _e2e_tps(s: Sample) -> float | None:
    return 1000 * s.output_tokens / s.e2e_ms if s.e2e_ms and s.output_tokens else None


def _tokens_per_chunk(s: Sample) -> float | None:
    if s.token_source == CHUNKS or not s.output_tokens or not s.token_ms:
        return None
    return s.output_tokens / len(s.token_ms)


def points_table(points: Iterable[Mapping[str, object]]) -> "pd.DataFrame":
    """Make `run.points`: a row per operating point, names and units as in `COLUMNS`."""
    rows = list(points)
    return _table({name: [r.get(name) for r in rows] for name in POINT_DTYPES}, POINT_DTYPES)


def _table(columns: Mapping[str, Iterable[object]], dtypes: Mapping[str, str]) -> "pd.DataFrame":
    """Build a frame with the columns' dtypes, so that a column of None has its own."""
    import pandas as pd

    return pd.DataFrame(
        {name: pd.Series(list(values), dtype=dtypes[name]) for name, values in columns.items()}
    )
