"""The options of a simulated app, and the settings that they lead to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import InputError
from configs.offers import Catalogue, load_catalogue
from configs.settings import Settings
from features.simulator.population import Physics
from features.simulator.simulated_day import START, World
from features.simulator.simulator_run import new_world, simulate
from features.storage.lake import Lake
from features.tables.parquet_files import count_rows

Figures = dict[str, tuple[float, int]]  # a number, and how many rows it speaks of


def begin_world(
    settings: Settings, lake: Lake, *, users: int, days: int, random_weeks: int, nothing_share: float,
    more_days: int = 0, variant_effect: float = 0.0,
) -> World:  # fmt: skip
    """Live the days before the first decision of a policy and write the truth about the morning after.

    People go on joining for `more_days`. `variant_effect` is that of `Physics.variant`.

    Raises
    ------
    InputError
        The profile's time zone is not that of the world.
    """
    if settings.time_zone != "UTC":
        raise InputError(f"time_zone = {settings.time_zone!r}, and a simulated app lives by UTC; leave time_zone out")
    physics = Physics(variant=variant_effect)
    world = new_world(settings, offers_of(settings), users, days=days + more_days, physics=physics)
    return simulate(settings, lake, world, days, random_weeks, nothing_share)


def check_world(lake: Lake, users: int, days: int, random_weeks: int, nothing_share: float, more_days: int = 0) -> None:
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
        f"--random-weeks {random_weeks} is negative; 0 means no randomised offers": random_weeks < 0,
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


def check_weeks(settings: Settings, weeks: int, random_weeks: int, variant_effect: float) -> None:
    """Refuse a closed loop in which winback would have nothing to decide, or nothing to learn from or to find.

    Raises
    ------
    InputError
        There is no week of policy, none in which offers are randomised, or no variant that could have an effect.
    """
    if variant_effect and not load_catalogue(settings.offers).experiments:
        raise InputError(
            f"--variant-effect {variant_effect:g} changes how often variants of a play are noticed, and the catalogue "
            f"{settings.offers!r} has no experiment; leave it out, or write one"
        )
    if weeks < 1 or random_weeks < 1:
        raise InputError(
            f"--weeks {weeks} and --random-weeks {random_weeks}: a closed loop needs at least 1 week of policy and 1 "
            "of randomised offers before it"
        )


def offers_of(settings: Settings) -> Catalogue:
    """Load the offers that are drawn from at random.

    Raises
    ------
    InputError
        The profile's catalogue is empty.
    """
    catalogue = load_catalogue(settings.offers)
    if not catalogue.options:
        raise InputError(
            f"profile {settings.profile!r} has no offers (offers = {settings.offers!r}), so nothing can be given at "
            "random; name a catalogue"
        )
    return catalogue


def world_figures(world: World, lake: Lake) -> Figures:
    """Count who lives in the app and what was written about them."""
    users, members = len(world.people), int(world.is_member.sum())
    rows = {
        table: [count_rows(lake.partition(table, day)) for day in lake.days(table)]
        for table in ("events", "treatments")
    }
    return {
        "users.total": (users, users),
        "users.members": (members, users),
        "events.rows": (sum(rows["events"]), len(rows["events"])),
        "treatments.rows": (sum(rows["treatments"]), len(rows["treatments"])),
    }


def truth_figures(truths: pa.Table) -> Figures:
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
    return {name: (share.as_py(), len(users)) for name, share in shares.items()}
