"""Users forgotten: what a data folder holds of them goes, in whatever format, and what it holds of others stays."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from apps import TINY_AS_OF, App, at, event, small_app, tiny_app

from configs.errors import InputError
from features.erasure.copies_elsewhere import TakenAway
from features.erasure.erase_users import CHECKPOINT, all_ids, erase, listed_ids
from features.erasure.erased_tables import kept_rows, write_kept
from features.erasure.sought_ids import SoughtIds
from features.erasure.traces import traces
from features.publishing import publication as publishing
from features.storage.lake import Lake
from features.suppression.suppression_list import list_line, suppressed
from features.tables.parquet_files import write_parquet
from serving.lookups.erasure_lines import audience_lines

TODAY = date(2024, 8, 1)
LAST = timedelta(days=35)


def _held(lake: Lake, name: str) -> pa.Table:
    return pq.read_table(lake.path(name), partitioning=None)


def _found(lake: Lake, *user_ids: str) -> list[str]:
    return sorted({each.name for each in traces(lake.root, lake.files.list("**/*"), SoughtIds(user_ids))})


@pytest.fixture(scope="module")
def copy_built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], App]:
    """Copier of the tiny app's last weeks with a snapshot and its checkpoint: every day is a file of each kind."""
    app = tiny_app(tmp_path_factory.mktemp("built"))
    raw = Path(app.settings.ingest.raw)
    for table, moment in (("events", "occurred_at"), ("treatments", "decided_at")):
        rows, first = pq.read_table(raw / f"{table}.parquet"), datetime.combine(TINY_AS_OF, time(), UTC) - LAST
        pq.write_table(rows.filter(pc.greater_equal(rows[moment], first)), raw / f"{table}.parquet")
    app.ingest()
    app.aggregate()
    app.snapshots(TINY_AS_OF)
    return app.copy_to


@pytest.fixture
def app(copy_built: Callable[[Path], App], tmp_path: Path) -> App:
    """The tiny app with a snapshot and its checkpoint."""
    return copy_built(tmp_path)


@pytest.fixture
def few(tmp_path: Path) -> App:
    """Three users on three days."""
    users = [{"user_id": f"user-{number}"} for number in range(3)]
    events = [event(user["user_id"], f"2024-01-0{day}", "purchase") for user in users for day in (1, 2, 3)]
    app = small_app(tmp_path / "few", events=events, users=users)
    app.ingest()
    return app


def test_a_hundred_users_are_gone_from_every_table_and_all_others_stay_as_they_were(app: App) -> None:
    lake, ids = app.lake, [f"u{number:03d}" for number in np.random.default_rng(5).permutation(160)[:100]]
    tables = [name for name in lake.files.list("**/*.parquet") if "user_id" in pq.read_schema(lake.path(name)).names]
    before = {name: _held(lake, name) for name in tables}
    assert set(tables) <= set(_found(lake, *ids)) | {
        n for n in tables if not set(before[n]["user_id"].to_pylist()) & set(ids)
    }
    found = erase(lake, ids, "forgotten", TODAY)
    assert found.traces == () and _found(lake, *ids) == []
    for name, rows in before.items():
        rows = rows.drop_columns(["row"]) if "row" in rows.column_names else rows
        others = rows.filter(pc.invert(pc.is_in(rows["user_id"], value_set=pa.array(ids))))
        assert others.equals(
            _held(lake, name).select(others.column_names) if lake.files.exists(name) else others.slice(0, 0)
        ), name
    assert found.rows["users"] == 100 and not lake.files.list(f"{CHECKPOINT}/*")
    assert sum(found.rows.values()) == sum(map(len, before.values())) - sum(
        len(_held(lake, n)) for n in tables if lake.files.exists(n)
    )
    assert suppressed(lake, pa.array([*ids, "somebody"])).tolist() == [True] * 100 + [False]
    assert not lake.files.listed()[1] and not lake.files.suspects()
    lake.files.check(*lake.files.listed()[0])


