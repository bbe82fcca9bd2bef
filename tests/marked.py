"""A key that can be told wherever it turns up."""

import base64
from urllib.parse import quote

import pytest

KEY = "sk-Marked+K3y/0123456789abcdefGHIJ="
TRACES = (
    KEY[:12],
    KEY[-12:],
    KEY[::-1],
    quote(KEY, safe="")[:14],
    base64.b64encode(KEY.encode()).decode()[:16],
)


def assert_no_trace(text: str) -> None:
    for trace in TRACES:
        at = text.find(trace)
        assert at < 0, text[max(0, at - 200) : at + 200]


@pytest.fixture(autouse=True)
def tp_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the key in the variable TP_KEY."""
    monkeypatch.setenv("TP_KEY", KEY)
