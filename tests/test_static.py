"""A run as plain HTML: it says what a picture says, and what a figure is worth."""

from dataclasses import replace

from tpwidgets.cost.price import Price
from tpwidgets.report.static import alt_text, result_bundle, table, tables_html, ttft_table
from tpwidgets.run import Run
from tpwidgets.samples import Sample, Window


def run(*, per_chunk: int = 1, in_flight: float = 4.0, **told: float) -> Run:
    samples = [
        Sample(
            f"{slot}-{turn}", slot, 4, sent_s=turn * 0.3 + slot / 100,
            token_ms=[100.0 + 10 * i for i in range(20)], prompt_tokens=8,
            output_tokens=20 * per_chunk, first_chunk_tokens=per_chunk,
            reused_connection=turn > 0, connect_ms=None if turn else 7.0, **told,
        )
        for turn in range(12) for slot in range(4)
    ]  # fmt: skip
    windows = [Window(1, 0.3, 1.5, 1.0), Window(4, 1.5, 3.3, in_flight)]
    conditions = {"model": "m", "endpoint": "e", "prompt_tokens_asked": 8, "notes": []}
    return Run(samples, windows, conditions)


def test_a_gap_is_called_itl_only_where_a_chunk_is_a_token() -> None:
    heads, rows = table(run())
    assert "ITL p50" in heads
    assert rows[0][heads.index("ITL p50")] == "10 ms"
    heads, rows = table(run(per_chunk=4), Price.per_hour(3))
    assert "ITL p50" not in heads
    assert rows[0][heads.index("chunk gap p50")] == "10 ms"
    assert rows[0][heads.index("tokens per chunk")] == "4"
    assert all(len(row) == len(heads) for row in rows)


def test_a_point_at_which_the_client_was_the_limit_is_marked_and_explained() -> None:
    limited = run(in_flight=2.0)
    assert [row[0] for row in table(limited)[1]] == ["1", "4 *"]
    page = tables_html(limited)
    assert "at 4 *: the client was the limit: 2 of 4 requests were in flight" in page
    assert page.count("opacity:.6") == 1
    assert "4 is left out: the client was the limit there" in result_bundle(limited)["text/plain"]
    assert " *" not in tables_html(run())


def test_answers_that_come_whole_are_described_as_such_and_failures_are_not():
    vectors = [
        Sample(f"{slot}-{turn}", slot, 4, sent_s=turn * 0.3 + slot / 100, ended_ms=250.0,
               prompt_tokens=8, items=2, reused_connection=turn > 0)
        for turn in range(12) for slot in range(4)
    ]  # fmt: skip
    window, conditions = Window(4, 0.3, 3.3, 4.0), run().conditions
    whole = Run(vectors, [window], conditions)
    assert "E2E p50" in table(whole)[0]
    assert alt_text(whole).startswith("E2E latency, items per second")
    assert "~ stands for too few requests to be firm: p95 needs 200" in tables_html(whole)
    failed = Run([replace(v, status="timeout") for v in vectors], [window], conditions)
    assert "TTFT p50" in table(failed)[0], "nothing came that could be whole"


def test_ttft_is_taken_apart_where_a_server_told() -> None:
    assert ttft_table(run()) is None
    silent, telling = run(), run(server_prefill_ms=80.0, write_ms=0.02)
    heads, rows = ttft_table(telling)
    assert heads == ["concurrency", "TTFT", "request write", "server prefill", "rest",
                     "connection, before"]  # fmt: skip
    assert rows[1] == ["4", "100 ms", "0.02 ms", "80 ms", "20 ms", "–"]
    assert result_bundle(silent)["text/html"].count("<img") == 1
    page = result_bundle(telling)["text/html"]
    assert page.count("<img") == 2
    assert "TTFT taken apart" in page


def test_limits_are_told_with_what_keeps_and_breaks_them() -> None:
    judged = run().with_limits({"ttft_p50_ms": 150, "e2e_p99_ms": 400})
    heads, rows = table(judged)
    assert [row[heads.index("limits")] for row in rows] == ["kept?", "kept?"]  # p99 of 40 requests
    strict = judged.with_limits({"ttft_p50_ms": 50})
    assert {row[heads.index("limits")] for row in table(strict)[1]} == {"broken"}
    page = result_bundle(strict)["text/html"]
    assert "limits: TTFT p50 ≤ 50 ms, errors ≤ 1 %" in page
    assert "at 4: TTFT p50 is 100 ms, above 50 ms" in page
    assert "No concurrency keeps TTFT p50 ≤ 50 ms" in page
    assert "limits" not in table(run())[0]


def test_only_an_open_loop_has_a_column_from_the_scheduled_time() -> None:
    assert not any("scheduled" in head for head in table(run())[0])
    assert table(run())[0].count("req/s") == 1
