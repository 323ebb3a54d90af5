"""Flow: a simulated app with known truth in an empty data folder, with randomised offers at first."""

from __future__ import annotations

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.counted import counted
from configs.progress import announce
from configs.settings import Settings
from features.simulator import world_request
from features.simulator.simulated_day import World
from features.simulator.simulator_run import read_truth
from features.storage.lake import Lake
from flows.runs.kept_profile import remember_profile
from flows.runs.opened_run import open_run, writes_alone
from flows.runs.outcome import Outcome
from models.metrics.metric import Metric


@task(name="simulated days", cache_policy=NO_CACHE)
def begin_world(
    settings: Settings, lake: Lake, *, users: int, days: int, random_weeks: int, nothing_share: float,
    more_days: int = 0, variant_effect: float = 0.0,
) -> World:  # fmt: skip
    """Live the days before the first decision of a policy and write the truth about the morning after."""
    announce(f"{counted(users, 'user')} over {counted(days, 'day')}")
    return world_request.begin_world(
        settings, lake, users=users, days=days, random_weeks=random_weeks, nothing_share=nothing_share,
        more_days=more_days, variant_effect=variant_effect,
    )  # fmt: skip


@flow(name="simulate", flow_run_name="simulate {users} users for {days} days", validate_parameters=False)
@writes_alone
def simulate(
    profile: str | None = "simulated",
    data_dir: str | None = None,
    users: int = 20_000,
    days: int = 84,
    random_weeks: int = 4,
    nothing_share: float = 0.2,
    seed: int | None = None,
) -> Outcome:
    """Fill an empty data folder with a simulated app; `as_of` of the outcome is the morning after the last day."""
    settings, lake = open_world(profile, data_dir, seed)
    world_request.check_world(lake, users, days, random_weeks, nothing_share)
    world_request.offers_of(settings)
    lake.files.require_writable()
    world = begin_world(settings, lake, users=users, days=days, random_weeks=random_weeks, nothing_share=nothing_share)
    remember_profile(lake, profile)
    lake.files.accept(".")
    figures = world_request.world_figures(world, lake) | world_request.truth_figures(read_truth(lake))
    metrics = {name: Metric.exact(number, rows) for name, (number, rows) in figures.items()}
    outputs = {name: str(lake.path(name)) for name in ("users", "events", "treatments", "truth")}
    where = f"--data-dir {settings.data_dir} --as-of {world.today}"
    warnings = [
        "the truth folder is for judging decisions only; no model, feature or decision may read it",
        f"the app's clock stands at {world.today}; go on with: winback build-features {where}",
    ]
    outcome = Outcome("simulate", world.today, metrics, outputs, warnings)
    create_markdown_artifact(outcome.markdown(), key="simulate")
    return outcome


def open_world(profile: str | None, data_dir: str | None, seed: int | None) -> tuple[Settings, Lake]:
    """Find settings and folder of a simulated app; another seed is another world."""
    settings, lake, _ = open_run(profile, data_dir, None)
    return settings if seed is None else settings.model_copy(update={"seed": seed}), lake
