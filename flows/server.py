"""The Prefect server: the one that the operator names, or one started in a process beside this one.

Prefect would start one itself, but only when a flow begins, and it would import all of the server into the flow's
process. Ours starts while the flow is still being imported. This module imports nothing of Prefect, so that Prefect
finds the address when it reads its settings.
"""

from __future__ import annotations

import atexit
import gc
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO

from configs.errors import InputError
from features.storage.whole_writes import appended_file

ADDRESS, DATABASE = "PREFECT_API_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"
COMPLAINTS = "server.log"
SCHEDULING = "--scheduling"
STARTS = 100  # tries, with a second between them, where there is a database that may be away
STARTS_WITHIN, ENDS_WITHIN = 600.0, 60.0  # seconds; one that ends before it answers is an error at once


class SilentServerError(InputError):
    """A server did not come up in time."""

    exit_code = 1


def start_server(*, is_scheduling: bool = False, port: int = 0) -> Callable[[], None]:
    """Name a server to Prefect, which is not imported yet; it ends with this process, however that ends.

    Nothing is started where ``PREFECT_API_URL`` names one, or where Prefect has read its settings already.

    Parameters
    ----------
    is_scheduling
        Let the server fire deployments, too: a single run wants none to begin beside it.
    port
        Where it answers on this machine; 0 takes any that is free.

    Returns
    -------
    A function that waits until the server answers; it raises SilentServerError where it does not.

    Raises
    ------
    InputError
        Somebody listens on the port already.
    """
    if os.environ.get(ADDRESS) or "prefect" in sys.modules:
        return lambda: None
    with _listening(port) as listening, _complaints() as complaints:  # from now on; who asks early is answered later
        port = listening.getsockname()[1]
        words = [str(listening.fileno()), *([SCHEDULING] if is_scheduling else [])]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and fixed words
            [sys.executable, "-P", "-m", "flows.server", *words],  # not the flows of the folder that we run in
            env=os.environ | {"PREFECT_SERVER_API_HOST": "127.0.0.1", "PREFECT_SERVER_API_PORT": str(port)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=[listening.fileno()],
            start_new_session=True,  # an interrupt ends the run, and the run ends its server
        )
    atexit.register(_end, process)
    os.environ[ADDRESS] = f"http://127.0.0.1:{port}/api"
    return _wait_for_answer


def _complaints() -> AbstractContextManager[IO[bytes] | None]:
    """Open a file for what the server says of a database that went away, call by call; its client waits and goes on."""
    home = os.environ.get("PREFECT_HOME")
    return appended_file(Path(home, COMPLAINTS)) if home and DATABASE in os.environ else nullcontext()


def page_of() -> str:
    """Address of the server's page."""
    return os.environ[ADDRESS].removesuffix("/api")


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise InputError(
            f"port {port} of this machine cannot be used ({error.strerror}); stop who listens there, another winback "
            "schedule perhaps, or set schedule.port to another, 0 for any"
        ) from error


def _wait_for_answer() -> None:
    address = f"{os.environ[ADDRESS]}/health"
    try:
        urllib.request.urlopen(address, timeout=STARTS_WITHIN).close()  # noqa: S310 - our own loopback address
    except OSError as error:
        raise SilentServerError(
            f"Prefect's server does not answer on {address}: {error}; nothing was done: run it again when this machine "
            f"has less to do, or name a server that runs already in {ADDRESS}"
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=ENDS_WITHIN)
    process.kill()
    process.wait()


def serve(listening: socket.socket, *, is_scheduling: bool) -> None:
    """Be the server on a socket that listens already, until standard input ends.

    Where its database does not answer when it starts, it is started again: who asks meanwhile waits at the socket.
    """
    import uvicorn
    from prefect.server.api.server import create_app

    running: list[uvicorn.Server] = []
    has_ended = threading.Event()

    def end_with_input() -> None:
        sys.stdin.read()
        has_ended.set()
        for server in running:
            server.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    tries = STARTS if DATABASE in os.environ else 1
    while tries and not has_ended.is_set() and not any(server.started for server in running):
        app = create_app(ephemeral=not is_scheduling, final=True, ignore_cache=True)
        running.append(
            uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=5))
        )
        with suppress(SystemExit):  # as uvicorn ends where the server cannot start
            running[-1].run(sockets=[listening])
        tries -= 1
        has_ended.wait(1.0 if tries else 0.0)
    gc.freeze()  # the process ends: its garbage need not be found


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), is_scheduling=SCHEDULING in sys.argv)
