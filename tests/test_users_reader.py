"""The users table read in order: the days of signing up by the clocks of the app, traits, and who comes first."""

from __future__ import annotations

import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from features.engine.users_reader import in_order_of, read_traits
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from features.tables.row_group_reader import KeyRange

EVERYBODY: KeyRange[str] = KeyRange()
TRAITS = {"country": True, "is_paying": False}
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
LATE = datetime(2024, 3, 1, 23, 30, tzinfo=UTC)


def written(lake: Lake, *ids: str, row_group_rows: int | None = None) -> None:
    count = len(ids)
    rows = {
        "user_id": list(ids),
        "signed_up_at": pa.array([NOON, LATE, *[None] * count][:count], pa.timestamp("us", "UTC")),
        "country": pa.array(["DE", None, *["FR"] * count][:count], pa.string()),
        "is_paying": pa.array([True, None, *[False] * count][:count], pa.bool_()),
        "gender": ["x"] * count,
    }
    write_parquet(pa.table(rows), lake.path("users", "users.parquet"), row_group_rows)


def test_days_are_those_of_the_time_zone_and_traits_are_texts_or_numbers(tmp_path):
    lake = Lake(tmp_path)
    written(lake, "a", "b", "c")
    for time_zone, late in (("UTC", date(2024, 3, 1)), ("Europe/Berlin", date(2024, 3, 2))):
        rows = read_traits(lake, TRAITS, time_zone, EVERYBODY, LATE)
        assert rows.schema == read_traits(Lake(tmp_path / "nobody"), TRAITS, time_zone, EVERYBODY, LATE).schema
        assert rows.to_pydict() == {
            "user_id": ["a", "b", "c"],
            "signed_up_on": [date(2024, 3, 1), late, None],
            "trait_country": ["DE", None, "FR"],
            "trait_is_paying": [1.0, None, 0.0],
        }


@settings(deadline=None, max_examples=20)
@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.none()), min_size=3, max_size=3))
@example([10_150_000_000_000_017, 2**53 + 1, None])
def test_whole_numbers_of_any_size_are_traits(values):
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        rows = {"user_id": ["a", "b", "c"], "signed_up_at": pa.array([None] * 3, pa.timestamp("us", "UTC"))}
        write_parquet(pa.table({**rows, "crm_no": pa.array(values, pa.int64())}), lake.path("users", "users.parquet"))
        found = read_traits(lake, {"crm_no": False}, "UTC", EVERYBODY, LATE)["trait_crm_no"].to_pylist()
    assert found == [None if value is None else float(value) for value in values]


def test_without_a_table_there_is_nobody(tmp_path):
    nobody = read_traits(Lake(tmp_path), {}, "UTC", EVERYBODY, LATE)
    assert nobody.to_pydict() == {"user_id": [], "signed_up_on": []}


@pytest.mark.parametrize("ids", [("b", "a"), ("a", "a"), ("a", "c", "b")])
@pytest.mark.parametrize("row_group_rows", [1, 9])
def test_users_out_of_order_are_named(ids, row_group_rows, tmp_path):
    lake = Lake(tmp_path)
    written(lake, *ids, row_group_rows=row_group_rows)
    with pytest.raises(InputError, match=r"users\.parquet is not in the order of user_id; delete it and run"):
        read_traits(lake, TRAITS, "UTC", EVERYBODY, LATE)


@pytest.mark.parametrize("row_group_rows", [1, 2, 9])
@pytest.mark.parametrize(
    ("low", "high", "ids"), [(None, "b", "a"), ("b", "d", "bc"), ("bb", None, "cde"), ("x", None, "")]
)
def test_a_range_of_users_is_read_alone(row_group_rows, low, high, ids, tmp_path):
    written(Lake(tmp_path), *"abcde", row_group_rows=row_group_rows)
    assert read_traits(Lake(tmp_path), TRAITS, "UTC", KeyRange(low, high), LATE)["user_id"].to_pylist() == [*ids]


def test_rows_follow_the_users_asked_for():
    rows = pa.table({"user_id": ["a", "b", "d"], "n": [1, 2, 4]})
    assert in_order_of(pa.array(["a", "b", "d"]), rows).to_pydict() == rows.to_pydict()
    assert in_order_of(pa.array(["b", "c", "d"]), rows)["n"].to_pylist() == [2, None, 4]
