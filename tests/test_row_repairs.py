"""Rows on their way in: what has one meaning is put right and told, everything else is refused with its reason."""

from __future__ import annotations

import unicodedata
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from apps import NOW, Row, Rows, arrow, at, event, small_app, treatment
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from configs.settings import Settings, load_settings
from features.ingestion.contract import EVENTS, TREATMENTS, USERS, Table
from features.ingestion.row_repairs import EARLIEST, repaired, row_repairs
from features.ingestion.validation import check_columns, fault_of_row, given_columns, told_columns, typed_columns

SETTINGS = load_settings()
DUCKDB = duckdb.connect()
DUCKDB.execute("SET TimeZone = 'UTC'")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BLANKS = [
    " ",
    "\t",
    "\n",
    "\r",
    "\0",
    "\v",
    "\f",
    "\x1f",
    "\x85",
    "\xa0",
    "\xad",
    "\u2003",
    "\u2028",
    "\u202f",
    "\u3000",
]
BLANKS += ["\u200b", "\u200d", "\u2060", "\ufeff", "\u200e"]
SEEN = st.text(st.sampled_from("0123abXYßé世_-.|'"), min_size=1, max_size=8)


def staged(table: Table, rows: Rows, own: Settings = SETTINGS, columns: str = "*") -> list[Row]:
    """Rows as they are staged, each with its ``reason`` and the numbers of its ``repairs``."""
    found = rows if isinstance(rows, pa.Table) else arrow(table.name, rows)
    DUCKDB.register("given", found)
    types = {table.spelt(name): kind for name, kind, *_ in DUCKDB.execute("DESCRIBE given").fetchall()}
    check_columns(table, types, "here")
    repairs = row_repairs(table, types, own, NOW)
    given_rows = f"(SELECT {given_columns(table, types)} FROM given)"
    rows_of = repaired(f"SELECT {typed_columns(table, types)} FROM {given_rows}", repairs)
    query = f"SELECT *, {fault_of_row(table, types, own, NOW)} AS reason FROM ({rows_of})"
    return DUCKDB.execute(f"SELECT {columns} FROM ({query})").to_arrow_table().to_pylist()


def one(table: Table, row: Row, own: Settings = SETTINGS) -> Row:
    return staged(table, [row], own)[0]


def purchase(**columns: object) -> Row:
    return {**event("a", "2024-03-01 10:00", "purchase", amount=5.0), **columns}


# --- ids ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(SEEN, *[st.text(st.sampled_from(BLANKS), max_size=3)] * 2), min_size=1, max_size=8))
def test_blanks_of_every_kind_around_an_id_are_cut_off(ids):
    rows = [purchase(event_id=str(n), user_id=f"{left}{user}{right}") for n, (user, left, right) in enumerate(ids)]
    for found, (user, left, right) in zip(staged(EVENTS, rows), ids, strict=True):
        assert (found["user_id"], found["reason"]) == (user, None)
        assert bool(found["_repairs"]) == bool(left or right)


@pytest.mark.parametrize("blank", ["", *BLANKS, " \t\u200b "])
def test_an_id_of_blanks_is_missing(blank):
    found = one(EVENTS, purchase(user_id=blank, session_id=blank, event_name="view_item"))
    assert (found["reason"], found["session_id"]) == ("user_id is missing", None)
    assert one(EVENTS, purchase(event_name=blank))["reason"] == "event_name is missing"


@pytest.mark.parametrize("inside", ["a\0b", "a\nb", "a\tb", "a\u2028b", "a\u200bb", "a\ufeffb"])
def test_what_prints_nothing_inside_an_id_is_refused(inside):
    assert one(EVENTS, purchase(user_id=inside))["reason"] == "user_id holds what prints nothing"
    assert one(EVENTS, purchase(event_id=inside))["reason"] == "event_id holds what prints nothing"
    assert one(EVENTS, purchase(user_id="a b\u00a0c"))["reason"] is None


