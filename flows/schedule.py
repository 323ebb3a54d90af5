"""Flow: the daily scoring and the weekly training, served on the configured schedule."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect import flow, serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.runtime import flow_run
from prefect.schedules import Cron, Schedule

from configs.settings import Settings
from features.storage.lake import Lake
from features.storage.writer_lock import PATIENCE_VARIABLE
from flows.build_features import build_features
from flows.environment import prepare
from flows.ingest import ingest
from flows.kept_profile import settings_of
from flows.outcome import Outcome, dated, open_run
from flows.score_users import score_users
from flows.train_models import train_models

PATIENCE = timedelta(hours=12)
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


@flow(name="score-daily", flow_run_name=dated("score-daily"), validate_parameters=False)
def score_daily(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome | None:
    """Ingest, build features and score; a run that was missed for more than a day gives way to the newest."""
    if is_outdated(flow_run.scheduled_start_time, timedelta(days=1)):
        return None
    with one_writer("winback score-daily", profile, data_dir):
        ingest(profile, data_dir, as_of)
        build_features(profile, data_dir, as_of, only_today=True)
        return score_users(profile, data_dir, as_of)


@flow(name="train-weekly", flow_run_name=dated("train-weekly"), validate_parameters=False)
def train_weekly(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome | None:
    """Ingest, build features and train; a run that was missed for more than a week gives way to the newest."""
    if is_outdated(flow_run.scheduled_start_time, timedelta(days=7)):
        return None
    with one_writer("winback train-weekly", profile, data_dir):
        ingest(profile, data_dir, as_of)
        build_features(profile, data_dir, as_of)
        return train_models(profile, data_dir, as_of)


@contextmanager
def one_writer(command: str, profile: str | None, data_dir: str | None) -> Iterator[None]:
    """Write alone from the first step to the last; whoever writes already is waited for, a training among them."""
    prepare(data_dir)
    os.environ.setdefault(PATIENCE_VARIABLE, str(PATIENCE.total_seconds()))
    with Lake(settings_of(profile, Path(data_dir) if data_dir else None).data_dir).files.lock(command):
        yield


def is_outdated(scheduled: datetime | None, period: timedelta) -> bool:
    """Whether a run is so late that the next one of its schedule is due as well."""
    return scheduled is not None and datetime.now(ZoneInfo("UTC")) - scheduled >= period


def deployments(settings: Settings, profile: str | None, data_dir: str | None) -> list[RunnerDeployment]:
    """Describe both deployments as the configuration has them."""
    zone = settings.schedule.time_zone
    return [
        deployment(score_daily, Cron(settings.schedule.score_cron, timezone=zone), profile, data_dir),
        deployment(train_weekly, Cron(settings.schedule.train_cron, timezone=zone), profile, data_dir),
    ]


def deployment(what: object, schedule: Schedule, profile: str | None, data_dir: str | None) -> RunnerDeployment:
    """Describe one deployment: one run at a time, a second one is cancelled."""
    return what.to_deployment(  # type: ignore[attr-defined]
        name="winback",
        schedule=schedule,
        parameters={"profile": profile, "data_dir": data_dir},
        concurrency_limit=ONE_AT_A_TIME,
    )


def planned(profile: str | None, data_dir: str | None) -> dict[str, str]:
    """Say which deployment runs when."""
    times = open_run(profile, data_dir, None)[0].schedule
    when = {"score-daily/winback": times.score_cron, "train-weekly/winback": times.train_cron}
    return {name: f"{name} runs at {cron} ({times.time_zone})" for name, cron in when.items()}


def schedule(profile: str | None = None, data_dir: str | None = None) -> None:
    """Serve the deployments until stopped, on a server that fires them (`flows.server.start_server`).

    A stop leaves their schedules active, so that only a person pauses them.
    """
    settings, lake, _ = open_run(profile, data_dir, None)
    serve(*deployments(settings, profile, str(lake.root)), pause_on_shutdown=False)
