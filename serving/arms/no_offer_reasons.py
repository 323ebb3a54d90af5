"""The reason why a user gets nothing: the first in a fixed order that applies.

A new reason is one more line of `steps`; a new rule of who may get what is one in `serving.contact_rules.rule_list`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from configs.offers import NOTHING
from features.arrays.array_types import Flags, Kinds, Places
from serving.arms.assignment import AS_USUAL, CONTROL, EXPLORE, SUPPRESSED, WIN_BACK, Assignment
from serving.arms.turns import BUDGET
from serving.contact_rules.contact_rule import ELIGIBLE, NOT_MEASURED, UNLIKE_COMPARED
from serving.knapsack.allocation import Limit
from serving.valuation.options import Options
from serving.wording.reason_codes import (
    BUDGET_ELSEWHERE,
    BUSINESS_AS_USUAL,
    IN_CONTROL,
    LEFT_ALONE,
    NO_DRAW,
    NO_PLACE,
    NO_TURN,
    NO_TURN_PLACE,
    NOT_KNOWN,
    NOTHING_DRAWN,
    NOTHING_PAYS,
    RANDOMISED,
    Reason,
    Reasons,
)


class Step(NamedTuple):
    """A question: to whom its answer applies, shape (users,), and what is said, the same to all or a kind per user."""

    applies: Flags
    says: Reasons | Kinds


def steps(options: Options, assignment: Assignment, limits: Sequence[Limit]) -> list[Step]:
    """List the reasons for nothing in the order in which they are asked."""
    known = options.eligible
    return [
        Step(_is_in(assignment, WIN_BACK), (Reason(RANDOMISED), Reason(NOTHING_DRAWN))),
        Step(_is_in(assignment, SUPPRESSED) & (options.ineligible == ELIGIBLE), (Reason(NO_DRAW),)),
        Step(_is_in(assignment, SUPPRESSED), options.ineligible),
        Step(_is_in(assignment, CONTROL), (Reason(IN_CONTROL),)),
        Step(_is_in(assignment, AS_USUAL), (Reason(BUSINESS_AS_USUAL),)),
        Step(_is_in(assignment, EXPLORE), (Reason(RANDOMISED), Reason(NOTHING_DRAWN))),
        Step(*_held_back(options)),
        Step(np.asarray(~known.any(axis=1)), (Reason(NOT_KNOWN),)),
        Step(_is_sleeping_dog(options), (Reason(LEFT_ALONE),)),
        Step(np.asarray(~(options.allocatable > 0).any(axis=1)), (Reason(NOTHING_PAYS),)),
        *_full(options, assignment, limits),
    ]


def why_nothing(
    options: Options, assignment: Assignment, limits: Sequence[Limit], kinds: Sequence[Reasons]
) -> tuple[Places, list[Reasons]]:
    """Say of every user why they get nothing, or would: its place among some reasons, shape (users,), and these.

    `kinds` are those of why not; they come first among the reasons.
    """
    reasons = [*kinds, (Reason(BUDGET_ELSEWHERE),)]
    why = np.full(len(assignment.arm), len(kinds))
    for step in reversed(steps(options, assignment, limits)):
        if isinstance(step.says, np.ndarray):
            why = np.where(step.applies, step.says, why)
        else:
            why[step.applies] = len(reasons)
            reasons.append(step.says)
    return why, reasons


def _is_in(assignment: Assignment, arm: str) -> Flags:
    return np.asarray(assignment.arm == arm)


def _held_back(options: Options) -> tuple[Flags, Kinds]:
    """Find who has options whose effect is known and none that is allowed, and what is said of the first of them."""
    is_known = ~np.isin(options.why_not, (ELIGIBLE, NOT_MEASURED, UNLIKE_COMPARED))
    rows = np.flatnonzero(is_known.any(axis=1) & ~options.eligible.any(axis=1))
    kinds = np.full(len(is_known), ELIGIBLE, dtype=np.int8)
    if rows.size:  # a catalogue without offers has no first option
        kinds[rows] = options.why_not[rows, is_known[rows].argmax(axis=1)]
    return np.asarray(kinds != ELIGIBLE), kinds


def _is_sleeping_dog(options: Options) -> Flags:
    """Tell whom every option whose effect is known would do harm even if it were free (Kane et al. 2014)."""
    does_harm = (options.incremental_retention < 0) & (options.value + options.expected_cost <= 0)
    return np.asarray(options.eligible.any(axis=1) & (does_harm | ~options.eligible).all(axis=1))


def _full(options: Options, assignment: Assignment, limits: Sequence[Limit]) -> list[Step]:
    """Find whom the budget would pay for, if only there were a place; where users take turns, who waits."""
    allocation, ended_by = assignment.allocation, assignment.queue_ended_by
    if ended_by is not None:
        waits_for = Reason(NO_TURN) if ended_by == BUDGET else Reason(NO_TURN_PLACE, value=ended_by)
        return [Step(assignment.intended == NOTHING, (waits_for,))]
    earns = options.allocatable - allocation.shadow_price * options.expected_cost > 0
    return [
        Step(
            (assignment.intended == NOTHING) & earns[:, limit.options].any(axis=1),
            (Reason(NO_PLACE, value=limit.name),),
        )
        for limit in limits
        if allocation.limit_prices[limit.name] > 0
    ]
