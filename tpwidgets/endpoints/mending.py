"""What a server's refusal asks for, and the request that it will take."""

import re
from typing import TYPE_CHECKING, Any

from ..errors import EndpointError

if TYPE_CHECKING:
    from .prepared import Prepared

_FEWEST = 16
"""Some APIs write no less: an answer to a probe may be longer than it need be."""
_BY_NAME = (
    # (a word in the refusal, the field it means, the field to send instead; "" leaves it out)
    ("max_completion_tokens", "max_tokens", "max_completion_tokens"),
    ("stream_options", "stream_options", ""),
)


def merged(body: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return a body with more fields, which win: in objects inside it too."""
    result = {**body, **more}
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(body.get(name), dict):
            result[name] = merged(body[name], value)
    return result


def renamed(body: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return a body with fields under other names; those without one are left out."""
    return {names.get(name, name): value for name, value in body.items() if names.get(name, name)}


class Mender:
    """Mends one request, a refusal at a time.

    What a refusal names is left out or renamed. If it names nothing, what only servers of one's own
    understand is left out on trial: if that is accepted, that was it.
    """

    def __init__(self, prepared: "Prepared") -> None:
        self._prepared = prepared
        self._refused: EndpointError | None = None
        """What was said before the trial that is under way."""
        self._on_trial: list[str] = []

    def mend(self, error: EndpointError) -> bool:
        """Change what is sent, if the refusal or a trial says how; else raise what was refused.

        Raises
        ------
        EndpointError
            What the server said to the request without a trial.
        """
        names, said = self._prepared.renamed, str(error)
        forced = [name for name in self._prepared.forced() if name not in names]
        guilty = [name for name in forced if name in said]
        if guilty:
            self._note(guilty, "")
        elif self._on_trial and self._refused is not None:
            for name in self._on_trial:
                del names[name]  # it wasn't that
            raise self._refused
        else:
            for word, old, new in _BY_NAME:
                if word in said and old not in names:
                    self._note([old], new)
                    return True
            if not forced:
                return False
            self._refused, self._on_trial = error, forced
            names.update(dict.fromkeys(forced, ""))
        return True

    def accepted(self) -> None:
        """Note what a trial has shown."""
        if self._on_trial:
            self._note(self._on_trial, "")
            self._on_trial = []

    def _note(self, fields: list[str], instead: str) -> None:
        self._prepared.renamed.update(dict.fromkeys(fields, instead))
        self._prepared.base.notes.append(
            f"the server refused {' and '.join(fields)}: sent {instead or 'without'}"
        )


def fewest_tokens(said: str, asked: int) -> int | None:
    """Return how many output tokens to ask for, where fewer than a minimum were refused."""
    low = re.search(r"minimum|at least|>=|greater than", said.lower())
    return _FEWEST if asked < _FEWEST and "token" in said.lower() and low else None
