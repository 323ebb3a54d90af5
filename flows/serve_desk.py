"""Serve the desk of a data folder: its settings and runs are looked up here, its pages are made in `serving.desk`."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from configs.errors import InputError
from flows.runs.opened_run import open_run
from flows.runs.run_records import run_records
from flows.runs.run_status import run_lines
from serving.desk.audience_post import Receiver
from serving.desk.desk_app import serve
from serving.desk.desk_pages import Desk
from serving.desk.visitors import Door

RUNS = 200  # newest ones that pages tell of


def open_desk(profile: str | None, data_dir: str | None) -> Desk:
    """Open what the pages read: settings, data folder, and what is known of its runs.

    Raises
    ------
    InputError
        The data folder or its profile cannot be used.
    """
    settings, lake, _ = open_run(profile, data_dir, None)

    def lines() -> dict[str, str]:
        _, _, day = open_run(profile, data_dir, None)
        found, _ = run_lines(settings, lake, day, datetime.now(UTC))
        return {name: text for name, text in found.items() if not name.startswith("run ")}

    def newest_runs() -> list[dict[str, Any]]:
        return [asdict(each) for each in reversed(run_records(lake, RUNS))]

    return Desk.of(settings, lake, lines, newest_runs, Receiver.of_environment(os.environ))


def serve_desk(
    profile: str | None, data_dir: str | None, host: str, port: int, user_header: str, operators: tuple[str, ...]
) -> None:
    """Serve the desk until it is stopped.

    Raises
    ------
    InputError
        Other machines may ask and nothing says who does, or the port cannot be used.
    """
    door = Door.of_environment(os.environ, host, user_header, operators)
    desk = open_desk(profile, data_dir)
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise InputError(
            f"{host}:{port} cannot be used ({error.strerror}); stop who listens there, or choose another with --port"
        ) from error
    print(f"http://{host}:{listening.getsockname()[1]}", flush=True)  # noqa: T201 - where to look
    serve(desk, door, listening)
