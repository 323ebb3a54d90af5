"""Why somebody gets nothing: the reasons in the order in which they are asked; the first that applies is told.

A new reason (no consent, contacted too often, too soon after the last offer) is one more line of `reasons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from configs.offers import NOTHING
from features.arrays.array_types import Flags, Texts
from serving.decide.assignment import AS_USUAL, CONTROL, EXPLORE, POLICY, SUPPRESSED, Assignment
from serving.decide.options import NO_DATA, UNLIKE, Options
from serving.knapsack.allocation import Limit
from serving.wording.formatting import repeated

BY_LOT = "drawn by lot to learn what works: "
NOT_KNOWN = "no option whose effect on this user is known"
LEFT_ALONE = "better left alone: every known option would drive this user away"
DO_NOT_PAY = "nothing pays: every option would cost more than it brings"
NO_PLACE = "no place left: the "
OTHERWISE = "the budget earns more with other users"
ARMS = (SUPPRESSED, CONTROL, AS_USUAL, EXPLORE, POLICY)


class Reason(NamedTuple):
    """A reason for nothing: to whom it applies, shape (users,), and its words, one text or one per user."""

    applies: Flags
    words: str | Texts


def reasons(options: Options, assignment: Assignment, limits: Sequence[Limit]) -> list[Reason]:
    """List the reasons for nothing in the order in which they are asked."""
    known = options.eligible
    return [
        Reason(_is_in(assignment, SUPPRESSED), options.ineligible),
        Reason(
            _is_in(assignment, CONTROL), "in the control group, which is never treated, so that effects can be measured"
        ),
        Reason(_is_in(assignment, AS_USUAL), "left to business as usual, which winback is compared with"),
        Reason(_is_in(assignment, EXPLORE), BY_LOT + "nothing"),
        Reason(*_held_back(options)),
        Reason(np.asarray(~known.any(axis=1)), NOT_KNOWN),
        Reason(_is_sleeping_dog(options), LEFT_ALONE),
        Reason(np.asarray(~(options.allocatable > 0).any(axis=1)), DO_NOT_PAY),
        *_full(options, assignment, limits),
    ]


def why_nothing(options: Options, assignment: Assignment, limits: Sequence[Limit]) -> Texts:
    """Say of every user why they get nothing, or would, shape (users,)."""
    why = repeated(OTHERWISE, len(assignment.arm))
    for reason in reversed(reasons(options, assignment, limits)):
        why = np.where(reason.applies, np.asarray(reason.words, dtype=object), why)
    return why


def asked_at(arm: str, words: str) -> tuple[int, int]:
    """Say where in the order of asking a reason of some arm stands, for sorting."""
    later = (NOT_KNOWN, LEFT_ALONE, DO_NOT_PAY, NO_PLACE, OTHERWISE)
    place = next((place for place, start in enumerate(later, 1) if words.startswith(start)), 0)
    return (ARMS.index(arm) if arm in ARMS else len(ARMS), place)


def _is_in(assignment: Assignment, arm: str) -> Flags:
    return np.asarray(assignment.arm == arm)


def _held_back(options: Options) -> tuple[Flags, Texts]:
    """Find who has options whose effect is known and none that is allowed, and what is said of the first of them."""
    told = (options.why_not != "") & (options.why_not != NO_DATA) & (options.why_not != UNLIKE)
    rows = np.flatnonzero(told.any(axis=1) & ~options.eligible.any(axis=1))
    words = np.full(len(told), "", dtype=object)
    if rows.size:  # a catalogue without offers has no first option
        words[rows] = options.why_not[rows, told[rows].argmax(axis=1)]
    return np.asarray(words != ""), words


def _is_sleeping_dog(options: Options) -> Flags:
    """Tell whom every option whose effect is known would do harm even if it were free (Kane et al. 2014)."""
    does_harm = (options.incremental_retention < 0) & (options.value + options.expected_cost <= 0)
    return np.asarray(options.eligible.any(axis=1) & (does_harm | ~options.eligible).all(axis=1))


def _full(options: Options, assignment: Assignment, limits: Sequence[Limit]) -> list[Reason]:
    """Find whom the budget would pay for, if only there were a place."""
    plan = assignment.plan
    earns = options.allocatable - plan.shadow_price * options.expected_cost > 0
    return [
        Reason(
            (assignment.intended == NOTHING) & earns[:, limit.options].any(axis=1),
            f"{NO_PLACE}{limit.name} earns more with other users",
        )
        for limit in limits
        if plan.limit_prices[limit.name] > 0
    ]
