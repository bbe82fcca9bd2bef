"""A key that is typed into the dashboard, in real JupyterLab."""

import pytest
from lab import Lab, LabPage
from playwright.sync_api import expect
from test_explorer_lab import SOON, press, status

pytestmark = pytest.mark.browser

KEY = "sk-Typed-0123456789abcdefGHIJ"

CODE = """import os, tpwidgets as tp
sim = tp.simulate("vllm-llama-70b", speed=8, api_key_env="SIM_KEY")
del os.environ["SIM_KEY"]
explorer = tp.Explorer(sim.url, concurrency="1-2", requests=4)
explorer"""


def test_a_key_is_typed_in_used_and_in_no_file(lab: Lab, lab_page: LabPage) -> None:
    page, name = lab_page.page, "key.ipynb"
    lab_page.open(lab.notebook(name, CODE))
    lab_page.execute(f"import os; os.environ['SIM_KEY'] = {KEY!r}")  # beside the notebook
    lab_page.run_all()
    page.locator(".tp-key-from select").select_option("type it in…")
    field = page.get_by_label("Key", exact=True)
    said = page.locator(".tp-typed-key [role=status]")
    expect(said).to_have_text("no key yet", timeout=SOON)
    press(page, "Measure")
    expect(page.locator(".tp-status")).to_contain_text("Type the key in", timeout=SOON)

    # with the keyboard: letters that are shortcuts elsewhere, Enter
    field.focus()
    page.keyboard.type(KEY)
    expect(field).to_have_value(KEY)
    expect(field).to_have_attribute("type", "password")
    page.keyboard.press("Enter")
    expect(said).to_have_text("key set, kept in memory only", timeout=SOON)
    expect(field).to_have_value("")
    press(page, "Measure")
    status(page, "done")

    # it outlasts the page, and is in no file
    lab_page.save()
    lab_page.reload()
    expect(said).to_have_text("key set, kept in memory only", timeout=SOON)
    expect(field).to_have_value("")
    assert KEY[3:] not in (lab.root / name).read_text("utf-8")

    # with the mouse: forgotten, and another one by leaving the field
    page.get_by_role("button", name="forget", exact=True).click()
    expect(said).to_have_text("no key yet", timeout=SOON)
    field.fill("sk-another")
    press(page, "Measure")
    expect(page.locator(".tp-status")).to_contain_text("Check the key (typed in)", timeout=SOON)
    assert not lab_page.errors, lab_page.errors
