"""The line with the buttons: measure, stop, how far it is; and below it what the state is."""

from collections.abc import Callable

import ipywidgets as w

from ..run import escape
from .question import Question


class Bar(w.VBox):
    """Two buttons, a bar and what will be sent; a question, while there is one; the state.

    Parameters
    ----------
    pressed, stopped : callable
        Are called when a button is pressed.
    """

    def __init__(self, pressed: Callable[[], None], stopped: Callable[[], None]) -> None:
        button = {"layout": w.Layout(width="auto", min_width="90px")}
        self.measure = w.Button(
            description="Measure", button_style="primary",
            tooltip="Walk the levels and measure each", **button,
        )  # fmt: skip
        self.stop = w.Button(
            description="Stop", disabled=True, tooltip="Stop now and keep what was measured",
            **button,
        )  # fmt: skip
        self.progress = w.FloatProgress(min=0, max=1, layout=w.Layout(width="180px"))
        self.estimate, self.status = w.HTML(), w.HTML()
        self.question = Question()
        for name in ("measure", "stop", "progress", "estimate", "status"):
            getattr(self, name).add_class(f"tp-{name}")
        self.measure.on_click(lambda _: pressed())
        self.stop.on_click(lambda _: stopped())
        row = w.Box([self.measure, self.stop, self.progress, self.estimate])
        row.add_class("tp-row")
        super().__init__([row, self.question, self.status])

    def busy(self, *, busy: bool) -> None:
        """Let what can be pressed be pressed: Measure, or Stop."""
        self.measure.disabled, self.stop.disabled = busy, not busy

    def say(self, state: str, text: str, *, bad: bool = False) -> None:
        """Tell the state, in a word and what more there is to it."""
        css = ' class="tp-bad"' if bad else ""
        words = f"<b>{escape(state)}</b>" + (f": {escape(text)}" if text else "")
        self.status.value = f'<span role="status"{css}>{words}</span>'
