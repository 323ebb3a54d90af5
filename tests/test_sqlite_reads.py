"""Frameworks' databases are read as they stood at one moment, also after a commit that was cut off."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from features.erasure.sought_ids import SoughtIds
from features.erasure.sqlite_rows import named_cells
from features.storage.lake import Lake
from features.storage.sqlite_reads import one_state
from models.registry.registry_state import DATABASE, registered_models
from serving.lookups.data_verification import verify

COUNT = "SELECT count(*) FROM runs"


def cut_off_commit(path: Path, change: str) -> None:
    """Leave a database as a process does that is killed while a change of it reaches the disk."""
    work = path.with_name("work.db")
    shutil.copy(path, work)
    with closing(sqlite3.connect(work, isolation_level=None)) as database:
        database.execute("PRAGMA cache_size = 1")  # pages go to the file before the commit
        database.execute("BEGIN IMMEDIATE")
        database.execute(change)
        database.execute("CREATE TABLE filling (cell TEXT)")
        database.executemany("INSERT INTO filling VALUES (?)", [("r" * 2000,)] * 500)
        for name in ("", "-journal"):
            shutil.copy(f"{work}{name}", f"{path}{name}")
    work.unlink()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Database of one run, within a data folder."""
    path = tmp_path / DATABASE
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE runs (user_id TEXT)")
        database.execute("INSERT INTO runs VALUES ('ana')")
    return path


def test_a_commit_that_was_cut_off_is_undone_by_whoever_reads(path: Path) -> None:
    cut_off_commit(path, "DELETE FROM runs")
    read_only = sqlite3.connect(path.as_uri() + "?mode=ro", uri=True)
    with closing(read_only), pytest.raises(sqlite3.OperationalError, match="readonly"):
        read_only.execute(COUNT)
    with one_state(path) as database:
        assert database.execute(COUNT).fetchall() == [(1,)]


def test_who_looks_for_users_reads_over_a_commit_that_was_cut_off(path: Path) -> None:
    cut_off_commit(path, "DELETE FROM runs")
    assert dict(named_cells(path, SoughtIds(("ana",)))) == {"table runs, column user_id": 1}


def test_nobody_changes_a_database_between_two_questions_of_a_block(path: Path) -> None:
    with one_state(path) as database, closing(sqlite3.connect(path, timeout=0)) as writer:
        before = database.execute(COUNT).fetchall()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.execute("DELETE FROM runs"), writer.commit()
        assert database.execute(COUNT).fetchall() == before


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError), one_state(tmp_path / "none.db"):
        pass
    assert not [*tmp_path.iterdir()]


def test_a_registry_whose_last_commit_was_cut_off_is_whole(registry: Lake, tmp_path: Path) -> None:
    shutil.copytree(registry.root, tmp_path / "lake")
    lake = Lake(tmp_path / "lake")
    for look in (registered_models, lambda lake: verify(lake).faults):
        whole = look(lake)
        cut_off_commit(lake.path(DATABASE), "INSERT INTO registered_models (name) VALUES ('winback-half')")
        assert look(lake) == whole
