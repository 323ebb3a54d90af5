"""The process as the frameworks need it: what winback sets, and that the operator's own settings win."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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


SCHEDULE = """
import os, subprocess, sys, time
os.environ["WINBACK_SCHEDULED_BY"] = str(os.getpid())
run = "import time; from flows.runs.environment import end_with_schedule as end; end(); print(1, flush=True)"
with subprocess.Popen([sys.executable, "-c", f"{run}; time.sleep(600)"], stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells a process that its parent has ended")
def test_a_scheduled_run_ends_with_its_schedule_however_that_ends(tmp_path):
    words = [sys.executable, "-c", SCHEDULE]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(Path.cwd())}) as schedule:
        assert schedule.stdout
        run = int(schedule.stdout.readline())
        schedule.kill()
    stat = Path(f"/proc/{run}/stat")
    for _ in range(1000):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    os.kill(run, signal.SIGKILL)
    raise AssertionError("the run outlived its schedule")


@pytest.mark.skipif(not OTHERS, reason="Arrow was built with the system's memory alone")
def test_what_the_operator_sets_wins(tmp_path):
    own = {"ARROW_DEFAULT_MEMORY_POOL": OTHERS[0], "MALLOC_ARENA_MAX": "4", "PREFECT_HOME": "elsewhere"}
    assert prepared(tmp_path, **own) == [OTHERS[0], "elsewhere", "true"]
