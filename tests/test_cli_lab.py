"""``tpwidgets lab``: the URL that it prints leads a browser to the notebook, and only there."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import Lab
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

NOTEBOOK = "a folder/my notebook.ipynb"


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[str]:
    """Run ``tpwidgets lab`` as a new user would; the value is the URL that it printed."""
    log = folder / "lab.log"
    home = folder / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "XDG"))}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tpwidgets.cli", "lab", *arguments],
            cwd=folder,
            env={**kept, "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 60
        while not (urls := re.findall(r"http://127\.0\.0\.1:\S+", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield urls[0]
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def test_the_printed_url_leads_to_the_notebook(tmp_path: Path, chromium: "Browser") -> None:
    Lab(tmp_path).notebook(NOTEBOOK, "# %% md\n# A title of its own", "import sys; sys.executable")
    # a server's own free port, so that one that already runs here is no trouble
    arguments = (f"root/{NOTEBOOK}", "--no-browser", "--ServerApp.port=0")
    with started(tmp_path, *arguments) as url:
        context = chromium.new_context()
        hosts = set()
        context.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page = context.new_page()
        page.goto(url)
        heading = page.get_by_role("heading", name="A title of its own")
        expect(heading).to_be_visible(timeout=60_000)
        expect(page.get_by_role("tab", name="my notebook.ipynb")).to_be_visible()
        # the kernel is this environment's Python
        expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        expect(page.locator(".jp-OutputArea-output").first).to_contain_text(
            str(Path(sys.executable)), timeout=60_000
        )
        # nobody is asked about news, which would come once all is loaded
        page.wait_for_timeout(2_000)
        assert not page.get_by_text("Would you like to").count()
        assert not page.locator(".Toastify__toast").count()
        assert hosts == {url.split("/")[2]}
        context.close()


def test_without_a_notebook_the_packaged_one_is_copied(tmp_path: Path) -> None:
    with started(tmp_path, "--no-browser", "--ServerApp.port=0") as url:
        assert "/lab/tree/quickstart.ipynb?" in url
    assert "tpwidgets" in (tmp_path / "quickstart.ipynb").read_text()
