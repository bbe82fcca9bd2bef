"""The pilot page: it answers first, says what it rests on, holds its data, and needs no network."""

import gzip
import io
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pandas as pd
import pytest
from virtual import closed_loop_run, steady_run

import tpwidgets as tp
from tpwidgets import cli
from tpwidgets.measuring import api
from tpwidgets.report import page as report
from tpwidgets.report import pages
from tpwidgets.run import Run
from tpwidgets.samples import Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHATBOT = tp.use_case("support-chatbot")
OWN = tp.Price.per_hour(10, name="4 H100")
API = tp.Price.per_token(10, 2.5, name="an API", source="its list", date="2026-11-01")
CONDITIONS = {
    "model": "llama", "endpoint": "api.example.com/v1", "url": "https://api.example.com/v1",
    "prompts": "random words", "key_from": "environment variable API_KEY", "date": "2026-11-24T20",
    "window": "closed loop", "usage_streamed": True, "notes": ["a note <of the run>"],
}  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Draw nothing, which takes seconds; return the charts that would be."""
    specs: list[dict[str, object]] = []
    monkeypatch.setattr(report, "picture", lambda spec: specs.append(spec) or "<figure></figure>")
    return specs


def chatbot() -> Run:
    run = closed_loop_run(
        "vllm-llama-70b", (1, 4, 16, 64), CHATBOT.prompt_tokens, CHATBOT.output_tokens
    )
    return replace(run, conditions=run.conditions | CONDITIONS)


def text(page: str) -> str:
    """Return what a reader sees, a space for each tag."""
    body = page.partition("<body>")[2]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


def files(page: str) -> dict[str, bytes]:
    links = re.findall(r'<a download="([^"]+)" href="(data:[^"]+)"', page)
    return {name: urlopen(link).read() for name, link in links}


@pytest.mark.quick
def test_it_answers_first_and_says_what_that_rests_on(
    drawn: list[dict[str, object]], tmp_path: Path
) -> None:
    run = chatbot()
    path = run.report(
        tmp_path / "pilot.html", use_case=CHATBOT, price=[OWN, API], tokens_per_day=20e6
    )
    page = path.read_text("utf-8")
    assert path.stat().st_size < pages.MOST_BYTES
    question = "Tier-1 support chatbot: is llama at api.example.com/v1 enough for it, and what"
    assert f"<h1>{question} does it cost?</h1>" in page
    assert re.findall(r"<h2>([^<]*)", page) == [
        "Key figures", "Limits", "Curves", "Cost", "What was assumed", "What was left out",
        "Conditions", "Data handling", "Appendix: all points", "Appendix: failures",
        "Appendix: notes", "The data",
    ]  # fmt: skip
    seen, answer = text(page), run.answer_for(CHATBOT, OWN)
    for said in (
        answer.text,
        "chats at once on one replica range:",
        "25 % either way by which the model may be off",
        run.with_limits(CHATBOT.limits).answer(OWN),
        "Fitted law, not measured",
        tp.break_even(run.with_limits(CHATBOT.limits), OWN, API, 20e6).answer,
        *(a.source for a in answer.assumptions),
        "an API; per 1M tokens: $10.00 output, $2.50 input; usage billed",
        "usage streamed yes",
        "api.example.com is outside of one's own network, reached encrypted (https).",
        "made up by a program (random words): no text of a person",
        "The key came from: environment variable API_KEY. It is neither in",
        "No request failed.",
        "a note <of the run>",
    ):
        assert said in seen
    # paper has no colours: whether limits are kept is a word
    assert re.search(r" 4 concurrent 4\d\d ms [^N]* yes\?", seen)
    assert re.search(r"16 concurrent 1\.\d s .* NO: TTFT p95 is [\d,]+ ms, above 1,000 ms", seen)
    assert len(drawn) == 3
    assert all(spec["description"] for spec in drawn)


@pytest.mark.quick
def test_it_holds_its_data_and_loads_nothing(
    drawn: list[dict[str, object]], tmp_path: Path
) -> None:
    run = steady_run({1: 1.0, 4: 1.5}, 256, 16)
    run.samples[3].message = "=1+1"
    page = run.report(tmp_path / "pilot.html").read_text("utf-8")
    assert re.search("<h1>How fast is", page)
    assert not re.search(r"<(script|link|iframe|object)|url\(|@import", page)
    assert all(at.startswith("data:") for at in re.findall(r'(?:src|href)="([^"]*)"', page))
    held = files(page)
    assert list(held) == ["points.csv", "columns.csv", "requests.csv"]
    tables = {name: pd.read_csv(io.BytesIO(data)) for name, data in held.items()}
    points, requests = tables["points.csv"], tables["requests.csv"]
    assert list(points) == list(run.points)
    for column in ("concurrency", "n", "ttft_p95_ms", "output_tps_lo"):
        assert points[column].tolist() == pytest.approx(run.points[column].tolist())
    assert list(requests) == [name for name in run.requests if name != "token_ms"]
    assert requests["sent_s"].tolist() == pytest.approx(run.requests["sent_s"].tolist())
    assert requests["message"][3] == "'=1+1", "no formula for a spreadsheet"
    assert set(points) | set(requests) <= set(tables["columns.csv"]["column"])


@pytest.mark.quick
def test_what_does_not_fit_is_packed_or_left_out_and_that_is_said() -> None:
    frame = pd.DataFrame({"message": ["a" * 200] * 10})
    kept = pages.Attachments(4000)
    plain = kept.link("t.csv", "messages", frame)
    packed = kept.link("t.csv", "messages", frame)  # less than 2000 bytes are left
    assert "(messages: 10 rows, 2 kB)" in plain
    assert gzip.decompress(files(packed)["t.csv.gz"]) == files(plain)["t.csv"]
    without = pages.Attachments(300).link("t.csv", "messages", frame)
    assert without == ("t.csv (messages: 10 rows) is left out: the page would be larger than 2 MB")


@pytest.mark.quick
def test_a_run_of_failures_says_so_and_what_failed(
    drawn: list[dict[str, object]], tmp_path: Path
) -> None:
    run = steady_run({1: 1.0, 4: 1.5}, 256, 16)
    failed = [
        replace(s, status="http_error", http_status=503, message="<script>no</script>",
                token_ms=[], output_tokens=None, prompt_tokens=None)
        for s in run.samples
    ]  # fmt: skip
    failed[0] = replace(failed[0], status="timeout", http_status=None, message="no token in 60 s")
    notes = ["ended early: every request failed for 10 s"]
    run = replace(run, samples=failed, state="failed", conditions=CONDITIONS | {"notes": notes})
    page = run.with_limits({"ttft_p95_ms": 500}).report(tmp_path / "failed.html").read_text()
    seen = text(page)
    for said in (
        "How many requests at once does llama at api.example.com/v1 serve within TTFT p95",
        "failed before its end; the figures are of what was measured until then. It ended early:",
        "No answer: at 1 concurrent, every request failed",
        "No level was found that keeps TTFT p95 ≤ 0.5 s",
        "4 concurrent plays no part in the answer: nothing ended well there.",
        "For 40 requests the server told no prompt tokens",
        "http error 503 39 98 % HTTP 503 (<script>no</script>)",
        "timeout – 1 2.5 % timed out (no token in 60 s)",
    ):
        assert said in seen
    assert "<script" not in page
    nothing = Run([], [], CONDITIONS, "stopped").report(tmp_path / "empty.html").read_text()
    assert "Nothing was measured." in nothing
    assert "No request was sent." in nothing


@pytest.mark.quick
def test_rates_and_answers_that_come_whole_are_told_in_their_units(
    drawn: list[dict[str, object]], tmp_path: Path
) -> None:
    run = steady_run({4: 1.5}, 256, 16)
    arrived = [
        replace(s, rate=2.5, scheduled_s=s.sent_s, dispatched_s=s.sent_s) for s in run.samples
    ]
    rated = replace(run, samples=arrived, windows=[Window(0, 1.5, 10.5, rate=2.5)], price=API)
    seen = text(rated.with_limits({"ttft_p95_ms": 500}).report(tmp_path / "open.html").read_text())
    assert "How many requests per second does" in seen
    assert "2.5 requests/s is the largest level measured that keeps TTFT p95" in seen
    vectors = [replace(s, token_ms=[], output_tokens=None, items=2) for s in run.samples]
    whole = text(
        replace(run, samples=vectors, price=API).report(tmp_path / "whole.html").read_text()
    )
    assert "most items/s at 4 concurrent" in whole
    assert "shortest E2E latency, median at 4 concurrent 1.5 s" in whole
    assert "USD per 1M tokens" in whole


@pytest.mark.quick
def test_a_use_cases_page_is_about_its_limits(
    drawn: list[dict[str, object]], tmp_path: Path
) -> None:
    run, case = chatbot().with_limits({"ttft_p95_ms": 60_000}), CHATBOT.limits
    seen = text(run.report(tmp_path / "pilot.html", use_case=CHATBOT, price=[OWN, API]).read_text())
    assert f"As measured: {run.with_limits(case).answer(OWN)}" in seen
    gave_way = "The run's own limits (TTFT p95 ≤ 60 s, errors ≤ 1 %) gave way to the use case's"
    assert gave_way in seen
    assert "60 s" not in seen.replace(gave_way, "")
    without = text(run.report(tmp_path / "pilot.html", price=OWN).read_text())
    assert "the largest level within TTFT p95 ≤ 60 s" in without


@pytest.mark.quick
def test_a_level_at_which_requests_fail_has_no_key_figure(
    drawn: list[dict[str, object]], tmp_path: Path
) -> None:
    run = steady_run({1: 1.0, 4: 0.5}, 256, 16)
    failed = [
        replace(s, status="http_error", token_ms=[], output_tokens=None)
        if s.concurrency == 4 and s.slot == 0 else s
        for s in run.samples
    ]  # fmt: skip
    seen = text(replace(run, samples=failed).report(tmp_path / "pilot.html").read_text())
    figures = seen.partition("Key figures")[2].partition(" Limits ")[0]
    assert "at 1 concurrent" in figures
    assert "at 4 concurrent" not in figures
    assert "4 concurrent plays no part in the key figures: more than 1 % of requests failed" in seen


@pytest.mark.quick
def test_why_no_cost_is_known_is_said(
    drawn: list[dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = steady_run({1: 1.0}, 256, 16)
    untold = [replace(s, prompt_tokens=None, token_source="chunks") for s in run.samples]
    page = replace(run, samples=untold, price=API).report(tmp_path / "pilot.html")
    seen = text(page.read_text())
    assert "At an API no cost is known: the server told no prompt tokens, which have" in seen
    assert "usage in the window, failed requests included; tokens are counted as chunks" in seen
    reason = "perplexity sonar is listed with a fee per 1,000 requests"
    monkeypatch.setattr(report, "unlisted", lambda *_: reason)
    seen = text(run.report(tmp_path / "pilot.html").read_text())
    assert f"No price is known, so no cost is told. {reason}." in seen


@pytest.mark.quick
def test_what_costs_nothing_has_no_chart_of_its_cost(
    tmp_path: Path, drawn: list[dict[str, object]]
) -> None:
    run = replace(steady_run({1: 1.0}, 256, 64), price=tp.Price.per_hour(0))
    page = run.report(tmp_path / "free.html").read_text()
    assert "free of charge" in text(page)
    assert len(drawn) == 1, "one of the curves; an empty one would say that no price is set"


@pytest.mark.quick
def test_what_can_not_be_written_is_refused_and_the_older_page_stays(
    drawn: list[dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = steady_run({1: 1.0}, 256, 16)
    for path in (tmp_path, tmp_path / "nowhere" / "pilot.html"):
        with pytest.raises(tp.SettingsError, match="can't be written"):
            run.report(path)
    with pytest.raises(tp.SettingsError, match="two prices: one by the hour, one by the token"):
        run.report(tmp_path / "pilot.html", price=OWN, tokens_per_day=1e6)
    older = tmp_path / "pilot.html"
    older.write_text("older")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tpwidgets.files.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.report(older)
    assert older.read_text() == "older"
    assert [file.name for file in tmp_path.iterdir()] == ["pilot.html"]


@pytest.mark.quick
def test_a_terminal_writes_it_too(
    drawn: list[dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = steady_run({1: 1.0}, 256, 16)
    monkeypatch.setattr(api, "measure", lambda *_, **__: run)
    path = tmp_path / "pilot.html"
    assert cli.main(["measure", "http://127.0.0.1:9", "--report", str(path)]) == 0
    assert f"Wrote {path}" in capsys.readouterr().out
    assert "Appendix: notes" in path.read_text("utf-8")


@pytest.mark.browser
def test_a_browser_without_a_network_shows_saves_and_prints_it(
    chromium: "Browser", tmp_path: Path
) -> None:
    path = chatbot().report(tmp_path / "pilot.html", use_case=CHATBOT, price=[OWN, API])
    assert path.stat().st_size < pages.MOST_BYTES
    said: list[str] = []
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("requestfailed", lambda request: said.append(request.url))
    page.goto(path.as_uri())
    with page.expect_download() as saving:
        page.get_by_text("points.csv", exact=True).click()
    saved = pd.read_csv(saving.value.path())
    pictures = page.locator("img").evaluate_all(
        "all => all.map(one => [one.complete && one.naturalWidth > 400, one.alt])"
    )
    page.set_viewport_size({"width": 1000, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth")
    # as wide as A4 between its margins
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 680, "height": 900})
    printed = page.evaluate("document.documentElement.scrollWidth")
    pdf = page.pdf(prefer_css_page_size=True)
    context.close()
    assert said == []
    assert len(saved) == 4
    assert len(pictures) == 3
    assert all(drawn and alt for drawn, alt in pictures)
    assert (wide, printed) == (1000, 680), "nothing is cut off"
    assert 4 <= len(re.findall(rb"/Type */Page\b", pdf)) <= 12
