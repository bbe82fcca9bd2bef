"""When an answer is waited for no longer."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from streams import delta

from tpwidgets.engine import incoming
from tpwidgets.protocols import PROTOCOLS

pytestmark = pytest.mark.quick

S = 1_000_000_000
Say = Callable[..., list[str]]


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Say]:
    """Return what says an event at a second, and then how the answer was broken off, if it was."""

    def listen(protocol: str, items: int = 1) -> Say:
        answer = incoming.Incoming(PROTOCOLS[protocol], 100, timeout_s=10.0, items=items)
        ends: list[str] = []
        exchange: Any = SimpleNamespace(
            sent_ns=0, last_ns=0, headers_ns=1, end=lambda off: ends.append(str(off))
        )

        def say(second: float, event: Any = None) -> list[str]:
            now = int(second * S)
            monkeypatch.setattr(incoming.time, "perf_counter_ns", lambda: now)
            if event is not None:
                answer.reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n", now)
            answer.on_wait(exchange)
            return ends

        return say

    return listen


def choice(index: int, finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": said, "finish_reason": finish}]}


def test_an_answer_is_whole_when_each_choice_has_ended(listening: Callable[..., Say]) -> None:
    say = listening("chat", items=2)
    say(0, choice(0, content="a"))
    say(0, choice(1, content="b"))
    say(1, choice(0, "stop"))
    say(1, choice(0, "stop"))  # said twice, one choice has still ended only once
    assert say(9) == []  # the other one may think for as long as the time limit
    say(9, choice(1, content="b"))
    say(10, choice(1, "stop"))
    assert say(12) == []
    assert say(12.1) == ["the answer was whole and did not end"]


def test_of_several_choices_one_that_hangs_is_waited_for_in_vain(
    listening: Callable[..., Say],
) -> None:
    say = listening("chat", items=2)
    say(0, choice(0, content="a"))
    say(0, choice(0, "stop"))
    assert say(10) == []
    assert say(10.1) == ["no further token within 10 s"]


@pytest.mark.parametrize(
    ("protocol", "event"),
    [
        ("chat", choice(0, "stop", content="a")),
        ("gemini", {"candidates": [
            {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "index": 0}
        ]}),
    ],
)  # fmt: skip
def test_a_reason_to_finish_that_comes_with_a_token_may_not_be_the_last(
    listening: Callable[..., Say], protocol: str, event: Any
) -> None:
    say = listening(protocol)
    for second in (0, 5, 14):
        assert say(second, event) == []
    assert say(24) == []
    assert say(24.1) == ["the answer was whole and did not end"]


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
