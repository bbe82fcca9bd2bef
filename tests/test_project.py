"""The promises of the house: light to import, layered, documented, at home on any machine."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tpwidgets

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tpwidgets"

# from the ground up; what isn't listed is a helper, and still must not make a circle
LAYERS = [
    {"errors", "samples", "words", "masking"},
    {"protocols", "metrics", "simulator"},
    {"workload"},
    {"cost"},
    {"plan"},
    {"engine", "charts"},
    {"endpoints", "live"},
    {"run"},
    {"measuring"},
    {"use_cases", "store"},
    {"report", "widgets"},
    {"cli"},
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}

NO_WIDGETS = {"widgets", "live", "ipywidgets", "anywidget", "traitlets", "IPython"}
FORBIDDEN = {
    "metrics": NO_WIDGETS | {"engine"},
    "cost": NO_WIDGETS | {"engine"},
    "workload": NO_WIDGETS | {"engine"},
    "measuring": {"widgets", "live"},
    "use_cases": NO_WIDGETS | {"engine"},
    "protocols": NO_WIDGETS | {"engine"},
    "engine": NO_WIDGETS,
    "widgets": {"engine", "protocols"},
    # what shares the client's code can't find its faults
    "simulator": NO_WIDGETS | {"engine", "protocols", "metrics", "endpoints", "httpx", "httptools"},
}


def imports(path: Path, *, deferred: bool = True) -> Iterator[str]:
    """Yield the modules of ours, and the packages of others, that a file imports at run time.

    Those that only a function imports, as `Run.save` does the store, are `deferred`.
    """
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not deferred:
            continue
        pending.extend(ast.iter_child_nodes(node))
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            names = [".".join((*base, alias.name)) for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first != "tpwidgets":
                yield first
            elif rest and is_module(rest[0]):
                yield rest[0]


def is_module(name: str) -> bool:
    return (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()


def graph(*, deferred: bool) -> dict[str, set[str]]:
    """Return what each module, or package, directly in tpwidgets imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if module != "__init__":
            found.setdefault(module, set()).update(set(imports(path, deferred=deferred)) - {module})
    return found


def test_the_import_reader_sees_every_form() -> None:
    seen = set(imports(PACKAGE / "engine" / "requester.py"))
    assert {"protocols", "samples", "asyncio"} <= seen


@pytest.mark.parametrize("module", sorted(FORBIDDEN))
def test_a_layer_knows_nothing_of_what_it_serves(module: str) -> None:
    assert not graph(deferred=True)[module] & FORBIDDEN[module]


def test_no_arrow_runs_back_up() -> None:
    for module, targets in graph(deferred=False).items():
        for target in targets & RANK.keys():
            assert RANK.get(module, len(LAYERS)) >= RANK[target], f"{module} imports {target}"


def test_no_module_needs_itself() -> None:
    try:
        TopologicalSorter(graph(deferred=False)).prepare()
    except CycleError as error:
        pytest.fail("imports run in a circle: " + " → ".join(reversed(error.args[1])))


def test_importing_is_light() -> None:
    heavy = {"altair", "pandas", "ipywidgets", "anywidget", "httpx", "vl_convert", "asyncio"}
    code = "import tpwidgets, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not heavy & set(loaded)


@pytest.mark.parametrize("name", tpwidgets.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert (getattr(tpwidgets, name).__doc__ or "").strip()
    assert name in dir(tpwidgets)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        _ = tpwidgets.mesure


def test_no_file_names_a_path_of_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    home = re.compile(r"(?<![\w.$}*])/(?:root|work|home/\w+|Users/\w+)/\w")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    found = []
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text("utf-8", errors="replace").split("\n"), 1):
            if home.search(line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert not found
