"""OpenAI chat completions and completions, as the many servers that speak them do."""

import json
from typing import Any

import pytest
from streams import delta, read

from tpwidgets.protocols import PROTOCOLS, StreamReader

pytestmark = pytest.mark.quick

CHAT = PROTOCOLS["chat"]


def test_only_chunks_with_content_are_tokens() -> None:
    outcome = read(
        delta(role="assistant"),
        delta(role="assistant", content=""),
        delta(role="assistant", content=None),
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0}]},
        delta(content="a"),
        {"choices": [], "usage": None},
        delta(finish="stop"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        b": ping",
        b"event: ping",
        b"data:",
    )
    assert outcome.token_ns == [5]
    assert outcome.events == 10  # an empty one is none
    assert outcome.finish_reason == "stop"
    assert outcome.malformed is None


def test_reasoning_is_a_token_but_no_output() -> None:
    outcome = read(
        delta(reasoning_content="hm"), delta(reasoning="hm"), delta(content="a"), delta(content="b")
    )
    assert outcome.token_ns == [0, 1, 2, 3]
    assert outcome.first_output_ns == 2


def test_a_tool_call_is_output() -> None:
    outcome = read(delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]))
    assert outcome.token_ns == [0]
    assert outcome.first_output_ns == 0


def test_a_reason_that_comes_with_each_token_is_not_yet_the_end() -> None:
    last, other = delta("length", content="a"), delta(content="a")
    assert not read(other, last, end=b"").finished_amid
    assert not read(last, delta("stop"), end=b"").finished_amid
    for events in ([last], [last, last], [other, last, last]):
        assert read(*events, end=b"").finished_amid


def test_the_finish_chunk_may_carry_the_last_token() -> None:
    assert read(delta("stop", content="all")).token_ns == [0]


def test_an_answer_of_several_choices_ends_with_the_last_of_them() -> None:
    def choice(index: int, finish: str | None = None, **said: Any) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": said, "finish_reason": finish}]}

    first = [choice(0, content="a"), choice(1, content="b"), choice(0, "stop")]
    outcome = read(*first)
    assert (outcome.token_ns, outcome.finish_reason) == ([0, 1], "stop")
    outcome = read(*first, choice(1, content="c"), end=b"")
    assert (outcome.token_ns, outcome.finish_reason, outcome.done) == ([0, 1, 3], None, False)
    outcome = read(*first, choice(1, content="c"), choice(1, "length"), end=b"")
    assert outcome.finish_reason == "length"


def test_several_choices_in_one_event_are_several_tokens() -> None:
    both = [{"index": n, "delta": {"content": "ab"}, "finish_reason": None} for n in (0, 1)]
    outcome = read({"choices": both})
    assert (outcome.token_ns, outcome.merged, outcome.chars) == ([0, 0], 1, 4)


@pytest.mark.parametrize(
    "last",
    [
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        {"choices": [{"index": 0, "delta": {}}],
         "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        {"choices": None, "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
    ],
)  # fmt: skip
def test_where_usage_stands_is_the_servers_choice(last: dict[str, Any]) -> None:
    outcome = read(delta(content="a"), delta("stop"), last, last)
    assert (outcome.usage.prompt_tokens, outcome.usage.output_tokens) == (3, 1)
    assert (outcome.token_ns, outcome.finish_reason, outcome.malformed) == ([0], "stop", None)


def test_tokens_of_one_read_are_merged_even_in_several_http_chunks() -> None:
    reader = StreamReader(CHAT)
    event = b"data: " + json.dumps(delta(content="a")).encode() + b"\n\n"
    for stamp in (1, 1, 1, 2, 3):
        reader.feed(event, stamp)
    assert reader.finish(4).merged == 2
    reader = StreamReader(CHAT)
    reader.feed(event * 3, 1)
    assert reader.finish(2).merged == 2


@pytest.mark.parametrize(
    ("usage", "prompt", "output"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, 5, 7),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None, None),
        ({"prompt_tokens": "5", "completion_tokens": 7.5}, None, None),
        ({"prompt_tokens": True, "completion_tokens": -1}, None, None),
        ({"prompt_tokens": 5, "completion_tokens": 10**400}, 5, None),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": [1]}, 5, 7),
        (True, None, None),
        ([1], None, None),
    ],
)
def test_usage_is_counts_or_nothing(usage: Any, prompt: int | None, output: int | None) -> None:
    said = read(delta(content="a"), {"choices": [], "usage": usage}).usage
    assert (said.prompt_tokens, said.output_tokens) == (prompt, output)


def test_continuous_usage_keeps_the_last() -> None:
    chunks = [
        {**delta(content="a"), "usage": {"prompt_tokens": 5, "completion_tokens": n}}
        for n in (1, 2, 3)
    ]
    assert read(*chunks).usage.output_tokens == 3


@pytest.mark.parametrize(
    "event", [{"error": {"message": "no room"}}, {"error": "no room"}, {"error": ["no room"]}]
)
def test_an_error_event_says_what_is_wrong(event: Any) -> None:
    outcome = read(delta(content="a"), event)
    assert outcome.error == "no room"
    assert outcome.token_ns == [0]


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices": [{"delta": {"content": "a"',
        b"data: hello",
        b"data: [1]",
        b"data: 1e999",
        b'data: {"object": "other"}',
        b'data: {"choices": [1]}',
        b'data: {"choices": {"a": 1}}',
        b'data: {"choices": [{"delta": ["a"]}]}',
        b"data: \xff\xfe",
        b"data: " + b"[" * 100_000,
        b"data: " + b'{"a":' * 100_000,
        b"data: " + b"9" * 10_000,
    ],
)
def test_malformed_events_are_said_and_the_rest_is_read(event: bytes) -> None:
    outcome = read(delta(content="a"), event, delta(content="b"))
    assert outcome.malformed
    assert len(outcome.malformed) < 600
    assert outcome.token_ns == [0, 2]


