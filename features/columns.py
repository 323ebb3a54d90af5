"""The columns of a snapshot, each declared once: a function whose name is the column and whose docstring explains it.

The name gets the window appended where there is one. A function sees only the daily rows that
`features.snapshots` hands it, those known at the moment of decision.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import ibis
import ibis.expr.types as ir

WINDOWS = (7, 28, 90, 365)
LONGEST = 365
View = Literal["behaviour", "contact", "taste", "traits"]
Kind = Literal["sum", "max", "last", "first"]
Daily = Callable[[ir.Table], ir.Value]
Derived = Callable[[ir.Table], ir.Value]


@dataclass(frozen=True)
class Feature:
    """One column of a snapshot, as the data catalogue prints it.

    `role` names the events that it rests on, `view` the family that it is served in; text is read as categories.
    """

    name: str
    meaning: str
    window: str
    role: str
    view: View
    is_text: bool = False

    @property
    def label(self) -> str:
        """Name of the column for people: its meaning without what stands in brackets, and the window last.

        Examples
        --------
        >>> Feature("spend_sum_28d", "Money spent (account currency).", "28 days", "value", "behaviour").label
        'money spent, last 28 days'
        """
        if self.view == "traits":
            return self.name.removeprefix("trait_").replace("_", " ")
        words = self.meaning.split(" (")[0].rstrip(".")
        window = f", last {self.window}" if re.search(r"_\d+d$", self.name) and self.window[0].isdigit() else ""
        return words[0].lower() + words[1:] + window


@dataclass(frozen=True)
class Windowed:
    """What a window makes of the daily rows in it.

    `of` yields a whole number of a row (``sum`` adds it up, ``max`` takes the largest) or whether something happened
    (``last`` and ``first`` take the days since). Whole numbers of cents become money in the column.
    """

    name: str
    kind: Kind
    of: Daily
    windows: tuple[int, ...]
    in_cents: bool = False

    def column(self, days: int) -> str:
        """Name of the column of one window."""
        return f"{self.name}_{days}d" if self.kind in ("sum", "max") else self.name

    @property
    def columns(self) -> list[str]:
        """Names of the columns, one per window."""
        return [self.column(days) for days in self.windows]


WINDOWED: dict[str, Windowed] = {}
DERIVED: dict[str, Derived] = {}
_CATALOGUE: dict[str, Feature] = {}


def summed(*windows: int, role: str, view: View = "behaviour", in_cents: bool = False) -> Callable[[Daily], Daily]:
    """Declare the sum of a daily measure, once per window in days; columns are named ``<function>_<window>d``."""
    return _windowed("sum", windows, role, view, in_cents)


def largest(*windows: int, role: str, view: View = "behaviour", in_cents: bool = False) -> Callable[[Daily], Daily]:
    """Declare the largest daily measure, once per window in days; columns are named ``<function>_<window>d``."""
    return _windowed("max", windows, role, view, in_cents)


def last_seen(*, role: str, view: View = "behaviour") -> Callable[[Daily], Daily]:
    """Declare the days since something last happened within the longest window; the column is the function's name."""
    return _windowed("last", (LONGEST,), role, view)


def first_seen(*, role: str, view: View = "behaviour") -> Callable[[Daily], Daily]:
    """Declare the days since something first happened within the longest window."""
    return _windowed("first", (LONGEST,), role, view)


def _windowed(
    kind: Kind, windows: tuple[int, ...], role: str, view: View, in_cents: bool = False
) -> Callable[[Daily], Daily]:
    def declare(function: Daily) -> Daily:
        declared = Windowed(function.__name__, kind, function, windows, in_cents)
        WINDOWED[function.__name__] = declared
        for days in windows:
            _enter(declared.column(days), function.__doc__, f"{days} days", role, view)
        return function

    return declare


def derived(window: str, *, role: str, view: View = "behaviour") -> Callable[[Derived], Derived]:
    """Declare a feature of the columns declared before it; the column is the function's name."""

    def declare(function: Derived) -> Derived:
        DERIVED[function.__name__] = function
        _enter(function.__name__, function.__doc__, window, role, view)
        return function

    return declare


def _enter(name: str, docstring: str | None, window: str, role: str, view: View) -> None:
    _CATALOGUE[name] = Feature(name, (docstring or "").splitlines()[0], window, role, view)


# --- activity and money -------------------------------------------------------------------------------------


@summed(*WINDOWS, role="activity")
def active_days_count(days: ir.Table) -> ir.Value:
    """Active days."""
    return days.active_days


@summed(*WINDOWS, role="activity")
def sessions_count(days: ir.Table) -> ir.Value:
    """Visits (sessions or baskets with activity)."""
    return days.sessions_count


@summed(*WINDOWS, role="value")
def purchases_count(days: ir.Table) -> ir.Value:
    """Purchases (baskets paid for)."""
    return days.purchases_count


@summed(*WINDOWS, role="value")
def items_count(days: ir.Table) -> ir.Value:
    """Items bought (purchase lines)."""
    return days.items_count


@summed(*WINDOWS, role="value", in_cents=True)
def spend_sum(days: ir.Table) -> ir.Value:
    """Money spent (account currency)."""
    return days.spend_cents


@largest(28, 365, role="value", in_cents=True)
def spend_max(days: ir.Table) -> ir.Value:
    """Most money spent on one day (account currency)."""
    return days.spend_of_day_cents


@summed(90, 365, role="refund", in_cents=True)
def refund_sum(days: ir.Table) -> ir.Value:
    """Money paid back (account currency)."""
    return days.refund_cents


