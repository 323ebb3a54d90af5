"""Data guards: what is planted is found, what is usual is not, and too little history is said instead of fired."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import InputError
from configs.guard_settings import Guard
from configs.settings import Settings, load_settings
from features.storage.lake import USERS_FILE, Lake
from features.tables.parquet_files import write_parquet
from serving.guards.data_guards import DayOfEvents, data_guards, missing_values, schema_change, volume
from serving.guards.guard_findings import FIRED, UNKNOWN, Finding, guard_words, refuse

AS_OF = date(2024, 7, 1)
LAST = AS_OF - timedelta(days=1)
GUARD = Guard(mode="warn", limit=0.5)
NAMES = ("session_start", "view_item", "purchase")


def rows_of(day: date, users: int = 200, **changed: object) -> pa.Table:
    """One day's events: three of each user; `changed` replaces columns."""
    noon = datetime(day.year, day.month, day.day, 12)
    events = 3 * users
    columns: dict[str, object] = {
        "user_id": [f"u{place // 3}" for place in range(events)],
        "event_name": [NAMES[place % 3] for place in range(events)],
        "occurred_at": pa.array([noon] * events, pa.timestamp("us", "UTC")),
        "received_at": pa.array([None] * events, pa.timestamp("us", "UTC")),
        "amount": pa.array([5.0 if place % 3 == 2 else None for place in range(events)], pa.float64()),
        "device": pa.array(["phone"] * events, pa.string()),
    }
    return pa.table(columns | changed)


@pytest.fixture
def app(tmp_path: Path) -> tuple[Settings, Lake]:
    """Nine Sundays and the week before `AS_OF`, all alike."""
    lake = Lake(tmp_path)
    back = sorted({*range(1, 9), *range(1, 64, 7)})
    for days in back:
        write_parquet(rows_of(AS_OF - timedelta(days=days)), lake.partition("events", AS_OF - timedelta(days=days)))
    write_parquet(pa.table({"user_id": [f"u{place}" for place in range(190)]}), lake.path(USERS_FILE))
    return load_settings(data_dir=tmp_path), lake


def fired(found: list[Finding]) -> set[tuple[str, str]]:
    return {(each.code, each.subject) for each in found if each.state == FIRED}


def test_a_usual_day_passes_every_guard(app: tuple[Settings, Lake]) -> None:
    found = data_guards(*app, AS_OF)
    assert {each.state for each in found} == {"passed"}
    assert [each.guard for each in found] == [
        "freshness", "volume", "missing_values", "unknown_values", "schema_change", "late_events",
    ]  # fmt: skip
    assert guard_words(found, AS_OF) == []