# --- chunks and tokens ----------------------------------------------------------------------------


def usage(output: int, reasoning: int | None = None, **more: Any) -> dict[str, Any]:
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}} if reasoning else {}
    counts = {"prompt_tokens": 9, "completion_tokens": output}
    return {"choices": [], "usage": {**counts, **details, **more}}


@pytest.mark.parametrize("role_first", [False, True])
@pytest.mark.parametrize("per_chunk", range(1, 9))
def test_tpot_is_the_same_however_tokens_are_bundled(per_chunk: int, role_first: bool) -> None:
    # 48 tokens, one each 10 ms; a chunk is sent when its last token is there
    tokens = [f"{n:5}" for n in range(48)]
    reader = StreamReader(CHAT)

    def say(stamp: int, event: dict[str, Any]) -> None:
        reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n", stamp)

    if role_first:
        say(0, delta(role="assistant", content=""))
    for at in range(0, 48, per_chunk):
        bundle = tokens[at : at + per_chunk]
        say(200 + 10 * (at + len(bundle) - 1), delta(content="".join(bundle)))
    say(700, usage(48))
    said = reader.finish(700)
    assert said.token_ns[0] == 200 + 10 * (per_chunk - 1)
    tpot = (said.token_ns[-1] - said.token_ns[0]) / (48 - said.first_chunk_tokens)
    assert tpot == pytest.approx(10)


@pytest.mark.parametrize(
    ("texts", "output", "first"),
    [
        (["a", " bcd efg", " hij klm", " nop qrs"], 13, 1),
        (["ab cd ef", " gh", " ij", " kl"], 10, 5),
        (["ab cd ef gh", "i"], 2, 1),  # chunks are tokens: the lengths of words say nothing
        (["Certainly", "!", " I", " am"], 5, 1),  # the fifth is the one that ends the answer
        (["a" * 50, "b", "c", "d"], 9, 6),  # each later chunk is a token at least
        (["a", "b" * 50, "c" * 50], 9, 1),
        (["ab", "cd"], None, 1),
        (["abcdef"], 6, 1),  # one chunk: nothing came after it
        (["a", "b", "c"], 2, 1),  # fewer tokens than chunks
    ],
)
def test_the_first_chunks_share_of_the_tokens_is_its_share_of_the_text(
    texts: list[str], output: int | None, first: int
) -> None:
    said = read(*(delta(content=text) for text in texts), *([usage(output)] if output else []))
    assert said.first_chunk_tokens == first
    assert (said.first_chars, said.chars) == (len(texts[0]), len("".join(texts)))


def test_a_running_count_is_exact() -> None:
    def counted(text: str, count: int) -> dict[str, Any]:
        return {**delta(content=text), "usage": usage(count)["usage"]}

    assert read(counted("", 0), counted("ab", 3), counted("c", 7)).first_chunk_tokens == 3
    assert read(counted("a", 1), counted("bcd", 4), counted("e", 5)).first_chunk_tokens == 1
    # the same in every chunk is no running count
    assert read(counted("ab", 8), counted("cd", 8), counted("ef", 8)).first_chunk_tokens == 3


def test_reasoning_that_was_not_streamed_came_before_the_first_chunk() -> None:
    a, b, c = (delta(content=text) for text in "abc")
    assert read(a, b, c, usage(103, 100)).first_chunk_tokens == 101
    assert read(a, b, c, usage(112, 100)).first_chunk_tokens == 104
    assert read(a, b, c, usage(100, 100)).first_chunk_tokens == 100
    assert read(a, b, c, usage(3, 94)).first_chunk_tokens == 1  # then it isn't among the three
    thought = delta(reasoning_content="hm")
    assert read(thought, a, b, c, usage(5, 2)).first_chunk_tokens == 1
    reader = StreamReader(CHAT)  # a thought and the first word in one read
    for event in (thought, a, b, usage(4, 2)):
        reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n", 1)
    assert reader.finish(2).first_chunk_tokens == 1


def test_reasoning_counted_beside_the_completion_belongs_to_the_output() -> None:
    a, b = (delta(content=text) for text in "ab")
    said = read(a, b, usage(2, 94, total_tokens=9 + 2 + 94))
    assert (said.usage.output_tokens, said.first_chunk_tokens) == (96, 95)
    assert read(a, b, usage(96, 94, total_tokens=9 + 96)).usage.output_tokens == 96


def test_what_a_model_wrote_is_counted_in_characters() -> None:
    call = {"index": 0, "id": "call_1234", "type": "function"}
    assert (
        read(
            delta(tool_calls=[{**call, "function": {"name": "sum", "arguments": ""}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a": 1'}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": None}}]),
            delta(
                content=[{"type": "text", "text": "four"}, {"type": "thinking", "thinking": [1]}]
            ),
            delta(content=True),
            delta(reasoning="hm"),
        ).chars
        == 3 + 7 + 4 + 2
    )
