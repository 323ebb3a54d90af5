"""Small inputs that came out wrong in time, each with its right value: ../shared/cases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from apps import App

from configs.offers import load_catalogue
from configs.settings import load_settings
from features.arrays.calendar_days import start_of
from features.engine.users_reader import read_traits
from features.materialise.as_of_view import snapshot_days
from features.tables.row_group_reader import KeyRange
from features.training_data.feature_store import open_store
from features.training_data.frames import redemption_frame
from features.training_data.snapshot_run import bring_snapshots_up_to_date

Case = Callable[[str], App]


@pytest.fixture
def case(repository: Path, tmp_path: Path) -> Case:
    """The app of a case, ingested."""

    def opened(number: str) -> App:
        folder = next(iter((repository.parent / "shared" / "cases").glob(f"{number}-*")), None)
        if folder is None:
            pytest.skip("no ../shared/cases")
        ingest = {"source": str(folder / "source.sql"), "raw": str(folder / "raw")}
        app = App(load_settings(str(folder / "profile.toml"), tmp_path, ingest=ingest))
        app.ingest()
        return app

    return opened


def test_a_clock_that_was_reset_makes_no_history(case):
    app = case("05")
    app.aggregate()
    as_of = app.settings.as_of
    days = snapshot_days(app.settings, app.lake, as_of, holdouts=())
    assert days == [date(2024, 2, day) for day in (2, 9, 16, 23)] + [as_of]
    assert app.snapshots(as_of).loc[("b", as_of), "tenure_days"] == 60


def test_both_treatments_of_a_day_of_25_hours_carry_its_snapshot(case):
    app, day = case("07"), date(2024, 10, 27)
    app.aggregate()
    app.snapshots(day)
    with app.history(app.settings.as_of) as history:
        store = open_store(app.lake, history.features)
        frame = redemption_frame(history, store, load_catalogue(app.settings.offers))
    assert frame.set_index("user_id")["spend_sum_90d"].to_dict() == {"a": 100.0, "b": 100.0}


def test_a_trait_of_today_is_none_of_months_ago(case):
    app = case("30")
    for day, wanted in ((date(2024, 6, 6), {None}), (app.settings.as_of, {"open", "closed"})):
        found = read_traits(app.lake, {"account_status": True}, "UTC", KeyRange(), start_of(day, "UTC"))
        assert set(found["trait_account_status"].to_pylist()) == wanted


def test_a_day_without_events_is_built_the_first_time_and_again(case):
    app = case("35")
    app.aggregate()
    runs = [bring_snapshots_up_to_date(app.settings, app.lake, app.settings.as_of) for _ in range(2)]
    assert [len(run.built) for run in runs] == [2, 0]
