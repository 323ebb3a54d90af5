"""Sources are other people's SQL: they read the raw folder and what the profile lists, and there is no way out."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from apps import App, event, small_app

from configs.errors import InputError
from configs.settings import load_settings
from features.sources.source_script import defined_views, open_source

EVENTS = "CREATE VIEW events AS SELECT * FROM read_parquet(getvariable('raw') || '/events.parquet');\n"
READS = [
    "FROM read_text('{outside}/secret.csv')",
    "FROM '{outside}/secret.csv'",
    "FROM read_csv(getvariable('raw') || '/../outside/secret.csv')",
    "FROM read_csv('{raw}/link/secret.csv')",
    "FROM read_csv('file://{outside}/secret.csv')",
    "FROM glob('{outside}/*')",
    "FROM read_blob('/etc/passwd')",
    "FROM sniff_csv('{outside}/secret.csv')",
    "FROM parquet_metadata('{outside}/secret.parquet')",
    "FROM read_duckdb('{outside}/secret.db', table_name = 'secret')",
    "FROM '{data}/events/day=2024-03-01/data.parquet'",
    "FROM read_csv('http://127.0.0.1:9/secret.csv')",
    "FROM 's3://bucket/secret.parquet'",
]
DOES = [
    "COPY (SELECT 1) TO '{raw}/written.csv'",
    "COPY (SELECT 1) TO '{data}/users/users.parquet' (FORMAT parquet)",
    "COPY events FROM '{outside}/secret.csv'",
    "ATTACH '{raw}/written.db' AS other",
    "ATTACH ':memory:' AS other",
    "EXPORT DATABASE '{raw}/written'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{outside}/code.duckdb_extension'",
    "SET lock_configuration = false",
    "SET allowed_directories = ['/']",
    "RESET threads",
    "PRAGMA enable_profiling",
    "CHECKPOINT",
    "CALL enable_logging(storage = 'file', storage_config = {{'path': '{raw}/written'}})",
    "USE memory",
    "PREPARE all_of AS SELECT 1",
    "BEGIN",
    "EXPLAIN ANALYZE SELECT 1",
    "VACUUM",
]
CALLS = [
    "SELECT * FROM enable_logging(storage = 'file', storage_config = {{'path': '{raw}/written'}})",
    "SELECT * FROM system.main.\"Enable_Profiling\" (format = 'json', save_location = '{raw}/written.json')",
    "SELECT * FROM query('FROM enable_' || 'logging()')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM duckdb_secrets()",
]


@pytest.fixture
def app(tmp_path) -> App:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("secret\n1\n")
    app = small_app(tmp_path, events=[event("a", "2024-03-01 10:00", "purchase")])
    Path(app.settings.ingest.raw, "link").symlink_to(outside)
    return app


def refusal(app: App, statement: str) -> str:
    folder = app.settings.data_dir.parent
    names = {"outside": folder / "outside", "data": app.settings.data_dir, "raw": app.settings.ingest.raw}
    script = Path(app.settings.ingest.source)
    script.write_text(EVENTS + statement.format(**names), encoding="utf-8")
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError) as error, open_source(app.settings, script):
        pass
    assert sorted(folder.rglob("*")) == before
    return str(error.value)


@pytest.mark.parametrize("statement", READS)
def test_a_source_reads_nothing_outside(app, statement):
    for asked in (statement, f"CREATE TABLE seen AS SELECT * {statement}"):
        assert "it reads the folder of ingest.raw and what ingest.also_reads names, nothing else" in refusal(app, asked)


@pytest.mark.parametrize("statement", [*DOES, *CALLS])
def test_a_source_asks_and_defines_and_does_nothing_else(app, statement):
    assert "a source reads files and defines views, and does nothing else" in refusal(app, statement)


@pytest.mark.parametrize(
    "statement", ["IMPORT DATABASE '{outside}'", "CREATE SECRET s (TYPE s3)", "SELECT getenv('HOME')"]
)
def test_what_duckdb_itself_refuses_is_one_sentence(app, statement):
    assert str(app.settings.ingest.source) in refusal(app, statement)


def test_a_view_reads_nothing_outside_when_its_rows_are_taken(app):
    script = Path(app.settings.ingest.source)
    outside = app.settings.data_dir.parent / "outside" / "secret.csv"
    later = f"CASE WHEN event_id > '' THEN (SELECT max(secret) FROM '{outside}')::VARCHAR END"
    script.write_text(EVENTS.replace("SELECT *", f"SELECT * REPLACE ({later} AS user_id)"))
    with pytest.raises(InputError, match="may not read"):
        app.ingest()


def test_a_source_sees_no_variable_of_pythons(app):
    secret = duckdb.sql("SELECT 1 AS secret")
    assert "secret" in refusal(app, "SELECT * FROM secret"), secret


def test_looking_at_a_source_reads_and_writes_nothing(app):
    script = Path(app.settings.ingest.source)
    for statement in ("IMPORT DATABASE '/etc'", "COPY (SELECT 1) TO '/tmp/written'"):
        script.write_text(EVENTS + statement)
        with pytest.raises(InputError):
            defined_views(script)


def test_what_the_profile_lists_is_read_too(tmp_path):
    shared = tmp_path / "shared [1]"
    shared.mkdir()
    app = small_app(tmp_path, events=[event("a", "2024-03-01 10:00", "purchase")])
    (tmp_path / "mine.toml").write_text('[ingest]\nraw = "raw"\nalso_reads = ["shared [1]", "one.csv"]\n')
    settings = load_settings(str(tmp_path / "mine.toml"), tmp_path / "data")
    for path in (shared / "names.csv", tmp_path / "one.csv"):
        absent = pytest.raises(InputError, match=r"ingest.also_reads names .*, which there is not; mend the path")
        with absent, open_source(settings, Path(app.settings.ingest.source)):
            pass
        path.write_text("a\n1\n")
    script = Path(app.settings.ingest.source)
    script.write_text(f"{EVENTS} CREATE VIEW names AS FROM '{tmp_path}/one.csv' UNION ALL FROM '{shared}/names.csv'")
    script.write_text(script.read_text().replace("shared [1]", "shared [[]1]"))
    with open_source(settings, script) as source:
        assert source.execute("FROM names").fetchall() == [(1,), (1,)]


def test_no_name_of_a_source_meets_one_of_ours(tmp_path):
    """What a source calls its own is its own: the rows are those of a source without such names."""
    rows = [event("a", "2024-03-01 10:00", "purchase", amount=5.0), event("b", "2024-03-01 11:00", "purchase")]
    apps = [small_app(tmp_path / name, events=rows, users=[{"user_id": "a"}]) for name in ("plain", "named")]
    names = ["given", "staged_events", "checked_events", "merged_users", "repeated", "told", "touched", "user_versions"]
    hostile = [f"CREATE VIEW {name} AS SELECT 1 AS x;" for name in names]
    macros = ["hash", "nullif", "md5", "concat_ws", "least", "isfinite", "regexp_matches", "regexp_replace", "to_json"]
    hostile += [f'CREATE MACRO "{name}"(a, b := 0, c := 0, d := 0) AS 7;' for name in macros]
    script = Path(apps[1].settings.ingest.source)
    script.write_text("\n".join([*hostile, script.read_text()]))
    for app in apps:
        app.ingest()
        assert app.ingest()["events"].unchanged == 2
    files = [{name: app.lake.files.read(name) for name in app.lake.files.list("*/**/*.parquet")} for app in apps]
    assert files[0] == files[1] and files[0]


def test_variables_macros_tables_and_comments_are_a_sources_own(app):
    script = Path(app.settings.ingest.source)
    own = "/* COPY */ SET VARIABLE least = 1; CREATE MACRO twice(a) AS 2 * a; CREATE TABLE t AS SELECT twice(1) AS x;"
    script.write_text(f"-- ATTACH\n{own}\nINSERT INTO t VALUES (3); -- LOAD x\n{EVENTS}")
    with open_source(app.settings, script) as source:
        assert source.execute("SELECT sum(x) FROM t").fetchall() == [(5,)]
