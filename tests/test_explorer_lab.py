"""The Explorer as a person meets it: real JupyterLab, real Chromium, a simulated endpoint."""

import json
import os
import re
from pathlib import Path

import pytest
from lab import Lab, LabPage
from nbconvert import HTMLExporter
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

SOON = 30_000  # ms: how long a loaded machine may take; nothing waits that long where all is well

FAST = """import tpwidgets as tp
sim = tp.simulate("vllm-llama-70b", speed=8)
explorer = tp.Explorer(sim.url, concurrency="1-4", requests=6, price=tp.Price.per_hour(10))
explorer"""

# slow enough that a test can act while it runs
LONG = """import tpwidgets as tp
sim = tp.simulate("vllm-llama-70b", speed=4)
explorer = tp.Explorer(sim.url, concurrency="2, 4, 8", seconds=60)
explorer"""

# a canvas is blank when all its pixels are the same
BLANK = """() => [...document.querySelectorAll('.tp-board canvas')].map(canvas => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const all = new Uint32Array(data.buffer);
  return all.every(pixel => pixel === all[0]);
})"""


@pytest.fixture
def explorer(lab: Lab, lab_page: LabPage, request: pytest.FixtureRequest) -> LabPage:
    """A notebook that shows a dashboard; its code is the marker's or FAST."""
    marker = request.node.get_closest_marker("parametrize")
    code = request.param if marker is not None else FAST
    lab_page.open(lab.notebook(f"{request.node.name.split('[')[0]}.ipynb", code))
    lab_page.run_all()
    expect(lab_page.page.locator(".tp-board canvas").first).to_be_visible(timeout=SOON)
    return lab_page


def status(page: Page, state: str) -> None:
    """Wait until the status begins with a word."""
    expect(page.locator(".tp-status")).to_contain_text(re.compile(f"^{state}"), timeout=SOON)


def press(page: Page, name: str) -> None:
    """Press a button by its label."""
    page.get_by_role("button", name=name, exact=True).click()


def rows(page: LabPage) -> int:
    """Return how many operating points the board has been given."""
    return int(page.execute("len(explorer.board._rows.packed)")["text"])


def pids_of(page: LabPage) -> list[str]:
    """Return the process ids of the worker and of the simulated endpoint."""
    said = page.execute("print(explorer.measurement._fleet.pids[0], sim.pid)")["stdout"]
    return said.split()


def gone(page: LabPage, pids: list[str]) -> None:
    """Wait until no such process is left: they end when their pipe does, or are killed."""
    left = f"[p for p in {pids} if __import__('os').path.exists('/proc/' + p)]"
    page.until(left, lambda text: text == "[]")


def result(page: Page) -> Locator:
    """Return the plain output's picture."""
    return page.locator(".jp-OutputArea-output img[alt^='TTFT']")


