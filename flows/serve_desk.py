"""Starts the desk of a data folder; the pages themselves are made in `serving.desk`."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from configs.errors import InputError
from configs.settings import Settings
from features.storage.lake import Lake
from flows.runs.opened_run import open_run
from flows.runs.run_records import RUNNING, run_records
from flows.runs.run_status import SCHEDULE, lock_owner, next_moments, store_lines
from serving.desk.audience_post import Receiver
from serving.desk.desk_app import serve
from serving.desk.desk_pages import Desk
from serving.desk.visitors import Authenticator
from serving.wording.rendering import Words

RUNS = 200  # newest ones that pages tell of
NEXT = {
    "score-daily": "Next daily run", "train-weekly": "Next training", "measure-daily": "Next measuring of offers",
}  # fmt: skip


def open_desk(profile: str | None, data_dir: str | None) -> Desk:
    """Open what the pages read: settings, data folder, and what is known of its runs.

    Raises
    ------
    InputError
        The data folder or its profile cannot be used.
    """
    settings, lake, _ = open_run(profile, data_dir, None)

    def lines(words: Words) -> dict[str, str]:
        _, _, day = open_run(profile, data_dir, None)
        return health_lines(settings, lake, day, datetime.now(UTC), words)

    def newest_runs() -> list[dict[str, Any]]:
        return [asdict(each) for each in reversed(run_records(lake, RUNS))]

    return Desk.of(settings, lake, lines, newest_runs, Receiver.of_environment(os.environ))


def health_lines(settings: Settings, lake: Lake, as_of: date, now: datetime, words: Words) -> dict[str, str]:
    """Say how fresh the data are, what runs now and what runs next, by titles."""
    say, records = words.say, run_records(lake)
    lines = {}
    for table, whole in (("events", as_of - timedelta(days=1)), ("decisions", as_of)):
        days = [day for day in lake.days(table) if day <= as_of]
        behind = (whole - days[-1]).days if days else 0
        late = words.counted(behind, ", {number} day behind", ", {number} days behind") if behind > 0 else ""
        newest = say("Newest events") if table == "events" else say("Newest decisions")
        lines[newest] = f"{words.language.day(days[-1])}{late}" if days else say("none")
    owner = lock_owner(lake, records)
    is_served = any(each.command == SCHEDULE and each.outcome == RUNNING for each in records)
    for name, moment in next_moments(settings, now).items():
        at = words.figures.moment(moment) if moment is not None else say("not known")
        lines[say(NEXT[name])] = at if is_served else say("{moment}, if winback schedule were running", moment=at)
    lines[say("Writes now")] = (
        say(
            "{command}, since {moment}",
            command=owner["command"], moment=words.figures.moment(datetime.fromisoformat(str(owner["since"]))),
        )
        if owner
        else say("nobody")
    )  # fmt: skip
    shared, _ = store_lines(lake)
    return lines | {name.capitalize(): text for name, text in shared.items()}


def serve_desk(
    profile: str | None, data_dir: str | None, host: str, port: int, user_header: str, operators: tuple[str, ...]
) -> None:
    """Serve the desk until it is stopped.

    Raises
    ------
    InputError
        Other machines may ask and nothing says who does, or the port cannot be used.
    """
    authenticator = Authenticator.of_environment(os.environ, host, user_header, operators)
    desk = open_desk(profile, data_dir)
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise InputError(
            f"{host}:{port} cannot be used ({error.strerror}); stop who listens there, or choose another with --port"
        ) from error
    print(f"http://{host}:{listening.getsockname()[1]}", flush=True)  # noqa: T201 - where to look
    serve(desk, authenticator, listening)
