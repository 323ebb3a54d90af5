"""Assignment of every user to an arm and an option: groups and randomisation first, then the budget for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from configs.offers import NOTHING
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Places, Texts
from models.policy_value.policy_verdict import NO_TRIAL, Trial
from serving.arms.exploration import (
    Draws,
    Explorers,
    decision_chances,
    draw_chances,
    explore,
    posterior_draws,
    randomise,
    stable_groups,
)
from serving.arms.policy_trial import trial_weights, weight_of
from serving.arms.turns import curve_at_random, turns_of, who_has_turn
from serving.arms.win_back_draws import (
    NOTHING_LEARNT,
    LapsedDraws,
    OpenOptions,
    WinBackFindings,
    draw_win_back,
    who_draws,
)
from serving.contact_rules.contact_rule import ELIGIBLE
from serving.knapsack.allocation import Allocation, Limit, allocate_parts, budget_curve
from serving.knapsack.problem import RemoteReduce, Shard, offered, opened
from serving.valuation.options import Options

POLICY, EXPLORE, CONTROL = "policy", "explore", "control"
AS_USUAL, SUPPRESSED = "business_as_usual", "suppressed"
BY_RULE = "by_rule"  # gets what must be said, and nothing else today
WIN_BACK = "win_back"  # has lapsed or left, and is in a draw of their own
CURVE_STEPS = 20
CURVE_USERS = 100_000  # show the curve
CURVE_USERS_OF_LIMITS = 20_000  # with limits each point of the curve is an allocation


class AllocationInput(NamedTuple):
    """What the allocation reads of some users.

    `value` and `cost` have shape (options, users), as `serving.knapsack.problem.offered` leaves them, and may be files.
    The others are of shape (users,): the `arm` before anybody explores, what they would draw, what the option drawn is
    worth, the risk, NaN where it is not known, and `by_rule`, the option that they get whatever it is worth, `NOTHING`
    where there is none. `lapsed` is what those draw who have lapsed; None where no play wins back. `turn` is the
    place in the queue for a simple policy's option (`serving.arms.turns`); None where no simple policy decides.
    """

    value: Floats | Path
    cost: Floats | Path
    arm: Texts
    draws: Draws
    draw_value: Floats
    p_churn: Floats
    by_rule: Places
    lapsed: LapsedDraws | None = None
    turn: Floats | None = None


@dataclass(frozen=True)
class Spending:
    """What a day's decisions are expected to cost and to be worth, account currency.

    `spent` and `value` are those of everything given, `exploration_spent` is the part of explorers; `bound` is the best
    value that the same draws allowed. `shadow_price` is what one more unit of budget would earn, `limit_prices`
    what one more place would, `used` counts the places taken; `exploration_share` is the share of those who may
    explore that the budget paid for.
    """

    budget: float
    spent: float
    value: float
    bound: float
    gap: float
    shadow_price: float
    limit_prices: dict[str, float]
    used: dict[str, int]
    exploration_share: float
    exploration_spent: float

    def table(self) -> pa.Table:
        """List what concerns the whole budget, in one row."""
        whole = {name: figure for name, figure in asdict(self).items() if not isinstance(figure, dict)}
        return pa.table({name: pa.array([figure], pa.float64()) for name, figure in whole.items()})


@dataclass(frozen=True)
class Assignment:
    """Arm and option of every user, shapes (users,).

    `given` is the place of an option or `NOTHING`, `intended` what the policy would have given, for those whom the
    draw or a group kept from it too. `draw_chance` is how likely the draw of those was who have lapsed, 1 for others.
    `queue_ended_by` is that of `serving.arms.turns.Turns`.
    """

    arm: Texts
    given: Places
    intended: Places
    explorers: Explorers
    allocation: Allocation
    spending: Spending
    draw_chance: Floats
    queue_ended_by: str | None = None

    def part(self, start: int, users: int) -> Assignment:
        """Cut some users out; what is about the whole day stays."""
        rows = slice(start, start + users)
        explores, given = self.explorers.explores[rows], self.explorers.given[rows]
        return replace(
            self,
            arm=self.arm[rows],
            given=self.given[rows],
            intended=self.intended[rows],
            draw_chance=self.draw_chance[rows],
            explorers=replace(self.explorers, explores=explores, given=given),
            allocation=replace(self.allocation, choice=self.allocation.choice[rows]),
        )

    def parts(self, allocation_inputs: Sequence[AllocationInput]) -> list[Assignment]:
        """Cut out the users of each batch."""
        sizes = [len(part.arm) for part in allocation_inputs]
        return [self.part(end - users, users) for end, users in zip(np.cumsum(sizes), sizes, strict=True)]


def allocation_input(
    user_ids: pd.Series, p_churn: Floats, options: Options, settings: Settings, limits: Sequence[Limit], as_of: date,
    trial: Trial = NO_TRIAL, win_back: WinBackFindings = NOTHING_LEARNT, comeback_worth: Floats | None = None, *,
    takes_turns: bool = False,
) -> AllocationInput:  # fmt: skip
    """Compute what the allocation needs of some users: arm, value, cost, random draws and risk."""
    users = len(user_ids)
    is_control, is_as_usual = stable_groups(user_ids, settings)
    by_rule, lapsed = options.by_rule, options.win_back
    has_lapsed = lapsed.any(axis=1)
    arms = np.array([POLICY, AS_USUAL, CONTROL, SUPPRESSED, BY_RULE], dtype=object)
    asked = [by_rule != NOTHING, (options.ineligible != ELIGIBLE) | has_lapsed, is_control, is_as_usual]
    arm = arms[np.select(asked, [4, 3, 2, 1], 0)]
    draws = Draws(np.full(users, np.inf), np.full(users, NOTHING), np.zeros(users), np.zeros(users))
    if settings.scoring.exploration.share > 0 or trial.share > 0:
        explorable = _explorable(options, limits)
        may_explore = (arm == POLICY) & explorable.any(axis=1)
        chances = _chances(options, explorable, settings, as_of, trial)
        draws = randomise(user_ids, chances, options.expected_cost, may_explore, settings, as_of)
    drawn = np.flatnonzero(draws.option != NOTHING)
    worth = np.zeros(users)
    worth[drawn] = options.value[drawn, draws.option[drawn]]
    lapsed_draws = None
    if any(offer.is_win_back for offer in options.catalogue.offers):
        allowed = lapsed & ~(is_control | is_as_usual | (by_rule != NOTHING))[:, None]
        drawn_from = OpenOptions.of(options.catalogue, win_back)
        lapsed_draws = draw_win_back(
            user_ids,
            allowed,
            options.expected_cost,
            drawn_from,
            settings.win_back,
            settings.seed,
            as_of,
            comeback_worth,
        )
    shares_out = offered(options.allocatable, options.expected_cost)
    turn = turns_of(user_ids, settings, as_of) if takes_turns else None
    return AllocationInput(*shares_out, arm, draws, worth, p_churn.copy(), by_rule, lapsed_draws, turn)


def base_rate(allocation_inputs: Sequence[AllocationInput]) -> float:
    """Share of all users that is expected to leave, of those whose risk is known; 0 where nobody's is."""
    p_churn = np.concatenate([part.p_churn for part in allocation_inputs])
    known = p_churn[~np.isnan(p_churn)]  # one array: the same sum however the users were cut
    return float(known.mean()) if len(known) else 0.0


