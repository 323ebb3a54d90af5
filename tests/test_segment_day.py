"""Who is in what on a day, what changed since the day before and why, and whether a week is unusual."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from configs.errors import InputError
from configs.settings import Settings, load_settings
from features.definitions.app_declarations import declarations_of
from features.storage.lake import USERS_FILE, Lake
from features.tables.parquet_files import read_parquet, write_parquet
from serving.decide.decision_columns import SCHEMA
from serving.memberships.segment_day import load_rules, write_segments
from serving.memberships.size_history import week_change
from serving.memberships.stored_segments import (
    CHANGES,
    SEGMENTS,
    SIZES,
    TRANSITIONS,
    read_rows,
    read_rules,
    stored_name,
)
from serving.memberships.user_memberships import user_memberships
from serving.stored_days.day_tables import day_folder

DAY = date(2024, 7, 1)
BEFORE = DAY - timedelta(days=1)
FEATURES = declarations_of(load_settings()).catalogue()
RULES = """
[busy]
title = "Busy"
meaning = "active on five days or more"
when = "active_days_count_28d >= 5"

[busy_and_late]
title = "Busy and late"
meaning = "busy, and late"
when = "busy AND overdue_ratio_365d > 2"

[risky]
title = "Risky"
meaning = "half of them leave"
when = "p_churn >= 0.5"