@pytest.mark.parametrize("name", ["event_id", "user_id", "session_id", "item_id", "offer_id", "decision_id"])
@pytest.mark.parametrize("kind", ["DOUBLE", "FLOAT", "BOOLEAN", "DECIMAL(18,3)"])
def test_a_column_of_ids_that_was_damaged_on_the_way_is_refused_by_name(name, kind):
    types = {"event_id": "VARCHAR", "user_id": "VARCHAR", "event_name": "VARCHAR", "occurred_at": "VARCHAR", name: kind}
    with pytest.raises(InputError) as error:
        check_columns(EVENTS, types, "here")
    assert f"events.{name} of here is {kind}, which cannot be an id" in str(error.value)


@pytest.mark.parametrize("kind", ["VARCHAR", "BIGINT", "UBIGINT", "HUGEINT", "UUID", "ENUM('a')", "DECIMAL(18,0)"])
def test_texts_and_whole_numbers_may_be_ids(kind):
    check_columns(USERS, {"user_id": kind}, "here")


# --- columns --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=8)
@given(st.lists(st.booleans(), min_size=60, max_size=60))
def test_names_of_the_contract_match_in_any_case(is_upper):
    row = purchase(country="DE", session_id="s", received_at=at("2024-03-02"))
    rows = arrow("events", [row])
    shuffled = rows.rename_columns(
        ["".join(c.upper() if is_upper[(7 * place + n) % 60] else c for n, c in enumerate(name))
         for place, name in enumerate(rows.column_names)]
    )  # fmt: skip
    assert staged(EVENTS, shuffled) == staged(EVENTS, rows)


def test_columns_that_can_be_no_traits_or_may_be_misspelt_are_told():
    types = {"user_id": "VARCHAR", "since": "DATE", "tags": "VARCHAR[]", "plan": "VARCHAR", "signedUpAt": "TIMESTAMP"}
    left, *near = told_columns(USERS, types | {"birthyear": "INTEGER", "gap": "INTERVAL"})
    assert left.startswith("users: since (DATE), tags (VARCHAR[]), signedUpAt (TIMESTAMP), gap (INTERVAL) can be no tr")
    assert near == [
        "users.signedUpAt is taken for a trait; where 'signed_up_at' is meant, name it so in the SQL",
        "users.birthyear is taken for a trait; where 'birth_year' is meant, name it so in the SQL",
    ]
    assert typed_columns(USERS, types).endswith('"plan"')


@given(
    st.lists(st.text("ae\u00e9\u0301\u00fc\u0308\u1100\u1161\uac00", min_size=1, max_size=5), min_size=1, max_size=6)
)
@settings(max_examples=20, deadline=None)
def test_an_id_is_one_however_its_letters_are_composed(ids):
    for found, user in zip(staged(EVENTS, [{**purchase(), "user_id": each} for each in ids]), ids, strict=True):
        assert found["user_id"] == unicodedata.normalize("NFC", user)


def test_what_follows_a_nul_is_not_lost_when_letters_are_composed():
    user = one(EVENTS, {**purchase(), "user_id": "e\u0301\x00e\u0301"})
    assert (user["reason"], len(user["user_id"])) == ("user_id holds what prints nothing", 3)


def test_nested_properties_are_json():
    rows = arrow("events", [purchase()]).append_column("properties", pa.array([{"song": {"seconds": 3}}]))
    assert staged(EVENTS, rows)[0]["properties"] == '{"song":{"seconds":3}}'
    with pytest.raises(InputError, match=r"events.item_category of here is INTEGER\[\], wanted VARCHAR; cast it"):
        staged(
            EVENTS, arrow("events", [purchase()]).append_column("item_category", pa.array([[1]], pa.list_(pa.int32())))
        )


