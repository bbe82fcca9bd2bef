"""The answer under limits: the largest level that keeps them, and how sure that is."""

from typing import Any

import pytest

from tpwidgets.metrics.largest import Largest
from tpwidgets.metrics.slo import Limits
from tpwidgets.plan import answer

pytestmark = pytest.mark.quick

LIMITS = Limits.of({"ttft_p95_ms": 500})
KEPT, PERHAPS, DOUBTED, BROKEN = (True, True), (True, False), (False, False), (False, True)


def judged(at: float, verdict: tuple[bool, bool], axis: str = "concurrency") -> dict[str, Any]:
    holds, sure = verdict
    return {
        "concurrency": 3,
        axis: at,
        "n": 400,
        "output_tps": 40.0 * at,
        "ttft_p95_ms": 180.0 if holds else 612.0,
        "ttft_p95_firm": True,
        "goodput_rps": 0.5 * at,
        "limits_hold": holds,
        "limits_sure": sure,
        "limits_note": "" if holds else "TTFT p95 is 612 ms, above 500 ms",
    }


@pytest.mark.parametrize(
    ("verdicts", "largest", "between"),
    [
        ({1: KEPT, 16: KEPT, 17: BROKEN}, 16, ""),
        ({1: KEPT, 21: KEPT, 24: PERHAPS, 25: DOUBTED, 27: BROKEN}, 24, "between 21 and 26"),
        ({1: PERHAPS, 16: PERHAPS, 32: BROKEN}, 16, "at most 31"),
        ({1: KEPT, 16: KEPT}, 16, "at least 16"),
        ({1: PERHAPS}, 1, ""),
        ({4: DOUBTED, 8: KEPT, 16: BROKEN}, 8, "between 8 and 15"),  # 4 was bad luck
        ({1: BROKEN, 2: BROKEN}, None, ""),
        ({8: KEPT, 16: BROKEN, 12: BROKEN, 10: KEPT, 11: BROKEN}, 10, ""),  # as a search comes by
    ],
)
def test_the_largest_level(
    verdicts: dict[int, tuple[bool, bool]], largest: int | None, between: str
) -> None:
    found = Largest.of(judged(at, verdict) for at, verdict in verdicts.items())
    assert (found.point or {}).get("concurrency") == largest
    assert found.between == between


def test_a_rate_is_no_whole_number() -> None:
    points = [judged(2.0, KEPT, "rate"), judged(2.2, BROKEN, "rate")]
    assert Largest.of(points).between == "between 2 and 2.2"
    assert answer(points, limits=LIMITS) == (
        "At 2 requests/s (between 2 and 2.2): 80 tokens/s, TTFT p95 180 ms, 1 good requests/s; "
        "it keeps TTFT p95 ≤ 0.5 s, errors ≤ 1 %; "
        "at 2.2 requests/s TTFT p95 is 612 ms, above 500 ms."
    )


def test_what_is_said() -> None:
    points = [judged(c, v) for c, v in ((1, KEPT), (16, KEPT), (24, PERHAPS), (32, BROKEN))]
    assert answer(points, limits=LIMITS) == (
        "At 24 concurrent (between 16 and 31): 960 tokens/s, TTFT p95 180 ms, "
        "12 good requests/s; it keeps TTFT p95 ≤ 0.5 s, errors ≤ 1 %, as far as 400 requests tell; "
        "at 32 TTFT p95 is 612 ms, above 500 ms."
    )
    assert answer(points[:2], limits=LIMITS).endswith("; 16 is the highest level measured.")


def test_no_level_keeps_them() -> None:
    assert answer([judged(1, BROKEN), judged(4, BROKEN)], limits=LIMITS) == (
        "No concurrency keeps TTFT p95 ≤ 0.5 s, errors ≤ 1 %: at 1 TTFT p95 is 612 ms, "
        "above 500 ms."
    )


def test_it_is_not_said_of_what_was_not_measured() -> None:
    assert answer([judged(4, DOUBTED), judged(16, BROKEN)], limits=LIMITS) == (
        "No level measured keeps TTFT p95 ≤ 0.5 s, errors ≤ 1 %: at 4 TTFT p95 is 612 ms, "
        "above 500 ms, as far as 400 requests tell."
    )
    nothing = {"limits_hold": None, "limits_sure": None, "limits_note": "no request has a TPOT"}
    assert answer([judged(1, KEPT) | nothing], limits=LIMITS) == (
        "Nothing tells whether TTFT p95 ≤ 0.5 s, errors ≤ 1 % are kept: at 1 no request has a TPOT."
    )


def test_a_level_at_which_all_failed_bounds_the_answer() -> None:
    failed = judged(8, BROKEN) | {
        "n": 0, "n_failed": 9, "error_rate": 1.0, "output_tps": None, "ttft_p95_ms": None,
        "limits_note": "100 % of requests failed, more than 1 %",
    }  # fmt: skip
    assert answer([judged(2, KEPT), judged(4, KEPT), failed], limits=LIMITS) == (
        "At 4 concurrent (between 4 and 7): 160 tokens/s, TTFT p95 180 ms, 2 good requests/s; it "
        "keeps TTFT p95 ≤ 0.5 s, errors ≤ 1 %; at 8 100 % of requests failed, more than 1 %."
    )


def test_an_error_limit_alone_decides() -> None:
    failing = judged(2, BROKEN) | {"limits_note": "3 % of requests failed, more than 1 %"}
    said = answer([judged(1, KEPT), failing], limits=Limits.of({"error_rate": 0.01}))
    assert said.startswith("At 1 concurrent: 40 tokens/s")
    assert said.endswith("it keeps errors ≤ 1 %; at 2 3 % of requests failed, more than 1 %.")


def test_a_level_where_the_client_was_the_limit_says_nothing() -> None:
    limited = judged(32, KEPT) | {"client_limited": True}
    assert answer([judged(16, KEPT), limited], limits=LIMITS).startswith("At 16 concurrent")
