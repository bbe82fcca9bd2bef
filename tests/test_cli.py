"""The command line, short of starting JupyterLab."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from virtual import steady_run

from tpwidgets import cli, use_case
from tpwidgets.cost.price import Price
from tpwidgets.errors import SettingsError
from tpwidgets.measuring import api
from tpwidgets.run import Run

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("given", "ours", "theirs"),
    [
        ("lab", "lab", ""),
        ("lab a.ipynb --no-browser", "lab a.ipynb", "--no-browser"),
        ("lab --no-browser", "lab", "--no-browser"),
        ("lab --port 9000", "lab", "--port 9000"),
        ("lab --no-browser a.ipynb", "lab a.ipynb", "--no-browser"),
        ("lab a.ipynb -- --port=9000", "lab a.ipynb", "--port=9000"),
        ("lab --help", "lab --help", ""),
        ("simulate p --port 9000", "simulate p --port 9000", ""),
    ],
)
def test_jupyters_options_are_passed_on(given: str, ours: str, theirs: str) -> None:
    assert cli.split_jupyter(given.split()) == (ours.split(), theirs.split())


def test_the_clones_own_quickstart_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "notebooks" / "quickstart.ipynb"
    own.parent.mkdir()
    own.write_text("{}")
    assert cli.quickstart().absolute() == own


def test_a_notebook_in_place_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.ipynb").write_text("mine")
    assert cli.quickstart().read_text() == "mine"


def test_a_missing_notebook_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda _: object())
    assert cli.main(["lab", "nowhere.ipynb"]) == 2
    assert "There is no notebook nowhere.ipynb." in capsys.readouterr().err


def test_a_missing_jupyterlab_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    assert cli.main(["lab"]) == 2
    assert 'pip install "tpwidgets[lab]"' in capsys.readouterr().err


def test_doctor_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name in {"jupyterlab", "altair"}:
            raise cli.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(cli, "version", version)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "→ altair is missing" in said
    assert '→ For notebooks: pip install "tpwidgets[lab]"' in said
    assert sys.executable in said


def test_simulate_prints_where_and_how_to_stop_and_stops() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "tpwidgets.cli", "simulate", "vllm-llama-70b", "--speed", "10"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )
    try:
        assert server.stdout is not None
        lines = server.stdout.readline() + server.stdout.readline()
        assert "http://127.0.0.1:" in lines
        assert "Ctrl-C" in lines
    finally:
        server.terminate()
    assert server.wait(10) == 0


def test_simulate_names_the_profiles_it_has(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "tpwidgets.cli", "simulate", "nosuch"]
    assert subprocess.run(command, check=False).returncode == 2
    assert "vllm-llama-70b" in capfd.readouterr().err


# --- measure --------------------------------------------------------------------------------------

URL = "http://127.0.0.1:9"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was asked for; all of it is measured at once, and nothing is sent."""
    settings: list[dict[str, Any]] = []

    def measure(_: str, **given: Any) -> Run:
        settings.append(given)
        lengths = (int(given.get(f"{name}_tokens", 64)) for name in ("prompt", "output"))
        run = steady_run({1: 1.0, 4: 1.2}, *lengths)
        run.price = given.get("price")
        return run

    monkeypatch.setattr(api, "measure", measure)
    return settings


