"""A key is found nowhere but where it is sent, whatever goes wrong."""

import base64
import io
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from certificates import tls
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
from marked import KEY, assert_no_trace
from marked import tp_key as tp_key

import tpwidgets as tp
from tpwidgets.endpoints.discovery import list_models
from tpwidgets.endpoints.keys import typed_in
from tpwidgets.errors import EndpointError
from tpwidgets.masking import MASK
from tpwidgets.measuring.measurement import Measurement


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
