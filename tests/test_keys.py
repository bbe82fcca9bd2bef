"""A key: where it comes from, that it is sent, and that it is found nowhere else."""

import base64
import copy
import getpass
import io
import json
import logging
import os
import pickle
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import quote

import pytest
from hostile import (
    END,
    PATIENCE_S,
    STREAM,
    Api,
    Peer,
    Request,
    Server,
    answer,
    chunk,
    event,
    models,
    response,
    said,
    stream,
    token,
)
from test_transport import certificate as certificate
from test_transport import tls

import tpwidgets as tp
from tpwidgets import cli
from tpwidgets.discovery import list_models
from tpwidgets.endpoints import resolve
from tpwidgets.errors import EndpointError, SettingsError
from tpwidgets.keys import typed_in
from tpwidgets.masking import MASK, Mask
from tpwidgets.measurement import Measurement
from tpwidgets.widgets.controls import Controls

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
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TP_KEY", KEY)


# --- where from -----------------------------------------------------------------------------------


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


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "masked"),
    [(f"no {KEY}!", f"no {MASK}!"), (f"?key={quote(KEY, safe='')}&x", f"?key={MASK}&x"),
     (f"cut off {KEY[:20]}…", f"cut off {MASK}…"), (f"…{KEY[9:]} is bad", f"…{MASK} is bad"),
     (f"{KEY}{KEY}", MASK * 2), (KEY[:7], KEY[:7]), ("nothing in it", "nothing in it"), ("", "")],
)  # fmt: skip
def test_a_mask(text: str, masked: str) -> None:
    assert Mask([("Authorization", f"Bearer {KEY}")])(text) == masked


