"""Manifests: what was published is listed with size and digest, and whatever becomes of it is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from features.publishing.manifest import MANIFEST, DamagedError, manifest_name, read_manifest, record_of
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from serving.lookups.data_verification import suspicion, verify
from serving.report_page.report import quarantined

FILES = {"events/day=2024-07-01/events.parquet": b"PAR1 events", "ledger/day=2024-07-01/n.parquet": b"PAR1 ledger",
         "time_zone.txt": b"UTC"}  # fmt: skip


def filled(root: Path) -> Lake:
    lake = Lake(root)
    with lake.files.publish() as publication:
        for name, content in FILES.items():
            publication.write(name, content)
    return lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return filled(tmp_path_factory.mktemp("lake"))


@given(name=st.sampled_from([*FILES, MANIFEST, f"events/{MANIFEST}"]), place=st.integers(0), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_single_bit_that_flips_is_found_wherever_it_lies(lake, name, place, bit):
    path = lake.path(name)
    whole = path.read_bytes()
    place %= len(whole)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    try:
        if name in FILES:
            with pytest.raises(DamagedError, match="is damaged: it is not what was written; "):
                lake.files.check(name)
            with pytest.raises(DamagedError):
                lake.files.read(name)
        else:
            _, faults = lake.files.listed()
            # a manifest that says the same in other blanks or letters is no other manifest
            own = {file: record_of(lake.path(file)) for file in FILES if manifest_name(file) == name}
            assert faults or read_manifest(lake.root, name) == own
    finally:
        path.write_bytes(whole)
    lake.files.check(*FILES)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 events and more", b"{}", b"null"])
def test_what_is_cut_emptied_or_replaced_is_found_and_so_is_what_is_gone(tmp_path, content):
    lake, name = filled(tmp_path), "events/day=2024-07-01/events.parquet"
    lake.path(name).write_bytes(content)
    told = (
        "events.parquet is damaged: it is not what was written; restore it from a backup; where the raw files still "
        "hold its rows, move it elsewhere and run winback ingest --replace, with --from and --to for its day"
    )
    with pytest.raises(DamagedError, match=told):
        lake.files.check(name)
    if len(content) != len(FILES[name]):
        with pytest.raises(DamagedError, match=told):
            lake.require_whole("events")  # by its size alone
    sizes = [f"1 file is missing or cut ({name}); winback verify says how to get them back"]
    assert suspicion(lake) == (sizes if len(content) != len(FILES[name]) else [])
    assert len(verify(lake).faults) == 1
    lake.path(name).unlink()
    assert suspicion(lake) == sizes
    assert "is missing, and was written" in verify(lake).faults[0]
    with pytest.raises(DamagedError, match=r"events\.parquet is missing, and was written; restore it from a backup"):
        lake.require_whole("events")
    lake.require_whole("ledger", "treatments")


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"files": {}, "sha256": ""}', b'{"files": 1, "sha256": 2}'])
def test_a_damaged_manifest_stops_who_would_write_it_and_can_be_written_anew(tmp_path, content):
    lake = filled(tmp_path)
    lake.path("events", MANIFEST).write_bytes(content)
    told = r"events/manifest\.json is damaged, so that .*; restore it .* winback verify --accept events/manifest\.json"
    with pytest.raises(DamagedError, match=told), lake.files.publish() as publication:
        publication.write("events/b.parquet", b"new")
    assert not lake.files.exists("events/b.parquet")
    lake.files.publish_file("ledger/b.parquet", b"new")
    assert [name for name in lake.files.listed()[0] if name.startswith("events")] == []
    assert lake.files.accept("events/manifest.json") == ["events/day=2024-07-01/events.parquet"]
    lake.files.check(*FILES)
    assert lake.files.listed()[1] == []


def test_a_damaged_list_of_what_winback_writes_beside_a_framework_is_made_anew(tmp_path):
    lake = Lake(tmp_path)
    lake.files.append("mlflow/promotions.jsonl", b"{}\n")
    lake.path("mlflow/mlflow.db").write_bytes(b"of MLflow")
    lake.path("mlflow/manifest.json").write_bytes(b'{"files": [')
    assert lake.files.unlisted() == ["mlflow/promotions.jsonl"]
    assert lake.files.accept("mlflow/manifest.json") == ["mlflow/promotions.jsonl"]
    assert lake.files.listed()[0].keys() == {"mlflow/promotions.jsonl"}


def test_a_file_that_was_restored_or_given_up_is_accepted_and_no_other(tmp_path):
    lake = filled(tmp_path)
    lake.path("time_zone.txt").write_bytes(b"Asia/Tokyo")
    lake.path("ledger/day=2024-07-01/n.parquet").unlink()
    lake.path("events/day=2024-07-01/events.parquet").write_bytes(b"bad")
    lake.path("events/own.csv").write_bytes(b"own")
    assert lake.files.unlisted() == ["events/own.csv"]
    assert lake.files.accept("time_zone.txt") == ["time_zone.txt"]
    assert lake.files.accept("ledger") == ["ledger/day=2024-07-01/n.parquet"]
    assert lake.files.listed()[0].keys() == {"time_zone.txt", "events/day=2024-07-01/events.parquet"}
    assert lake.time_zone == "Asia/Tokyo"
    with pytest.raises(DamagedError):
        lake.files.check("events/day=2024-07-01/events.parquet")
    with pytest.raises(InputError, match="holds no file 'nothing'; winback verify names those"):
        lake.files.accept("nothing")
    assert len(lake.files.accept(".")) == 3
    lake.files.check(*lake.files.listed()[0])
    assert lake.files.unlisted() == []


def test_the_same_files_make_the_same_manifest_whatever_was_before(tmp_path):
    one, other = filled(tmp_path / "one"), Lake(tmp_path / "other")
    other.files.publish_file("events/z.parquet", b"z")
    for name in reversed(FILES):
        other.files.publish_file(name, b"before")
        other.files.publish_file(name, FILES[name])
    with other.files.publish() as publication:
        publication.remove("events/z.parquet")
    for name in (MANIFEST, f"events/{MANIFEST}", f"ledger/{MANIFEST}"):
        assert one.path(name).read_bytes() == other.path(name).read_bytes()
        assert str(tmp_path) not in one.path(name).read_text()
    kept = json.loads(one.path("ledger", MANIFEST).read_bytes())["files"]
    assert kept == {name: list(record_of(one.path(name))) for name in FILES if name.startswith("ledger")}


def test_a_folder_without_manifests_is_read_as_it_is(tmp_path):
    lake = Lake(tmp_path)
    lake.files.write("events/a.parquet", b"a")
    assert lake.files.read("events/a.parquet") == b"a"
    assert lake.files.listed() == ({}, [])
    lake.require_whole("events")


def test_refused_rows_that_are_not_what_was_written_are_not_counted(tmp_path):
    lake, name = Lake(tmp_path), "quarantine/app/events.parquet"
    with lake.files.publish() as publication:
        write_parquet(pa.table({"reason": ["no user", "no user", "no name"]}), publication.path(name))
    assert [count["rows"] for count in quarantined(lake)] == [2, 1]
    pq.write_table(pa.table({"user_id": ["a"]}), lake.path(name))
    with pytest.raises(DamagedError, match=r"quarantine/app/events\.parquet is damaged"):
        quarantined(lake)
