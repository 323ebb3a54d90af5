"""The gate for decisions: a personal policy is deployed only if held-out data prove it better than simple ones.

On real data a naive argmax of estimated effects often loses to "the same for everybody"; this is where that shows.
"""

from __future__ import annotations

import numpy as np

from configs.ladder_settings import Ladder as Allowance
from features.arrays.array_types import Floats, Places
from models.judge.calibrated_promise import believed_share, shown_change
from models.judge.calibrated_value import Calibrated, gain_over
from models.judge.hysteresis import is_ahead, is_still_possible, policy_before
from models.judge.ladder import Candidate, climb
from models.judge.realised_cost import dearest_ratio
from models.judge.simple_policies import best_simple, cost_of, cross_chosen, simple_chances
from models.learn.paid_costs import AS_EXPECTED, CostRatios, Payments, cost_ratios
from models.policy_value.evidence import Evidence
from models.policy_value.off_policy import doubly_robust_value, matching_weight, row_weights
from models.policy_value.policy_verdict import (
    CONSTANT,
    NOBODY,
    PERSONAL,
    RANKING,
    RULE,
    Deployed,
    Ladder,
    PolicyValue,
    PolicyVerdict,
)

SIMPLE = (NOBODY, CONSTANT, RULE, RANKING)  # from the simplest on
DEAREST, HALVINGS = 1e9, 50  # of the search for the price of money


def judge_policies(
    evidence: Evidence, allowance: Allowance | None = None, before: PolicyVerdict | None = None,
    chosen: Payments | None = None,
) -> PolicyVerdict:  # fmt: skip
    """Value every candidate on rows that neither its models nor its choices have seen, and choose the policy to deploy.

    Every candidate spends what the budget allows: the personal policy where it earns most, at what its picks cost
    (`picked_costs`), a simple one on a random part of those whom it is for. From *nobody* on, a simple candidate takes
    the lead when its gain over the leader lies above 0 with its whole 95% interval; the personal policy must do so
    against nobody and the leader, and be ahead by a standard error of those that are not proven themselves. Unknown is
    not better. What is not proven may be tried as far as the `allowance` goes (`models.judge.ladder`).

    Parameters
    ----------
    before
        The verdict of the training before: the kind of policy that decides goes on while it is ahead by a standard
        error, so that noise alone does not make it come and go (`models.judge.hysteresis`).
    chosen
        Treatments not drawn at random. They tell what the personal policy's picks cost where it decided before.
    """
    comparison = Calibrated(evidence)
    costs = picked_costs(evidence, chosen if before is not None and before.deployed.name == PERSONAL else None)
    as_picked = evidence.charged(costs)
    price = money_price(as_picked)
    candidates = {name: cross_chosen(comparison, name) for name in SIMPLE}
    candidates[PERSONAL] = evidence.chances(priced_choice(as_picked, price))
    values = {
        name: doubly_robust_value(evidence.logged, chances, evidence.predicted) for name, chances in candidates.items()
    }
    decided = before.deployed.name if before is not None else NOBODY

    def gain(new: str, old: str) -> PolicyValue:
        return gain_over(comparison, candidates[new], candidates[old])

    leader = NOBODY
    for name in SIMPLE[1:]:
        leader = name if is_ahead(gain(name, leader), decided_before=name == decided) else leader
    gains = {name: gain(name, NOBODY) for name in candidates if name != NOBODY}
    leads = {name: gain(PERSONAL, name) for name in SIMPLE}
    proven = dict.fromkeys((NOBODY, leader))
    short = [
        name
        for name, each in leads.items()
        if not is_ahead(each, decided_before=decided == PERSONAL or name not in proven)
    ]
    narrowest = min(short or proven, key=lambda name: leads[name].low)
    lead = leads[narrowest]
    if not short:
        believed = believed_share(comparison, candidates[PERSONAL])
        return PolicyVerdict(Deployed(PERSONAL), gains, lead, values, costs=costs, believed=believed, against=narrowest)
    policies = {name: _steady_policy(comparison, name, before) for name in SIMPLE}
    ladder = _ladder(comparison, as_picked, policies, candidates, leader, price, allowance, before)
    shown = shown_change(comparison, candidates[leader])
    return PolicyVerdict(policies[leader], gains, lead, values, ladder, costs, shown=shown, against=narrowest)


