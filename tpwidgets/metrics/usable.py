"""Which points say what an endpoint does when it is run like that: one criterion for all."""

from collections.abc import Mapping

from ..words import amid_ramp, measured
from .slo import MAX_ERROR_RATE


def usable(point: Mapping[str, object], error_rate: float = MAX_ERROR_RATE) -> bool:
    """Tell whether a point is one to run at, so that its figures may be compared.

    It was measured to its end and not amid a ramp, the client was not the limit, something ended
    well, at most 1 % of requests failed (another share, where limits say so), and no queue grew.
    `charts.weighing.USABLE` says the same to a browser.
    """
    if point.get("provisional") or point.get("client_limited") or point.get("queue_grows"):
        return False
    return not (amid_ramp(point) or measured(point, "n") == 0 or failing(point, error_rate))


def failing(point: Mapping[str, object], error_rate: float = MAX_ERROR_RATE) -> bool:
    """Tell whether more than 1 % of requests (or another share) failed at a point."""
    return (measured(point, "error_rate") or 0.0) > error_rate
