"""A team's stores, on real servers: PostgreSQL stopped and started, sessions cut, runs killed, two machines at once."""

from __future__ import annotations

import os
import threading
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import InputError
from configs.settings import load_settings
from configs.stores import DATABASE_VARIABLE, EMBEDDED, FILES_VARIABLE, Stores
from features.erasure.erase_users import erase
from features.publishing.lock_wait import WAIT_VARIABLE, LockedError
from features.storage.kept_stores import STORES_FILE, keep_stores
from features.storage.lake import Lake
from features.stores import database, published_files
from features.stores.published_files import stores_state
from features.suppression.suppression_key import KEY_VARIABLE
from features.suppression.suppression_list import suppressed
from features.tables.parquet_files import write_parquet
from flows.runs.environment import prepare
from serving.lookups.settings_list import setting_lines


class KilledError(BaseException):
    """The process is no more."""


def publish(lake: Lake, **texts: str | None) -> None:
    """Publish small files by name, a double underscore for a slash; None takes one away."""
    with lake.files.publish() as publication:
        for name, text in texts.items():
            place = name.replace("__", "/")
            publication.remove(place) if text is None else publication.write(place, text.encode())


def held(lake: Lake) -> dict[str, str]:
    """Read what counts, as a reader does who has just come."""
    return lake.files.of_one_publish(lambda: {name: lake.files.read(name).decode() for name in lake.files.listed()[0]})


def objects(lake: Lake) -> set[str]:
    """Name the objects in the storage."""
    import fsspec

    storage, root = fsspec.url_to_fs(lake.stores.files)
    storage.invalidate_cache()
    return {path.removeprefix(f"{root}/") for path in storage.find(root)}


def rows(lake: Lake, question: str) -> list[tuple]:
    with database.connect(lake.stores) as session:
        return session.execute(question).fetchall()


def test_what_one_machine_publishes_another_has_whole_and_what_goes_is_gone_there(team):
    one, two = team("one"), team("two")
    publish(one, events__a="1", events__b="2", profile="p")
    assert held(two) == {"events/a": "1", "events/b": "2", "profile": "p"}
    publish(two, events__a="3", events__b=None)
    assert held(one) == {"events/a": "3", "profile": "p"}
    assert held(team("three")) == held(one)
    assert not one.files.unlisted()
    assert stores_state(one.stores).publishes == 2


def test_a_publish_during_which_the_database_stops_and_starts_counts_once(team, postgres, monkeypatch):
    one = team("one")
    publish(one, a="old")
    starts: list[threading.Timer] = []
    for moment in ("_has_counted", "_upload", "_commit", "sweep"):
        whole = getattr(published_files.Writer, moment)

        def stopped_before(writer, *given, whole=whole, moment=moment):
            monkeypatch.setattr(published_files.Writer, moment, whole)
            postgres.stop()
            starts.append(threading.Timer(1.0, postgres.start))
            starts[-1].start()
            return whole(writer, *given)

        monkeypatch.setattr(published_files.Writer, moment, stopped_before)
        before = stores_state(one.stores).publishes
        publish(one, a=moment)
        starts.pop().join()
        assert held(team("two")) == {"a": moment} == held(one)
        assert stores_state(one.stores).publishes == before + 1


def test_a_commit_whose_answer_was_lost_is_not_made_twice(team, postgres, monkeypatch):
    one, whole = team("one"), published_files.Writer._commit

    def unanswered(writer, *given):
        monkeypatch.setattr(published_files.Writer, "_commit", whole)
        whole(writer, *given)
        postgres.stop(is_killed=True)
        postgres.start()
        writer.session.execute("SELECT 1")

    monkeypatch.setattr(published_files.Writer, "_commit", unanswered)
    publish(one, a="new")
    assert held(team("two")) == {"a": "new"}
    assert stores_state(one.stores).publishes == 1


def test_who_lost_the_lock_to_another_publishes_nothing(team):
    one, two = team("one"), team("two")
    publish(one, a="old")
    with pytest.raises(InputError, match="another run published"), one.files.lock("one"):
        cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND "
        rows(one, cut + published_files.OUR_LOCK)
        publish(two, a="two")
        publish(one, a="one")
    assert held(one) == {"a": "two"} == held(two)


