"""What the tests share. Playwright and JupyterLab are imported only by the tests that use them."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import NoBrowserError, find_chromium, launch, need
from certificates import certificate as certificate
from real_model import llama as llama
from walked import ends as ends

if TYPE_CHECKING:
    from lab import Lab, LabPage
    from playwright.sync_api import Browser

# Where one of their assertions fails it says why, as in a test.
pytest.register_assert_rewrite("board_page", "drawn", "exchanges", "probing", "raw_client")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the browser tests last: Playwright leaves a running loop, and asyncio.run refuses one."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a picture of what a failed browser test saw, if TPWIDGETS_SCREENSHOTS names a folder."""
    report = yield
    folder = os.environ.get("TPWIDGETS_SCREENSHOTS")
    page = getattr(item, "funcargs", {}).get("lab_page")
    if folder and page is not None and call.when == "call" and report.failed:
        page.screenshot(Path(folder) / f"{item.name}.png")
    return report


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """A headless Chromium. Without one a test is skipped, and fails in CI."""
    try:
        from playwright.sync_api import sync_playwright

        find_chromium()
    except (ImportError, NoBrowserError) as error:
        need(str(error))
    with sync_playwright() as driver:
        browser = launch(driver)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Lab"]:
    """A JupyterLab server for all the tests."""
    from lab import Lab

    with Lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def lab_page(lab: "Lab", chromium: "Browser") -> Iterator["LabPage"]:
    """A page of its own in JupyterLab; the test fails if it asked any other host for anything."""
    from lab import LabPage

    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = LabPage(lab, context)
    yield page
    page.shutdown_if_open()
    context.close()
    assert not page.foreign, "the page asked other hosts: " + ", ".join(page.foreign)