def test_measure_read_change_and_keep(explorer: LabPage, lab: Lab) -> None:
    page = explorer.page
    page.evaluate("document.querySelectorAll('.tp-board canvas').forEach(c => c.dataset.mine = 1)")
    press(page, "Measure")
    status(page, "running")
    expect(page.locator(".tp-tiles b").first).not_to_have_text("–", timeout=SOON)
    while not page.locator(".tp-status").inner_text().startswith("done"):
        assert not any(page.evaluate(BLANK))
        assert page.locator(".tp-board canvas:not([data-mine])").count() == 0, (
            "a canvas was replaced"
        )
    assert rows(explorer) == 3
    answer = page.locator(".tp-answer").inner_text()
    assert re.search(r"At \d+ concurrent: [\d,.]+ tokens/s, TTFT p95 .*\$[\d.]+ per 1M", answer)
    line = page.locator(".tp-conditions summary").inner_text()
    for condition in ("llama-3.3-70b", "prompt 256 tok asked", "output 64 tok asked", "n = "):
        assert condition in line
    expect(result(page)).to_be_visible(timeout=SOON)

    # a price, without measuring again
    page.locator(".tp-price input").nth(2).fill("20")
    expect(page.locator(".tp-answer")).not_to_have_text(answer, timeout=SOON)

    # the same as code, as tables, as a file
    press(page, "Copy as code")
    code = page.locator(".tp-code").inner_text()
    assert "tp.measure(" in code
    assert "requests=6" in code
    explorer.execute(code.replace("run = tp.measure(", "dict(endpoint=").replace("run.points", ""))
    press(page, "DataFrame")
    expect(page.locator(".tp-extra")).to_contain_text("ttft_p95_ms", timeout=SOON)
    press(page, "Save")
    expect(page.locator(".tp-extra")).to_contain_text("tp.load", timeout=SOON)
    saved = next(lab.root.glob("tpwidgets-*.json"))
    assert json.loads(saved.read_text())["samples"]
    press(page, "Report")
    expect(page.locator(".tp-extra")).to_contain_text("Written", timeout=SOON)
    assert "svg+xml" in next(lab.root.glob("tpwidgets-*.html")).read_text()

    # what this machine can resolve, on request, but not while it measures
    press(page, "Check this machine")
    expect(page.locator(".tp-selfcheck")).to_contain_text("at 4 streams", timeout=SOON)

    # again, beside the first
    press(page, "Measure")
    status(page, "running")
    expect(page.get_by_role("button", name="Check this machine")).to_be_disabled()
    status(page, "done")
    assert rows(explorer) == 6
    assert explorer.execute("len(explorer.runs)")["text"] == "2"

    # what stays: after a reload with the kernel, and in the file without one
    expect(result(page)).to_be_visible(timeout=SOON)
    explorer.save()
    explorer.reload()
    expect(page.locator(".tp-board canvas").first).to_be_visible(timeout=SOON)
    expect(page.locator(".tp-answer")).to_contain_text("concurrent")
    assert not any(page.evaluate(BLANK))
    expect(result(page)).to_be_visible()
    path = lab.root / "test_measure_read_change_and_keep.ipynb"
    html, _ = HTMLExporter().from_filename(str(path))
    assert 'alt="TTFT' in html
    assert "tokens/s" in html
    assert path.stat().st_size < 600_000
    explorer.shutdown_kernel()
    explorer.reload()
    expect(result(page)).to_be_visible(timeout=SOON)
    assert not explorer.errors, explorer.errors


@pytest.mark.parametrize("explorer", [LONG], indirect=True)
def test_stop_sliders_and_other_cells_while_it_runs(explorer: LabPage) -> None:
    page = explorer.page
    press(page, "Measure")
    explorer.until(
        "len(explorer.run.samples) > 8 if explorer.run else False", lambda text: text == "True"
    )
    pids = pids_of(explorer)[:1]  # the endpoint stays

    # the interrupt does not reach it, another cell runs, the slider answers
    explorer.interrupt()
    assert explorer.execute("sum(range(1000))")["text"] == "499500"
    handle = page.locator(".tp-prompt-tokens .noUi-handle")
    before = page.locator(".tp-prompt-tokens input").input_value()
    handle.focus()
    handle.press("ArrowRight")
    expect(page.locator(".tp-prompt-tokens input")).not_to_have_value(before, timeout=SOON)
    status(page, "running")

    # the tab is closed and opened again: it goes on where it is by then
    explorer.save()
    explorer.reload()
    status(page, "running")
    told = page.locator(".tp-status").inner_text()
    expect(page.locator(".tp-status")).not_to_have_text(told, timeout=SOON)
    assert not any(page.evaluate(BLANK))
    expect(page.locator(".tp-prompt-tokens input")).not_to_have_value(before, timeout=SOON)

    press(page, "Stop")
    status(page, "stopped")
    kept = explorer.execute("(explorer.run.state, len(explorer.run.points))")["text"]
    assert kept == "('stopped', 1)"
    gone(explorer, pids)

    # and after the run, too
    handle.press("ArrowLeft")
    expect(page.locator(".tp-prompt-tokens input")).to_have_value(before, timeout=SOON)
    page.locator(".tp-concurrency input").fill("0")
    page.locator(".tp-concurrency input").press("Enter")
    expect(page.locator(".tp-estimate")).to_contain_text("concurrency must be", timeout=SOON)
    press(page, "Measure")
    expect(page.locator(".tp-status")).to_contain_text("concurrency must be", timeout=SOON)
    assert not explorer.errors, explorer.errors


