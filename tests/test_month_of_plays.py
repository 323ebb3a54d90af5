"""A simulated app lived day by day under the starter catalogue: what is sent is true, allowed and within every cap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from contact_oracle import Message, Person, violations
from play_claims import CLAIMS, Events, events_by_user

from configs.offers import NO_OFFER, Catalogue, load_catalogue
from configs.settings import Settings, load_settings
from features.materialise.build_daily import build_aggregates
from features.simulator.simulated_day import World
from features.simulator.simulated_events import simulate_day
from features.simulator.simulator_run import new_world, simulate
from features.storage.lake import USERS_FILE, Lake
from features.tables.parquet_files import read_parquet, write_parquet
from features.training_data.snapshot_run import bring_snapshots_up_to_date
from serving.closed_loop_study.winback_policy import given_by, retrain
from serving.decide.decided_day import decide_day
from serving.lookups.play_answers import play_rows
from serving.stored_days.day_tables import day_folder

BEFORE = 84  # days before the first night
REFUSE = {"profiling": 0.1, "email": 0.25, "push": 0.25}  # share of the users who do
CONTACT = {
    "caps": {"in_24_hours": 1, "in_7_days": 4, "in_28_days": 14}, "channel_caps": {"push": {"in_7_days": 3}},
    "quiet_from": 22, "quiet_until": 9,
}  # fmt: skip
PAYMENT = ("payment_recovery", "lost_by_payment")


@dataclass
class Month:
    """What was decided and what is wrong with it, by an independent reading of the events."""

    settings: Settings
    lake: Lake
    catalogue: Catalogue
    last_day: date
    sent: list[Message] = field(default_factory=list)
    plays: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    discounted_after_failure: list[str] = field(default_factory=list)


def with_refusals(lake: Lake) -> dict[str, Person]:
    """Let some users refuse; returns what is known of everybody."""
    users = read_parquet(lake.path(USERS_FILE))
    rng = np.random.default_rng(5)
    consents = {what: rng.random(len(users)) >= share for what, share in REFUSE.items()}
    for what, agrees in consents.items():
        name = f"consent_{what}"
        has = name in users.column_names
        place = users.column_names.index(name) if has else users.num_columns
        users = (users.set_column if has else users.add_column)(place, name, pa.array(agrees))
    write_parquet(users, lake.path(USERS_FILE))
    zones = users["time_zone"].to_pylist()
    return {
        user_id: Person(zone, {what: float(agrees[place]) for what, agrees in consents.items()})
        for place, (user_id, zone) in enumerate(zip(users["user_id"].to_pylist(), zones, strict=True))
    }


def told(lake: Lake, as_of: date) -> pd.DataFrame:
    """Read the messages of others, and the opt-outs, of the days before a night."""
    columns = ["user_id", "event_name", "occurred_at", "channel", "decision_id"]
    days = [
        read_parquet(lake.partition("events", day), columns).to_pandas() for day in lake.days("events") if day < as_of
    ]
    events = pd.concat(days[-28:], ignore_index=True)
    return events[events["event_name"].isin(["notification_receive", "opt_out"]) & events["decision_id"].isna()]


def live(folder: Path, users: int, nights: int) -> Month:
    """Live an app for some weeks, let winback learn once, and decide every night."""
    settings, lake = load_settings("simulated,plays", folder, seed=7, contact=CONTACT), Lake(folder)
    catalogue = load_catalogue("starter")
    world = new_world(settings, catalogue, users, days=BEFORE + nights)
    world = simulate(settings, lake, world, BEFORE, 0, 0.2)
    people = with_refusals(lake)
    lake.files.accept(".")
    month = Month(settings, lake, catalogue, world.today)
    for night in range(nights):
        build_aggregates(settings, lake)
        bring_snapshots_up_to_date(settings, lake, world.today, only_today=night > 0)
        if not night:
            retrain(settings, lake, world.today)
        decide_day(settings, lake, world.today)
        look_at(month, world.today, people)
        world = lived(month, world)
    return month


def lived(month: Month, world: World) -> World:
    month.last_day = world.today
    after, events = simulate_day(world.decide(given_by(world, month.lake)))
    write_parquet(events, month.lake.partition("events", world.today))
    return after


def look_at(month: Month, today: date, people: dict[str, Person]) -> None:
    """Hold a night's messages against what the events say, and against everything that was sent before."""
    decisions = read_parquet(day_folder(month.lake, today) / "decisions.parquet").to_pylist()
    given = [row for row in decisions if row["offer_id"] != NO_OFFER]
    own = events_by_user(month.lake, today)
    month.wrong += list(untrue(month, given, own))
    foreign = told(month.lake, today)
    for row in foreign[foreign["event_name"] == "opt_out"].itertuples():
        people[row.user_id].opted_out[row.channel or ""] = row.occurred_at
    before = [Message(row.user_id, row.occurred_at, row.channel, None)
              for row in foreign[foreign["event_name"] == "notification_receive"].itertuples()]  # fmt: skip
    earlier = [Message(each.user_id, each.sent_at, each.channel, each.offer_id) for each in month.sent]
    new = [Message(row["user_id"], row["send_at"], row["channel"], row["offer_id"], True) for row in given]
    whom = {each.user_id for each in new}
    month.wrong += violations(
        month.settings, month.catalogue, people, [each for each in (*before, *earlier, *new) if each.user_id in whom]
    )
    month.sent += new


def untrue(month: Month, given: list[dict], own: dict[str, Events]) -> Iterator[str]:
    """Say which messages claim what their reader's events do not show, and who is paid for a payment that failed."""
    for row in given:
        offer = month.catalogue[row["offer_id"]]
        play = offer.play_id or offer.offer_id
        month.plays.add(play)
        if play in CLAIMS and not CLAIMS[play](own[row["user_id"]]):
            yield f"{play} is not true of {row['user_id']} on {row['as_of']}"
        events = own[row["user_id"]]
        has_failed = ((events["event_name"] == "payment_failed") & (events["ago"] <= 28)).any()
        if has_failed and (play not in PAYMENT or row["discount"]):
            month.discounted_after_failure.append(f"{row['user_id']} got {play} on {row['as_of']}")


def test_days_on_end_are_true_and_allowed(tmp_path: Path) -> None:
    month = live(tmp_path, users=300, nights=2)
    assert not month.wrong
    assert not month.discounted_after_failure
    assert len(month.sent) > 50


@pytest.mark.full
def test_a_month_of_nights_is_true_and_allowed_and_every_play_has_an_example(tmp_path: Path) -> None:
    month = live(tmp_path, users=600, nights=28)
    assert not month.wrong
    assert not month.discounted_after_failure
    assert len(month.sent) > 500
    rows = play_rows(month.settings, month.lake, month.last_day, examples=True)
    assert {row.play for row in rows if row.example is None or row.lacks} == set()
    assert len(rows) == 20
