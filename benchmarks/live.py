"""What it takes to draw ten times a second, in a real JupyterLab and a real Chromium."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .results import collect
from .truth import HERE

SECONDS = 15.0
WAYS = {
    "tpwidgets' board": "Board",
    "altair.JupyterChart": "JupyterCharts",
    "tpwidgets' whole Explorer, measuring": "Dashboard",
    "nothing is drawn": "Still",
}
"""What is shown → its class in `live_kernel`."""

_COUNT = """() => {
  window.made = {charts: 0, nodes: 0, long: 0};
  const seen = new WeakSet();
  new MutationObserver((all) => all.forEach(({addedNodes}) => addedNodes.forEach((node) => {
    const found = node.querySelectorAll ? [node, ...node.querySelectorAll('*')] : [];
    const fresh = found.filter((n) => !seen.has(n));
    fresh.forEach((n) => seen.add(n));
    window.made.nodes += fresh.length;
    window.made.charts += fresh.filter((n) => n.matches('canvas, svg.marks')).length;
  }))).observe(document.querySelector('.jp-OutputArea'), {childList: true, subtree: true});
  new PerformanceObserver((list) => { window.made.long += list.getEntries().length; })
    .observe({type: 'longtask'});
}"""
DRAWN = """() => {
  const all = [...document.querySelectorAll('.jp-OutputArea canvas, .jp-OutputArea svg.marks')];
  return all.length >= 5 && all.every((chart) => chart.getBoundingClientRect().width > 0);
}"""


@dataclass
class Job:
    """One way of drawing in a fresh JupyterLab."""

    way: str

    @property
    def label(self) -> dict[str, str]:
        return {"drawn by": self.way}

    def run(self) -> dict[str, Any]:
        """Show it, let it settle, and count while it updates for `SECONDS`.

        Raises
        ------
        RuntimeError
            If there is no browser, or the page did not show what it should.
        """
        with page_in_lab() as (page, frames):
            page.open(
                page.lab.notebook(
                    "live.ipynb",
                    f"from benchmarks import live_kernel\nshown = live_kernel.{WAYS[self.way]}()",
                )
            )
            page.run_all()
            page.page.wait_for_function(DRAWN, timeout=60_000)
            pid = int(page.execute("__import__('os').getpid()")["text"])
            begin = "getattr(shown, 'begin', lambda: None)(); shown.update(2)"
            page.execute(begin)
            page.page.evaluate(_COUNT)
            session = page.context.new_cdp_session(page.page)
            session.send("Performance.enable")
            frames.clear()
            before, cpu_s = _metrics(session), _cpu_s(pid)
            updates = int(page.execute(f"shown.update({SECONDS})")["text"])
            after, cpu_s = _metrics(session), _cpu_s(pid) - cpu_s
            received = sum(frames)
            wall_s = after["Timestamp"] - before["Timestamp"]
            made = page.page.evaluate("made")
            if page.errors:
                raise RuntimeError("; ".join(page.errors))
            page.shutdown_if_open()
        return {
            "updates_per_s": updates / wall_s,
            "ws_bytes": received / updates,
            "kernel_cpu_ms": 1000 * cpu_s / updates,
            "charts_made": made["charts"] / updates,
            "nodes_made": made["nodes"] / updates,
            "main_thread_pct": 100 * (after["TaskDuration"] - before["TaskDuration"]) / wall_s,
            "main_thread_cpu_pct": 100 * (after["ThreadTime"] - before["ThreadTime"]) / wall_s,
            "long_tasks": made["long"],
            "late_s": wall_s - SECONDS,
        }


@contextmanager
def page_in_lab() -> Iterator[tuple[Any, list[int]]]:
    """Yield a page in a fresh JupyterLab, and the sizes of the frames that its sockets bring."""
    tests = str(HERE.parent / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    try:
        from browser import NoBrowserError, find_chromium, launch
        from lab import Lab, LabPage
        from playwright.sync_api import sync_playwright

        find_chromium()
    except (ImportError, NoBrowserError) as error:
        raise RuntimeError(f"needs JupyterLab, Playwright and Chromium: {error}") from error
    frames: list[int] = []

    def listen(socket: Any) -> None:
        socket.on("framereceived", lambda payload: frames.append(len(payload)))

    with (
        tempfile.TemporaryDirectory() as folder,
        Lab(Path(folder), environment={"PYTHONPATH": str(HERE.parent)}) as lab,
        sync_playwright() as driver,
    ):
        browser = launch(driver)
        context = browser.new_context(viewport={"width": 1400, "height": 1400})
        page = LabPage(lab, context)
        page.page.on("websocket", listen)
        yield page, frames
        browser.close()


def _metrics(session: Any) -> dict[str, float]:
    found = session.send("Performance.getMetrics")["metrics"]
    return {metric["name"]: metric["value"] for metric in found}


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def live(rounds: int) -> None:
    """Bytes, CPU time and the browser's main thread, per update."""
    collect("live", rounds, [Job(way) for way in WAYS])
