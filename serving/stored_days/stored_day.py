"""The stored allocation of a day (prices, values, costs, draws), from which it can be computed again.

Beside the decisions are ``prices.parquet``, one row per limit, and ``draws.parquet``, one row per user in their order;
values and costs of options are in ``options.parquet``. A later decision of the day can use the prices of the night, and
anyone can recompute what the night gave each user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa

from configs.offers import NOTHING, Catalogue, Option
from configs.settings import Settings
from features.arrays.array_types import Floats, Places
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet
from serving.arms.assignment import AllocationInput, Assignment, Spending, assign, curve_table
from serving.arms.exploration import Draws
from serving.arms.win_back_draws import LapsedDraws
from serving.knapsack.allocation import Limit, choose
from serving.knapsack.problem import offered
from serving.stored_days.day_tables import day_file
from serving.stored_days.decision_moment import DecisionMoment

BUDGET, EXPLORATION_BUDGET, EXPLORATION = "budget", "share of the budget for exploration", "share that explores"
LAPSED = "lapsed_"  # before the columns of what those draw who have lapsed
OPTION_TYPE = pa.struct([("offer_id", pa.string()), ("discount", pa.float64())])
PRICES = pa.schema(
    [("limit", pa.string()), ("most", pa.float64()), ("used", pa.float64()), ("price", pa.float64()),
     ("options", pa.list_(OPTION_TYPE))]
)  # fmt: skip


@dataclass(frozen=True)
class StoredDay:
    """What a moment's allocation read and found, from its files.

    `user_ids` has shape (users,), in the order of the decisions; `options` names each option by offer and discount.
    `prices` has one row per limit, by name: ``most, used, price, options``.
    """

    user_ids: pd.Series
    options: tuple[Option, ...]
    allocation_input: AllocationInput
    limits: tuple[Limit, ...]
    prices: pd.DataFrame

    def assignment(self, settings: Settings) -> Assignment:
        """Give everybody their arm and option again, from what was stored; of `settings` nothing else is read.

        An offer that a rule withdrew between allocation and writing is not given again.
        """
        most = self.prices["most"]
        shares = {"share": most[EXPLORATION], "budget_share": most[EXPLORATION_BUDGET]}
        exploration = settings.scoring.exploration.model_copy(update=shares)
        scoring = settings.scoring.model_copy(update={"budget": most[BUDGET], "exploration": exploration})
        return assign([self.allocation_input], settings.model_copy(update={"scoring": scoring}), self.limits)

    def curve(self, settings: Settings) -> pa.Table:
        """Draw the budget curve of these users again, as `curve_table` does, around the day's own budget."""
        scoring = settings.scoring.model_copy(update={"budget": float(self.prices["most"][BUDGET])})
        return curve_table([self.allocation_input], settings.model_copy(update={"scoring": scoring}), self.limits)

    def choice_at_prices(self, value: Floats, cost: Floats) -> Places:
        """Pick the option that is worth most after paying the stored prices, or `NOTHING`.

        `value` and `cost` have shape (users, options). It is what the allocation tells those who spend nothing; who
        spends gets the same, but for a few users at the edge of a limit. Where a simple policy decides, turns
        choose, and not prices.
        """
        price = self.prices["price"]
        of_options = np.array([limit.options * price[limit.name] for limit in self.limits]).sum(axis=0)
        return choose(value, cost, float(price[BUDGET]), of_options)


def prices_table(spending: Spending, settings: Settings, limits: Sequence[Limit], catalogue: Catalogue) -> pa.Table:
    """List what is scarce on a day: how much there is, how much is used, and what one more would earn."""
    exploration = settings.scoring.exploration
    rows: list[tuple[str, float, float, float | None, list[dict[str, object]]]] = [
        (BUDGET, spending.budget, spending.spent, spending.shadow_price, []),
        (EXPLORATION_BUDGET, exploration.budget_share, spending.exploration_spent, None, []),
        (EXPLORATION, exploration.share, spending.exploration_share, None, []),
    ]
    options = [option._asdict() for option in catalogue.options]
    for limit in limits:
        own = [options[place] for place in np.flatnonzero(limit.options)]
        rows.append((limit.name, limit.most, spending.used[limit.name], spending.limit_prices[limit.name], own))
    return pa.Table.from_pylist([dict(zip(PRICES.names, row, strict=True)) for row in rows], schema=PRICES)


