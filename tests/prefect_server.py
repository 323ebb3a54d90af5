"""One Prefect server for all workers of a test run: it listens from the start, and begins with the first flow.

A server takes more to start than the flows of a small app, and Prefect would start one in every process.
"""

from __future__ import annotations

import atexit
import os
import select
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path
from threading import Thread

from flows.server import ADDRESS

SHARED_HOME, DATABASE = "SHARED_PREFECT_HOME", "prefect.db"


def share_prefect_server() -> None:
    """Name one server to this process and to the workers that it starts; it ends with this process."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    listening = socket.create_server(("127.0.0.1", 0))
    os.environ[SHARED_HOME] = os.environ["PREFECT_HOME"]
    os.environ[ADDRESS] = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    has_ended, at_end = os.pipe()
    serving = Thread(target=_serve_when_asked, args=(listening, has_ended), daemon=True)
    serving.start()

    def end() -> None:
        os.close(at_end)
        serving.join()

    atexit.register(end)  # before Prefect is imported: what it sends at its own end is still taken


def own_server(home: Path | None = None) -> dict[str, str]:
    """Environment of a process that starts a server of its own, in a folder or where that process says."""
    others = {name: value for name, value in os.environ.items() if name not in (ADDRESS, "PREFECT_HOME")}
    return others | ({"PREFECT_HOME": str(home)} if home is not None else {})


def with_tables(home: Path) -> Path:
    """Copy the shared server's database into a folder: a server makes its tables in as long as it takes to start."""
    urllib.request.urlopen(f"{os.environ[ADDRESS]}/health").close()  # it has made them by then
    home.mkdir(parents=True, exist_ok=True)
    there = Path(os.environ[SHARED_HOME], DATABASE)
    with closing(sqlite3.connect(there)) as one, closing(sqlite3.connect(home / DATABASE)) as other:
        one.backup(other)
    return home


def _serve_when_asked(listening: socket.socket, has_ended: int) -> None:
    asked, _, _ = select.select([listening, has_ended], [], [])
    if has_ended in asked:
        return
    host, port = listening.getsockname()
    words = [sys.executable, "-P", "-m", "flows.server", str(listening.fileno())]
    own = os.environ | {"PREFECT_SERVER_API_HOST": host, "PREFECT_SERVER_API_PORT": str(port)}
    with subprocess.Popen(
        words, env=own, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        pass_fds=[listening.fileno()], start_new_session=True,
    ) as process:  # fmt: skip
        select.select([has_ended], [], [])
        process.communicate()
