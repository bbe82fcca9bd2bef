"""The dashboard's boxes for how a request is made: what they give, and what they must not keep."""

import json
from typing import Any

import ipywidgets as w
import pytest

from tpwidgets.conditions import at_start
from tpwidgets.endpoints import bodies
from tpwidgets.endpoints.endpoint import Endpoint, resolve
from tpwidgets.errors import SettingsError
from tpwidgets.masking import MASK
from tpwidgets.widgets.controls import Controls
from tpwidgets.widgets.texts import as_code
from tpwidgets.workload.prompts import Workload


@pytest.fixture
def controls() -> Controls:
    return Controls("http://127.0.0.1:9/v1", {"headers": {"X-Given": "in code"}})


def box(controls: Controls, css: str) -> Any:
    return next(
        part for part in every(controls) if f"tp-{css}" in getattr(part, "_dom_classes", ())
    )


def every(widget: w.Widget) -> list[w.Widget]:
    return [widget, *(x for child in getattr(widget, "children", ()) for x in every(child))]


def test_as_it_is_nothing_is_set(controls: Controls) -> None:
    endpoint = controls.endpoint()
    assert endpoint.protocol is None
    assert endpoint.headers == {"X-Given": "in code"}
    assert endpoint.extra_body == {}
    assert not {"batch", "shared_prefix_tokens"} & controls.settings().keys()


