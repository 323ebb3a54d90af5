"""Days that were missed or decided short of events: told by the daily rows that are known by now, and mostly none."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from apps import TINY_AS_OF
from pandas.testing import assert_frame_equal

from configs.offers import Catalogue
from configs.settings import load_settings
from features.materialise.as_of_view import open_as_of
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import Lake
from features.tables.fingerprints import write_daily_rows
from features.tables.known_rows import known_rows
from features.tables.parquet_files import read_parquet, write_parquet
from features.training_data.feature_store import open_store
from flows.build_features import take_snapshots
from serving.decide.decided_day import users_of_day
from serving.stored_days.day_basis import basis_changes, basis_table, rows_known_then
from serving.stored_days.short_days import days_since_complete, is_short

TODAY = date(2024, 7, 10)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def known(lake: Lake, day: date, rows: dict[date, int]) -> None:
    """Write daily rows of a day, so many that became known on each of some days."""
    known_on = [each for each, count in rows.items() for _ in range(count)]
    users = [f"u{number}" for number in range(len(known_on))]
    table = pa.table({"user_id": users, "known_on": pa.array(known_on, pa.date32())})
    write_daily_rows(table, lake.partition("aggregates", day), "input")


def decided(lake: Lake, day: date, rows_known: int | None, *, snapshot: bool = True) -> None:
    """Store a day that was decided when so many daily rows were known."""
    write_parquet(pa.table({"user_id": ["a"]}), lake.partition("decisions", day))
    basis = basis_table("churn-a-1", load_settings(), Catalogue(offers=()), rows_known)
    write_parquet(basis, lake.path("decisions", f"day={day}", "basis.parquet"))
    if snapshot:
        write_parquet(pa.table({"user_id": ["a"]}), lake.partition("snapshots", day))


def test_rows_are_counted_that_were_known_of_the_month_before(tmp_path):
    lake = Lake(tmp_path)
    known(lake, ago(3), {ago(3): 5, ago(2): 3, ago(1): 2})
    known(lake, ago(31), {ago(31): 40})
    assert [known_rows(lake, ago(days)) for days in (3, 2, 1, 0, -1)] == [40, 45, 48, 50, 10]


@pytest.mark.parametrize(("then", "short"), [(None, False), (200, False), (198, True), (199, False), (210, False)])
def test_a_day_is_short_of_which_more_than_a_hundredth_was_known_late(tmp_path, then, short):
    lake = Lake(tmp_path)
    known(lake, ago(3), {ago(3): 200, ago(1): 99})
    decided(lake, ago(1), then)
    assert rows_known_then(lake, ago(1)) == then
    assert is_short(lake, ago(1)) is short  # 199 times 1.01 is 200.99


@pytest.mark.parametrize(
    ("then", "snapshots", "since"),
    [
        ({3: 90, 2: 100, 1: 100}, (3, 2, 1), []),  # an ordinary night, whatever was before
        ({4: 100, 3: 90, 2: 90}, (4, 3, 2, 1), [3, 2, 1]),  # two were short, one was missed
        ({4: 100, 3: 90, 2: 90}, (4, 3, 1), [1]),  # a snapshot is gone
        ({4: 100, 2: 90}, (4, 3, 2), []),  # nobody made up for the last one
        ({2: 90}, (4, 3, 2, 1), [2, 1]),  # nothing was decided before
        ({}, (3, 2, 1), []),
    ],
    ids=["ordinary", "short", "gone", "not caught up", "first", "undecided"],
)
def test_days_count_in_a_row_since_the_newest_that_was_complete(tmp_path, then, snapshots, since):
    lake = Lake(tmp_path)
    known(lake, ago(8), {ago(8): 100})
    for days, rows in then.items():
        decided(lake, ago(days), rows, snapshot=False)
    for days in snapshots:
        write_parquet(pa.table({"user_id": ["a"]}), lake.partition("snapshots", ago(days)))
    assert days_since_complete(lake, TODAY) == [ago(days) for days in since]


def test_how_many_rows_were_known_is_no_change_of_what_decides(tmp_path):
    lake = Lake(tmp_path)
    decided(lake, ago(2), 100)
    decided(lake, ago(1), 120)
    assert basis_changes(lake, [ago(2), ago(1)]) == []


def test_the_snapshots_of_short_days_are_brought_up_to_date_before_todays(tmp_path, copy_tiny):
    app, yesterday = copy_tiny(tmp_path), TINY_AS_OF - timedelta(days=1)
    take_snapshots.fn(app.settings, app.lake, yesterday, only_today=True)
    snapshot = read_parquet(app.lake.partition("snapshots", yesterday))
    complete = known_rows(app.lake, yesterday)
    for rows, days in ((complete - 1, [TINY_AS_OF]), (complete // 2, [yesterday, TINY_AS_OF])):
        decided(app.lake, yesterday, rows)  # its snapshot is no longer that of the rows
        run = take_snapshots.fn(app.settings, app.lake, TINY_AS_OF, only_today=True)
        assert run.days == days
    assert read_parquet(app.lake.partition("snapshots", yesterday)).equals(snapshot)


def test_the_users_of_an_earlier_day_are_read_as_scoring_reads_them(tmp_path, copy_tiny):
    app, yesterday = copy_tiny(tmp_path), TINY_AS_OF - timedelta(days=1)
    scoring = app.settings.scoring.model_copy(update={"batch_users": 100})
    settings = app.settings.model_copy(update={"scoring": scoring})
    with open_as_of(settings, app.lake, TINY_AS_OF) as history:
        build_snapshots(history, [yesterday, TINY_AS_OF])
        found = list(users_of_day(history, Catalogue(offers=()), yesterday, ("snack",)))
        open_store(app.lake, history.features, only=TINY_AS_OF)
    assert [len(frame) for frame, _ in found] == [100, 60]
    columns = ["user_id", "spend_sum_90d", "days_since_last_activity"]
    stored = read_parquet(app.lake.partition("snapshots", yesterday), columns).to_pandas()
    frames = [frame for frame, _ in found]
    for frame, rows in zip(frames, (stored[:100], stored[100:]), strict=True):
        assert_frame_equal(frame[columns], rows.reset_index(drop=True), check_dtype=False)
        assert "taste_share_90d:snack" in frame
    is_active = np.concatenate([active for _, active in found])
    lapsed = stored["days_since_last_activity"] > settings.churn.lookback_days
    assert lapsed.sum() > 0 and not is_active[lapsed].any() and is_active.sum() > 50
