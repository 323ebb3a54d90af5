"""Batches: what is spooled comes back as it was, and several workers change nothing."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import behaviour, small_policy

from configs.offers import Catalogue
from serving.decide import scoring as batches
from serving.decide.scoring import Policy, score, score_all
from serving.decide.spooled_batches import Batch, open_spool
from serving.knapsack.problem import opened
from serving.valuation.options import MATRICES


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
    assert one.reasons.equals(other.reasons)
    for name in ("p_churn", "remaining_value"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in (*MATRICES, "why_not", "ineligible"):
        np.testing.assert_array_equal(getattr(one.options, name), getattr(other.options, name))


def ids_of(_: int, batch: Batch) -> list[str]:
    return batch.frame["user_id"].tolist()


def test_a_spooled_batch_comes_back_bit_for_bit(policy, users, tmp_path):
    batch = score(policy, users)
    assert np.isnan(batch.p_churn).any() and batch.options.why_not.any() and batch.reasons.null_count
    with open_spool(tmp_path / "day", "key", policy.catalogue) as spool:
        spool.put(0, batch)
        same(spool.get(0), batch)
    assert not (tmp_path / "day").exists()


def test_a_batch_without_options_can_be_spooled(policy, users, tmp_path):
    bare = replace(policy, catalogue=Catalogue(offers=()), response=None)
    batch = score(bare, users)
    with open_spool(tmp_path / "day", "key", bare.catalogue) as spool:
        spool.put(0, batch)
        same(spool.get(0), batch)
        assert spool.get(0).options.value.shape == (90, 0)


def test_only_what_decisions_are_made_of_is_spooled(policy, users):
    assert set(score(policy, users).frame.columns) == policy.output_columns & {*users.columns, "stage", "persona"}


def test_batches_come_in_order_and_one_is_read_while_another_is_scored(policy, users, tmp_path, monkeypatch):
    reading, scoring, together = threading.Lock(), threading.Lock(), []

    def frame(number: int) -> pd.DataFrame:
        assert reading.acquire(blocking=False), "two were reading at once"
        time.sleep(0.01)
        together.append(scoring.locked())
        reading.release()
        return users.iloc[10 * number : 10 * number + 10]

    def slow_score(own_policy: Policy, rows: pd.DataFrame) -> Batch:
        assert scoring.acquire(blocking=False), "two were scored at once"
        time.sleep(0.05)
        scoring.release()
        return score(own_policy, rows)

    monkeypatch.setattr(batches, "score", slow_score)
    with open_spool(tmp_path / "day", "key", policy.catalogue) as spool:
        found = list(score_all(policy, [partial(frame, number) for number in range(9)], spool, ids_of))
    assert [name for ids in found for name in ids] == users["user_id"].tolist()
    assert any(together)


def test_few_batches_are_in_memory_at_a_time(policy, users, tmp_path):
    started: list[int] = []

    def frame(number: int) -> pd.DataFrame:
        started.append(number)
        return users.head(5)

    with open_spool(tmp_path / "day", "key", policy.catalogue) as spool:
        coming = score_all(policy, [partial(frame, number) for number in range(20)], spool, ids_of)
        next(coming)
        time.sleep(0.2)
        assert max(started) <= batches.AT_ONCE
        coming.close()
    assert len(started) <= 2 * batches.AT_ONCE


def test_a_batch_is_forgotten_once_it_was_looked_at(policy, users, tmp_path):
    seen: list[weakref.ref[Batch]] = []

    def look(_: int, batch: Batch) -> int:
        seen.append(weakref.ref(batch))
        return sum(each() is not None for each in seen)

    with open_spool(tmp_path / "day", "key", policy.catalogue) as spool:
        alive = list(score_all(policy, [partial(users.head, 5)] * 9, spool, look))
    assert len(alive) == 9 and max(alive) <= batches.AT_ONCE


def test_the_large_part_of_claims_is_left_in_files(policy, users, tmp_path):
    from datetime import date

    from serving.arms.assignment import allocation_input

    batch = score(policy, users)
    allocation_inputs = allocation_input(
        batch.frame["user_id"], batch.p_churn, batch.options, policy.settings, (), date(2024, 7, 1)
    )
    with open_spool(tmp_path / "day", "key", policy.catalogue) as spool:
        left = spool.allocation_inputs(0, allocation_inputs)
        assert isinstance(left.value, Path) and isinstance(opened(left.value), np.memmap)
        np.testing.assert_array_equal(opened(left.value), allocation_inputs.value)
        np.testing.assert_array_equal(opened(left.cost), allocation_inputs.cost)
        for column, name in [(left.draw_value, "draw_value"), *zip(left.draws, left.draws._fields, strict=True)]:
            assert isinstance(column, np.memmap)
            np.testing.assert_array_equal(
                column, getattr(allocation_inputs, name, getattr(allocation_inputs.draws, name, None))
            )
