"""What can be mended about a request is, and noted."""

import math
import re

import pytest
from hostile import (
    DONE,
    NOT_FOUND,
    STREAM,
    Api,
    Peer,
    Request,
    answer,
    chunk,
    finish,
    models,
    response,
    said,
    stream,
    token,
    usage,
)
from probing import error, probe, refused

from tpwidgets.endpoints.prepared import Prepared
from tpwidgets.errors import SettingsError
from tpwidgets.workload.prompts import Workload

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1", "/v1/", "/v1/v1", "/v1/chat/completions", "/v1/completions", "/v1/models"],
)
def test_the_path_is_mended_and_that_is_said(path: str) -> None:
    prepared = probe(Api(), path)
    assert prepared.url.endswith("/v1/chat/completions")
    assert prepared.url.count("/v1") == 1
    mended = [note for note in prepared.base.notes if "mended" in note]
    assert bool(mended) == (path not in ("/v1", "/v1/"))


def test_without_a_model_list_a_named_model_is_measured() -> None:
    for nothing in (NOT_FOUND, error("broken", "500 Oops"), said([1, "x"]), said("[" * 9)):
        prepared = probe(Api(models=nothing), model="mine")
        assert prepared.model == "mine"
    assert "name a model" in refused(Api(models=error("broken", "500 Oops")), "http")


def test_the_context_is_that_of_the_model_chosen() -> None:
    rows = {"data": [{"id": "a", "max_model_len": 99}, {"id": "b", "max_model_len": 5000}]}
    assert probe(Api(models=said(rows)), model="b").base.context == 5000


def test_completions_where_there_is_no_chat() -> None:
    for chat in (NOT_FOUND, error("no chat template is defined", "400 Bad Request")):
        api = Api(chat_completions=chat, completions=answer(chat=False))
        prepared = probe(api)
        assert prepared.protocol.name == "completions"
        assert any("completions" in note for note in prepared.base.notes)


class Counting:
    """A server with a template and a tokenizer; refuses what its context can't hold."""

    def __init__(
        self, slope: float = 1.0, offset: int = 0, context: int | None = None,
        complaint: str = "maximum context length is {context} tokens, you asked for {asked}.",
        declared: bool = False,
    ) -> None:  # fmt: skip
        self.slope, self.offset, self.context = slope, offset, context
        self.complaint = complaint
        more = {"max_model_len": context} if declared else {}
        self.api = Api(models=models("tiny", **more), chat_completions=self.chat)

    def count(self, text: str) -> int:
        return self.offset + math.floor(self.slope * len(text.split()) + 0.5)

    def chat(self, request: Request) -> bytes:
        body = request.json
        prompt, output = self.count(body["messages"][0]["content"]), body["max_tokens"]
        if self.context and prompt + output > self.context:
            message = self.complaint.format(
                context=self.context, asked=prompt + output, prompt=prompt, output=output,
                room=self.context - prompt,
            )  # fmt: skip
            return error(message, "400 Bad Request")
        return answer(min(output, 3), prompt=prompt)

    def __call__(self, peer: Peer) -> None:
        self.api(peer)


def counted(server: Counting, prepared: Prepared) -> int:
    """Return what the server counts for the prompts that will be measured."""
    import random

    from tpwidgets.workload.prompts import prompt

    words = prepared.calibration.words(prepared.workload.prompt_tokens)
    return server.count(prompt(words, random.Random(1), instructed=prepared.workload.instructed))


