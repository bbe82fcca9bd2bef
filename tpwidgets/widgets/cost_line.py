"""Own hardware against an API, in a sentence below the board, where there is a price of each."""

from typing import Any

import ipywidgets as w

from ..cost.breakeven import break_even
from ..run import Run, escape
from .price_fields import PriceFields


class CostLine(w.HTML):
    """Says from how many tokens a day on own hardware costs less, of the run that it was told of.

    Parameters
    ----------
    fields : PriceFields
        The first price of each kind is taken, and the volume that is asked about.
    """

    def __init__(self, fields: PriceFields) -> None:
        super().__init__()
        self.add_class("tp-cost-line")
        self._fields = fields
        self._run: Run | None = None
        fields.volume.observe(self._show, "value")

    def tell(self, run: Run | None) -> None:
        """Take another run, or the same at other prices."""
        self._run = run
        self._show()

    def _show(self, _: Any = None) -> None:
        run, prices, first = self._run, self._fields.own_and_api, self._fields.value
        if run is None or prices is None:
            self.value = ""
            return
        said = break_even(run, *prices, self._fields.tokens_per_day).answer
        if first is not None and first.hour is None:  # then it is the API that was measured
            said = f"If own hardware did what was measured here: {said}"
        self.value = escape(said)
