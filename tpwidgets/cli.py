"""The command line: ``tpwidgets lab | measure | simulate | doctor``."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from . import __version__
from .cli_measure import add_measure

Command = Callable[[argparse.Namespace], int]

QUICKSTART = "quickstart.ipynb"


class CommandError(Exception):
    """What stops a command, as one sentence that says what to do."""


# --- lab ------------------------------------------------------------------------------------------


def add_lab(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare ``tpwidgets lab``."""
    parser = commands.add_parser(
        "lab",
        help="open JupyterLab on a notebook (the quickstart, if none is named)",
        usage="tpwidgets lab [-h] [NOTEBOOK] [JUPYTER OPTION ...]",
        epilog="Options that follow are JupyterLab's own, such as --no-browser or --port=9000.",
    )
    parser.add_argument("notebook", nargs="?", metavar="NOTEBOOK", type=Path)
    parser.set_defaults(run=lab, jupyter=[])


def lab(args: argparse.Namespace) -> int:
    """Open JupyterLab on exactly one notebook, with the kernel of this environment."""
    if find_spec("jupyterlab") is None:
        raise CommandError('JupyterLab is not installed: pip install "tpwidgets[lab]"')
    notebook = (args.notebook or quickstart()).absolute()
    if not notebook.is_file():
        raise CommandError(f"There is no notebook {args.notebook}.")
    here = Path.cwd()
    root = here if notebook.is_relative_to(here) else notebook.parent
    path = notebook.relative_to(root).as_posix()
    options = [
        f"--ServerApp.root_dir={root}",
        # not a file argument: with one, the printed URL would lead to an empty launcher
        f"--LabApp.default_url=/lab/tree/{quote(path)}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        print("Running as root (as in a container): JupyterLab is started with --allow-root.")
        options.append("--allow-root")
    print(f"Opening {path} in JupyterLab. Stop it here with Ctrl-C.")
    # -P: the folder may hold a random.py
    become([sys.executable, "-P", "-m", "jupyterlab", *options, *args.jupyter], lab_environment())


def quickstart() -> Path:
    """Return the quickstart notebook: the clone's own, or a copy of the packaged one."""
    in_clone = Path("notebooks") / QUICKSTART
    copy = Path(QUICKSTART)
    if in_clone.is_file():
        return in_clone
    if not copy.exists():
        package = Path(__file__).parent
        # in an editable installation it is still where the clone has it
        for source in (package / "notebooks" / QUICKSTART, package.parent / in_clone):
            if source.is_file():
                shutil.copyfile(source, copy)
                break
        else:
            raise CommandError(
                "This installation holds no quickstart notebook; name one: tpwidgets lab NOTEBOOK"
            )
        print(f"Copied the quickstart notebook to ./{copy}")
    return copy


def lab_environment() -> dict[str, str]:
    """Return an environment in which "Python 3" is this Python, and nobody is asked about news."""
    environment = dict(os.environ)
    share = Path(sys.prefix) / "share" / "jupyter"
    if (share / "kernels" / "python3").is_dir():
        put_first(environment, "JUPYTER_PATH", share)  # before the kernels of the user's home
    # defaults, for this run: what the user has chosen stays chosen
    put_first(environment, "JUPYTER_CONFIG_PATH", Path(__file__).parent / "jupyter_config")
    return environment


def put_first(environment: dict[str, str], name: str, path: Path) -> None:
    """Put a folder before the others of a search path."""
    environment[name] = os.pathsep.join(filter(None, [str(path), environment.get(name)]))


def become(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Become another program, so that signals reach it directly."""
    sys.stdout.flush()
    if os.name == "posix":
        os.execve(command[0], command, environment)  # noqa: S606
    # Windows has no exec that keeps the console
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603


# --- simulate -------------------------------------------------------------------------------------


def add_simulate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare ``tpwidgets simulate``."""
    parser = commands.add_parser("simulate", help="serve a simulated endpoint on this machine")
    parser.add_argument("profile", metavar="PROFILE", help="such as vllm-llama-70b or gpt-4-api")
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    parser.set_defaults(run=simulate)


def simulate(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or until this process is ended."""
    options = ["--port", str(args.port), "--speed", str(args.speed), "--seed", str(args.seed)]
    options.append("--exit-with-parent")  # no orphan, whatever ends this process
    server = subprocess.Popen(  # noqa: S603
        # -P: the folder may hold a random.py
        [sys.executable, "-P", "-m", "tpwidgets.simulator", args.profile, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    assert server.stdout is not None  # noqa: S101
    line = server.stdout.readline()
    if line:
        print(f"{args.profile}, simulated, answers at {json.loads(line)['url']}", flush=True)
        print("Stop it with Ctrl-C.", flush=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return server.wait()  # the terminal's Ctrl-C reached it too


# --- doctor ---------------------------------------------------------------------------------------

# distribution → what goes without it; "" marks what tpwidgets itself depends on
PACKAGES = {
    "ipywidgets": "",
    "anywidget": "",
    "altair": "",
    "vl-convert-python": "",
    "pandas": "",
    "httpx": "",
    "httptools": "",
    "msgspec": "",
    "ipykernel": "no notebook kernel",
    "jupyterlab": "no `tpwidgets lab`",
}

LABEXTENSIONS = {
    "@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets",
    "anywidget": "anywidget",
}


def add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare ``tpwidgets doctor``."""
    parser = commands.add_parser("doctor", help="say what this installation has and lacks")
    parser.set_defaults(run=doctor)


def doctor(_: argparse.Namespace) -> int:
    """Print what this installation has; fail if something that tpwidgets needs is missing."""
    rows = [
        ("Python", sys.version.split()[0], ""),
        ("", sys.executable, ""),
        ("tpwidgets", __version__, ""),
    ]
    broken: list[str] = []
    advice: list[str] = []
    for name, lost in PACKAGES.items():
        try:
            rows.append((name, version(name), ""))
        except PackageNotFoundError:
            rows.append((name, "missing", lost))
            if not lost:
                broken.append(f'{name} is missing: pip install --upgrade "tpwidgets[lab]"')
    if not has("ipykernel") or not has("jupyterlab"):
        advice.append('For notebooks: pip install "tpwidgets[lab]"')

    bundle = Path(__file__).parent / "live" / "static" / "board.js"
    if bundle.is_file():
        rows.append(("live board", "present", ""))
    else:
        rows.append(("live board", "missing", "no live charts"))
        broken.append(
            "The live board was not built: install tpwidgets with pip, or in a clone run "
            "`python hatch_build.py`"
        )
    for extension, package in LABEXTENSIONS.items() if has("jupyterlab") else ():
        seen = labextension(extension)
        rows.append((f"labextension {extension}", seen or "not visible", ""))
        if seen is None:
            advice.append(
                f"JupyterLab does not see {extension}: install {package} in the environment that "
                "JupyterLab is started from"
            )
    if sys.platform == "linux":
        rows.append(("kernel timestamps", "available", ""))
    else:
        rows.append(("kernel timestamps", "Linux only", "tokens are stamped in the event loop"))

    width = max(len(name) for name, _, _ in rows)
    for name, value, note in rows:
        print(f"{name:{width}}  {value}" + (f"  ({note})" if note else ""))
    for line in broken + advice:
        print(f"→ {line}")
    if not broken and not advice:
        print("Everything is in place.")
    return 1 if broken else 0


def has(distribution: str) -> bool:
    """Return whether the distribution is installed."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def labextension(name: str) -> str | None:
    """Return the version of a JupyterLab extension that a server started here would load."""
    from jupyter_core.paths import jupyter_path  # part of JupyterLab

    for folder in jupyter_path("labextensions"):
        package = Path(folder) / name / "package.json"
        if package.is_file():
            return str(json.loads(package.read_text(encoding="utf-8")).get("version", "present"))
    return None


# --- all ------------------------------------------------------------------------------------------


def split_jupyter(argv: list[str]) -> tuple[list[str], list[str]]:
    """Split off JupyterLab's own options, which argparse can't know, from ``lab``'s arguments."""
    if argv[:1] != ["lab"]:
        return argv, []
    ours, theirs = ["lab"], argv[1:]
    if theirs and (not theirs[0].startswith("-") or theirs[0] in {"-h", "--help"}):
        ours.append(theirs.pop(0))
    elif (named := [item for item in theirs if is_notebook(item)]) and len(named) == 1:
        theirs.remove(named[0])
        ours.append(named[0])
    return ours, [item for item in theirs if item != "--"]


def is_notebook(argument: str) -> bool:
    """Return whether an argument is a notebook's name rather than an option."""
    return argument.endswith(".ipynb") and not argument.startswith("-")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    result = argparse.ArgumentParser(
        prog="tpwidgets", description="Measure, show and explain the throughput of LLM endpoints."
    )
    result.add_argument("--version", action="version", version=f"tpwidgets {__version__}")
    commands = result.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_lab, add_measure, add_simulate, add_doctor):
        add(commands)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the value is the exit status."""
    ours, theirs = split_jupyter(list(sys.argv[1:] if argv is None else argv))
    args = parser().parse_args(ours)
    args.jupyter = theirs
    try:
        run: Command = args.run
        return run(args)
    except CommandError as error:
        print(f"tpwidgets: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
