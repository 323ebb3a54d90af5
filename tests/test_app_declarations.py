"""An app's own columns: declared in the profile alone, computed from nothing and carried on, fingerprinted."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
from apps import App, Row, event, small_app
from typer.testing import CliRunner

from configs.errors import InputError
from configs.settings import load_settings
from features.definitions import app_declarations
from features.definitions.app_declarations import declarations_of
from features.definitions.daily_measures import MEASURES
from features.definitions.registry import CATALOGUE, DERIVED, WINDOWED
from features.engine.state_store import FOLDER
from features.materialise.build_daily import build_aggregates
from features.materialise.build_snapshots import build_snapshots
from features.tables.parquet_files import read_parquet
from features.training_data.feature_store import open_store
from features.training_data.scoring_frames import scoring_frame
from flows.cli import app as winback

OWN = """
[tea_views]
meaning = "Teas looked at"
role = "view"
where = ['category = "tea"']
measure = "count"
windows = [14]

[long_plays]
meaning = "Songs played for over three minutes"
events = ["play"]
where = ['$.song.seconds > 180']
measure = "count"
windows = [3, 30]

[tickets]
meaning = "Support tickets opened"
events = ["support_ticket"]
measure = "distinct_days"
windows = [14]

[ticket]
meaning = "Days since a support ticket was opened"
events = ["support_ticket"]
measure = "last"

[play_seconds]
meaning = "Seconds of songs played"
events = ["play"]
where = ['channel != "radio"', '$.premium = true']
measure = "sum"
of = "$.song.seconds"
windows = [14]

[longest_play]
meaning = "Longest song played"
events = ["play"]
measure = "max"
of = "$.song.seconds"
windows = [5, 60]

