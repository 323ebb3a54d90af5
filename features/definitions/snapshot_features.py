"""The columns of a snapshot, each declared once: a function whose name is the column and whose docstring explains it.

The name gets the window appended where there is one. A function sees only the daily rows that the engine hands it,
those known before the snapshot's day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from features.definitions.daily_measures import MEASURES
from features.definitions.registry import (
    CATALOGUE,
    LONGEST,
    WINDOWS,
    Declarations,
    Feature,
    derived,
    first_seen,
    largest,
    last_seen,
    summed,
)
from features.definitions.registry import DERIVED as DERIVED
from features.definitions.registry import WINDOWED as WINDOWED

if TYPE_CHECKING:  # the catalogue is read without an engine
    import ibis.expr.types as ir

TASTE_DAYS = 90  # of the favourite category and hour, of weekends and of shares of categories
CATEGORY_SHARES = "category_shares_90d"  # a list of categories with their shares: no feature, personas are made of it

# --- activity and money -------------------------------------------------------------------------------------


@summed(*WINDOWS, role="activity")
def active_days_count(days: ir.Table) -> ir.Value:
    """Active days."""
    return days.active_days


@summed(*WINDOWS, role="activity")
def sessions_count(days: ir.Table) -> ir.Value:
    """Visits (sessions or baskets with activity)."""
    return days.sessions_count


@summed(TASTE_DAYS, role="activity", view="habits", at_weekends=True)
def weekend_visits_count(days: ir.Table) -> ir.Value:
    """Visits at weekends (on Saturdays and Sundays)."""
    return days.sessions_count


@summed(*WINDOWS, role="value")
def purchases_count(days: ir.Table) -> ir.Value:
    """Purchases (baskets paid for)."""
    return days.purchases_count


@summed(*WINDOWS, role="value")
def items_count(days: ir.Table) -> ir.Value:
    """Items bought (purchase lines)."""
    return days.items_count


@summed(*WINDOWS, role="value", unit="money")
def spend_sum(days: ir.Table) -> ir.Value:
    """Money spent (account currency)."""
    return days.spend_micros


@largest(28, 365, role="value", unit="money")
def spend_max(days: ir.Table) -> ir.Value:
    """Most money spent on one day (account currency)."""
    return days.spend_of_day_micros


@summed(90, 365, role="refund", unit="money")
def refund_sum(days: ir.Table) -> ir.Value:
    """Money paid back (account currency)."""
    return days.refund_micros


@summed(28, 90, 365, role="value", unit="money")
def discount_sum(days: ir.Table) -> ir.Value:
    """Discounts received (inside purchases, account currency)."""
    return days.discount_micros


@summed(90, 365, role="value")
def discounted_items_count(days: ir.Table) -> ir.Value:
    """Items bought at a discount (purchase lines)."""
    return days.discounted_items_count


@last_seen(role="activity")
def days_since_last_activity(days: ir.Table) -> ir.Value:
    """Days since last active."""
    return days.active_days > 0


@last_seen(role="value")
def days_since_last_purchase(days: ir.Table) -> ir.Value:
    """Days since the last purchase."""
    return days.purchase_days > 0


@first_seen(role="activity")
def days_since_first_activity(days: ir.Table) -> ir.Value:
    """Days since first active (within the last year)."""
    return days.active_days > 0


# --- journey ------------------------------------------------------------------------------------------------


@summed(7, 28, role="view")
def views_count(days: ir.Table) -> ir.Value:
    """Items looked at."""
    return days.views_count


@summed(7, 28, role="cart")
def carts_count(days: ir.Table) -> ir.Value:
    """Items put into the cart."""
    return days.carts_count


@last_seen(role="cart")
def days_since_last_cart(days: ir.Table) -> ir.Value:
    """Days since something was put into the cart."""
    return days.carts_count > 0


@last_seen(role="checkout")
def days_since_last_checkout(days: ir.Table) -> ir.Value:
    """Days since a payment was begun."""
    return days.checkouts_count > 0


@summed(365, role="onboarding")
def onboarding_count(days: ir.Table) -> ir.Value:
    """First steps completed."""
    return days.onboarding_count


@summed(28, 90, role="payment_failure")
def payment_failures_count(days: ir.Table) -> ir.Value:
    """Payments that failed."""
    return days.payment_failures_count


@last_seen(role="payment_failure", view="contract")
def days_since_last_failed_payment(days: ir.Table) -> ir.Value:
    """Days since a payment failed."""
    return days.payment_failures_count > 0


@summed(365, role="cancellation")
def cancellations_count(days: ir.Table) -> ir.Value:
    """Contracts ended."""
    return days.cancellations_count


@last_seen(role="cancellation", view="contract")
def days_since_last_cancellation(days: ir.Table) -> ir.Value:
    """Days since the contract was ended."""
    return days.cancellations_count > 0


# --- our own contacts: kept apart, because what we sent is a consequence of what we believed ------------------


@summed(7, 28, 90, role="message_sent", view="contact")
def messages_sent_count(days: ir.Table) -> ir.Value:
    """Messages of ours received."""
    return days.messages_sent_count


@summed(7, 28, 90, role="message_opened", view="contact")
def messages_opened_count(days: ir.Table) -> ir.Value:
    """Messages of ours opened."""
    return days.messages_opened_count


@summed(28, 90, 365, role="treatments", view="contact")
def treatments_count(days: ir.Table) -> ir.Value:
    """Offers received."""
    return days.treatments_count


@summed(28, 90, 365, role="offer_redeem", view="contact")
def redemptions_count(days: ir.Table) -> ir.Value:
    """Offers used."""
    return days.redemptions_count


@last_seen(role="treatments", view="contact")
def days_since_last_treatment(days: ir.Table) -> ir.Value:
    """Days since the last offer was received."""
    return days.treatments_count > 0


@last_seen(role="offer_redeem", view="contact")
def days_since_last_redemption(days: ir.Table) -> ir.Value:
    """Days since an offer was last used."""
    return days.redemptions_count > 0


# --- ratios, trends and rhythm --------------------------------------------------------------------------------


@derived("28 of 90 days", role="activity", unit="ratio", says_window=True)
def active_days_trend_28d(users: ir.Table) -> ir.Value:
    """Active days, against the usual pace (the last 28 days over the last 90, 1 = as usual)."""
    return _ratio(users.active_days_count_28d * 90.0, users.active_days_count_90d * 28.0)


@derived("28 of 90 days", role="value", unit="ratio", says_window=True)
def spend_trend_28d(users: ir.Table) -> ir.Value:
    """Spend, against the usual pace (the last 28 days over the last 90, 1 = as usual)."""
    return _ratio(users.spend_sum_28d * 90.0, users.spend_sum_90d * 28.0)


@derived("90 of 365 days", role="value", unit="ratio", says_window=True)
def spend_trend_90d(users: ir.Table) -> ir.Value:
    """Spend, against the pace of the year (the last 90 days over the time since first active, 1 = as usual)."""
    days = users.days_since_first_activity.fill_null(90.0).clip(lower=90.0)
    return _ratio(users.spend_sum_90d * days, users.spend_sum_365d * 90.0)


@derived("365 days", role="value", unit="money", says_window=True)
def order_value_mean_365d(users: ir.Table) -> ir.Value:
    """Money spent per purchase (account currency)."""
    return _ratio(users.spend_sum_365d, users.purchases_count_365d)


@derived("90 days", role="value", unit="share", says_window=True)
def discount_share_90d(users: ir.Table) -> ir.Value:
    """Share of the list price that was discounted away."""
    return _ratio(users.discount_sum_90d, users.discount_sum_90d + users.spend_sum_90d)


@derived("90 days", role="activity", unit="share", view="habits", says_window=True)
def weekend_share_90d(users: ir.Table) -> ir.Value:
    """Share of the visits that are at weekends."""
    return _ratio(users.weekend_visits_count_90d, users.sessions_count_90d)


@derived("365 days", role="activity", unit="days", says_window=True)
def gap_days_mean_365d(users: ir.Table) -> ir.Value:
    """Usual pause between visits (mean distance of active days)."""
    return _ratio(users.days_since_first_activity - users.days_since_last_activity, users.active_days_count_365d - 1.0)


@derived("365 days", role="activity", unit="ratio", says_window=True)
def overdue_ratio_365d(users: ir.Table) -> ir.Value:
    """Time since last active, against the usual pause between visits (above 1 = later than usual)."""
    return _ratio(users.days_since_last_activity, users.gap_days_mean_365d)


@derived("365 days", role="activity", unit="ratio", says_window=True)
def gap_days_variation_365d(users: ir.Table) -> ir.Value:
    """How much the pauses between visits differ, against the usual pause (standard deviation over mean)."""
    return _ratio(users.gap_days_std_365d, users.gap_days_mean_365d)


@derived("365 days", role="offer_redeem", unit="share", view="contact", says_window=True)
def redemption_share_365d(users: ir.Table) -> ir.Value:
    """Offers used per offer received."""
    return _ratio(users.redemptions_count_365d, users.treatments_count_365d)


@derived("90 days", role="message_opened", unit="share", view="contact", says_window=True)
def open_share_90d(users: ir.Table) -> ir.Value:
    """Messages of ours opened per message received."""
    return _ratio(users.messages_opened_count_90d, users.messages_sent_count_90d)


@derived("365 days", role="cart", unit="flag")
def is_cart_open(users: ir.Table) -> ir.Value:
    """Something lies in the cart (put there on a later day than the last purchase)."""
    return _later(users.days_since_last_cart, users.days_since_last_purchase)


@derived("365 days", role="checkout", unit="flag")
def is_checkout_open(users: ir.Table) -> ir.Value:
    """Payment begun and not finished (on a later day than the last purchase)."""
    return _later(users.days_since_last_checkout, users.days_since_last_purchase)


@derived("365 days", role="payment_failure", unit="flag", view="contract")
def is_payment_open(users: ir.Table) -> ir.Value:
    """Payment failed and none made since (it failed on a later day than the last one that was made)."""
    return _later(users.days_since_last_failed_payment, users.days_since_last_purchase)


@derived("28 days", role="view", unit="flag", says_window=True)
def is_viewed_not_carted_28d(users: ir.Table) -> ir.Value:
    """Items looked at and none put into the cart."""
    return (users.views_count_28d > 0) & (users.carts_count_28d == 0)


@derived("all", role="activity", unit="days")
def tenure_days(users: ir.Table) -> ir.Value:
    """Days as a customer (since sign-up, or the first event or offer, whichever came first)."""
    return users.tenure_seen_days


# those that the engine computes by itself, from more than sums over windows
CATALOGUE |= {
    feature.name: feature
    for feature in (
        Feature(
            "gap_days_std_365d", "How much the pauses between visits differ (standard deviation of the gaps).",
            "365 days", "activity", "behaviour", unit="days", says_window=True,
        ),
        Feature(
            "gap_days_max_365d", "Longest pause between visits (days).",
            "365 days", "activity", "behaviour", unit="days", says_window=True,
        ),
        Feature(
            "categories_count_90d", "Categories with activity.",
            "90 days", "activity", "behaviour", unit="count", missing="zero", says_window=True,
        ),
        Feature(
            "favourite_category_90d", "Category with the most spend, then the most events.",
            "90 days", "activity", "taste", unit="name", says_window=True,
        ),
        Feature(
            "favourite_category_spend_90d", "Money spent in the favourite category (account currency).",
            "90 days", "value", "taste", unit="money", says_window=True,
        ),
        Feature(
            "favourite_hour_90d", "Hour of the day with the most activity (0-23).",
            "90 days", "activity", "taste", unit="hour", says_window=True,
        ),
        Feature(
            "onboarding_share", "Share of the first steps that are done.",
            "all", "onboarding", "onboarding", unit="share",
        ),
        Feature(
            "next_onboarding_step", "Next of the first steps.", "all", "onboarding", "onboarding", unit="name",
        ),
    )
}  # fmt: skip

DAY_MARKS = {"active_days": "activity_count", "purchase_days": "purchases_count"}
DECLARED = Declarations(MEASURES, DAY_MARKS, WINDOWED, DERIVED, CATALOGUE)


def catalogue(traits: dict[str, bool] | None = None) -> list[Feature]:
    """List every column that any app's snapshots have, traits included."""
    return DECLARED.catalogue(traits)


def _ratio(above: ir.Value, below: ir.Value) -> ir.Value:
    numerator = cast("ir.NumericValue", above.cast("float64"))
    denominator = cast("ir.NumericValue", below.cast("float64"))
    return numerator / denominator.nullif(0.0)


def _later(event_age: ir.Value, purchase_age: ir.Value) -> ir.Value:
    return (event_age < purchase_age.fill_null(float(LONGEST + 1))).fill_null(False)
