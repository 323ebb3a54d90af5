"""Messages: the exact percentage, the last day, in words of the language; sent after the run and never at night."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthetic import offer, small_settings

from configs.contact import Contact
from configs.offers import NOTHING, Catalogue
from features.arrays.calendar_days import start_of
from serving.decide.decision_moment import DecisionMoment
from serving.decide.message_columns import offer_columns, send_instants
from serving.wording.language_file import load_language

ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kathmandu", "Pacific/Kiritimati",
         "America/Sao_Paulo", "Australia/Lord_Howe", "Nowhere/Atlantis", None]  # fmt: skip
DAYS = st.one_of(
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.sampled_from([date(2024, 3, 31), date(2024, 10, 27), date(2024, 3, 10), date(2024, 11, 3), date(2017, 10, 15)]),
)
SETTINGS = small_settings()
HOURS = [*map(float, range(24)), np.nan]


def sent_to(moment: DecisionMoment, app: str, contact: Contact) -> pd.DataFrame:
    """When everybody of every zone and favourite hour is written to."""
    pairs = [(zone, hour) for zone in ZONES for hour in HOURS]
    frame = pd.DataFrame(pairs, columns=["time_zone", "favourite_hour_90d"])
    return frame.assign(at=pd.to_datetime(send_instants(frame, moment, app, contact), utc=True))


@settings(max_examples=30)
@given(
    day=DAYS, app=st.sampled_from(["UTC", "America/New_York", "Asia/Tokyo", "Europe/Berlin"]),
    ready=st.integers(0, 12), quiet=st.sampled_from([(22, 8), (20, 9), (0, 6), (23, 0)]),
    noon=st.booleans(),
)  # fmt: skip
@example(day=date(2024, 3, 31), app="Europe/Berlin", ready=6, quiet=(22, 8), noon=False)
@example(day=date(2024, 3, 31), app="Asia/Tokyo", ready=12, quiet=(20, 9), noon=False)  # the rest is California's night
def test_nobody_is_written_to_before_the_run_or_at_night(day, app, ready, quiet, noon):
    contact = SETTINGS.contact.model_copy(update={"ready_hour": ready, "quiet_from": quiet[0], "quiet_until": quiet[1]})
    night = DecisionMoment.of_night(day, app)
    moment = DecisionMoment(day, night.instant + timedelta(hours=13, minutes=20), "noon") if noon else night
    local = moment.instant.astimezone(ZoneInfo(app))
    run = moment.instant if noon else local.replace(hour=ready)
    for row in sent_to(moment, app, contact).itertuples():
        known = row.time_zone not in (None, "Nowhere/Atlantis")
        clock = row.at.tz_convert(row.time_zone if known else app)
        assert not contact.is_quiet(clock.hour), row
        assert row.at >= run.astimezone(UTC), row
        if row.at >= moment.instant + timedelta(hours=25):  # a day of 25 hours is one day
            hour = run.astimezone(UTC)
            while hour < row.at:  # no hour of that day was left in which they are awake
                assert contact.is_quiet(hour.astimezone(clock.tzinfo).hour), row
                hour += timedelta(hours=1)


def test_the_favourite_hour_is_kept_where_it_can_be():
    contact, moment = SETTINGS.contact, DecisionMoment.of_night(date(2024, 7, 1), "Europe/Berlin")
    frame = pd.DataFrame({"favourite_hour_90d": [15.0, np.nan, 3.0, 23.0]})  # no column of zones: all live in the app's
    hours = pd.to_datetime(send_instants(frame, moment, "Europe/Berlin", contact), utc=True).tz_convert("Europe/Berlin")
    assert [f"{hour:%d %H:%M}" for hour in hours] == ["01 15:00", "01 12:00", "01 08:00", "01 21:00"]
    far = frame.assign(time_zone="America/Los_Angeles")  # nine hours earlier
    hours = pd.to_datetime(send_instants(far, moment, "Europe/Berlin", contact), utc=True)
    told = [f"{hour:%d %H:%M}" for hour in hours.tz_convert("America/Los_Angeles")]
    assert told == ["01 08:00", "01 08:00", "30 21:00", "01 14:00"]  # 21:00 is 6:00 in Berlin, when the run is over


def columns_of(language: str, moment: DecisionMoment, favourites: list[str | None], **changes: object) -> dict:
    """What is written about users who get the two discounts by turns, and the last one nothing."""
    back = offer("back", message="$discount off $category until $valid_until.", discounts=(0.125, 0.175))
    policy = SimpleNamespace(settings=SETTINGS.model_copy(update=changes), language=load_language(language))
    frame = pd.DataFrame({"favourite_category_90d": pd.Categorical(favourites), "favourite_hour_90d": 12.0})
    batch = SimpleNamespace(frame=frame, options=SimpleNamespace(catalogue=Catalogue(offers=(back,))))
    given = np.arange(len(favourites)) % 2
    given[-1] = NOTHING
    return offer_columns(policy, batch, given, moment)


def test_a_message_names_the_exact_percentage_and_the_last_day():
    """Case 10: 12.5% and 17.5%, open for 7 days from 2024-08-01 00:00 UTC."""
    night = DecisionMoment.of_night(date(2024, 8, 1), "UTC")
    favourites = ["bread", None, "FRZN MEAT", "<b>bread</b> & $title", "Laxatives", "bread"]
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
    assert german["message"][0] == "12,5\u00a0% off Brot until 7. August 2024."  # the catalogue speaks the rest


@settings(max_examples=30)
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
        ("FRZN ICE", None), ("CANDY - CHECKLANE", None), ("a;b", None), ("$title", None), ("{x}", None), ("", None),
        ("LAXATIVES", None), ("Infant formula", None), ("Cigarettes", None), ("Craft beers/ales", None),
        ("Red wine", None), ("red_wine", None), ("Contraception", None), ("Rotwein & Bier", None), ("Ginger", "Ginger"),
        ("Whole-grain bread", "Whole-grain bread"), ("Winery tours", "Winery tours"), ("Aleppo soap", "Aleppo soap"),
        ("FLUID MILK PRODUCTS", "milk"), ("DOMESTIC", None), ("Knives", None),
    ],
)  # fmt: skip
def test_till_words_and_sensitive_goods_are_not_spoken_of(category, named):
    own = {"also_sensitive": ["knives"], "names": {"FLUID MILK PRODUCTS": "milk", "DOMESTIC": "fine wines"}}
    assert small_settings(categories=own).categories.featured(category) == named
