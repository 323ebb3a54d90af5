"""The first steps in an app: what was done once stays done, what is next comes in the profile's order."""

from __future__ import annotations

import shutil
from datetime import date, datetime

import pytest
from apps import App, event, small_app
from typer.testing import CliRunner

from configs.errors import InputError
from configs.settings import load_settings
from features.definitions.app_declarations import declarations_of
from features.engine.state_store import FOLDER
from features.materialise.build_daily import build_aggregates
from features.materialise.build_snapshots import build_snapshots
from features.tables.parquet_files import read_parquet
from flows.cli import app as winback
from serving.memberships.onboarding_progress import StepCount, StepCounts, progress_line, step_counts, user_progress
from serving.wording.rendering import words_of

STEPS = ["sign_up", "tutorial_complete", "first-Import"]
COLUMNS = (
    "has_done_sign_up", "has_done_tutorial_complete", "has_done_first_import", "onboarding_share",
    "next_onboarding_step",
)  # fmt: skip
AS_OF = date(2024, 3, 31)
EVENTS = [
    event("all", "2024-02-01 10:00", "sign_up"),
    event("all", "2024-02-01 11:00", "tutorial_complete"),
    event("all", "2024-03-30 11:00", "first-Import"),
    event("old", "2022-12-01 10:00", "tutorial_complete"),  # more than a year ago
    event("old", "2024-03-01 10:00", "view_item"),
    event("late", "2024-03-30 10:00", "tutorial_complete", received_at="2024-04-01 09:00"),  # not known yet
    event("late", "2024-03-01 10:00", "view_item"),
    event("none", "2024-03-30 10:00", "view_item"),
]
USERS = [
    {"user_id": "old", "signed_up_at": datetime(2022, 11, 30, 9)},  # tells of signing up as the event does
    {"user_id": "late", "signed_up_at": datetime(2024, 3, 31, 0)},  # at the start of the day: not seen
    {"user_id": "only", "signed_up_at": datetime(2024, 3, 29, 9)},
]
HAND = {
    "all": (1.0, 1.0, 1.0, 1.0, None),
    "late": (0.0, 0.0, 0.0, 0.0, "sign_up"),
    "none": (0.0, 0.0, 0.0, 0.0, "sign_up"),
    "old": (1.0, 1.0, 0.0, 2 / 3, "first-Import"),
    "only": (1.0, 0.0, 0.0, 1 / 3, "tutorial_complete"),
}


def steps_app(folder, steps: list[str]) -> App:
    overrides = {"roles": {"onboarding": steps}, "onboarding": {"names": {"tutorial_complete": "the tour"}}}
    overrides |= {} if "tutorial_complete" in steps else {"onboarding": {"names": {}}}
    app = small_app(folder, events=EVENTS, users=USERS, overrides=overrides)
    app.ingest()
    app.aggregate()
    return app


def built(app: App, day: date) -> dict[str, tuple[object, ...]]:
    with app.history(day) as history:
        build_snapshots(history, [day])
    rows = read_parquet(app.lake.partition("snapshots", day)).to_pylist()
    return {row["user_id"]: tuple(row[name] for name in COLUMNS if name in row) for row in rows}


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> App:
    return steps_app(tmp_path_factory.mktemp("steps"), STEPS)


def test_steps_are_those_counted_by_hand_from_nothing_and_carried_on(app):
    shutil.rmtree(app.lake.path(FOLDER), ignore_errors=True)
    assert built(app, AS_OF) == HAND
    assert built(app, date(2024, 4, 1))["late"] == (1.0, 0.0, 0.0, 1 / 3, "tutorial_complete")
    carried = built(app, date(2024, 4, 2))
    assert carried["late"] == (1.0, 1.0, 0.0, 2 / 3, "first-Import")  # by now known
    for name in ("snapshots", FOLDER):
        shutil.rmtree(app.lake.path(name))
    assert built(app, date(2024, 4, 2)) == carried


def test_a_user_and_the_page_are_told_the_steps_by_their_names(app):
    built(app, AS_OF)
    words = words_of(app.settings)
    lines = [
        progress_line(user_progress(app.settings, app.lake, AS_OF, user), words) for user in ("all", "none", "only")
    ]
    assert lines == [
        "  steps     all 3 first steps done",
        "  steps     none of 3 first steps done, next: sign up",
        "  steps     1 of 3 first steps done (sign up), next: the tour",
    ]
    found = step_counts(app.settings, app.lake, AS_OF)
    assert found == StepCounts(
        5,
        2,
        (StepCount("sign up", 3, 2, 1, 1), StepCount("the tour", 2, 1, 0, 1), StepCount("first-Import", 1, 1, 0, 0)),
    )
    reason = {"column": "next_onboarding_step", "value": "tutorial_complete", "number": None}
    assert words.value(reason) == "the tour"
    german = words_of(app.settings.model_copy(update={"language": "de"}))
    assert german.label("has_done_tutorial_complete") == "erster Schritt getan: the tour"


def test_another_order_of_the_steps_computes_anew_and_other_names_do_not(app, tmp_path):
    own = app.copy_to(tmp_path)
    before = built(own, AS_OF)
    renamed = own.settings.model_copy(update={"onboarding": load_settings().onboarding})
    assert build_aggregates(renamed, own.lake) == []
    turned = own.settings.roles.model_copy(update={"onboarding": tuple(reversed(STEPS))})
    own = App(own.settings.model_copy(update={"roles": turned}))
    own.aggregate()
    assert built(own, AS_OF)["none"][-1] == "first-Import" and before["none"][-1] == "sign_up"


def test_an_app_without_first_steps_has_no_next_one(tmp_path):
    own = steps_app(tmp_path, [])
    assert {*built(own, AS_OF).values()} == {(None, None)}
    assert step_counts(own.settings, own.lake, AS_OF) is None
    assert user_progress(own.settings, own.lake, AS_OF, "all") is None


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"roles": {"onboarding": ["sign up", "sign_up"]}}, "'sign up' and 'sign_up', which would make one column"),
        ({"onboarding": {"names": {"sing_up": "x"}}}, "'sing_up' is called, no step .*; did you mean 'sign_up'"),
        ({"roles": {"onboarding": [f"step {each}" for each in range(17)]}}, "at most 16"),
    ],
)
def test_steps_that_cannot_be_told_apart_or_do_not_exist_are_refused(overrides, sentence):
    with pytest.raises(InputError, match=sentence):
        declarations_of(load_settings(**overrides))


def test_check_names_the_steps_that_no_event_is(tmp_path):
    own = small_app(tmp_path, events=EVENTS[4:5], users=USERS)
    profile = own.settings.data_dir.parent / "own.toml"
    profile.write_text(
        f'as_of = 2024-03-31\n[ingest]\nsource = "{own.settings.ingest.source}"\nraw = "{own.settings.ingest.raw}"\n'
    )
    words = ["check", "--profile", str(profile), "--data-dir", str(tmp_path / "checked")]
    assert (
        "no event is the first step tutorial_complete of roles.onboarding" in CliRunner().invoke(winback, words).output
    )
