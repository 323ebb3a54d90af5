"""The profile of a data folder: found from everywhere, kept whole, never another app's of the same name."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import InputError
from configs.offers import load_catalogue
from configs.settings import load_settings
from features.storage.lake import Lake
from flows.runs.kept_profile import (
    changed_settings,
    kept_profile,
    of_this_run,
    remember_built,
    remember_profile,
    settings_of,
)
from flows.runs.opened_run import open_run
from serving.stored_days.day_tables import NEWEST_COLUMN, day_folder, decisions_source

PROFILE = """
app = "Shop"
offers = "offers.toml"

[roles]
activity = ["purchase"]
value = ["purchase"]

[ingest]
source = "source.sql"
raw = "exports"
"""
OFFERS = """
[tea]
title = "Tea"
play = "p"
channel = "push"
message = "{{ discount }} off"
discounts = [0.1]
valid_days = 7
contact_cost = 0
covered_spend = 1
"""


def app_folder(folder: Path, profile: str = PROFILE) -> Path:
    """Write a profile with a source, raw files and offers beside it; returns the profile's path."""
    (folder / "exports").mkdir(parents=True)
    (folder / "source.sql").write_text("CREATE VIEW events AS SELECT 1", encoding="utf-8")
    (folder / "offers.toml").write_text(OFFERS, encoding="utf-8")
    (folder / "profile.toml").write_text(profile, encoding="utf-8")
    return folder / "profile.toml"


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A data folder that was filled with `profile.toml`, named by its bare name from its own folder."""
    profile, lake = app_folder(tmp_path / "shop"), Lake(tmp_path / "data")
    monkeypatch.chdir(profile.parent)
    remember_profile(lake, "profile.toml")
    return lake


def test_paths_in_a_profile_are_relative_to_its_folder(tmp_path, monkeypatch):
    profile = app_folder(tmp_path / "shop", PROFILE.replace('"source.sql"', '"source"'))
    monkeypatch.chdir("/")
    settings = load_settings(str(profile))
    assert (settings.ingest.source, settings.ingest.raw) == (
        str(profile.parent / "source.sql"),
        str(profile.parent / "exports"),
    )
    assert settings.offers == str(profile.parent / "offers.toml")


def test_raw_files_are_beside_a_profile_that_does_not_say_where(tmp_path, monkeypatch):
    profile = app_folder(tmp_path / "shop", PROFILE.replace('raw = "exports"', ""))
    monkeypatch.chdir("/")
    assert load_settings(str(profile)).ingest.raw == str(profile.parent / "raw")
    assert load_settings(f"{profile},complete_journey").ingest.raw.startswith("package:")


def test_the_profile_is_found_from_everywhere(filled, tmp_path, monkeypatch):
    other = app_folder(tmp_path / "other", PROFILE.replace("purchase", "order"))
    for place in ("/", other.parent):
        monkeypatch.chdir(place)
        assert settings_of(None, filled.root).roles.value == ("purchase",)
    with pytest.raises(
        InputError, match=r"holds the data of profile 'profile' .*, not of 'profile\.toml', which is an"
    ):
        settings_of("profile.toml", filled.root)
    assert settings_of(str(tmp_path / "shop" / "profile.toml"), filled.root).app == "Shop"


def test_the_same_words_elsewhere_are_the_same_profile(filled, tmp_path):
    moved = app_folder(tmp_path / "moved")
    assert settings_of(str(moved), filled.root).ingest.raw == str(moved.parent / "exports")


def test_what_is_kept_suffices_where_the_files_are_gone(filled, tmp_path):
    (tmp_path / "shop").rename(tmp_path / "gone")
    filled.root.rename(tmp_path / "copy")
    settings = settings_of(None, tmp_path / "copy")
    assert (settings.app, settings.profile, settings.data_dir) == ("Shop", "profile", tmp_path / "copy")
    assert load_catalogue(settings.offers).titles == {"tea": "Tea"}
    assert Path(settings.ingest.source).read_text(encoding="utf-8") == "CREATE VIEW events AS SELECT 1"


def test_a_profile_about_machines_is_laid_over_the_kept_one(filled, tmp_path):
    for _ in ("with its files", "without them"):
        settings = settings_of("spark", filled.root)
        assert (settings.engine, settings.app, settings.profile) == ("spark", "Shop", "profile")
        if (tmp_path / "shop").exists():
            (tmp_path / "shop").rename(tmp_path / "gone")


def test_raw_files_behind_a_link_are_no_change(tmp_path):
    profile, lake = app_folder(tmp_path / "shop"), Lake(tmp_path / "data")
    (profile.parent / "exports").rename(tmp_path / "delivered")
    (profile.parent / "exports").symlink_to(tmp_path / "delivered")
    remember_profile(lake, str(profile))
    assert changed_settings(lake, settings_of(None, lake.root)) == []


def test_a_run_on_other_machines_keeps_the_profile(filled):
    remember_profile(filled, "spark")
    assert settings_of(None, filled.root).app == "Shop"
    assert settings_of(None, filled.root).engine == "duckdb"


def test_a_changed_profile_says_what_changed_and_what_follows(filled, tmp_path):
    profile = tmp_path / "shop" / "profile.toml"
    assert changed_settings(filled, settings_of(None, filled.root)) == []
    profile.write_text(PROFILE.replace('value = ["purchase"]', 'value = ["order"]') + "[churn]\nhorizon_days = 7\n")
    told = changed_settings(filled, settings_of(None, filled.root))
    assert told == [
        "churn.horizon_days was 28 when the data folder was filled and is 7: winback train-models learns by it",
        "roles.value was ['purchase'] when the data folder was filled and is ['order']: winback build-features "
        "computes daily rows and snapshots anew",
    ]
    remember_profile(filled, None)
    assert changed_settings(filled, settings_of(None, filled.root)) == []


def test_a_column_of_the_apps_own_is_told_once_and_no_more_when_it_is_built(filled, tmp_path):
    profile = tmp_path / "shop" / "profile.toml"
    column = '[features.custom.tea_mean]\nmeaning = "tea"\nevents = ["purchase"]\nmeasure = "count"\nwindows = [{}]\n'
    for text, other in (
        (PROFILE + column.format(7), "came"),
        (PROFILE + column.format(9), "changed"),
        (PROFILE, "went"),
    ):
        profile.write_text(text + "[churn]\nhorizon_days = 7\n")
        settings = settings_of(None, filled.root)
        told = changed_settings(filled, settings)
        assert told[0] == (
            f"features.custom.tea_mean {other} since the data folder was filled: winback build-features computes daily "
            "rows and snapshots anew"
        )
        assert len(told) == 2
        remember_built(filled, settings)
        assert [each[:20] for each in changed_settings(filled, settings)] == ["churn.horizon_days w"]  # not learnt yet
    before = filled.path("profile.json").stat().st_mtime_ns
    remember_built(filled, settings)
    assert filled.path("profile.json").stat().st_mtime_ns == before


def test_a_profile_for_one_run_alone_says_so(filled, tmp_path):
    own = tmp_path / "shop" / "own.toml"
    own.write_text("[scoring]\nbudget = 5\n")
    kept = tmp_path / "shop" / "profile.toml"
    for same in (None, "spark", str(kept), f"{kept},spark"):
        assert of_this_run(filled, same) == []
    (told,) = of_this_run(filled, f"{kept},{own}")
    assert told == (
        f"--profile {kept},{own} holds for this run alone, later ones go by {kept}; to keep it run winback ingest "
        f"--profile {kept},{own}"
    )


def test_a_profile_that_moves_the_raw_files_alone_is_refused_by_their_name(filled, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[ingest]\nraw = "exports"\n')
    kept = tmp_path / "shop" / "profile.toml"
    with pytest.raises(InputError, match=r"another ingest\.raw, '.*exports' and not '.*shop.exports'; .* write ingest"):
        settings_of(f"{kept},{own}", filled.root)


def test_another_time_zone_is_refused_unless_all_days_are_rewritten(filled, tmp_path):
    filled.files.write("time_zone.txt", b"UTC")
    profile = tmp_path / "shop" / "profile.toml"
    profile.write_text('time_zone = "Asia/Tokyo"\n' + PROFILE)
    with pytest.raises(
        InputError, match=r"begin at midnight of UTC, .*cut all days anew with winback ingest --replace"
    ):
        open_run(None, str(filled.root), None)
    assert open_run(None, str(filled.root), None, is_rewritten=True)[0].time_zone == "Asia/Tokyo"


def test_a_kept_profile_that_cannot_be_read_is_named(tmp_path):
    lake = Lake(tmp_path)
    lake.files.write("profile.json", b"{")
    with pytest.raises(InputError, match=r"profile\.json cannot be read .*; delete it and name the profile"):
        kept_profile(lake)


def test_a_folder_of_an_older_winback_is_named_with_the_way_forward(tmp_path):
    lake, name = Lake(tmp_path / "old"), str(app_folder(tmp_path / "shop"))
    lake.files.write("events/day=2024-01-01/events.parquet", b"")
    lake.files.write("profile.txt", name.encode())
    way = f"run winback ingest --replace --profile {re.escape(name)} --data-dir .*old once, then the other steps"
    for is_rewritten in (False, True):  # without the profile another app's source would be read
        with pytest.raises(InputError, match=f"filled by an older winback, with profile .*profile.toml'; {way}"):
            open_run(None, str(lake.root), None, is_rewritten=is_rewritten)
    with pytest.raises(InputError, match=f"older winback: it has days, but no time_zone.txt; {way}"):
        open_run(name, str(lake.root), None)
    assert open_run(name, str(lake.root), None, is_rewritten=True)[0].app == "Shop"
    remember_profile(lake, name)
    with pytest.raises(InputError, match=r"no time_zone.txt; run winback ingest --replace --data-dir"):
        open_run(None, str(lake.root), None)
    lake.files.write("time_zone.txt", b"UTC")
    assert open_run(None, str(lake.root), None)[0].app == "Shop"


def test_decisions_of_an_older_winback_are_made_anew(tmp_path):
    lake = Lake(tmp_path)
    folder = day_folder(lake, date(2024, 1, 1))
    folder.mkdir(parents=True)
    for column in ("remaining_value", NEWEST_COLUMN):
        pq.write_table(pa.table({column: [1.0]}), folder / "decisions.parquet")
        if column == NEWEST_COLUMN:
            assert "decisions.parquet" in decisions_source(lake, date(2024, 1, 1))
            continue
        with pytest.raises(
            InputError, match=r"made by an older winback .*; run winback score-users --as-of 2024-01-01,"
        ):
            decisions_source(lake, date(2024, 1, 1))