# --- money ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["purchase", "refund", "view_item"]), st.floats(-1e6, 1e6))
def test_the_sign_of_money_is_that_of_its_role(name, amount):
    found = one(EVENTS, purchase(event_name=name, amount=amount))
    if name == "refund":
        assert (found["amount"], found["reason"]) == (-abs(amount), None)
    else:
        assert found["amount"] == amount
        assert found["reason"] == ("amount is negative and the event is no refund" if amount < 0 else None)


# --- instants -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(-1000, 1000), st.integers(0, 60))
def test_a_clock_that_goes_ahead_a_little_is_taken_as_arrival(seconds, minutes):
    own = SETTINGS.model_copy(update={"ingest": SETTINGS.ingest.model_copy(update={"clock_skew_minutes": minutes})})
    occurred = at("2024-03-01 10:00")
    received = occurred - timedelta(seconds=seconds)
    found = one(EVENTS, purchase(received_at=received), own)
    if seconds > 60 * minutes:
        assert found["reason"] == "received_at lies before occurred_at"
    else:
        assert (found["received_at"], found["reason"]) == (max(received, occurred), None)
    ahead = one(EVENTS, purchase(occurred_at=NOW + timedelta(seconds=seconds)), own)
    assert ahead["reason"] == ("occurred_at lies in the future" if seconds > 60 * minutes else None)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3660), st.integers(-1, 20_000))
def test_an_event_that_comes_too_late_to_be_believed_is_counted_when_it_came(most, late):
    own = SETTINGS.model_copy(update={"ingest": SETTINGS.ingest.model_copy(update={"max_late_days": most})})
    received = at("2024-03-01 10:00")
    occurred = received - timedelta(days=late)
    found = one(EVENTS, purchase(occurred_at=occurred, received_at=received), own)
    if late < 0:
        assert found["reason"] == "received_at lies before occurred_at"
    else:
        said = occurred if late <= most else received
        kept = said >= at(EARLIEST)
        assert (found["occurred_at"], found["reason"] is None) == (said, kept)


def test_clocks_that_are_wrong_are_few_or_received_at_is(tmp_path):
    received = {"received_at": "2024-03-01 10:00"}
    wrong = [event("a", f"2000-01-01 00:{minute:02d}", "view_item", **received) for minute in range(2)]
    right = [event("b", f"2024-02-{day:02d} 09:00", "view_item") for day in range(1, 19)]
    app = small_app(tmp_path, events=[*wrong, *right])
    (note,) = [each for each in app.ingest()["events"].notes if "occurred_at" in each]
    assert note.startswith("2 rows of events: received_at lies more than 365 days after occurred_at")
    assert app.lake.days("events")[-1] == date(2024, 3, 1) and app.lake.days("events")[0] == date(2024, 2, 1)
    app.write(events=[*wrong, *right[:17]])
    with pytest.raises(InputError, match=r"2 of 19 rows of events are too many to be put right: received_at lies more"):
        app.ingest()


ANY_INSTANT = st.one_of(
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.sampled_from([-(2**63) + 1, 2**63 - 1, 0, 253_402_300_799_000_000, 9_223_371_331_200_000_000 - 1]),
    st.integers(0, 1_900_000_000_000_000),
)


