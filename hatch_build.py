"""Make the live board's JavaScript: our source and vega-embed in one file, without npm or a CDN.

hatchling runs this for wheels, for wheels built from an sdist and for editable installs; by hand
it is ``python hatch_build.py``. vl-convert carries vega, vega-lite and vega-embed within itself,
so nothing is downloaded.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand where hatchling isn't installed
    BuildHookInterface = object  # type: ignore[assignment,misc]

VEGA_LITE = "6.4"
"""The Vega-Lite that Altair 6 writes for (its ``$schema``)."""

LIVE = Path(__file__).parent / "tpwidgets" / "live"
LIMIT = 1_000_000
"""Each dashboard sends the bundle to the browser once; more than this would be felt."""


def build_bundle(live: Path = LIVE) -> Path:
    """Write ``static/board.js`` and its licences, unless they are up to date.

    Returns
    -------
    Path
        The bundle.

    Raises
    ------
    RuntimeError
        If the bundle came out larger than a megabyte.
    """
    source = "".join(
        (live / name).read_text("utf-8") for name in ("course.js", "costs.js", "board.js")
    )
    licences = (live / "LICENSES.txt").read_text("utf-8")
    recipe = f"{VEGA_LITE}\n{version('vl-convert-python')}\n{source}\n{licences}"
    stamp = f"// tpwidgets board {hashlib.sha256(recipe.encode()).hexdigest()[:16]}; LICENSES.txt\n"
    target = live / "static" / "board.js"
    if target.exists() and target.read_text("utf-8").startswith(stamp):
        return target

    import vl_convert  # slow to load, and not needed when nothing changed

    bundle = stamp + vl_convert.javascript_bundle(source, vl_version=VEGA_LITE)
    if len(bundle.encode()) > LIMIT:
        raise RuntimeError(f"board.js has {len(bundle.encode())} bytes; the limit is {LIMIT}")
    target.parent.mkdir(exist_ok=True)
    (target.parent / "LICENSES.txt").write_text(licences, "utf-8")
    target.write_text(bundle, "utf-8")
    return target


class BoardHook(BuildHookInterface):  # type: ignore[type-arg]
    """The hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the bundle, except into an sdist, which carries its source."""
        if self.target_name != "sdist":
            build_bundle()


if __name__ == "__main__":
    path = build_bundle()
    print(f"{path}: {path.stat().st_size:,} bytes")  # noqa: T201
