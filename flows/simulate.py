"""Flow: an invented app with known truth into an empty data folder, its offers given by lot at first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import InputError
from configs.offers import Catalogue, load_catalogue
from configs.progress import announce
from configs.settings import Settings
from features.simulator import simulator_run as simulation
from features.simulator.simulated_day import START, World
from features.storage.lake import Lake
from features.storage.parquet_files import count_rows
from flows.outcome import Outcome, open_run, remember_profile, writes_alone
from models.metrics.metric import Metric


@task(name="simulated days", cache_policy=NO_CACHE)
def begin_world(
    settings: Settings,
    lake: Lake,
    *,
    users: int,
    days: int,
    random_weeks: int,
    nothing_share: float,
    more_days: int = 0,
) -> World:
    """Live the days before the first decision of a policy and write the truth about the morning after.

    People go on joining for `more_days`.
    """
    announce(f"{users:,} users over {days} days")
    world = simulation.new_world(settings, offers_of(settings), users, days=days + more_days)
    return simulation.simulate(settings, lake, world, days, random_weeks, nothing_share)


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
    check_request(lake, users, days, random_weeks, nothing_share)
    offers_of(settings)
    lake.files.require_writable()
    world = begin_world(settings, lake, users=users, days=days, random_weeks=random_weeks, nothing_share=nothing_share)
    remember_profile(lake, profile)
    metrics = world_metrics(world, lake) | truth_metrics(simulation.read_truth(lake))
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


def check_request(
    lake: Lake, users: int, days: int, random_weeks: int, nothing_share: float, more_days: int = 0
) -> None:
    """Refuse numbers that make no world, and a data folder that holds events.

    `more_days` of policy follow on the days before.

    Raises
    ------
    InputError
        With the first thing that is wrong.
    """
    ends, today = START + timedelta(days=days + more_days), datetime.now(UTC).date()
    faults = {
        f"--users {users} leaves nobody to live; ask for at least 1": users < 1,
        f"--days {days} is no time; ask for at least 1": days < 1,
        f"--random-weeks {random_weeks} is negative; 0 means no lots": random_weeks < 0,
        f"--days {days} is shorter than --random-weeks {random_weeks} ({7 * random_weeks} days); "
        f"ask for at least {7 * random_weeks} days": days < 7 * random_weeks,
        f"--nothing-share {nothing_share} is no share; choose one from 0 to 1": not 0 <= nothing_share <= 1,
        f"--days {days + more_days} from {START} on end at {ends}, in the future (today is {today}); "
        "ask for fewer": ends > today,
    }
    for sentence in (sentence for sentence, is_wrong in faults.items() if is_wrong):
        raise InputError(sentence)
    if held := lake.days("events"):
        raise InputError(
            f"{lake.root} already holds events ({held[0]} to {held[-1]}); a simulated app needs a folder of its own, "
            "choose another --data-dir"
        )


def offers_of(settings: Settings) -> Catalogue:
    """Load the offers that the lots draw from.

    Raises
    ------
    InputError
        The profile's catalogue is empty.
    """
    catalogue = load_catalogue(settings.offers)
    if not catalogue.options:
        raise InputError(
            f"profile {settings.profile!r} has no offers (offers = {settings.offers!r}), so nothing can be given by "
            "lot; name a catalogue"
        )
    return catalogue


def world_metrics(world: World, lake: Lake) -> dict[str, Metric]:
    """Count who lives in the app and what was written about them."""
    users, members = len(world.people), int(world.is_member.sum())
    rows = {
        table: [count_rows(lake.partition(table, day)) for day in lake.days(table)]
        for table in ("events", "treatments")
    }
    return {
        "users.total": Metric.exact(users, users),
        "users.members": Metric.exact(members, users),
        "events.rows": Metric.exact(sum(rows["events"]), len(rows["events"])),
        "treatments.rows": Metric.exact(sum(rows["treatments"]), len(rows["treatments"])),
    }


def truth_metrics(truths: pa.Table) -> dict[str, Metric]:
    """Say what a policy that knew everything could earn this morning, per member and before any budget."""
    users = truths.group_by("user_id").aggregate([("p_stays", "max"), ("value", "max")])
    if not len(users):
        return {}
    best = pc.max_element_wise(users["value_max"], 0.0)
    shares = {
        "truth.p_stays_untreated": pc.mean(users["p_stays_max"]),
        "truth.best_value_per_member": pc.mean(best),
        "truth.nothing_is_best_share": pc.mean(pc.equal(best, 0.0).cast(pa.float64())),
    }
    return {name: Metric.exact(share.as_py(), len(users)) for name, share in shares.items()}