def micros(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def instants(name: str, values: list[int]) -> tuple[str, pa.Array]:
    return name, pa.array(values, pa.int64()).cast(pa.timestamp("us", "UTC"))


def reasons(table: Table, row: Row, name: str, values: list[int]) -> list[tuple[int, bool, str | None]]:
    """Each instant as a column of the same row: whether it is kept, and why the row is refused."""
    rows = arrow(table.name, [{key: value for key, value in row.items() if key != name}] * len(values))
    found = staged(table, rows.append_column(*instants(name, values)), columns=f"{name} IS NOT NULL AS kept, reason")
    return [(value, row["kept"], row["reason"]) for value, row in zip(values, found, strict=True)]


@settings(deadline=None, max_examples=10)
@given(st.lists(ANY_INSTANT, min_size=20, max_size=20))
def test_every_instant_has_bounds(values):
    low, high = micros(datetime(1990, 1, 1, tzinfo=UTC)), micros(NOW + timedelta(minutes=5))
    for value, is_kept, reason in reasons(USERS, {"user_id": "a"}, "signed_up_at", values):
        assert (is_kept, reason) == (low <= value <= high, None)
    for value, _, reason in reasons(EVENTS, purchase(), "occurred_at", values):
        side = "before 1990-01-01" if value < low else "in the future" if value > high else None
        assert reason == (side and f"occurred_at lies {side}")
    for value, _, reason in reasons(EVENTS, purchase(), "received_at", values):
        assert (reason is None) == (micros(at("2024-03-01 09:55")) <= value <= high)
    ten_years = micros(datetime(2035, 1, 1, 0, 5, tzinfo=UTC))
    for value, is_kept, reason in reasons(TREATMENTS, treatment("a", "2024-03-01", "x", 0.1), "valid_until", values):
        if low <= value <= ten_years:
            assert reason == ("valid_until lies before decided_at" if value < micros(at("2024-03-01")) else None)
        else:
            assert (is_kept, reason) == (False, None)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from("+-"))
@example(14, 0, "+")
@example(99, 99, "+")
def test_an_offset_that_no_time_zone_has_is_refused(hours, minutes, sign):
    text = pa.array([f"2024-03-01T10:00:00{sign}{hours:02d}:{minutes:02d}"])
    rows = arrow("events", [purchase()]).drop_columns(["occurred_at"]).append_column("occurred_at", text)
    (found,) = staged(EVENTS, rows)
    is_right = hours <= 14 and minutes <= 59
    assert found["reason"] == (None if is_right else "occurred_at has an offset that no time zone has")


# infinite ones, the last and the first that DuckDB holds, and the end of the year 9999
EDGES = [-(2**63) + 1, 2**63 - 1, 2**63 - 2, -9_223_372_022_400_000_000, 253_402_300_799_000_000]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_instants_beyond_all_calendars_go_through_the_pipeline(tmp_path, zone):
    own = {"source": str(tmp_path / "app.sql"), "raw": str(tmp_path / "raw"), "max_bad_share": 0.9}
    good, bad = (
        arrow("events", [purchase(event_id=f"{each}{n}", user_id=f"u{n}") for n in range(len(EDGES))])
        for each in ("good", "bad")
    )
    bad = bad.set_column(bad.column_names.index("occurred_at"), *instants("occurred_at", EDGES))
    users = arrow("users", [{"user_id": f"u{n}"} for n in range(len(EDGES))])
    users = users.append_column(*instants("signed_up_at", EDGES))
    app = small_app(
        tmp_path, overrides={"ingest": own, "time_zone": zone}, events=pa.concat_tables([good, bad]), users=users
    )
    reports = app.ingest()
    assert (reports["events"].added, reports["events"].quarantined) == (len(EDGES), len(EDGES))
    app.aggregate()
    assert app.snapshots(date(2024, 3, 10)).tenure_days.tolist() == [9.0] * len(EDGES)


# --- traits ---------------------------------------------------------------------------------------------------