@summed(28, 90, 365, role="value", in_cents=True)
def discount_sum(days: ir.Table) -> ir.Value:
    """Discounts received (inside purchases, account currency)."""
    return days.discount_cents


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


@summed(365, role="cancellation")
def cancellations_count(days: ir.Table) -> ir.Value:
    """Contracts ended."""
    return days.cancellations_count


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


@derived("28 of 90 days", role="activity")
def active_days_trend_28d(users: ir.Table) -> ir.Value:
    """Active days, against the usual pace (the last 28 days over the last 90, 1 = as usual)."""
    return _ratio(users.active_days_count_28d * 90.0, users.active_days_count_90d * 28.0)


@derived("28 of 90 days", role="value")
def spend_trend_28d(users: ir.Table) -> ir.Value:
    """Spend, against the usual pace (the last 28 days over the last 90, 1 = as usual)."""
    return _ratio(users.spend_sum_28d * 90.0, users.spend_sum_90d * 28.0)


@derived("90 of 365 days", role="value")
def spend_trend_90d(users: ir.Table) -> ir.Value:
    """Spend, against the pace of the year (the last 90 days over the time since first active, 1 = as usual)."""
    return _ratio(
        users.spend_sum_90d * ibis.greatest(users.days_since_first_activity, 90.0), users.spend_sum_365d * 90.0
    )


@derived("365 days", role="value")
def order_value_mean_365d(users: ir.Table) -> ir.Value:
    """Money spent per purchase (account currency)."""
    return _ratio(users.spend_sum_365d, users.purchases_count_365d)


@derived("90 days", role="value")
def discount_share_90d(users: ir.Table) -> ir.Value:
    """Share of the list price that was discounted away."""
    return _ratio(users.discount_sum_90d, users.discount_sum_90d + users.spend_sum_90d)


@derived("365 days", role="activity")
def gap_days_mean_365d(users: ir.Table) -> ir.Value:
    """Usual days between visits (mean distance of active days)."""
    return _ratio(users.days_since_first_activity - users.days_since_last_activity, users.active_days_count_365d - 1.0)


@derived("365 days", role="activity")
def overdue_ratio_365d(users: ir.Table) -> ir.Value:
    """Days since last active, against the usual gap (above 1 = later than usual)."""
    return _ratio(users.days_since_last_activity, users.gap_days_mean_365d)


@derived("365 days", role="activity")
def gap_days_variation_365d(users: ir.Table) -> ir.Value:
    """Irregularity of visits, against the usual gap (standard deviation of the gaps over their mean)."""
    return _ratio(users.gap_days_std_365d, users.gap_days_mean_365d)


@derived("365 days", role="offer_redeem", view="contact")
def redemption_share_365d(users: ir.Table) -> ir.Value:
    """Offers used per offer received."""
    return _ratio(users.redemptions_count_365d, users.treatments_count_365d)


@derived("90 days", role="message_opened", view="contact")
def open_share_90d(users: ir.Table) -> ir.Value:
    """Messages of ours opened per message received."""
    return _ratio(users.messages_opened_count_90d, users.messages_sent_count_90d)


@derived("365 days", role="cart")
def is_cart_open(users: ir.Table) -> ir.Value:
    """1 when something was put into the cart on a later day than the last purchase."""
    return _later(users.days_since_last_cart, users.days_since_last_purchase)


@derived("365 days", role="checkout")
def is_checkout_open(users: ir.Table) -> ir.Value:
    """1 when a payment was begun on a later day than the last purchase."""
    return _later(users.days_since_last_checkout, users.days_since_last_purchase)


@derived("28 days", role="view")
def is_viewed_not_carted_28d(users: ir.Table) -> ir.Value:
    """1 when items were looked at and none was put into the cart."""
    return (users.views_count_28d > 0) & (users.carts_count_28d == 0)


@derived("all", role="activity")
def tenure_days(users: ir.Table) -> ir.Value:
    """Days as a customer (since sign-up or the first event, whichever came first)."""
    return users.tenure_seen_days


# those that `features.snapshots` computes by itself, from more than sums over windows
_CATALOGUE |= {
    feature.name: feature
    for feature in (
        Feature(
            "gap_days_std_365d",
            "Irregularity of visits (standard deviation of the days between active days).",
            "365 days", "activity", "behaviour",
        ),
        Feature("gap_days_max_365d", "Longest pause between visits (days).", "365 days", "activity", "behaviour"),
        Feature("categories_count_90d", "Categories with activity.", "90 days", "activity", "behaviour"),
        Feature(
            "favourite_category_90d", "Category with the most spend, then the most events.",
            "90 days", "activity", "taste", is_text=True,
        ),
        Feature(
            "favourite_hour_90d", "Hour of the day with the most activity (0-23).", "90 days", "activity", "taste"
        ),
    )
}  # fmt: skip


def catalogue(traits: dict[str, bool] | None = None) -> list[Feature]:
    """List every column of a snapshot, traits included (`traits` maps a trait's column to "is text")."""
    own = [
        Feature(name, "Trait from the users table.", "current", "users", "traits", is_text)
        for name, is_text in (traits or {}).items()
    ]
    return [*_CATALOGUE.values(), *own]


def _ratio(above: ir.Value, below: ir.Value) -> ir.Value:
    numerator = cast(ir.NumericValue, above.cast("float64"))
    denominator = cast(ir.NumericValue, below.cast("float64"))
    return numerator / denominator.nullif(0.0)


def _later(event_age: ir.Value, purchase_age: ir.Value) -> ir.Value:
    return (event_age < purchase_age.fill_null(float(LONGEST + 1))).fill_null(False)
