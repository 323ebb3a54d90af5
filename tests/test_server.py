"""Prefect's server beside a run: it answers, keeps what ran, and never outlives the run."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prefect_server import own_server, with_tables

from configs.errors import InputError
from flows import server

STAY = """
import os, subprocess, time
from flows.server import start_server
start_server()()
subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "flows.server"], check=True)
print(os.environ["PREFECT_API_URL"], flush=True)
time.sleep(600)
"""
RUN = """
import sys
from flows.server import start_server
wait_for_server = start_server()
from prefect import flow, task
@task
def one() -> int:
    return 1
@flow(name="small")
def small() -> int:
    return one() + one()
wait_for_server()
print(small(), "prefect.server.api.server" in sys.modules)
"""


def test_a_run_uses_the_server_beside_it_which_keeps_what_ran(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()  # whoever uses Prefect may have a folder of this name
    (tmp_path / "flows" / "__init__.py").touch()
    own = own_server(tmp_path)
    command = [sys.executable, "-P", "-c", RUN]
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]  # Prefect would have imported its server to start one
    with sqlite3.connect(tmp_path / "prefect.db") as kept:
        assert kept.execute("SELECT state_type FROM flow_run").fetchall() == [("COMPLETED",)]
        assert kept.execute("SELECT state_type FROM task_run").fetchall() == [("COMPLETED",)] * 2


def test_a_server_ends_when_its_run_is_killed(tmp_path: Path) -> None:
    own = own_server(with_tables(tmp_path))
    with subprocess.Popen([sys.executable, "-c", STAY], env=own, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        pid, address = int(run.stdout.readline()), run.stdout.readline().strip()
        assert urllib.request.urlopen(f"{address}/health").status == 200
        run.send_signal(signal.SIGKILL)
    ends = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < ends:
        time.sleep(0.2)
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_the_operator_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server.ADDRESS, "http://somewhere/api")
    monkeypatch.delitem(sys.modules, "prefect", raising=False)
    monkeypatch.setattr(subprocess, "Popen", None)
    server.start_server()()
    assert os.environ[server.ADDRESS] == "http://somewhere/api"


def test_a_process_that_has_prefect_already_keeps_the_server_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(server.ADDRESS, raising=False)
    monkeypatch.setitem(sys.modules, "prefect", sys)
    server.start_server()()
    assert server.ADDRESS not in os.environ


def test_a_server_that_ends_at_once_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server.ADDRESS, "")
    monkeypatch.delitem(sys.modules, "prefect", raising=False)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    wait_for_server = server.start_server()
    with pytest.raises(server.SilentServerError, match=r"does not answer on http:.*run it again"):
        wait_for_server()


def test_a_port_that_somebody_else_listens_on_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server.ADDRESS, "")
    monkeypatch.delitem(sys.modules, "prefect", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} of this machine cannot be used \(.+\); stop who listens"):
            server.start_server(port=port)