def test_a_second_writer_waits_or_is_told_who_writes_on_which_machine(team, monkeypatch):
    one, two = team("one"), team("two")
    with one.files.lock("winback train-models"):
        with pytest.raises(LockedError, match=r"written by winback train-models \(run .*, process .* on "):
            publish(two, a="two")
        assert stores_state(one.stores).writer["command"] == "winback train-models"
        threads = [threading.Thread(target=publish, args=(two,), kwargs={"a": "two"})]
        monkeypatch.setenv(WAIT_VARIABLE, "20")
        threads[0].start()
        publish(one, a="one")
    threads[0].join()
    assert held(one) == {"a": "two"}
    assert stores_state(one.stores).writer is None


@pytest.mark.parametrize("where", ["before it counts", "before it lies here"])
def test_a_run_that_is_killed_between_the_stores_and_its_folder_leaves_all_or_nothing(team, monkeypatch, where):
    one, two = team("one"), team("two")
    publish(one, a="old", b="old")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        whole = published_files.Writer._commit

        def killed(writer, *given):
            if where == "before it lies here":
                whole(writer, *given)
            raise KilledError

        patch.setattr(published_files.Writer, "_commit", killed)
        publish(one, a="new", b="new", c="new")
    whole = {"a": "old", "b": "old"} if where == "before it counts" else {"a": "new", "b": "new", "c": "new"}
    assert held(two) == whole == held(one)
    publish(one, a="newer")
    assert held(two) == {**whole, "a": "newer"}


def test_objects_that_count_no_more_go_after_days_and_none_is_forgotten(team, monkeypatch):
    one = team("one")
    publish(one, a="1")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(published_files.Writer, "_commit", lambda *_: (_ for _ in ()).throw(KilledError))
        publish(one, a="never counts")
    publish(one, a="2")
    assert len(objects(one)) == 3
    monkeypatch.setattr(published_files, "KEPT_DAYS", 0)
    publish(one, b="3")
    counting = {key for (key,) in rows(one, "SELECT object_key FROM winback.files")}
    assert objects(one) == counting
    assert held(team("two")) == {"a": "2", "b": "3"}


def test_readers_go_on_with_what_lies_here_while_the_database_is_away(team, postgres, capsys):
    one = team("one")
    publish(one, a="1")
    postgres.stop()
    try:
        assert held(one) == {"a": "1"}
        assert "does not answer" in capsys.readouterr().err
    finally:
        postgres.start()


def test_an_object_that_is_another_by_now_is_refused_and_nothing_of_it_is_read(team):
    import fsspec

    one = team("one")
    publish(one, a="1", b="2")
    storage, root = fsspec.url_to_fs(one.stores.files)
    (key,) = (key for key in objects(one) if key.startswith("a."))
    storage.pipe_file(f"{root}/{key}", b"another")
    two = team("two")
    with pytest.raises(InputError, match="is not what was published"):
        held(two)
    assert not two.files.list("[ab]")


def test_a_file_that_is_damaged_here_is_read_again_from_the_storage(team, capsys):
    one = team("one")
    publish(one, day__a="1", b="2")
    one.path("day", "a").write_text("3")
    one.path("b").unlink()
    assert (one.files.read("day/a"), one.files.read("b")) == (b"1", b"2")
    assert capsys.readouterr().err.count("is read again from s3://winback/") == 2


def test_a_folder_that_was_filled_alone_is_published_and_one_with_other_files_is_refused(team, tmp_path):
    alone, other = Lake(tmp_path / "one"), Lake(tmp_path / "two")
    for lake in (alone, other):
        lake.files.require_writable()
        publish(lake, a=lake.root.name)
    with team("one").files.lock("a test"):
        pass
    assert held(team("three")) == {"a": "one"}
    with pytest.raises(InputError, match="holds other files than"), team("two").files.lock("a test"):
        pass
    assert (tmp_path / "two" / "a").read_text() == "two"


def test_a_folder_stays_a_copy_of_its_stores_whatever_a_profile_says_later(team, tmp_path):
    one = team("one")
    assert keep_stores(one.root, EMBEDDED) == one.stores
    other = one.stores.model_copy(update={"database": f"{one.stores.database}2"})
    with pytest.raises(InputError, match="is a copy of"):
        keep_stores(one.root, other)


