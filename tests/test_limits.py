"""This machine's own limits: told by number before a run, and as its own during one."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import PATIENCE_S, Api, Server, answer

import tpwidgets as tp
from tpwidgets.engine import limits
from tpwidgets.errors import SettingsError
from tpwidgets.metrics.points import operating_point
from tpwidgets.samples import Sample, Window

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")


def python(code: str, *args: str, files: tuple[int, int]) -> str:
    """Run code in a process that may open so many files: (soft limit, hard limit)."""
    import resource

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)

    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        preexec_fn=lower, capture_output=True, text=True, timeout=PATIENCE_S * 2, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- before the run -------------------------------------------------------------------------------


@posix
def test_more_users_than_files_are_refused_by_number() -> None:
    said = python(
        """
import tpwidgets as tp
from tpwidgets.engine import fleet
fleet.usable_cores = lambda: 2
for users in (272, 273):
    try:
        measurement = tp.start("http://127.0.0.1:9", concurrency=users)
    except tp.SettingsError as error:
        print(error)
    else:
        measurement.stop()
        print("begun")
""",
        files=(200, 200),
    )
    first, second = said.splitlines()
    assert first == "begun"
    assert second == (
        "concurrency 273 is more than this machine allows: each of the 2 workers may open 200 "
        "files, 64 of which it needs itself. Measure up to 272, or raise the hard limit (ulimit "
        "-Hn, LimitNOFILE=, docker run --ulimit nofile=) and start Python anew."
    )


def test_one_worker_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "open_files", lambda: 100.0)
    limits.check(36, 1)
    with pytest.raises(SettingsError, match=r"the one worker may open 100 files.*up to 36"):
        limits.check(37, 1)


@posix
def test_a_worker_opens_as_many_files_as_it_may() -> None:
    """48 connections under a soft limit of 40, the hard one being higher."""
    with Server(Api(chat_completions=lambda request: answer(3))) as server:
        said = python(
            """
import sys
import tpwidgets as tp
run = tp.measure(sys.argv[1], concurrency=48, requests=48, prompt_tokens=20, output_tokens=3,
                 confirm=True, progress=False)
print({s.status for s in run.samples}, len({s.slot for s in run.samples}))
""",
            server.url,
            files=(40, 400),
        )
    assert said.strip() == "{'ok'} 48"


# --- during the run -------------------------------------------------------------------------------


@posix
def test_a_run_that_runs_out_of_files_tells_it_as_this_machines_limit() -> None:
    """The check before it is blinded, as by files that a worker can't know of."""
    with tp.simulate("vllm-llama-70b", speed=2) as server:
        said = python(
            """
import sys
import tpwidgets as tp
from tpwidgets.engine import fleet, limits
fleet.usable_cores = lambda: 1
limits.OWN_FILES = 0
run = tp.measure(sys.argv[1], concurrency=60, seconds=2.5, prompt_tokens=20, output_tokens=64,
                 confirm=True, progress=False)
point = run.rows[0]
print({s.status for s in run.samples})
print(point["client_limited"], point["error_rate"], point["n_failed"], point["n_client_limit"] > 0)
print(point["note"])
""",
            server.url.replace("127.0.0.1", "localhost"),  # a look-up fails in its own way
            files=(60, 60),
        )
    statuses, counts, note = said.strip().splitlines()
    assert statuses in ("{'ok', 'client_limit'}", "{'client_limit', 'ok'}")
    assert counts == "True 0.0 0 True"
    assert note.startswith("the client was the limit: ")
    assert "could not be sent, the worker may open no more files: raise ulimit -n" in note


@pytest.mark.parametrize(
    ("raised", "before", "said"),
    [
        (OSError(errno.EMFILE, "x"), False, "ulimit -n"),
        (OSError(errno.ENFILE, "x"), False, "system"),
        (OSError(errno.ENOBUFS, "x"), False, "memory"),
        (OSError(errno.EADDRNOTAVAIL, "x"), True, "no local port is left"),
        # this machine has no IPv6, say
        (OSError(errno.EADDRNOTAVAIL, "x"), False, ""),
        (OSError(errno.ECONNREFUSED, "x"), True, ""),
        (ValueError("x"), True, ""),
    ],
)
def test_which_errors_are_this_machines(raised: Exception, before: bool, said: str) -> None:
    wrapped = RuntimeError("what a library makes of it")
    wrapped.__cause__ = raised
    for error in (raised, wrapped):
        found = limits.used_up(error, connected_before=before)
        assert said in found
        assert bool(found) is bool(said)


def test_what_could_not_be_sent_is_no_failure_of_the_server() -> None:
    window = Window(2, 0.0, 10.0, in_flight_mean=2.0)
    well = [
        Sample(f"{i}", 0, 2, sent_s=i, token_ms=[100.0, 200.0], output_tokens=2) for i in range(8)
    ]
    unsent = [
        Sample("u", 1, 2, status="client_limit", message="no file", sent_s=5.0, ended_ms=1.0)
    ] * 3
    point = operating_point([*well, *unsent], window)
    assert (point["n_failed"], point["error_rate"], point["n_client_limit"]) == (0, 0.0, 3)
    assert point["client_limited"]
    assert point["note"] == "the client was the limit: 3 requests could not be sent, no file"
    assert point["billed_output_tokens"] == 16
