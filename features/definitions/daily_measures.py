"""The measures of a day of a user, each declared once: a function named like the column, with a docstring for people.

A function sees the events of one user and day that became known on one day. Every measure is additive over rows.
Money is summed as whole millionths (micros), so that every engine gives the same bits, an amount of less than a cent
counts, and nothing is rounded but the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # the catalogue is read without an engine
    import ibis.expr.types as ir

Measure = Callable[["ir.Table"], "ir.NumericScalar"]

MICROS = 1_000_000  # of one in account currency
MEASURES: dict[str, Measure] = {}


def measure(function: Measure) -> Measure:
    """Declare a daily measure; its name is the column, its docstring the meaning."""
    MEASURES[function.__name__] = function
    return function


@measure
def activity_count(events: ir.Table) -> ir.NumericScalar:
    """Events that show the user is here."""
    return events.count(where=events.is_activity)


@measure
def sessions_count(events: ir.Table) -> ir.NumericScalar:
    """Sessions or baskets with activity."""
    return events.session_key.nunique(where=events.opens_session)


@measure
def purchases_count(events: ir.Table) -> ir.NumericScalar:
    """Baskets paid for."""
    return events.session_key.nunique(where=events.opens_basket)


@measure
def items_count(events: ir.Table) -> ir.NumericScalar:
    """Purchase lines."""
    return events.count(where=events.is_value)


@measure
def spend_micros(events: ir.Table) -> ir.NumericScalar:
    """Money received for purchases."""
    return micros(events.amount).sum(where=events.is_value)


@measure
def refund_micros(events: ir.Table) -> ir.NumericScalar:
    """Money paid back, as a positive number whatever sign the events tell it with."""
    return micros(events.amount.abs()).sum(where=events.is_refund)


@measure
def discount_micros(events: ir.Table) -> ir.NumericScalar:
    """Money given away inside purchases."""
    return micros(events.discount).sum(where=events.is_value)


@measure
def offer_discount_micros(events: ir.Table) -> ir.NumericScalar:
    """Money given away through offers (part of the discount inside purchases)."""
    return micros(events.discount).sum(where=events.is_offer_redeem)


@measure
def discounted_items_count(events: ir.Table) -> ir.NumericScalar:
    """Purchase lines with a discount."""
    return events.count(where=events.is_value & (events.discount > 0))


@measure
def views_count(events: ir.Table) -> ir.NumericScalar:
    """Items looked at."""
    return events.count(where=events.is_view)


@measure
def carts_count(events: ir.Table) -> ir.NumericScalar:
    """Items put into the cart."""
    return events.count(where=events.is_cart)


@measure
def checkouts_count(events: ir.Table) -> ir.NumericScalar:
    """Payments begun."""
    return events.count(where=events.is_checkout)


@measure
def onboarding_count(events: ir.Table) -> ir.NumericScalar:
    """First steps completed."""
    return events.count(where=events.is_onboarding)


@measure
def messages_sent_count(events: ir.Table) -> ir.NumericScalar:
    """Messages of ours received."""
    return events.count(where=events.is_message_sent)


@measure
def messages_opened_count(events: ir.Table) -> ir.NumericScalar:
    """Messages of ours opened."""
    return events.count(where=events.is_message_opened)


@measure
def treatments_count(events: ir.Table) -> ir.NumericScalar:
    """Offers given."""
    return events.count(where=events.is_treatment)


@measure
def redemptions_count(events: ir.Table) -> ir.NumericScalar:
    """Offers used."""
    return events.count(where=events.is_offer_redeem)


@measure
def payment_failures_count(events: ir.Table) -> ir.NumericScalar:
    """Payments that failed."""
    return events.count(where=events.is_payment_failure)


@measure
def cancellations_count(events: ir.Table) -> ir.NumericScalar:
    """Contracts ended."""
    return events.count(where=events.is_cancellation)


def micros(amount: ir.Value) -> ir.FloatingColumn:
    """Money as whole millionths."""
    return whole_parts(amount, MICROS)


def whole_parts(number: ir.Value, parts: int) -> ir.FloatingColumn:
    """Round numbers to whole parts of one; a float holds them exactly: their sum is the same in any order, and fast."""
    return cast("ir.FloatingColumn", (number * float(parts)).round().cast("float64"))
