"""What can be seen from Linux of the other systems: imports don't need what only Linux has."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.quick

ELSEWHERE = """
import asyncio, os, select, socket, sys
import httptools, httpx, msgspec
sys.platform = "darwin"
for name in [name for name in vars(select) if name.lower().startswith("epoll")]:
    delattr(select, name)
for name in ("sched_getaffinity", "sched_setaffinity"):
    delattr(os, name)
import tpwidgets.engine.worker
from tpwidgets.engine.fleet import usable_cores
from tpwidgets.engine.place import Place, go_first
from tpwidgets.engine.stamps import KERNEL_STAMPS
assert not KERNEL_STAMPS
assert usable_cores() >= 1
Place().look()
"""


def test_the_engine_is_imported_where_there_is_no_epoll() -> None:
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
