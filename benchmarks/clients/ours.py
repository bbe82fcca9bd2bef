"""tpwidgets, as a user calls it. With ``--busy`` the main thread computes pure Python meanwhile."""

import sys
import threading
import time

import tpwidgets

from . import Seen, Settings


def measure(settings: Settings, seen: Seen) -> tpwidgets.Run:
    seen.called_ns = time.monotonic_ns()
    run = tpwidgets.measure(
        settings.url,
        concurrency=settings.streams,
        requests=max(1, settings.requests - 2 * settings.streams),  # and a warm-up and a cool-down
        output_tokens=settings.tokens,
        prompt_tokens=256,
        progress=False,
    )
    run.points  # noqa: B018 - the result is what is looked at
    seen.returned_ns = time.monotonic_ns()
    return run


def measure_while_busy(settings: Settings, seen: Seen) -> tpwidgets.Run:
    runs: list[tpwidgets.Run] = []
    thread = threading.Thread(target=lambda: runs.append(measure(settings, seen)))
    thread.start()
    number = 0
    while thread.is_alive():  # what a notebook's cell may do
        for _ in range(10_000):
            number = number * 31 % 1_000_003
    return runs[0]


def keep(run: tpwidgets.Run, seen: Seen) -> None:
    """Put what a run holds and shows into what was seen."""
    point = run.points.iloc[0].to_dict()
    requests = run.requests
    counted = requests[(requests.phase == "measured") & (requests.status == "ok")]
    seen.reported = {
        **{name: value for name, value in point.items() if isinstance(value, (int, float, bool))},
        "window_s": (point["window_start_s"], point["window_end_s"]),
        "ids": list(counted.request_id),
        "note": point["note"],
        "stamps": sorted(set(requests.stamp)),
    }
    answered = requests[requests.status == "ok"]
    seen.requests = list(zip(answered.request_id, answered.sent_s, answered.token_ms, strict=True))


def main() -> None:
    settings, seen = Settings.given(), Seen(0)
    keep((measure_while_busy if "--busy" in sys.argv else measure)(settings, seen), seen)
    seen.save(settings.result)


if __name__ == "__main__":
    main()
