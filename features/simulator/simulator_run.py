"""The simulated app in a data folder: its tables keep the contract, its truth is kept apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.offers import NO_OFFER, NOTHING, Catalogue
from configs.progress import track
from configs.settings import Settings
from features.arrays.array_types import Floats
from features.ingestion.contract import TREATMENTS, USERS
from features.simulator.population import DEVICES, Physics, newborn, populate
from features.simulator.simulated_day import LEVEL_START, Given, World, ids_of
from features.simulator.simulated_events import COUNTRIES, TYPES, contract_table, home_of, prefixed, simulate_day
from features.storage.lake import TIME_ZONE_FILE, Lake
from features.tables.parquet_files import PACKED, ROW_GROUP_ROWS, read_parquet, write_parquet

ZONES = ("Europe/Berlin", "Europe/Paris", "Europe/London", "Asia/Kolkata", "Asia/Tokyo", "America/Sao_Paulo",
         "America/Chicago")  # fmt: skip
LANGUAGES = ("de", "fr", "en", "en", "ja", "pt", "en")
SOURCES = ("organic", "referral", "search", "deals", "display")
SETTINGS = ("all", "some", "few")
# how often each segment came from each source
SOURCE_SHARES = np.array(
    [
        [0.45, 0.25, 0.20, 0.05, 0.05],
        [0.15, 0.10, 0.20, 0.45, 0.10],
        [0.10, 0.05, 0.20, 0.15, 0.50],
        [0.35, 0.15, 0.35, 0.05, 0.10],
    ]
)  # fmt: skip
PLAN, TRIAL_DAYS = "plan", 14  # who joined at most so many days ago tries the app out
TRUTH_USERS = 50_000
TRUTH_NUMBERS = ("discount", "p_redeem", "incremental_margin", "incremental_retention", "expected_cost",
                 "remaining_value", "p_stays", "value")  # fmt: skip
TRUTH = pa.schema(
    [("user_id", pa.string()), ("offer_id", pa.string())]
    + [(name, pa.float64()) for name in TRUTH_NUMBERS]
    + [("segment", pa.int8())]
)


def new_world(
    settings: Settings, catalogue: Catalogue, users: int, *, days: int, physics: Physics | None = None
) -> World:
    """Begin a world of some users, seeded by the settings; `days` is how long people go on joining."""
    rng = np.random.default_rng([settings.seed, *b"people"])
    people = populate(users, rng, days_after=days)
    nobody = Given(np.full(users, NOTHING, dtype=np.intp), np.full(users, None, dtype=object))
    read = {name for custom in settings.features.custom.values() for name in custom.events}
    has_levels = LEVEL_START in read  # an app logs what somebody reads, and other worlds keep their bytes
    return World(
        catalogue, physics or Physics(), settings.seed, 0, people, newborn(people), nobody, has_levels=has_levels
    )


def at_random(world: World, nothing_share: float) -> tuple[Given, Floats]:
    """Give every member an option at random; returns it and the propensity of what was drawn, shape (users,)."""
    users, options = len(world.people), len(world.menu)
    rng = world.draws("lot")
    is_given = rng.random(users) >= nothing_share
    drawn = rng.integers(0, options, users)
    option = np.where(is_given & world.is_member, drawn, NOTHING).astype(np.intp)
    propensity = np.where(is_given, (1 - nothing_share) / options, nothing_share)
    return Given(option, prefixed(f"lot-{world.day:04d}", world.user_ids)), propensity


def simulate(settings: Settings, lake: Lake, world: World, days: int, random_weeks: int, nothing_share: float) -> World:
    """Live `days` days into the lake's contract tables, the last weeks with offers at random; keep the truth apart.

    Returns
    -------
    The world on the morning after; the truth about that morning is in ``truth/truth.parquet``, which is for
    judging policies and which nothing but this module may read or write.
    """
    lake.files.publish_file(TIME_ZONE_FILE, settings.time_zone.encode())
    write_users(world, lake, world.day + days)
    for _ in track(range(days), "simulated days"):
        if world.day >= days - 7 * random_weeks and (days - world.day) % 7 == 0:
            given, propensity = at_random(world, nothing_share)
            write_treatments(world, lake, given, propensity)
            world = world.decide(given)
        world = live(world, lake, 1)
    write_truth(world, settings, lake)
    return world


def live(world: World, lake: Lake, days: int) -> World:
    """Live some days and write their events."""
    for _ in range(days):
        today = world.today
        world, events = simulate_day(world)
        write_parquet(events, lake.partition("events", today))
    return world


def write_treatments(world: World, lake: Lake, given: Given, propensity: Floats) -> None:
    """Write what every member was given this morning, *nothing* included, as a partition of the contract."""
    rows = np.flatnonzero(world.is_member | (given.option != NOTHING))
    place = given.option[rows]
    options = world.catalogue.options
    offers = np.array([*(option.offer_id for option in options), NO_OFFER], dtype=object)
    channels = np.array([*world.menu.channel, "none"], dtype=object)
    morning = datetime(world.today.year, world.today.month, world.today.day, tzinfo=UTC)
    longest = world.menu.valid_days.max(initial=7)
    days_open = np.r_[world.menu.valid_days, longest][place].astype("timedelta64[D]")
    table = contract_table(
        TREATMENTS,
        len(rows),
        {
            "decision_id": given.decision_id[rows],
            "user_id": world.user_ids[rows],
            "decided_at": [morning] * len(rows),
            "offer_id": offers[place],
            "discount": np.r_[world.menu.discount, 0.0][place],
            "channel": channels[place],
            "propensity": propensity[rows],
            "cost": np.r_[world.menu.contact_cost, 0.0][place],
            "valid_until": pa.array(np.datetime64(world.today, "us") + days_open).cast(TYPES["instant"]),
        },
    )
    write_parquet(table, lake.partition("treatments", world.today))


def write_users(world: World, lake: Lake, end: int = 0) -> None:
    """Write the users table of the contract, with the trait `PLAN` as it is on day `end` where plays need it."""
    people, rng = world.people, np.random.default_rng([world.seed, *b"traits"])
    users = len(people)
    place = home_of(users)
    source = (SOURCE_SHARES.cumsum(axis=1)[people.segment] < rng.random((users, 1))).sum(axis=1).clip(0, 4)
    wish = people.irritability * rng.lognormal(0.0, 0.6, users)
    setting = np.digitize(wish, [0.12, 0.45])
    instants = np.datetime64(world.start, "us") + people.joined.astype("timedelta64[D]")
    joined = pa.array(instants.astype("datetime64[us]"), pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    columns = {
        "user_id": world.user_ids,
        "signed_up_at": joined,  # without known_from: who has not joined yet is in no snapshot anyway
        "country": np.array(list(COUNTRIES), dtype=object)[place],
        "time_zone": np.array(ZONES, dtype=object)[place],
        "device": np.array(DEVICES, dtype=object)[people.device],
        "acquisition_source": np.array(SOURCES, dtype=object)[source],
        "language": np.array(LANGUAGES, dtype=object)[place],
        "birth_year": rng.integers(1950, 2008, users).astype(float),
        "gender": np.array(["f", "m", "x"], dtype=object)[rng.choice(3, users, p=[0.49, 0.49, 0.02])],
        "consent_push": np.ones(users, dtype=bool),
        "consent_email": np.ones(users, dtype=bool),
        "consent_in_app": np.ones(users, dtype=bool),
    }
    table = contract_table(USERS, users, columns)
    table = table.append_column(
        "notification_setting", pa.array(np.array(SETTINGS, dtype=object)[setting], pa.string())
    )
    if any(f"trait_{PLAN}" in offer.needs for offer in world.catalogue.offers):
        is_trial = end - people.joined <= TRIAL_DAYS
        table = table.append_column(PLAN, pa.array(np.where(is_trial, "trial", "full"), pa.string()))
    write_parquet(table, lake.path("users", "users.parquet"), ROW_GROUP_ROWS)


def write_truth(world: World, settings: Settings, lake: Lake) -> None:
    """Write what every option would change for every member if it were sent this morning."""
    offers = [option.offer_id for option in world.catalogue.options]
    members = np.flatnonzero(world.is_member)
    with lake.whole_folder("truth") as folder, pq.ParquetWriter(folder / "truth.parquet", TRUTH, **PACKED) as writer:
        for start in range(0, len(members), TRUTH_USERS):
            rows = members[start : start + TRUTH_USERS]
            part = replace(world, people=world.people.some(rows), state=world.state.some(rows))
            known = part.expected(settings)
            columns = {
                "user_id": np.repeat(ids_of(rows), len(offers)),
                "offer_id": offers * len(rows),
                "discount": np.tile(world.menu.discount, len(rows)),
                "p_redeem": known.p_redeem.ravel(),
                "incremental_margin": known.margin.ravel(),
                "incremental_retention": known.retention.ravel(),
                "expected_cost": known.cost.ravel(),
                "remaining_value": np.repeat(known.remaining_value, len(offers)),
                "p_stays": np.repeat(known.stays, len(offers)),
                "value": known.value.ravel(),
                "segment": np.repeat(part.people.segment, len(offers)),
            }
            writer.write_table(pa.table(columns, schema=TRUTH))


def read_truth(lake: Lake) -> pa.Table:
    """Read what `write_truth` wrote: one row per member and option, for judging decisions only."""
    return read_parquet(lake.path("truth", "truth.parquet"))
