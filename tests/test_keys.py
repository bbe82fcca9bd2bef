"""A key: where it comes from, and that it is sent."""

import copy
import getpass
import json
import os
import pickle
import select
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from hostile import PATIENCE_S, Api, Server, said
from marked import KEY, assert_no_trace
from marked import tp_key as tp_key

import tpwidgets as tp
from tpwidgets import cli
from tpwidgets.endpoints.endpoint import resolve
from tpwidgets.endpoints.keys import typed_in
from tpwidgets.errors import EndpointError, SettingsError
from tpwidgets.widgets.controls import Controls
from tpwidgets.widgets.endpoint_fields import EndpointFields


def test_a_key_of_the_environment_is_read_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = tp.Key.env("TP_KEY")
    monkeypatch.setenv("TP_KEY", " later \n")
    assert key.read() == "later"
    for nothing in ("", "  "):
        monkeypatch.setenv("TP_KEY", nothing)
        with pytest.raises(EndpointError, match="TP_KEY is not set") as caught:
            key.read()
        assert caught.value.kind == "missing_key"


def test_a_prompt_asks_once_and_only_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(getpass, "getpass", lambda label: asked.append(label) or KEY)
    key = tp.Key.prompt("OpenAI key")
    assert key.read() == key.read() == KEY
    assert asked == ["OpenAI key: "]


@pytest.mark.parametrize("error", [EOFError, OSError, NotImplementedError])
def test_a_prompt_that_nobody_hears_says_what_to_do(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: str) -> str:
        raise error

    monkeypatch.setattr(getpass, "getpass", nobody)
    with pytest.raises(EndpointError, match="api_key_env"):
        tp.Key.prompt()


def test_a_missing_keyring_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(EndpointError, match=r'pip install "tpwidgets\[keyring\]"'):
        tp.Key.keyring("openai", "me").read()


def test_a_keyring_is_asked_when_the_key_is_needed() -> None:
    keyring = pytest.importorskip("keyring")  # the real package, whose backends may be our own
    held: dict[tuple[str, str], str] = {}

    class Backend(keyring.backend.KeyringBackend):  # type: ignore[misc, name-defined]
        priority = 1
        locked = False

        def get_password(self, service: str, username: str) -> str | None:
            if self.locked:
                raise keyring.errors.KeyringLocked(KEY)
            return held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            held[service, username] = password

    before, backend = keyring.get_keyring(), Backend()
    keyring.set_keyring(backend)
    try:
        key = tp.Key.keyring("open ai", "me")
        with pytest.raises(EndpointError, match="keyring set 'open ai' me"):
            key.read()
        keyring.set_password("open ai", "me", f"{KEY}\n")
        assert key.read() == KEY
        backend.locked = True
        with pytest.raises(EndpointError, match="Unlock") as caught:
            key.read()
        assert_no_trace(str(caught.value))
        keyring.set_keyring(keyring.backends.fail.Keyring())  # as on a machine without any
        with pytest.raises(EndpointError, match="NoKeyringError"):
            key.read()
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize("value", ["", "   ", f"{KEY}\u2713", f"{KEY}\n{KEY}"])
def test_what_can_not_be_a_key_is_not_echoed(value: str) -> None:
    with pytest.raises(EndpointError) as caught:
        typed_in(value)
    assert caught.value.kind == "missing_key"
    assert_no_trace(str(caught.value))


@pytest.mark.parametrize(
    "raw", [KEY, "hf_AbCd3fGhIjKlMnOpQrStUv", "0123456789abcdef0123456789abcdef",
            "c0ffee0123456789c0ffee0123456789"]
)  # fmt: skip
@pytest.mark.parametrize(
    "given",
    [
        lambda raw: tp.Key.env(raw),
        lambda raw: tp.Key.keyring("openai", raw),
        lambda raw: tp.Key.keyring(raw, "me"),
        lambda raw: tp.Key.prompt(raw),
        lambda raw: tp.Endpoint("http://x", key=raw),
        lambda raw: tp.Endpoint("http://x", api_key_env=raw),
        lambda raw: tp.measure("http://x", key=raw),
        lambda raw: Controls("http://x", {"key": raw}),
        lambda raw: Controls("http://x", {"api_key_env": raw}),
    ],
)
def test_a_key_instead_of_its_place_is_refused_without_an_echo(
    given: Callable[[str], object], raw: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda _: pytest.fail("it was shown"))
    with pytest.raises((SettingsError, EndpointError)) as caught:
        given(raw)
    assert raw not in str(caught.value)


def test_a_key_instead_of_an_endpoint_is_not_echoed() -> None:
    with pytest.raises(SettingsError) as caught:
        tp.measure("sk-0123456789abcdefGHIJ")
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://vllmprodcluster01/v1", "http://llama-70b-deployment-7f9c6d8b5c2f4a1b9/v1"]
)
def test_a_host_in_ones_own_network_may_be_called_anything(url: str) -> None:
    assert resolve(url).url == url


JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    "typed",
    [KEY, f"Bearer {KEY}", f"Authorization: Bearer {KEY}", f"htp://{KEY}", f"https://{KEY}/v1",
     JWT, f"https://{JWT}", "a-word-without-a-number", f"http://:{KEY}@host:port",
     "sk-proj-0123456789abcdefGH"],
)  # fmt: skip
def test_a_key_in_the_box_for_urls_does_not_stay_there(
    typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EndpointFields, "_ask_models", lambda _: pytest.fail("it was sent"))
    where = Controls("http://127.0.0.1:9/v1", {}).where
    where.url.value = typed
    assert (where.url.value, where.name) == ("", "http://127.0.0.1:9/v1")
    assert all(typed not in label for label in where.menu._options_labels)
    assert "Key from" in where.hint.value or "url can&#x27;t be read" in where.hint.value
    assert_no_trace(where.hint.value)
    assert typed not in where.hint.value


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("gpu1:8000", "http://gpu1:8000"),
        ("localhost:8000/v1", "http://localhost:8000/v1"),
        ("localhost", "http://localhost"),
        ("gpu-box/v1", "http://gpu-box/v1"),
        ("http://a1b2c3d4e5f6a7b8:8000", "http://a1b2c3d4e5f6a7b8:8000"),
        ("https://j6t8x1abcdefghij.us-east-1.aws.example.com", None),
        ("http://[::1]:8000/v1", None),
        ("http://10.0.0.7/v1", None),
        (" gpt-4-api ", "gpt-4-api"),
    ],
)
def test_what_is_a_url_or_a_simulated_endpoint_is_chosen(
    typed: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EndpointFields, "_ask_models", lambda _: None)
    where = Controls("http://127.0.0.1:9/v1", {}).where
    where.url.value = typed
    assert (where.url.value, where.name) == ("", name or typed)


def test_a_variable_that_is_set_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("project_0123456789abcdef", KEY)
    assert tp.Key.env("project_0123456789abcdef").read() == KEY


def test_one_place_replaces_another() -> None:
    typed, named = typed_in(KEY), tp.Key.env("TP_KEY")
    endpoint = tp.Endpoint("http://x", api_key_env="TP_KEY")
    assert endpoint.key == named
    assert resolve(endpoint).key == named
    assert resolve(endpoint, key=typed).key is typed
    assert resolve(endpoint, key=typed).api_key_env is None
    assert resolve(tp.Endpoint("http://x", key=typed), api_key_env="TP_KEY").key == named
    assert replace(endpoint, model="m").key == named
    with pytest.raises(SettingsError, match="give one of them"):
        tp.Endpoint("http://x", key=typed, api_key_env="TP_KEY")


@pytest.mark.parametrize(
    ("key", "source"),
    [(tp.Key.env("TP_KEY"), "environment variable TP_KEY"),
     (tp.Key.keyring("openai", "me"), "keyring openai/me"), (typed_in(KEY), "typed in")],
    ids=["env", "keyring", "typed"],
)  # fmt: skip
def test_a_key_says_where_from_and_never_what(key: tp.Key, source: str) -> None:
    assert key.source == source
    endpoint = tp.Endpoint("http://x", key=key)
    shown = [repr(key), str(key), f"{key}", repr(endpoint), str(asdict(endpoint)),
             json.dumps(endpoint, default=repr), str(dir(key))]  # fmt: skip
    for copied in (copy.copy(key), copy.deepcopy(key), copy.deepcopy(endpoint).key):
        assert copied == key
        shown.append(repr(copied))
    with pytest.raises((AttributeError, TypeError)):
        key.anything = 1  # type: ignore[attr-defined]
    try:
        shown.append(repr(pickle.dumps(endpoint)))
    except TypeError as error:
        shown.append(str(error))
    assert_no_trace("\n".join(shown))


def test_keys_are_compared_by_where_they_come_from() -> None:
    assert tp.Key.env("A") == tp.Key.env("A") != tp.Key.env("B")
    assert tp.Key.keyring("a", "b") == tp.Key.keyring("a", "b") != tp.Key.keyring("a", "c")
    assert typed_in(KEY) != typed_in(KEY)  # or one could be guessed at


def test_a_typed_key_does_not_go_into_a_file() -> None:
    with pytest.raises(TypeError, match="memory only"):
        pickle.dumps(typed_in(KEY))


@pytest.mark.parametrize(
    "options", [["--api-key-env", "TP_KEY"], ["--key-prompt"]], ids=["env", "prompt"]
)
def test_on_the_command_line(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda _: KEY)
    refused = said({"error": f"no {KEY}"}, "401 No")
    with Server(Api(chat_completions=refused)) as server:
        assert cli.main(["measure", server.url, *options]) == 1
        assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    out, err = capfd.readouterr()
    assert "refused access" in err
    assert_no_trace(out + err)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_what_is_typed_into_a_terminal_is_not_shown_there() -> None:
    ours, theirs = os.openpty()
    refused = said({"error": f"no {KEY}"}, "401 No")
    with Server(Api(chat_completions=refused)) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "tpwidgets.cli", "measure", server.url, "--key-prompt"],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        shown, typed = b"", False
        while True:
            assert select.select([ours], [], [], PATIENCE_S)[0]
            try:
                piece = os.read(ours, 4096)
            except OSError:  # nobody is left at the other end
                break
            shown += piece
            if not typed and b"API key: " in shown:
                os.write(ours, f"{KEY}\n".encode())
                typed = True
            if not piece:
                break
        assert process.wait(PATIENCE_S) == 1
        assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    os.close(ours)
    assert "refused access" in shown.decode()
    assert_no_trace(shown.decode())


def test_a_keyrings_entry_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with Server(Api()) as server:
        assert cli.main(["measure", server.url, "--key-keyring", "team/openai/me"]) == 1
    assert "tpwidgets[keyring]" in capfd.readouterr().err
