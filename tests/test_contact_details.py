"""Consents: of who refuses profiling nothing is predicted, and no model learns from them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import App
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import InputError
from features.materialise.as_of_view import snapshot_days
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import USERS_FILE, Lake
from features.training_data.contact_details import profiling_refusals, with_contact_details
from models.training_run.response_models import fit_effects
from models.training_run.run_summary import training_warnings
from models.training_run.training_frames import collect_frames
from serving.contact_rules.rule_list import refuses

AS_OF = date(2024, 4, 20)
CONSENTS = st.dictionaries(st.text("ab0 ", min_size=1, max_size=3), st.sampled_from([True, False, None]), max_size=6)


def lake_with(folder: Path, consents: dict[str, bool | None] | None) -> Lake:
    """Lake with a users table of these consents to profiling; None is a table without the column."""
    users = sorted(consents or {"a": None})
    own = {"consent_profiling": pa.array([(consents or {})[user] for user in users], pa.bool_())} if consents else {}
    (folder / USERS_FILE).parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"user_id": pa.array(users, pa.string()), **own}), folder / USERS_FILE)
    return Lake(folder)


def write_consents(lake: Lake, consents: list[bool]) -> None:
    """Say of all users of a lake, in their order, whether they consent to profiling."""
    users = pq.read_table(lake.path(USERS_FILE)).drop_columns(["consent_profiling"])
    pq.write_table(users.append_column("consent_profiling", pa.array(consents)), lake.path(USERS_FILE))
    lake.files.accept("users")


@given(consents=CONSENTS, strangers=st.lists(st.text("xyz", min_size=1, max_size=2), max_size=3), unknown=st.booleans())
def test_training_leaves_out_just_those_of_whom_nothing_is_predicted(tmp_path_factory, consents, strangers, unknown):
    lake = lake_with(tmp_path_factory.mktemp("lake"), consents)
    users = pd.DataFrame({"user_id": pd.Series([*consents, *strangers], dtype="object")})
    scored = with_contact_details(lake, users)
    expected = refuses(scored, scored, column="consent_profiling", unknown=unknown)
    assert profiling_refusals(lake, unknown=unknown)(users["user_id"]).tolist() == expected.tolist()


@pytest.mark.parametrize("unknown", [True, False])
def test_where_there_is_no_users_table_only_the_setting_counts(tmp_path, unknown):
    assert profiling_refusals(Lake(tmp_path), unknown=unknown)(pd.Series(["a", "b"])).tolist() == [unknown] * 2


def test_no_model_learns_from_who_refuses_profiling_and_training_says_how_many(copy_tiny, tmp_path):
    app = copy_tiny(tmp_path)
    features = app.settings.features.model_copy(update={"snapshot_every_days": 56})
    app = App(app.settings.model_copy(update={"features": features}))
    with app.history(AS_OF) as history:
        build_snapshots(history, snapshot_days(app.settings, app.lake, AS_OF, holdouts=(28,)))
    everybody = collect_frames(app.settings, app.lake, AS_OF)
    write_consents(app.lake, [number % 10 not in (3, 7) for number in range(160)])
    found = collect_frames(app.settings, app.lake, AS_OF)
    for name in ("outcomes", "treatments", "exposure", "experiment"):
        whole = getattr(everybody, name)
        kept = whole[~whole["user_id"].str[-1].isin(["3", "7"])]
        assert 0 < len(kept) < len(whole)
        assert getattr(found, name)["user_id"].tolist() == kept["user_id"].tolist()
    assert found.refuse == 32
    told = training_warnings(found, [], [])
    assert "32 users refuse profiling (consent_profiling): no model learns from them" in told
    assert not [line for line in training_warnings(everybody, [], []) if "refuse" in line]
    write_consents(app.lake, [False] * 160)
    with pytest.raises(InputError, match="all 160 users refuse profiling, so that no model may learn from anybody"):
        collect_frames(app.settings, app.lake, AS_OF)


def test_offers_whose_effect_does_not_show_yet_do_not_stop_a_training(copy_tiny, tmp_path):
    app = copy_tiny(tmp_path)
    features = app.settings.features.model_copy(update={"snapshot_every_days": 56})
    app = App(app.settings.model_copy(update={"features": features}))
    for day in app.lake.days("treatments"):
        if day != date(2024, 4, 1):  # valid for a week, while the effect takes four
            app.lake.partition("treatments", day).unlink()
            app.lake.files.accept(app.lake.partition_name("treatments", day))
    with app.history(AS_OF) as history:
        build_snapshots(history, snapshot_days(app.settings, app.lake, AS_OF, holdouts=(28,)))
    found = collect_frames(app.settings, app.lake, AS_OF)
    assert len(found.outcomes) > 0
    assert len(found.treatments) > 0
    assert found.exposure.empty
    (effects,) = fit_effects(app.settings, app.lake, AS_OF, found, None).untrained
    assert effects.reason == "no treatment is 28 days old, when its effect shows (churn.horizon_days)"
