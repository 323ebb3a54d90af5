"""Eligibility: pure rules, asked before anything is allocated and again before it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic import AS_OF, behaviour, offer, said, small_policy, small_settings

from configs.offers import NO_OFFER, NOTHING, Catalogue
from features.storage.lake import Lake
from serving.decide.day_tables import day_folder
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.decide.ledger import entries
from serving.decide.scoring import Policy
from serving.report_page.summary import summarise
from serving.valuation.eligibility import (
    CONTACTS,
    ELIGIBLE,
    FIRST_RULE,
    Rule,
    broken_by,
    forbidden,
    no_contacts,
    rules_of,
)

CATALOGUE = Catalogue(offers=(offer("mail", discounts=(0.1,)), offer("ping", discounts=(0.2,), channel="push")))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return small_policy(small_settings(scoring={"budget": 1e6, "control_share": 0.0}))


@pytest.fixture(scope="module")
def users() -> pd.DataFrame:
    return behaviour(80, np.random.default_rng(5)).assign(days_since_last_activity=3.0, payment_failures_count_28d=0.0)


def no_push_on(day: int) -> Rule:
    """A rule of an app's own: one function, and one line where it is listed."""

    def is_that_day(frame: pd.DataFrame, contacts: pd.DataFrame) -> np.ndarray:
        return np.full(len(frame), day == AS_OF.isoweekday())

    return Rule("no_push_today", is_that_day, forbids=lambda each: each.channel == "push")


def written_to_lately(frame: pd.DataFrame, contacts: pd.DataFrame) -> np.ndarray:
    """Whoever was contacted before is left in peace."""
    return frame["user_id"].isin(contacts["user_id"]).to_numpy()


def test_the_rules_of_every_app_by_hand():
    settings = small_settings()
    frame = pd.DataFrame(
        {
            "payment_failures_count_28d": [0.0, 1.0, 0.0, 2.0],
            "days_since_last_activity": [56.0, 3.0, np.nan, 57.0],
        }
    )
    found = forbidden(rules_of(settings), frame, no_contacts(), CATALOGUE)
    failed, lapsed = FIRST_RULE, FIRST_RULE + 1
    assert found.everything.tolist() == [ELIGIBLE, failed, lapsed, failed]  # the first that applies is told
    assert found.option.tolist() == [[kind] * 2 for kind in found.everything]


def test_a_rule_about_some_offers_leaves_the_others():
    frame = pd.DataFrame({"user_id": ["a", "b"]})
    found = forbidden((no_push_on(AS_OF.isoweekday()),), frame, no_contacts(), CATALOGUE)
    assert found.everything.tolist() == [ELIGIBLE] * 2
    assert found.option.tolist() == [[ELIGIBLE, FIRST_RULE]] * 2
    assert broken_by(np.array([NOTHING, 1]), found).tolist() == [ELIGIBLE, FIRST_RULE]
    other_day = forbidden((no_push_on(AS_OF.isoweekday() % 7 + 1),), frame, no_contacts(), CATALOGUE)
    assert not other_day.option.any()


def test_rules_ask_nobody_where_there_are_no_offers():
    found = forbidden((no_push_on(1),), pd.DataFrame({"user_id": ["a"]}), no_contacts(), Catalogue(offers=()))
    assert found.option.shape == (1, 0)


def test_an_own_rule_is_kept_and_said(policy, users, tmp_path):
    pushed = replace(
        policy, catalogue=small_policy(offers=(offer("bundle"), offer("come_back", channel="push"))).catalogue
    )
    free, ruled = Lake(tmp_path / "free"), Lake(tmp_path / "ruled")
    decide(pushed, free, AS_OF, LocalExecutor([lambda: users]))
    decide(replace(pushed, own_rules=(no_push_on(AS_OF.isoweekday()),)), ruled, AS_OF, LocalExecutor([lambda: users]))
    assert "push" in set(table(free)["channel"])
    assert set(table(ruled)["channel"].dropna()) == {"email"}
    options = table(ruled, "options")
    assert set(options.loc[options["channel"] == "push", "why_not"]) == {"no push today"}


def table(lake: Lake, name: str = "decisions") -> pd.DataFrame:
    return said(pq.ParquetFile(day_folder(lake, AS_OF) / f"{name}.parquet").read())


def test_what_breaks_a_rule_by_the_time_it_is_written_is_withdrawn_and_counted(policy, users, tmp_path: Path):
    lake, calm = Lake(tmp_path / "late"), Lake(tmp_path / "calm")
    ruled = replace(policy, own_rules=(Rule("written_to_lately", written_to_lately, ("user_id",)),))
    decide(ruled, calm, AS_OF, LocalExecutor([lambda: users]))
    before = table(calm)
    given = before.loc[before["offer_id"] != NO_OFFER, "user_id"]
    assert len(given) > 10
    late = pd.DataFrame({"user_id": given.head(4)}).reindex(columns=list(CONTACTS))
    answers = iter([no_contacts(), late])  # somebody else wrote to them between allocation and writing
    decide(ruled, lake, AS_OF, LocalExecutor([lambda: users]), contacts=lambda: next(answers))
    after = table(lake)
    gone = after["user_id"].isin(late["user_id"])
    assert set(after.loc[gone, "offer_id"]) == {NO_OFFER}
    assert set(after.loc[gone, "arm"]) == {"suppressed"}
    assert not after.loc[gone, ["discount", "expected_cost", "expected_value"]].any().any()
    assert set(after.loc[gone, "suppressed_because"]) == {"written to lately"}
    assert set(after.loc[gone, "why"]) == {"withdrawn by the check before it was written: written to lately"}
    pd.testing.assert_frame_equal(after[~gone].drop(columns="decision_id"), before[~gone].drop(columns="decision_id"))
    assert summarise(lake, AS_OF).withdrawn == 4
    assert summarise(calm, AS_OF).withdrawn == 0
    ledger = entries(lake, AS_OF, AS_OF).to_pandas()
    assert ledger.loc[ledger["user_id"].isin(late["user_id"]), "offer_id"].eq(NO_OFFER).all()
