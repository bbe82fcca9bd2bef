"""tpwidgets and two controls against the truth, on one core, interleaved."""

from .dashboard import DashboardJob
from .job import CLIENTS, Job
from .results import collect

OURS, BUSY, AIOHTTP, HTTPX = CLIENTS
LOADS = (64, 256)
CAPACITY = (128, 256, 384, 512, 640, 768)
VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "role chunk first": {"options": ("--role-chunk",)},
    "4 tokens per chunk": {"tokens_per_chunk": 4},
    "early headers": {"options": ("--early-headers",)},
    "role chunk first, 4 tokens per chunk": {"options": ("--role-chunk",), "tokens_per_chunk": 4},
    "lock-step": {"options": ("--lockstep",)},
}


def accuracy(rounds: int) -> None:
    """Errors, cost and what is reported, at both loads."""
    jobs = [Job(name, streams) for streams in LOADS for name in (OURS, AIOHTTP, HTTPX)]
    collect("accuracy", rounds, jobs)


def busy(rounds: int) -> None:
    """The same while the kernel computes in pure Python, and while the dashboard draws."""
    computing = [Job(BUSY, streams, all_cores=True) for streams in LOADS]
    collect("busy", rounds, [*computing, *(DashboardJob(streams) for streams in LOADS)])


def capacity(rounds: int) -> None:
    """How far one core goes."""
    jobs = [Job(name, streams, 4 * streams) for streams in CAPACITY for name in (OURS, AIOHTTP)]
    collect("capacity", rounds, jobs)


def variants(rounds: int) -> None:
    """Servers that stream in other ways, to the same truth."""
    jobs = [Job(OURS, 64, 384, variant=name, **how) for name, how in VARIANTS.items()]
    collect("variants", rounds, jobs)


def tls(rounds: int) -> None:
    """https, at both loads."""
    jobs = [Job(name, streams, tls=True) for streams in LOADS for name in (OURS, AIOHTTP)]
    collect("tls", rounds, jobs)


def endurance(_rounds: int) -> None:
    """Ten minutes: memory must not grow with the length of a run."""
    collect("endurance", 1, [Job(OURS, 256, 256 * 408)])
