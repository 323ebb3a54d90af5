"""What can be known before a long step: rows against settings, days, filters and treatments, and nothing is written."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from apps import NOW, TINY_OFFERS, App, event, small_app, treatment

from features.ingestion.table_rows import EVERY_DAY
from serving.lookups.configuration_check import ConfigurationCheck, check_configuration
from serving.lookups.data_check import quiet_note

AS_OF = date(2024, 6, 1)
FIRST = date(2024, 1, 1)
EVENTS = [
    event(f"u{number}", f"{FIRST + timedelta(days=15 * number)} 10:00", "purchase", amount=5.0, item_category="tea")
    for number in range(10)
]
ENOUGH = {"training": {"min_users": 5}}
RANDOMISED = [treatment(f"u{number}", "2024-03-01", "bundle", 0.1, propensity=0.5) for number in range(3)]


def app_with(folder: Path, *, as_of: date = AS_OF, **overrides: object) -> App:
    (folder / "offers.toml").write_text(TINY_OFFERS, encoding="utf-8")
    own = {"source": str(folder / "app.sql"), "raw": str(folder / "raw")}
    events = overrides.pop("events", EVENTS)
    given = {"ingest": own, "offers": str(folder / "offers.toml"), "as_of": as_of, **ENOUGH, **overrides}
    return small_app(folder, overrides=given, events=events, treatments=RANDOMISED)


def check(app: App, *, is_default: bool = False) -> ConfigurationCheck:
    return check_configuration(app.settings, app.lake, NOW, app.settings.as_of, is_default=is_default)


def test_a_history_that_is_enough_has_no_fault_and_nothing_is_written(tmp_path):
    app = app_with(tmp_path, contact={"caps": {"in_24_hours": 3, "in_7_days": 2, "in_28_days": 8},
                                      "channel_caps": {"emial": {"in_7_days": 1}}})  # fmt: skip
    found = check(app)
    (unused,) = (note for note in found.notes if "emial" in note)
    assert "holds for nothing, as no offer goes by that channel; did you mean" in unused
    assert found.faults == ()
    assert [note for note in found.notes if "is never reached" in note] == [
        "contact.caps.in_24_hours = 3 is never reached, as in_7_days = 2 is reached before; lower the one or raise the "
        "other"
    ]
    assert any("whoever is not on record as refusing a channel" in note for note in found.notes)
    assert (found.history.first, found.history.last, found.history.users) == (FIRST, date(2024, 5, 15), 10)
    assert not app.lake.root.exists()


def test_what_is_there_and_what_comes_are_looked_at_together(tmp_path):
    app = app_with(tmp_path)
    app.ingest()
    app.write(events=[*EVENTS[:1], event("new", "2024-05-20 10:00", "purchase")])
    assert (check(app).history.events, check(app).history.last) == (11, date(2024, 5, 20))
    Path(app.settings.ingest.source).write_text("CREATE VIEW events AS SELEC 1", encoding="utf-8")
    found = check(app)
    assert found.history.events == 10
    assert found.faults[0].endswith("LINE 1: CREATE VIEW events AS SELEC 1\n                              ^")


def test_sql_that_only_running_refuses_is_a_fault(tmp_path):
    app = app_with(tmp_path)
    Path(app.settings.ingest.source).write_text("CREATE VIEW events AS SELECT nothing FROM nowhere", encoding="utf-8")
    assert "nowhere" in check(app).faults[0]
    Path(app.settings.ingest.source).write_text("CREATE VIEW events AS SELECT 1 AS event_id", encoding="utf-8")
    assert "lacks the column 'user_id'" in check(app).faults[0]


@pytest.mark.parametrize("days", [118, 119, 209, 210])
def test_the_days_that_are_needed_are_counted(tmp_path, days):
    found = check(app_with(tmp_path, as_of=FIRST + timedelta(days=days)))
    is_short = [fault for fault in found.faults if f"{days} days of history before" in fault]
    assert bool(is_short) == (days < 91 + 28)
    assert all(fault.endswith("from 2024-04-29 on; ingest older events, or shorten either") for fault in is_short)
    assert any("not to judge out of time" in note for note in found.notes) == (119 <= days < 91 + 28 + 91)


def test_too_few_people_are_a_fault_that_names_the_roles_and_not_the_bar(tmp_path):
    found = check(app_with(tmp_path, roles={"activity": ["visit"], "value": ["purchase"]}))
    assert "0 of 10 users did something of roles.activity before 2024-06-01" in found.faults[0]
    assert "lower" not in found.faults[0]
    assert "no event plays roles.activity (visit); the data has purchase" in found.notes
    assert any(
        "have a name without any role" in note
        for note in check(app_with(tmp_path, roles={"activity": ["x"], "value": ["x"]})).notes
    )


@pytest.mark.parametrize(
    ("share", "remedy"),
    [(0.0, "set scoring.exploration.share"), (0.05, "the randomised offers of scoring.exploration.share add more")],
)
def test_an_experiment_says_how_far_it_is(tmp_path, share, remedy):
    app = app_with(tmp_path, response={"min_treatments": 500}, scoring={"exploration": {"share": share}})
    told = [note for note in check(app).notes if "3 randomised treatments: 3 of 500 treatments" in note]
    assert len(told) == 1
    assert remedy in told[0]
    assert not [
        note for note in check(app_with(tmp_path, response={"min_treatments": 3})).notes if "treatments" in note
    ]


def test_a_filter_that_no_event_fulfils_names_the_word_that_was_meant(tmp_path):
    tables = {
        "teas": {"meaning": "Teas", "role": "value", "where": ['category = "tee"'], "measure": "count", "windows": [7]},
        "right": {
            "meaning": "Teas",
            "role": "value",
            "where": ['category = "tea"'],
            "measure": "count",
            "windows": [7],
        },
    }
    told = [note for note in check(app_with(tmp_path, features={"custom": tables})).notes if "features.custom" in note]
    assert told == [
        "features.custom.teas is empty for everybody: of 10 events (purchase, app_store_subscription_renew) none "
        "fulfils its conditions (item_category is never 'tee'; did you mean 'tea'?)"
    ]


def test_offers_that_the_catalogue_does_not_have_are_named(tmp_path):
    app = app_with(tmp_path)
    assert not [note for note in check(app).notes if "catalogue" in note]
    app.write(events=EVENTS, treatments=[*RANDOMISED, treatment("u1", "2024-03-01", "bunddle", 0.1)])
    (note,) = (note for note in check(app).notes if "catalogue" in note)
    assert note.startswith("1 treatments gave offers that the catalogue does not have ('bunddle')")


def test_a_day_on_which_nobody_is_active_any_more_is_a_fault(tmp_path):
    (fault,) = check(app_with(tmp_path, as_of=date(2024, 12, 1)), is_default=True).faults
    assert fault.startswith("nobody was active in the churn.lookback_days before 2024-12-01: as_of = 2024-12-01 (today")
    assert fault.endswith("for a history that has ended set as_of = 2024-05-16")


def test_a_source_with_too_many_bad_rows_tells_all_that_the_good_ones_say(tmp_path):
    bad = [{**EVENTS[0], "event_id": f"x{number}", "user_id": None} for number in range(3)]
    found = check(app_with(tmp_path, events=[*EVENTS, *bad, {**EVENTS[0], "amount": 1.0}]))
    assert len(found.faults) == 1
    assert "4 of 14 rows" in found.faults[0]
    assert "user_id is missing; 1 times event_id stands for two different rows" in found.faults[0]
    assert found.history.events == 10


def test_refused_rows_are_told_before_they_are_refused(tmp_path):
    app = app_with(tmp_path)
    app.ingest()
    app.write(events=[{**row, "amount": 7.0} for row in EVENTS])
    assert "where the source was mended, winback ingest --replace takes its rows instead" in check(app).faults[0]
    app.ingest(replacing=EVERY_DAY)
    assert check(app).faults == ()


@pytest.mark.parametrize(("quiet", "is_told"), [(0, False), (7, False), (8, True), (400, True)])
def test_a_day_long_after_the_last_event_is_told(quiet, is_told):
    last = date(2024, 5, 15)
    told = quiet_note(last, last + timedelta(days=quiet + 1), is_default=True)
    assert bool(told) is is_told
    for note in told:
        assert f"lies {quiet} days after the last event, of {last}" in note
        assert "set as_of = 2024-05-16" in note
        assert "neither --as-of nor the profile's as_of names a day" in note


@pytest.mark.parametrize(("minutes", "session", "is_told"), [(30, None, True), (31, None, False), (30, "s", False)])
def test_events_of_one_visit_without_its_id_are_told(tmp_path, minutes, session, is_told):
    twice = [event("u1", f"2024-05-20 10:{minute:02}", "purchase", session_id=session) for minute in (0, minutes)]
    notes = check(app_with(tmp_path, events=twice)).notes
    assert is_told == any(
        note.startswith("50% of the events of roles.activity come within 30 minutes of the user's last and have")
        for note in notes
    )


def test_an_app_without_money_can_work(tmp_path):
    found = check(app_with(tmp_path, roles={"activity": ["purchase"], "value": []}))
    assert found.faults == ()
    assert "roles.value names no event that brings money: risk is told, and the report counts people" in found.notes


@pytest.mark.parametrize(("offers", "is_told"), [("example", True), ("none", False), ("starbucks", False)])
def test_offers_that_nobody_chose_are_told(tmp_path, offers, is_told):
    notes = check(app_with(tmp_path, offers=offers)).notes
    assert is_told == any("'example' is a starting point and not yours: name your catalogue" in note for note in notes)


@pytest.mark.parametrize(("amount", "is_told"), [(None, True), (0.0, True), (5.0, False)])
def test_purchases_without_any_amount_are_told(tmp_path, amount, is_told):
    bought = [event("u1", f"2024-05-{day} 10:00", "purchase", amount=amount) for day in (20, 21)]
    notes = check(app_with(tmp_path, events=bought)).notes
    assert is_told == any("the 2 events of roles.value (purchase" in note and "no amount" in note for note in notes)


def test_names_of_categories_that_no_event_has_are_told_with_the_nearest(tmp_path):
    own = {"names": {"tea": "fine tea", "taa": "coffee"}, "names_in": {"de": {"fine tea": "Tee", "fin tea": "Tee"}}}
    told = [note for note in check(app_with(tmp_path, categories=own)).notes if "[categories." in note]
    assert told == [
        "[categories.names] names what no category is called: 'taa' (did you mean 'tea'?)",
        "[categories.names_in.de] names what no category is called: 'fin tea' (did you mean 'fine tea'?)",
    ]


def test_the_nearest_is_looked_for_of_the_names_that_are_listed_alone(tmp_path, monkeypatch):
    """A shop of 20,000 categories takes a tenth of a second for each."""
    asked = []
    monkeypatch.setattr("serving.lookups.data_check.nearest_word", lambda word, _: asked.append(word) or "")
    own = {"names": {f"no category {number}": f"name {number}" for number in range(20)}}
    told = [note for note in check(app_with(tmp_path, categories=own)).notes if "[categories." in note]
    assert len(asked) == 8
    assert told[0].endswith(" and 12 more")


def test_categories_that_messages_cannot_name_are_told(tmp_path):
    names = ["FRZN MEAT/DINNERS", "FRZN MEAT/DINNERS", "LAXATIVES", "a;b", "tea"]
    events = [row | {"item_category": name} for row, name in zip(EVENTS, names * 2, strict=True)]
    told = [note for note in check(app_with(tmp_path, events=events)).notes if "[categories.names]" in note]
    assert told == [
        "of the 4 most frequent categories 2 are no words that people write (FRZN MEAT/DINNERS, a;b), so that messages "
        "do not name them; name them in [categories.names]"
    ]
    own = {"names": {"FRZN MEAT/DINNERS": "frozen dinners", "a;b": "letters"}}
    named = check(app_with(tmp_path, events=events, categories=own)).notes
    assert not any("[categories.names]" in note for note in named)


@pytest.mark.parametrize(("cron", "is_late"), [("0 5 * * *", False), ("30 7 * * *", True), ("0 */2 * * *", False)])
def test_a_run_that_starts_after_messages_go_out_is_told(tmp_path, cron, is_late):
    notes = check(app_with(tmp_path, schedule={"score_cron": cron})).notes
    assert any("contact.ready_hour = 6" in note for note in notes) == is_late