@pytest.mark.parametrize("slope", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("offset", [0, 11, 40])
@pytest.mark.parametrize("asked", [100, 256, 2000])
def test_the_prompt_length_is_hit(slope: float, offset: int, asked: int) -> None:
    server = Counting(slope, offset)
    prepared = probe(server, workload=Workload(asked, 16))
    assert prepared.calibration.counted
    assert counted(server, prepared) == pytest.approx(asked, rel=0.02)
    assert prepared.base.notes == []


def test_a_template_longer_than_the_prompt_is_noted() -> None:
    prepared = probe(Counting(offset=60), workload=Workload(20, 16))
    assert any("template" in note for note in prepared.base.notes)


COMPLAINTS = [
    "This model's maximum context length is {context} tokens. However, you requested {asked}.",
    "context of {context} exceeded: requested {asked} ({prompt} in the messages, {output} more).",
    "request ({asked} tokens) exceeds the available context size ({context} tokens)",
    "'max_completion_tokens' is too large: {output}. This model's maximum context is {context}.",
    "`inputs` tokens + `max_new_tokens` must be <= {context}. Given: {prompt} and {output}",
    "prompt is too long: {asked} tokens > {context} maximum",
    "the prompt is too long",
]


@pytest.mark.parametrize("complaint", COMPLAINTS)
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("asked", [(400, 64), (3000, 64), (100, 5000)])
def test_a_prompt_longer_than_the_context_is_shortened(
    complaint: str, declared: bool, asked: tuple[int, int]
) -> None:
    server = Counting(1.3, 11, 400, complaint, declared)
    prepared = probe(server, workload=Workload(*asked))
    fits = prepared.workload
    total = counted(server, prepared) + fits.output_tokens
    assert total <= 400
    assert total >= 150
    assert fits.prompt_tokens <= asked[0]
    assert fits.output_tokens <= asked[1]
    if asked[0] < 150:  # only the output has to be shorter
        assert fits.prompt_tokens == asked[0]
    [note] = [note for note in prepared.base.notes if "too long" in note]
    assert complaint[:15].split("{")[0] in note  # the server's own words


def test_an_output_that_the_server_would_cut_is_too_long() -> None:
    """As vLLM does: it cuts the output to what fits, and refuses that it be as long as asked."""
    why = "min_tokens must be less than or equal to max_tokens={room}, got {output}."
    server = Counting(2.0, 11, 400, why)
    prepared = probe(server, workload=Workload(350, 64))
    assert "min_tokens" in prepared.body("x", 7)
    # where words are several tokens each, some prompts are longer than others
    left = 400 - counted(server, prepared) - prepared.workload.output_tokens
    assert 3 * 140**0.5 < left < 60


def test_a_context_that_is_declared_and_not_minded_is_noted() -> None:
    prepared = probe(Api(models=models("tiny", max_model_len=100)), workload=Workload(80, 64))
    assert prepared.workload == Workload(80, 64)
    assert any("(100 tokens), and the server takes them" in note for note in prepared.base.notes)


def test_a_prompt_that_fits_is_left_alone_however_many_tokens_a_word_has() -> None:
    server = Counting(2.0, 11, 600)
    prepared = probe(server, workload=Workload(500, 64))
    assert prepared.workload == Workload(500, 64)
    assert prepared.base.notes == []


def test_a_long_answer_is_not_waited_for_while_probing() -> None:
    """A server that would speak for ever on the request that checks the context."""

    def chat(request: Request) -> bytes:
        return answer(3) if request.json["max_tokens"] < 1000 else STREAM + chunk(token())

    prepared = probe(Api(chat_completions=chat), workload=Workload(256, 4000))
    assert prepared.workload.output_tokens == 4000


@pytest.mark.parametrize(
    ("message", "field", "instead"),
    [
        ("Unrecognized request argument supplied: stream_options", "stream_options", None),
        ("Unknown parameter stream_options for this model", "stream_options", None),
        ("Not supported by this model: max_tokens. Use 'max_completion_tokens' instead.",
         "max_tokens", "max_completion_tokens"),
    ],
)  # fmt: skip
def test_a_refused_field_is_mended_and_noted(message: str, field: str, instead: str | None) -> None:
    def chat(request: Request) -> bytes:
        if field in request.json:
            return error(message, "400 Bad Request")
        return answer(3, prompt=len(request.json["messages"][0]["content"].split()))

    prepared = probe(Api(chat_completions=chat))
    body = prepared.body("x", 7)
    assert field not in body
    if instead:
        assert body[instead] == 7
    assert sum(field in note for note in prepared.base.notes) == 1


def test_a_server_that_does_not_know_several_choices_is_noted() -> None:
    notes = probe(Api(), workload=Workload(batch=3)).base.notes
    assert "the server does not mind n: 1 of 3 choices came" in notes


def test_several_items_are_refused_where_the_protocol_has_none() -> None:
    line = response(b'{"message":{"content":"a"},"done":true,"eval_count":1}\n', "x-ndjson")
    api = Api()
    api.routes = {"/api/tags": said({"models": [{"name": "tiny:latest"}]}), "/api/chat": line}
    with pytest.raises(SettingsError, match=r"batch=3: Ollama chat \(protocol='ollama'\)"):
        probe(api, "", Workload(batch=3), protocol="ollama")


def test_a_model_that_thinks_in_secret_first() -> None:
    def chat(request: Request) -> bytes:
        spoken = max(0, request.json["max_tokens"] - 100)
        return answer(spoken, prompt=len(request.json["messages"][0]["content"].split()))

    for output_tokens in (64, 300):
        workload = Workload(256, output_tokens)
        assert probe(Api(chat_completions=chat), workload=workload).calibration.counted


def test_a_model_that_thinks_for_longer_than_a_probe_gets_what_is_asked_for() -> None:
    def chat(request: Request) -> bytes:
        spoken = max(0, request.json["max_tokens"] - 600)
        return answer(spoken, prompt=len(request.json["messages"][0]["content"].split()))

    workload = Workload(256, 700)
    assert probe(Api(chat_completions=chat), workload=workload).workload == workload


def test_a_least_output_length_is_met_and_said() -> None:
    def chat(request: Request) -> bytes:
        if request.json["max_tokens"] < 16:
            sentence = "Invalid 'max_tokens': integer below minimum value. Expected a value >= 16"
            return error(sentence, "400 Bad Request")
        return answer(16, prompt=len(request.json["messages"][0]["content"].split()))

    prepared = probe(Api(chat_completions=chat), workload=Workload(256, 8))
    assert prepared.workload.output_tokens == 16
    assert any("at least 16 output tokens" in note for note in prepared.base.notes)


def test_a_model_that_only_thinks_is_refused() -> None:
    def chat(request: Request) -> bytes:
        spoken = max(0, request.json["max_tokens"] - 5000)
        return answer(spoken, prompt=len(request.json["messages"][0]["content"].split()))

    assert "output_tokens" in refused(Api(chat_completions=chat), "empty_stream")


def test_without_usage_counts_are_estimated_and_that_is_said() -> None:
    silent = stream([token(), token(), finish(), DONE])
    prepared = probe(Api(chat_completions=silent), workload=Workload(100, 8))
    assert not prepared.calibration.counted
    assert prepared.calibration.words(100) == 100
    assert any("no usage" in note for note in prepared.base.notes)


def test_a_server_that_does_not_count_the_prompt() -> None:
    prepared = probe(Api(chat_completions=answer(3, prompt=1)))
    assert any("does not count" in note for note in prepared.base.notes)


@pytest.mark.parametrize("echoes", [True, False])
def test_a_prompt_that_is_repeated_is_no_token(echoes: bool) -> None:
    def chat(request: Request) -> bytes:
        said = request.json["messages"][0]["content"]
        pieces = [said] if echoes else re.findall(r"\S+\s*", said)
        return stream([*map(token, pieces), token(), finish(), usage(len(said.split()), 3), DONE])

    prepared = probe(Api(chat_completions=chat))
    assert any("repeats the prompt" in note for note in prepared.base.notes) is echoes
