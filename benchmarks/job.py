"""One cell of a benchmark: a truth server, a client that loads it, and the figures of both."""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import judge
from .clients import Seen
from .environments import Environment
from .truth import HERE, TruthServer
from .watch import Watched, watch

TTFT_MS, ITL_MS, TOKENS = 200, 10, 128
TIMES = ("--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS))

CONTROLS = Environment("controls", ("aiohttp==3.14.5", "httpx==0.28.1"))

CLIENTS = {
    "tpwidgets": (None, "ours", ()),
    "tpwidgets, kernel busy": (None, "ours", ("--busy",)),
    "aiohttp, vLLM's shape": (CONTROLS, "aiohttp_vllm", ()),
    "httpx": (CONTROLS, "httpx_stock", ()),
}
"""Name → environment (None: this one), module in `clients`, further arguments."""

REPORTED = (
    "n", "n_failed", "ttft_p50_ms", "ttft_p99_ms", "itl_p50_ms", "itl_p99_ms", "tpot_p50_ms",
    "output_tps", "in_flight_mean", "tokens_per_chunk", "merged_pct", "client_error_p99_ms",
    "client_limited",
)  # fmt: skip
"""What is kept of the figures that a client shows."""


def cores() -> tuple[int, set[int]]:
    """Return the server's core, and those of the clients under test: one of the others."""
    server, *others = sorted(os.sched_getaffinity(0))
    return server, {others[0]} if others else {server}


def requests_for(streams: int) -> int:
    """Return how many requests to make: 12 per stream, fewer where there are many."""
    return streams * (12 if streams <= 128 else 8)


def told(
    seen: Seen, log: dict[str, judge.Served], streams: int, tokens_per_chunk: int = 1
) -> dict[str, Any]:
    """Return what a client saw and showed, and its errors."""
    ids = seen.reported["ids"]
    window_ns = judge.window_on_server_ns(seen, log)
    return {
        **judge.errors(seen, log),
        **judge.all_requests(seen, log),
        **judge.truth(log, ids),
        **{f"reported_{name}": v for name, v in seen.reported.items() if name in REPORTED},
        "true_tpot_p50_ms": judge.true_tpot_p50_ms(log, ids, tokens_per_chunk),
        "true_output_tps": judge.true_output_tps(log, window_ns, tokens_per_chunk),
        "in_flight_pct": judge.in_flight_pct(judge.load(log), streams),
    }


@dataclass
class Job:
    """A client against a fresh truth server."""

    client: str
    streams: int
    requests: int = 0
    options: tuple[str, ...] = ()
    """Of the server, besides TTFT and ITL."""
    tokens_per_chunk: int = 1
    tls: bool = False
    all_cores: bool = False
    """Let the client use the server's core too."""
    variant: str = ""
    """What the options make of the server, in words."""

    @property
    def label(self) -> dict[str, str | int]:
        return {"client": self.client, "streams": self.streams} | (
            {"variant": self.variant} if self.variant else {}
        )

    def run(self) -> dict[str, Any]:
        """Run it on one core and return its figures.

        Raises
        ------
        RuntimeError
            If the client failed; its last words are in the message.
        """
        environment, module, flags = CLIENTS[self.client]
        python = sys.executable if environment is None else str(environment.make().bin / "python")
        requests = self.requests or requests_for(self.streams)
        server_core, client_cores = cores()
        if self.all_cores:
            client_cores |= {server_core}
        options = (*TIMES, *self.options)
        if self.tokens_per_chunk > 1:
            options += ("--tokens-per-chunk", str(self.tokens_per_chunk))
        with (
            tempfile.TemporaryDirectory() as folder,
            TruthServer(*options, core=server_core, tls=self.tls) as truth,
        ):
            result, output = Path(folder) / "seen.pickle", Path(folder) / "output.txt"
            numbers = (str(self.streams), str(requests), str(TOKENS))
            command = [python, "-m", f"benchmarks.clients.{module}", truth.url, *numbers]
            watched = watch(
                [*command, str(result), *flags],
                client_cores,
                env=truth.env,
                cwd=HERE.parent,
                output=output,
            )
            truth.stop()
            if watched.returncode or not result.exists():
                raise RuntimeError(f"{self.client} failed: {output.read_text()[-2000:]}")
            return self._figures(Seen.load(result), truth.read(), watched)

    def _figures(
        self, seen: Seen, log: dict[str, judge.Served], watched: Watched
    ) -> dict[str, Any]:
        load = judge.load(log)
        first = min(one.received_ns for one in log.values())
        first_of_load = min(one.received_ns for one in load)
        last = max(one.write_ns[-1] for one in load)
        engine = [samples for name, samples in watched.processes if "tpwidgets.engine" in name]
        return {
            **told(seen, log, self.streams, self.tokens_per_chunk),
            **judge.cost(watched, load),
            "call_to_first_request_s": (first - seen.called_ns) / 1e9,
            "call_to_load_s": (first_of_load - seen.called_ns) / 1e9,
            "last_token_to_result_s": (seen.returned_ns - last) / 1e9,
            "measuring_pss_mb": max((mb for each in engine for _, mb in each), default=None),
            "measuring_pss_first_minute_mb": max(
                (mb for each in engine for s, mb in each if s <= 60), default=None
            ),
        }
