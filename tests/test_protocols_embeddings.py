"""Embeddings: an answer in one piece, whose numbers are passed over."""

import json
from typing import Any

import pytest
from fuzz.fuzz_stream import cut
from streams import read

from tpwidgets.protocols import PROTOCOLS, Outcome, StreamReader, whole_body

pytestmark = pytest.mark.quick

EMBEDDINGS = PROTOCOLS["embeddings"]


def answer(items: int = 3, vector: object = (0.25, -1e-5, 3), **usage: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(items)]
    return {"object": "list", "model": "x", "data": data, "usage": usage}


def said(body: Any) -> Outcome:
    return read(body, protocol="embeddings")


@pytest.mark.parametrize("vector", [[0.25, -1e-5, 3], [], "AACAPg==", [[1.5, 2.5], [3.5, 4.5]]])
def test_items_and_tokens_are_counted(vector: Any) -> None:
    outcome = said(answer(3, vector, prompt_tokens=21, total_tokens=21))
    assert (outcome.items, outcome.token_ns, outcome.done) == (3, [], True)
    assert (outcome.usage.prompt_tokens, outcome.usage.output_tokens) == (21, None)
    assert (outcome.malformed, outcome.error, outcome.events) == (None, None, 1)


def test_however_the_body_is_cut_it_is_one_event_with_the_stamp_of_its_last_byte() -> None:
    body = json.dumps(answer(5, prompt_tokens=7)).encode()
    for places in ([], [1], range(0, len(body), 3)):
        parser = EMBEDDINGS.parser()
        reads = cut(body, list(places))
        for stamp, data in enumerate([*reads, b""]):
            assert parser.feed(data, stamp) == []
        assert parser.finish(99) == [(body, len(reads) - 1)]
        assert parser.finish(99) == []
    assert EMBEDDINGS.parser().finish(1) == []


def test_the_numbers_are_passed_over() -> None:
    """None of them is made a Python object: a million a request would cost more than the rest."""
    body = json.dumps(answer(2, [0.5] * 1000)).encode()
    data = EMBEDDINGS.decode(body)["data"]
    assert [type(item).__name__ for item in data] == ["_Item"] * 2
    assert bytes(data[0].embedding)[:6] == b"[0.5, "


def test_a_vector_that_is_no_number_is_one_all_the_same() -> None:
    outcome = said(answer(2, [float("nan"), 1.0], prompt_tokens=3))
    assert (outcome.items, outcome.usage.prompt_tokens, outcome.malformed) == (2, 3, None)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 0}, {"prompt_tokens": "7"}])
def test_no_usage(usage: dict[str, Any]) -> None:
    outcome = said(answer(1, **usage))
    assert (outcome.items, outcome.usage.prompt_tokens, outcome.malformed) == (1, None, None)


def test_an_error_under_http_200() -> None:
    outcome = said({"error": {"message": "no room"}})
    assert (outcome.error, outcome.items, outcome.done) == ("no room", None, False)
    assert said({"data": [], "error": {"message": "no room"}}).error == "no room"


@pytest.mark.parametrize(
    "body",
    [b'{"data": [{"embedding": [0.1, 0.', b"<html>", {"data": []}, {"data": [{"x": 1}]}, {},
     {"data": [1, 2]}, {"data": None}, [1], {"object": "list"}],
)  # fmt: skip
def test_what_holds_no_embeddings_is_malformed(body: Any) -> None:
    outcome = said(body)
    assert (bool(outcome.malformed), outcome.items, outcome.done) == (True, None, False)


def test_a_body_beyond_the_bound_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_body, "MAX_BODY", 1000)
    reader = StreamReader(EMBEDDINGS)
    for stamp in range(10):
        reader.feed(b"x" * 400, stamp)
        assert sum(map(len, reader._parser._parts)) <= 1000
    assert reader.dropped
    assert "too long" in str(reader.finish(11).malformed)
