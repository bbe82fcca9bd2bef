"""The open loop's figures by hand."""

from itertools import islice
from random import Random
from typing import Any

import pytest

from tpwidgets.metrics.points import operating_point
from tpwidgets.report.static import notes, table, ttft_table
from tpwidgets.run import Run
from tpwidgets.samples import Sample, Window
from tpwidgets.workload.rates import arrival_times

pytestmark = pytest.mark.quick


def request(scheduled_s: float, late_s: float = 0.0, takes_s: float = 2.0, **more: Any) -> Sample:
    """Return a request of three tokens; `late_s` after its time it was sent."""
    sent_s = scheduled_s + late_s
    given: dict[str, Any] = {
        "token_ms": [500.0, 600.0, takes_s * 1000],
        "output_tokens": 3,
        "prompt_tokens": 10,
    }
    return Sample(
        f"{scheduled_s}", 0, 1, sent_s=sent_s, ended_ms=takes_s * 1000, rate=1.0,
        scheduled_s=scheduled_s, dispatched_s=sent_s, **given | more,
    )  # fmt: skip


def test_latency_from_the_scheduled_time_stands_beside_the_one_from_sending() -> None:
    samples = [request(float(n), late_s=0.3 if n == 10 else 0.0) for n in range(40)]
    samples.append(request(9.5, status="client_limit", token_ms=[], output_tokens=None))
    point = operating_point(samples, Window(0, 5.5, 25.5, 2.0, closed=True, rate=1.0))
    assert (point["rate"], point["concurrency"], point["n"]) == (1.0, 2, 20)
    assert point["sent_rps"] == pytest.approx(1.0)
    assert point["rps"] == pytest.approx(1.0)
    assert (point["rates_start_s"], point["rates_end_s"]) == (5.5, 25.5)
    assert point["output_tps"] == pytest.approx(3.0)
    assert point["ttft_p99_ms"] == pytest.approx(500)
    assert point["ttft_from_scheduled_p50_ms"] == pytest.approx(500)
    assert point["ttft_from_scheduled_p99_ms"] == pytest.approx(500 + 0.81 * 300)
    assert point["e2e_from_scheduled_p99_ms"] == pytest.approx(2000 + 0.81 * 300)
    assert point["e2e_from_scheduled_p50_ms_hi"] == pytest.approx(2000)
    assert point["sched_delay_p99_ms"] == pytest.approx(0.8 * 300)
    assert point["client_limited"]
    assert "requests were sent up to 240 ms after their time" in str(point["note"])
    assert "1 requests could not be sent" in str(point["note"])


def test_tables_and_notes_are_by_rate() -> None:
    samples = [request(float(n), late_s=1.0) for n in range(40)]
    run = Run(samples, [Window(0, 5.5, 25.5, 2.5, closed=True, rate=0.5)], {})
    heads, [cells] = table(run)
    assert dict(zip(heads[:4], cells, strict=False)) == {
        "requests/s": "0.5 *", "sent": "1", "answered": "1", "in flight": "2.5",
    }  # fmt: skip
    assert "req/s" not in heads, "it stands beside what was sent"
    p95 = heads.index("TTFT p95")
    assert heads[p95 + 1] == "TTFT p95 from scheduled"
    assert cells[p95 : p95 + 2] == ["~0.5 s", "~1.5 s"]
    assert "~ stands for too few requests to be firm: p95 needs 200" in notes(run)
    assert ttft_table(run) is None
    assert notes(run)[-1].startswith("at 0.5 requests/s *: the client was the limit")


def test_a_little_late_is_not_too_late() -> None:
    samples = [request(float(n), late_s=0.04) for n in range(40)]
    point = operating_point(samples, Window(0, 5.5, 25.5, 2.0, closed=True, rate=1.0))
    assert point["sched_delay_p99_ms"] == pytest.approx(40)  # 8 % of TTFT
    assert (point["client_limited"], point["note"]) == (False, "")


def test_an_open_window_counts_up_to_the_oldest_request_in_flight() -> None:
    everything = [request(float(n), takes_s=9.0 if n == 20 else 2.0) for n in range(40)]
    now_s = 25.5
    known = [s for s in everything if s.ended_s <= now_s]
    window = Window(0, 5.5, now_s, 2.0, rate=1.0, known_s=20.0)
    point = operating_point(known, window, provisional=True)
    assert point["rates_end_s"] == pytest.approx(20.0)
    assert point["sent_rps"] == pytest.approx(14 / 14.5)  # that one itself is not known yet
    assert point["output_tps"] == pytest.approx(3.0, rel=0.05)
    assert point["ttft_from_scheduled_p50_ms"] == pytest.approx(500)
    early = Window(0, 5.5, now_s, 2.0, rate=1.0, known_s=6.0)
    point = operating_point(known, early, provisional=True)
    assert (point["sent_rps"], point["output_tps"]) == (None, None)  # of too little of it


@pytest.mark.parametrize(("served_rps", "steady"), [(2.0, False), (8.0, True)])
def test_a_queue_that_grows_is_no_steady_state(served_rps: float, steady: bool) -> None:
    free_s, samples = 0.0, []
    for due_s in islice(arrival_times(4.0, "poisson", 1.0, Random(2)), 200):
        free_s = max(free_s, due_s) + 1 / served_rps
        samples.append(request(due_s, token_ms=[1000 * (free_s - due_s)]))
    point = operating_point(samples, Window(0, 5.0, 25.0, 5.0, closed=True, rate=4.0))
    said = "not a steady state: 3.25 requests/s arrive, 2 are answered"
    assert str(point["note"]) == ("" if steady else said)
    assert point["queue_grows"] is not steady
    assert not point["client_limited"]
