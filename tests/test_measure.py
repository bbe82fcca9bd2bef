"""A whole measurement: real processes, real sockets, and the server's own log to check it by."""

import gzip
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hostile import (
    END,
    STREAM,
    Api,
    Peer,
    Request,
    Server,
    answer,
    event,
    said,
    stream,
    token,
)

import tpwidgets as tp
from tpwidgets.engine.stamps import KERNEL_STAMPS
from tpwidgets.errors import EndpointError, SettingsError
from tpwidgets.run import Run

# --- against the truth ----------------------------------------------------------------------------


@dataclass
class Logged:
    run: Run
    log: dict[str, dict[str, Any]]
    """The server's record of each request, by its id."""

    def truth_ms(self, request_id: str) -> list[float]:
        """Return when the server wrote each token, in ms since it had read the request."""
        record = self.log[request_id]
        return [(stamp - record["received_ns"]) / 1e6 for stamp in record["tokens_ns"]]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    path = tmp_path_factory.mktemp("log") / "server.jsonl"
    with tp.simulate("vllm-llama-70b", speed=2, log=path) as sim:
        run = tp.measure(
            sim.url, concurrency=(1, 4), requests=8, prompt_tokens=80, output_tokens=24,
            progress=False,
        )  # fmt: skip
    records = map(json.loads, path.read_text().splitlines())
    return Logged(run, {record["request_id"]: record for record in records})


def test_every_request_is_counted_as_the_server_counts_it(logged: Logged) -> None:
    for sample in logged.run.samples:
        record = logged.log[sample.request_id]
        assert sample.status == record["status"] == "ok"
        assert sample.prompt_tokens == record["prompt_tokens"] == 80
        assert sample.output_tokens == record["output_tokens"] == 24
        assert sample.cached_tokens == record["cached_tokens"]
        assert len(sample.token_ms) == len(record["tokens_ns"]) == 24
        assert sample.finish_reason == "length"
        assert sample.token_source == "usage"
    measured = {sample.request_id for sample in logged.run.samples}
    asked = {name for name in logged.log if not name.startswith("sim-")}
    assert measured == asked  # none was dropped, and the probes are not among them


def test_no_token_is_stamped_before_it_was_written(logged: Logged) -> None:
    """The server read the request after we sent it: what we see lasts longer, never shorter."""
    for sample in logged.run.samples:
        truth = logged.truth_ms(sample.request_id)
        slack = 0.05  # between the two clocks
        assert all(seen > wrote - slack for seen, wrote in zip(sample.token_ms, truth, strict=True))
        assert list(sample.token_ms) == sorted(sample.token_ms)
        assert 0 < (sample.headers_ms or 0) <= sample.token_ms[0]
        assert sample.ended_ms >= sample.token_ms[-1]


def test_times_agree_with_the_server(logged: Logged) -> None:
    late, gaps, errors = [], [], []
    for sample in logged.run.samples:
        truth = logged.truth_ms(sample.request_id)
        late.append(sample.token_ms[0] - truth[0])
        for (a, b), (c, d) in zip(pairwise(sample.token_ms), pairwise(truth), strict=True):
            gaps.append(d - c)
            errors.append(abs((b - a) - (d - c)))
    ttft = statistics.median(sample.token_ms[0] for sample in logged.run.samples)
    assert statistics.median(late) < ttft / 4
    if KERNEL_STAMPS:
        assert statistics.median(errors) < statistics.median(gaps) / 10


def test_points_and_rows(logged: Logged) -> None:
    run = logged.run
    assert list(run.points.concurrency) == [1, 4]
    assert (run.points.n >= 8).all()
    assert [window.closed for window in run.windows] == [True, True]
    assert len(run.requests) == len(run.samples)
    assert run.requests.request_id.is_unique
    assert set(run.requests.phase) == {"warmup", "measured", "cooldown"}
    assert (run.points.in_flight_mean > 0).all()
    assert (run.points.in_flight_mean <= run.points.concurrency + 1e-6).all()
    assert run.state == "done"
    assert run.conditions["stamps"] == ("kernel" if KERNEL_STAMPS else "socket")
    assert run.conditions["prompt_counted_by"] == "the server"


def test_connections_are_opened_ahead_and_kept(logged: Logged) -> None:
    opened = [sample for sample in logged.run.samples if not sample.reused_connection]
    assert len(opened) == 4  # no more than the highest level needs
    assert all(sample.connect_ms is None for sample in logged.run.samples if sample not in opened)


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("price", [10.0, [tp.Price.per_hour(1)]])
def test_what_is_no_price_is_refused_before_anything_is_sent(price: Any) -> None:
    for begun in (tp.start, tp.start_sweep):
        with pytest.raises(
            tp.SettingsError, match=r"price must be a Price, such as Price\.per_hour"
        ):
            begun("https://api.example.com/v1", price=price)
    with pytest.raises(tp.SettingsError, match="token_limit"):
        tp.start_sweep("https://api.example.com/v1", token_limit="1000")


def test_a_server_that_refuses_everything_is_an_error() -> None:
    served: list[Request] = []

    def chat(request: Request) -> bytes:
        served.append(request)
        good = "x-request-id" not in request.headers  # the probes
        prompt = len(request.json["messages"][0]["content"].split())
        return answer(3, prompt=prompt) if good else said({"error": "full"}, "503 Full")

    with Server(Api(chat_completions=chat)) as server:
        with pytest.raises(EndpointError, match=r"every request failed: HTTP 503 \(full\)"):
            tp.measure(server.url, concurrency=1, requests=5, progress=False)
        assert len([r for r in served if "x-request-id" in r.headers]) < 20