def test_everything_set(controls: Controls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM", "blue")
    box(controls, "protocol").value = "embeddings"
    box(controls, "batch-slider").value = 32
    box(controls, "shared-prefix").value = 100
    box(controls, "headers").value = "X-Team: ${TEAM}\nX-Trace: on"
    box(controls, "extra-body").value = '{"dimensions": 256}'
    endpoint, settings = controls.endpoint(), controls.settings()
    assert endpoint.protocol == "embeddings"
    assert endpoint.headers == {"X-Given": "in code", "X-Team": "blue", "X-Trace": "on"}
    assert endpoint.extra_body == {"dimensions": 256}
    assert settings["batch"] == 32
    assert settings["shared_prefix_tokens"] == 100


@pytest.mark.parametrize(
    "typed",
    [
        "Authorization: Bearer sk-abcdefghijklmnop1234",
        "X-Api-Key: hunter2",
        "X-Other: sk1234567890abcdefghij",
        "fine: yes\nCookie: session",
    ],
)
def test_a_secret_does_not_stay_in_a_box(controls: Controls, typed: str) -> None:
    headers = box(controls, "headers")
    headers.value = typed
    assert headers.value == ""
    said = controls._hint.value
    assert "looks like a secret" in said
    assert typed.split()[-1] not in said
    assert controls.endpoint().headers == {"X-Given": "in code"}  # an empty box refuses nothing
    headers.value = "X-Team: blue"
    assert controls.endpoint().headers["X-Team"] == "blue"


AZURE = {
    "data_sources": [
        {"parameters": {"authentication": {"type": "api_key", "key": "hunter-2-hunter"}}}
    ]
}


@pytest.mark.parametrize(
    "typed",
    [
        json.dumps(AZURE),
        '{"api_key": "hunter-2-hunter"}',
        '{"user": "sk1234567890abcdefghij"}',
        '{"user": "sk1234567890abcdefghij"',
        '{"password": "hunter2"}',
        '{"proxy": {"api_key": "abc123"}',
    ],
)
def test_a_secret_does_not_stay_in_the_body(controls: Controls, typed: str) -> None:
    body = box(controls, "extra-body")
    body.value = typed
    assert body.value == ""
    assert "looks like a secret" in controls._hint.value
    assert controls.endpoint().extra_body == {}


def test_a_variable_in_the_body(controls: Controls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TP_BODY", "hunter-2-hunter")
    typed = (
        '{"api_key": "$TP_BODY", "tools": [{"$ref": "#/$defs/Tool"}], "thinking_tokens": 12345678}'
    )
    body = box(controls, "extra-body")
    body.value = typed
    assert body.value == typed
    endpoint = controls.endpoint()
    assert endpoint.extra_body["api_key"] == "hunter-2-hunter"
    assert endpoint.extra_body["tools"] == [{"$ref": "#/$defs/Tool"}]
    assert endpoint.mask()("you sent hunter-2-hunter") == f"you sent {MASK}"


def test_a_secret_in_a_given_body_is_sent_and_shown_nowhere() -> None:
    controls = Controls("http://127.0.0.1:9/v1", {"extra_body": {**AZURE, "top_k": 1}})
    assert box(controls, "extra-body").value == '{"top_k": 1}'
    endpoint = controls.endpoint()
    assert endpoint.extra_body == {**AZURE, "top_k": 1}
    shown = at_start(endpoint, Workload.of(8, 8))["extra_body"], as_code(endpoint, {}, None)
    assert all(MASK in str(text) and "hunter" not in str(text) for text in shown)
    assert "hunter" not in repr(endpoint)


def test_short_secrets_are_masked_and_plain_words_are_shown() -> None:
    secret = {"password": "hunter2", "api_key": "abc123", "keys": {"access_token": ["t0k"]}}
    plain = {"auth": "none", "token": "Auto", "stop_token": "</s>", "key": "", "code": 7}
    plain |= {"use_key": True, "secret": None, "tool_choice": "required"}
    found = bodies.masked(secret | plain)
    assert {name: found[name] for name in plain} == plain
    assert (found["password"], found["api_key"]) == (MASK, MASK)
    assert found["keys"] == {"access_token": [MASK]}
    endpoint = Endpoint("http://127.0.0.1:9", extra_body=secret)
    assert endpoint.mask()("no user hunter2") == f"no user {MASK}"


def test_fields_are_added_to_an_endpoints_own() -> None:
    own = Endpoint("http://127.0.0.1:9/v1", headers={"X-Own": "1"}, extra_body={"a": 1, "b": 1})
    controls = Controls(own, {})
    box(controls, "extra-body").value = '{"b": 2, "c": 3}'
    assert controls.endpoint().extra_body == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(SettingsError, match="extra_body must be a dict"):
        resolve(own, extra_body=object())


@pytest.mark.parametrize(
    ("css", "typed", "said"),
    [
        ("headers", "no colon", "Name: value"),
        ("headers", "X-Team: $NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE is not set"),
        ("extra-body", "temperature: 0", "not JSON"),
        ("extra-body", "[1]", "an object"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    controls: Controls, css: str, typed: str, said: str
) -> None:
    box(controls, css).value = typed
    with pytest.raises(SettingsError, match=said):
        controls.endpoint()


def test_a_prefix_as_long_as_the_prompt_is_refused(controls: Controls) -> None:
    box(controls, "shared-prefix").value = 256
    with pytest.raises(SettingsError, match="shared_prefix_tokens"):
        controls.settings()


def test_a_key_is_not_sent_to_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TP_FIRST_API_KEY", "first-secret-0123456789")
    fields = Controls("vllm-llama-70b", {})
    menu = next(part for part in every(box(fields, "key-from")) if isinstance(part, w.Dropdown))
    url = next(part for part in every(fields) if getattr(part, "description", "") == "or URL")

    def key_from() -> str | None:
        key = fields.endpoint().key
        return key.variable if key is not None else None

    menu.value = "TP_FIRST_API_KEY"
    url.value = "http://127.0.0.1:9/v1"  # a simulated endpoint had no use for it
    assert key_from() == "TP_FIRST_API_KEY"
    url.value = "http://127.0.0.1:9/v1/other"  # the same server
    assert key_from() == "TP_FIRST_API_KEY"
    url.value = "http://localhost:8/v1"
    assert key_from() is None
    url.value = "http://127.0.0.1:9/v1"  # back where it belongs
    assert key_from() == "TP_FIRST_API_KEY"


@pytest.mark.parametrize("first", ["vllm-llama-70b", "http://127.0.0.1:9/v1"])
def test_headers_and_body_are_not_sent_to_another_address(first: str) -> None:
    given = {"headers": {"X-Given": "in code"}, "extra_body": {"api_key": "hunter-2-hunter"}}
    fields = Controls(first, given)
    url = next(part for part in every(fields) if getattr(part, "description", "") == "or URL")

    def sent() -> tuple[dict[str, str], dict[str, Any]]:
        endpoint = fields.endpoint()
        return endpoint.headers, endpoint.extra_body

    url.value = "http://127.0.0.1:9/v1/other"
    box(fields, "headers").value = "X-Team: blue"
    box(fields, "extra-body").value = '{"top_k": 1}'
    meant = {"X-Given": "in code", "X-Team": "blue"}, {"api_key": "hunter-2-hunter", "top_k": 1}
    assert sent() == meant
    url.value = "http://localhost:8/v1"
    assert sent() == ({}, {})
    url.value = "http://127.0.0.1:9/v1"  # back where they belong
    assert sent() == meant


def test_the_estimate_knows_what_the_url_speaks() -> None:
    settings = {"concurrency": 8, "prompt_tokens": 100, "output_tokens": 1000}
    streamed = Controls("http://127.0.0.1:9/v1", settings).estimate()
    vectors = Controls("http://127.0.0.1:9/v1/embeddings", settings).estimate()
    assert streamed.startswith("estimate: at least 24 requests, 26.4 k tokens")
    assert vectors.startswith("estimate: about 808 requests, 80.8 k tokens")


def test_an_output_length_is_asked_for_only_where_tokens_come_back(controls: Controls) -> None:
    told: list[str] = []
    controls.changed(lambda _: told.append(controls.estimate()))
    box(controls, "endpoint").children[-1].value = "http://127.0.0.1:9/v1/embeddings"
    assert controls.output.layout.display == "none"
    assert told, "another endpoint is another estimate"
    box(controls, "protocol").value = "chat"
    assert controls.output.layout.display is None
    box(controls, "protocol").value = "embeddings"
    assert controls.output.layout.display == "none"


def test_a_length_in_the_body_is_refused(controls: Controls) -> None:
    box(controls, "extra-body").value = '{"max_tokens": 256}'
    with pytest.raises(SettingsError, match="use output_tokens instead"):
        controls.endpoint()
