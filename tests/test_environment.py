"""The process as the frameworks need it: what winback sets, and that the operator's own settings win."""

from __future__ import annotations

import os
import subprocess
import sys

import pyarrow as pa
import pytest

OTHERS = [name for name in pa.supported_memory_backends() if name != "system"]
SCRIPT = """
import sys
from flows.runs.environment import prepare
prepare(sys.argv[1])
import os, pyarrow
print(pyarrow.default_memory_pool().backend_name, os.environ["PREFECT_HOME"], os.environ["DO_NOT_TRACK"])
"""


def prepared(folder, **own: str) -> list[str]:
    """Say what a process has after it was prepared."""
    environment = {name: text for name, text in os.environ.items() if name not in ("PREFECT_HOME", "DO_NOT_TRACK")}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.check_output(command, env={**environment, **own}, text=True).split()


def test_arrow_shares_the_heap_and_tools_keep_quiet(tmp_path):
    assert prepared(tmp_path) == ["system", str(tmp_path / "prefect"), "true"]


@pytest.mark.skipif(not OTHERS, reason="Arrow was built with the system's memory alone")
def test_what_the_operator_sets_wins(tmp_path):
    own = {"ARROW_DEFAULT_MEMORY_POOL": OTHERS[0], "MALLOC_ARENA_MAX": "4", "PREFECT_HOME": "elsewhere"}
    assert prepared(tmp_path, **own) == [OTHERS[0], "elsewhere", "true"]
