"""The suppression list: who is on it, what it tells of them, and whose rows no ingest takes in again."""

from __future__ import annotations

import hmac
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import App, at, event, small_app

from configs.errors import InputError
from features.storage.lake import Lake
from features.suppression.suppression_key import KEY_FILE, KEY_VARIABLE
from features.suppression.suppression_list import LIST_FILE, enter, keyed_hashes, let_back, read_list, suppressed

DAY = date(2024, 5, 1)
ASKED = pa.array(["ana", "bob", None, "ÿ\\x41"])


def _enter(lake: Lake, *user_ids: str) -> dict[str, tuple[str, date]]:
    with lake.files.publish() as publication:
        return enter(lake, publication, user_ids, "forgotten", DAY)


def test_who_is_on_the_list_is_found_among_any_ids_and_nobody_without_a_list(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert suppressed(lake, ASKED).tolist() == [False] * 4
    assert _enter(lake, "bob", "ÿ\\x41") == {}
    assert suppressed(lake, ASKED).tolist() == [False, True, False, True]
    assert _enter(lake, "bob", "ana") == {"bob": ("forgotten", DAY)}


def test_the_list_holds_hmacs_alone_and_its_key_is_the_owners(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    _enter(lake, "bob", "ÿ\\x41")
    key = lake.path(KEY_FILE)
    assert key.stat().st_mode & 0o777 == 0o600
    own = [hmac.digest(key.read_bytes(), each.encode(), "sha256").hex() for each in ("bob", "ÿ\\x41")]
    assert read_list(lake)["user_hash"].to_pylist() == sorted(own)
    assert keyed_hashes(lake, pa.array(["bob"])).to_pylist() == own[:1]
    assert b"bob" not in lake.path(LIST_FILE).read_bytes()


def test_a_list_of_another_key_is_refused_as_it_would_find_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path)
    monkeypatch.setenv(KEY_VARIABLE, "a long key by chance")
    _enter(lake, "bob")
    assert not lake.files.exists(KEY_FILE)
    monkeypatch.setenv(KEY_VARIABLE, "another key by chance")
    with pytest.raises(InputError, match="another key"):
        suppressed(lake, ASKED)
    monkeypatch.setenv(KEY_VARIABLE, "short")
    with pytest.raises(InputError, match="5 signs"):
        suppressed(lake, ASKED)


def test_a_new_consent_lets_somebody_back_and_a_second_objection_counts_anew(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    _enter(lake, "bob")
    with lake.files.publish() as publication:
        assert let_back(lake, publication, ["bob", "eve"], date(2024, 6, 1)) == {"bob": ("forgotten", DAY)}
    assert not suppressed(lake, ASKED).any()
    assert _enter(lake, "bob") == {}
    assert suppressed(lake, ASKED).tolist() == [False, True, False, False]


@pytest.fixture
def app(tmp_path: Path) -> App:
    events = [event(user, f"2024-0{month}-01", "purchase") for user in ("ana", "bob", "anon") for month in (1, 3)]
    users = [{"user_id": user, "known_from": at("2024-01-01")} for user in ("ana", "bob")]
    aliases = [{"old_user_id": "anon", "user_id": "bob", "since": at("2024-02-01")}]
    return small_app(tmp_path, events=events, users=users, aliases=aliases)


def _users(app: App) -> list[str]:
    days = app.lake.days("events")
    return sorted(
        {each for day in days for each in pq.read_table(app.lake.partition("events", day))["user_id"].to_pylist()}
    )


def test_rows_of_forgotten_users_and_of_ids_that_turn_out_to_be_theirs_are_left_out_and_counted(app: App) -> None:
    _enter(app.lake, "bob")
    found = app.ingest()
    assert {table: (report.read, sum(report.left_out.values())) for table, report in found.items()} == {
        "aliases": (1, 1), "events": (6, 4), "users": (2, 1)
    }  # fmt: skip
    assert "4 rows of forgotten users left out of events" in found["events"].sentences
    assert _users(app) == ["ana"]
    assert suppressed(app.lake, pa.array(["anon"])).all(), "the next delivery need not say again who that is"
    again = app.ingest()["events"]
    assert (again.read, again.unchanged, sum(again.left_out.values())) == (6, 2, 4)


def test_after_a_new_consent_only_what_came_before_it_stays_out(app: App) -> None:
    _enter(app.lake, "bob")
    with app.lake.files.publish() as publication:
        let_back(app.lake, publication, ["bob"], date(2024, 2, 15))
    found = app.ingest()
    assert tuple(sum(found[table].left_out.values()) for table in ("events", "users")) == (1, 0)
    assert "bob" in _users(app)
