"""Flows that the schedule starts: daily scoring, weekly training, daily measuring."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.flows import FlowStateHook
from prefect.runtime import flow_run

from configs.progress import announce
from features.publishing.lock_wait import WAIT_VARIABLE
from features.storage.lake import Lake
from flows.backfill import catch_up
from flows.build_features import build_features
from flows.ingest import ingest
from flows.measure_offers import measure_offers
from flows.runs.environment import data_folder, end_with_schedule, prepare
from flows.runs.failure_notice import tell_failure
from flows.runs.opened_run import dated, open_run
from flows.runs.outcome import Outcome
from flows.runs.run_records import recorded
from flows.score_users import score_users
from flows.send_list import send_list
from flows.train_models import train_models
from flows.user_requests import expire

LOCK_WAIT = timedelta(hours=12)
PERIODS = {"score-daily": timedelta(days=1), "train-weekly": timedelta(days=7), "measure-daily": timedelta(days=1)}
TOLD: list[FlowStateHook[Any, Any]] = [tell_failure]


@flow(name="score-daily", flow_run_name=dated("score-daily"), on_failure=TOLD, on_crashed=TOLD)
def score_daily(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome | None:
    """Ingest, build features, score, and list who is to be written to; days that were missed are told and caught up.

    Last goes what is older than its retention period.

    A run that was missed for more than a day gives way to the newest.
    """
    if gives_way("score-daily"):
        return None
    with one_writer("score-daily", profile, data_dir, as_of) as day:
        ingest(profile, data_dir, day)
        missed = catch_up(profile, data_dir, day)
        build_features(profile, data_dir, day, only_today=True)
        scored = score_users(profile, data_dir, day)
        sent = send_list(profile, data_dir, scored.as_of)
        expired = expire(profile, data_dir, day)
        outputs, warnings = scored.outputs | sent.outputs, [*missed, *scored.warnings, *expired]
        return shown(replace(scored, command="score-daily", outputs=outputs, warnings=warnings))


@flow(name="train-weekly", flow_run_name=dated("train-weekly"), on_failure=TOLD, on_crashed=TOLD)
def train_weekly(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome | None:
    """Ingest, build features and train; a run that was missed for more than a week gives way to the newest."""
    if gives_way("train-weekly"):
        return None
    with one_writer("train-weekly", profile, data_dir, as_of) as day:
        ingest(profile, data_dir, day)
        build_features(profile, data_dir, day)
        return shown(replace(train_models(profile, data_dir, day), command="train-weekly"))


@flow(name="measure-daily", flow_run_name=dated("measure-daily"), on_failure=TOLD, on_crashed=TOLD)
def measure_daily(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome | None:
    """Measure the decisions whose windows have closed; a run that was missed for more than a day gives way."""
    if gives_way("measure-daily"):
        return None
    with one_writer("measure-daily", profile, data_dir, as_of) as day:
        return shown(replace(measure_offers(profile, data_dir, day), command="measure-daily"))


@contextmanager
def one_writer(command: str, profile: str | None, data_dir: str | None, as_of: date | None) -> Iterator[date]:
    """Write alone from the first step to the last; whoever writes already is waited for, a training among them.

    The wait, the refusal and the end stand in the record of the run.

    Yields
    ------
    The day of all steps: where nobody named one it is asked for once, as midnight may pass between two steps.
    """
    end_with_schedule()
    prepare(data_dir, profile)
    lake = Lake(data_folder(profile, data_dir))
    with _long_lock_wait(), recorded(lake, command, as_of), lake.files.lock(f"winback {command}"):
        _, _, day = open_run(profile, data_dir, as_of)
        yield day


@contextmanager
def _long_lock_wait() -> Iterator[None]:
    """Wait for other writers as long as a night may, unless the environment says how long."""
    is_set = WAIT_VARIABLE in os.environ
    os.environ.setdefault(WAIT_VARIABLE, str(LOCK_WAIT.total_seconds()))
    try:
        yield
    finally:
        if not is_set:
            del os.environ[WAIT_VARIABLE]


def gives_way(command: str) -> bool:
    """Say so where a run is so late that the next one of its schedule is due as well."""
    due = flow_run.scheduled_start_time
    if not is_outdated(due, PERIODS[command]):
        return False
    announce(f"{command} was due {due:%Y-%m-%d %H:%M} and gives way to the newest run")
    return True


def is_outdated(scheduled: datetime | None, period: timedelta) -> bool:
    """Whether a run is so late that the next one of its schedule is due as well."""
    return scheduled is not None and datetime.now(UTC) - scheduled >= period


def shown(outcome: Outcome) -> Outcome:
    """Show an outcome in Prefect: a page of figures, and links to the files that it names."""
    create_markdown_artifact(outcome.markdown(), key=outcome.command)
    for name, place in outcome.outputs.items():
        if Path(place).is_absolute():
            key = f"{outcome.command}-{name}".lower().replace(" ", "-").replace("_", "-")
            create_link_artifact(Path(place).as_uri(), link_text=f"{name} of {outcome.as_of}", key=key)
    return outcome
