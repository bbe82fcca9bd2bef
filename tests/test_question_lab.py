"""The question before a big load, answered without a mouse in a real JupyterLab."""

import re

import pytest
from lab import Lab, LabPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SOON = 30_000

CODE = """import tpwidgets as tp
from tpwidgets.measuring import politeness
politeness.nearby = lambda endpoint: False  # the simulated server is taken for someone else's
sim = tp.simulate("vllm-llama-70b", speed=8)
explorer = tp.Explorer(sim.url, concurrency=33, requests=2, prompt_tokens=20, output_tokens=4)
explorer"""


def test_the_question_is_answered_by_the_keyboard(lab: Lab, lab_page: LabPage) -> None:
    page = lab_page.page
    lab_page.open(lab.notebook("question.ipynb", CODE))
    lab_page.run_all()
    measure = page.get_by_role("button", name="Measure", exact=True)
    question = page.locator(".tp-question")
    expect(measure).to_be_visible(timeout=SOON)
    expect(question).to_be_hidden()
    measure.press("Enter")
    expect(question).to_contain_text("with up to 33 requests at once", timeout=SOON)
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_focused(timeout=SOON)
    page.keyboard.press("Enter")
    expect(question).to_be_hidden(timeout=SOON)
    assert lab_page.execute("explorer.measurement is None")["text"] == "True"
    measure.press("Enter")
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_focused(timeout=SOON)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    done = re.compile("^done")
    expect(page.locator(".tp-status")).to_contain_text(done, timeout=SOON)
    expect(question).to_be_hidden()