def assign(
    allocation_inputs: Sequence[AllocationInput],
    settings: Settings,
    limits: Sequence[Limit],
    remote_reduce: RemoteReduce | None = None,
) -> Assignment:
    """Assign an arm, and an option or nothing, to every user.

    What must be said takes its places first, and nothing of the budget, whose group a user is in. Explorers take from
    the budget, the capacities and the stocks next; the policy gets what they leave. Control,
    business as usual and explorers keep beside it what the policy would have given them at its final prices.

    Parameters
    ----------
    allocation_inputs
        Of all users, in batches.
    limits
        Of the whole day.
    remote_reduce
        Map-reduces sums over users where the batches lie, if that is on other machines.
    """
    budget = settings.scoring.budget
    exploration, options = settings.scoring.exploration, len(opened(allocation_inputs[0].value))
    arm, draw_value, by_rule = (
        np.concatenate([getattr(part, name) for part in allocation_inputs]) for name in ("arm", "draw_value", "by_rule")
    )
    draws = Draws(*(np.concatenate(each) for each in zip(*(part.draws for part in allocation_inputs), strict=True)))
    first, lapsed = by_rule, _joined(allocation_inputs)
    draws_own, won_back = np.zeros(len(arm), dtype=bool), 0.0
    if lapsed is not None:
        left = [replace(limit, most=max(limit.most - _places(by_rule, limit), 0)) for limit in limits]
        draws_own = who_draws(lapsed, budget * settings.win_back.budget_share, left)
        first, won_back = np.where(draws_own, lapsed.option, by_rule), float(lapsed.cost[draws_own].sum())
        arm = np.where(draws_own, WIN_BACK, arm)
    budget -= won_back
    explorers = explore(draws, options, exploration.share, budget * exploration.budget_share, limits)
    first = np.where(first != NOTHING, first, explorers.given)
    taken = {limit.name: _places(first, limit) for limit in limits}
    left = [replace(limit, most=max(limit.most - taken[limit.name], 0)) for limit in limits]
    spends, budget = (arm == POLICY) & ~explorers.explores, max(budget - explorers.spent, 0.0)
    turns = who_has_turn(allocation_inputs, spends, budget, left)
    spends &= turns.has
    ends = np.cumsum([len(part.arm) for part in allocation_inputs])
    own = zip(allocation_inputs, np.split(spends, ends[:-1]), strict=True)
    parts = [Shard(part.value, part.cost, spending) for part, spending in own]
    allocation = turns.applied_to(allocate_parts(parts, budget, left, remote_reduce))
    intended = np.where(by_rule != NOTHING, by_rule, allocation.choice)
    if lapsed is not None:
        intended = np.where(draws_own, lapsed.meant, intended)
    return Assignment(
        arm=np.where(explorers.explores, EXPLORE, arm),
        given=np.where(spends, allocation.choice, first),
        intended=intended,
        explorers=explorers,
        allocation=allocation,
        spending=_spending(settings.scoring.budget, won_back, draw_value, explorers, allocation, taken),
        draw_chance=np.where(draws_own, lapsed.chance, 1.0) if lapsed is not None else np.ones(len(arm)),
        queue_ended_by=turns.ended_by,
    )


