"""Endpoints probed, and what is said of those that cannot be measured."""

from collections.abc import Callable
from typing import Any

import pytest
from hostile import PATIENCE_S, Peer, Server, said

from tpwidgets.endpoints.endpoint import Endpoint
from tpwidgets.endpoints.prepared import Prepared
from tpwidgets.endpoints.probe import prepare
from tpwidgets.errors import EndpointError
from tpwidgets.workload.prompts import Workload


def probe(
    script: Callable[[Peer], None], path: str = "/v1", workload: Workload | None = None,
    timeout_s: float = PATIENCE_S, **settings: Any,
) -> Prepared:  # fmt: skip
    with Server(script) as server:
        return prepare(
            Endpoint(server.origin + path, **settings), workload or Workload(), timeout_s
        )


def refused(script: Callable[[Peer], None], kind: str, **more: Any) -> str:
    with pytest.raises(EndpointError) as caught:
        probe(script, **more)
    sentence = str(caught.value)
    assert caught.value.kind == kind, sentence
    assert "\n" not in sentence
    assert sentence.endswith(".") or len(sentence) > 20
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return sentence


def error(message: str, status: str) -> bytes:
    return said({"error": {"message": message}}, status)
