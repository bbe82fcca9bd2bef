"""The command line, short of starting JupyterLab."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tpwidgets import cli

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
