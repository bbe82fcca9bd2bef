"""A page with the live board and a stub model instead of a kernel."""

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tpwidgets.live import Board
from tpwidgets.metrics.timeline import Timeline

STATIC = Path(__file__).parent.parent / "tpwidgets" / "live"
PAGE = """<!doctype html><html><head><meta charset="utf-8"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/board.css"><style>
body { margin: 16px; background: var(--jp-layout-color0); }
[data-jp-theme-light="true"] { --jp-layout-color0: #fff; --jp-ui-font-color0: rgba(0,0,0,1);
  --jp-border-color2: #e0e0e0; --jp-ui-font-family: system-ui, sans-serif }
[data-jp-theme-light="false"] { --jp-layout-color0: #111; --jp-ui-font-color0: #fff;
  --jp-border-color2: #424242; --jp-ui-font-family: system-ui, sans-serif }
</style></head><body data-jp-theme-light="true"><div id="out"></div><script type="module">
import widget from "/board.js";
const state = await (await fetch("/state.json")).json();
const stub = (state, handlers = {}) => ({
  get: (name) => state[name],
  set(name, value) { state[name] = value; this.emit(`change:${name}`); },
  save_changes() {},
  on(event, handler) { (handlers[event] ??= new Set()).add(handler); },
  off(event, handler) { handlers[event]?.delete(handler); },
  send(message) { window.sent.push(message); },
  emit(event, ...args) { for (const handler of handlers[event] ?? []) handler(...args); },
  listening: () => Object.values(handlers).reduce((n, set) => n + set.size, 0),
});
window.sent = [];
window.model = stub(state);
window.fields = {};  // what stands in the fields of other widgets, by their names
window.fill = (values) => Object.entries(values).forEach(([name, state]) => {
  fields[name] ??= stub({});
  Object.entries(state).forEach(([of, value]) => fields[name].set(of, value));
});
model.widget_manager = { get_model: async (name) => fields[name] };
window.mount = () => widget.render({ model, el: document.getElementById("out") });
window.unmount = window.mount();
</script></body></html>"""
CARD = ".tp-card:not([hidden])"
NUMBERS = count(1000)


class Handler(BaseHTTPRequestHandler):
    """Serves the page, the bundle and the widget's state."""

    def __init__(self, *args: Any, state: dict[str, Any]) -> None:
        self.state = state
        super().__init__(*args)

    def do_GET(self) -> None:
        kind, body = {
            "/": ("text/html", PAGE.encode()),
            "/board.css": ("text/css", (STATIC / "board.css").read_bytes()),
            "/board.js": ("text/javascript", (STATIC / "static" / "board.js").read_bytes()),
            "/state.json": ("application/json", json.dumps(self.state).encode()),
        }[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def show(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open the stub page with a board's state; any foreign request or error fails the test."""
    state: dict[str, Any] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, state=state))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}"
    wrong: list[str] = []
    pages = []

    def open_page(board: Board | None = None, width: int = 1400, **context: Any) -> Any:
        state.clear()
        state.update({k: v for k, v in (board or Board()).get_state().items() if k != "_esm"})
        state.pop("layout", None)
        page = chromium.new_page(viewport={"width": width, "height": 900}, **context)
        pages.append(page)
        page.on(
            "request", lambda r: r.url.startswith((home, "data:", "blob:")) or wrong.append(r.url)
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        # Chromium remarks that we read pixels back; that is the tests' own doing.
        page.on("console", lambda m: "readback" in m.text or wrong.append(m.text))
        page.goto(home)
        page.wait_for_function("document.querySelectorAll('.tp-plot canvas').length === 5")
        settle(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    server.shutdown()
    server.server_close()
    assert wrong == []


def settle(page: Any) -> None:
    """Wait until what was asked for is drawn, however short before something else was."""
    page.evaluate("() => new Promise((r) => requestAnimationFrame(() => setTimeout(r, 360)))")


def everything(rows: list[dict[str, Any]], timeline: Timeline | None = None) -> dict[str, Any]:
    """Return what Python answers a view that knows nothing."""
    board, sent = Board(), []
    board.update(rows, timeline)
    board.send = sent.append
    board._answer(board, {"type": "ready"}, [])
    return sent[0] | {"number": next(NUMBERS)}


def feed(page: Any, rows: list[dict[str, Any]], timeline: Timeline | None = None) -> None:
    tell(page, everything(rows, timeline))


def tell(page: Any, *messages: dict[str, Any]) -> None:
    """Have the view hear what the kernel would have sent."""
    page.evaluate("(all) => all.forEach((one) => model.emit('msg:custom', one))", list(messages))
    settle(page)


def picture(page: Any, chart: str) -> str:
    return page.evaluate(f"document.querySelector('[data-chart={chart}] canvas').toDataURL()")


def tooltip(page: Any, chart: str) -> str:
    """Find the leftmost point of a chart with the mouse, and return what it tells."""
    page.mouse.move(0, 0)
    page.locator("#vg-tooltip-element.visible").wait_for(state="hidden")
    box = page.locator(f"[data-chart={chart}]").bounding_box()
    for y in range(30, int(box["height"]) - 40, 6):
        page.mouse.move(box["x"] + 48 + 12, box["y"] + y)
        if page.locator("#vg-tooltip-element.visible").count():
            return page.locator("#vg-tooltip-element").inner_text()
    raise AssertionError(f"no point in {chart}")
