"""How accurate a measurement is while the dashboard draws it, in a real JupyterLab and Chromium."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .clients import Seen
from .job import TIMES, TOKENS, cores, requests_for, told
from .live import DRAWN, page_in_lab
from .truth import TruthServer

NAME = "tpwidgets, dashboard drawing"


@dataclass
class DashboardJob:
    """An Explorer that measures a fresh truth server; browser and kernel may use every core."""

    streams: int

    @property
    def label(self) -> dict[str, str | int]:
        return {"client": NAME, "streams": self.streams}

    def run(self) -> dict[str, Any]:
        """Measure once, and return the figures.

        Raises
        ------
        RuntimeError
            If there is no browser, or the page did not show what it should.
        """
        server_core, _ = cores()
        with (
            tempfile.TemporaryDirectory() as folder,
            page_in_lab() as (page, _),
            TruthServer(*TIMES, core=server_core) as truth,
        ):
            result = Path(folder) / "seen.pickle"
            settings = (truth.url, self.streams, requests_for(self.streams), TOKENS, str(result))
            made = f"shown = live_kernel.Measured{settings!r}"
            notebook = page.lab.notebook(
                "seen.ipynb", f"from benchmarks import live_kernel\n{made}"
            )
            page.open(notebook)
            page.run_all()
            page.page.wait_for_function(DRAWN, timeout=60_000)
            updates_per_s = float(page.execute("shown.measure()")["text"])
            if page.errors:
                raise RuntimeError("; ".join(page.errors))
            page.shutdown_if_open()
            truth.stop()
            seen = Seen.load(result)
            log = truth.read()
        return {**told(seen, log, self.streams), "updates_per_s": updates_per_s}