def picked_costs(evidence: Evidence, chosen: Payments | None = None) -> CostRatios:
    """Find the treatments that drew what the personal policy picks (models not trained on the user), and their costs.

    `chosen` are treatments that it gave by itself.
    """
    drawn = evidence.payments(personal_choice(evidence))
    if drawn is None:
        return AS_EXPECTED
    return cost_ratios(drawn.beside(chosen) if chosen is not None else drawn)


def _ladder(
    comparison: Calibrated, as_picked: Evidence, policies: dict[str, Deployed], chances: dict[str, Floats],
    leader: str, price: float, allowance: Allowance | None, before: PolicyVerdict | None,
) -> Ladder | None:  # fmt: skip
    """Put the policies of every kind, as all rows choose them, on the ladder below the leader; None without steps."""
    if allowance is None or not allowance.steps:
        return None
    evidence, known = comparison.evidence, policies | {PERSONAL: Deployed(PERSONAL)}
    charged = dict.fromkeys(SIMPLE, evidence) | {PERSONAL: as_picked}
    tried = {name: _candidate(charged[name], known[name], own) for name, own in chances.items()}
    rungs = before.ladder.rungs if before is not None and before.ladder is not None else ()
    return climb(comparison, tried, leader, evidence.budget, allowance, price, before=rungs)


def _steady_policy(comparison: Calibrated, name: str, before: PolicyVerdict | None) -> Deployed:
    """Choose the best simple policy of a kind, or keep that of the training before where it is not proven worse."""
    evidence = comparison.evidence
    new = best_simple(comparison, name)
    old = policy_before(before, name)
    if old is None or new.option is None or not is_still_possible(old, evidence):
        return new
    chances = [simple_chances(evidence, policy) for policy in (new, old)]
    return new if gain_over(comparison, *chances).low > 0 else old


def _candidate(evidence: Evidence, policy: Deployed, chances: Floats) -> Candidate:
    """Put a policy on the ladder with what it costs; `chances` are those of its kind, chosen by other folds."""
    spent = float((chances[:, 1:-1] * evidence.cost).sum(axis=1).mean())
    whole = spent if policy.name == PERSONAL else cost_of(evidence, policy)
    part = float(evidence.part_paid(np.array([whole]))[0])
    return Candidate(policy, chances, spent, part, _dearest(evidence, chances))


def _dearest(evidence: Evidence, chances: Floats) -> float:
    """How many times its expected cost a policy may cost at most, by what was paid for the options it gives."""
    given = (evidence.action >= 0) & (evidence.action < len(evidence.options))
    if evidence.paid is None or not given.any():
        return 1.0
    weight = matching_weight(evidence.logged, chances)
    weight = (weight * row_weights(evidence.logged, weight))[given]
    expected = evidence.cost[given, evidence.action[given]]
    return dearest_ratio(evidence.paid[given], expected, weight, evidence.user_ids[given])


def personal_choice(evidence: Evidence) -> Places:
    """Pick every row's option with the highest expected gain after paying a price on money; 0 where none is above 0.

    The price is the least at which all choices together fit the budget (the dual of the allocation); it is found from
    predictions alone, never from outcomes. Shape (rows,).
    """
    return priced_choice(evidence, money_price(evidence))


def priced_choice(evidence: Evidence, price: float) -> Places:
    """Pick every row's best option at a price on money; 0 where none is above 0."""
    worth = np.where(evidence.had_chance, evidence.effect - price * evidence.cost, -np.inf)
    worth = np.c_[np.zeros(len(worth)), worth]
    return np.asarray(worth.argmax(axis=1), dtype=np.intp)


def money_price(evidence: Evidence) -> float:
    """Find the least price on money at which all personal choices together fit the budget."""
    rows = np.arange(len(evidence.effect))
    costs = np.c_[np.zeros(len(rows)), evidence.cost]

    def overspends(price: float) -> bool:
        return bool(costs[rows, priced_choice(evidence, price)].mean() > evidence.budget)

    if not overspends(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while overspends(high) and high < DEAREST:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if overspends(middle) else (low, middle)
    return high