NOON = datetime(LAST.year, LAST.month, LAST.day, 12)
PLANTED = {
    "half the users are missing": (rows_of(LAST, 60), {("volume", "")}),
    "a day is delivered thrice": (rows_of(LAST, 600), {("volume", ""), ("unknown_users", "")}),
    "device is lost": (
        rows_of(LAST, device=pa.array([None] * 600, pa.string())),
        {("missing_values", "device"), ("column_gone", "device")},
    ),
    "names are spelt anew": (
        rows_of(LAST, event_name=[("session", "view_item", "buy")[place % 3] for place in range(600)]),
        {("unknown_names", "session"), ("name_gone", "session_start"), ("name_gone", "purchase")},
    ),
    "ids have lost their sign": (
        rows_of(LAST, user_id=[str(place // 3) for place in range(600)]), {("unknown_users", "")},
    ),
    "a column comes": (
        rows_of(LAST).append_column("coupon", pa.array(["x"] * 600)), {("column_came", "coupon")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_found_and_nothing_else(app: tuple[Settings, Lake], case: str) -> None:
    rows, expected = PLANTED[case]
    write_parquet(rows, app[1].partition("events", LAST))
    assert fired(data_guards(*app, AS_OF)) == expected


def test_days_without_events_and_a_late_delivery_are_found(app: tuple[Settings, Lake]) -> None:
    settings, lake = app
    assert fired(data_guards(settings, lake, AS_OF + timedelta(days=3))) == {("quiet_days", str(LAST))}
    for back in range(2, 9):
        day = AS_OF - timedelta(days=back)
        late = pa.array([NOON] * 600, pa.timestamp("us", "UTC"))
        write_parquet(rows_of(day, received_at=late), lake.partition("events", day))
    found = data_guards(settings, lake, AS_OF)
    assert fired(found) == {("late_events", "")}
    assert guard_words(found, AS_OF) == [
        "87.5% of the events that arrived on 2024-06-30 had happened before it (guards.late_events, limit 0.5)"
    ]


def test_too_little_history_is_said_and_not_fired(app: tuple[Settings, Lake]) -> None:
    settings, lake = app
    early = AS_OF - timedelta(days=42)
    found = data_guards(settings, lake, early)
    assert not fired(found)
    assert guard_words(found, early) == [
        "too little is known to judge missing_values, schema_change, unknown_values, volume: 2 same weekdays lie "
        "before 2024-05-19, guards.min_weeks = 4"
    ]
    assert data_guards(settings, Lake(lake.root / "empty"), AS_OF) == []


def test_a_guard_is_off_warns_or_stops(app: tuple[Settings, Lake]) -> None:
    settings, lake = app
    write_parquet(rows_of(LAST, 60), lake.partition("events", LAST))

    def asked(mode: str) -> list[Finding]:
        chosen = settings.guards.model_copy(update={"volume": Guard(mode=mode, limit=0.5)})
        return data_guards(settings.model_copy(update={"guards": chosen}), lake, AS_OF)

    assert "volume" not in {each.guard for each in asked("off")}
    refuse(asked("warn"), AS_OF)
    with pytest.raises(InputError, match=r"2024-07-01 is not decided: 2024-06-30, a Sunday, has 180 events, .* 600 .*"):
        refuse(asked("stop"), AS_OF)


@given(mean=st.integers(1, 20_000), weeks=st.integers(4, 8), seed=st.integers(0, 10**6))
def test_counts_that_differ_by_chance_alone_never_fire_and_a_day_that_is_lost_does(mean, weeks, seed):
    rng = np.random.default_rng(seed)
    *usual, today = rng.poisson(mean, weeks + 1).tolist()
    assert not volume(today, usual, GUARD) or mean < 20  # of so few events a half is chance
    assert bool(volume(0, usual, GUARD)) == (mean > 12) or 8 < mean < 30


@given(usual=st.lists(st.integers(0, 100), min_size=4, max_size=8), share=st.integers(0, 100))
def test_a_column_is_missed_only_beyond_what_it_ever_was(usual, share):
    days = [DayOfEvents(1000, {"x": 10 * each}) for each in usual]
    today = DayOfEvents(1000, {"x": 10 * share})
    found = missing_values(today, days, replace_limit(0.2))
    assert bool(found) == (share > max(usual) and share / 100 > np.median(usual) / 100 + 0.2)
    gone = [each for each in schema_change(today, days, replace_limit(0.02)) if each.code == "column_gone"]
    assert bool(gone) == (share == 100 and max(usual) <= 98)


def replace_limit(limit: float) -> Guard:
    return Guard(mode="warn", limit=limit)


def test_findings_are_kept_as_they_were(tmp_path: Path) -> None:
    from serving.guards.guard_findings import findings_table, stored_findings

    lake = Lake(tmp_path)
    found = [
        Finding("volume", FIRED, "warn", 0.5, "volume", "", 3.0, 9.0),
        replace(Finding("late_events", UNKNOWN, "stop", 0.5), code="few_rows", value=1.0, usual=2.0),
    ]
    assert stored_findings(lake, AS_OF) == []
    write_parquet(findings_table(found), lake.path("decisions", f"day={AS_OF}", "guards.parquet"))
    assert str(stored_findings(lake, AS_OF)) == str(found)
