"""As-of view: the lake as it stood at one moment, and the snapshots that are due."""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
import pytest
from apps import TINY_AS_OF, App, event, small_app, tiny_app, treatment
from pandas.testing import assert_frame_equal

from configs.errors import InputError
from features.materialise.as_of_view import first_event_day, open_as_of, snapshot_days, stray_note
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import USERS_FILE
from features.training_data.snapshot_run import bring_snapshots_up_to_date

DAYS = [date(2024, 4, 1), date(2024, 5, 1)]


def built(app: App, *days: date) -> list[date]:
    with app.history(max(days)) as history:
        return build_snapshots(history, list(days))


def test_snapshots_of_a_lake_cut_at_as_of_equal_those_of_the_whole_lake(tiny, tmp_path):
    start = pd.Timestamp(DAYS[0], tz="UTC")
    whole = tiny.snapshots(*DAYS)
    cut = tiny_app(tmp_path)
    raw = tmp_path / "raw" / "events.parquet"
    events = pd.read_parquet(raw)
    events[events.received_at.fillna(events.occurred_at) < start].to_parquet(raw, index=False)
    cut.ingest()
    cut.aggregate()
    assert_frame_equal(
        cut.snapshots(DAYS[0]).dropna(axis=1, how="all"), whole.loc[(slice(None), DAYS[0]), :].dropna(axis=1, how="all")
    )


def test_a_history_holds_nothing_from_as_of_on(tiny):
    day = DAYS[0]
    with tiny.history(day) as history:
        events = history.events.select("occurred_at", "received_at").to_pandas()
        latest = events.received_at.fillna(events.occurred_at).max()
        assert latest < pd.Timestamp(day, tz="UTC")
        assert history.treatments.decided_at.max().execute() < pd.Timestamp(day, tz="UTC")
        for table in (history.aggregates, history.category_hour_counts):
            latest_day = max(table.day.max().execute(), table.known_on.max().execute()).date()
            assert latest_day == day - timedelta(days=1)


def test_an_event_that_became_known_late_is_not_in_the_history_before(tmp_path):
    late = event("a", "2024-03-01 10:00", "purchase", received_at="2024-03-05 10:00")
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase"), late])
    app.ingest()
    app.aggregate()
    counts = {}
    for day in (date(2024, 3, 2), date(2024, 3, 5), date(2024, 3, 6)):
        with app.history(day) as history:
            counts[day.day] = int(history.events.count().execute())
    assert counts == {2: 1, 5: 1, 6: 2}


def test_unchanged_input_computes_no_snapshot_again(copy_tiny, tmp_path):
    app = copy_tiny(tmp_path)
    assert built(app, *DAYS) == DAYS
    before = {day: app.lake.partition("snapshots", day).stat().st_mtime_ns for day in DAYS}
    assert built(app, *DAYS) == []
    assert {day: app.lake.partition("snapshots", day).stat().st_mtime_ns for day in DAYS} == before


def test_a_late_event_changes_later_snapshots_and_no_earlier_ones(copy_tiny, tmp_path):
    app = copy_tiny(tmp_path)
    days = [date(2024, 3, 20), date(2024, 4, 1), date(2024, 4, 21)]
    before = app.snapshots(*days)
    app.write(
        events=[event("u001", "2024-03-20 10:00", "purchase", amount=77.0, received_at="2024-04-20 10:00")]
    ).ingest()
    app.aggregate()
    assert built(app, *days) == days[2:]  # what was known by April 1 is as it was
    after = app.snapshots(*days)
    assert_frame_equal(after.drop(days[2], level="day"), before.drop(days[2], level="day"))
    spent = after.spend_sum_90d - before.spend_sum_90d
    assert spent[spent != 0].round(2).to_dict() == {("u001", days[2]): 77.0}


