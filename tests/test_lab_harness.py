"""The harness of the browser tests, proved on plain ipywidgets."""

import json
from pathlib import Path

import pytest
from lab import Lab, LabError, LabPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

WIDGETS = """\
import ipywidgets as w
slider = w.IntSlider(value=3, min=0, max=10, description="Width")
button = w.Button(description="Count")
label = w.Label("0")
def count(_):
    label.value = str(int(label.value) + slider.value)
button.on_click(count)
w.VBox([slider, button, label])"""

SLEEP = """\
import time
kept = 1
print("begun")
time.sleep(60)"""


def test_a_widget_answers_keys_and_clicks_and_survives_a_reload(
    lab: Lab, lab_page: LabPage
) -> None:
    page = lab_page.open(lab.notebook("widgets.ipynb", WIDGETS))
    lab_page.run_all()
    page.locator(".noUi-handle").press("ArrowRight")
    lab_page.until("slider.value", lambda text: text == "4")
    page.get_by_role("button", name="Count").click()
    lab_page.until("label.value", lambda text: text == "'4'")

    lab_page.save()
    lab_page.reload()
    expect(page.get_by_role("button", name="Count")).to_be_visible()
    page.get_by_role("button", name="Count").click()
    lab_page.until("label.value", lambda text: text == "'8'")


def test_a_running_cell_is_interrupted_and_the_kernel_lives(lab: Lab, lab_page: LabPage) -> None:
    lab_page.open(
        lab.notebook(
            "sleep.ipynb", "kept = 1; print('begun', flush=True)\nimport time; time.sleep(60)"
        )
    )
    lab_page.run_all(wait=False)
    lab_page.page.get_by_text("begun", exact=True).wait_for()
    lab_page.interrupt()
    lab_page.idle(10)
    assert lab_page.outputs(0)[-1]["ename"] == "KeyboardInterrupt"
    assert lab_page.execute("kept")["text"] == "1"


def test_code_beside_the_notebook_and_a_restart(lab: Lab, lab_page: LabPage) -> None:
    cells = ["x = 0", *["import time; time.sleep(0.2); x += 1"] * 3]
    lab_page.open(lab.notebook("code.ipynb", *cells), whole=True)
    lab_page.run_all()
    result = lab_page.execute("import sys; print('out'); print('err', file=sys.stderr); x + 1")
    assert result == {"stdout": "out\n", "stderr": "err\n", "text": "4", "error": ""}
    lab_page.restart()
    with pytest.raises(LabError, match="NameError"):
        lab_page.execute("x")


def test_saving_themes_pictures_and_a_dead_kernel(
    lab: Lab, lab_page: LabPage, tmp_path: Path
) -> None:
    path = lab.notebook("save.ipynb", "# %% md\n# A title", "6 * 7")
    lab_page.open(path)
    lab_page.run_all()
    lab_page.save()
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert saved["cells"][1]["outputs"][0]["data"]["text/plain"] == ["42"]

    lab_page.theme("dark")
    dark = lab_page.screenshot(tmp_path / "dark.png")
    lab_page.theme("light")
    light = lab_page.screenshot(tmp_path / "light.png")
    assert dark.read_bytes() != light.read_bytes()

    lab_page.shutdown_kernel()
    assert lab_page.page.get_by_text("42", exact=True).is_visible()


def test_another_host_is_refused_and_recorded(lab: Lab, lab_page: LabPage) -> None:
    page = lab_page.open(lab.notebook("outside.ipynb", "1"))
    outcome = page.evaluate("fetch('https://example.com/x.js').then(() => 'got', () => 'refused')")
    assert outcome == "refused"
    assert lab_page.foreign == ["https://example.com/x.js"]
    lab_page.foreign.clear()