@pytest.mark.parametrize("explorer", [LONG], indirect=True)
def test_the_course_grows_in_place_and_is_whole_after_a_reload(explorer: LabPage) -> None:
    page = explorer.page
    course = page.locator("[data-chart=timeline]")
    page.evaluate("document.querySelectorAll('.tp-board canvas').forEach(c => c.dataset.mine = 1)")
    press(page, "Measure")

    def grown(name: str, least: float) -> float:
        """Wait until the board has drawn so much; return how much."""
        page.wait_for_function(
            """([name, least]) => [...document.querySelectorAll(`.tp-board, .tp-plot`)]
                 .some(e => +e.dataset[name] >= least)""",
            arg=[name, least],
            timeout=SOON,
        )
        return float(course.get_attribute(f"data-{name}") or 0)

    grown("points", 2)
    before = course.locator("canvas").evaluate("c => c.toDataURL()")
    grown("change", 25)
    points = grown("points", 5)
    assert course.locator("canvas").evaluate("c => c.toDataURL()") != before
    assert page.locator(".tp-board canvas").count() == 5
    assert page.locator(".tp-board canvas:not([data-mine])").count() == 0, "a canvas was replaced"
    since = course.get_attribute("data-since")

    explorer.save()
    explorer.reload()
    assert grown("points", points) >= points
    assert course.get_attribute("data-since") == since, "it begins where it began"
    grown("points", points + 2)  # and goes on
    status(page, "running")
    assert not any(page.evaluate(BLANK))

    press(page, "Stop")
    status(page, "stopped")
    kept = explorer.execute("len(explorer.measurement.timeline.points)")["text"]
    assert grown("points", int(kept)) == int(kept), "what came stays"
    assert not explorer.errors, explorer.errors


@pytest.mark.parametrize("explorer", [LONG], indirect=True)
def test_again_restart_and_no_orphan(explorer: LabPage) -> None:
    page = explorer.page
    press(page, "Measure")
    explorer.until("len(explorer.run.windows) if explorer.run else 0", lambda text: text == "1")
    pids = pids_of(explorer)

    # the same cell once more: one dashboard, and what was measured stays beside the new
    explorer.run_all()
    expect(page.locator(".tp-board")).to_have_count(1)
    explorer.until("[len(run.windows) for run in explorer.runs]", lambda text: text == "[1]")
    # on a loaded machine the client may have been the limit, which the answer says then
    answer = re.compile("at 2 concurrent", re.IGNORECASE)
    expect(page.locator(".tp-answer")).to_contain_text(answer, timeout=SOON)
    gone(explorer, pids[:1])

    press(page, "Measure")
    explorer.until(
        "explorer.measurement is not None and len(explorer.measurement.run.samples) > 2",
        lambda text: text == "True",
    )
    pids = pids_of(explorer)
    explorer.restart()
    gone(explorer, pids)
    explorer.run_all()
    press(page, "Measure")
    status(page, "running")
    press(page, "Stop")
    status(page, "stopped")


