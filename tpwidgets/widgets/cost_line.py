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
        prices, run = self._fields.all, self._run
        own = next((price for price in prices if price.hour is not None), None)
        api = next((price for price in prices if price.hour is None), None)
        if run is None or own is None or api is None:
            self.value = ""
            return
        tokens = 1e6 * self._fields.volume.value or None
        self.value = escape(break_even(run, own, api, tokens).answer)