def test_where_nothing_can_be_saved_nothing_is_measured(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    nowhere = tmp_path / "nowhere"
    command = ["measure", URL, "--csv", str(tmp_path / "table.csv")]
    assert cli.main([*command, "--save", str(nowhere / "run.json")]) == 2
    assert cli.main([*command, "--report", str(tmp_path / "taken")]) == 2
    said = capsys.readouterr().err
    assert f"--save: there is no folder {nowhere}; create it, or name another. Nothing was" in said
    assert f"--report: {tmp_path / 'taken'} is a folder; name a file in it." in said
    assert asked == []


def test_an_output_that_fails_leaves_the_others(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fails(*_: Any, **__: Any) -> Path:
        raise SettingsError("no space left.")

    def breaks(*_: Any, **__: Any) -> Path:
        raise KeyError("fonts")

    monkeypatch.setattr(Run, "save", fails)
    monkeypatch.setattr(Run, "report", breaks)
    table = tmp_path / "table.csv"
    command = ["measure", URL, "--save", str(tmp_path / "run.json"), "--csv", str(table)]
    assert cli.main([*command, "--report", str(tmp_path / "page.html")]) == 1
    out, err = capsys.readouterr()
    assert "tpwidgets: --save: no space left." in err
    assert "tpwidgets: --report: KeyError: 'fonts'" in err
    assert f"Wrote {table}" in out.replace("\n", "")
    assert "At 4 concurrent" in out
    assert table.read_text().startswith("concurrency,")


def test_what_was_measured_is_saved_before_it_is_printed(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: Any, **__: Any) -> None:
        raise SystemExit(1)  # as rich does where nobody reads any more

    monkeypatch.setattr("rich.console.Console.print", closed)
    path = tmp_path / "run.json"
    with pytest.raises(SystemExit):
        cli.main(["measure", URL, "--save", str(path)])
    assert path.exists()


@pytest.mark.parametrize(
    ("options", "price"),
    [
        ("", None),
        ("--price-input 0.1", Price.per_token(0.0, 0.1)),
        ("--price-output 10", Price.per_token(10.0)),
        ("--price-output 10 --price-input 2 --price-cached 0.5", Price.per_token(10.0, 2.0, 0.5)),
        ("--price-hour 4.5", Price.per_hour(4.5)),
        ("--price-hour 4.5 --replicas 2 --utilisation 0.5", Price.per_hour(4.5, 2, 0.5)),
        ("--price-hour 4.5 --price-output 10", "--price-hour is of a price by the hour, and"),
        ("--price-input 2 --replicas 2", "--replicas is of a price by the hour"),
        ("--utilisation 0.5", "--utilisation needs --price-hour"),
        ("--price-cached 0.5", "--price-cached needs --price-input"),
        ("--price-hour 4.5 --utilisation 50", "utilisation must be above 0 and at most 1"),
    ],
)
def test_prices_in_a_terminal(
    options: str, price: Price | str | None, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    refused = isinstance(price, str)
    assert cli.main(["measure", URL, *options.split()]) == int(refused)
    if refused:
        assert price in capsys.readouterr().err
    else:
        assert asked[0].get("price") == price


def test_a_use_case_in_a_terminal(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "300")
    reports: list[Any] = []
    monkeypatch.setattr(Run, "report", lambda _, path, use_case: reports.append(use_case) or path)
    case = use_case("prototyping")
    page = ["--report", str(tmp_path / "page.html")]
    assert cli.main(["measure", URL, "--use-case", "prototyping", *page]) == 0
    meant = case.settings() | {"concurrency": (1,)}
    assert {name: asked[-1][name] for name in meant} == meant
    assert reports == [case]
    assert "Prototyping: A single user waits 100 ms " in capsys.readouterr().out

    job = ["measure", URL, "--use-case", "bi-insights"]
    assert cli.main([*job, "--rate", "2", "--requests", "9", "--output-tokens", "8"]) == 0
    said = asked[-1]
    assert (said["rate"], said["requests"], said["output_tokens"]) == ((2.0,), 9, 8)
    assert not {"concurrency", "seconds", "precision"} & said.keys()
    assert cli.main([*job, "--limit", "ttft_p95_ms=500"]) == 0
    assert asked[-1]["limits"] == {"ttft_p95_ms": 500}
    assert cli.main([*job, "--prompt-tokens", "2000,4000"]) == 1
    assert cli.main(["measure", URL, "--use-case", "chatbot"]) == 1
    said = capsys.readouterr().err
    assert "--use-case is of one run" in said
    assert "use case 'chatbot' is not known" in said
