"""The gate of decisions: a personal policy is deployed only if a held-out experiment says it beats every simpler one.

On real data a naive argmax of estimated effects often loses to "the same for everybody"; this is where that shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from configs.ladder_settings import Ladder as Allowance
from configs.offers import Option
from features.arrays.array_types import Flags, Floats, Places
from models.effects.uplift import MODERATORS
from models.judge.ladder import Candidate, climb
from models.judge.off_policy import Logged, doubly_robust_scores, doubly_robust_value, value_difference
from models.judge.policy_verdict import (
    CONSTANT,
    NOBODY,
    P_REDEEM,
    PERSONAL,
    RANKING,
    RULE,
    Deployed,
    Ladder,
    PolicyValue,
    PolicyVerdict,
)

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
DEAREST, HALVINGS = 1e9, 50  # of the search for the price of money


@dataclass(frozen=True)
class Evidence:
    """Held-out facts about every randomised treatment; shapes (rows,), (options,) or (rows, options).

    `net` is the outcome in account currency, after the discount and the contact were paid; `effect` and `usual` are
    what models that did not see the row's user expect an option to change, costs included, and of *nothing*.
    `action` is -1 for *nothing* and ``len(options)`` for an option that left the catalogue. `cost` is what an
    option is expected to cost a user, contact included, and `budget` how much of that there is per decision.
    `had_chance` tells what a row could draw: no policy is judged by what the experiment cannot show. `is_simple`
    (options,) are the options that simple policies choose among.
    """

    options: tuple[Option, ...]
    action: Places
    propensity: Floats
    user_ids: pd.Series
    fold: Places
    net: Floats
    usual: Floats
    effect: Floats
    cost: Floats
    p_redeem: Floats
    columns: pd.DataFrame
    had_chance: Flags
    is_simple: Flags
    budget: float = math.inf

    @property
    def logged(self) -> Logged:
        """The experiment as off-policy estimators read it: 0 is *nothing*, a day is a lottery of its own."""
        days = pd.factorize(self.columns["day"])[0].astype(np.intp) if "day" in self.columns else None
        return Logged(self.action + 1, self.propensity, self.net, self.user_ids, days)

    @property
    def predicted(self) -> Floats:
        """Expected outcome of *nothing*, of every option and of what left the catalogue; shape (rows, 2 + options)."""
        return np.c_[self.usual, self.usual[:, None] + self.effect, self.usual]

    @property
    def scores(self) -> Floats:
        """Doubly robust scores of *nothing* and of every option; shape (rows, 1 + options)."""
        return doubly_robust_scores(self.logged, self.predicted)[:, :-1]


def judge_policies(evidence: Evidence, allowance: Allowance | None = None) -> PolicyVerdict:
    """Value every candidate on rows that neither its models nor its choices saw, and choose.

    Every candidate spends what the budget allows: the personal policy where it earns most, a simple one on a random
    part of those whom it is for. From *nobody* on, a simple candidate takes the lead when its doubly robust gain over
    the leader lies above 0 with its whole 95% interval; the personal policy must do so against each of them. Unknown
    is not better. What is not proven may be tried as far as the `allowance` goes (`models.judge.ladder`).
    """
    scores = evidence.scores
    candidates = {name: _cross_chosen(evidence, scores, name) for name in (NOBODY, CONSTANT, RULE, RANKING)}
    price = money_price(evidence)
    candidates[PERSONAL] = _chances(evidence, priced_choice(evidence, price), 1.0)
    values = {
        name: doubly_robust_value(evidence.logged, chances, evidence.predicted) for name, chances in candidates.items()
    }

    def gain(new: str, old: str) -> PolicyValue:
        return value_difference(evidence.logged, candidates[new], candidates[old], predicted=evidence.predicted)

    leader = NOBODY
    for name in (CONSTANT, RULE, RANKING):
        leader = name if gain(name, leader).low > 0 else leader
    gains = {name: gain(name, NOBODY) for name in candidates if name != NOBODY}
    leads = {name: gain(PERSONAL, name) for name in candidates if name != PERSONAL}
    narrowest = min(leads, key=lambda name: leads[name].low)
    lead = leads[narrowest]
    if lead.low > 0:
        reason = f"personal beats every simpler policy; over {narrowest} by {_words(lead)} a head"
        return PolicyVerdict(Deployed(PERSONAL), reason, gains, lead, values)
    simple = simple_policy(evidence, scores, leader, np.ones(len(scores), dtype=bool))
    more = f"personal is worth {_words(lead)} a head more than {narrowest}"
    reason = f"{leader} stays: {more}, which does not lie above 0"
    ladder = _ladder(evidence, scores, candidates, leader, price, allowance) if allowance and allowance.steps else None
    reason = f"{reason}; {ladder}" if ladder is not None else reason
    return PolicyVerdict(simple, reason, gains, lead, values, ladder)


def _ladder(
    evidence: Evidence, scores: Floats, chances: dict[str, Floats], leader: str, price: float, allowance: Allowance
) -> Ladder:
    """Put the policies of every kind, as all rows choose them, on the ladder below the leader."""
    everybody, candidates = np.ones(len(scores), dtype=bool), {}
    for name, own in chances.items():
        policy = Deployed(PERSONAL) if name == PERSONAL else simple_policy(evidence, scores, name, everybody)
        spent = float((own[:, 1:-1] * evidence.cost).sum(axis=1).mean())
        whole = spent if name == PERSONAL else _cost_of(evidence, policy)
        part = float(_part_paid(evidence, np.array([whole]))[0])
        candidates[name] = Candidate(policy, own, spent, part)
    return climb(evidence.logged, evidence.predicted, candidates, leader, evidence.budget, allowance, price)


def _cost_of(evidence: Evidence, policy: Deployed) -> float:
    """Cost a head if a simple policy's option went to all whom it is for."""
    if policy.option is None:
        return 0.0
    place = evidence.options.index(policy.option)
    applies = policy.applies_to(evidence.columns, evidence.p_redeem[:, place]) & evidence.had_chance[:, place]
    return float((evidence.cost[:, place] * applies).mean())


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