def _joined(allocation_inputs: Sequence[AllocationInput]) -> LapsedDraws | None:
    """Put the draws of all batches together."""
    parts = [part.lapsed for part in allocation_inputs if part.lapsed is not None]
    return LapsedDraws(*map(np.concatenate, zip(*parts, strict=True))) if parts else None


def _places(given: Places, limit: Limit) -> int:
    return int(limit.options[given[given != NOTHING]].sum())


def _spending(
    budget: float,
    won_back: float,
    draw_value: Floats,
    explorers: Explorers,
    allocation: Allocation,
    taken: dict[str, int],
) -> Spending:
    randomised = float(draw_value[explorers.given != NOTHING].sum())
    return Spending(
        budget=budget,
        spent=allocation.spent + explorers.spent + won_back,
        value=allocation.value + randomised - won_back,  # what they bring is not known before it is measured
        bound=allocation.bound + randomised - won_back,
        gap=allocation.gap,
        shadow_price=allocation.shadow_price,
        limit_prices=allocation.limit_prices,
        used={name: places + allocation.used[name] for name, places in taken.items()},
        exploration_share=explorers.share,
        exploration_spent=explorers.spent,
    )


def propensities(
    options: Options, assignment: Assignment, settings: Settings, limits: Sequence[Limit], as_of: date,
    trial: Trial = NO_TRIAL,
) -> Floats:  # fmt: skip
    """Compute the probability of each user's option, given everything but the day's draws; shape (users,), above 0.

    It is 1 for control, business as usual and whoever may get nothing: their group was drawn once for all, so that
    weighing teaches nothing about them.
    """
    users = len(assignment.arm)
    if assignment.explorers.share == 0:
        return assignment.draw_chance
    explorable = _explorable(options, limits)
    may_explore = np.isin(assignment.arm, (POLICY, EXPLORE)) & explorable.any(axis=1)
    chances = _chances(options, explorable, settings, as_of, trial)
    likely = decision_chances(assignment.explorers, chances, may_explore, assignment.intended)
    return np.where(may_explore, likely[np.arange(users), assignment.given], assignment.draw_chance)


