"""When an answer is waited for no longer."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from streams import delta

from tpwidgets.engine import incoming
from tpwidgets.protocols import PROTOCOLS

pytestmark = pytest.mark.quick

S = 1_000_000_000


def test_while_another_choice_goes_on_an_answer_is_not_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, ends = 0, []
    monkeypatch.setattr(incoming.time, "perf_counter_ns", lambda: now)
    answer = incoming.Incoming(PROTOCOLS["chat"], 100, timeout_s=10.0)
    exchange: Any = SimpleNamespace(sent_ns=0, last_ns=0, headers_ns=1, end=ends.append)

    def say(event: dict[str, Any]) -> None:
        answer.reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n", now)
        answer.on_wait(exchange)

    say(delta(content="a"))
    for second in range(1, 9):  # one choice ends every second, and another goes on
        now = second * S
        say(delta("stop"))
        say(delta(content="b"))
    say(delta("stop"))
    now += 2 * S
    answer.on_wait(exchange)
    assert ends == []
    now += 1
    answer.on_wait(exchange)
    assert [str(end) for end in ends] == ["the answer was whole and did not end"]
