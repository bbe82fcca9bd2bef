"""The answer to a list of texts: a vector for each, in one piece."""

from typing import Any

from .physics import Request
from .wire import Answer

_DIMENSIONS = 256
_VECTOR = [round(0.1 * ((7 * i) % 13 - 6) / 6, 6) for i in range(_DIMENSIONS)]


class Embeddings(Answer):
    """An answer as vLLM writes it at /v1/embeddings.

    Parameters
    ----------
    items : int
        How many texts were sent.
    request_id, model, created
        As in `Answer`.
    """

    def __init__(self, items: int, *, request_id: str, model: str, created: int) -> None:
        super().__init__(chat=False, request_id=request_id, model=model, created=created)
        self._items = items

    def whole(self, request: Request) -> dict[str, Any]:
        """Return the answer; all vectors are the same."""
        data = [
            {"object": "embedding", "index": index, "embedding": _VECTOR}
            for index in range(self._items)
        ]
        usage = {"prompt_tokens": request.prompt_tokens, "total_tokens": request.prompt_tokens}
        return self._base | {"object": "list", "data": data, "usage": usage}
