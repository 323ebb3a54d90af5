"""Randomised offers, those of an app's own experiments too: measured beside who drew nothing, or said to be open."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
from apps import App, event, small_app, treatment
from hypothesis import given
from hypothesis import strategies as st

from serving.offer_measurement.closed_decisions import collect_closed
from serving.offer_measurement.measured_lift import measure_day
from serving.offer_measurement.randomised_offers import ROWS, alike

DAY = date(2024, 6, 27)
CLOSED = DAY + timedelta(days=28)
OVERRIDES: dict[str, object] = {"response": {"retained_from_day": 7}, "value": {"gross_margin": 0.5}}


def experiment(folder: Path) -> App:
    """The app's own trial of a coupon at one half, known from treatments alone: 58 got it, of whom 40 buy for 10."""
    given = [f"g{number:02d}" for number in range(58)]
    nothing = [f"n{number:02d}" for number in range(60)]
    treatments = [treatment(user, f"{DAY}", "coupon", 0.1, propensity=0.5, cost=0.5) for user in given]
    treatments += [treatment(user, f"{DAY}", "none", 0.0, propensity=0.5) for user in nothing]
    treatments += [treatment("sure", f"{DAY}", "coupon", 0.1, propensity=1.0)]  # not drawn
    late = f"{DAY + timedelta(days=10)}"
    events = [event(user, f"{DAY - timedelta(days=3)}", "purchase", amount=3.0) for user in [*given, *nothing, "sure"]]
    events += [event(user, late, "purchase", amount=10.0) for user in [*given[:40], *nothing[:20], "sure"]]
    app = small_app(folder, overrides=OVERRIDES, events=events, treatments=treatments)
    app.ingest()
    app.aggregate()
    return app


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return experiment(tmp_path_factory.mktemp("experiment"))


def test_an_app_s_own_experiment_is_measured(app: App) -> None:
    found = measure_day(app.settings, app.lake, CLOSED, collect_closed(app.settings, app.lake, CLOSED))
    for subject in ("lots", "lots_coupon"):
        assert found.metrics[f"{subject}.lift_revenue"].value == pytest.approx(10 * (40 / 58 - 20 / 60))
        assert found.metrics[f"{subject}.lift_margin"].value == pytest.approx(5 * (40 / 58 - 20 / 60) - 0.5)
        assert found.metrics[f"{subject}.lift_retention"].value == pytest.approx(40 / 58 - 20 / 60)
    assert found.notes[0].startswith("randomised offers: ")
    assert found.notes[1].startswith("coupon, given at random: ")
    assert found.notes[2].startswith("randomised offers: ")
    assert "50.8% of the users are in the control group, 50.0% meant: as chance has it" in found.notes[2]
    assert Path(found.outputs["measurement"], "lifts.json").exists()


def test_offers_that_are_open_are_counted_with_the_day_from_which_they_can_be_measured(app: App) -> None:
    day = DAY + timedelta(days=1)
    early = measure_day(app.settings, app.lake, day, collect_closed(app.settings, app.lake, day))
    assert early.notes == [f"59 offers were given before {day}, the first on {DAY}: measurable from 2024-07-25"]
    assert (early.metrics, early.outputs) == ({}, {})


def test_the_days_whose_draws_are_not_compared_are_named(tmp_path: Path) -> None:
    days = [DAY - timedelta(days=back) for back in (0, 1, 2, 3)]
    chances = [(0.5, 0.5), (0.5, 0.5), (0.8, 0.2), (0.4, 0.6)]  # of the coupon and of nothing
    users = [(f"{day}-{number:02d}", day, own, number % 2) for day, own in zip(days, chances, strict=True)
             for number in range(10)]  # fmt: skip
    treatments = [treatment(user, f"{day}", ("coupon", "none")[drawn], 0.1 * (1 - drawn), propensity=own[drawn])
                  for user, day, own, drawn in users]  # fmt: skip
    events = [event(user, f"{days[-1]}", "purchase", amount=3.0) for user, *_ in users]
    app = small_app(tmp_path, overrides=OVERRIDES, events=events, treatments=treatments)
    app.ingest()
    app.aggregate()
    found = collect_closed(app.settings, app.lake, CLOSED)
    assert (len(found.randomised.frame), found.randomised.left_out) == (20, 20)
    assert found.randomised.left_out_days == (days[3], days[2])
    note = measure_day(app.settings, app.lake, CLOSED, found).notes[-1]
    assert note.startswith("20 users are not compared here, whose first draws lie on 2 days (2024-06-24, 2024-06-25): ")


def rows_of(*rows: tuple[str, int, str, float]) -> pd.DataFrame:
    """User, day of the month, offer and its chance."""
    frame = pd.DataFrame(rows, columns=["user_id", "day", "offer_id", "propensity"])
    days = [date(2024, 6, day) for day in frame["day"]]
    return frame.assign(day=days, decided_at=pd.to_datetime(days, utc=True), discount=0.1)[ROWS]


def test_only_who_drew_at_the_same_chances_is_compared() -> None:
    even = [("a", 1, "x", 0.5), ("b", 1, "none", 0.5), ("c", 2, "x", 0.5), ("d", 2, "none", 0.5)]
    other_share = [("e", 3, "x", 0.9), ("f", 3, "none", 0.1), ("g", 3, "x", 0.9)]
    by_taste = [("h", 4, "x", 0.7), ("i", 4, "x", 0.4), ("j", 4, "none", 0.5)]
    again = [("a", 5, "none", 0.5), ("k", 5, "x", 0.5), ("l", 5, "none", 0.5)]
    fair, share = alike(rows_of(*even, *other_share, *by_taste, *again))
    assert fair["user_id"].tolist() == ["a", "b", "c", "d", "k", "l"]  # of a the first draw
    assert share == 0.5
    assert alike(rows_of(*other_share))[1] == 0.1
    assert alike(rows_of(*by_taste))[0].empty
    assert alike(rows_of(("a", 1, "x", 0.5)))[0].empty  # nobody drew nothing
    assert alike(rows_of())[0].empty
    cells = rows_of(*[(user, 1, offer, 0.25) for user, offer in zip("abcd", ["x", "x", "none", "none"], strict=True)])
    assert alike(cells.assign(discount=[0.1, 0.2] * 2))[1] == 0.5  # a control for each of two discounts
    twice = rows_of(("a", 1, "x", 0.5), ("a", 1, "none", 0.5), ("b", 1, "none", 0.5))
    assert alike(twice)[0]["user_id"].tolist() == ["b"]  # of whom has two draws at one instant neither is the first


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 4), st.sampled_from(["x", "y", "none"]),
                          st.sampled_from([0.2, 0.5])), max_size=25))  # fmt: skip
def test_what_is_compared_was_drawn_by_one_set_of_chances(rows: list[tuple[str, int, str, float]]) -> None:
    given = rows_of(*sorted(rows, key=lambda row: row[1]))
    fair, share = alike(given)
    assert not fair["user_id"].duplicated().any()
    chances = given[given["day"].isin(fair["day"])].groupby("offer_id")["propensity"].unique()
    assert all(len(each) == 1 for each in chances)
    if len(fair):
        assert chances["none"].tolist() == [share]