def test_the_same_raw_files_bring_nobody_back_and_what_is_computed_is_as_if_they_had_never_been(
    app: App, tmp_path: Path, full: bool
) -> None:
    ids = [f"u{number:03d}" for number in range(0, 160, 2)]
    erase(app.lake, ids, "forgotten", TODAY)
    again = app.ingest()
    assert sum(again["users"].left_out.values()) == 80 and not any(report.added for report in again.values())
    assert _found(app.lake, *ids) == []
    app.aggregate()
    raw = {
        name: pq.read_table(Path(app.settings.ingest.raw) / f"{name}.parquet")
        for name in ("events", "users", "treatments")
    }
    rest = {
        name: rows.filter(pc.invert(pc.fill_null(pc.is_in(rows["user_id"], value_set=pa.array(ids)), False)))
        for name, rows in raw.items()
    }
    without = App(app.settings.model_copy(update={
        "data_dir": tmp_path / "without", "ingest": app.settings.ingest.model_copy(update={
            "raw": str(tmp_path / "rest"), "source": str(tmp_path / "rest.sql")})})).write(**rest)  # fmt: skip
    without.ingest()
    without.aggregate()
    days = {*without.lake.files.list("aggregates/day=*/*")}
    assert days == {*app.lake.files.list("aggregates/day=*/*")}
    for name in sorted(days):
        assert _held(app.lake, name).equals(_held(without.lake, name)), name
    if full:
        theirs, others = app.snapshots(TINY_AS_OF), without.snapshots(TINY_AS_OF)
        assert theirs.drop(columns="created_at").equals(others.drop(columns="created_at"))


def test_a_second_time_it_says_so_and_changes_no_file(few: App) -> None:
    erase(few.lake, ["user-1"], "forgotten", TODAY)
    stands = {name: few.lake.path(name).stat().st_mtime_ns for name in few.lake.files.list("**/*.parquet")}
    again = erase(few.lake, ["user-1"], "forgotten", date(2024, 9, 9))
    assert again.before == {"user-1": ("forgotten", TODAY)} and again.rows == {} and again.unknown == ()
    assert stands == {name: few.lake.path(name).stat().st_mtime_ns for name in stands}


