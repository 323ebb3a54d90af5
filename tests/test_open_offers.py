"""Open offers: whose offer can still be used gets no second one, and a rerun finds what the first run found."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import offer, small_settings

from configs.offers import Catalogue
from configs.settings import Settings, load_settings
from features.definitions.labels import attributed_redemptions
from features.storage.lake import Lake
from features.tables.duckdb_sessions import duckdb_session, ibis_engine
from features.tables.parquet_files import write_parquet
from features.training_data.contact_details import with_contact_details
from serving.earlier_contacts.open_offers import open_offers
from serving.stored_days.decision_moment import DecisionMoment

SETTINGS = small_settings()  # churn.horizon_days = 28
DAY = date(2024, 7, 1)
NIGHT = DecisionMoment.of_night(DAY, "UTC")
CATALOGUE = Catalogue(offers=(offer("week", valid_days=7),))


def holders(lake: Lake, settings: Settings, catalogue: Catalogue, moment: DecisionMoment) -> list[str]:
    """Users who hold an open offer, in order."""
    return open_offers(lake, settings, catalogue, moment).restrictions["user_id"].to_pylist()


def at(days_before: float) -> datetime:
    return NIGHT.instant - timedelta(days=days_before)


def given_to(lake: Lake, rows: list[tuple[str, str, float, float | None]]) -> None:
    """Treatments: user, offer, days before the night, and days before it at which it ended, None for not said."""
    frame = pd.DataFrame(
        {
            "user_id": [row[0] for row in rows], "offer_id": [row[1] for row in rows], "channel": "email",
            "decided_at": [at(row[2]) for row in rows],
            "valid_until": pd.to_datetime([None if row[3] is None else at(row[3]) for row in rows], utc=True),
        }
    )  # fmt: skip
    for day, part in frame.groupby(frame["decided_at"].dt.date):
        fields = [("user_id", pa.string()), ("offer_id", pa.string()), ("channel", pa.string())]
        instants = [(name, pa.timestamp("us", "UTC")) for name in ("decided_at", "valid_until")]
        table = pa.Table.from_pandas(part, pa.schema([*fields, *instants]), preserve_index=False)
        write_parquet(table, lake.partition("treatments", day))


ROWS = [
    ("ended at this instant", "week", 7.0, 0.0), ("ends a second later", "week", 7.0, -1 / 86400),
    ("catalogue says a week", "week", 6.5, None), ("its last day", "week", 7.0, None),
    ("a week is over", "week", 7.1, None),
    ("unknown offer, horizon", "else", 27.5, None), ("horizon is over", "else", 28.5, None),
    ("control", "none", 1.0, -7.0), ("decided just now", "week", 0.0, -7.0), ("long open", "week", 300.0, -1.0),
]  # fmt: skip


def test_offers_that_can_still_be_used_are_found(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert not holders(lake, SETTINGS, CATALOGUE, NIGHT)
    given_to(lake, ROWS)
    held = ["catalogue says a week", "ends a second later", "its last day", "long open", "unknown offer, horizon"]
    assert (
        holders(lake, SETTINGS, CATALOGUE, NIGHT) == held
    )  # not those of the moment itself: a rerun takes nothing back
    noon = DecisionMoment(DAY, NIGHT.instant + timedelta(hours=12), "noon")
    assert "decided just now" in holders(lake, SETTINGS, CATALOGUE, noon)
    overlap = SETTINGS.model_copy(update={"contact": SETTINGS.contact.model_copy(update={"offers_overlap": True})})
    assert not holders(lake, overlap, CATALOGUE, NIGHT)
    without = holders(lake, SETTINGS, Catalogue(offers=()), NIGHT)  # the horizon stands for the unknown days
    assert {"a week is over", *held} == set(without)


GIVEN = st.tuples(
    st.sampled_from(["week", "else", "none"]), st.floats(0.1, 60).map(lambda days: round(days, 2)),
    st.none() | st.floats(-40, 60).map(lambda days: round(days, 2)),
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(GIVEN, min_size=1, max_size=8), valid_days=st.integers(1, 50))
def test_days_that_are_not_read_hold_no_open_offer(tmp_path_factory, rows, valid_days) -> None:
    lake, catalogue = Lake(tmp_path_factory.mktemp("lake")), Catalogue(offers=(offer("week", valid_days=valid_days),))
    given_to(lake, [(f"u{place}", *row) for place, row in enumerate(rows)])
    lasts = {"week": valid_days, "else": 28}
    is_open = [
        kind != "none" and ((lasts[kind] >= math.ceil(back)) if end is None else end < 0) for kind, back, end in rows
    ]
    expected = [f"u{place}" for place, flag in enumerate(is_open) if flag]
    for _ in range(2):  # the second time by what is remembered of the files
        assert holders(lake, SETTINGS, catalogue, NIGHT) == expected


@settings(max_examples=4, deadline=None)
@given(
    day=st.sampled_from([date(2024, 3, 31), date(2024, 4, 1), date(2024, 10, 27), date(2024, 10, 28)]),
    minutes=st.lists(st.integers(1, 9 * 24 * 60), min_size=1, max_size=6),
)
def test_an_offer_is_open_as_long_as_a_redemption_counts_for_it(tmp_path_factory, day, minutes) -> None:
    zoned = load_settings(time_zone="Europe/Berlin")
    night, lake = DecisionMoment.of_night(day, "Europe/Berlin"), Lake(tmp_path_factory.mktemp("lake"))
    given_at = [night.in_utc - timedelta(minutes=each) for each in minutes]
    columns = {
        "decision_id": [f"d{place}" for place in range(len(minutes))], "user_id": [f"u{each}" for each in minutes],
        "day": [each.astimezone(night.instant.tzinfo).date() for each in given_at], "offer_id": "week",
        "decided_at": given_at, "channel": "push",
        "valid_until": pd.Series(None, range(len(minutes)), "datetime64[us, UTC]"),
    }  # fmt: skip
    rows = pd.DataFrame(columns)
    for own, part in rows.groupby("day"):
        write_parquet(
            pa.Table.from_pandas(part.drop(columns="day"), preserve_index=False), lake.partition("treatments", own)
        )
    used = rows.assign(event_id=rows["decision_id"], occurred_at=night.in_utc, day=day, amount=1.0, discount=1.0)
    used["event_name"] = "offer_redeem"
    with duckdb_session(zoned) as connection:
        engine = ibis_engine(connection, zoned)
        tables = (engine.create_table(name, obj=each, temp=True) for name, each in (("t", rows), ("e", used)))
        counted = attributed_redemptions(*tables, zoned, {"week": 7}).to_pandas()
    can_use = set(rows.set_index("decision_id")["user_id"][counted["treatment"].dropna()])
    assert set(holders(lake, zoned, CATALOGUE, night)) == can_use


def test_a_day_that_was_written_again_is_looked_at_again(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    given_to(lake, [("a", "week", 100.0, 90.0)])
    assert not holders(lake, SETTINGS, CATALOGUE, NIGHT)
    given_to(lake, [("a", "week", 100.0, 90.0), ("b", "week", 100.0, -1.0)])
    assert holders(lake, SETTINGS, CATALOGUE, NIGHT) == ["b"]


def test_consents_and_zones_are_those_of_the_users_table_now(tmp_path: Path) -> None:
    lake, frame = Lake(tmp_path), pd.DataFrame({"user_id": ["b", "x", "a"], "spend": [1.0, 2.0, 3.0]}, index=[5, 6, 7])
    assert with_contact_details(lake, frame) is frame  # there is no such table
    users = {
        "user_id": ["a", "b", "c"], "consent_push": [True, False, True], "consent_mail": [None, True, False],
        "time_zone": ["Asia/Tokyo", None, "UTC"], "plan": ["x", "y", "z"],
    }  # fmt: skip
    write_parquet(pa.table(users), lake.path("users/users.parquet"))
    found = with_contact_details(lake, frame)
    pd.testing.assert_frame_equal(found[["user_id", "spend"]], frame)
    assert found["consent_push"].fillna(-1).tolist() == [0.0, -1.0, 1.0]
    assert found["consent_mail"].fillna(-1).tolist() == [1.0, -1.0, -1.0]
    assert [found["time_zone"].iloc[0], found["time_zone"].iloc[2]] == [None, "Asia/Tokyo"]
    assert set(found.columns) - set(frame.columns) == {"consent_push", "consent_mail", "time_zone"}