[big]
title = "Big"
meaning = "the fifth that spends most"
when = "quintile(spend_sum_365d) = 5"
"""
Row = dict[str, Any]


def settings_of(tmp_path: Path, rules: str = RULES, **more: object) -> Settings:
    (tmp_path / "rules.toml").write_text(rules, encoding="utf-8")
    return load_settings(data_dir=tmp_path / "data", segments={"files": [str(tmp_path / "rules.toml")], **more})


def write_snapshot(lake: Lake, day: date, users: dict[str, Row]) -> None:
    """Store a snapshot in which users are as here, and usual in everything else."""
    usual = {"tenure_days": 300.0, "days_since_last_activity": 3.0, "gap_days_mean_365d": 9.0}
    own: dict[str, pa.Array] = {"user_id": pa.array([*users], pa.string())}
    for each in FEATURES:
        filler = 0.0 if each.missing == "zero" else None
        kind = pa.string() if each.is_text else pa.float64()
        own[each.name] = pa.array([row.get(each.name, usual.get(each.name, filler)) for row in users.values()], kind)
    write_parquet(pa.table(own), lake.partition("snapshots", day))


def decide(lake: Lake, day: date, p_churn: dict[str, float], options: dict[str, list[float]] | None = None) -> None:
    """Store decisions of a day, and what two options would bring each user."""
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = [
        {"user_id": each, "as_of": moment, "p_churn": risk, "risk_band": "high" if risk >= 0.5 else "low",
         "retained_value": 10.0}
        for each, risk in p_churn.items()
    ]  # fmt: skip
    write_parquet(pa.Table.from_pylist(rows, schema=SCHEMA), day_folder(lake, day) / "decisions.parquet")
    worth = [(each, value) for each in p_churn for value in (options or {}).get(each, [-1.0, -2.0])]
    table = {
        "user_id": [each for each, _ in worth], "value": [value for _, value in worth],
        "incremental_margin": [value for _, value in worth],
        "incremental_retention": [value / 10 for _, value in worth], "p_redeem": [0.1] * len(worth),
    }  # fmt: skip
    write_parquet(pa.table(table), day_folder(lake, day) / "options.parquet")


def run(settings: Settings, day: date) -> Lake:
    lake = Lake(settings.data_dir)
    with lake.files.lock("test"):
        write_segments(settings, lake, day, load_rules(settings, lake))
    return lake


def members(lake: Lake, name: str, day: date = DAY) -> list[str]:
    rows = read_rows(lake, day, SEGMENTS)
    return [row["user_id"] for row in rows if row[name]]


def changes(lake: Lake, day: date = DAY) -> dict[tuple[str, str], Row]:
    return {(row["user_id"], row["segment"]): row for row in read_rows(lake, day, CHANGES)}


def active(days: float, overdue: float = 0.0, spend: float = 0.0) -> Row:
    own = {"active_days_count_28d": days, "active_days_count_90d": days + 9, "active_days_count_365d": days + 30}
    return {**own, "overdue_ratio_365d": overdue, "spend_sum_365d": spend}


def two_days(tmp_path: Path, **more: object) -> tuple[Settings, Lake]:
    """One user moved by activity, one by rhythm, one by risk; one came and one went."""
    settings = settings_of(tmp_path, **more)
    lake = Lake(settings.data_dir)
    then = {"a": active(4), "b": active(7, 1.0), "c": active(5), "d": active(9), "e": active(1)}
    now = {"a": active(6), "b": active(7, 3.0), "c": active(4), "e": active(1), "f": active(5)}
    for day, users, risk in ((BEFORE, then, 0.1), (DAY, now, 0.7)):
        write_snapshot(lake, day, users)
        decide(lake, day, dict.fromkeys(users, 0.2) | {"e": risk})
    return settings, lake


def test_members_are_those_who_fulfil_the_rule(tmp_path: Path) -> None:
    settings, _ = two_days(tmp_path)
    lake = run(settings, DAY)
    assert members(lake, "busy") == ["a", "b", "f"]
    assert members(lake, "busy_and_late") == ["b"]
    assert members(lake, "risky") == ["e"]
    assert {row["stage"] for row in read_rows(lake, DAY, SEGMENTS)} == {"engaged"}


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_change_has_its_reason_and_the_part_that_turned_with_both_values(tmp_path: Path, is_kept: bool) -> None:
    settings, _ = two_days(tmp_path)
    if is_kept:
        run(settings, BEFORE)
    found = changes(run(settings, DAY))
    assert {key: (row["is_member"], row["reason"]) for key, row in found.items()} == {
        ("a", "busy"): (True, "moved"), ("b", "busy_and_late"): (True, "moved"), ("c", "busy"): (False, "moved"),
        ("d", "busy"): (False, "forgotten"), ("e", "risky"): (True, "moved"), ("f", "busy"): (True, "new user"),
    }  # fmt: skip
    assert [each["part"] for each in found["b", "busy_and_late"]["parts"]] == ["overdue_ratio_365d > 2"]
    (turned,) = found["a", "busy"]["parts"]
    assert (turned["column"], turned["number_before"], turned["number"]) == ("active_days_count_28d", 4.0, 6.0)
    (turned,) = found["e", "risky"]["parts"]
    assert (turned["part"], turned["number_before"], turned["number"]) == ("p_churn >= 0.5", 0.1, 0.7)
    assert found["d", "busy"]["parts"] is None


def test_who_is_in_by_a_changed_rule_did_not_move_unless_they_did(tmp_path: Path) -> None:
    settings, lake = two_days(tmp_path)
    run(settings, BEFORE)
    wider = settings_of(tmp_path, RULES.replace(">= 5", ">= 3").replace("[big]", "[huge]"))
    found = changes(run(wider, DAY))
    reasons = {user: row["reason"] for (user, segment), row in found.items() if segment == "busy"}
    assert reasons == {"a": "definition", "d": "forgotten", "f": "new user"}  # by the new rule a was in it with 4 days
    assert found["b", "busy_and_late"]["reason"] == "moved"
    lake.partition("snapshots", BEFORE).unlink()  # what they did then is not kept any more
    again = changes(run(wider, DAY))
    assert again["b", "busy_and_late"]["reason"] == "definition"  # cannot be told, so it starts nothing
    assert again["e", "risky"] == found["e", "risky"] | {"parts": None}


def test_a_segment_that_is_no_more_was_left_by_its_definition(tmp_path: Path) -> None:
    settings, _ = two_days(tmp_path)
    run(settings, BEFORE)
    fewer = settings_of(tmp_path, RULES.partition("[busy_and_late]")[0].replace("[busy]", "[active]"))
    found = changes(run(fewer, DAY))
    assert {user: row["reason"] for (user, name), row in found.items() if name == "busy"} == {
        "b": "definition", "c": "definition", "d": "forgotten",
    }  # fmt: skip
    assert {user: row["reason"] for (user, name), row in found.items() if name == "active"} == {
        "a": "moved", "b": "definition", "f": "new user",
    }  # fmt: skip


def test_a_rerun_writes_the_same_bytes(tmp_path: Path) -> None:
    settings, lake = two_days(tmp_path)
    run(settings, DAY)
    files = sorted((lake.root / SEGMENTS / f"day={DAY}").glob("*.parquet"))
    assert {file.stem for file in files} == {SEGMENTS, CHANGES, SIZES, TRANSITIONS}
    first = [file.read_bytes() for file in files]
    run(settings, DAY)
    assert [file.read_bytes() for file in files] == first


@pytest.mark.parametrize("is_published", [False, True], ids=["by hand", "published"])
def test_another_table_in_the_place_of_a_days_segments_is_named(tmp_path: Path, is_published: bool) -> None:
    settings, lake = two_days(tmp_path)
    run(settings, DAY)
    name = stored_name(DAY, SEGMENTS)
    other = lake.path(stored_name(DAY, SIZES)).read_bytes()
    if is_published:
        with lake.files.publish() as publication:
            publication.path(name).write_bytes(other)
    else:
        lake.path(name).write_bytes(other)
    with pytest.raises(InputError, match=r"segments\.parquet .*run winback score-users --as-of 2024-07-01"):
        read_rules(lake, DAY)


def test_a_day_without_segments_is_named(tmp_path: Path) -> None:
    _, lake = two_days(tmp_path)
    with pytest.raises(InputError, match="holds no segments of 2020-01-01; run winback score-users --as-of 2020-01-01"):
        read_rules(lake, date(2020, 1, 1))


def test_sizes_count_who_came_and_left_by_reason(tmp_path: Path) -> None:
    settings, _ = two_days(tmp_path)
    (busy, *_) = read_rows(run(settings, DAY), DAY, SIZES)
    assert (busy["segment"], busy["users"], busy["came_moved"], busy["came_new_user"]) == ("busy", 3, 1, 1)
    assert (busy["left_moved"], busy["left_forgotten"], busy["compared_with"]) == (1, 1, BEFORE)
    assert {(each["part"], each["is_member"], each["users"]) for each in busy["moved_by"]} == {
        ("active_days_count_28d >= 5", True, 1), ("active_days_count_28d >= 5", False, 1), ("forgotten", False, 1),
    }  # fmt: skip


def test_who_refuses_profiling_is_in_no_segment_but_has_a_stage(tmp_path: Path) -> None:
    settings, lake = two_days(tmp_path)
    users = pa.table({"user_id": ["a", "b"], "consent_profiling": pa.array([False, None], pa.bool_())})
    write_parquet(users, lake.path(USERS_FILE))
    assert members(run(settings, DAY), "busy") == ["b", "f"]
    strict = settings.model_copy(update={"contact": settings.contact.model_copy(update={"unknown_consent": "refused"})})
    run(strict, DAY)
    assert members(lake, "busy") == []
    assert len(read_rows(lake, DAY, SEGMENTS)) == 5


def test_the_best_option_of_each_user_is_their_own(tmp_path: Path) -> None:
    rules = "[good]\ntitle = 'G'\nmeaning = 'm'\nwhen = 'offer_value_max > 0 AND incremental_retention_max > 0.1'\n"
    settings = settings_of(tmp_path, rules)
    lake = Lake(settings.data_dir)
    write_snapshot(lake, DAY, {each: active(5) for each in "abc"})
    decide(lake, DAY, dict.fromkeys("abc", 0.2), {"a": [-1.0, 0.5], "b": [2.0, -1.0], "c": [0.2, 0.9]})
    assert members(run(settings, DAY), "good") == ["b"]


def test_fifths_split_those_who_have_some_and_every_buyer_is_in_one_group_of_recency_and_frequency(
    tmp_path: Path,
) -> None:
    settings = load_settings(data_dir=tmp_path / "data", segments={"files": ["rfm", "buying"]})
    lake, chance = Lake(settings.data_dir), np.random.default_rng(1)
    bought = chance.poisson(3, 400).astype(float)
    users = {
        f"u{place:03d}": active(3, spend=10.0 * count) | {
            "purchases_count_365d": count,
            "days_since_last_purchase": float(chance.integers(1, 60)) if count else None,
        }
        for place, count in enumerate(bought)
    }  # fmt: skip
    write_snapshot(lake, DAY, users)
    decide(lake, DAY, dict.fromkeys(users, 0.2))
    run(settings, DAY)
    rows = read_rows(lake, DAY, SEGMENTS)
    groups = [row["segment"] for row in read_rows(lake, DAY, SIZES) if row["group"] == "rfm"]
    assert [sum(row[name] for name in groups) for row in rows] == [int(count > 0) for count in bought]
    cut = float(np.quantile(bought[bought > 0], 0.8, method="inverted_cdf"))
    assert [row["big_spenders"] for row in rows] == (bought > cut).tolist()


def test_a_week_that_stands_out_is_named_with_what_moved_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, weeks=4, min_weeks=3)
    lake = Lake(settings.data_dir)
    for week in range(1, 6):
        users = {f"u{place:03d}": active(5.0 if place < 100 + week % 2 else 1.0) for place in range(200)}
        write_snapshot(lake, DAY - timedelta(days=7 * week), users)
    write_snapshot(lake, DAY, {f"u{place:03d}": active(5.0 if place < 160 else 1.0) for place in range(200)})
    decide(lake, DAY, {f"u{place:03d}": 0.2 for place in range(200)})
    rows = {row["segment"]: row for row in read_rows(run(settings, DAY), DAY, SIZES)}
    busy = rows["busy"]
    assert (busy["users"], busy["before"], busy["change"], busy["weeks"], busy["is_unusual"]) == (160, 101, 59, 4, True)
    assert busy["week_moved_by"] == [{"part": "active_days_count_28d >= 5", "is_member": True, "users": 59}]
    assert not rows["busy_and_late"]["is_unusual"]
    assert rows["risky"]["change"] is None  # nothing was predicted a week ago


def test_the_spread_of_a_week_is_that_of_the_weeks_before_by_hand() -> None:
    settings = load_settings().segments
    found = week_change([1000, 1400, 1200, 1250, 1210, 1300, 1240], settings)
    # changes before: 200, -50, 40, -90, 60; median 40, absolute deviations 160, 90, 0, 130, 20, median 90
    assert (found.usual, found.change, found.weeks) == (40.0, -400, 5)
    assert found.spread == pytest.approx(1.4826 * 90)
    assert found.score == pytest.approx(-440 / (1.4826 * 90))
    assert not found.is_unusual
    assert week_change([100, 100, 100, 100, 100, 100], settings).spread == 10  # chance alone


def test_the_stage_of_the_stored_snapshot_is_that_of_the_decisions(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    lake, chance = Lake(settings.data_dir), np.random.default_rng(2)
    names = ["days_since_last_activity", "tenure_days", "active_days_count_28d", "active_days_trend_28d",
             "gap_days_std_365d", "days_since_last_cancellation"]  # fmt: skip
    users = {
        f"u{place:03d}": {name: float(chance.integers(0, 120)) if chance.random() < 0.8 else None for name in names}
        for place in range(300)
    }
    write_snapshot(lake, DAY, users)
    decide(lake, DAY, dict.fromkeys(users, 0.2))
    run(settings, DAY)
    frame = read_parquet(lake.partition("snapshots", DAY)).to_pandas()
    stored = [row["stage"] for row in read_rows(lake, DAY, SEGMENTS)]
    assert stored == load_rules(settings, lake).stages.of(frame).tolist()
    assert len(set(stored)) >= 5


def test_a_user_is_told_what_they_are_in_and_by_which_values(tmp_path: Path) -> None:
    settings, _ = two_days(tmp_path)
    lake = run(settings, DAY)
    found = user_memberships(settings, lake, DAY, "b")
    assert found is not None
    assert (found.stage.title, [each.name for each in found.segments]) == ("Engaged", ["busy", "busy_and_late"])
    assert found.segments[1].values == (
        {"column": "active_days_count_28d", "value": None, "number": 7.0},
        {"column": "overdue_ratio_365d", "value": None, "number": 3.0},
    )
    assert [change["segment"] for change in found.changes] == ["busy_and_late"]
    assert user_memberships(settings, lake, DAY, "nobody") is None
