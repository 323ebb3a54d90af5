"""Codes of reasons, and the fixed order of those for getting nothing."""

from __future__ import annotations

from typing import NamedTuple

NO_DATA, UNLIKE, OTHER_RULE, DOES_NOT_PAY = "no_data", "unlike_compared", "other_rule", "does_not_pay"
IN_CONTROL, BUSINESS_AS_USUAL = "in_control", "business_as_usual"
RANDOMISED, NOTHING_DRAWN, WITHDRAWN = "randomised", "nothing_drawn", "withdrawn"
ON_TRIAL = "on_trial"
NOT_VALUED, DEPENDS = "not_valued", "sign_depends"
NOT_KNOWN, LEFT_ALONE, NOTHING_PAYS = "no_known_effect", "left_alone", "nothing_pays"
NO_PLACE, BUDGET_ELSEWHERE = "no_place", "budget_elsewhere"
NO_TURN, NO_TURN_PLACE = "no_turn", "no_turn_place"  # drawn at random, as the budget or a limit is not enough for all
NOT_MEANT, BY_RULE, NO_DRAW = "not_meant", "by_rule", "no_lot"
SAME_USER = "same_user"  # of a send list: two ids that turned out to be one
EFFECT_UNKNOWN, WORTH, BECAUSE = "effect_unknown", "worth", "because"
RAISES, LOWERS = "raises_risk", "lowers_risk"
DISCOUNTED, OTHER_BENEFIT = "discounted_offer", "other_benefit"  # the words of the former, of what is no percentage
# the order in which reasons for nothing are asked: the rules of eligibility, an app's own among them, come first
RULES = (
    "suppressed_user", "no_profiling", NOT_MEANT, "no_consent", "opted_out", "has_left", "payment_failed", "not_active",
    "no_contract", "still_here", "no_address", "too_young", "open_offer", "capped", "channel_capped", "ignored",
    "cool_down",
)  # fmt: skip
ASKED = (
    WITHDRAWN, NO_DRAW, IN_CONTROL, BUSINESS_AS_USUAL, RANDOMISED, OTHER_RULE, NOT_VALUED, DEPENDS, NOT_KNOWN,
    LEFT_ALONE, NOTHING_PAYS, NO_PLACE, BUDGET_ELSEWHERE, NO_TURN, NO_TURN_PLACE,
)  # fmt: skip


class Reason(NamedTuple):
    """What is said (`code`) of which column, with which value (a text or a number), and by how much it moves things."""

    code: str
    column: str | None = None
    value: str | None = None
    number: float | None = None
    effect: float | None = None


Reasons = tuple[Reason, ...]


def asked_at(code: str) -> int:
    """Say where in the order of asking a reason for nothing stands, for sorting."""
    if code in RULES:
        return RULES.index(code)
    return len(RULES) + (ASKED.index(code) + 1 if code in ASKED else 0)
