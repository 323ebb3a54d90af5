"""Flow: the effect of past decisions, measured against the control group."""

from __future__ import annotations

from datetime import date

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.settings import Settings
from features.storage.lake import Lake
from flows.runs.opened_run import dated, open_run, writes_alone
from flows.runs.outcome import Outcome
from flows.runs.run_steps import step
from serving.offer_measurement import closed_decisions
from serving.offer_measurement.closed_decisions import Measured
from serving.offer_measurement.measured_lift import measure_day


@task(name="closed decisions", cache_policy=NO_CACHE)
def collect_closed(settings: Settings, lake: Lake, as_of: date) -> Measured:
    """Read the ledger before a day and what became of its users."""
    with step("closed decisions", f"outcomes of the decisions before {as_of}") as taken:
        found = closed_decisions.collect_closed(settings, lake, as_of)
        taken.rows = len(found.frame)
    return found


@flow(name="measure-offers", flow_run_name=dated("measure-offers"), validate_parameters=False)
@writes_alone
def measure_offers(profile: str | None = None, data_dir: str | None = None, as_of: date | None = None) -> Outcome:
    """Compare users of the policy with the control group, by what was meant for them (intention to treat)."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    outcome = measured_until(settings, lake, day)
    create_markdown_artifact(outcome.markdown(), key="measure-offers")
    return outcome


def measured_until(settings: Settings, lake: Lake, day: date) -> Outcome:
    """Measure every decision whose outcome is known on a day, and keep what was found."""
    found = measure_day(settings, lake, day, collect_closed(settings, lake, day))
    return Outcome("measure-offers", day, found.metrics, found.outputs, found.notes)
