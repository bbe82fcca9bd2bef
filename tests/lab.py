"""A real JupyterLab and a page in it, for tests: nothing of the user's is read or written."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Route, WebSocket
from playwright.sync_api import Error as PlaywrightError

# What would make a test depend on time or on the network, or hide an output from it
SETTINGS: dict[str, dict[str, Any]] = {
    "docmanager-extension/plugin": {"autosave": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
}


class LabError(Exception):
    """JupyterLab did not start, or code in the kernel failed."""


@dataclass
class Lab:
    """A JupyterLab server in a folder of its own."""

    folder: Path
    url: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder that JupyterLab shows."""
        return self.folder / "root"

    @property
    def log(self) -> str:
        """What the server has printed."""
        return (self.folder / "lab.log").read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        private = {
            "HOME": "home",
            "IPYTHONDIR": "ipython",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        }
        places = {name: str(self.folder / place) for name, place in private.items()}
        for place in [*places.values(), str(self.root)]:
            Path(place).mkdir(parents=True, exist_ok=True)
        for name, value in SETTINGS.items():
            path = self.folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser"),
            "--ServerApp.allow_root=True",
            f"--ServerApp.root_dir={self.root}",
            "--ServerApp.port=0",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        ]
        with (self.folder / "lab.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.root,
                env={**os.environ, **places, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = self._wait_for_url()
        return self

    def _wait_for_url(self, seconds: float = 60) -> str:
        info = self.folder / "runtime" / f"jpserver-{self._process.pid}.json"
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            try:
                return str(json.loads(info.read_text(encoding="utf-8"))["url"]).rstrip("/")
            except (OSError, ValueError):
                time.sleep(0.05)
        self.__exit__()
        raise LabError(f"JupyterLab did not start:\n{self.log}")

    def __exit__(self, *_: object) -> None:
        # twice: once to shut the kernels down in order, and then whatever is left of the group
        for sign, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            try:
                os.killpg(self._process.pid, sign)
                self._process.wait(patience)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def notebook(self, name: str, *cells: str) -> Path:
        """Write a notebook of code cells; a cell that begins with ``# %% md`` is Markdown."""
        book = {
            "cells": [as_cell(number, source) for number, source in enumerate(cells)],
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(book), encoding="utf-8")
        return path


def as_cell(number: int, source: str) -> dict[str, object]:
    """Return a notebook's cell."""
    head, _, rest = source.partition("\n")
    cell: dict[str, object] = {"id": f"cell-{number}", "metadata": {}}
    if head.strip() == "# %% md":
        return cell | {"cell_type": "markdown", "source": rest}
    return cell | {
        "cell_type": "code",
        "source": source,
        "execution_count": None,
        "outputs": [],
    }


# Every script gets the open notebook's panel and session, and its argument as `arg`
PRELUDE = """
const app = window.jupyterapp, panel = app.shell.currentWidget;
const session = panel && panel.sessionContext, kernel = session && session.session?.kernel;
"""

EXECUTE = """
const future = kernel.requestExecute({code: arg, store_history: false, stop_on_error: false});
const result = {stdout: '', stderr: '', text: '', error: ''};
future.onIOPub = ({header, content}) => {
  if (header.msg_type === 'stream') result[content.name] += content.text;
  if (header.msg_type === 'execute_result') result.text = content.data['text/plain'] ?? '';
  if (header.msg_type === 'error') result.error = content.traceback.join('\\n');
};
await future.done;
return result;
"""


@dataclass
class LabPage:
    """A page with one notebook of a `Lab`, and what to do with it."""

    lab: Lab
    context: BrowserContext
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.route("**/*", self._keep_inside)
        self.context.on("page", self._listen)
        self.page: Page = self.context.new_page()

    def _listen(self, page: Page) -> None:
        page.on("websocket", self._note_websocket)
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        # "leave with unsaved changes?" must not hold a reload up
        page.on("dialog", lambda dialog: dialog.accept())

    def _ours(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme in {"data", "blob", "about"} or (
            parts.netloc == urlsplit(self.lab.url).netloc
        )

    def _keep_inside(self, route: Route) -> None:
        if self._ours(route.request.url):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def _note_websocket(self, socket: WebSocket) -> None:
        if not self._ours(socket.url):
            self.foreign.append(socket.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    # --- the page ---------------------------------------------------------------------------------

    def open(self, notebook: str | Path, *, whole: bool = False) -> Page:
        """Open a notebook alone in its page, or in the `whole` JupyterLab with its side bars."""
        path = Path(notebook)
        name = path.relative_to(self.lab.root) if path.is_absolute() else path
        view = "lab" if whole else "doc"
        url = f"{self.lab.url}/{view}/tree/{quote(name.as_posix())}?token={self.lab.token}"
        self.page.goto(url, wait_until="domcontentloaded")
        self.ready()
        return self.page

    def ready(self, seconds: float = 60) -> None:
        """Wait until the notebook is shown and its kernel has answered."""
        self.page.wait_for_function(
            """() => {
              const session = window.jupyterapp?.shell?.currentWidget?.sessionContext;
              return session?.isReady && !!session.session?.kernel;
            }""",
            timeout=seconds * 1000,
        )
        self.script("await panel.revealed; await kernel.info; await app.restored;")

    def reload(self) -> None:
        """Reload the page, as a person would; what was not saved is dropped."""
        self.page.reload(wait_until="domcontentloaded")
        self.ready()

    def script(self, body: str, arg: object = None) -> Any:
        """Run JavaScript with ``app``, ``panel``, ``session``, ``kernel`` and ``arg`` at hand."""
        return self.page.evaluate(f"async (arg) => {{ {PRELUDE} {body} }}", arg)

    def command(self, name: str, arguments: Mapping[str, object] | None = None) -> None:
        """Run a command of JupyterLab's and wait for it."""
        self.script("await app.commands.execute(arg[0], arg[1]);", [name, dict(arguments or {})])

    def screenshot(self, path: Path) -> Path:
        """Write a picture of the page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, animations="disabled")
        return path

    def theme(self, name: str) -> None:
        """Switch to the ``light`` or the ``dark`` theme."""
        title = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[name]
        self.command("apputils:change-theme", {"theme": title})
        light = "true" if name == "light" else "false"
        self.page.wait_for_function("(l) => document.body.dataset.jpThemeLight === l", arg=light)

    # --- cells ------------------------------------------------------------------------------------

    def run_all(self, *, wait: bool = True, seconds: float = 120) -> None:
        """Run all cells; without `wait`, return once they are queued."""
        self.script("""
          window.testRuns = (window.testRuns ?? 0) + 1;
          app.commands.execute('notebook:run-all-cells').finally(() => { window.testRuns -= 1; });
        """)
        if wait:
            self.idle(seconds)

    def idle(self, seconds: float = 120) -> None:
        """Wait until no cell is waiting or running and the kernel is idle."""
        self.page.wait_for_function(
            """() => {
              const panel = window.jupyterapp.shell.currentWidget;
              const cells = [...panel.content.widgets].filter(c => c.model.type === 'code');
              return !window.testRuns && cells.every(c => c.model.executionState !== 'running')
                && panel.sessionContext.session?.kernel?.status === 'idle';
            }""",
            timeout=seconds * 1000,
        )

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """Return the outputs of a cell, as they would be saved."""
        found: list[dict[str, Any]] = self.script(
            "return panel.content.widgets[arg].model.toJSON().outputs;", cell
        )
        return found

    # --- the kernel -------------------------------------------------------------------------------

    def execute(self, code: str, *, check: bool = True) -> dict[str, str]:
        """Run code in the kernel, beside the notebook.

        Returns
        -------
        dict of str
            ``stdout``, ``stderr``, ``text`` (of the last expression) and ``error``.
        """
        result: dict[str, str] = self.script(EXECUTE, code)
        if check and result["error"]:
            raise LabError(result["error"])
        return result

    def until(self, code: str, expected: Callable[[str], bool], seconds: float = 20) -> str:
        """Evaluate an expression in the kernel until its text is as expected."""
        end = time.monotonic() + seconds
        while not expected(text := self.execute(code)["text"]):
            if time.monotonic() > end:
                raise LabError(f"{code} stayed {text}")
            self.page.wait_for_timeout(100)
        return text

    def interrupt(self) -> None:
        """Interrupt the kernel, as the square button does."""
        self.script("await kernel.interrupt();")

    def restart(self) -> None:
        """Restart the kernel without the question."""
        self.script("await kernel.restart(); await kernel.info;")
        self.ready()

    def shutdown_kernel(self) -> None:
        """Shut the kernel down; the notebook stays open."""
        self.script("await session.shutdown();")

    def shutdown_if_open(self) -> None:
        """Shut the kernel down at a test's end, whatever the test left."""
        with suppress(PlaywrightError):
            self.script("await session?.shutdown();")

    def save(self) -> None:
        """Save the notebook."""
        self.script("await panel.context.save();")
