"""What runs in the kernel of the live view's benchmark: the same updates by two ways of drawing.

In a notebook's cell: ``from benchmarks import live_kernel; shown = live_kernel.Board()``, then
``shown.update(seconds)`` from outside.
"""

import copy
import threading
import time
from pathlib import Path
from typing import Any

from tpwidgets.live.layout import board_charts
from tpwidgets.metrics.timeline import Timeline

from .clients import Seen
from .clients.ours import keep

HZ = 10
LEVELS = (1, 2, 4, 8, 16, 32, 64)


def operating_points(tick: int) -> list[dict[str, Any]]:
    """Return a sweep amid its last level: one row, still running, is another at each tick."""
    return [_point(level, tick if level == LEVELS[-1] else 0) for level in LEVELS]


def _point(level: int, tick: int) -> dict[str, Any]:
    wave = 1 + 0.02 * (tick % 7) + 0.001 * tick
    ttft, tps = (300 + 12 * level) * wave, 90 * level / (1 + level / 40) / wave
    return {
        "run": "run 1", "current": True, "concurrency": level, "n": 40 * level + tick,
        "n_failed": 0, "error_rate": 0.0, "window_s": 12 + tick / 10, "rps": 1.4 * level * wave,
        "output_tps": tps, "output_tps_lo": 0.93 * tps, "output_tps_hi": 1.06 * tps,
        "ttft_p50_ms": ttft, "ttft_p50_ms_lo": 0.92 * ttft, "ttft_p50_ms_hi": 1.1 * ttft,
        "ttft_p95_ms": 1.9 * ttft, "ttft_p95_ms_lo": 1.6 * ttft, "ttft_p95_ms_hi": 2.2 * ttft,
        "ttft_p50_firm": True, "ttft_p95_firm": level > 4,
        "user_tps_p50": tps / level, "user_tps_p50_lo": 0.95 * tps / level,
        "user_tps_p50_hi": 1.05 * tps / level, "tpot_p50_ms": 11.0 * wave,
        "e2e_p50_ms": 900.0 * wave, "gap_p50_ms": 11.0 * wave, "itl_p50_ms": 11.0 * wave,
        "tokens_per_chunk": 1.0, "in_flight_mean": 0.98 * level, "client_error_p99_ms": 0.1,
        "merged_pct": 0.2, "prompt_tokens_mean": 256.0, "output_tokens_mean": 64.0,
        "input_per_output": 4.0, "cached_pct": 25.0, "provisional": tick > 0,
        "client_limited": False, "note": "",
    }  # fmt: skip


class Shown:
    """Charts in a cell, and a thread that updates them; `update` returns when it is through."""

    def update(self, seconds: float) -> int:
        """Update ten times a second for so long; return how many updates there were."""
        updates = round(seconds * HZ)
        thread = threading.Thread(target=self._all, args=(updates,))
        thread.start()
        thread.join()
        return updates

    def _all(self, updates: int) -> None:
        due = time.perf_counter()
        for tick in range(1, updates + 1):
            self.one(tick)
            due += 1 / HZ
            time.sleep(max(0.0, due - time.perf_counter()))

    def one(self, tick: int) -> None:
        """Make one update: one row of the curves is another, the series is a point longer."""
        raise NotImplementedError


class Board(Shown):
    """The live board."""

    def __init__(self) -> None:
        from IPython.display import display

        from tpwidgets.live import Board

        self._board = Board(levels=list(LEVELS), price_output=10.0, price_input=2.0)
        self._timeline = Timeline(span_s=0.1)
        self._timeline.begin_level(LEVELS[-1])
        self._timeline.read(0.0, 0, 1.0, None)
        display(self._board)
        self._board.update(operating_points(0), self._timeline)

    def one(self, tick: int) -> None:
        self._timeline.read(tick / HZ, 300 * tick + tick % 7 * 20, 1.0, 0.0)
        self._board.update(operating_points(tick), self._timeline)


class JupyterCharts(Shown):
    """The same charts as `altair.JupyterChart`, whose specification is assigned at each update."""

    def __init__(self) -> None:
        import altair as alt
        import ipywidgets as widgets
        from IPython.display import display

        alt.JupyterChart.enable_offline()
        shown = (chart for chart in board_charts() if not chart.get("shown_by"))
        self._specs = [chart["spec"] for chart in shown]
        self._series: list[dict[str, Any]] = []
        self._charts = []
        for number in range(len(self._specs)):
            chart = alt.LayerChart.from_dict(self._spec(number, operating_points(0)))
            self._charts.append(alt.JupyterChart(chart))
        display(widgets.VBox(self._charts))

    def one(self, tick: int) -> None:
        t, end = (tick - 1) / HZ, tick / HZ
        point = {"t": t, "end": end, "mid": (t + end) / 2, "tps": 3000.0 + tick % 7 * 20}
        self._series.append(point | {"level": LEVELS[-1], "settling": False})
        rows = operating_points(tick)
        for number, chart in enumerate(self._charts):
            chart.spec = self._spec(number, rows)

    def _spec(self, number: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
        spec = copy.copy(self._specs[number])
        series = spec["data"]["name"] == "series"
        values = {"rows": 1, "levels": list(LEVELS), "price_output": 10.0, "price_input": 2.0}
        spec["params"] = [p | {"value": values.get(p["name"], p["value"])} for p in spec["params"]]
        if series:
            spec["datasets"] = {"series": list(self._series), "settling": []}
        else:
            spec["datasets"] = {"points": rows}
        return spec


class Still(Board):
    """The board, left alone: what the page and the kernel take by themselves."""

    def one(self, tick: int) -> None:
        pass


class Dashboard(Shown):
    """The whole Explorer while it measures a simulated endpoint."""

    def __init__(self) -> None:
        from IPython.display import display

        import tpwidgets as tp

        self._server = tp.simulate("vllm-llama-70b")
        self._explorer = tp.Explorer(self._server.url, concurrency=(16, 32), seconds=60)
        display(self._explorer)
        self._updates = 0

    def update(self, seconds: float) -> int:
        """Wait until so many seconds of the measurement are over; return how many updates."""
        before = self._updates
        time.sleep(seconds)
        return self._updates - before

    def begin(self) -> None:
        """Measure, and return once there is a point to draw."""
        self._explorer.measure()
        self._explorer.measurement.on_update(self._count)
        while not self._explorer.measurement.rows:
            time.sleep(0.05)

    def _count(self, _: Any) -> None:
        self._updates += 1


class Measured(Dashboard):
    """The whole Explorer, and what it measured of an endpoint."""

    def __init__(self, url: str, streams: int, requests: int, tokens: int, result: str) -> None:
        from IPython.display import display

        import tpwidgets as tp

        self._result, self._updates = Path(result), 0
        self._explorer = tp.Explorer(
            url,
            concurrency=streams,
            requests=requests - 2 * streams,  # and a warm-up and a cool-down
            output_tokens=tokens,
            prompt_tokens=256,
        )
        display(self._explorer)

    def measure(self) -> float:
        """Measure to the end and keep what was seen; return how many updates a second there were.

        Raises RuntimeError if there is no run.
        """
        seen = Seen(time.monotonic_ns())
        self._explorer.measure()
        measurement = self._explorer.measurement
        measurement.on_update(self._count)
        run = measurement.wait()
        seen.returned_ns = time.monotonic_ns()
        keep(run, seen)
        seen.save(self._result)
        return self._updates / ((seen.returned_ns - seen.called_ns) / 1e9)
