"""Simple policies: one option for everybody, or for those on one side of a threshold on one column.

Rules ask one column at its median, or one value of a column of texts; traits are among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from configs.offers import Option
from features.arrays.array_types import Flags, Floats, Places
from features.definitions.registry import trait_column
from models.effects.effect_design import MODERATORS, MOST_INPUTS
from models.judge.calibrated_value import Calibrated, gain_over
from models.policy_value.evidence import Evidence
from models.policy_value.policy_verdict import CONSTANT, NOBODY, P_REDEEM, RANKING, RULE, Deployed

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
MOST_VALUES = 8  # of a column of texts that a rule may ask for: the commonest


def simple_policy(evidence: Evidence, scores: Floats, name: str, rows: Flags) -> Deployed:
    """Choose the policy of a kind that earns most within the budget, by what options are worth to some rows.

    `scores` (rows, 1 + options) are those of *nothing* and of every option (`Calibrated.scores`).
    """
    if name == NOBODY:
        return Deployed(NOBODY)
    gain, cost = ((part * evidence.had_chance)[rows] for part in (scores[:, 1:] - scores[:, :1], evidence.cost))
    if name == CONSTANT:
        total = _affordable(evidence, gain, cost, np.ones(len(gain), dtype=bool))
        return Deployed(CONSTANT, evidence.options[int(total.argmax())])
    if name == RULE:
        return _best_rule(evidence, gain, cost, rows)
    return _best_ranking(evidence, gain, cost, rows)


def _best_rule(evidence: Evidence, gain: Floats, cost: Floats, rows: Flags) -> Deployed:
    """Ask one column in turn, and give one side of its answers the option that is best there."""
    found: list[tuple[float, Deployed]] = []
    columns = evidence.columns.loc[rows, _asked(evidence.columns)]
    for question in _questions(columns):
        total = _affordable(evidence, gain, cost, question.divides(columns))
        found.append((float(total.max()), replace(question, option=evidence.options[int(total.argmax())])))
    return max(found, key=lambda pair: pair[0])[1] if found else Deployed(NOBODY)


def _asked(columns: pd.DataFrame) -> list[str]:
    """Name the columns that a rule may ask: the moderators of effects, then traits."""
    traits = [name for name in columns.columns if name.startswith(trait_column(""))]
    return [*(name for name in MODERATORS if name in columns.columns), *traits][:MOST_INPUTS]


def _questions(columns: pd.DataFrame) -> Iterator[Deployed]:
    """Yield both sides of every question: is a number above its median, is a text one of its commonest values."""
    for name in columns.columns:
        if pd.api.types.is_numeric_dtype(columns[name]):
            median = float(np.median(np.nan_to_num(columns[name].to_numpy(dtype=np.float64))))
            each = [Deployed(RULE, None, name, median)]
        else:
            values = columns[name].dropna().astype(str).value_counts().index[:MOST_VALUES]
            each = [Deployed(RULE, None, name, category=value) for value in sorted(values)]
        yield from (replace(question, is_above=is_above) for question in each for is_above in (True, False))


def _best_ranking(evidence: Evidence, gain: Floats, cost: Floats, rows: Flags) -> Deployed:
    """Give a discount to the share of users who are likeliest to use it; nobody uses a plain message."""
    found: list[tuple[float, Deployed]] = [(0.0, Deployed(NOBODY))]
    discount = np.array([share for _, share in evidence.options])
    for place in np.flatnonzero(evidence.is_simple & (discount > 0)):
        option, likely = evidence.options[place], evidence.p_redeem[rows, place]
        for share in SHARES:
            threshold = float(np.quantile(likely, 1 - share))
            total = _affordable(evidence, gain, cost, likely > threshold)
            found.append((float(total[place]), Deployed(RANKING, option, P_REDEEM, threshold)))
    return max(found, key=lambda pair: pair[0])[1]


def _affordable(evidence: Evidence, gain: Floats, cost: Floats, side: Flags) -> Floats:
    """Gain a head if each option goes to as many of a side, (rows,), as the budget pays for; shape (options,).

    What no simple policy chooses is ``-inf``.
    """
    weight = side / len(side)  # a product with it copies no rows
    total = (weight @ gain) * evidence.part_paid(weight @ cost)
    return np.where(evidence.is_simple, total, -np.inf)


def best_simple(comparison: Calibrated, name: str) -> Deployed:
    """Choose the best policy of a kind by calibrated effects, unless that by doubly robust scores is proven better.

    The latter are right whatever models say, and so noisy that of many choices they find the luckiest.
    """
    evidence, everybody = comparison.evidence, np.ones(len(comparison.evidence.action), dtype=bool)
    steady, robust = (
        simple_policy(evidence, scores, name, everybody) for scores in (comparison.scores, evidence.scores)
    )
    if steady == robust:
        return steady
    chances = [simple_chances(evidence, policy) for policy in (robust, steady)]
    return robust if gain_over(comparison, *chances).low > 0 else steady


def simple_chances(evidence: Evidence, policy: Deployed) -> Floats:
    """Probabilities with which a simple policy gives each option, as far as the budget pays for it."""
    if policy.option is None:
        return evidence.chances(np.zeros(len(evidence.action), dtype=np.intp))
    part = float(evidence.part_paid(np.array([cost_of(evidence, policy)]))[0])
    place, applies = _given_to(evidence, policy.option, policy)
    return evidence.chances(np.where(applies, place + 1, 0), part)


def cost_of(evidence: Evidence, policy: Deployed) -> float:
    """Cost per user if a simple policy's option went to all its users."""
    if policy.option is None:
        return 0.0
    place, applies = _given_to(evidence, policy.option, policy)
    return float((evidence.cost[:, place] * applies).mean())


def _given_to(evidence: Evidence, option: Option, policy: Deployed) -> tuple[int, Flags]:
    """Find the place of a simple policy's option, and whom it is for, shape (rows,)."""
    place = evidence.options.index(option)
    return place, policy.applies_to(evidence.columns, evidence.p_redeem[:, place]) & evidence.had_chance[:, place]


def picked_by(comparison: Calibrated, policy: Deployed) -> Places | None:
    """Pick as `cross_picked` does by the kind of a simple policy; None where none decides."""
    return cross_picked(comparison, policy.name) if policy.option is not None else None


def cross_picked(comparison: Calibrated, name: str) -> Places:
    """Pick every row's option by a simple policy of a kind that the other folds of users chose; 0 is nothing; (rows,).

    What came of those picks is what the policy brings whom it picks: no row had a say in it.
    """
    evidence = comparison.evidence
    choice = np.zeros(len(evidence.action), dtype=np.intp)
    places = {option: place for place, option in enumerate(evidence.options)}
    for k, others in comparison.without.items():
        inside = evidence.fold == k
        policy = best_simple(others, name)
        if policy.option is not None:
            place = places[policy.option]
            applies = policy.applies_to(evidence.columns[inside], evidence.p_redeem[inside, place])
            applies &= evidence.had_chance[inside, place]
            choice[inside] = np.where(applies, place + 1, 0)
    return choice


def cross_chosen(comparison: Calibrated, name: str) -> Floats:
    """Chances that a simple policy gives to options, its parameters chosen by the other folds of users."""
    evidence, choice = comparison.evidence, cross_picked(comparison, name)
    spent = np.c_[np.zeros(len(choice)), evidence.cost][np.arange(len(choice)), choice].mean()
    return evidence.chances(choice, float(evidence.part_paid(np.array([spent]))[0]))
