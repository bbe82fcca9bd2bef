"""A question in the dashboard, and the two buttons that answer it."""

from collections.abc import Callable

import ipywidgets as w

from ..run import escape


class Question(w.Box):
    """Shown while it is asked: Tab and Enter answer it as well as a click."""

    def __init__(self) -> None:
        fit = {"layout": w.Layout(width="auto", min_width="90px")}
        self._text = w.HTML()
        self._yes = w.Button(description="Send", button_style="warning", **fit)
        self._no = w.Button(description="Cancel", **fit)
        self._answer: Callable[[bool], None] = lambda _: None
        super().__init__([self._text, self._yes, self._no])
        for css, widget in (("yes", self._yes), ("no", self._no), ("question", self)):
            widget.add_class(f"tp-{css}")
        self.add_class("tp-row")
        self._yes.on_click(lambda _: self._end(True))
        self._no.on_click(lambda _: self._end(False))
        self.withdraw()

    def ask(self, text: str, yes: str, answer: Callable[[bool], None]) -> None:
        """Ask, in place of what was asked before; `answer` is told whether it was a yes."""
        self._text.value = f'<span role="alert"><b>{escape(text)}</b></span>'
        self._yes.description = yes
        self._answer = answer
        self.layout.display = None
        self._no.focus()  # Enter, pressed once too often, must not be a yes

    def withdraw(self) -> None:
        """Ask no more."""
        self.layout.display = "none"
        self._text.value = ""
        self._answer = lambda _: None

    def _end(self, said: bool) -> None:
        answer = self._answer
        self.withdraw()
        answer(said)