def test_the_ledger_lies_in_the_database_as_rows_that_count_with_their_file(team):
    one, instant = team("one"), datetime(2024, 7, 1, tzinfo=UTC)
    schema = pa.schema([("user_id", pa.string()), ("as_of", pa.timestamp("us", "UTC")), ("cost", pa.float64())])
    entry = "ledger/day=2024-07-01/20240701T000000Z-nightly.parquet"

    def write(name: str, *users: str | None, gone: str | None = None) -> None:
        costs = [None if user == "" else 0.5 for user in users]
        table = pa.table([pa.array(users, pa.string()), [instant] * len(users), costs], schema=schema)
        with one.files.publish() as publication:
            pq.write_table(table, publication.path(name))
            if gone:
                publication.remove(gone)

    write(entry, 'a,"b"', "", "ü\n")
    asked = "SELECT user_id, as_of, cost, is_superseded FROM winback.ledger ORDER BY entry, user_id"
    assert sorted(rows(one, asked)) == sorted(
        [('a,"b"', instant, 0.5, False), ("", instant, None, False), ("ü\n", instant, 0.5, False)]
    )
    write("ledger/superseded/day=2024-07-01/1.parquet", "a", gone=entry)
    assert rows(one, asked) == [("a", instant, 0.5, True)]


def test_a_forgotten_user_is_in_no_object_no_row_of_the_ledger_and_no_copy(team, monkeypatch):
    one, two, name = team("one"), team("two"), "ledger/day=2024-07-01/20240701T000000Z-nightly.parquet"
    with one.files.publish() as publication:
        write_parquet(pa.table({"user_id": ["user-1", "user-2"], "arm": ["policy", "control"]}), publication.path(name))
    two.files.of_one_publish(lambda: None)
    with one.files.lock("winback forget"):
        with pytest.raises(InputError, match="shares its files"):
            erase(one, ["user-1"], "forgotten", date(2024, 8, 1))
        monkeypatch.setenv(KEY_VARIABLE, "one key on every machine")
        assert erase(one, ["user-1"], "forgotten", date(2024, 8, 1)).traces == ()
    assert rows(one, "SELECT user_id FROM winback.ledger") == [("user-2",)]
    kept = [each for each in objects(one) if each.startswith("ledger/")]
    assert len(kept) == 1, "the object with them is gone at once"
    two.files.of_one_publish(lambda: None)
    assert pq.read_table(two.path(name), partitioning=None)["user_id"].to_pylist() == ["user-2"]
    assert suppressed(two, pa.array(["user-1", "user-2"])).tolist() == [True, False]


def test_a_password_is_used_and_stands_nowhere(team, tmp_path, monkeypatch, capsys):
    address = team("one").stores.database.replace("postgres@", "postgres:s3cret@")
    monkeypatch.setenv(DATABASE_VARIABLE, address)
    monkeypatch.setenv(FILES_VARIABLE, "s3://winback/secret")
    monkeypatch.setattr(os, "environ", dict(os.environ))  # what is told to Prefect ends with the test
    settings = load_settings(data_dir=tmp_path / "data")
    prepare(str(tmp_path / "data"))
    assert "s3cret" in database.sqlalchemy_address(settings.stores, "mlflow")
    kept = (tmp_path / "data" / STORES_FILE).read_text()
    assert "s3cret" not in kept + str(settings.model_dump()) + "\n".join(setting_lines(settings))
    publish(Lake(tmp_path / "data"), a="1")
    os.environ[DATABASE_VARIABLE] = address.rpartition("/")[0] + "/nowhere"
    with pytest.raises(InputError, match="lets us not in") as refused:
        prepare(str(tmp_path / "other"))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("stores", "said"),
    [
        ({"database": "mysql://db/x"}, "a database is postgresql://USER@HOST"),
        ({"database": "postgresql://ana:s3cret@db/x"}, "a password has no place in a file"),
        ({"database": "postgresql://db/x?sslmode=require"}, "nothing follows the name"),
        ({"files": "s3://bucket/winback"}, "needs stores.database"),
        ({"database": "postgresql://db/x", "files": "bucket"}, "object storage is s3://BUCKET/FOLDER"),
        ({"database": "postgresql://db/x", "files": "s3://key:s3cret@bucket"}, "keys have no place in a file"),
    ],
)
def test_an_address_that_is_none_is_refused_in_one_sentence_without_its_secret(stores, said):
    with pytest.raises(InputError, match=said) as refused:
        load_settings(stores=stores)
    assert "s3cret" not in str(refused.value)


def test_without_the_drivers_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"not installed; install winback\[stores\]"):
        database.connect(Stores(database="postgresql://db/x", files="", wait_seconds=0))
