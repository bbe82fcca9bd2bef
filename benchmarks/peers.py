"""Other load generators side by side with tpwidgets and the controls, in one job.

Each peer runs as its documentation shows it, with its own closed loop at the same concurrency, for
the same number of requests, and may use every core; tpwidgets and the controls keep to one.
"""

import json
import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import judge, tokenizer
from .environments import Environment
from .job import CLIENTS, TIMES, TOKENS, Job, cores, requests_for
from .results import collect
from .truth import TruthServer
from .watch import watch

LOADS = (64, 256)
_INPUT = 249  # words: with the truth server's overhead a prompt of 256


@dataclass(frozen=True)
class Ask:
    """What a peer is asked for, in a folder of its own."""

    url: str
    """Without ``/v1``."""
    streams: int
    requests: int
    folder: Path
    tokenizer: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def found(self, name: str) -> Any:
        """Return the JSON of the one file of that name (a glob) that the peer wrote."""
        (path,) = self.out.rglob(name)
        return json.loads(path.read_text())


@dataclass(frozen=True)
class Peer:
    """A load generator: how it is asked, and what it reports."""

    environment: Environment
    command: Callable[[Ask], list[str]]
    report: Callable[[Ask], judge.Figures]

    @property
    def name(self) -> str:
        return self.environment.name


def _evalscope(ask: Ask) -> list[str]:
    return [
        "evalscope", "perf", "--url", f"{ask.url}/v1/chat/completions", "--api", "openai",
        "--model", "truth", "--parallel", str(ask.streams), "--number", str(ask.requests),
        "--dataset", "random", "--min-prompt-length", str(_INPUT), "--max-prompt-length",
        str(_INPUT), "--prefix-length", "0", "--tokenizer-path", str(ask.tokenizer),
        "--max-tokens", str(TOKENS), "--min-tokens", str(TOKENS), "--stream",
        "--no-test-connection", "--outputs-dir", str(ask.out),
    ]  # fmt: skip


def _evalscope_report(ask: Ask) -> judge.Figures:
    rows = {row["Percentiles"]: row for row in ask.found("benchmark_percentile.json")}
    return {
        "ttft_p50_ms": rows["50%"]["TTFT (ms)"],
        "ttft_p99_ms": rows["99%"]["TTFT (ms)"],
        "itl_p50_ms": rows["50%"]["ITL (ms)"],
        "itl_p99_ms": rows["99%"]["ITL (ms)"],
        "output_tps": ask.found("benchmark_summary.json")["Output Throughput (tok/s)"],
    }


def _inference_perf(ask: Ask) -> list[str]:
    def fixed(length: int) -> dict[str, Any]:
        same = dict.fromkeys(("mean", "min", "max"), length)
        return {"type": "fixed", **same, "std_dev": 0, "total_count": ask.requests}

    config = {
        "api": {"type": "completion", "streaming": True},
        "data": {
            "type": "random",
            "input_distribution": fixed(_INPUT),
            "output_distribution": fixed(TOKENS),
        },
        "load": {
            "type": "concurrent",
            "stages": [{"num_requests": ask.requests, "concurrency_level": ask.streams}],
            "worker_max_concurrency": ask.streams,  # its default of 100 a worker would cap the load
        },
        "server": {
            "type": "vllm", "model_name": "truth", "base_url": ask.url, "ignore_eos": True,
        },
        "tokenizer": {"pretrained_model_name_or_path": str(ask.tokenizer)},
        "storage": {"local_storage": {"path": str(ask.out)}},
    }  # fmt: skip
    path = ask.folder / "config.json"
    path.write_text(json.dumps(config))
    return ["inference-perf", "--config_file", str(path)]


def _inference_perf_report(ask: Ask) -> judge.Figures:
    said = ask.found("summary_lifecycle_metrics.json")["successes"]
    ttft, itl = (said["latency"][name] for name in ("time_to_first_token", "inter_token_latency"))
    return {
        "ttft_p50_ms": 1000 * ttft["median"],
        "ttft_p99_ms": 1000 * ttft["p99"],
        "itl_p50_ms": 1000 * itl["median"],
        "itl_p99_ms": 1000 * itl["p99"],
        "output_tps": said["throughput"]["output_tokens_per_sec"],
    }


def _aiperf(ask: Ask) -> list[str]:
    return [
        "aiperf", "profile", "--model", "truth", "--url", ask.url, "--endpoint-type", "chat",
        "--streaming", "--concurrency", str(ask.streams), "--request-count", str(ask.requests),
        "--isl", str(_INPUT), "--isl-stddev", "0", "--osl", str(TOKENS), "--osl-stddev", "0",
        "--tokenizer", str(ask.tokenizer), "--ui", "none", "--artifact-dir", str(ask.out),
    ]  # fmt: skip


def _aiperf_report(ask: Ask) -> judge.Figures:
    said = ask.found("profile_export_aiperf.json")
    ttft, itl = said["time_to_first_token"], said["inter_token_latency"]
    return {
        "ttft_p50_ms": ttft["p50"],
        "ttft_p99_ms": ttft["p99"],
        "itl_p50_ms": itl["p50"],
        "itl_p99_ms": itl["p99"],
        "output_tps": said["output_token_throughput"]["avg"],
    }