def curve_table(allocation_inputs: Sequence[AllocationInput], settings: Settings, limits: Sequence[Limit]) -> pa.Table:
    """Compute the gain of the policy alone at other budgets: ``budget, value, spent, shadow_price``.

    Budgets go from nothing to twice today's. Nobody explores; control and business as usual are left out. Of many users
    it is drawn from some, evenly spaced, and scaled up.
    """
    who = np.flatnonzero(np.concatenate([part.arm for part in allocation_inputs]) == POLICY)
    most = CURVE_USERS_OF_LIMITS if limits else CURVE_USERS
    rows = who[np.linspace(0, len(who) - 1, most).astype(np.intp)] if len(who) > most else who
    scale = max(len(who) / max(len(rows), 1), 1.0)
    value, cost = (_rows_of([getattr(part, name) for part in allocation_inputs], rows) for name in ("value", "cost"))
    top = 2 * settings.scoring.budget
    top = top if math.isfinite(top) else scale * float(cost.max(axis=1, initial=0.0).sum())
    budgets = np.unique(np.linspace(0.0, top, CURVE_STEPS + 1)) / scale
    narrow = [replace(limit, most=int(limit.most / scale)) for limit in limits]
    if all(part.turn is not None for part in allocation_inputs):
        found = curve_at_random(value.T, cost.T, budgets.tolist(), narrow)
    else:
        found = budget_curve(value, cost, budgets.tolist(), narrow)
    points = np.array(found).reshape(-1, 4)
    points[:, :3] *= scale
    return pa.table(dict(zip(("budget", "value", "spent", "shadow_price"), points.T, strict=True)))


def _rows_of(parts: Sequence[Floats | Path], rows: Places) -> Floats:
    """Read some users, whose rows rise, of arrays of shape (options, users); shape (rows, options)."""
    starts = np.cumsum([0, *(opened(part).shape[1] for part in parts)])
    cuts = np.split(rows, np.searchsorted(rows, starts[1:-1]))
    pieces = zip(parts, cuts, starts, strict=False)
    return np.concatenate([opened(part)[:, own - start].T for part, own, start in pieces])


def _explorable(options: Options, limits: Sequence[Limit]) -> Flags:
    """Tell which options may be tried; one without any place left today may not."""
    is_open = np.ones(options.value.shape[1], dtype=bool)
    for limit in limits:
        is_open &= ~limit.options | (limit.most > 0)
    return np.asarray(options.explorable & is_open)


def _chances(options: Options, explorable: Flags, settings: Settings, as_of: date, trial: Trial) -> Floats:
    """Say with which probability who draws at random draws each option, or nothing; shape (users, options + 1)."""
    draws = posterior_draws(len(options.catalogue.options), settings, as_of)
    value, error = (np.where(options.eligible, part, 0.0) for part in (options.value, options.value_error))
    tried = trial_weights(options.tried, explorable, trial) if trial.arms else None
    return draw_chances(
        value, error, explorable, settings.scoring.exploration, draws, tried, weight_of(settings, trial)
    )