def full_limits(lake: Lake, as_of: date) -> list[str]:
    """Name the channels and stocks of which one more place would have earned something on a day."""
    if not lake.files.exists(f"decisions/day={as_of}/prices.parquet"):
        return []
    prices = read_parquet(day_file(lake, as_of, "prices"), ["limit", "price"]).to_pylist()
    return [row["limit"] for row in prices if row["limit"] != BUDGET and (row["price"] or 0.0) > 0]


def draws_table(allocation_input: AllocationInput) -> pa.Table:
    """List the arm of some users before anybody explores, and what they draw if the budget lets them explore."""
    draws = {name: pa.array(column) for name, column in allocation_input.draws._asdict().items()}
    arm = pa.array(allocation_input.arm, pa.string())
    own = {name: pa.array(getattr(allocation_input, name)) for name in ("draw_value", "by_rule")}
    own |= {"turn": pa.array(allocation_input.turn)} if allocation_input.turn is not None else {}
    lapsed = allocation_input.lapsed._asdict() if allocation_input.lapsed is not None else {}
    own |= {f"{LAPSED}{name}": pa.array(column) for name, column in lapsed.items()}
    return pa.table({"arm": arm, **draws, **own})


def read_stored_day(lake: Lake, moment: DecisionMoment) -> StoredDay:
    """Read back what the allocation of a moment read and found.

    Raises
    ------
    InputError
        Nothing was decided at that moment, or a file is damaged.
    """

    def read(name: str, columns: list[str] | None = None) -> pa.Table:
        file = f"{moment.folder}/{name}.parquet"
        lake.files.check(file)
        return read_parquet(lake.path(file), columns)

    decisions, draws = read("decisions", ["user_id"]), read("draws")
    users, rows = len(decisions), read("options", ["offer_id", "discount", "value", "expected_cost", "eligible"])
    names = rows.slice(0, len(rows) // users)
    options = tuple(map(Option, names["offer_id"].to_pylist(), names["discount"].to_pylist()))
    value, cost, eligible = (
        rows[name].to_numpy().reshape(users, len(options)) for name in ("value", "expected_cost", "eligible")
    )
    prices = read("prices").to_pandas().set_index("limit")
    found = AllocationInput(
        *offered(np.where(eligible, value, -np.inf), cost),
        draws["arm"].to_numpy(zero_copy_only=False),
        Draws(*(draws[name].to_numpy() for name in Draws._fields)),
        draws["draw_value"].to_numpy(),
        read("predictions", ["p_churn"])["p_churn"].to_numpy(),
        draws["by_rule"].to_numpy() if "by_rule" in draws.column_names else np.full(users, NOTHING),
        _lapsed(draws),
        draws["turn"].to_numpy() if "turn" in draws.column_names else None,
    )
    return StoredDay(decisions["user_id"].to_pandas(), options, found, _limits(prices, options), prices)


def _lapsed(draws: pa.Table) -> LapsedDraws | None:
    names = [f"{LAPSED}{name}" for name in LapsedDraws._fields]
    return LapsedDraws(*(draws[name].to_numpy() for name in names)) if names[0] in draws.column_names else None


def _limits(prices: pd.DataFrame, options: tuple[Option, ...]) -> tuple[Limit, ...]:
    """Read limits back, in their order; what is about the whole budget is none."""
    rows = prices.drop(index=[BUDGET, EXPLORATION_BUDGET, EXPLORATION])
    taking = [{Option(**each) for each in members} for members in rows["options"]]
    takes_place = [np.array([option in own for option in options], dtype=np.bool_) for own in taking]
    return tuple(map(Limit, rows.index, takes_place, rows["most"].astype(int)))
