"""Ingestion: nothing is lost, nothing is taken twice, and bad input leaves the lake as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import NOW, App, arrow, at, event, small_app, tiny_app, treatment
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from features.ingestion.contract import USERS
from features.ingestion.ingest_source import REPLACE
from features.ingestion.row_repairs import repaired, row_repairs
from features.ingestion.table_rows import EVERY_DAY, DayRange

GOOD = [event("a", f"2024-03-{day:02d} 10:00", "purchase", amount=5.0) for day in (1, 2, 3)]
LENIENT = {"max_bad_share": 1.0}


def app_with(folder: Path, *events: dict[str, object], **ingest: object) -> App:
    own = {"source": str(folder / "app.sql"), "raw": str(folder / "raw"), **ingest}
    return small_app(folder, overrides={"ingest": own}, events=[*GOOD, *events])


def files_of(folder: Path) -> dict[Path, tuple[bytes, int]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def quarantine(app: App, table: str = "events") -> pd.DataFrame:
    return pd.read_parquet(app.lake.path("quarantine", "app", f"{table}.parquet"))


def stored(app: App, table: str, day: date) -> pd.DataFrame:
    return pd.read_parquet(app.lake.partition(table, day), partitioning=None)


# --- counting -------------------------------------------------------------------------------------------------


def test_ingesting_twice_changes_nothing(tmp_path):
    app = tiny_app(tmp_path)
    first = app.ingest()
    before = files_of(app.lake.root)
    second = app.ingest()
    after = files_of(app.lake.root)
    facts = [path for path in before if "quarantine" not in path.parts]
    assert {path: after[path] for path in facts} == {path: before[path] for path in facts}
    assert {path: bytes_ for path, (bytes_, _) in after.items()} == {
        path: bytes_ for path, (bytes_, _) in before.items()
    }
    for table in ("events", "users", "treatments"):
        assert (second[table].added, second[table].unchanged) == (0, first[table].added)


def test_every_row_read_is_accounted_for(tmp_path):
    known, clash = GOOD[0], {**GOOD[1], "amount": 6.0}
    app = app_with(tmp_path, max_bad_share=1.0)
    app.ingest()
    new = event("a", "2024-03-04", "purchase", amount=1.0)
    bad = event("a", "2024-03-04 12:00", "purchase", amount=-1.0)
    report = app.write(events=[known, clash, new, new, new, bad, bad]).ingest()["events"]
    assert (report.read, report.added, report.unchanged, report.duplicates, report.quarantined) == (7, 1, 1, 2, 3)
    assert report.reasons == {
        "amount is negative and the event is no refund": 2,
        "event_id is already used by another row": 1,
    }


def test_an_exact_duplicate_is_dropped_once_and_counted(tmp_path):
    app = app_with(tmp_path, GOOD[0])
    report = app.ingest()["events"]
    assert (report.added, report.duplicates, report.quarantined) == (3, 1, 0)
    assert len(stored(app, "events", date(2024, 3, 1))) == 1


def test_an_id_that_stands_for_two_rows_keeps_the_first_and_quarantines_the_other(tmp_path):
    later = {**GOOD[0], "occurred_at": at("2024-03-01 11:00")}
    app = app_with(tmp_path, later, **LENIENT)
    report = app.ingest()["events"]
    assert (report.added, report.quarantined) == (3, 1)
    assert stored(app, "events", date(2024, 3, 1)).occurred_at.tolist() == [at("2024-03-01 10:00")]
    assert quarantine(app)[["occurred_at", "reason"]].values.tolist() == [
        [at("2024-03-01 11:00"), "event_id stands for two different rows"]
    ]


def test_a_known_row_is_unchanged_even_when_an_earlier_one_now_claims_its_id(tmp_path):
    app = app_with(tmp_path, **LENIENT)
    app.ingest()
    earlier = {**GOOD[0], "occurred_at": at("2024-03-01 09:00")}
    report = app.write(events=[earlier, GOOD[0]]).ingest()["events"]
    assert (report.added, report.unchanged, report.quarantined) == (0, 1, 1)
    assert stored(app, "events", date(2024, 3, 1)).occurred_at.tolist() == [at("2024-03-01 10:00")]


def test_a_late_event_rewrites_only_its_day(tmp_path):
    app = app_with(tmp_path)
    app.ingest()
    before = files_of(app.lake.root)
    app.write(events=[event("b", "2024-03-02 08:00", "purchase", amount=1.0, received_at="2024-03-09")]).ingest()
    after = files_of(app.lake.root)
    changed = [path for path in after if after[path] != before.get(path) and path.suffix == ".parquet"]
    assert changed == [app.lake.partition("events", date(2024, 3, 2))]
    assert stored(app, "events", date(2024, 3, 2)).user_id.tolist() == ["a", "b"]


def test_a_day_is_that_of_the_configured_time_zone(tmp_path):
    app = small_app(
        tmp_path, overrides={"time_zone": "America/New_York"}, events=[event("a", "2024-03-02 02:00", "purchase")]
    )
    app.ingest()
    assert app.lake.days("events") == [date(2024, 3, 1)]


def test_users_are_updated_and_the_others_kept(tmp_path):
    app = small_app(tmp_path, events=GOOD, users=[{"user_id": "a", "plan": "free"}, {"user_id": "b", "plan": "free"}])
    app.ingest()
    app.write(
        events=GOOD, users=[{"user_id": "b", "plan": "plus", "pets": 2}, {"user_id": "c", "plan": "free", "pets": 1}]
    )
    report = app.ingest()["users"]
    users = pd.read_parquet(app.lake.path("users", "users.parquet"))
    assert (report.added, report.unchanged) == (2, 0)
    assert users[["user_id", "plan"]].values.tolist() == [["a", "free"], ["b", "plus"], ["c", "free"]]
    assert users.pets.fillna(0).tolist() == [0, 2, 1]


def test_a_treatment_without_an_id_gets_one_and_is_not_taken_twice(tmp_path):
    rows = [treatment("a", "2024-03-02", "come_back", 0.1), treatment("b", "2024-03-02", "come_back", 0.1)]
    nameless = [{name: value for name, value in row.items() if name != "decision_id"} for row in rows]
    app = small_app(tmp_path, events=GOOD, treatments=nameless)
    assert app.ingest()["treatments"].added == 2
    assert app.ingest()["treatments"].unchanged == 2


def test_csv_and_text_instants_that_name_their_zone_are_read(tmp_path):
    app = app_with(tmp_path)
    texts = ["2024-03-01T10:00:00Z", "2024-03-01 10:00:00.5+02", "2024-03-01T10:00:00-0330", "2024-03-01 10:00:00 UTC"]
    rows = "".join(f"e{number},a,purchase,{text}\n" for number, text in enumerate(texts))
    Path(app.settings.ingest.raw, "events.csv").write_text("event_id,user_id,event_name,occurred_at\n" + rows)
    Path(app.settings.ingest.source).write_text(
        "CREATE VIEW events AS SELECT * FROM read_csv(getvariable('raw') || '/events.csv', all_varchar = true)"
    )
    app.ingest()
    assert stored(app, "events", date(2024, 3, 1)).set_index("event_id").occurred_at.sort_index().tolist() == [
        at("2024-03-01 10:00"),
        at("2024-03-01 08:00:00.5"),
        at("2024-03-01 13:30"),
        at("2024-03-01 10:00"),
    ]


# each with the name of a folder beside it that DuckDB would take for it
NAMES = [("Bob's [1]", "Bob's 1"), ("a*b", "aXb"), ("{a,b} #1: 5%", "a #1: 5%")]


@pytest.mark.parametrize(("name", "beside"), NAMES)
def test_a_folder_of_any_name_is_read_and_no_other(tmp_path, name, beside):
    apps = []
    for folder in (tmp_path / beside, tmp_path / name):
        own = {"ingest": {"source": str(folder / "app.sql"), "raw": str(folder / "raw")}}
        events = [*GOOD, event(folder.name, "2024-03-02 10:00", "purchase", amount=5.0)]
        users = [{"user_id": each, "plan": each} for each in ("a", folder.name)]
        apps.append(small_app(folder, overrides=own, events=events, users=users))
        apps[-1].ingest()
    app = apps[-1]
    reports = app.ingest()
    assert (reports["events"].unchanged, reports["users"].unchanged) == (4, 2)
    assert app.aggregate() == [date(2024, 3, day) for day in (1, 2, 3)]
    with app.history(date(2024, 3, 4)) as history:
        assert set(history.events.user_id.execute()) == set(history.users.user_id.execute()) == {"a", name}
    assert set(app.snapshots(date(2024, 3, 4)).trait_plan) == {"a", name}


# --- rows that break the contract -----------------------------------------------------------------------------

BAD_EVENTS = [
    ({"user_id": None}, "user_id is missing"),
    ({"user_id": "  "}, "user_id is missing"),
    ({"event_id": None}, "event_id is missing"),
    ({"event_name": None}, "event_name is missing"),
    ({"occurred_at": None}, "occurred_at is missing"),
    ({"occurred_at": datetime(2031, 1, 1, tzinfo=UTC)}, "occurred_at lies in the future"),
    ({"occurred_at": datetime(1970, 1, 1, tzinfo=UTC)}, "occurred_at lies before 1990-01-01"),
    ({"received_at": datetime(2031, 1, 1, tzinfo=UTC)}, "received_at lies in the future"),
    ({"received_at": datetime(2024, 3, 1, tzinfo=UTC)}, "received_at lies before occurred_at"),
    ({"amount": -0.01}, "amount is negative and the event is no refund"),
    ({"amount": 1_000_000.01}, "amount exceeds ingest.max_amount"),
    ({"amount": -1_000_000.01, "event_name": "refund"}, "amount exceeds ingest.max_amount"),
    ({"amount": float("nan")}, "amount is not a finite number"),
    ({"amount": float("inf")}, "amount is not a finite number"),
    ({"discount": -1.0}, "discount is negative"),
    ({"discount": 1e308}, "discount exceeds ingest.max_amount"),
    ({"quantity": float("-inf")}, "quantity is not a finite number"),
]
BAD_TREATMENTS = [
    ({"discount": 1.5}, "discount is not a share between 0 and 1"),
    ({"discount": None}, "discount is missing"),
    ({"propensity": 0.0}, "propensity is not a probability above 0"),
    ({"propensity": 1.2}, "propensity is not a probability above 0"),
    ({"offer_id": "nobody"}, "offer_id is the name of a policy"),
    ({"offer_id": "Top_risk"}, "offer_id is the name of a policy"),
    ({"propensity": 9e-7}, "propensity lies below 0.000001"),
    ({"propensity": 1e-300}, "propensity lies below 0.000001"),
    ({"cost": -1.0}, "cost is negative"),
    ({"cost": 1_000_000.01}, "cost exceeds ingest.max_amount"),
    ({"offer_id": None}, "offer_id is missing, which is none where nothing was given"),
    ({"channel": None}, "channel is missing"),
    ({"decided_at": datetime(2031, 1, 1, tzinfo=UTC)}, "decided_at lies in the future"),
    ({"valid_until": datetime(2024, 3, 1, tzinfo=UTC)}, "valid_until lies before decided_at"),
]


@pytest.fixture(scope="module")
def dirty(tmp_path_factory) -> App:
    """App in which each kind of fault occurs once, named by its item or offer."""
    events = [
        {**event("a", "2024-03-05", "purchase", item_id=str(number)), **fault}
        for number, (fault, _) in enumerate(BAD_EVENTS)
    ]
    treatments = [
        {**treatment("a", "2024-03-05", "come_back", 0.1, decision_id=str(number)), **fault}
        for number, (fault, _) in enumerate(BAD_TREATMENTS)
    ]
    folder = tmp_path_factory.mktemp("dirty")
    own = {"source": str(folder / "app.sql"), "raw": str(folder / "raw"), **LENIENT}
    good = treatment("a", "2024-03-05", "come_back", 0.1, valid_until="2030-01-01")
    users = [{"user_id": "a"}, {"user_id": None}]
    return small_app(
        folder, overrides={"ingest": own}, events=[*GOOD, *events], treatments=[good, *treatments], users=users
    )


def test_every_bad_row_goes_to_quarantine_with_its_reason(dirty):
    reports = dirty.ingest()
    assert {table: report.added for table, report in reports.items()} == {"events": 3, "users": 1, "treatments": 1}
    events = quarantine(dirty).set_index("item_id").reason
    assert {number: events[str(number)] for number in range(len(BAD_EVENTS))} == {
        number: reason for number, (_, reason) in enumerate(BAD_EVENTS)
    }
    treatments = quarantine(dirty, "treatments").set_index("decision_id").reason
    assert {number: treatments[str(number)] for number in range(len(BAD_TREATMENTS))} == {
        number: reason for number, (_, reason) in enumerate(BAD_TREATMENTS)
    }
    assert quarantine(dirty, "users").reason.tolist() == ["user_id is missing"]
    assert sum(reports["events"].reasons.values()) == reports["events"].quarantined == len(BAD_EVENTS)


def test_every_refused_row_is_told_with_its_reason(dirty, tmp_path):
    app = app_with(tmp_path, **LENIENT)
    app.ingest()
    clash = app.write(events=[{**GOOD[0], "amount": 6.0}, *GOOD[1:]]).ingest()["events"]
    for report in (*dirty.ingest().values(), clash):
        told = [sentence for sentence in report.sentences if "went to quarantine" in sentence]
        counts = {sentence.split(": ")[1].split("; ")[0]: int(sentence.split()[0]) for sentence in told}
        assert counts == report.reasons and sum(counts.values()) == report.quarantined > 0
    assert clash.sentences[0].endswith("event_id is already used by another row; " + REPLACE)


def test_a_refund_may_be_negative_and_a_role_decides_what_a_refund_is(tmp_path):
    refund = event("a", "2024-03-05", "money's back", amount=-3.0)
    own = {"source": str(tmp_path / "app.sql"), "raw": str(tmp_path / "raw")}
    app = small_app(tmp_path, overrides={"ingest": own, "roles": {"refund": ["money's back"]}}, events=[*GOOD, refund])
    assert app.ingest()["events"].quarantined == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("yesterday", "occurred_at is not a timestamp"),
        ("2024-13-45T10:00:00Z", "occurred_at is not a timestamp"),
        ("2024-03-01 10:00:00", "occurred_at has no time zone"),
        ("2024-03-01", "occurred_at has no time zone"),
        (None, "occurred_at is missing"),
    ],
)
def test_a_text_that_is_no_instant_is_quarantined(tmp_path, text, reason):
    texts = pa.array([text, "2024-03-01T10:00:00Z"], pa.string())
    table = pa.table(
        {"event_id": ["1", "2"], "user_id": ["a", "a"], "event_name": ["purchase"] * 2, "occurred_at": texts}
    )
    app = app_with(tmp_path, **LENIENT).write(events=table)
    assert app.ingest()["events"].reasons == {reason: 1}


def test_too_many_bad_rows_stop_the_run_and_leave_the_lake_as_it_was(tmp_path):
    app = app_with(tmp_path)
    app.ingest()
    before = files_of(app.lake.root)
    new = event("c", "2024-03-07", "purchase")
    app.write(events=[new, {**GOOD[0], "event_id": "x", "user_id": None}])
    with pytest.raises(
        InputError,
        match=r"1 of 2 rows of events break the contract \(50.0%; most often: user_id is missing\), more than "
        r"ingest.max_bad_share = 1.0%; mend the source or raise the setting",
    ):
        app.ingest()
    assert files_of(app.lake.root) == before


def test_a_bad_table_keeps_the_good_ones_out_too(tmp_path):
    bad = treatment("a", "2024-03-02", "come_back", 7.0)
    app = small_app(tmp_path, events=GOOD, treatments=[bad])
    with pytest.raises(InputError, match="1 of 1 rows of treatments break the contract"):
        app.ingest()
    assert files_of(app.lake.root) == {}


# --- sources and files that cannot be used --------------------------------------------------------------------


def replaced(column: str, values: pa.Array) -> pa.Table:
    table = arrow("events", GOOD)
    return table.set_column(table.schema.get_field_index(column), column, values)


NAIVE = pa.array([datetime(2024, 3, day) for day in (1, 2, 3)], pa.timestamp("us"))
BAD_TABLES = [
    (arrow("events", GOOD).drop_columns(["user_id"]), "events of source .* lacks the column 'user_id'"),
    (arrow("events", GOOD).rename_columns({"amount": "amuont"}), "column 'amuont' outside .* did you mean 'amount'?"),
    (
        replaced("amount", pa.array(["5", "6", "7"])),
        "events.amount of .* is VARCHAR, wanted DOUBLE; cast it in the SQL",
    ),
    (replaced("occurred_at", pa.array([1, 2, 3])), "events.occurred_at of .* is BIGINT, wanted TIMESTAMPTZ; cast it"),
    (
        replaced("occurred_at", NAIVE),
        "events.occurred_at of .* is a TIMESTAMP without a time zone; write occurred_at AT TI",
    ),
    (
        replaced("occurred_at", NAIVE.cast(pa.date32())),
        "is a DATE without a time zone; write occurred_at AT TIME ZONE '…' with the time_zone of your profile",
    ),
    (arrow("events", GOOD).slice(0, 0), "events of source .* has no rows; check that the raw file is not empty"),
]


@pytest.mark.parametrize(("table", "sentence"), BAD_TABLES)
def test_a_table_that_breaks_the_contract_is_refused_whole(tmp_path, table, sentence):
    app = app_with(tmp_path)
    app.ingest()
    before = files_of(app.lake.root)
    app.write(events=table)
    with pytest.raises(InputError, match=sentence):
        app.ingest()
    assert files_of(app.lake.root) == before


OURS = ["known_key", "known_hash", "is_new", "own_hash", "place", "is_newest", "since", "held_hash", "raw_signed_up_at"]
WORDS = ["new", "known", "facts", "merged", "given", "told", "select", "order", "hash", "user", "row", "table"]


def test_a_trait_may_be_called_like_anything_of_ours(tmp_path):
    users = [{"user_id": user, "signed_up_at": at("2024-01-01"), **dict.fromkeys(OURS + WORDS, user)} for user in "ab"]
    app = small_app(tmp_path, events=GOOD, users=users)
    texts = "SELECT * REPLACE (signed_up_at::VARCHAR AS signed_up_at)"
    script = Path(app.settings.ingest.source)
    script.write_text(script.read_text().replace("VIEW users AS SELECT *", f"VIEW users AS {texts}"))
    app.ingest()
    assert app.ingest()["users"].unchanged == 2
    stored_users = pd.read_parquet(app.lake.path("users", "users.parquet"))
    assert all(stored_users[name].tolist() == ["a", "b"] for name in OURS + WORDS)


def test_a_thousand_traits_are_put_right(tmp_path):
    """Expressions of SQL may be 1,000 deep."""
    names = [f"t{number}" for number in range(1_000)]
    repairs = row_repairs(USERS, dict.fromkeys(names, "DOUBLE"), small_app(tmp_path, events=GOOD).settings, NOW)
    with duckdb.connect() as connection:
        connection.register("wide", pa.Table.from_pylist([dict.fromkeys(names, 1.0)]))
        assert len(connection.execute(f"DESCRIBE {repaired('FROM wide', repairs)}").fetchall()) == 1_001


@pytest.mark.parametrize("name", ["reason", "day", "Day", "_own", "loyalty_y", "pets owned", "t" * 64])
def test_a_trait_whose_name_the_pipeline_needs_is_refused(tmp_path, name):
    app = small_app(tmp_path, events=GOOD, users=[{"user_id": "a", name: "x"}])
    with pytest.raises(InputError, match=f"has a column '{name}', which cannot name a trait; rename it in the SQL"):
        app.ingest()


@pytest.mark.parametrize("content", [b"", b"no parquet", None], ids=["empty", "corrupt", "missing"])
def test_a_raw_file_that_cannot_be_read_is_named(tmp_path, content):
    app = app_with(tmp_path)
    raw = Path(app.settings.ingest.raw, "events.parquet")
    raw.unlink() if content is None else raw.write_bytes(content)
    with pytest.raises(InputError, match=r"source .*app.sql failed .*events.parquet.*; mend the SQL or the raw file"):
        app.ingest()
    assert files_of(app.lake.root) == {}


def test_a_raw_file_damaged_inside_is_named(tmp_path):
    app = tiny_app(tmp_path)
    raw = Path(app.settings.ingest.raw, "events.parquet")
    content = raw.read_bytes()
    raw.write_bytes(content[:200] + bytes(200) + content[400:])
    with pytest.raises(InputError, match=r"source .*app.sql failed .*events.parquet"):
        app.ingest()


def test_a_missing_raw_folder_is_named(tmp_path):
    app = app_with(tmp_path)
    nowhere = app.settings.ingest.model_copy(update={"raw": str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match=r"ingest\.raw = '.*nowhere' is not a folder; point it at"):
        App(app.settings.model_copy(update={"ingest": nowhere})).ingest()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("package:no_such_package/data", "package 'no_such_package' is not installed; install it"),
        ("package:pandas/no_such_folder", "ingest.raw = 'package:pandas/no_such_folder' is not a folder"),
    ],
)
def test_a_missing_package_or_its_folder_is_named(tmp_path, raw, sentence):
    app = app_with(tmp_path)
    ingest = app.settings.ingest.model_copy(update={"raw": raw})
    with pytest.raises(InputError, match=sentence):
        App(app.settings.model_copy(update={"ingest": ingest})).ingest()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("CREATE VIEW users AS SELECT 'a' AS user_id", "defines no view 'events'; write CREATE VIEW events AS SELECT"),
        ("CREATE VIEW events AS SELEC 1", "source .*app.sql failed .*[Ss]yntax error.*; mend the SQL"),
        ("CREATE VIEW events AS SELECT * FROM nowhere", "source .*app.sql failed .*nowhere.*; mend the SQL"),
    ],
)
def test_a_source_that_is_no_source_is_refused(tmp_path, script, sentence):
    app = app_with(tmp_path)
    Path(app.settings.ingest.source).write_text(script, encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        app.ingest()


def test_an_error_of_the_source_keeps_its_line_and_its_place(tmp_path):
    app = app_with(tmp_path)
    Path(app.settings.ingest.source).write_text("CREATE VIEW events AS\nSELECT 1 AS event_id,\n  x y z\nFROM nothing")
    with pytest.raises(InputError) as error:
        app.ingest()
    sentence, line, place = str(error.value).splitlines()
    assert sentence.endswith('syntax error at or near "z"); mend the SQL or the raw file it names')
    assert line == "LINE 3:   x y z" and line[place.index("^")] == "z"


def test_a_line_of_csv_that_cannot_be_read_is_named_with_its_file(tmp_path):
    app = app_with(tmp_path)
    Path(app.settings.ingest.raw, "events.csv").write_text("amount,user_id\n" + "1.5,a\n" * 30_000 + "one,a\n")
    Path(app.settings.ingest.source).write_text(
        "CREATE VIEW events AS SELECT user_id AS event_id, user_id, 'purchase' AS event_name, amount, "
        "TIMESTAMPTZ '2024-03-01 10:00:00+00' AS occurred_at FROM read_csv(getvariable('raw') || '/events.csv')"
    )
    sentence = r"failed \(.*CSV Error on Line: 30002; .*one,a.*; file .*events.csv\); mend"
    with pytest.raises(InputError, match=sentence):
        app.ingest()


@pytest.mark.parametrize("content", ["\ufeff", b"\xff\xfe"])
def test_a_source_in_another_encoding_is_read_or_named(tmp_path, content):
    app = app_with(tmp_path)
    source = Path(app.settings.ingest.source)
    before = source.read_bytes()
    source.write_bytes((content.encode() if isinstance(content, str) else content) + before)
    if isinstance(content, str):
        assert app.ingest()["events"].added == 3
    else:
        with pytest.raises(InputError, match=r"app.sql cannot be read .*; check its permissions and encoding"):
            app.ingest()


def test_a_value_that_cannot_be_cast_fails_with_the_source_named(tmp_path):
    app = app_with(tmp_path)
    Path(app.settings.ingest.source).write_text(
        "CREATE VIEW events AS SELECT 'e' AS event_id, 'a' AS user_id, 'purchase' AS event_name, "
        "TIMESTAMPTZ '2024-03-01 00:00:00+00' AS occurred_at, CAST('five' AS DOUBLE) AS amount"
    )
    with pytest.raises(InputError, match=r"source .*app.sql failed .*'five'"):
        app.ingest()


def test_an_unknown_source_name_suggests_the_nearest(tmp_path):
    app = app_with(tmp_path)
    ingest = app.settings.ingest.model_copy(update={"source": "online_retial"})
    with pytest.raises(InputError, match=r"source 'online_retial' was not found .* did you mean 'online_retail'\?"):
        App(app.settings.model_copy(update={"ingest": ingest})).ingest()


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path):
    app = app_with(tmp_path)
    (tmp_path / "file.txt").write_text("not a folder")
    below = app.settings.model_copy(update={"data_dir": tmp_path / "file.txt" / "sub"})
    with pytest.raises(InputError, match=r"data folder .*sub cannot be written .*; choose another with --data-dir"):
        App(below).ingest()


@pytest.mark.parametrize("table", ["events", "users"])
@pytest.mark.parametrize("content", [b"", b"no parquet"], ids=["empty", "corrupt"])
def test_a_corrupt_file_in_the_lake_is_named_and_nothing_is_written(tmp_path, table, content):
    app = small_app(tmp_path, events=GOOD, users=[{"user_id": "a"}])
    app.ingest()
    path = (
        app.lake.path("users", "users.parquet") if table == "users" else app.lake.partition("events", date(2024, 3, 2))
    )
    path.write_bytes(content)
    before = files_of(app.lake.root)
    app.write(events=[*GOOD, event("b", "2024-03-03", "purchase")], users=[{"user_id": "a"}, {"user_id": "b"}])
    with pytest.raises(InputError, match=rf"a file of .* cannot be read .*{path.name}.*; (restore|delete) it"):
        app.ingest()
    assert files_of(app.lake.root) == before


def test_the_moment_of_ingestion_decides_what_the_future_is(tmp_path):
    app = app_with(tmp_path, **LENIENT)
    assert app.ingest(now=at("2024-03-02 10:00"))["events"].added == 2
    assert app.ingest(now=NOW)["events"].added == 1


def test_rows_refused_later_join_those_refused_before(tmp_path):
    app = app_with(tmp_path, **LENIENT)
    for bad in (-1.0, -2.0):
        app.write(events=[*GOOD, event("a", "2024-03-05", "purchase", amount=bad)]).ingest()
    assert sorted(quarantine(app).amount) == [-2.0, -1.0]
    app.write(events=GOOD).ingest()
    assert sorted(quarantine(app).amount) == [-2.0, -1.0]


# --- history that was wrong -----------------------------------------------------------------------------------


def facts_of(app: App) -> dict[str, bytes]:
    """Contract tables and daily rows, once they are up to date."""
    app.aggregate()
    tables = ("events", "treatments", "aggregates", "category_hour_counts")
    return {name: app.lake.files.read(name) for table in tables for name in app.lake.files.list(f"{table}/*/*.parquet")}


MENDED = [event("a", "2024-03-01 10:00", "purchase", amount=9.0), event("b", "2024-03-03 10:00", "purchase")]


def test_a_mended_source_names_replace_as_the_remedy_and_replace_takes_it(tmp_path):
    app = app_with(tmp_path)
    app.ingest()
    facts_of(app)
    app.write(events=MENDED)
    with pytest.raises(
        InputError, match=r"already used by another row\).*; where the source was mended, winback inges"
    ):
        app.ingest()
    report = app.ingest(replacing=EVERY_DAY)["events"]
    assert (report.added, report.replaced) == (2, 3)
    fresh = small_app(tmp_path / "fresh", events=MENDED)
    fresh.ingest()
    assert facts_of(app) == facts_of(fresh)


@settings(max_examples=3, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9)), min_size=1, max_size=6), st.integers(1, 6),
       st.integers(0, 5))  # fmt: skip
def test_replaced_days_are_those_of_a_fresh_folder_and_the_others_stay(tmp_path_factory, rows, first, length):
    folder = tmp_path_factory.mktemp("replaced")
    before = [event("a", f"2024-03-{day:02d} 10:00", "purchase", amount=5.0) for day in range(1, 7)]
    days = DayRange(date(2024, 3, first), date(2024, 3, min(first + length, 6)))
    mended = [
        event("a", f"2024-03-{day:02d} 10:00", "purchase", amount=1.0 + amount) for day, amount in dict(rows).items()
    ]
    app = small_app(folder, events=before)
    app.ingest()
    facts_of(app)
    app.write(events=mended)
    inside = [row for row in mended if days.first <= row["occurred_at"].date() <= days.last]
    if not inside:
        with pytest.raises(InputError, match=f"has no rows from {days.first} to {days.last}"):
            app.ingest(replacing=days)
        return
    report = app.ingest(replacing=days)["events"]
    assert (report.read, report.added, report.replaced) == (len(inside), len(inside), (days.last - days.first).days + 1)
    outside = [row for row in before if not days.first <= row["occurred_at"].date() <= days.last]
    expected = small_app(folder / "fresh", events=[*outside, *inside])
    expected.ingest()
    assert facts_of(app) == facts_of(expected)


def test_decisions_of_winbacks_own_outlive_a_replacement(tmp_path):
    mine, theirs = treatment("a", "2024-03-02", "come_back", 0.1), treatment("b", "2024-03-02", "come_back", 0.1)
    app = small_app(tmp_path, events=GOOD, treatments=[mine, theirs])
    app.ingest()
    ledger = arrow("treatments", [mine]).select(["decision_id"])
    app.lake.files.make_folder("ledger/day=2024-03-02")
    pq.write_table(ledger, app.lake.path("ledger", "day=2024-03-02", "nightly.parquet"))
    app.write(events=GOOD, treatments=[{**theirs, "decision_id": "mended"}]).ingest(replacing=EVERY_DAY)
    assert stored(app, "treatments", date(2024, 3, 2)).decision_id.tolist() == [mine["decision_id"], "mended"]


def test_a_replacement_lets_nobody_score_with_what_was_wrong(tmp_path):
    app = app_with(tmp_path)
    app.ingest()
    for day in (date(2024, 3, 2), date(2024, 3, 3)):
        app.lake.files.write(app.lake.partition_name("snapshots", day), b"")
    app.ingest(replacing=DayRange(date(2024, 3, 2), date(2024, 3, 2)))
    assert app.lake.days("snapshots") == [date(2024, 3, 2)]


def test_the_time_zone_of_stored_days_cannot_change_unless_they_are_all_replaced(tmp_path):
    events = [event("a", "2024-02-01 23:30", "purchase", amount=10.0), event("b", "2024-02-01 10:00", "purchase")]
    app = small_app(tmp_path, events=events)
    app.ingest()
    facts_of(app)
    before = files_of(app.lake.root)
    tokyo = App(app.settings.model_copy(update={"time_zone": "Asia/Tokyo"}))
    tokyo.write(events=[*events, event("a", "2024-02-02 03:00", "purchase", amount=5.0)])
    for replacing in (None, DayRange(date(2024, 2, 1), date(2024, 2, 9))):
        with pytest.raises(InputError, match=r"begin at midnight of UTC, .*'Asia/Tokyo' do not; set 'UTC' again, or"):
            tokyo.ingest(replacing=replacing)
    assert files_of(app.lake.root) == before
    tokyo.ingest(replacing=EVERY_DAY)
    assert stored(tokyo, "events", date(2024, 2, 2)).user_id.tolist() == ["a", "a"]
    assert tokyo.ingest()["events"].unchanged == 3
    snapshot = tokyo.aggregate() and tokyo.snapshots(date(2024, 2, 3)).loc["a"].iloc[0]
    assert (snapshot["spend_sum_7d"], snapshot["active_days_count_7d"]) == (15.0, 1)


def test_the_time_zone_of_decisions_made_cannot_change(tmp_path):
    app = app_with(tmp_path)
    app.ingest()
    app.lake.files.write("ledger/day=2024-03-02/nightly.parquet", b"")
    tokyo = App(app.settings.model_copy(update={"time_zone": "Asia/Tokyo"}))
    with pytest.raises(InputError, match=r"holds decisions of winback's own, made on days of UTC"):
        tokyo.ingest(replacing=EVERY_DAY)
