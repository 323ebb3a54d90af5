"""Flow: a closed-loop simulation of winback and rival policies on the simulated app."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.progress import announce
from configs.settings import Settings
from features.materialise.build_daily import build_aggregates
from features.simulator.simulated_day import World
from features.simulator.world_request import check_weeks, check_world
from features.storage.lake import Lake
from flows.measure_offers import measured_until
from flows.runs.kept_profile import remember_profile
from flows.runs.opened_run import writes_alone
from flows.runs.outcome import Outcome
from flows.simulate import begin_world, open_world
from serving.closed_loop_study import rival_policies, winback_policy
from serving.closed_loop_study.policy_weeks import WEEK, Career
from serving.closed_loop_study.study_summary import loop_metrics, loop_notes, write_loop


@task(name="rivals", cache_policy=NO_CACHE)
def live_rivals(settings: Settings, world: World, weeks: int) -> list[Career]:
    """Let nobody, the simpler policies and the oracle decide, each in a world of its own."""
    announce("rivals that are told the truth")
    return rival_policies.live_rivals(settings, world, weeks)


@task(name="winback", cache_policy=NO_CACHE)
def live_ours(settings: Settings, lake: Lake, world: World, weeks: int) -> Career:
    """Let winback decide every week from events alone, and learn again every few weeks."""
    return winback_policy.live_ours(settings, lake, world, weeks)


@flow(name="closed-loop", flow_run_name="closed loop of {weeks} weeks", validate_parameters=False)
@writes_alone
def closed_loop(
    profile: str | None = "simulated",
    data_dir: str | None = None,
    users: int = 20_000,
    days: int = 84,
    random_weeks: int = 4,
    nothing_share: float = 0.2,
    seed: int | None = None,
    weeks: int = 8,
    variant_effect: float = 0.0,
) -> Outcome:
    """Simulate an app into an empty folder, then let winback run it for some weeks, and every rival in its place."""
    settings, lake = open_world(profile, data_dir, seed)
    more_days = WEEK * weeks
    check_world(lake, users, days, random_weeks, nothing_share, more_days)
    check_weeks(settings, weeks, random_weeks, variant_effect)
    lake.files.require_writable()
    world = begin_world(
        settings, lake, users=users, days=days, random_weeks=random_weeks, nothing_share=nothing_share,
        more_days=more_days, variant_effect=variant_effect,
    )  # fmt: skip
    remember_profile(lake, profile)
    careers = [*live_rivals(settings, world, weeks), live_ours(settings, lake, world, weeks)]
    ends = world.today + timedelta(days=more_days)
    build_aggregates(settings, lake)
    measured = measured_until(settings, lake, ends)
    outputs = write_loop(lake, careers) | measured.outputs
    lake.files.accept(".")
    warnings = [*loop_notes(careers), *(f"measured on its own: {note}" for note in measured.warnings[:2])]
    outcome = Outcome("simulate", ends, loop_metrics(careers, users) | measured.metrics, outputs, warnings)
    create_markdown_artifact(outcome.markdown(), key="closed-loop")
    return outcome
