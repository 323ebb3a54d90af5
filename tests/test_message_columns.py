"""Messages: the exact percentage, the last day, in words of the language; sent after the run and never at night."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from synthetic import offer, small_settings

from configs.contact import Contact
from configs.offer_texts import Text
from configs.offers import NOTHING, Catalogue
from features.arrays.calendar_days import start_of
from features.training_data.contact_details import own_zones
from serving.decide.message_columns import offer_columns
from serving.decide.scoring import Policy
from serving.messages.reader_details import ReaderDetails
from serving.preferences.send_times import allowed_slots, send_times
from serving.stored_days.decision_moment import DecisionMoment
from serving.wording.language_file import load_language

ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kathmandu", "Pacific/Kiritimati",
         "America/Sao_Paulo", "Australia/Lord_Howe", "Nowhere/Atlantis", None]  # fmt: skip
DAYS = st.one_of(
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.sampled_from([date(2024, 3, 31), date(2024, 10, 27), date(2024, 3, 10), date(2024, 11, 3), date(2017, 10, 15)]),
)
SETTINGS = small_settings()


def sent_to(moment: DecisionMoment, app: str, contact: Contact, *, explores: bool = False) -> pd.DataFrame:
    """When somebody of every zone is written to who likes each hour best."""
    pairs = pd.DataFrame([(zone, hour) for zone in ZONES for hour in range(24)], columns=["time_zone", "hour"])
    ids, drawn = pd.Series([f"u{row}" for row in pairs.index]), np.full(len(pairs), explores)
    zones, hours = own_zones(pairs, app), np.eye(24)[pairs["hour"]]
    found = send_times(ids, zones, hours, drawn, moment, app, contact, seed=1)
    return pairs.assign(zone=zones, at=pd.to_datetime(found.at, utc=True), propensity=found.propensity)


@given(
    day=DAYS, app=st.sampled_from(["UTC", "America/New_York", "Asia/Tokyo", "Europe/Berlin"]),
    ready=st.integers(0, 12), quiet=st.sampled_from([(22, 8), (20, 9), (0, 6), (23, 0)]),
    noon=st.booleans(), explores=st.booleans(),
)  # fmt: skip
@example(day=date(2024, 3, 31), app="Europe/Berlin", ready=6, quiet=(22, 8), noon=False, explores=False)
@example(day=date(2024, 3, 31), app="Asia/Tokyo", ready=12, quiet=(20, 9), noon=False, explores=True)  # the rest is
def test_nobody_is_written_to_before_the_run_or_at_night(day, app, ready, quiet, noon, explores):  # California's night
    contact = SETTINGS.contact.model_copy(update={"ready_hour": ready, "quiet_from": quiet[0], "quiet_until": quiet[1]})
    night = DecisionMoment.of_night(day, app)
    moment = DecisionMoment(day, night.instant + timedelta(hours=13, minutes=20), "noon") if noon else night
    local = moment.instant.astimezone(ZoneInfo(app))
    run = moment.instant if noon else local.replace(hour=ready)
    for row in sent_to(moment, app, contact, explores=explores).itertuples():
        clock = row.at.tz_convert(row.zone)
        assert not contact.is_quiet(clock.hour), row
        assert row.at >= run.astimezone(UTC), row
        if row.at >= moment.instant + timedelta(hours=25):  # a day of 25 hours is one day
            hour = run.astimezone(UTC)
            while hour < row.at:  # no hour of that day was left in which they are awake
                assert contact.is_quiet(hour.astimezone(clock.tzinfo).hour), row
                hour += timedelta(hours=1)


def test_the_best_hour_is_kept_where_it_can_be_and_else_the_best_of_those_that_can():
    contact, moment = SETTINGS.contact, DecisionMoment.of_night(date(2024, 7, 1), "Europe/Berlin")
    found = sent_to(moment, "Europe/Berlin", contact)
    home = found[found["time_zone"].isna()].set_index("hour")
    hours = home["at"].dt.tz_convert("Europe/Berlin")
    assert [f"{hours[hour]:%d %H:%M}" for hour in (15, 8, 21)] == ["01 15:00", "01 08:00", "01 21:00"]
    assert f"{hours[3]:%d %H:%M}" == "01 08:00"  # nothing else is known of them: the first that may be
    weights = np.zeros((1, 24))
    weights[0, [3, 19, 23]] = [0.5, 0.1, 0.3]
    best = send_times(pd.Series(["u"]), np.array(["America/Los_Angeles"], object), weights, np.zeros(1, bool), moment,
                      "Europe/Berlin", contact, seed=1)  # fmt: skip
    there = pd.to_datetime(best.at, utc=True)[0].tz_convert("America/Los_Angeles")
    assert f"{there:%d %H:%M}" == "30 21:00"  # 19 h is over before the run, 6:00 in Berlin, and 8 to 15 h weigh nothing


def test_explorers_are_written_to_at_any_allowed_hour_with_its_probability():
    contact, moment = SETTINGS.contact, DecisionMoment.of_night(date(2024, 7, 1), "UTC")
    ids = pd.Series([f"u{number}" for number in range(7_000)])
    zones, weights = np.full(len(ids), "UTC", object), np.eye(24)[np.full(len(ids), 12)]
    explores = np.arange(len(ids)) % 2 == 0
    found = send_times(ids, zones, weights, explores, moment, "UTC", contact, seed=1)
    hours = pd.Series(pd.to_datetime(found.at).hour)
    counts = hours[explores].value_counts().reindex(range(8, 22))
    assert counts.between(200, 300).all()  # 250 each of 3,500
    assert counts.sum() == explores.sum()
    assert np.allclose(found.propensity, np.where(explores, 1 / 14, 1.0))
    assert set(hours[~explores]) == {12}


def test_no_hour_is_told_twice_or_missed_when_clocks_change():
    contact = SETTINGS.contact.model_copy(update={"quiet_from": 23, "quiet_until": 0, "ready_hour": 0})
    berlin = ZoneInfo("Europe/Berlin")
    for day, hours in ((date(2024, 3, 31), [0, 1, *range(3, 23)]), (date(2024, 10, 27), [0, 1, 2, 2, *range(3, 23)])):
        slots = allowed_slots(berlin, DecisionMoment.of_night(day, "Europe/Berlin"), berlin, contact)
        assert [slot.hour for slot in slots] == hours
        assert len({slot.at for slot in slots}) == len(slots)


def columns_of(language: str, moment: DecisionMoment, favourites: list[str | None], **changes: object) -> dict:
    """What is written about users who get the two discounts by turns, and the last one nothing."""
    back = offer("back", message="{{ discount }} off {{ category }} until {{ last_day }}.", discounts=(0.125, 0.175))
    policy = Policy(SETTINGS.model_copy(update=changes), Catalogue(offers=(back,)), None, None, None,
                    load_language(language))  # fmt: skip
    frame = pd.DataFrame({"user_id": favourites, "favourite_category_90d": pd.Categorical(favourites)}).astype(
        {"user_id": str}
    )
    batch = SimpleNamespace(frame=frame, options=SimpleNamespace(catalogue=Catalogue(offers=(back,))))
    given = np.arange(len(favourites)) % 2
    given[-1] = NOTHING
    return offer_columns(policy, batch, given, given == 0, moment)


def test_a_message_names_the_exact_percentage_and_the_last_day():
    """Case 10: 12.5% and 17.5%, open for 7 days from 2024-08-01 00:00 UTC."""
    night = DecisionMoment.of_night(date(2024, 8, 1), "UTC")
    favourites = ["bread", None, "FRZN MEAT", "<b>bread</b> & {{ title }}", "Laxatives", "bread"]
    named = SETTINGS.categories.model_copy(update={"names": {"FRZN MEAT": "frozen meat"}})
    english = columns_of("en", night, favourites, categories=named)
    assert english["message"].tolist() == [
        "12.5% off bread until 7 August 2024.", "17.5% off selected items until 7 August 2024.",
        "12.5% off frozen meat until 7 August 2024.", "17.5% off selected items until 7 August 2024.",
        "12.5% off selected items until 7 August 2024.", None,
    ]  # fmt: skip
    assert english["featured_category"].tolist() == ["bread", None, "frozen meat", None, None, None]
    assert english["valid_until"].astype(str).tolist()[:2] == ["2024-08-08T00:00:00.000000"] * 2
    german = columns_of("de", night, ["Brot", None])
    assert german["message"][0] == "12,5\u00a0% off Brot until 7. August 2024."  # an app that speaks German, it says


@given(day=DAYS, hours=st.integers(0, 47))
def test_on_the_last_day_the_offer_is_open_and_on_the_next_it_is_not(day, hours):
    instant = start_of(day, "Europe/Berlin") + timedelta(minutes=30 * hours)
    moment = DecisionMoment(day, instant, "trigger")
    found = columns_of("en", moment, ["bread", None], time_zone="Europe/Berlin")
    text = found["message"][0].removeprefix("12.5% off bread until ").removesuffix(".")
    last = datetime.strptime(text, "%d %B %Y").date()
    ends = found["valid_until"][0].astype(datetime).replace(tzinfo=UTC)
    assert start_of(last, "Europe/Berlin") < ends <= start_of(last + timedelta(days=1), "Europe/Berlin")


@pytest.mark.parametrize(
    ("category", "named"),
    [
        ("Bread", "Bread"), ("home_garden", "home garden"), ("Nuts & fruit", "Nuts & fruit"), ("面包", "面包"),
        ("FRZN ICE", None), ("CANDY - CHECKLANE", None), ("a;b", None), ("{{ a }}", None), ("{x}", None), ("", None),
        ("LAXATIVES", None), ("Infant formula", None), ("Cigarettes", None), ("Craft beers/ales", None),
        ("Red wine", None), ("red_wine", None), ("Contraception", None), ("Rotwein & Bier", None), ("Ginger", "Ginger"),
        ("Whole-grain bread", "Whole-grain bread"), ("Winery tours", "Winery tours"), ("Aleppo soap", "Aleppo soap"),
        ("FLUID MILK PRODUCTS", "milk"), ("DOMESTIC", None), ("Knives", None),
    ],
)  # fmt: skip
def test_till_words_and_sensitive_goods_are_not_spoken_of(category, named):
    own = {"also_sensitive": ["knives"], "names": {"FLUID MILK PRODUCTS": "milk", "DOMESTIC": "fine wines"}}
    assert small_settings(categories=own).categories.featured(category) == named


@pytest.mark.parametrize(("scope", "named"), [("order", "pots"), ("featured_category", "bread")])
def test_the_category_that_a_discount_covers_is_the_one_that_was_charged(scope, named):
    """Tastes say pots; a discount on the favourite category costs what is spent on bread, and names it."""
    listed = SimpleNamespace(name=["pots"], kind=["again"], item=["a red pot"])
    tastes = SimpleNamespace(featured=lambda ids: listed)
    preferences = SimpleNamespace(
        has_tastes=True, tastes=tastes, hours_of=lambda ids: np.full((len(ids), 24), 1 / 24)
    )  # fmt: skip
    message = "{{ benefit }} off {{ category }}, up to {{ max_cost }}"
    gives = offer("a", message=message, max_cost=4.5, scope=scope, discounts=(0.2,))
    policy = Policy(SETTINGS, Catalogue(offers=(gives,)), None, None, None, preferences=preferences)
    frame = pd.DataFrame({"user_id": ["u"], "favourite_category_90d": pd.Categorical(["bread"])})
    batch = SimpleNamespace(frame=frame, options=SimpleNamespace(catalogue=Catalogue(offers=(gives,))))
    night = DecisionMoment.of_night(date(2024, 8, 1), "UTC")
    found = offer_columns(policy, batch, np.array([0]), np.array([False]), night)
    assert found["featured_category"].tolist() == [named]
    assert found["message"].tolist() == [f"20% off {named}, up to US$4.50"]
    assert (found["benefit"].tolist(), found["benefit_level"].tolist()) == (["percent"], [0.2])


def test_a_message_is_in_the_readers_language_for_their_stage_and_says_what_the_snapshot_knows():
    german = Text(language="de", stage="slipping", message="{{ next_step or 'Weiter' }}, {{ first_name or 'du' }}!")
    gives = offer("a", message="Go on, {{ first_name or 'you' }}!", discounts=(0.2,), texts=(german,))
    ids = ["anna", "bo", "cyd"]
    known = pd.DataFrame(
        {"locale": ["de_AT", "de_DE", None], "agrees": [True, False, True], "first_name": ["Anna", None, "Cyd"]},
        index=ids,
    )
    named = SETTINGS.onboarding.model_copy(update={"names": {"tutorial_complete": "der Rundgang"}})
    policy = Policy(SETTINGS.model_copy(update={"onboarding": named}), Catalogue(offers=(gives,)), None, None, None,
                    readers=ReaderDetails(known))  # fmt: skip
    assert {"next_onboarding_step", "stage"} <= policy.output_columns
    frame = pd.DataFrame(
        {"user_id": ids, "stage": ["slipping", "slipping", "slipping"],
         "favourite_category_90d": pd.Categorical([None, None, None], categories=["x"]),
         "next_onboarding_step": pd.Categorical(["tutorial_complete"] * 3)}
    )  # fmt: skip
    batch = SimpleNamespace(frame=frame, options=SimpleNamespace(catalogue=Catalogue(offers=(gives,))))
    night = DecisionMoment.of_night(date(2024, 8, 1), "UTC")
    found = offer_columns(policy, batch, np.zeros(3, dtype=int), np.zeros(3, dtype=bool), night)
    assert found["message"].tolist() == ["der Rundgang, Anna!", "Weiter, du!", "Go on, Cyd!"]  # bo does not consent
    assert found["language"].tolist() == ["de", "de", "en"]
    assert found["written_for"].tolist() == ["de, slipping", "de, slipping", "everybody"]
