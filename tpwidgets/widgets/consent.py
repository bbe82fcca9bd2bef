"""Whether more than is sent unasked may be sent: asked for once, and again only for more."""

from collections.abc import Callable
from typing import Any

from ..endpoints.endpoint import Endpoint
from ..measuring.politeness import NotConfirmed, Outlook
from ..measuring.sweeping import Sweep, start_sweep
from .question import Question


class Consent:
    """Starts what was agreed to.

    Parameters
    ----------
    question : Question
        Where it is asked.
    given : bool
        Whether all was agreed to in code.
    """

    def __init__(self, question: Question, *, given: bool) -> None:
        self._question, self._given = question, given
        self._agreed: dict[str, Outlook] = {}
        """What may be sent, by the endpoint's URL."""

    def begin(self, endpoint: Endpoint, settings: dict[str, Any]) -> Sweep:
        """Start one run, or several.

        Raises
        ------
        NotConfirmed
            If it has to be asked for: see `ask`.
        TpwidgetsError
            As `start_sweep` does.
        """
        try:
            return start_sweep(endpoint, **settings, confirm=self._given)
        except NotConfirmed as big:
            agreed = self._agreed.get(endpoint.url)
            if agreed is None or not big.sent.within(agreed):
                raise
        return start_sweep(endpoint, **settings, confirm=True)

    def ask(self, url: str, big: NotConfirmed, answer: Callable[[bool], None]) -> None:
        """Ask for it; `answer` is told whether it was a yes, after that was noted."""

        def answered(yes: bool) -> None:
            if yes:
                self._agreed[url] = big.sent
            answer(yes)

        self._question.ask(big.question, "Send", answered)
