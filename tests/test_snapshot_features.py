"""Features of a snapshot: who is there, and each family of features equals a hand-made count."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from apps import Row, event, small_app, treatment
from synthetic import small_settings

from features.definitions.app_declarations import declarations_of
from features.definitions.registry import WINDOWS
from features.definitions.snapshot_features import CATEGORY_SHARES, catalogue

AS_OF = date(2024, 7, 1)
MIDNIGHT = datetime(2024, 7, 1, tzinfo=UTC)
TRAITS = {"country": True, "pet_count_now": False}


# --- who is there -------------------------------------------------------------------------------------------------


def test_a_user_is_not_there_before_they_are_known(tmp_path):
    events = [
        event("stranger", "2024-07-01", "purchase", amount=1.0),
        event("latecomer", "2024-06-20", "purchase", amount=1.0, received_at="2024-07-01 00:00"),
    ]
    users = [{"user_id": "newcomer", "signed_up_at": MIDNIGHT - timedelta(days=2)}]
    app = small_app(tmp_path, events=events, users=users)
    app.ingest()
    app.aggregate()
    found = app.snapshots(AS_OF, AS_OF + timedelta(days=1))
    known = {day: set(of_day.droplevel("day").index) for day, of_day in found.groupby("day")}
    assert known == {AS_OF: {"newcomer"}, AS_OF + timedelta(days=1): {"newcomer", "stranger", "latecomer"}}
    assert found.loc[("latecomer", AS_OF + timedelta(days=1)), "tenure_days"] == 12


# --- hand-made counts --------------------------------------------------------------------------------------------


def days_before(days: int, clock: str = "12:00") -> str:
    return f"{AS_OF - timedelta(days=days)} {clock}"


def purchase(user: str, days: int, amount: float, **columns: object) -> Row:
    return event(user, days_before(days), "purchase", amount=amount, **columns)


NO_FEATURES = {"as_of", "created_at", CATEGORY_SHARES}
HISTORY = [
    # edges: on the last day of each window, and one day too old for it
    *(purchase("edges", days + late, 2.0**number) for number, days in enumerate(WINDOWS) for late in (0, 1)),
    # rhythm: active 30, 20, 16 and 10 days before; gaps of 10, 4 and 6
    *(event("rhythm", days_before(days), "session_start") for days in (30, 20, 16, 10)),
    # money: three baskets, a refund; discounts on two of four lines; a late line of yesterday's basket
    purchase("money", 2, 30.0, discount=10.0, session_id="m1", item_category="tea"),
    purchase("money", 2, 5.0, session_id="m1", item_id="2", item_category="pots"),
    purchase("money", 40, 7.0, discount=0.5, item_category="pots"),
    purchase("money", 100, 100.0, item_category="cups"),
    purchase("money", 2, 60.0, item_id="3", session_id="m1", received_at=days_before(1), item_category="tea"),
    event("money", days_before(1), "refund", amount=-5.0),
    # journey: viewed only; cart after the purchase; checkout on the day of the purchase
    event("viewer", days_before(3), "view_item", item_category="tea"),
    event("viewer", days_before(4), "view_item"),
    purchase("carter", 9, 1.0),
    event("carter", days_before(8), "add_to_cart"),
    event("carter", days_before(8), "view_item"),
    event("payer", days_before(8), "begin_checkout"),
    purchase("payer", 8, 1.0),
    event("payer", days_before(8), "payment_failed"),
    event("payer", days_before(29), "payment_failed"),
    event("carter", days_before(7), "payment_failed"),
    event("payer", days_before(90), "app_remove"),
    event("payer", days_before(91), "sign_up"),
    event("payer", days_before(91), "tutorial_complete"),
    # contact
    event("contact", days_before(1), "notification_receive"),
    event("contact", days_before(20), "notification_receive"),
    event("contact", days_before(20), "notification_open"),
    event("contact", days_before(5), "offer_redeem", amount=9.0),
    # taste: most money on tea, most events on pots; most events at 8, most money at 20
    event("taste", days_before(2, "20:00"), "purchase", amount=50.0, item_category="tea"),
    *(event("taste", days_before(day, "08:10"), "view_item", item_category="pots") for day in (3, 4, 5)),
    event("taste", days_before(91, "08:10"), "purchase", amount=500.0, item_category="too old"),
    # tenure
    purchase("old", 366, 1.0),
    purchase("signed", 10, 1.0),
    purchase("early", 50, 1.0),
]
OFFERS_GIVEN = [
    treatment("contact", days_before(6), "come_back", 0.1),
    treatment("contact", days_before(28), "come_back", 0.2),
    treatment("contact", days_before(29), "bundle", 0.2),
    treatment("contact", days_before(3), "none", 0.0),
]
USERS = [
    {
        "user_id": "signed",
        "signed_up_at": datetime(2024, 6, 1, 23, tzinfo=UTC),
        "country": "DE",
        "pets": 2,
        "member": True,
    },
    {
        "user_id": "early",
        "signed_up_at": datetime(2024, 6, 1, tzinfo=UTC),
        "country": "FR",
        "pets": None,
        "member": False,
    },
    {
        "user_id": "silent",
        "signed_up_at": datetime(2024, 6, 30, tzinfo=UTC),
        "country": "FR",
        "pets": 1,
        "member": True,
    },
    {"user_id": "tomorrow", "signed_up_at": MIDNIGHT, "country": "FR", "pets": 1, "member": None},
]
for user, (gender, nickname) in zip(USERS, ["fa", "mb", "fc", "md"], strict=True):
    user |= {"gender": gender, "birth_year": 1990.0, "nickname": nickname, "constant": "x", "consent_push": True}


@pytest.fixture(scope="module")
def hand(tmp_path_factory) -> pd.DataFrame:
    """Snapshot of the hand-made history at AS_OF, one row per user."""
    app = small_app(
        tmp_path_factory.mktemp("hand"),
        overrides={"features": {"max_trait_values": 3}},
        events=HISTORY,
        users=USERS,
        treatments=OFFERS_GIVEN,
    )
    app.ingest()
    app.aggregate()
    return app.snapshots(AS_OF).droplevel("day")


EXPECTED = [
    # the purchase on the window's last day counts, the one a day older does not: 1+1, 2+2, 4+4, 8+8 per window
    ("edges", {"spend_sum_7d": 1, "spend_sum_28d": 1 + 1 + 2, "spend_sum_90d": 1 + 1 + 2 + 2 + 4}),
    ("edges", {"spend_sum_365d": 1 + 1 + 2 + 2 + 4 + 4 + 8, "purchases_count_365d": 7, "items_count_7d": 1}),
    ("edges", {"active_days_count_7d": 1, "active_days_count_28d": 3, "active_days_count_90d": 5}),
    ("edges", {"active_days_count_365d": 7, "days_since_first_activity": 365, "tenure_days": 366}),
    ("rhythm", {"days_since_last_activity": 10, "days_since_first_activity": 30, "days_since_last_purchase": None}),
    ("rhythm", {"gap_days_mean_365d": 20 / 3, "gap_days_max_365d": 10, "overdue_ratio_365d": 1.5}),
    ("rhythm", {"gap_days_std_365d": 28**0.5 / 3**0.5, "gap_days_variation_365d": (28 / 3) ** 0.5 / (20 / 3)}),
    ("rhythm", {"active_days_trend_28d": 3 * 90 / (4 * 28), "sessions_count_28d": 3, "spend_max_365d": 0}),
    ("money", {"spend_sum_7d": 95, "spend_sum_90d": 102, "spend_sum_365d": 202, "spend_max_28d": 95}),
    ("money", {"spend_max_365d": 100, "refund_sum_90d": 5, "purchases_count_7d": 1, "purchases_count_365d": 3}),
    ("money", {"items_count_7d": 3, "items_count_365d": 5, "order_value_mean_365d": 202 / 3}),
    ("money", {"discount_sum_28d": 10, "discount_sum_90d": 10.5, "discount_share_90d": 10.5 / (10.5 + 102)}),
    ("money", {"discounted_items_count_90d": 2, "discounted_items_count_365d": 2}),
    ("money", {"spend_trend_28d": 95 * 90 / (102 * 28), "spend_trend_90d": 102 * 100 / (202 * 90)}),
    ("money", {"categories_count_90d": 2, "favourite_category_90d": "tea", "days_since_last_purchase": 2}),
    ("viewer", {"is_viewed_not_carted_28d": 1, "views_count_7d": 2, "carts_count_28d": 0, "is_cart_open": 0}),
    ("viewer", {"spend_trend_28d": None, "discount_share_90d": None, "order_value_mean_365d": None}),
    ("viewer", {"gap_days_mean_365d": 1, "gap_days_std_365d": None, "days_since_last_cart": None}),
    ("carter", {"is_cart_open": 1, "is_viewed_not_carted_28d": 0, "days_since_last_cart": 8, "carts_count_28d": 1}),
    ("carter", {"carts_count_7d": 0, "is_checkout_open": 0, "gap_days_max_365d": 1}),
    ("payer", {"is_checkout_open": 0, "days_since_last_checkout": 8, "payment_failures_count_28d": 1}),
    ("payer", {"days_since_last_failed_payment": 8, "is_payment_open": 0}),  # it went through on the same day
    ("carter", {"days_since_last_failed_payment": 7, "is_payment_open": 1}),
    ("viewer", {"days_since_last_failed_payment": None, "is_payment_open": 0}),
    ("payer", {"payment_failures_count_90d": 2, "cancellations_count_365d": 1, "onboarding_count_365d": 2}),
    ("payer", {"gap_days_mean_365d": None, "overdue_ratio_365d": None, "tenure_days": 91}),
    ("contact", {"messages_sent_count_7d": 1, "messages_sent_count_28d": 2, "messages_opened_count_28d": 1}),
    ("contact", {"messages_opened_count_7d": 0, "treatments_count_28d": 2, "treatments_count_90d": 3}),
    ("contact", {"open_share_90d": 1 / 2}),
    ("viewer", {"open_share_90d": None}),
    ("contact", {"redemptions_count_28d": 1, "redemption_share_365d": 1 / 3, "days_since_last_treatment": 6}),
    ("contact", {"days_since_last_redemption": 5, "active_days_count_365d": 0, "days_since_last_activity": None}),
    ("taste", {"favourite_category_90d": "tea", "favourite_hour_90d": 8, "categories_count_90d": 2}),
    ("taste", {"favourite_category_spend_90d": 50}),
    # Saturdays and Sundays: 30 and 16, 8 and 29 days before
    ("rhythm", {"weekend_visits_count_90d": 2, "weekend_share_90d": 2 / 4}),
    ("edges", {"weekend_visits_count_90d": 2, "weekend_share_90d": 2 / 5}),
    ("contact", {"weekend_visits_count_90d": 0, "weekend_share_90d": None}),
    ("old", {"tenure_days": 366, "active_days_count_365d": 0, "days_since_last_activity": None}),
    ("payer", {"has_done_sign_up": 1, "has_done_tutorial_complete": 1, "onboarding_share": 1}),
    ("payer", {"next_onboarding_step": None}),
    ("signed", {"has_done_sign_up": 1, "has_done_tutorial_complete": 0, "onboarding_share": 1 / 2}),
    ("signed", {"next_onboarding_step": "tutorial_complete"}),
    ("edges", {"onboarding_share": 0, "next_onboarding_step": "sign_up"}),
    ("signed", {"tenure_days": 30, "trait_country": "DE", "trait_pets": 2, "trait_member": 1}),
    ("early", {"tenure_days": 50, "trait_country": "FR", "trait_pets": None, "trait_member": 0}),
    ("silent", {"tenure_days": 1, "active_days_count_365d": 0, "spend_sum_365d": 0, "spend_max_28d": None}),
]


@pytest.mark.parametrize(("user", "values"), EXPECTED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_feature_equals_the_count_by_hand(hand, user, values):
    found = {name: None if pd.isna(hand.loc[user, name]) else hand.loc[user, name] for name in values}
    assert found == {
        name: pytest.approx(value) if isinstance(value, int | float) else value for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("user", "shares"),
    [
        ("money", {"tea": 90 / 102, "pots": 12 / 102}),  # cups are too old
        ("taste", {"tea": 1.0}),  # pots were looked at alone
        ("viewer", {"tea": 1.0}),  # who spent nothing: of what they looked at
        ("silent", {}),
    ],
)
def test_shares_of_categories_are_those_counted_by_hand(hand, user, shares):
    found = {each["category"]: each["share"] for each in hand.loc[user, CATEGORY_SHARES]}
    assert found == pytest.approx(shares)


def test_a_trait_that_is_missing_stays_missing_whatever_its_name(tmp_path):
    users = [{"user_id": name, "signed_up_at": MIDNIGHT - timedelta(days=2), "pet_count_now": pets}
             for name, pets in (("a", 1.0), ("b", 2.0), ("newcomer", None))]  # fmt: skip
    app = small_app(tmp_path, events=[event("a", "2024-06-20", "purchase", amount=1.0)], users=users)
    app.ingest()
    app.aggregate()
    found = app.snapshots(AS_OF).loc[("newcomer", AS_OF)]
    assert pd.isna(found["trait_pet_count_now"]) and found["purchases_count_7d"] == 0


def test_every_family_of_features_was_counted_by_hand(hand):
    counted = {name for _, values in EXPECTED for name in values}
    families = {name.rsplit("_", 1)[0] for name in counted} | counted
    left = [name for name in hand.columns if name not in counted and name.rsplit("_", 1)[0] not in families]
    assert set(left) == NO_FEATURES


def test_who_signs_up_at_midnight_of_as_of_is_not_there_yet(hand):
    assert "tomorrow" not in hand.index
    assert set(hand.index) == {str(row["user_id"]) for row in HISTORY} | {"signed", "early", "silent"}


def test_traits_are_numbers_flags_and_few_words_and_never_what_serves_the_audit(hand):
    assert {name for name in hand.columns if name.startswith("trait_")} == {
        "trait_country",
        "trait_pets",
        "trait_member",
    }


def test_the_catalogue_names_every_column_once_with_a_meaning(hand):
    described = declarations_of(small_settings()).catalogue({"country": True, "pets": False, "member": False})
    names = [feature.name for feature in described]
    assert names == [name for name in hand.columns if name not in NO_FEATURES]
    assert len(set(names)) == len(names)
    assert [
        feature.name for feature in described if not (feature.meaning.endswith(".") and feature.window and feature.role)
    ] == []


def test_no_feature_has_a_name_that_the_feature_store_loses(hand):
    assert [name for name in hand.columns if name.endswith("_y")] == []


def test_numbers_are_float64_and_words_are_text(hand):
    texts = {feature.name for feature in catalogue(TRAITS) if feature.is_text}
    kinds = {name: hand[name].dtype.kind for name in hand.columns if name not in NO_FEATURES}
    assert {name for name, kind in kinds.items() if kind != "f"} == texts


def test_a_snapshot_is_stamped_with_the_start_of_its_day(hand):
    assert hand.as_of.unique().tolist() == hand.created_at.unique().tolist() == [MIDNIGHT]


def test_another_time_zone_moves_the_day(tmp_path):
    events = [
        event("a", "2024-06-30 20:00", "purchase", amount=1.0),
        event("a", "2024-06-30 14:00", "purchase", amount=2.0),
    ]
    users = [{"user_id": "a", "signed_up_at": datetime(2024, 6, 28, 20, tzinfo=UTC)}]
    found = {}
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        app = small_app(tmp_path / zone, overrides={"time_zone": zone}, events=events, users=users)
        app.ingest()
        app.aggregate()
        row = app.snapshots(AS_OF).iloc[0]
        found[zone] = (row.spend_sum_7d, row.favourite_hour_90d, row.tenure_days, row.as_of)
    assert found == {
        "UTC": (3, 14, 3, MIDNIGHT),
        "Asia/Tokyo": (2, 23, 2, MIDNIGHT - timedelta(hours=9)),  # 20:00 UTC is the next day there
        "America/New_York": (3, 10, 3, MIDNIGHT + timedelta(hours=4)),
    }


def test_an_event_known_before_the_day_starts_in_its_own_zone_is_seen(tmp_path):
    events = [event("a", "2024-07-01 03:00", "purchase", amount=1.0)]  # 23:00 of June 30 in New York
    app = small_app(tmp_path, overrides={"time_zone": "America/New_York"}, events=events)
    app.ingest()
    app.aggregate()
    assert app.snapshots(AS_OF).iloc[0].spend_sum_7d == 1
