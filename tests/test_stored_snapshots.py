"""Stored snapshots: no look-ahead, and what the oracle declares, from nothing and carried on from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import duckdb
import pytest
from histories import AS_OF, Folder, random_history
from oracle_pipeline import Oracle
from pandas.testing import assert_frame_equal

from features.definitions.snapshot_features import CATEGORY_SHARES
from features.engine.state_store import Checkpoint
from features.materialise import build_snapshots as module
from features.tables.parquet_files import read_parquet

SEEDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(6, 25))]


@pytest.fixture
def checkpoints(monkeypatch) -> list[date | None]:
    """Days of the checkpoints that snapshots are built from, None where there is none; the code is not hashed anew."""
    days: list[date | None] = []

    def noted(*words: object) -> Checkpoint | None:
        found = fitting(*words)
        days.append(found.day if found else None)
        return found

    fitting = module._fitting
    monkeypatch.setattr(module, "_fitting", noted)
    for each in ("build_daily", "build_snapshots"):
        monkeypatch.setattr(f"features.materialise.{each}.code_version", lambda _: "today")
    return days


@pytest.mark.parametrize("seed", SEEDS)
def test_features_never_see_the_future(tmp_path, seed, checkpoints):
    history = random_history(seed, time_zone=["UTC", "America/New_York"][seed % 2])
    of_known = Folder(tmp_path / "known", history).receive(history.known_before(AS_OF)).stored(AS_OF)
    whole = Folder(tmp_path / "whole", history).receive(history.rows)
    assert whole.stored(AS_OF) == of_known
    assert whole.forget().stored(*history.days) == of_known
    grown = Folder(tmp_path / "grown", history)
    for day in history.days:  # as an app lives: each day knows what has arrived, and carries on
        found = grown.receive(history.known_before(day)).stored(day)
    assert found == of_known
    assert checkpoints == [None, None, *[None, *history.days[:-1]] * 2]


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """The queries, compiled once for all histories."""
    opened = Oracle()
    yield opened
    opened.engine.disconnect()


def shares_by_sql(files: str) -> dict[tuple[str, str], float]:
    """Shares of categories by user, of money and else of events, from the counts of each day that were known."""
    rows = duckdb.execute(
        f"""
        WITH sums AS (
            SELECT user_id, label, sum(spend_micros) AS spend, sum(events_count) AS events
            FROM read_parquet('{files}', hive_partitioning = true)
            WHERE dimension = 'category' AND day >= $as_of - INTERVAL 90 DAY AND day < $as_of AND known_on < $as_of
            GROUP BY ALL
        ), shares AS (
            SELECT user_id, label, if(sum(spend) OVER users > 0, spend / sum(spend) OVER users,
                                      events / sum(events) OVER users) AS share
            FROM sums WINDOW users AS (PARTITION BY user_id)
        )
        SELECT * FROM shares WHERE share >= 0.02
        """,
        {"as_of": AS_OF},
    ).fetchall()
    return {(user, label): share for user, label, share in rows}


@pytest.mark.parametrize("seed", SEEDS)
def test_stored_features_are_those_of_the_oracle(tmp_path, seed, oracle, checkpoints):
    history = random_history(1_000 + seed)
    declared = oracle.features(history.rows, history.users_of_the_oracle(), AS_OF)
    folder = Folder(tmp_path, history).receive(history.rows)
    for days in ([AS_OF], history.days):
        folder.forget().stored(*days)
        found = read_parquet(folder.app.lake.partition("snapshots", AS_OF)).to_pandas()
        shares = found.pop(CATEGORY_SHARES)
        assert_frame_equal(found, declared[list(found.columns)], check_exact=True, check_dtype=False)
        told = {
            (user, each["category"]): each["share"]
            for user, row in zip(found["user_id"], shares, strict=True)
            for each in row
        }
        assert told == pytest.approx(shares_by_sql(folder.app.lake.glob("category_hour_counts")))
    assert checkpoints == [None, None, *history.days[:-1]]
