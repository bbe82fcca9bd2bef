"""Finds and starts a headless Chromium: the system's, else the one that Playwright downloaded."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

# quiet (nothing of its own goes out) and able to run as root in a small container
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--font-render-hinting=none",
]


class NoBrowserError(Exception):
    """There is no Chromium on this machine."""


def need(reason: str) -> NoReturn:
    """Skip a test for want of a tool; in CI, where every tool is expected, fail it."""
    import pytest

    if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
        pytest.fail(reason)
    pytest.skip(reason)


def find_chromium() -> str | None:
    """Return the path of the system's Chromium; None says that Playwright's own is to be used.

    Raises
    ------
    NoBrowserError
        When there is neither.
    """
    chosen = os.environ.get("TPWIDGETS_CHROMIUM")
    if chosen:
        return chosen
    for name in NAMES:
        path = shutil.which(name)
        # Ubuntu's chromium-browser is a stub that starts a snap, which can't be driven
        if path and "snap" not in Path(path).resolve().parts:
            return path
    for application in MAC:
        if Path(application).exists():
            return application
    if playwrights_own():
        return None
    raise NoBrowserError("no Chromium: run scripts/setup-browser (make test does)")


def playwrights_own() -> bool:
    """Return whether Playwright's own headless Chromium was downloaded."""
    default = Path.home() / ".cache" / "ms-playwright"
    if os.name != "posix" or os.uname().sysname == "Darwin":
        default = Path.home() / "Library" / "Caches" / "ms-playwright"
    root = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", default))
    return any(root.glob("chromium_headless_shell-*/INSTALLATION_COMPLETE"))


def launch(playwright: "Playwright") -> "Browser":
    """Start a headless Chromium."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)


def main() -> None:
    """Exit with 0 if there is a Chromium and it starts (for scripts/setup-browser)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        print(f"Chromium {browser.version} ({find_chromium() or 'of Playwright'})")
        browser.close()


if __name__ == "__main__":
    main()
