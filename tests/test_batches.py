"""Batches: what is parked comes back as it was, and several workers change nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from synthetic import behaviour, small_policy

from configs.offers import Catalogue
from serving import batches
from serving.batches import Batch, Policy, park_all, parking, score
from serving.options import MATRICES


@pytest.fixture(scope="module")
def policy() -> Policy:
    return small_policy()


@pytest.fixture(scope="module")
def users() -> pd.DataFrame:
    frame = behaviour(90, np.random.default_rng(3))
    frame.loc[frame.index % 13 == 0, "days_since_last_activity"] = np.nan
    frame.loc[frame.index % 17 == 0, "payment_failures_count_28d"] = 1.0
    return frame


def same(one: Batch, other: Batch) -> None:
    pd.testing.assert_frame_equal(one.frame, other.frame)
    for name in ("p_churn", "remaining_value", "reasons"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in (*MATRICES, "why_not", "barred"):
        np.testing.assert_array_equal(getattr(one.options, name), getattr(other.options, name))


def test_a_parked_batch_comes_back_bit_for_bit(policy, users, tmp_path):
    batch = score(policy, users)
    assert np.isnan(batch.p_churn).any() and (batch.options.why_not != "").any() and None in batch.reasons
    with parking(tmp_path / "day", "key", policy.catalogue.options) as parked:
        parked.put(0, batch)
        same(parked.get(0), batch)
    assert not (tmp_path / "day").exists()


def test_a_text_of_many_users_is_one_object_in_memory(policy, users, tmp_path):
    with parking(tmp_path / "day", "key", policy.catalogue.options) as parked:
        parked.put(0, score(policy, users))
        batch = parked.get(0)
    for column in (batch.options.barred, *batch.options.why_not.T):
        assert len({id(text) for text in column}) == len(set(column))


def test_a_batch_without_options_can_be_parked(policy, users, tmp_path):
    bare = replace(policy, catalogue=Catalogue(offers=()), response=None)
    batch = score(bare, users)
    with parking(tmp_path / "day", "key", bare.catalogue.options) as parked:
        parked.put(0, batch)
        same(parked.get(0), batch)
        assert parked.get(0).options.value.shape == (90, 0)


def test_only_what_decisions_are_told_from_is_parked(policy, users):
    assert set(score(policy, users).frame.columns) == policy.columns_told & set(users.columns)


def test_batches_come_in_order_and_one_reads_at_a_time_while_others_compute(policy, users, tmp_path, monkeypatch):
    reading, most, computing = threading.Lock(), [0], []

    def frame(number: int) -> pd.DataFrame:
        assert reading.acquire(blocking=False), "two were reading at once"
        time.sleep(0.01)
        reading.release()
        return users.iloc[10 * number : 10 * number + 10]

    def slow_score(own_policy: Policy, rows: pd.DataFrame) -> Batch:
        computing.append(1)
        most[0] = max(most[0], len(computing))
        time.sleep(0.05)
        computing.pop()
        return score(own_policy, rows)

    monkeypatch.setattr(batches, "score", slow_score)
    with parking(tmp_path / "day", "key", policy.catalogue.options) as parked:
        found = list(park_all(policy, [partial(frame, number) for number in range(9)], parked))
    assert [name for batch in found for name in batch.frame["user_id"]] == users["user_id"].tolist()
    assert most[0] == batches.AT_ONCE == 2


def test_few_batches_are_in_memory_at_a_time(policy, users, tmp_path):
    started: list[int] = []

    def frame(number: int) -> pd.DataFrame:
        started.append(number)
        return users.head(5)

    with parking(tmp_path / "day", "key", policy.catalogue.options) as parked:
        coming = park_all(policy, [partial(frame, number) for number in range(20)], parked)
        next(coming)
        time.sleep(0.2)
        assert max(started) <= batches.AT_ONCE
        coming.close()
    assert len(started) <= 2 * batches.AT_ONCE


def test_claims_are_mapped_from_files(policy, users, tmp_path):
    from datetime import date

    from serving.assignment import claims_of

    batch = score(policy, users)
    claims = claims_of(batch.frame["user_id"], batch.options, policy.settings, (), date(2024, 7, 1))
    with parking(tmp_path / "day", "key", policy.catalogue.options) as parked:
        mapped = parked.claims(0, claims)
        assert isinstance(mapped.value, np.memmap) and isinstance(mapped.cost, np.memmap)
        np.testing.assert_array_equal(mapped.value, claims.value)
        np.testing.assert_array_equal(mapped.cost, claims.cost)
        assert mapped.lots is claims.lots
