"""Stored snapshots: no look-ahead, and what the oracle declares, from nothing and carried on from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest
from histories import AS_OF, Folder, random_history
from oracle_pipeline import Oracle
from pandas.testing import assert_frame_equal

from features.engine.state_store import Checkpoint
from features.materialise import build_snapshots as module
from features.tables.parquet_files import read_parquet

SEEDS = [*range(9), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(9, 25))]


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


@pytest.mark.parametrize("seed", SEEDS)
def test_stored_features_are_those_of_the_oracle(tmp_path, seed, oracle, checkpoints):
    history = random_history(1_000 + seed)
    declared = oracle.features(history.rows, history.users_of_the_oracle(), AS_OF)
    folder = Folder(tmp_path, history).receive(history.rows)
    for days in ([AS_OF], history.days):
        folder.forget().stored(*days)
        found = read_parquet(folder.app.lake.partition("snapshots", AS_OF)).to_pandas()
        assert_frame_equal(found, declared[list(found.columns)], check_exact=True, check_dtype=False)
    assert checkpoints == [None, None, *history.days[:-1]]
