"""Controls and dashboards: they show what a `Measurement` measures, and measure nothing."""

from .explorer import Explorer

__all__ = ["Explorer"]