def test_what_goes_wrong_is_said_in_the_dashboard(explorer: LabPage) -> None:
    page = explorer.page
    url = page.locator(".tp-endpoint input")
    url.fill("http://127.0.0.1:9/v1")
    url.press("Enter")
    expect(page.locator(".tp-hint")).to_contain_text("Nothing answers", timeout=SOON)
    press(page, "Measure")
    status(page, "failed")
    expect(page.locator(".tp-status")).to_contain_text("Start the server")
    expect(page.get_by_role("button", name="Measure", exact=True)).to_be_enabled()

    # a refused URL is not measured in another's stead, and its password does not stay
    url.fill("ftp://u:SECRETPW@host/")
    url.press("Enter")
    expect(page.locator(".tp-hint")).to_contain_text("http://", timeout=SOON)
    expect(url).to_have_value("")
    url.fill("htp://host")
    url.press("Enter")
    press(page, "Measure")
    status(page, "refused")

    # a URL with /v1 missing is mended, and the conditions say so; what is typed right before the
    # button is pressed counts
    bare = explorer.execute("print(sim.url.removesuffix('/v1'))")["stdout"].strip()
    url.fill(bare)
    url.press("Enter")
    page.locator(".tp-prompt-tokens input").fill("64")
    page.locator(".tp-output-tokens input").fill("16")
    page.locator(".tp-concurrency input").fill("3")
    press(page, "Measure")
    status(page, "done")
    said = explorer.execute(
        "c = explorer.run.conditions; [*explorer.run.points.concurrency, "
        "c['prompt_tokens_asked'], c['output_tokens_asked']]"
    )["text"]
    assert said == "[3, 64, 16]"
    page.locator(".tp-conditions summary").click()
    expect(page.locator(".tp-conditions")).to_contain_text("added /v1")


QUICK = """import tpwidgets as tp
sim = tp.simulate("vllm-llama-70b", speed=2)
explorer = tp.Explorer(sim.url, requests=6, price=tp.Price.per_hour(10))
explorer"""


@pytest.mark.parametrize("explorer", [QUICK], indirect=True)
def test_a_use_case_from_choice_to_answer_and_then_an_open_loop(explorer: LabPage) -> None:
    page = explorer.page
    answer, kpi = page.locator(".tp-answer"), page.locator(".tp-kpi")
    page.locator(".tp-use-case select").select_option("Prototyping")
    expect(page.locator(".tp-limit-e2e input")).to_have_value("10000", timeout=SOON)
    page.locator(".tp-answer-words input").fill("10")
    page.locator(".tp-answer-words input").press("Enter")
    expect(page.locator(".tp-output-tokens input")).to_have_value("13", timeout=SOON)
    expect(page.locator(".tp-assumptions")).to_contain_text("Nielsen, Usability Engineering")
    expect(kpi).to_have_text("")
    press(page, "Measure")
    status(page, "done")
    expect(kpi).to_contain_text(re.compile("A single user waits .* is within 10 s"), timeout=SOON)

    # an assumption and the limit that it is change the answer, without measuring again
    page.locator(".tp-e2e-p95-ms input").fill("500")
    page.locator(".tp-e2e-p95-ms input").press("Enter")
    expect(page.locator(".tp-limit-e2e input")).to_have_value("500", timeout=SOON)
    expect(answer).to_contain_text("E2E latency p95 ≤ 0.5 s", timeout=SOON)
    expect(kpi).to_contain_text("0.5 s", timeout=SOON)
    page.locator(".tp-limit-e2e input").fill("1")
    page.locator(".tp-limit-e2e input").press("Enter")
    expect(answer).to_contain_text("No concurrency keeps", timeout=SOON)
    assert wider_than_its_place(page) == []

    page.locator(".tp-load select").select_option("requests/s (open loop)")
    page.locator(".tp-rate input").fill("20")
    press(page, "Measure")
    status(page, "running")  # it still says that the first run is done
    status(page, "done")
    expect(page.locator(".tp-tiles")).to_contain_text("20 requests/s")
    assert explorer.execute("explorer.run.points.rate.tolist()")["text"] == "[20.0]"
    assert not explorer.errors, explorer.errors


TWO = """import tpwidgets as tp
from IPython.display import display
sim = tp.simulate("vllm-llama-70b", speed=8)
one, explorer = (tp.Explorer(sim.url, concurrency=c, requests=6) for c in ("1", "2"))
display(one, explorer)"""