def test_a_run_that_is_killed_before_its_publish_changed_no_table_and_one_after_it_is_finished(
    few: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: few.lake.path(name).read_bytes() for name in few.lake.files.list("**/*.parquet")}
    with monkeypatch.context() as patch:
        patch.setattr(publishing.os, "replace", _killed)
        with pytest.raises(KeyboardInterrupt):
            erase(few.lake, ["user-1"], "forgotten", TODAY)
    assert before == {name: few.lake.path(name).read_bytes() for name in before}
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_carry_out", _killed)
        with pytest.raises(KeyboardInterrupt):
            erase(few.lake, ["user-1"], "forgotten", TODAY)
    few.lake.files.settle()
    assert _found(few.lake, "user-1") == []
    assert suppressed(few.lake, pa.array(["user-1"])).all()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_logs_lists_and_databases_lose_them_and_keep_the_rest(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with lake.files.publish() as publication:
        publication.write("reports/2024-01-01-at-risk.csv", b'user_id,message\nuser-1,"a\nb"\nuser-2,"ask user-1"\n')
        publication.write("sessions.json", json.dumps({"a": [1, [["user-1", "s", 3], ["user-2", "s", 4]]]}).encode())
    lake.files.write("runs/one.json", json.dumps({"reason": "user 'user-1' has two decisions", "n": 1}).encode())
    lake.files.write("scoring/day=2024-01-01/00000.arrow", b"left by a run that was killed: user-1 ...")
    lake.path("prefect").mkdir()
    with closing(sqlite3.connect(lake.path("prefect/prefect.db"))) as database, database:
        database.execute("CREATE TABLE log (message TEXT, size INT)")
        database.execute("INSERT INTO log VALUES ('user-1 was asked for', 1), ('user-12 was asked for', 2)")
        database.execute("CREATE TABLE online (entity_key BLOB, value BLOB)")
        database.execute("INSERT INTO online VALUES (?, x'01'), (?, x'02')", [b"\x06\0\0\0user-1", b"\x06\0\0\0user-2"])
    assert len(_found(lake, "user-1")) == 5
    found = erase(lake, ["user-1"], "forgotten", TODAY)
    assert found.traces == ()
    assert lake.files.read("reports/2024-01-01-at-risk.csv") == b'user_id,message\nuser-2,"ask [forgotten]"\n'
    assert json.loads(lake.files.read("sessions.json")) == {"a": [1, [["user-2", "s", 4]]]}
    assert json.loads(lake.files.read("runs/one.json"))["reason"] == "user '[forgotten]' has two decisions"
    with closing(sqlite3.connect(lake.path("prefect/prefect.db"))) as database:
        assert database.execute("SELECT * FROM log").fetchall() == [
            ("[forgotten] was asked for", 1),
            ("user-12 was asked for", 2),
        ]
        assert database.execute("SELECT value FROM online").fetchall() == [(b"\x02",)]
    assert b"user-1 " not in lake.path("prefect/prefect.db").read_bytes()


def test_rows_beside_the_decisions_that_name_nobody_go_with_their_users(tmp_path: Path) -> None:
    lake, folder = Lake(tmp_path), "decisions/day=2024-01-01"
    with lake.files.publish() as publication:
        write_parquet(
            pa.table({"user_id": ["user-1", "user-2", "user-3"]}), publication.path(f"{folder}/decisions.parquet"), 2
        )
        write_parquet(pa.table({"draw": [1, 2, 3]}), publication.path(f"{folder}/draws.parquet"))
    erase(lake, ["user-2"], "forgotten", TODAY)
    assert _held(lake, f"{folder}/draws.parquet")["draw"].to_pylist() == [1, 3]


def test_an_id_of_which_nothing_is_held_is_not_put_on_the_list(few: App) -> None:
    def stands() -> dict[str, int]:
        names = [name for name in few.lake.files.list("**/*") if name != ".lock"]
        return {name: few.lake.path(name).stat().st_mtime_ns for name in names}

    unchanged = stands()
    found = erase(few.lake, ["nobody"], "forgotten", TODAY)
    assert found.unknown == ("nobody",) and found.rows == {} and list_line(few.lake) == "nobody"
    assert stands() == unchanged
    found = erase(few.lake, ["nobody", "user-1"], "forgotten", TODAY)
    assert found.unknown == ("nobody",) and found.rows == {"events": 3, "users": 1}
    assert suppressed(few.lake, pa.array(["nobody", "user-1"])).tolist() == [False, True]
    assert list_line(few.lake) == "1 forgotten, since 2024-08-01"


def test_send_lists_that_were_handed_over_are_told_by_their_days(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with lake.files.publish() as publication:
        publication.write("send_lists/day=2024-07-30/push.csv", b"user_id,message\nuser-1,a\nuser-2,b\n")
        publication.write("send_lists/day=2024-07-31/push.csv", b"user_id,message\nuser-2,b\n")
        write_parquet(pa.table({"user_id": ["user-1"]}), publication.path("send_lists/day=2024-08-01/sms.parquet"))
    assert erase(lake, ["user-1"], "forgotten", TODAY).handed_over == (date(2024, 7, 30), TODAY)


def test_audiences_of_the_desk_are_told_and_reports_on_paper_that_may_name_them_go(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with lake.files.publish() as publication:
        for day, user in (("2024-07-30", "user-2"), ("2024-07-31", "user-1")):
            write_parquet(pa.table({"user_id": [user]}), publication.path(f"decisions/day={day}/decisions.parquet"))
            publication.write(f"reports/{day}.html", f"<p>{user}</p>".encode())
            publication.write(f"reports/{day}.pdf", b"%PDF packed")
        publication.write("reports/2024-07-29.pdf", b"%PDF of a page that has gone")
    posted = "audience posted to mail.example as msg_1"
    for at_, role, what in (("2024-07-29T09", "operator", "audience"), ("2024-07-31T09", "operator", "audience"),
                            ("2024-07-31T10", "viewer", "audience"), ("2024-07-31T11", "operator", "what if"),
                            ("2024-08-01T09", "operator", posted)):  # fmt: skip
        entry = {"at": f"{at_}:00:00", "who": "ann", "role": role, "what": what, "given": {}, "rows": 7}
        lake.files.write(f"desk/log/{at_}-{role}.json", json.dumps(entry).encode())
    found = erase(lake, ["user-1"], "forgotten", TODAY)
    assert [(each.at[:10], each.what) for each in found.taken_away] == [
        ("2024-07-31", "audience"),
        ("2024-08-01", posted),
    ]
    assert found.unprinted == ("reports/2024-07-29.pdf", "reports/2024-07-31.pdf")
    assert lake.files.list("reports/*.pdf") == ["reports/2024-07-30.pdf"]
    again = erase(lake, ["user-1"], "forgotten", TODAY)
    assert again.taken_away == () and again.unprinted == ()


def test_an_audience_of_the_first_morning_east_of_greenwich_is_told_and_a_damaged_entry_named(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with lake.files.publish() as publication:
        decided = publication.path("decisions/day=2024-07-31/decisions.parquet")
        write_parquet(pa.table({"user_id": ["user-1"]}), decided)
    entry = {"at": "2024-07-30T23:30:00", "who": "ann", "role": "operator", "what": "audience", "given": {}, "rows": 7}
    lake.files.write("desk/log/1.json", json.dumps(entry).encode())  # 8:30 on the 31st in Tokyo
    lake.files.write("desk/log/2.json", b'{"at": "2024-07-3')
    with pytest.raises(InputError, match=r"2\.json is damaged"):
        erase(lake, ["user-1"], "forgotten", TODAY)
    lake.files.remove("desk/log/2.json")
    assert [each.at for each in erase(lake, ["user-1"], "forgotten", TODAY).taken_away] == ["2024-07-30T23:30:00"]


@pytest.mark.parametrize(("people", "said"), [(1, "an audience of 1 person left"), (1200, "of 1,200 people left")])
def test_one_person_is_no_people(people: int, said: str) -> None:
    (line,) = audience_lines([TakenAway("2024-07-31T09:00:00", "ann", "audience", people)])
    assert said in line


def test_what_others_say_of_somebody_is_left_and_told(tmp_path: Path) -> None:
    events = [event(user, "2024-01-01", "share", properties='{"with": "user-1"}') for user in ("user-1", "user-2")]
    app = small_app(tmp_path, events=events)
    app.ingest()
    found = erase(app.lake, ["user-1"], "forgotten", TODAY)
    assert [str(each) for each in found.traces] == ["events/day=2024-01-01/events.parquet (column properties, 1)"]


def test_an_id_that_any_number_may_be_is_looked_for_among_users_alone(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with lake.files.publish() as publication:
        write_parquet(
            pa.table({"user_id": ["7", "8"], "item_id": ["1", "7"]}),
            publication.path("events/day=2024-01-01/events.parquet"),
        )
    found = erase(lake, ["7"], "forgotten", TODAY)
    assert (found.traces, found.ambiguous, found.rows) == ((), ("7",), {"events": 1})


def test_every_id_of_a_person_is_forgotten_with_any_of_them(tmp_path: Path) -> None:
    pairs = [("anon-1", "user-1"), ("anon-2", "anon-1"), ("anon-3", "user-2")]
    aliases = [{"old_user_id": old, "user_id": new, "since": at("2024-01-02")} for old, new in pairs]
    events = [event(user, "2024-01-01", "purchase") for user in ("anon-1", "anon-2", "anon-3", "user-1", "user-2")]
    app = small_app(tmp_path, events=events, aliases=aliases)
    app.ingest()
    found_ids = {all_ids(app.lake, ["anon-2"]) for _ in range(10)}  # a recursive query lost some, now and then
    assert found_ids == {("anon-1", "anon-2", "user-1")}
    found = erase(app.lake, ["anon-2"], "forgotten", TODAY)
    assert found.traces == () and found.rows == {"aliases": 2, "events": 3}


def test_a_backup_that_brings_somebody_back_is_cleared_by_the_list(few: App, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(few.lake.root, backup)
    erase(few.lake, ["user-1", "user-2"], "forgotten", TODAY)
    for name in ("suppression/users.parquet", "suppression/key"):
        target = backup / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(few.lake.path(name), target)
    assert listed_ids(Lake(backup)) == ("user-1", "user-2")
    assert listed_ids(few.lake) == ()


def test_a_file_keeps_its_layout_and_no_word_of_the_erased_rows(tmp_path: Path) -> None:
    words = pa.array(["user-1 says", "b", "b", "a"]).dictionary_encode()
    rows = pa.table({"user_id": ["user-1", "user-2", "user-3", "user-4"], "word": words, "count": [1, 2, 3, 4]})
    path, place = tmp_path / "a.parquet", tmp_path / "b.parquet"
    packed = {"user_id": "lz4", "word": "zstd", "count": "none"}
    pq.write_table(rows, path, row_group_size=2, compression=packed, use_dictionary=["word"],
                   column_encoding={"count": "DELTA_BINARY_PACKED"}, write_statistics=["user_id"])  # fmt: skip
    kept = kept_rows(path, SoughtIds(("user-1",)))
    assert kept is not None and write_kept(path, kept.masks, place) == 3
    assert pq.read_table(place).to_pylist() == rows.slice(1).to_pylist()
    assert b"user-1" not in place.read_bytes()
    before, after = pq.read_metadata(path), pq.read_metadata(place)
    assert [after.row_group(n).num_rows for n in range(2)] == [1, 2]
    for column in range(3):
        old, new = before.row_group(1).column(column), after.row_group(1).column(column)
        assert (old.compression, set(old.encodings), old.is_stats_set) == (
            new.compression,
            set(new.encodings),
            new.is_stats_set,
        )