def test_changed_users_compute_every_snapshot_again(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")], users=[{"user_id": "a"}])
    app.ingest()
    app.aggregate()
    assert built(app, DAYS[0]) == [DAYS[0]]
    app.write(events=[event("a", "2024-03-01 09:00", "purchase")], users=[{"user_id": "b"}]).ingest()
    assert built(app, DAYS[0]) == [DAYS[0]]


def test_a_changed_declaration_computes_every_snapshot_again(copy_tiny, tmp_path, monkeypatch):
    app = copy_tiny(tmp_path)
    built(app, DAYS[0])
    monkeypatch.setattr("features.materialise.build_snapshots.code_version", lambda _: "another")
    assert built(app, DAYS[0]) == [DAYS[0]]


def test_a_corrupt_snapshot_is_computed_again(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")])
    app.ingest()
    app.aggregate()
    built(app, DAYS[0])
    good = app.lake.partition("snapshots", DAYS[0]).read_bytes()
    app.lake.partition("snapshots", DAYS[0]).write_bytes(b"broken")
    assert built(app, DAYS[0]) == [DAYS[0]]
    assert app.lake.partition("snapshots", DAYS[0]).read_bytes() == good


def test_snapshots_in_shards_of_users_equal_snapshots_at_once(tiny, copy_tiny, tmp_path, monkeypatch):
    at_once = tiny.snapshots(*DAYS)
    monkeypatch.setattr("features.engine.snapshot_builder.ROWS_AT_ONCE", 900)  # four or five shards
    app = copy_tiny(tmp_path)
    assert_frame_equal(app.snapshots(*DAYS), at_once)


def test_snapshot_days_are_as_of_a_grid_the_holdouts_and_the_treated_days(tmp_path):
    events = [event("a", f"2024-{month:02d}-01 09:00", "purchase") for month in (1, 2, 3)]
    treatments = [treatment("a", moment, "come_back", 0.1) for moment in ("2024-01-01", "2024-01-05", "2024-03-02")]
    app = small_app(
        tmp_path,
        overrides={"features": {"snapshot_every_days": 7, "min_history_days": 40}},
        events=events,
        treatments=treatments,
    )
    app.ingest()
    found = snapshot_days(app.settings, app.lake, date(2024, 3, 1), holdouts=(10, 25))
    grid = [date(2024, 2, 16), date(2024, 2, 23)]  # 2024-02-10 is the first day with 40 days of history
    assert found == [date(2024, 1, 5), *grid[:1], date(2024, 2, 20), *grid[1:], date(2024, 3, 1)]


@pytest.mark.parametrize(
    ("strays", "pause", "is_history"),
    [(1, 8766, False), (1, 366, False), (1, 365, True), (2, 8766, True), (0, 400, True)],
)
def test_a_history_begins_after_the_events_of_clocks_that_were_reset(tmp_path, strays, pause, is_history):
    first = date(2024, 1, 1)
    stray = [event("a", f"{first - timedelta(days=pause)} 0{number}:00", "purchase") for number in range(strays)]
    days = [first + timedelta(days=day) for day in range(30)]
    app = small_app(tmp_path, overrides={"features": {"min_history_days": 28}}, events=[
        *stray, *(event("a", f"{day} 09:00", "purchase") for day in days),
    ])  # fmt: skip
    app.ingest()
    as_of = date(2024, 2, 5)
    begins = first - timedelta(days=pause) if is_history and strays else first
    assert first_event_day(app.lake, as_of) == begins
    assert len(snapshot_days(app.settings, app.lake, as_of, holdouts=())) == 1 + (as_of - begins).days // 7 - 4
    said = stray_note(app.lake, as_of)
    assert len(said) == (not is_history)
    assert all(f"1 events on 1 days from {first - timedelta(days=pause)} to" in each for each in said)


def test_a_young_app_has_only_the_snapshot_of_today(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")])
    app.ingest()
    assert snapshot_days(app.settings, app.lake, date(2024, 3, 5), holdouts=(3,)) == [date(2024, 3, 5)]


def test_an_app_without_users_and_treatments_has_snapshots(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")])
    app.ingest()
    app.aggregate()
    with app.history(date(2024, 3, 5)) as history:
        assert (history.treatments, history.traits, history.first_day) == (None, {}, date(2024, 3, 1))
    assert app.snapshots(date(2024, 3, 5)).tenure_days.tolist() == [4]


def test_the_catalogue_of_a_history_holds_its_traits(tiny):
    with tiny.history(TINY_AS_OF) as history:
        traits = {feature.name for feature in history.features if feature.view == "traits"}
    names = ("country", "device", "plan", "household_size")
    assert traits == {f"trait_{name}" for name in names}


def test_an_empty_lake_says_what_to_run_first(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")])
    with pytest.raises(InputError, match=r"holds no events; run winback ingest first"), app.history(DAYS[0]):
        pass
    app.ingest()
    with (
        pytest.raises(InputError, match=r"no daily aggregates; run winback build-features first"),
        app.history(DAYS[0]),
    ):
        pass


@pytest.mark.parametrize("day", [date(2024, 3, 1), date(2020, 1, 1)])
def test_a_date_without_history_is_refused(tmp_path, day):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase"), event("a", "2024-04-01", "purchase")])
    app.ingest()
    app.aggregate()
    sentence = (
        rf"no event lies before as_of = {day}; the history runs from 2024-03-01 to 2024-04-01, choose a later day"
    )
    with pytest.raises(InputError, match=sentence), app.history(day):
        pass


@pytest.mark.parametrize("table", ["aggregates", "category_hour_counts", "users"])
def test_a_corrupt_file_is_named(tmp_path, table):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")], users=[{"user_id": "a", "pets": 1}])
    app.ingest()
    app.aggregate()
    path = app.lake.path("users", "users.parquet") if table == "users" else app.lake.partition(table, date(2024, 3, 1))
    path.write_bytes(b"broken")
    with (
        pytest.raises(InputError, match=rf"{table}\.parquet"),
        open_as_of(app.settings, app.lake, DAYS[0]) as history,
    ):
        getattr(history, table)


def test_scoring_needs_one_snapshot_and_training_more(tmp_path, copy_tiny):
    app = copy_tiny(tmp_path)
    app.aggregate()
    day = date(2024, 6, 15)
    only = bring_snapshots_up_to_date(app.settings, app.lake, day, only_today=True)
    assert (only.days, only.built) == ([day], [day])
    snapshots = bring_snapshots_up_to_date(app.settings, app.lake, day)
    days, built = snapshots.days, snapshots.built
    assert len(days) > 1 and day in days and day not in built


def test_a_users_table_that_is_not_what_was_written_is_refused_and_one_that_is_gone_is_not_nobody(tmp_path):
    app = small_app(tmp_path, events=[event("a", "2024-03-01 09:00", "purchase")], users=[{"user_id": "a"}])
    app.ingest()
    app.aggregate()
    path = app.lake.path(USERS_FILE)
    pd.read_parquet(path)[["user_id"]].to_parquet(path)
    with pytest.raises(InputError, match="is damaged: it is not what was written"), app.history(date(2024, 3, 2)):
        pass
    path.unlink()
    with pytest.raises(InputError, match="is missing, and was written"), app.history(date(2024, 3, 2)):
        pass