def test_failures_are_samples_with_their_reason() -> None:
    """One server, every kind of failure in turn, successes in between."""
    turns = iter(range(10_000))
    faults = [
        ("http_error", said({"error": {"message": "oops"}}, "500 Oops"), "oops"),
        ("rate_limited", said({"error": "slow"}, "429 Slow").replace(
            b"\r\n", b"\r\nretry-after-ms: 1\r\n", 1), "slow"),
        ("malformed", stream([token(), event(b"{")]), ""),
        ("malformed", stream([]), "empty stream"),
        ("malformed", said({"choices": []}), "without streaming"),
        ("http_error", stream([token(), event({"error": "in the stream"})]), "in the stream"),
        ("disconnected", stream([token(), token()]), "ended before"),
        ("malformed", STREAM + b"zz", "not HTTP"),
    ]  # fmt: skip

    def chat(request: Request) -> bytes:
        prompt = len(request.json["messages"][0]["content"].split())
        turn = next(turns) if "x-request-id" in request.headers else 0
        return faults[turn // 2 % len(faults)][1] if turn % 2 else answer(3, prompt=prompt)

    with Server(Api(chat_completions=chat)) as server:
        run = tp.measure(server.url, concurrency=1, requests=20, progress=False)
    failed = [sample for sample in run.samples if sample.status != "ok"]
    for sample, (status, _, message) in zip(failed, faults, strict=False):
        assert sample.status == status
        assert message in sample.message
    assert len(failed) >= len(faults)
    assert run.points.n_failed[0] > 0


def test_an_answer_is_whole_once_it_said_done() -> None:
    """Neither a cut nor silence after [DONE] makes a failure of it."""

    def script(peer: Peer) -> None:
        while True:
            request = peer.request()
            if request.method == "GET":
                peer.send(Api().routes["/v1/models"])  # type: ignore[arg-type]
                continue
            prompt = len(request.json["messages"][0]["content"].split())
            whole = answer(3, prompt=prompt)
            if "x-request-id" not in request.headers:
                peer.send(whole)
            else:
                peer.send(whole.removesuffix(END))
                return

    with Server(script) as server:
        run = tp.measure(server.url, concurrency=2, requests=6, progress=False)
    assert {sample.status for sample in run.samples} == {"ok"}


def test_tokens_of_one_read_are_reported_as_merged() -> None:
    def chat(request: Request) -> bytes:
        return answer(8, prompt=len(request.json["messages"][0]["content"].split()))

    with Server(Api(chat_completions=chat)) as server:
        run = tp.measure(server.url, concurrency=1, requests=6, output_tokens=8, progress=False)
    assert run.points.merged_pct[0] > 50


@pytest.fixture(scope="module")
def sim() -> Iterator[Any]:
    with tp.simulate("vllm-llama-70b", speed=20) as running:
        yield running


def test_many_users_at_once(sim: Any) -> None:
    run = tp.measure(
        sim.url, concurrency=64, requests=130, prompt_tokens=48, output_tokens=8, progress=False
    )
    assert run.points.n[0] >= 130
    assert {sample.status for sample in run.samples} == {"ok"}
    assert len({sample.slot for sample in run.samples}) == 64


# --- settings and files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("concurency", "concurrency"), ("promt_tokens", "prompt_tokens"), ("timeout", "timeout_s"),
     ("api_key", "api_key_env")],
)  # fmt: skip
def test_an_unknown_keyword_names_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(TypeError, match=f"{wrong}.*{right}"):
        tp.measure("http://127.0.0.1:9", **{wrong: 1})


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_saved_and_loaded(name: str, logged: Logged, tmp_path: Path) -> None:
    run = logged.run
    path = run.save(tmp_path / name)
    again = tp.load(path)
    assert again.samples == run.samples
    assert again.windows == run.windows
    assert again.conditions == run.conditions
    assert again.state == run.state
    assert again.points.equals(run.points)
    assert run.save(path) == path  # over itself
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"format": "other/1"}', b"\x1f\x8b", b"\xff" * 9,
     gzip.compress(b"{}" * 99, mtime=0)[:-9],
     gzip.compress(b"!?" * 99, mtime=0)[:20] + b"\xff" * 40,
     b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_run_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=r"^path"):
        tp.load(path)


def test_paths_that_do_not_work_are_refused(logged: Logged, tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "x.json", tmp_path):
        with pytest.raises(SettingsError, match=r"^path"):
            logged.run.save(path)
        with pytest.raises(SettingsError, match=r"^path"):
            tp.load(path)
    assert list(tmp_path.iterdir()) == []


# --- several workers ------------------------------------------------------------------------------


def test_users_are_shared_out_and_their_figures_add_up(
    sim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tpwidgets.engine import fleet

    monkeypatch.setattr(fleet, "_USERS_PER_WORKER", 4)
    monkeypatch.setattr(fleet, "usable_cores", lambda: 2)
    measurement = tp.start(
        sim.url, concurrency=(8, 1), requests=16, prompt_tokens=32, output_tokens=8
    )
    run = measurement.wait()
    assert len(measurement._fleet.pids) == 2
    assert run.state == "done"
    assert list(run.points.concurrency) == [8, 1]
    assert (run.points.n >= 16).all()
    assert (run.points.in_flight_mean <= run.points.concurrency + 1e-6).all()
    assert run.points.in_flight_mean[0] > 1
    assert run.requests.request_id.is_unique
    measured = run.requests[run.requests.phase == "measured"]
    assert set(measured[measured.concurrency == 8].slot) == set(range(8))
