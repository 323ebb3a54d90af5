"""What a day stored gives everybody the same again, and its prices decide at noon as they did at night."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, behaviour, offer, small_policy, small_settings

from configs.errors import InputError
from configs.offers import NOTHING
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.ledger import entries
from serving.stored_days.stored_day import read_stored_day

NIGHT = DecisionMoment.of_night(AS_OF, "UTC")
SCARCE = {
    "budget": 25.0, "channel_capacity": {"email": 60}, "control_share": 0.2, "business_as_usual_share": 0.1,
    "exploration": {"share": 0.3, "budget_share": 0.5},
}  # fmt: skip
SCORING = {
    "as they come": {},
    "scarce": SCARCE,
    "more than enough": {"budget": 1e9, "exploration": {"share": 0.0}},
    "nothing to spend": {"budget": 0.0},
}


def decided(folder, scoring: dict[str, object], users: int = 200):
    settings = small_settings(scoring=scoring)
    offers = (offer("bundle", stock=30), offer("come_back"), offer("unproven"))
    policy = small_policy(settings, offers=offers) if scoring is SCARCE else small_policy(settings)
    frame = behaviour(users, np.random.default_rng(11))
    parts = [frame.iloc[start : start + 70].reset_index(drop=True) for start in range(0, users, 70)]
    lake = Lake(folder)
    decide(policy, lake, AS_OF, LocalExecutor([partial(pd.DataFrame, part) for part in parts]))
    return lake, policy


@pytest.mark.parametrize("scoring", SCORING.values(), ids=SCORING)
def test_what_was_stored_gives_everybody_the_same_again(tmp_path, scoring):
    lake, policy = decided(tmp_path, scoring)
    stored, ledger = read_stored_day(lake, NIGHT), entries(lake, AS_OF, AS_OF).to_pandas()
    assert stored.options == tuple(policy.catalogue.options)
    # the settings of another day: what decides was stored
    found = stored.assignment(small_settings(scoring={"budget": 1.0, "exploration": {"share": 0.9}}))
    curve = read_parquet(lake.path(f"{NIGHT.folder}/budget_curve.parquet"))
    assert stored.curve(small_settings(scoring={"budget": 1.0})).to_pandas().equals(curve.to_pandas())
    ids = np.array([*(each.offer_id for each in stored.options), "none"], dtype=object)
    discounts = np.array([*(each.discount for each in stored.options), 0.0])
    assert stored.user_ids.tolist() == ledger["user_id"].tolist()
    assert found.arm.tolist() == ledger["arm"].tolist()
    for choice, prefix in ((found.given, ""), (found.intended, "intended_")):
        assert ids[choice].tolist() == ledger[f"{prefix}offer_id"].tolist()
        assert discounts[choice].tolist() == ledger[f"{prefix}discount"].tolist()
    assert len({*ledger["offer_id"]}) > 1 or scoring.get("budget") == 0.0


def test_the_prices_tell_who_spends_nothing_what_the_night_told_them(tmp_path):
    lake, _ = decided(tmp_path, SCARCE)
    stored, ledger = read_stored_day(lake, NIGHT), entries(lake, AS_OF, AS_OF).to_pandas()
    value, cost = stored.allocation_input.value.T, stored.allocation_input.cost.T
    choice = stored.choice_at_prices(value, cost)
    names = np.array([*(each.offer_id for each in stored.options), "none"], dtype=object)
    spends = (ledger["arm"] == "policy").to_numpy()
    assert names[choice[~spends]].tolist() == ledger.loc[~spends, "intended_offer_id"].tolist()
    agrees = names[choice[spends]] == ledger.loc[spends, "offer_id"].to_numpy()
    assert 0.9 < agrees.mean() <= 1.0
    assert (stored.prices["price"] > 0).sum() >= 1
    # one alone, as at noon, is told the same as among all
    assert all(stored.choice_at_prices(value[[row]], cost[[row]])[0] == choice[row] for row in range(0, 200, 17))
    assert (choice != NOTHING).any()


def test_every_limit_has_its_price_and_its_members(tmp_path):
    lake, policy = decided(tmp_path, SCARCE)
    prices = read_parquet(lake.path(NIGHT.folder, "prices.parquet")).to_pandas().set_index("limit")
    spending = read_parquet(lake.path(NIGHT.folder, "spending.parquet")).to_pylist()[0]
    assert prices.index.tolist() == [
        "budget", "share of the budget for exploration", "share that explores", "channel email", "stock of bundle",
    ]  # fmt: skip
    assert prices.loc["budget", ["most", "used", "price"]].tolist() == [
        25.0, spending["spent"], spending["shadow_price"],
    ]  # fmt: skip
    assert prices["most"].tolist()[1:] == [0.5, 0.3, 60, 30]
    given = read_parquet(lake.path(NIGHT.folder, "decisions.parquet")).to_pandas()
    assert prices.loc["channel email", "used"] == (given["channel"] == "email").sum() <= 60
    assert prices.loc["stock of bundle", "used"] == (given["offer_id"] == "bundle").sum() <= 30
    members = {(each["offer_id"], each["discount"]) for each in prices.loc["stock of bundle", "options"]}
    assert members == {option for option in policy.catalogue.options if option.offer_id == "bundle"}
    stored = read_stored_day(lake, NIGHT)
    assert [limit.name for limit in stored.limits] == ["channel email", "stock of bundle"]


def test_a_moment_without_decisions_is_told(tmp_path):
    with pytest.raises(InputError, match=r"decisions\.parquet does not exist; run the step that writes it first"):
        read_stored_day(Lake(tmp_path), NIGHT)
