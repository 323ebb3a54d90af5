"""Fingerprints: what was known by a moment is named by digests that a later event leaves alone."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import App, event, small_app

from features.storage.lake import Lake
from features.storage.whole_writes import content_hash
from features.tables.fingerprints import (
    Fingerprint,
    file_fingerprints,
    file_hashes,
    file_metadata,
    read_fingerprint,
    stored_input,
    write_daily_rows,
)

MONDAY, TUESDAY = date(2024, 3, 4), date(2024, 3, 5)
ON_TIME = event("a", "2024-03-04 10:00", "purchase", amount=1.0)
LATE = event("a", "2024-03-04 11:00", "purchase", amount=2.0, received_at="2024-03-06 09:00")


def rows(*counts: int, known_on: tuple[date, ...]) -> pa.Table:
    users = [f"u{number}" for number in range(len(counts))]
    return pa.table({"user_id": users, "known_on": pa.array(known_on, pa.date32()), "count": pa.array(counts)})


def aggregated(folder: Path, *events: dict[str, object]) -> App:
    app = small_app(folder, events=events)
    app.ingest()
    app.aggregate()
    return app


def test_each_day_of_becoming_known_has_a_digest_of_its_own(tmp_path):
    path = tmp_path / "a.parquet"
    write_daily_rows(rows(1, 2, 3, known_on=(MONDAY, MONDAY, TUESDAY)), path, "wanted")
    before = read_fingerprint(path)
    assert (before.input, list(before.digests)) == ("wanted", [MONDAY, TUESDAY])
    assert pq.ParquetFile(path).num_row_groups == 2
    write_daily_rows(rows(1, 2, 4, known_on=(MONDAY, MONDAY, TUESDAY)), path, "other")
    after = read_fingerprint(path)
    assert after.digests[MONDAY] == before.digests[MONDAY]
    assert after.digests[TUESDAY] != before.digests[TUESDAY]


def test_the_same_rows_have_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_daily_rows(rows(1, 2, known_on=(MONDAY, TUESDAY)), tmp_path / name, "wanted")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_and_a_broken_file_have_an_empty_fingerprint(tmp_path):
    (tmp_path / "bad").write_bytes(b"bad")
    for path in (tmp_path / "gone", tmp_path / "bad"):
        assert (read_fingerprint(path), stored_input(path), file_metadata(path)) == (Fingerprint(), None, {})


@pytest.mark.parametrize("table", ["aggregates", "category_hour_counts"])
def test_a_late_event_leaves_what_was_known_before_as_it_was(tmp_path, table):
    app = aggregated(tmp_path, ON_TIME)
    before = read_fingerprint(app.lake.partition(table, MONDAY)).digests
    app.write(events=[ON_TIME, LATE]).ingest()
    assert app.aggregate() == [MONDAY]
    after = read_fingerprint(app.lake.partition(table, MONDAY)).digests
    assert list(after) == [MONDAY, MONDAY + timedelta(days=2)]
    assert after[MONDAY] == before[MONDAY]


def test_a_rerun_from_nothing_has_the_same_bytes(tmp_path):
    first, second = (aggregated(tmp_path / name, ON_TIME, LATE) for name in ("first", "second"))
    for table in ("aggregates", "category_hour_counts"):
        assert first.lake.partition(table, MONDAY).read_bytes() == second.lake.partition(table, MONDAY).read_bytes()


@pytest.mark.parametrize("table", ["aggregates", "category_hour_counts"])
def test_no_column_of_daily_rows_can_miss_a_value(tmp_path, table):
    path = aggregated(tmp_path, ON_TIME).lake.partition(table, MONDAY)
    assert [field.name for field in pq.read_schema(path) if field.nullable] == []


def test_a_file_that_did_not_change_is_not_read_again(tmp_path, monkeypatch):
    lake, path = Lake(tmp_path), tmp_path / "events.bin"
    path.write_bytes(b"one")
    read = []
    monkeypatch.setattr(
        "features.tables.fingerprints.content_hash", lambda where: read.append(where) or content_hash(where)
    )
    for expected in (1, 1):
        with file_hashes(lake) as hash_of:
            assert hash_of(path) == content_hash(path)
        assert len(read) == expected
    path.write_bytes(b"three")
    with file_hashes(lake) as hash_of:
        assert hash_of(path) == content_hash(path)
    assert len(read) == 2


def test_a_fingerprint_is_read_once_and_again_when_its_file_changed(tmp_path, monkeypatch):
    lake, path = Lake(tmp_path), tmp_path / "a.parquet"
    read = []
    monkeypatch.setattr(
        "features.tables.fingerprints.read_fingerprint", lambda where: read.append(where) or read_fingerprint(where)
    )
    for expected, wanted in ((1, "one"), (1, None), (2, "another")):
        if wanted:
            write_daily_rows(rows(1, 2, known_on=(MONDAY, TUESDAY)), path, wanted)
        for _ in range(2):
            with file_fingerprints(lake) as fingerprint_of:
                assert fingerprint_of(path) == read_fingerprint(path)
        assert len(read) == expected
    path.unlink()
    with file_fingerprints(lake) as fingerprint_of:
        assert fingerprint_of(path) == Fingerprint()
    assert (tmp_path / "fingerprints.json").read_text(encoding="utf-8") == "{}"


def test_damaged_notes_are_made_again(tmp_path):
    lake, path = Lake(tmp_path), tmp_path / "events.bin"
    path.write_bytes(b"one")
    (tmp_path / "hashes.json").write_text("{", encoding="utf-8")
    with file_hashes(lake) as hash_of:
        assert hash_of(path) == content_hash(path)
    assert "events.bin" in (tmp_path / "hashes.json").read_text(encoding="utf-8")