@pytest.mark.parametrize("before", ["", "x", "xy", "Bearer "])
@pytest.mark.parametrize("after", ["", ":", "yy", "zzz"])
def test_a_mask_finds_a_key_amid_what_is_packed(before: str, after: str) -> None:
    packed = base64.b64encode(f"{before}{KEY}{after}".encode()).decode()
    shown = Mask([("Authorization", f"Bearer {KEY}")])(f"no {packed}")
    assert shown.startswith("no ")
    assert MASK in shown
    # of what stands around it whole groups may stay, and one at each seam
    assert len(shown.replace(MASK, "")) <= len("no ") + 4 * (len(before + after) // 3 + 2)


def test_a_mask_leaves_alone_what_is_no_secret() -> None:
    mask = Mask([("x-model", "llama-3.3-70b-instruct"), ("anthropic-version", "2023-06-01"),
                 ("x-key", "abc")])  # fmt: skip
    said = "llama-3.3-70b-instruct speaks 2023-06-01, abc"
    assert mask(said) == said


@pytest.mark.parametrize("pair", ["user:hunter2hunter2", "hunter2hunter2:", "hunter2hunter2:x"])
def test_a_password_is_masked_by_itself_too(pair: str) -> None:
    mask = tp.Endpoint(f"http://{pair}@host").mask()
    packed = base64.b64encode(pair.encode()).decode()
    shown = mask(f"{packed} user hunter2hunter2 failed")
    assert "hunter2" not in shown or pair.endswith(":x")
    assert packed not in shown
    assert "user" in shown


@pytest.mark.parametrize(
    "url",
    ["http://user:12/SECRET@host/v1", "http://user:12#SECRET@host", "http://user:12?SECRET@host",
     "http://user:SEC/RET@host", "ftp://user:SECRET@host", "http://user:SECRET@[host"],
)  # fmt: skip
def test_a_password_that_cuts_a_url_short_is_refused_without_an_echo(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^url") as caught:
        tp.Endpoint(url)
    assert "SEC" not in str(caught.value)
    assert "RET" not in str(caught.value)


def test_urls_that_hold_no_password_are_taken() -> None:
    for url in ("http://vllm:8000/v1/@cf/x", "http://localhost:1/a@b", "https://h.com:443/?a=b@c"):
        assert tp.Endpoint(url).headers == {}


# --- everywhere else ------------------------------------------------------------------------------


def quoted(request: Request) -> str:
    """Return what our request's headers and address were, in several writings."""
    key = request.headers["authorization"].removeprefix("Bearer ")
    packed = base64.b64encode(key.encode()).decode()
    return f"{request.target} {request.headers} {quote(key, safe='')} {packed}"


def hold(peer: Peer, _: Request) -> None:
    peer.gone()


def reset(peer: Peer, _: Request) -> None:
    peer.reset()


Fault = Callable[[Request], bytes] | Callable[[Peer, Request], None]

FAULTS: dict[str, Callable[[Request], bytes]] = {
    "401": lambda r: said({"error": {"message": quoted(r)}}, "401 Unauthorized"),
    "403": lambda r: said({"detail": quoted(r)}, "403 Forbidden"),
    "404": lambda r: said({"error": f"no such model for {quoted(r)}"}, "404 Not Found"),
    "429": lambda r: said({"error": quoted(r)}, "429 Slow\r\nretry-after: 0"),
    "500": lambda r: said({"error": {"message": quoted(r)}}, "500 Oops"),
    "text": lambda r: response(quoted(r).encode(), "text/plain", "400 No"),
    "cut amid the key": lambda r: response(
        ("x" * 285 + r.headers["authorization"].removeprefix("Bearer ")).encode(),
        "text/plain",
        "400 No",
    ),
    "event": lambda r: stream([token(), event({"error": {"message": quoted(r)}})]),
    "not json": lambda r: stream([token(), event(quoted(r).encode())]),
    "json alone": lambda r: said({"choices": quoted(r)}),
    "html": lambda r: response(f"<p>{quoted(r)}".encode(), "text/html"),
    "reason": lambda r: stream([
        token(quoted(r)),
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": quoted(r)}]}),
        event(b"[DONE]"),
    ]),
    "bad chunk": lambda r: STREAM + chunk(token()) + b"zz" + quoted(r).encode() + b"\r\n",
    "cut": lambda r: STREAM + chunk(token()),
    "not http": lambda r: quoted(r).encode() + b"\r\n\r\n",
    "nothing": lambda r: STREAM + END,
}  # fmt: skip
DEEDS: dict[str, Callable[[Peer, Request], None]] = {"reset": reset, "silence": hold}


PASSING = {"not json", "reason"}
"""A token came, so these are no reason not to measure."""
ALL = 2 * (len(FAULTS) + len(DEEDS) + 1) + 4
"""Requests after which every fault has been."""


class Quoting:
    """A script: an API that quotes our key in its list, and whose answers are told one by one."""

    def __init__(self, elsewhere: str) -> None:
        self.elsewhere = elsewhere
        self.next: Callable[[Request], str] = lambda _: ""
        """The fault that comes next; "": a good answer."""
        self.seen: list[str] = []

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.request()
            assert KEY in request.headers["authorization"]
            if request.target.startswith("/v1/models"):
                head = f"200 OK\r\nserver: mine for {KEY}"
                row = {"id": "tiny", "owned_by": KEY}
                peer.send(said({"data": [row]}, head))
                continue
            if request.method == "GET":  # which server is it?
                peer.send(said({"detail": quoted(request)}, "404 Not Found"))
                continue
            fault = self.next(request)
            self.seen.append(fault)
            if not fault:
                peer.send(answer(3, prompt=len(request.json["messages"][0]["content"].split())))
            elif fault == "redirect":
                where = f"307 Elsewhere\r\nlocation: {self.elsewhere}/v1/chat/completions"
                peer.send(said({"error": quoted(request)}, where))
            elif fault in DEEDS:
                DEEDS[fault](peer, request)
                return
            else:
                peer.send(FAULTS[fault](request))
                if fault in ("bad chunk", "cut", "not http"):
                    peer.close()
                    return


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """Another host, to which the first one redirects."""
    with Server(Api()) as server:
        yield server
        assert server.requests == []


class Shown:
    """All that was logged, printed and said while it lasted."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd, self._log = capfd, io.StringIO()
        self._texts: list[str] = []
        self._handler = logging.StreamHandler(self._log)
        self._level = logging.getLogger().level

    def __enter__(self) -> "Shown":
        logging.getLogger().addHandler(self._handler)
        logging.getLogger().setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self._handler)
        logging.getLogger().setLevel(self._level)
        self.add(self._log.getvalue(), *self._capfd.readouterr())
        assert_no_trace("\n".join(self._texts))

    def add(self, *texts: str) -> None:
        self._texts += texts

    def error(self, error: BaseException) -> None:
        """Take in an error with all behind it, and what frames held where they can be seen."""
        for locals_too in (False, True):
            self.add(*traceback.TracebackException.from_exception(
                error, capture_locals=locals_too).format())  # fmt: skip
        behind: BaseException | None = error
        while behind is not None:
            self.add(str(behind), repr(behind), repr(behind.__dict__))
            behind = behind.__cause__ or behind.__context__

    def measurement(self, measurement: Measurement, folder: Path) -> tp.Run:
        """Take in all that a measurement shows and writes, whatever became of it."""
        try:
            measurement.wait(PATIENCE_S)
        except tp.TpwidgetsError as error:
            self.error(error)
        run = measurement.run
        self.add(
            repr(measurement), repr(measurement.endpoint), str(measurement.endpoint),
            str(measurement.progress), str(measurement.live), str(measurement.rows),
            repr(run), str(run), run._repr_html_(), run.title, run.conditions_line,
            json.dumps(run.conditions), str(run.samples), str(run.windows), str(run.rows),
            run.requests.to_csv(), run.points.to_csv(), run.save(folder / "run.json").read_text(),
        )  # fmt: skip
        if run.windows:
            self.add(run.answer())
        return run


def no_trace_in_the_processes(measurement: Measurement) -> None:
    for pid in measurement._fleet.pids:
        for place in ("environ", "cmdline"):
            assert_no_trace((Path("/proc") / str(pid) / place).read_bytes().decode())


def test_a_key_is_found_nowhere_after_a_run_with_every_failure(
    elsewhere: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SOMETHING", f"user:{KEY}@host")
    monkeypatch.setenv("OTHER", quote(KEY, safe=""))
    script = Quoting(elsewhere.origin)
    faults = iter([*FAULTS, "redirect", *DEEDS])
    number = 0
    asked, go = threading.Event(), threading.Event()

    def alternate(request: Request) -> str:
        nonlocal number
        if "x-request-id" not in request.headers:
            return ""  # it is probing
        asked.set()
        go.wait(PATIENCE_S)
        number += 1
        return next(faults, "") if number > 3 and number % 2 else ""

    script.next = alternate
    with Server(script) as server, Shown(capfd) as shown:
        measurement = tp.start(
            server.url, concurrency=1, seconds=600, timeout_s=3, prompt_tokens=16,
            output_tokens=3, key=tp.Key.env("TP_KEY"),
        )  # fmt: skip
        assert asked.wait(PATIENCE_S)
        if sys.platform == "linux":
            no_trace_in_the_processes(measurement)
        enough = threading.Event()
        measurement.on_update(lambda m: enough.set() if len(m.run.samples) >= ALL else None)
        go.set()
        assert enough.wait(PATIENCE_S)
        measurement.stop()
        run = shown.measurement(measurement, tmp_path)
    assert {*FAULTS, *DEEDS, "redirect"} <= set(script.seen)
    assert {sample.status for sample in run.samples} >= {
        "ok", "http_error", "rate_limited", "disconnected", "malformed", "timeout"
    }  # fmt: skip
    assert sum(MASK in sample.message for sample in run.samples) >= 6
    assert run.conditions["key_from"] == "environment variable TP_KEY"


@pytest.mark.parametrize("fault", [*sorted(FAULTS.keys() - PASSING), "redirect", "reset"])
def test_a_key_is_found_nowhere_after_a_failure_of_the_first_request(
    fault: str, elsewhere: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = Quoting(elsewhere.origin)
    script.next = lambda request: "" if "x-request-id" in request.headers else fault
    with Server(script) as server, Shown(capfd) as shown:
        key = typed_in(KEY)
        shown.measurement(
            tp.start(server.url, concurrency=1, requests=1, output_tokens=3, key=key), tmp_path
        )
    assert fault in script.seen


def test_a_key_is_found_nowhere_after_a_failure_of_the_list(
    elsewhere: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    moved = f"302 Found\r\nlocation: {elsewhere.origin}/v1/models"
    for status in ("401 No", "403 No", "500 Oops", "429 Slow", moved):

        def refuse(peer: Peer, status: str = status) -> None:
            while True:
                peer.send(said({"error": quoted(peer.request())}, status))

        with Server(refuse) as server, Shown(capfd) as shown:
            try:
                shown.add(str(list_models(tp.Endpoint(server.url, api_key_env="TP_KEY"))))
            except EndpointError as error:
                shown.add(*traceback.format_exception(error))
    with Server(Api(models=models(KEY))) as server, Shown(capfd) as shown:
        shown.add(str(list_models(tp.Endpoint(server.url, api_key_env="TP_KEY"))))


def test_a_key_is_found_nowhere_when_nothing_answers(
    certificate: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Server(Api(), tls=tls(certificate)) as server, Shown(capfd) as shown:
        for url in (server.url, server.url.replace("https", "http")):
            for given in ({"key": typed_in(KEY)}, {"headers": {"x-key": KEY}}):
                shown.measurement(tp.start(url, **given), tmp_path)
    with Shown(capfd) as shown:
        shown.measurement(tp.start(server.url, api_key_env="TP_KEY"), tmp_path)
        shown.measurement(tp.start(server.url, api_key_env="TP_NONE"), tmp_path)


def test_a_worker_that_breaks_down_does_not_say_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong, here a proxy that can't be: its last words are shown."""
    from tpwidgets.engine.process import LocalWorker

    close = LocalWorker.close
    monkeypatch.setattr(LocalWorker, "close", lambda w: f"{close(w)} ValueError: {KEY}")
    monkeypatch.setattr(LocalWorker, "messages", lambda _: iter(()))
    with Server(Api()) as server, Shown(capfd) as shown:
        measurement = tp.start(server.url, key=typed_in(KEY))
        shown.measurement(measurement, tmp_path)
    assert MASK in str(measurement.error)


def test_a_key_in_the_url_is_masked_like_any_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its value comes back in error messages, and httpx logs addresses."""
    value = quote(KEY, safe="")

    def refuse(request: Request) -> bytes:
        return said({"error": f"{request.target} is wrong, and so is {KEY}"}, "400 No")

    with Server(Api(chat_completions=refuse)) as server, Shown(capfd) as shown:
        url = server.url.replace("//", f"//user:{value}@") + f"?api-version=2024-10-21&key={value}"
        shown.measurement(tp.start(url), tmp_path)
        assert server.requests[-1].target.endswith(f"?api-version=2024-10-21&key={value}")
        user = base64.b64encode(f"user:{KEY}".encode()).decode()
        assert server.requests[-1].headers["authorization"] == f"Basic {user}"