def _guidellm(ask: Ask) -> list[str]:
    return [
        "guidellm", "run", "--backend", f"kind=openai_http,target={ask.url},model=truth",
        "--profile", f"kind=concurrent,streams={ask.streams}",
        "--constraint", f"kind=max_requests,count={ask.requests}",
        "--data", f"kind=synthetic_text,prompt_tokens={_INPUT},output_tokens={TOKENS}",
        "--tokenizer", f"kind=huggingface_auto,model={ask.tokenizer}",
        "--output", f"kind=json,path={ask.out / 'guidellm.json'}", "--disable-console-interactive",
    ]  # fmt: skip


def _guidellm_report(ask: Ask) -> judge.Figures:
    said = ask.found("guidellm.json")["benchmarks"][0]["metrics"]
    ttft = said["time_to_first_token_ms"]["successful"]["percentiles"]
    itl = said["inter_token_latency_ms"]["successful"]["percentiles"]
    return {
        "ttft_p50_ms": ttft["p50"],
        "ttft_p99_ms": ttft["p99"],
        "itl_p50_ms": itl["p50"],
        "itl_p99_ms": itl["p99"],
        "output_tps": said["output_tokens_per_second"]["successful"]["mean"],
    }


def _genai_bench(ask: Ask) -> list[str]:
    return [
        "genai-bench", "benchmark", "--api-backend", "openai", "--api-base", ask.url,
        "--api-key", "none", "--api-model-name", "truth", "--model-tokenizer",
        str(ask.tokenizer), "--task", "text-to-text", "--num-concurrency", str(ask.streams),
        "--traffic-scenario", f"D({_INPUT},{TOKENS})", "--max-requests-per-run",
        str(ask.requests), "--max-time-per-run", "5", "--experiment-base-dir", str(ask.out),
    ]  # fmt: skip


def _genai_bench_report(ask: Ask) -> judge.Figures:
    said = ask.found(f"D*concurrency_{ask.streams}*.json")["aggregated_metrics"]
    ttft, tpot = said["stats"]["ttft"], said["stats"]["tpot"]
    return {
        "ttft_p50_ms": 1000 * ttft["p50"],
        "ttft_p99_ms": 1000 * ttft["p99"],
        "tpot_p50_ms": 1000 * tpot["p50"],
        "output_tps": said["mean_output_throughput_tokens_per_s"],
    }


PEERS = (
    Peer(Environment("evalscope", ("evalscope[perf]==1.14.1",)), _evalscope, _evalscope_report),
    Peer(
        Environment("inference-perf", ("inference-perf==0.7.0",), python="3.12"),
        _inference_perf,
        _inference_perf_report,
    ),
    Peer(Environment("aiperf", ("aiperf==0.13.0",)), _aiperf, _aiperf_report),
    Peer(Environment("genai-bench", ("genai-bench==0.0.5",)), _genai_bench, _genai_bench_report),
    Peer(
        Environment("guidellm", ("guidellm==0.8.1",), first=("torch==2.13.0",)),
        _guidellm,
        _guidellm_report,
    ),
)


@dataclass
class PeerJob:
    """A peer against a fresh truth server."""

    peer: Peer
    streams: int

    @property
    def label(self) -> dict[str, str | int]:
        return {"client": self.peer.name, "streams": self.streams}

    def run(self) -> dict[str, Any]:
        """Run it on all cores and return its figures; ones that it does not report are missing."""
        environment = self.peer.environment.make()
        with (
            tempfile.TemporaryDirectory() as name,
            TruthServer(*TIMES, core=cores()[0]) as truth,
        ):
            folder = Path(name)
            ask = Ask(
                truth.url.removesuffix("/v1"),
                self.streams,
                requests_for(self.streams),
                folder,
                tokenizer.make(folder / "tokenizer"),
            )
            ask.out.mkdir()
            program, *arguments = self.peer.command(ask)
            output = folder / "output.txt"
            watched = watch(
                [str(environment.bin / program), *arguments],
                os.sched_getaffinity(0),
                env={"HOME": name, "HF_HOME": name, "NO_COLOR": "1"},
                cwd=folder,
                output=output,
            )
            truth.stop()
            try:
                reported = self.peer.report(ask)
            except (KeyError, ValueError) as error:
                said = output.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.peer.name} reported nothing: {said}") from error
            log = truth.read()
        load = judge.load(log)
        ids = [name for name, one in log.items() if one.status == "ok" and one.tokens == TOKENS]
        shown = shlex.join([program, *arguments])
        for real, name in ((ask.url, "URL"), (str(ask.tokenizer), "TOKENIZER"), (f"{folder}/", "")):
            shown = shown.replace(real, name)
        return {
            "version": f"{self.peer.name} {environment.version(self.peer.name)}",
            "command": shown,
            **{f"reported_{figure}": value for figure, value in reported.items()},
            **judge.truth(log, ids),
            **(spent := judge.cost(watched, load)),
            "true_output_tps": spent["true_load_tps"],
            "in_flight_pct": judge.in_flight_pct(load, self.streams),
        }


def peers(rounds: int) -> None:
    """All peers, tpwidgets and the aiohttp control at both loads."""
    ours, _, aiohttp, _ = CLIENTS
    collect(
        "peers",
        rounds,
        [
            job
            for streams in LOADS
            for job in (
                Job(ours, streams),
                Job(aiohttp, streams),
                *(PeerJob(peer, streams) for peer in PEERS),
            )
        ],
    )