@pytest.mark.parametrize("explorer", [TWO], indirect=True)
def test_two_side_by_side_and_presses_that_came_to_nothing(explorer: LabPage) -> None:
    page = explorer.page
    expect(page.locator(".tp-board")).to_have_count(2)
    assert explorer.execute("one._closed")["text"] == "False"
    page.get_by_role("button", name="Measure", exact=True).last.click()
    expect(page.locator(".tp-status").last).to_contain_text(re.compile("^done"), timeout=SOON)
    for _ in range(6):
        page.get_by_role("button", name="Measure", exact=True).last.click()
        page.get_by_role("button", name="Stop", exact=True).last.click()
        expect(page.locator(".tp-status").last).to_contain_text(re.compile("^stop"), timeout=SOON)
    assert explorer.execute("[run.state for run in explorer.runs][:1]")["text"] == "['done']"
    assert rows(explorer) >= 1
    explorer.run_all()
    expect(page.locator(".tp-board")).to_have_count(2)


@pytest.mark.parametrize(("theme", "width"), [("light", 900), ("dark", 1400)])
def test_it_looks_right(
    lab: Lab, lab_page: LabPage, theme: str, width: int, tmp_path: Path
) -> None:
    page = lab_page.page
    page.set_viewport_size({"width": width, "height": 1150})
    lab_page.open(lab.notebook(f"look-{theme}-{width}.ipynb", FAST))
    lab_page.theme(theme)
    lab_page.run_all()
    press(page, "Measure")
    status(page, "done")
    expect(result(page)).to_be_visible(timeout=SOON)
    assert wider_than_its_place(page) == []
    # no control without a readable label
    blind = page.evaluate("""() => [...document.querySelectorAll(
        '.tp-explorer input, .tp-explorer select, .tp-explorer button')]
      .filter(e => !(e.labels?.length || e.innerText || e.title || e.ariaLabel))
      .map(e => e.outerHTML)""")
    assert blind == []
    folder = Path(os.environ.get("TPWIDGETS_SCREENSHOTS", tmp_path))
    lab_page.screenshot(folder / f"explorer-{theme}-{width}.png")


def wider_than_its_place(page: Page) -> list[str]:
    """Return what juts out of the dashboard."""
    found: list[str] = page.evaluate("""() => {
      const edge = document.querySelector('.tp-explorer').getBoundingClientRect().right + 1;
      return [...document.querySelectorAll('.tp-explorer *')]
        .filter(e => e.getBoundingClientRect().right > edge).map(e => e.className);
    }""")
    return found


@pytest.mark.skipif("TPWIDGETS_README_PICTURE" not in os.environ, reason="make screenshot asks")
def test_the_first_look(lab: Lab, lab_page: LabPage) -> None:
    """What README shows: the whole sweep at its real speed."""
    page = lab_page.page
    page.set_viewport_size({"width": 1400, "height": 1400})
    lab_page.open(lab.notebook("first-look.ipynb", "import tpwidgets as tp\n\ntp.Explorer()"))
    lab_page.run_all()
    chosen = page.locator(".tp-endpoint select option:checked")
    expect(chosen).to_have_text("vllm-llama-70b (simulated)")
    expect(page.locator(".tp-selfcheck")).to_contain_text("±", timeout=SOON)
    press(page, "Measure")
    page.locator(".tp-status").get_by_text("done").wait_for(timeout=240_000)
    expect(result(page)).to_be_visible(timeout=SOON)
    box = page.locator(".tp-explorer").bounding_box()
    assert box is not None
    path = Path(os.environ["TPWIDGETS_README_PICTURE"])
    page.mouse.move(0, 0)
    edge = 12  # above it is the cell's own
    clip = {"x": box["x"] - edge, "y": box["y"], "width": box["width"] + 2 * edge,
            "height": box["height"] + edge}  # fmt: skip
    page.screenshot(path=path, clip=clip, full_page=True)
    assert path.stat().st_size > 20_000