[top_up]
meaning = "Largest top-up"
events = ["top_up"]
measure = "max"
windows = [14]
"""
AS_OF = date(2024, 3, 31)
COLUMNS = (
    "tea_views_count_14d", "long_plays_count_3d", "long_plays_count_30d", "tickets_days_count_14d",
    "days_since_last_ticket", "play_seconds_sum_14d", "longest_play_max_5d", "longest_play_max_60d", "top_up_max_14d",
)  # fmt: skip


def play(user: str, moment: str, seconds: object, *, premium: object = True, **columns: object) -> Row:
    return event(
        user, moment, "play", properties=json.dumps({"song": {"seconds": seconds}, "premium": premium}), **columns
    )


EVENTS = [
    event("a", "2024-03-17 00:00", "view_item", item_category="tea"),  # 14 days old on March 31, and in
    event("a", "2024-03-16 23:59", "view_item", item_category="tea"),  # 15 days old
    event("a", "2024-03-30 10:00", "view_item", item_category="tea"),
    event("a", "2024-03-30 11:00", "view_item", item_category="pots"),
    event("a", "2024-03-30 12:00", "view_item"),
    play("a", "2024-03-28 09:00", 181),  # of no channel: not even != holds
    play("a", "2024-03-27 09:00", 200.5, channel="app"),  # 4 days old
    play("a", "2024-03-29 09:00", 180, channel="radio"),
    play("a", "2024-03-29 10:00", "240", premium=False),  # a text that is a number
    play("a", "2024-03-29 11:00", "long"),
    event("a", "2024-03-29 12:00", "play", properties="no JSON"),
    event("a", "2024-03-29 13:00", "play"),
    event("a", "2024-03-10 08:00", "support_ticket"),
    event("a", "2024-03-20 08:00", "support_ticket"),
    event("a", "2024-03-20 18:00", "support_ticket", received_at="2024-03-25 10:00"),  # the same day, known later
    event("a", "2024-03-28 08:00", "support_ticket", received_at="2024-04-02 10:00"),  # not known yet
    event("a", "2024-03-29 09:30", "top_up", amount=12.5),
    event("b", "2024-03-30 09:30", "top_up", amount=7.0),
    event("b", "2024-01-30 09:00", "play", properties='{"song": {"seconds": -3.25}}'),
    event("c", "2024-03-29 09:00", "view_item", item_category="pots"),
]
#        tea  3d   30d  days last  sum    5d     60d    top-up
HAND = {
    "a": (2.0, 2.0, 3.0, 1.0, 11.0, 200.5, 240.0, 240.0, 12.5),
    "b": (0.0, 0.0, 0.0, 0.0, None, 0.0, None, None, 7.0),
    "c": (0.0, 0.0, 0.0, 0.0, None, 0.0, None, None, None),
}


def own_app(folder, custom: str = OWN, events: list[Row] = EVENTS) -> App:
    app = small_app(folder, events=events, overrides={"features": {"custom": tomllib.loads(custom)}})
    app.ingest()
    app.aggregate()
    return app


def own_columns(app: App, day: date) -> dict[str, tuple[float | None, ...]]:
    with app.history(day) as history:
        build_snapshots(history, [day])
    rows = read_parquet(app.lake.partition("snapshots", day)).to_pylist()
    return {row["user_id"]: tuple(row[name] for name in COLUMNS) for row in rows}


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> App:
    return own_app(tmp_path_factory.mktemp("own"))


def test_the_columns_of_the_profile_hold_what_is_counted_by_hand(app):
    shutil.rmtree(app.lake.path(FOLDER), ignore_errors=True)
    assert own_columns(app, AS_OF) == HAND


def test_columns_carried_on_day_by_day_are_those_from_nothing(app):
    days = [AS_OF + timedelta(days=step) for step in range(-25, 16)]
    carried = {}
    for day in days:
        carried[day] = own_columns(app, day)
    assert carried[AS_OF] == HAND
    for day in days[::7]:
        for name in ("snapshots", FOLDER):
            shutil.rmtree(app.lake.path(name), ignore_errors=True)
        assert own_columns(app, day) == carried[day]
    # on April 3 the late ticket is known, and the one of March 20 has just left the window on April 4
    assert [carried[date(2024, 4, day)]["a"][3:5] for day in (2, 3, 4)] == [(1.0, 13.0), (2.0, 6.0), (1.0, 7.0)]


def test_the_models_read_them_through_feast_and_the_catalogue_says_them_in_words(app):
    own_columns(app, AS_OF)
    with app.history(AS_OF) as history:
        features = {feature.name: feature for feature in history.features}
        store = open_store(app.lake, history.features)
    frame = scoring_frame(store, pd.Timestamp(AS_OF, tz="UTC"), pd.Series(["a", "b", "c"]))
    assert [tuple(None if pd.isna(each) else each for each in row) for row in frame[list(COLUMNS)].to_numpy()] == [
        *HAND.values()
    ]
    labels = [features[name].label for name in ("long_plays_count_3d", "days_since_last_ticket", "top_up_max_14d")]
    assert labels == [
        "songs played for over three minutes, last 3 days",
        "days since a support ticket was opened",
        "largest top-up, last 14 days",
    ]
    assert features["days_since_last_ticket"].filler == 400.0
    assert {features[name].view for name in COLUMNS} == {"behaviour"}


def test_a_changed_definition_recomputes_and_changed_words_do_not(tmp_path):
    app = own_app(tmp_path)
    before = own_columns(app, AS_OF)
    for changed, is_computed in (
        (OWN.replace("Teas looked at", "Teas seen"), False),
        (OWN.replace("seconds > 180", "seconds > 190"), True),
    ):
        features = load_settings(features={"custom": tomllib.loads(changed)}).features
        app = App(app.settings.model_copy(update={"features": features}))
        assert bool(build_aggregates(app.settings, app.lake)) == is_computed
        after = own_columns(app, AS_OF)
        assert (after != before) == is_computed
    assert after["a"][1:3] == (1.0, 2.0)


def test_a_profile_without_own_columns_reads_no_more_and_writes_the_same(tmp_path):
    plain, own = small_app(tmp_path / "plain", events=EVENTS), own_app(tmp_path / "own")
    plain.ingest()
    plain.aggregate()
    read = [read_parquet(each.lake.partition("aggregates", date(2024, 3, 29))) for each in (plain, own)]
    assert read[1].select(read[0].column_names).equals(read[0])
    assert {*read[1].column_names} - {*read[0].column_names} == {
        "tea_views_count", "long_plays_count", "tickets_count", "tickets_days", "ticket_count", "play_seconds_sum",
        "longest_play_max", "top_up_max",
    }  # fmt: skip


TABLE = {"meaning": "Plays", "events": ["play"], "measure": "count", "windows": [7]}


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("plays", {"events": [], "role": "veiw"}, "the role 'veiw', which there is not; did you mean 'view'"),
        ("plays", {"role": "view"}, "name either a role or events"),
        ("plays", {"where": ["$.seconds. > 3"]}, r"\$.seconds. is none of category, channel, item and no JSON path"),
        ("plays", {"where": ["seconds more than 3"]}, "a condition reads like"),
        ("plays", {"where": ["category = tea"]}, "tea is neither a number nor true, false or a text in double quotes"),
        ("plays", {"where": ["category > 3"]}, "category is a text"),
        ("plays", {"where": ["$.premium > true"]}, "true and false can be compared by = and != only"),
        ("plays", {"measure": "average"}, "'count', 'sum', 'distinct_days', 'last' or 'max', found 'average'"),
        ("plays", {"measure": "sum", "of": "seconds"}, "seconds is none of"),
        ("plays", {"of": "$.seconds"}, "is for the measures sum and max, not for count"),
        ("plays", {"windows": [0]}, "greater than or equal to 1, found 0"),
        ("plays", {"windows": [366]}, "less than or equal to 365, found 366"),
        ("plays", {"windows": [28, 7]}, "must be given each once, the shortest first"),
        ("plays", {"windows": []}, "needs windows"),
        ("plays", {"measure": "last"}, "looks back a year; leave out windows"),
        ("plays", {"windwos": [7]}, "'features.custom.plays.windwos' .* is not a setting; did you mean 'windows'"),
        ("x_y", {}, "'x_y' cannot name columns"),
        ("Plays", {}, "take lower-case letters"),
        ("views", {}, "would make the column 'views_count', which there is already; rename it"),
        (
            "spend",
            {"measure": "sum", "of": "amount", "windows": [14]},
            "the column 'spend_sum', which there is already",
        ),
        ("plays", {"where": ["$.seconds > NaN"]}, "NaN is no number up to 10,000,000,000"),
        ("plays", {"where": ["$.seconds > 1e999"]}, "1e999 is no number up to"),
        ("plays", {"where": ["$.seconds < -Infinity"]}, "-Infinity is no number up to"),
    ],
)
def test_a_table_that_cannot_work_is_refused_in_one_sentence(name, change, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        declarations_of(load_settings(features={"custom": {name: TABLE | change}}))
    assert "\n" not in str(caught.value)


def test_two_tables_that_make_one_column_are_refused():
    days = TABLE | {"measure": "distinct_days"}
    with pytest.raises(InputError, match=r"features.custom.play would make the column 'play_days_count_7d'"):
        declarations_of(load_settings(features={"custom": {"play_days": TABLE, "play": days}}))


def test_a_table_of_days_and_one_of_counts_that_make_one_column_are_refused():
    days, count = (TABLE | {"measure": "distinct_days", "windows": [7]}, TABLE | {"windows": [14]})
    with pytest.raises(InputError, match="would make the column 'a_days_count', which there is already"):
        declarations_of(load_settings(features={"custom": {"a": days, "a_days": count}}))


@pytest.mark.parametrize(("measure", "expected"), [("sum", -7.0), ("max", -7.0)])
def test_a_number_beyond_ten_billion_counts_as_missing(tmp_path, measure, expected):
    custom = f'[n]\nmeaning = "N"\nevents = ["play"]\nmeasure = "{measure}"\nof = "$.n"\nwindows = [14]\n'
    numbers = (1e308, 1.7e18, -7.0)
    events = [
        event("a", f"2024-03-2{day} 09:00", "play", properties=json.dumps({"n": number}))
        for day, number in enumerate(numbers, 5)
    ]
    own = own_app(tmp_path, custom, events)
    with own.history(AS_OF) as history:
        build_snapshots(history, [AS_OF])
    rows = read_parquet(own.lake.partition("snapshots", AS_OF))
    assert rows[f"n_{measure}_14d"].to_pylist() == [expected]


def page(language: str) -> str:
    """The one block of a language under "Your own feature"."""
    text = (Path(__file__).parents[1] / "features" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"```{language}\n(.*?)```", text.split("## Your own feature")[1], flags=re.DOTALL)
    return block


def test_the_tables_of_the_page_make_the_columns_that_it_names():
    text = page("toml")
    named = {name for comment in re.findall(r"# (.+)", text) for name in comment.split(", ")}
    own = (
        declarations_of(load_settings(**tomllib.loads(text))).features.keys()
        - declarations_of(load_settings()).features
    )
    assert own == named


def test_the_functions_of_the_page_make_columns_that_arrays_compute(tmp_path):
    registers = (MEASURES, WINDOWED, DERIVED, CATALOGUE)
    kept = [dict(register) for register in registers]
    try:
        exec(compile(page("python"), "features/README.md", "exec"), {})
        app_declarations._declared.cache_clear()  # as a new process would find them
        carts = [
            ("03-30 10:00", 2.5),
            ("03-21 10:00", 1.0),
            ("03-20 10:00", 4.0),
            ("03-20 10:01", 0.5),
        ]
        app = small_app(
            tmp_path, events=[event("a", f"2024-{moment}", "add_to_cart", amount=amount) for moment, amount in carts]
        )
        app.ingest()
        app.aggregate()
        for day, by_hand in ((AS_OF - timedelta(days=1), (5.5, 5.5, 1.0)), (AS_OF, (3.5, 8.0, 3.5 / 8.0))):
            row = app.snapshots(day).loc[("a", day)]
            assert (row.cart_sum_10d, row.cart_sum_40d, row.cart_share_10d) == by_hand
    finally:
        for register, before in zip(registers, kept, strict=True):
            register.clear()
            register.update(before)
        app_declarations._declared.cache_clear()


def test_the_command_line_checks_lists_and_explains_own_columns(tmp_path):
    profile = tmp_path / "own.toml"
    profile.write_text(re.sub(r"^\[", "[features.custom.", OWN, flags=re.MULTILINE), encoding="utf-8")
    words = ["--profile", str(profile), "--data-dir", str(tmp_path / "data")]
    listed, checked, settings = (
        CliRunner().invoke(winback, [name, *words]) for name in ("catalogue", "check", "settings")
    )
    assert all(name in listed.stdout for name in COLUMNS) and "Longest song played." in listed.stdout
    assert "features.custom.long_plays.windows = 3, 30" in settings.stdout
    assert "features.custom" not in checked.output
    profile.write_text(profile.read_text(encoding="utf-8").replace("tea_views]", "views]"), encoding="utf-8")
    refused = CliRunner().invoke(winback, ["check", *words])
    assert refused.exit_code == 2
    assert "features.custom.views would make the column 'views_count'" in refused.output
