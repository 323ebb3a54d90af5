"""Labels: counted by hand, and never before their horizon is over."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import ibis
import pytest
from apps import App, at, event, small_app, treatment

from features.definitions.labels import (
    attributed_redemptions,
    closed_days,
    effect_days,
    outcome_labels,
    redemption_labels,
)

SETTINGS = {"churn": {"lookback_days": 10, "horizon_days": 5}, "value": {"horizon_days": 8, "gross_margin": 0.25}}
DAY = date(2024, 3, 20)


def ready(folder: Path, **tables: object) -> App:
    app = small_app(folder, overrides=SETTINGS, **tables)
    app.ingest()
    app.aggregate()
    return app


def labels(app: App, *days: date, as_of: date) -> dict[tuple[str, date], tuple[int, float]]:
    with app.history(as_of) as history:
        frame = outcome_labels(history.aggregates, history.spine(list(days)), app.settings).to_pandas()
    keys = zip(frame.user_id, frame.day.dt.date, strict=True)
    return dict(zip(keys, zip(frame.is_churned, frame.margin, strict=True), strict=True))


def visit(user: str, days: int, **columns: object) -> dict[str, object]:
    return event(user, f"{DAY + timedelta(days=days)} 12:00", "session_start", **columns)


def leave(user: str, days: int, **columns: object) -> dict[str, object]:
    return event(user, f"{DAY + timedelta(days=days)} 14:00", "app_remove", **columns)


def buy(user: str, days: int, amount: float) -> dict[str, object]:
    return event(user, f"{DAY + timedelta(days=days)} 13:00", "purchase", amount=amount)


def test_churn_is_no_activity_in_the_horizon_after_activity_in_the_lookback(tmp_path):
    app = ready(
        tmp_path,
        events=[
            *(visit("stays", days) for days in (-1, 4)),  # the last day of the horizon
            *(visit("leaves", days) for days in (-10, 5)),  # the first of the lookback, and a day too late
            *(visit("today", days) for days in (-1, 0)),  # the day itself is after
            visit("gone before", -11),
            visit("newcomer", 0),
            visit("late", -1, received_at=str(DAY)),  # nobody knew on the day
            visit("returns", -1),
            visit("returns", 2, received_at=str(DAY + timedelta(days=9))),
        ],
    )
    assert labels(app, DAY, as_of=DAY + timedelta(days=20)) == {
        ("stays", DAY): (0, 0.0),
        ("leaves", DAY): (1, 0.0),
        ("today", DAY): (0, 0.0),
        ("returns", DAY): (0, 0.0),
    }


def test_who_had_left_by_the_day_teaches_nothing_as_nothing_is_predicted_of_them(tmp_path):
    pairs = [(active, ended) for active in (1, 2, 10) for ended in (-1, 0, 1, 2, 10, 11)]
    events = [
        each
        for active, ended in pairs
        for each in (visit(f"{active}|{ended}", -active), leave(f"{active}|{ended}", -ended))
    ]
    unknown = [visit("unknown", -2), leave("unknown", -1, received_at=str(DAY))]
    found = {user for user, _ in labels(ready(tmp_path, events=events + unknown), DAY, as_of=DAY + timedelta(days=20))}
    assert found == {f"{active}|{ended}" for active, ended in pairs if ended <= 0 or ended > active} | {"unknown"}


def test_what_is_not_known_at_training_is_not_in_a_label(tmp_path):
    known = DAY + timedelta(days=9)
    app = ready(tmp_path, events=[visit("a", -1), visit("a", 2, received_at=str(known))])
    assert labels(app, DAY, as_of=known)["a", DAY] == (1, 0.0)
    assert labels(app, DAY, as_of=known + timedelta(days=1))["a", DAY] == (0, 0.0)


def test_margin_is_the_share_of_spend_less_refunds_in_its_own_horizon(tmp_path):
    refund = event("a", f"{DAY + timedelta(days=7)} 13:00", "refund", amount=-4.0)
    purchases = [buy("a", days, amount) for days, amount in ((-1, 100.0), (0, 10.0), (5, 20.01), (8, 1000.0))]
    app = ready(tmp_path, events=[*purchases, refund])
    with app.history(DAY + timedelta(days=20)) as history:
        row = outcome_labels(history.aggregates, history.spine([DAY]), app.settings).to_pandas().iloc[0]
    assert row.margin == pytest.approx(0.25 * (10.0 + 20.01 - 4.0))  # eight days
    assert row.margin_soon == pytest.approx(0.25 * 10.0)  # the five days of the churn horizon


def changed(app: App, section: str, **values: object) -> App:
    """App whose settings have other values in one section."""
    part = getattr(app.settings, section).model_copy(update=values)
    return App(app.settings.model_copy(update={section: part}))


def outcomes_of(app: App) -> dict[str, tuple[int, float]]:
    """Whether each user stayed, and their margin over the days of an effect."""
    with app.history(DAY + timedelta(days=20)) as history:
        frame = outcome_labels(history.aggregates, history.spine([DAY]), app.settings).to_pandas()
    return dict(zip(frame.user_id, zip(frame.is_retained, frame.margin_soon, strict=True), strict=True))


def test_who_comes_back_only_while_an_offer_is_open_is_not_retained_yet(tmp_path):
    early, late = (f"{DAY + timedelta(days=days)} 13:00" for days in (2, 3))
    rows = [event(user, at, "purchase", amount=8.0) for user, at in (("early", early), ("late", late), ("both", late))]
    before = [visit(user, -1) for user in ("early", "late", "both", "gone")]
    app = ready(tmp_path, events=[*before, *rows, event("both", early, "purchase", amount=4.0)])
    # from day 0 on: any activity of the five days keeps, and five days pay
    assert outcomes_of(app) == {"early": (1, 2.0), "late": (1, 2.0), "both": (1, 3.0), "gone": (0, 0.0)}
    # from day 3 on: activity must be on day 3 or 4, and the margin is that of days 0 to 2, so no money counts twice
    later = changed(app, "response", retained_from_day=3)
    assert outcomes_of(later) == {"early": (0, 2.0), "late": (1, 0.0), "both": (1, 1.0), "gone": (0, 0.0)}


def test_an_effect_is_counted_until_retention_is(tmp_path):
    app = small_app(tmp_path, overrides=SETTINGS)
    assert effect_days(app.settings) == 5
    assert effect_days(changed(app, "response", retained_from_day=3).settings) == 3


def test_what_an_offer_gave_away_is_added_back_to_the_margin(tmp_path):
    noon = f"{DAY} 12:00"
    used = [
        event("a", noon, "purchase", amount=9.0, discount=3.0),  # 2 of the shop's own sale, 1 of the offer
        event("a", noon, "offer_redeem", amount=9.0, discount=1.0),
    ]
    app = ready(tmp_path, events=[visit("a", -1), *used])
    assert outcomes_of(app) == {"a": (1, 0.25 * (9.0 + 1.0))}


def test_a_margin_does_not_depend_on_the_order_of_its_sum(tmp_path):
    purchases = [buy("a", 0, 0.01) | {"event_id": f"e{number}"} for number in range(10)]
    late = [row | {"received_at": row["occurred_at"] + timedelta(days=number)} for number, row in enumerate(purchases)]
    app = ready(tmp_path, events=[buy("a", -1, 1.0), *late])
    shared = app.settings.model_copy(update={"value": app.settings.value.model_copy(update={"gross_margin": 0.3})})
    with app.history(DAY + timedelta(days=20)) as history:
        row = outcome_labels(history.aggregates, history.spine([DAY]), shared).to_pandas().iloc[0]
    assert row.margin == 10 / 100.0 * 0.3


@pytest.fixture(scope="module")
def daily_buyer(tmp_path_factory) -> App:
    """One user who pays twice as much every day."""
    rows = [buy("a", day, 2.0**day) for day in range(10)]
    return ready(tmp_path_factory.mktemp("daily"), events=[visit("a", -1), *rows])


def test_each_moment_has_its_own_labels(tmp_path):
    app = ready(tmp_path, events=[visit("a", -1), visit("a", 1)])
    days = [DAY, DAY + timedelta(days=1), DAY + timedelta(days=2), DAY + timedelta(days=11), DAY + timedelta(days=12)]
    found = labels(app, *days, as_of=DAY + timedelta(days=20))
    assert found == {
        ("a", days[0]): (0, 0.0),
        ("a", days[1]): (0, 0.0),
        ("a", days[2]): (1, 0.0),
        ("a", days[3]): (1, 0.0),
    }


def test_a_horizon_that_is_not_over_is_no_label():
    days = [DAY - timedelta(days=back) for back in (6, 5, 4, 0)]
    assert closed_days(days, DAY, 5) == days[:2]


@pytest.mark.parametrize("retained_from", [0, 1, 3])
@pytest.mark.parametrize("horizon", [1, 4, 5, 8])
def test_remaining_value_starts_where_the_measured_margin_ends(daily_buyer, retained_from, horizon):
    app = changed(changed(daily_buyer, "response", retained_from_day=retained_from), "value", horizon_days=horizon)
    with app.history(DAY + timedelta(days=20)) as history:
        row = outcome_labels(history.aggregates, history.spine([DAY]), app.settings).to_pandas().iloc[0]
    paid = [0.25 * 2.0**day for day in range(10)]  # each day's margin can be told from the others'
    first = effect_days(app.settings)
    assert (row.margin, row.margin_soon) == (sum(paid[:horizon]), sum(paid[:first]))
    assert row.margin_later == sum(paid[first:horizon])


GIVEN = [
    treatment("a", "2024-03-01", "come_back", 0.1, valid_until="2024-03-11", propensity=0.5),
    treatment("b", "2024-03-01", "come_back", 0.1, valid_until="2024-03-11"),
    treatment("c", "2024-03-01", "come_back", 0.1, valid_until="2024-03-11"),
    treatment("d", "2024-03-01", "come_back", 0.1),  # seven days by the catalogue
    treatment("e", "2024-03-01", "unlisted", 0.2),  # five days: the churn horizon
    treatment("f", "2024-03-01", "none", 0.0),
    treatment("g", "2024-03-01", "come_back", 0.1, valid_until="2024-03-21"),
]
USED = [
    event("a", "2024-03-02", "offer_redeem", amount=10.0, discount=1.0, decision_id="a|2024-03-01|come_back"),
    event("a", "2024-03-10 23:59", "offer_redeem", amount=5.5, discount=0.5, decision_id="a|2024-03-01|come_back"),
    event("a", "2024-03-11", "offer_redeem", amount=99.0, decision_id="a|2024-03-01|come_back"),  # ended
    event("b", "2024-03-02", "offer_redeem", amount=3.0, offer_id="come_back"),  # by user and offer
    event("c", "2024-03-02", "offer_redeem", amount=3.0, offer_id="bundle"),  # another offer
    event("c", "2024-03-02 01:00", "offer_redeem", amount=3.0, offer_id="come_back", decision_id="another"),
    event("c", "2024-02-29", "offer_redeem", amount=3.0, offer_id="come_back"),  # before it was given
    event("c", "2024-03-02", "purchase", amount=3.0, offer_id="come_back"),  # no redemption
    event("d", "2024-03-07 23:59", "offer_redeem", offer_id="come_back"),
    event("e", "2024-03-06", "offer_redeem", offer_id="unlisted"),
]


@pytest.fixture(scope="module")
def redemptions(tmp_path_factory) -> App:
    """App whose treatments and redemptions are those above."""
    return ready(tmp_path_factory.mktemp("redemptions"), events=USED, treatments=GIVEN)


def redeemed(app: App, as_of: str, valid_days: dict[str, int]) -> dict[str, tuple[int, float, float]]:
    moment = at(as_of)
    with app.history(moment.date()) as history:
        labelled = redemption_labels(
            history.treatments, history.events, app.settings, valid_days, ibis.literal(moment, type="timestamp('UTC')")
        ).to_pandas()
    numbers = zip(labelled.is_redeemed, labelled.covered_spend, labelled.discount_given, strict=True)
    return dict(zip(labelled.user_id, numbers, strict=True))


def test_a_redemption_is_found_by_decision_or_by_user_and_offer_while_it_is_open(redemptions):
    assert redeemed(redemptions, "2024-03-15", {"come_back": 7}) == {
        "a": (1, 15.5, 1.5),
        "b": (1, 3.0, 0.0),
        "c": (1, 3.0, 0.0),  # the decision that it names is not ours
        "d": (1, 0.0, 0.0),
        "e": (1, 0.0, 0.0),
    }


def test_without_an_end_an_offer_is_open_as_long_as_the_catalogue_says(redemptions):
    assert redeemed(redemptions, "2024-03-15", {"come_back": 6})["d"] == (1, 0.0, 0.0)  # on its last day
    assert redeemed(redemptions, "2024-03-15", {"come_back": 5})["d"] == (0, 0.0, 0.0)
    assert redeemed(redemptions, "2024-03-15", {})["e"] == (1, 0.0, 0.0)
    assert redeemed(redemptions, "2024-03-15", {"unlisted": 4})["e"] == (0, 0.0, 0.0)


TWICE = [
    treatment("a", "2024-04-01", "come_back", 0.1),
    treatment("a", "2024-04-04", "come_back", 0.1),
    treatment("b", "2024-04-01", "come_back", 0.1),
    treatment("c", "2024-04-01", "come_back", 0.1),
    treatment("c", "2024-04-02", "bundle", 0.1),
    treatment("d", "2024-04-01", "come_back", 0.1, valid_until="2024-04-03"),
]
USED_ONCE = [
    event("a", "2024-04-05 12:00", "offer_redeem", amount=20.0, discount=2.0, offer_id="come_back"),
    event("b", "2024-04-08 09:00", "offer_redeem", amount=20.0, discount=2.0, offer_id="come_back"),  # its last day
    event("c", "2024-04-05 12:00", "offer_redeem", amount=20.0, discount=2.0, offer_id="come_back", decision_id="shop"),
    event("d", "2024-04-03 00:00", "offer_redeem", amount=20.0, discount=2.0, offer_id="come_back"),  # over
    event("e", "2024-04-03", "offer_redeem", amount=20.0, discount=2.0, offer_id="come_back", decision_id="shop"),
    event("b", "2024-04-04", "offer_redeem", amount=5.0, discount=1.0, decision_id="b|2024-04-01|come_back"),
]


def test_each_redemption_counts_for_one_treatment_the_latest_open_one(tmp_path):
    app = ready(tmp_path, events=USED_ONCE, treatments=TWICE)
    moment, valid = ibis.literal(at("2024-05-01"), type="timestamp('UTC')"), {"come_back": 7, "bundle": 7}
    with app.history(date(2024, 5, 1)) as history:
        asked = (history.treatments, history.events, app.settings, valid)
        labelled = redemption_labels(*asked, moment).to_pandas().set_index("decision_id")
        used = attributed_redemptions(*asked).to_pandas()
    assert labelled["discount_given"].to_dict() == {
        "a|2024-04-01|come_back": 0.0,
        "a|2024-04-04|come_back": 2.0,
        "b|2024-04-01|come_back": 3.0,
        "c|2024-04-01|come_back": 2.0,
        "c|2024-04-02|bundle": 0.0,
        "d|2024-04-01|come_back": 0.0,
    }
    assert (labelled["is_redeemed"] == (labelled["discount_given"] > 0)).all()
    assert (len(used), used["treatment"].notna().sum(), used["is_foreign"].sum()) == (len(USED_ONCE), 4, 2)


def test_an_offer_that_is_still_open_is_no_label(redemptions):
    assert set(redeemed(redemptions, "2024-03-11", {"come_back": 7})) == {"a", "b", "c", "d", "e"}
    assert set(redeemed(redemptions, "2024-03-10", {"come_back": 7})) == {"d", "e"}
    assert set(redeemed(redemptions, "2024-03-21", {"come_back": 7})) == {"a", "b", "c", "d", "e", "g"}


def test_a_label_keeps_what_the_treatment_said(redemptions):
    with redemptions.history(date(2024, 3, 15)) as history:
        moment = ibis.literal(at("2024-03-15"), type="timestamp('UTC')")
        frame = redemption_labels(history.treatments, history.events, redemptions.settings, {}, moment).to_pandas()
    first = frame.set_index("user_id").loc["a"]
    kept = ["decision_id", "offer_id", "discount", "channel", "propensity", "decided_at", "closed_at"]
    assert first[kept].tolist() == [
        "a|2024-03-01|come_back",
        "come_back",
        0.1,
        "push",
        0.5,
        at("2024-03-01"),
        at("2024-03-11"),
    ]
