"""MLflow's database: damage that SQLite does not see is told from what somebody wrote."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from configs.errors import InputError
from features.storage.lake import Lake
from flows.runs.run_records import recorded, run_records
from models.registry.database_note import database_note, is_damaged, renewed_note
from models.registry.registry_state import DATABASE
from serving.lookups.data_verification import verify

VALUE = b"a value of 0.75"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Data folder with a database in MLflow's place."""
    (tmp_path / "mlflow").mkdir()
    write(tmp_path / DATABASE, "CREATE TABLE metrics (value TEXT)")
    write(tmp_path / DATABASE, f"INSERT INTO metrics VALUES ('{VALUE.decode()}')")
    return Lake(tmp_path)


def write(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def flip(lake: Lake, where: bytes = VALUE) -> None:
    """Flip a bit of a value, which SQLite reads as another value."""
    path = lake.path(DATABASE)
    content = path.read_bytes()
    place = content.index(where) + len(where) - 1
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def of_database(lake: Lake) -> list[str]:
    return [fault for fault in verify(lake).faults if "nobody has written to it since" in fault]


def test_a_flipped_bit_is_damage_and_a_commit_is_none(lake: Lake) -> None:
    noted = database_note(lake)
    assert noted is not None and not is_damaged(lake, noted)
    flip(lake)
    assert is_damaged(lake, noted)
    write(lake.path(DATABASE), "INSERT INTO metrics VALUES ('more')")
    assert not is_damaged(lake, noted)


def test_a_note_is_renewed_by_a_commit_alone(lake: Lake) -> None:
    noted = database_note(lake)
    flip(lake)
    assert renewed_note(lake, noted) == noted
    write(lake.path(DATABASE), "INSERT INTO metrics VALUES ('more')")
    renewed = renewed_note(lake, noted)
    assert noted is not None and renewed is not None
    assert renewed.commits == noted.commits + 1
    lake.path(DATABASE).write_bytes(b"no database")
    assert renewed_note(lake, renewed) == renewed


def test_nothing_is_noted_where_commits_are_not_counted(lake: Lake, tmp_path: Path) -> None:
    write(lake.path(DATABASE), "PRAGMA journal_mode = WAL", "INSERT INTO metrics VALUES ('more')")
    assert database_note(lake) is None
    assert database_note(Lake(tmp_path / "elsewhere")) is None


@pytest.mark.parametrize("content", [b"", b"null", b"SQLite format 3\0"])
def test_what_holds_no_database_ends_neither_a_run_nor_verify(lake: Lake, content: bytes) -> None:
    with recorded(lake, "train-models"):
        pass
    noted = run_records(lake)[-1].database
    lake.path(DATABASE).write_bytes(content)
    with recorded(lake, "report"):
        pass
    assert run_records(lake)[-1].outcome == "done" and noted is not None
    (fault,) = verify(lake).faults
    assert str(lake.path(DATABASE)) in fault


def test_verify_tells_what_the_last_run_left_from_what_is_there(lake: Lake) -> None:
    def run() -> None:
        with recorded(lake, "train-models"):
            write(lake.path(DATABASE), "INSERT INTO metrics VALUES ('more')")

    run()
    assert run_records(lake)[-1].database == database_note(lake)
    assert of_database(lake) == []
    flip(lake)
    (fault,) = of_database(lake)
    assert fault.startswith(str(lake.path(DATABASE))) and "restore it from a backup" in fault
    with recorded(lake, "report"):  # which writes nothing there
        pass
    assert len(of_database(lake)) == 1
    with pytest.raises(InputError), recorded(lake, "score-users"):
        raise InputError("a run that is refused")
    assert len(of_database(lake)) == 1
    run()
    assert of_database(lake) == []
