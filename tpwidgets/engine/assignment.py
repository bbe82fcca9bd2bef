"""What a worker is told before all else: where requests go, and what is in them."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .budget import Tariff

if TYPE_CHECKING:
    from ..endpoints.prepared import Prepared


def assignment(
    prepared: "Prepared", timeout_s: float, epoch_ns: int, tariffs: Sequence[Tariff] = (),
    *, open_loop: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return all that a worker needs to make requests. Holds the key: goes over the pipe only."""
    workload = prepared.workload
    return {
        "do": "assignment",
        "url": prepared.url,
        "protocol": prepared.protocol.name,
        "body": prepared.body("", workload.output_tokens),
        "prompt_at": prepared.protocol.prompt_at,
        "headers": prepared.headers,
        "words": prepared.calibration.words(workload.prompt_tokens),
        "instructed": workload.instructed,
        "prefix": prepared.prefix(),
        "batch": workload.batch,
        "output_tokens": workload.output_tokens,
        "timeout_s": timeout_s,
        "open_loop": open_loop,
        "tariffs": [asdict(tariff) for tariff in tariffs],
        "local": prepared.endpoint.local,
        "epoch_ns": epoch_ns,
        "run": uuid.uuid4().hex[:12],
        "seed": uuid.uuid4().int,
    }
