"""The evidence for the gate of decisions: held-out facts about every randomised treatment."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from configs.offers import Option
from features.arrays.array_types import Flags, Floats, Places
from models.learn.paid_costs import AS_EXPECTED, CostRatios, Payments
from models.policy_value.off_policy import Logged, doubly_robust_scores


@dataclass(frozen=True)
class Evidence:
    """Held-out facts about every randomised treatment; shapes (rows,), (options,) or (rows, options).

    `net` is the outcome in account currency, after the discount and the contact were paid; `effect` and `usual` are
    what models that did not see the row's user expect an option to change, costs included, and of *nothing*.
    `action` is -1 for *nothing* and ``len(options)`` for an option that left the catalogue. `cost` is what an
    option is expected to cost a user, contact included, and `budget` how much of that there is per decision.
    `had_chance` tells what a row could draw: no policy is judged by what the experiment cannot show. `is_simple`
    (options,) are the options that simple policies choose among. `paid` is what the row's own option really cost,
    contact included; None where nothing tells. Of `cost` the `contact` (options,) is certain, and the rest `is_own`
    where it rests on what the user spends, not on what others did. `worth` (rows,) is what it is worth
    that the user stays.
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
    paid: Floats | None = None
    contact: Floats | None = None
    is_own: Flags | None = None
    worth: Floats | None = None

    @property
    def logged(self) -> Logged:
        """The experiment as off-policy estimators read it: 0 is *nothing*, a day is a lottery of its own."""
        days = pd.factorize(self.columns["day"])[0].astype(np.intp) if "day" in self.columns else None
        return Logged(self.action + 1, self.propensity, self.net, self.user_ids, days)

    @property
    def predicted(self) -> Floats:
        """Expected outcome of *nothing*, of every option and of what left the catalogue; shape (rows, 2 + options)."""
        return np.c_[self.usual, self.usual[:, None] + self.effect, self.usual]

    def where(self, rows: Flags) -> Evidence:
        """Cut some rows, shape (rows,), out."""
        by_row = ("action", "propensity", "fold", "net", "usual", "effect", "cost", "p_redeem", "had_chance")
        cut = {name: getattr(self, name)[rows] for name in by_row}
        known = {name: getattr(self, name) for name in ("paid", "is_own", "worth")}
        cut |= {name: None if column is None else column[rows] for name, column in known.items()}
        frames = {name: getattr(self, name)[rows].reset_index(drop=True) for name in ("user_ids", "columns")}
        return replace(self, **cut, **frames)

    @property
    def gross(self) -> Floats:
        """What an option is expected to change before it is paid for, where something tells what was; as `effect`."""
        return self.effect + self.cost if self.paid is not None else self.effect

    @property
    def scores(self) -> Floats:
        """Doubly robust scores of *nothing* and of every option; shape (rows, 1 + options)."""
        return doubly_robust_scores(self.logged, self.predicted)[:, :-1]

    def charged(self, ratios: CostRatios) -> Evidence:
        """Expect what benefits cost to be so many times as much; of contacts the cost is known."""
        if self.contact is None or self.is_own is None or ratios == AS_EXPECTED:
            return self
        more = (ratios.of(self.is_own) - 1.0) * (self.cost - self.contact)
        return replace(self, cost=self.cost + more, effect=self.effect - more)

    def payments(self, choice: Places) -> Payments | None:
        """List what was paid for rows that drew what `choice` (rows,) picks, 0 for nothing; None if nothing tells."""
        if self.paid is None or self.contact is None or self.is_own is None:
            return None
        rows = np.flatnonzero((choice > 0) & (choice == self.action + 1))
        own = (rows, self.action[rows])
        contact = self.contact[own[1]]
        return Payments(self.paid[rows] - contact, self.cost[own] - contact, self.is_own[own])

    def chances(self, choice: Places, share: float = 1.0) -> Floats:
        """Chance of every option when a share of the rows gets its choice, of shape (rows,), and the rest nothing.

        Shape (rows, 2 + options), as `predicted`.
        """
        found = np.zeros((len(choice), len(self.options) + 2))
        found[:, 0] = 1.0 - share
        found[np.arange(len(choice)), choice] += share
        return found

    def part_paid(self, cost: Floats) -> Floats:
        """Share of decisions that the budget pays for, when they cost so much on average; shape as `cost`."""
        return np.minimum(1.0, np.divide(self.budget, cost, out=np.ones_like(cost), where=cost > 0))
