"""Prefect's temporary server, which it starts for the first flow of a process and keeps until that ends."""

from __future__ import annotations

import sys

PATIENCE = 10  # seconds for what is still to be sent


def end_prefect_server() -> None:
    """End the server of this process, if it has one; the next flow starts another."""
    server = sys.modules.get("prefect.server.api.server")
    running = list(server.SubprocessASGIServer._instances.values()) if server is not None else []
    if not running:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=PATIENCE, at_exit=False)
    for each in running:
        each.stop()
