"""Flow: from events to daily aggregates and point-in-time snapshots."""

from __future__ import annotations

from datetime import date

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.settings import Settings
from features.materialise.build_daily import build_aggregates
from features.storage.lake import Lake
from features.tables.parquet_files import count_rows
from features.training_data.snapshot_run import SnapshotRun, bring_snapshots_up_to_date
from flows.runs.kept_profile import remember_built
from flows.runs.opened_run import dated, open_run, writes_alone
from flows.runs.outcome import Outcome
from flows.runs.run_steps import step
from models.metrics.metric import Metric
from serving.stored_days.short_days import days_since_complete


@task(name="daily aggregates", cache_policy=NO_CACHE)
def aggregate(settings: Settings, lake: Lake) -> list[date]:
    """Compute the days whose events changed."""
    with step("daily aggregates", "daily aggregates") as taken:
        days = build_aggregates(settings, lake)
        taken.rows = sum(count_rows(lake.partition("aggregates", day)) for day in days)
    return days


@task(name="snapshots", cache_policy=NO_CACHE)
def take_snapshots(settings: Settings, lake: Lake, as_of: date, *, only_today: bool = False) -> SnapshotRun:
    """Compute the snapshots whose input changed and register them with Feast.

    So are those of days that were missed, or short of a file that has come since: personas are carried on over them.
    """
    with step("snapshots", f"snapshots up to {as_of}") as taken:
        again = days_since_complete(lake, as_of)
        run = bring_snapshots_up_to_date(settings, lake, as_of, only_today=only_today, again=again)
        taken.rows = sum(count_rows(lake.partition("snapshots", day)) for day in run.built)
    return run


@flow(name="build-features", flow_run_name=dated("build-features"), validate_parameters=False)
@writes_alone
def build_features(
    profile: str | None = None, data_dir: str | None = None, as_of: date | None = None, only_today: bool = False
) -> Outcome:
    """Bring aggregates and snapshots up to date; only what changed is computed.

    Models learn from many snapshots, which move with `as_of`; scoring reads one, and `only_today` builds no other but
    those of days right before it that were missed or short of events.
    """
    settings, lake, day = open_run(profile, data_dir, as_of)
    aggregated = aggregate(settings, lake)
    snapshots = take_snapshots(settings, lake, day, only_today=only_today)
    remember_built(lake, settings)
    metrics = {
        "aggregates.days_computed": Metric.exact(len(aggregated), len(lake.days("aggregates"))),
        "snapshots.computed": Metric.exact(len(snapshots.built), len(snapshots.days)),
        "snapshots.columns": Metric.exact(snapshots.columns, len(snapshots.days)),
    }
    outputs = {"aggregates": str(lake.path("aggregates")), "snapshots": str(lake.path("snapshots"))}
    outcome = Outcome("build-features", day, metrics, outputs, snapshots.notes)
    create_markdown_artifact(outcome.markdown(), key="build-features")
    return outcome
