"""The lake: files are whole or absent, and a bad one is named."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from configs.settings import load_settings
from features.materialise.spark_executor import address
from features.storage.lake import Lake
from features.storage.whole_writes import content_hash, write_file, write_text
from features.tables.duckdb_sessions import duckdb_session, first_line, ibis_engine
from features.tables.parquet_files import count_rows, read_parquet, split_by_day, write_parquet


@pytest.mark.parametrize("name", ["data [1]", "{a,b}", "a*b"])
def test_a_folder_that_spark_would_take_for_a_pattern_is_named(name):
    with pytest.raises(InputError, match=r"Spark takes .* for a pattern; choose another --data-dir"):
        address(Lake(Path(f"/{name}")).glob("snapshots"))
    assert address(Lake(Path("/it's #1")).glob("snapshots")) == "file:///it's #1/snapshots/day=*/snapshots.parquet"


def test_a_failed_write_leaves_the_earlier_file_and_no_rest(tmp_path):
    write_text(tmp_path / "a.txt", "earlier")

    def fail(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_file(tmp_path / "a.txt", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "earlier"


def test_days_of_a_table_are_in_order(tmp_path):
    lake = Lake(tmp_path)
    for day in (date(2024, 2, 1), date(2024, 1, 1)):
        write_parquet(pa.table({"a": [1]}), lake.partition("events", day))
    assert lake.days("events") == [date(2024, 1, 1), date(2024, 2, 1)]
    assert lake.days("treatments") == []


def test_a_stream_is_cut_into_its_days_wherever_its_batches_end():
    days = [date(2024, 1, 1)] * 3 + [date(2024, 1, 2)] + [date(2024, 1, 4)] * 4
    batches = pa.table({"day": pa.array(days, pa.date32()), "row": range(8)}).to_batches(max_chunksize=2)
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, [*batches, batches[0].slice(0, 0)])
    assert [(day, rows["row"].to_pylist()) for day, rows in split_by_day(reader)] == [
        (date(2024, 1, 1), [0, 1, 2]),
        (date(2024, 1, 2), [3]),
        (date(2024, 1, 4), [4, 5, 6, 7]),
    ]


@pytest.mark.parametrize("kind", [pa.timestamp("ns", "UTC"), pa.timestamp("us", "Asia/Tokyo")], ids=str)
def test_instants_are_stored_in_utc_to_the_microsecond(tmp_path, kind):
    write_parquet(pa.table({"at": pa.array([1_000], kind)}), tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet").schema.field("at").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize("rows", [range(10), range(3, 4), range(2, 9), range(9, 10), range(3)], ids=str)
def test_some_rows_are_read_whatever_row_groups_they_are_in(tmp_path, rows):
    write_parquet(pa.table({"row": range(10), "other": range(10)}), tmp_path / "a.parquet", 3)
    found = read_parquet(tmp_path / "a.parquet", ["row"], rows=rows)
    assert found.to_pydict() == {"row": list(rows)}


def test_no_rows_are_read_of_a_file_without_any(tmp_path):
    write_parquet(pa.table({"row": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet", rows=range(0)).num_rows == 0


@pytest.mark.parametrize("read", [read_parquet, count_rows])
def test_a_missing_and_a_corrupt_file_are_named(tmp_path, read):
    with pytest.raises(InputError, match=r"gone\.parquet does not exist; run the step that writes it first"):
        read(tmp_path / "gone.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"bad")
    with pytest.raises(InputError, match=r"bad\.parquet is not a readable Parquet file; restore it from a backup"):
        read(tmp_path / "bad.parquet")


def test_the_hash_follows_the_text_and_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    hashes = {
        content_hash(tmp_path / "a"),
        content_hash(tmp_path / "a", text="x"),
        content_hash(tmp_path / "b"),
        content_hash(tmp_path / "a", tmp_path / "b"),
    }
    assert len(hashes) == 4


def test_ibis_keeps_the_configured_time_zone(tmp_path):
    settings = load_settings(data_dir=tmp_path, time_zone="Asia/Tokyo")
    with duckdb_session(settings) as connection:
        engine = ibis_engine(connection, settings)
        assert engine.sql("SELECT TIMESTAMPTZ '2024-01-01 20:00:00+00' AS at").at.date().execute()[0].day == 2


def test_a_damaged_file_is_found_when_the_engine_does_not_name_it(tmp_path):
    write_parquet(pa.table({"a": [1]}), tmp_path / "good.parquet")
    (tmp_path / "worse.parquet").write_bytes(b"bad")
    with (
        pytest.raises(InputError, match=r"TProtocolException: Invalid data: .*worse\.parquet\); restore it"),
        duckdb_session(load_settings(data_dir=tmp_path)),
    ):
        raise duckdb.Error("TProtocolException: Invalid data")


def test_an_error_that_no_file_explains_keeps_its_own_words(tmp_path):
    with (
        pytest.raises(InputError, match=r"cannot be read \(No space left\); winback verify says which"),
        duckdb_session(load_settings(data_dir=tmp_path)),
    ):
        raise duckdb.IOException("No space left")


def test_a_mistake_of_ours_is_not_blamed_on_the_files(tmp_path):
    with pytest.raises(duckdb.CatalogException), duckdb_session(load_settings(data_dir=tmp_path)) as connection:
        connection.execute("SELECT * FROM no_such_table")


def test_an_error_without_words_shows_its_type():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"


@given(place=st.integers(0), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_in_the_pages_of_a_table_is_never_read_as_another_value(tmp_path, place, bit):
    path, table = tmp_path / "a.parquet", pa.table({"a": [*range(500)], "b": [str(each % 7) for each in range(500)]})
    write_parquet(table, path)
    whole = path.read_bytes()
    column = pq.read_metadata(path).row_group(0).column(0)
    place = column.dictionary_page_offset + place % column.total_compressed_size
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    try:
        assert read_parquet(path).equals(table)  # a header may say the same otherwise
    except InputError as error:
        assert "a.parquet is not a readable Parquet file" in str(error)