def test_columns_of_every_kind_go_through_the_pipeline_or_are_left_out(tmp_path):
    app = small_app(tmp_path, events=[purchase(), purchase(event_id="2", user_id="b")])
    columns = """
        INTERVAL 1 DAY AS gap, [1] AS tags, {'a': 1} AS nested, MAP([1], [2]) AS pairs, TIME '10:00' AS hour,
        uuid() AS id, 'x'::BLOB AS bytes, 10150000000000017 + n AS crm_no, (n + 5)::UHUGEINT AS huge,
        n::HUGEINT AS large,
        18446744073709551615::UBIGINT - n::UBIGINT AS unsigned, ('q' || n)::ENUM('q0', 'q1') AS word,
        '{}'::JSON AS json, TIMESTAMP_S 'infinity' AS seen_s, DATE 'infinity' AS seen_on,
        n::DECIMAL(38, 10) / 3 AS part, n > 0 AS flag,
        union_value(num := 2) AS either, 'infinity'::DOUBLE * n AS endless, CASE WHEN n = 0 THEN 1.5 END AS score
    """
    source, always = Path(app.settings.ingest.source), "TIMESTAMPTZ '2000-01-01 00:00:00+00' AS known_from"
    users = f"CREATE VIEW users AS SELECT ['a', 'b'][n + 1] AS user_id, {columns}, {always} FROM range(2) AS r(n)"
    source.write_text(f"{source.read_text()}\n{users}", encoding="utf-8")
    (left, endless) = app.ingest()["users"].notes
    for name in ("gap (INTERVAL)", "tags (INTEGER[])", "bytes (BLOB)", "seen_on (DATE)", "seen_s (TIMESTAMP_S)"):
        assert name in left
    assert endless == "2 rows of users: a trait is not a finite number, and is taken as missing"
    app.aggregate()
    found = app.snapshots(date(2024, 3, 10)).filter(like="trait_")
    assert {*found.columns} == {
        f"trait_{name}" for name in ("crm_no", "huge", "large", "unsigned", "word", "part", "flag", "score", "id")
    }
    assert found.trait_crm_no.tolist() == [10150000000000017.0, 10150000000000018.0]
    assert found.trait_score.tolist()[0] == 1.5 and pd.isna(found.trait_score.tolist()[1])


# --- told -----------------------------------------------------------------------------------------------------


def test_everything_that_is_put_right_is_told_with_its_count(tmp_path):
    events = [
        purchase(event_id="1", user_id="7\t"),
        purchase(event_id="2", user_id="\ufeff7"),
        purchase(event_id="3", user_id="7", event_name="refund"),
        purchase(event_id="4", user_id="7", received_at=at("2024-03-01 09:59")),
    ]
    users = [{"user_id": "7", "signed_up_at": EPOCH, "plan": "x"}, {"user_id": "8", "plan": "y"}]
    app = small_app(tmp_path, events=events, users=users)
    reports = app.ingest()
    blanks, refund, skew = reports["events"].notes
    assert blanks.startswith("2 rows of events: user_id has blanks around it")
    assert refund.startswith("1 row of events: amount of a refund is told as a positive number")
    assert skew.startswith("1 row of events: received_at lies up to 5 minutes before occurred_at")
    assert reports["users"].notes == (
        "1 row of users: signed_up_at lies before 1990-01-01 or in the future, and is taken as missing",
    )
    stored = pd.read_parquet(app.lake.partition("events", date(2024, 3, 1)), partitioning=None)
    assert set(stored.user_id) == {"7"} and sorted(stored.amount) == [-5.0, 5.0, 5.0, 5.0]
    again = app.ingest()
    assert [report.unchanged for report in again.values()] == [4, 2]


@given(
    word=st.sampled_from(["none", "None", "NONE", "nOnE", "nonesuch", "gift"]), before=st.sampled_from(["", " ", "\t"])
)
def test_nothing_is_nothing_in_whatever_letters(word: str, before: str) -> None:
    found = one(TREATMENTS, treatment("u", "2024-02-01", before + word, 0.1))
    assert found["offer_id"] == ("none" if word.lower() == "none" else word)
    assert (found["_repairs"] > 0) == (before + word != found["offer_id"])


@pytest.mark.parametrize(
    ("told", "zone"),
    [("Europe/Berlin", "Europe/Berlin"), ("UTC", "UTC"), ("europe/berlin", None), ("GMT+2", None),
     ("Berlin", None), ("", None), (None, None)],
)  # fmt: skip
def test_a_time_zone_of_users_is_one_that_there_is_or_is_told_as_missing(told, zone):
    found = one(USERS, {"user_id": "u", "time_zone": told})
    assert (found["time_zone"], found["reason"]) == (zone, None)
    assert (found["_repairs"] > 0) == (told != zone)