def simple_policy(evidence: Evidence, scores: Floats, name: str, rows: Flags) -> Deployed:
    """Choose the policy of a kind that earns most within the budget, by the doubly robust scores of some rows."""
    gain, cost = (part * evidence.had_chance for part in (scores[:, 1:] - scores[:, :1], evidence.cost))
    gain, cost = np.where(evidence.is_simple, gain[rows], -np.inf), cost[rows]
    if name == NOBODY:
        return Deployed(NOBODY)
    if name == CONSTANT:
        return Deployed(CONSTANT, evidence.options[int(_affordable(evidence, gain, cost, len(gain)).argmax())])
    if name == RULE:
        return _best_rule(evidence, gain, cost, rows)
    return _best_ranking(evidence, gain, cost, rows)


def _best_rule(evidence: Evidence, gain: Floats, cost: Floats, rows: Flags) -> Deployed:
    """Split at the median of each column in turn and give one side its best option."""
    found: list[tuple[float, Deployed]] = []
    for column in (name for name in MODERATORS if name in evidence.columns.columns):
        values = np.nan_to_num(evidence.columns[column].to_numpy(dtype=np.float64))[rows]
        threshold = float(np.median(values))
        for is_above in (True, False):
            side = (values > threshold) == is_above
            total = _affordable(evidence, gain[side], cost[side], len(values))
            policy = Deployed(RULE, evidence.options[int(total.argmax())], column, threshold, is_above)
            found.append((float(total.max()), policy))
    return max(found, key=lambda pair: pair[0])[1] if found else Deployed(NOBODY)


def _best_ranking(evidence: Evidence, gain: Floats, cost: Floats, rows: Flags) -> Deployed:
    """Give a discount to the share of users who are likeliest to use it; nobody uses a plain message."""
    found: list[tuple[float, Deployed]] = [(0.0, Deployed(NOBODY))]
    discount = np.array([share for _, share in evidence.options])
    for place in np.flatnonzero(evidence.is_simple & (discount > 0)):
        option, likely = evidence.options[place], evidence.p_redeem[rows, place]
        for share in SHARES:
            threshold = float(np.quantile(likely, 1 - share))
            top = likely > threshold
            total = _affordable(evidence, gain[top][:, [place]], cost[top][:, [place]], len(likely))
            found.append((float(total[0]), Deployed(RANKING, option, P_REDEEM, threshold)))
    return max(found, key=lambda pair: pair[0])[1]


def _affordable(evidence: Evidence, gain: Floats, cost: Floats, users: int) -> Floats:
    """Gain a head of `users` if each option goes to as many of some rows as the budget pays for; shape (options,)."""
    return np.asarray(gain.sum(axis=0) / users * _part_paid(evidence, cost.sum(axis=0) / users))


def _part_paid(evidence: Evidence, cost: Floats) -> Floats:
    """Share of decisions that the budget pays for, when they cost so much on average; shape as `cost`."""
    return np.minimum(1.0, np.divide(evidence.budget, cost, out=np.ones_like(cost), where=cost > 0))


def _cross_chosen(evidence: Evidence, scores: Floats, name: str) -> Floats:
    """Chances that a simple policy gives to options, its parameters chosen by the other folds of users."""
    choice = np.zeros(len(scores), dtype=np.intp)
    places = {option: place for place, option in enumerate(evidence.options)}
    for k in np.unique(evidence.fold):
        inside = evidence.fold == k
        policy = simple_policy(evidence, scores, name, ~inside)
        if policy.option is not None:
            place = places[policy.option]
            applies = policy.applies_to(evidence.columns[inside], evidence.p_redeem[inside, place])
            applies &= evidence.had_chance[inside, place]
            choice[inside] = np.where(applies, place + 1, 0)
    spent = np.c_[np.zeros(len(scores)), evidence.cost][np.arange(len(scores)), choice].mean()
    return _chances(evidence, choice, float(_part_paid(evidence, np.array([spent]))[0]))


def _chances(evidence: Evidence, choice: Places, share: float) -> Floats:
    """Chance of every option when a share of the rows gets its choice and the rest nothing; (rows, 2 + options)."""
    chances = np.zeros((len(choice), len(evidence.options) + 2))
    chances[:, 0] = 1.0 - share
    chances[np.arange(len(choice)), choice] += share
    return chances


def _words(value: PolicyValue) -> str:
    return f"{value.value:+.3f} [{value.low:+.3f}, {value.high:+.3f}]" if value.is_known else "an unknown amount"
