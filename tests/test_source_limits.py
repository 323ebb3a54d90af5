"""What a source may take: it ends in a sentence where it would never end, or would end the process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import duckdb
import pytest
from apps import App, event, small_app

from configs.errors import InputError
from features.sources.source_limits import interrupted_after
from features.storage.lake import Lake
from features.storage.spill_folders import clear_spills, spill_folder
from features.tables.duckdb_sessions import duckdb_session, reading_session

DEEP = 100_000
READS = "CREATE VIEW events AS SELECT * FROM read_parquet(getvariable('raw') || '/events.parquet')"
SPILLS = "SELECT i, repeat('x', 150) AS t FROM range(400000) s (i) ORDER BY hash(i)"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return small_app(tmp_path, events=[event("a", "2024-03-01 10:00", "purchase")])


def refusal(app: App, sql: str) -> str:
    Path(app.settings.ingest.source).write_text(sql)
    with pytest.raises(InputError) as error:
        app.ingest()
    assert not app.lake.files.list("**/*.parquet")
    return str(error.value)


def test_json_that_is_nested_too_deep_is_refused_and_read_where_its_columns_are_named(app: App) -> None:
    deep = f'{{"id": "1", "user": "a", "more": {"[" * DEEP}{"]" * DEEP}}}'
    Path(app.settings.ingest.raw, "deep.json").write_text(f'{deep}\n{{"id": "2", "user": "b"}}\n')
    one = (
        "SELECT id AS event_id, \"user\" AS user_id, 'v' event_name, TIMESTAMPTZ '2024-03-01 00:00:00Z' AS occurred_at"
    )
    guessed = f"CREATE VIEW events AS {one} FROM read_json(getvariable('raw') || '/deep.json')"
    assert "crashes DuckDB (SIGSEGV): a JSON document that it reads is nested too deep" in refusal(app, guessed)
    assert "may not call json_structure()" in refusal(app, f"{READS}; SELECT json_structure('[]')")
    named = guessed.replace("json')", "json', columns = {id: 'VARCHAR', \"user\": 'VARCHAR', more: 'JSON'})")
    Path(app.settings.ingest.source).write_text(named)
    assert app.ingest()["events"].added == 2


@pytest.mark.parametrize(
    "endless",
    [
        f"{READS}; CREATE TABLE numbers AS SELECT sum(hash(range)) FROM range(10000000000000)",
        READS.replace("SELECT *", "SELECT * EXCLUDE (event_id, range), range::VARCHAR AS event_id").replace(
            "FROM read", "FROM range(10000000000000), read"
        ),
    ],
)
def test_a_source_without_end_is_interrupted(app: App, endless: str) -> None:
    limits = app.settings.ingest.model_copy(update={"source_minutes": 0.005})
    brief = App(app.settings.model_copy(update={"ingest": limits}))
    assert "takes longer than ingest.source_minutes allows; look for rows without end" in refusal(brief, endless)


@pytest.mark.parametrize("wait", ["sleep_ms(1000000)", "pg_sleep(1000)"])
def test_a_source_may_not_wait(app: App, wait: str) -> None:
    assert f"may not call {wait.partition('(')[0]}()" in refusal(app, f"{READS}; SELECT {wait}")


def test_an_interrupt_that_comes_between_two_statements_comes_again() -> None:
    with duckdb.connect() as connection, interrupted_after(connection, 0.001):
        with pytest.raises(duckdb.InterruptException):
            while True:
                connection.execute("SELECT sum(hash(range)) FROM range(100000)").fetchall()
        with pytest.raises(duckdb.InterruptException):
            connection.execute("SELECT sum(hash(range)) FROM range(10000000000000)")


def test_more_than_the_memory_is_one_sentence_that_says_what_to_set(app: App) -> None:
    little = app.settings.model_copy(update={"memory_gib": 0.05})
    asked = "SELECT list(i) FROM range(100000000) t (i)"
    for little_session in (duckdb_session(little), reading_session(Lake(app.lake.root, 0.05))):
        with (
            pytest.raises(InputError, match=r"may not hold as much .* set memory_gib higher or threads lower"),
            little_session as it,
        ):
            it.execute(asked)
    with pytest.raises(InputError, match="set memory_gib higher"), duckdb_session(little) as session:
        session.execute(asked).to_arrow_reader().read_all()
    assert "set memory_gib higher" in refusal(App(little), f"{READS}; CREATE TABLE all_of AS {asked}")


def test_every_session_spills_to_a_folder_of_its_own_which_goes_with_it(tmp_path: Path) -> None:
    lake = Lake(tmp_path, 0.05)
    with reading_session(lake) as one, reading_session(lake) as other:
        for each in (one, other):
            each.execute("SET threads = 1")
            each.execute(SPILLS).fetchone()
        spilt = [path for path in tmp_path.iterdir() if path.is_dir()]
        assert len(spilt) == 2 and all(any(path.iterdir()) for path in spilt)
        clear_spills(tmp_path)
        assert all(path.exists() for path in spilt)  # of a process that lives
    assert not any(tmp_path.iterdir())


def test_what_a_killed_process_spilt_goes_with_the_next_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # so that the writer makes none of its own
    child = os.fork()
    if not child:
        with spill_folder(tmp_path) as folder:
            folder.mkdir()
            os._exit(0)
    os.waitpid(child, 0)
    (left,) = tmp_path.glob("spill-*")
    (tmp_path / "spill-1-0-container").mkdir()  # as an older winback called them
    with spill_folder(tmp_path) as used:
        used.mkdir()
        with Lake(tmp_path).files.lock("a test"):
            assert used.exists() and not left.exists()
            assert {each.name.strip(".") for each in tmp_path.glob("*spill-*")} == {used.name}
    assert not [*tmp_path.glob("*spill-*")]


def test_a_writer_begins_where_one_of_its_process_number_and_host_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that begins again may bear both of them again, every time."""
    monkeypatch.delenv("TMPDIR", raising=False)
    for _ in range(2):
        child = os.fork()
        if not child:
            monkeypatch.setattr(os, "getpid", lambda: 1)
            monkeypatch.setattr(socket, "gethostname", lambda: "winback")
            with Lake(tmp_path).files.lock("a test"):
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    with Lake(tmp_path).files.lock("a test"):
        assert len([*tmp_path.glob("spill-*")]) == 1


def test_what_may_not_be_written_is_read_without_a_place_to_spill_to(tmp_path: Path) -> None:
    with spill_folder(tmp_path / "nowhere"):
        assert not (tmp_path / "nowhere").exists()
