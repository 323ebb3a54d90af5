"""400 malformed inputs: each is refused in one sentence, or taken with every row accounted for; never a traceback."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from malformed import CSV_SOURCE, EVENTS, OFFERS, PROFILE, USERS, Files, Tally, commanded, configured, drive, ingested

from configs.named_files import FOLDER

TALLY = Tally()
EXAMPLES, FEW = 36, 3
HOSTILE = ["", " ", "\x00", "\u200b", "NULL", "nan", "inf", "-1", "1e999", "0x10", "9" * 400, "2024-02-31T00:00:00Z",
           "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2024-03-01T10:00:00+99:99", "2024-03-01", "'", '"', "a,b",
           "\n", "\r", "ﬀ", "e\u0301", "\U0001f9db", "<script>", "'; DROP TABLE events; --", "{}", "../../etc/passwd",
           "infinity", "-infinity", "true", "294247-01-10T04:00:54Z", "290309-12-22 (BC) 00:00:00+00"]  # fmt: skip
VALUES = ["inf", "-inf", "nan", "-1", "0", "99999999999999999999", "1e300", '""', '" "', '"\\u0000"', '"a\\nb"', "true",
          "[]", "[[]]", "{}", "[1, 'a']", "2024-01-01", "9999-12-31", "0001-01-01", "12:00:00", '"' + "x" * 5_000 + '"',
          "'../../../../etc/passwd'", "'/dev/zero'", "1.5", "['']", "'{0.__class__}'", "'$'", "[" * 3_000 + "]" * 3_000,
          "'package:os/../..'", "'none'", "9" * 5_000, "{a = {b = {c = 1}}}"]  # fmt: skip
WORDS = ["COPY", "ATTACH", "read_text('/etc/passwd')", ";", "(", ")", "''", "--", "/*", "*/", "SELECT", "NULL", "\x00",
         "uuid()", "FROM", "1/0", "'\u00fc'", "getvariable('x')", "CREATE VIEW hash AS SELECT 1;", "1e400", "UNION ALL",
         "error('x')", "CAST('x' AS INT)", "{'a': 1}", "[1]", "$1", "?", "INTERVAL 1 DAY", "AS reason"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("malformed") / "case"


@pytest.fixture
def examples(full) -> int:
    return EXAMPLES if full else FEW


def drawn(seeds: int, change: Callable[[random.Random], None]) -> None:
    """Draw cases, the same in every run."""

    @hypothesis.settings(max_examples=seeds, derandomize=True, deadline=None, database=None)
    @hypothesis.given(st.randoms(use_true_random=False))
    def one(source: random.Random) -> None:
        change(random.Random(source.getrandbits(64)))

    one()


# --- what somebody did to a file ------------------------------------------------------------------------------


def bytes_changed(content: bytes, source: random.Random) -> bytes:
    """Flip, cut out, put in, repeat or cut off some bytes."""
    changed = bytearray(content)
    for _ in range(source.randint(1, 4)):
        place, length = source.randrange(len(changed) + 1), source.randint(1, 9)
        how = source.choice(["flip", "cut", "put", "repeat", "end"])
        if how == "flip" and place < len(changed):
            changed[place] ^= 1 << source.randrange(8)
        elif how == "cut":
            del changed[place : place + length]
        elif how == "put":
            changed[place:place] = source.randbytes(length)
        elif how == "repeat":
            changed[place:place] = changed[place : place + 10 * length]
        elif how == "end" and place > len(changed) // 2:
            del changed[place:]
    return bytes(changed)


def lines_changed(text: str, source: random.Random) -> str:
    """Drop, repeat, swap, cut or spoil a line, or join the lines by other ends."""
    lines = text.splitlines()
    place, other = source.randrange(len(lines)), source.randrange(len(lines))
    how = source.choice(["drop", "repeat", "swap", "cut", "spoil", "blank", "ends", "comment"])
    if how == "drop":
        del lines[place]
    elif how == "repeat":
        lines[place:place] = [lines[other]] * source.randint(1, 3)
    elif how == "swap":
        lines[place], lines[other] = lines[other], lines[place]
    elif how == "cut":
        lines[place] = lines[place][: len(lines[place]) // 2]
    elif how == "spoil":
        lines[place] = source.choice(HOSTILE) * source.randint(1, 3)
    elif how == "blank":
        lines.insert(place, "")
    elif how == "comment":
        lines.insert(place, "# exported by hand")
    return source.choice(["\n", "\r\n", "\r"]).join(lines) + "\n" if how == "ends" else "\n".join(lines) + "\n"


def fields_changed(text: str, source: random.Random) -> str:
    """Put something hostile into one to three fields."""
    lines = text.splitlines()
    for _ in range(source.randint(1, 3)):
        place = source.randrange(1, len(lines))
        fields = lines[place].split(",")
        value = source.choice(HOSTILE)
        quoted = '"' + value.replace('"', '""') + '"' if source.random() < 0.7 else value
        fields[source.randrange(len(fields))] = quoted
        lines[place] = ",".join(fields)
    return "\n".join(lines) + "\n"


def words_changed(text: str, source: random.Random) -> str:
    """Drop, swap, replace or put in words."""
    words = text.split(" ")
    for _ in range(source.randint(1, 2)):
        place, other = source.randrange(len(words)), source.randrange(len(words))
        how = source.choice(["drop", "swap", "replace", "put"])
        if how == "drop" and len(words) > 2:
            del words[place]
        elif how == "swap":
            words[place], words[other] = words[other], words[place]
        elif how == "replace":
            words[place] = source.choice(WORDS)
        else:
            words.insert(place, source.choice(WORDS))
    return " ".join(words)


def value_changed(text: str, source: random.Random) -> str:
    """Give one key of a TOML file another value, or the file a key too many."""
    lines = text.splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line]
    place = source.choice(keys)
    name = lines[place].split(" = ")[0]
    if source.random() < 0.15:
        lines.insert(place, f"{source.choice([name, 'x.y', chr(34) + 'a.b' + chr(34), name + 's'])} = 1")
    else:
        lines[place] = f"{name} = {source.choice(VALUES)}"
    return "\n".join(lines)


# --- drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [bytes_changed, lines_changed, fields_changed], ids=lambda change: change.__name__)
def test_raw_csv_that_was_spoiled(folder, examples, change):
    def case(source: random.Random) -> None:
        files = Files(folder)
        name, text = source.choice([("events", EVENTS), ("events", EVENTS), ("users", USERS)])
        files.write(
            f"raw/{name}.csv", change(text.encode(), source) if change is bytes_changed else change(text, source)
        )
        drive(TALLY, f"csv {change.__name__}", files, ingested)

    drawn(examples, case)


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_raw_files_whose_bytes_were_spoiled(folder, examples, kind):
    def case(source: random.Random) -> None:
        files = Files(folder)
        content = files.events_as(kind)
        files.write(f"raw/events.{kind}", bytes_changed(content, source))
        drive(TALLY, kind, files, ingested)

    drawn(examples, case)


def test_sources_whose_words_were_spoiled(folder, examples):
    def case(source: random.Random) -> None:
        files = Files(folder)
        files.write("my_source.sql", words_changed(CSV_SOURCE, source))
        drive(TALLY, "sources", files, ingested)

    drawn(examples, case)


@pytest.mark.parametrize("name", ["profile.toml", "my_offers.toml", "my_words.toml"])
@pytest.mark.parametrize("change", [value_changed, lines_changed, bytes_changed], ids=lambda change: change.__name__)
def test_configurations_that_were_spoiled(folder, full, name, change):
    def case(source: random.Random) -> None:
        files = Files(folder)
        text = (folder / name).read_text(encoding="utf-8")
        files.write(name, change(text.encode(), source) if change is bytes_changed else change(text, source))
        drive(TALLY, name, files, configured)

    drawn(EXAMPLES if full else 2 * FEW, case)


# --- made by hand ---------------------------------------------------------------------------------------------


def events_table(**columns: pa.Array) -> pa.Table:
    names = {
        "event_id": pa.array(["1", "2"]),
        "user_id": pa.array(["a", "b"]),
        "event_name": pa.array(["purchase"] * 2),
    }
    names["occurred_at"] = pa.array([1_709_287_200_000_000] * 2, pa.timestamp("us", "UTC"))
    return pa.table(names | columns)


TABLES = [
    ("ids that are floats", events_table(user_id=pa.array([1.0, 2.0])), "which cannot be an id"),
    ("ids that are flags", events_table(user_id=pa.array([True, False])), "which cannot be an id"),
    ("ids in a list", events_table(user_id=pa.array([["a"], ["b"]])), "wanted VARCHAR"),
    ("ids that are bytes", events_table(user_id=pa.array([b"\xff", b"b"])), "wanted VARCHAR"),
    ("ids that print nothing", events_table(user_id=pa.array(["\u200b\u2060", "b"])), "user_id is missing"),
    ("an id with NUL inside", events_table(user_id=pa.array(["a\x00b", "b"])), "user_id holds what prints nothing"),
    ("an id with a line break", events_table(user_id=pa.array(["a\nb", "b"])), "user_id holds what prints nothing"),
    ("instants that are whole numbers", events_table(occurred_at=pa.array([1, 2])), "wanted TIMESTAMPTZ"),
    ("instants without a zone", events_table(occurred_at=pa.array([1, 2], pa.timestamp("us"))), "without a time zone"),
    ("instants that are texts", events_table(occurred_at=pa.array(["now", "soon"])), "is not a timestamp"),
    ("an offset of no zone", events_table(occurred_at=pa.array(["2024-03-01T10:00:00+99:99", "2024-03-01T10:00:00Z"])),
     "has an offset that no time zone has"),
    ("the last instant there is", events_table(occurred_at=pa.array([2**63 - 1, 1], pa.timestamp("us", "UTC"))),
     "lies in the future"),
    ("the first instant there is", events_table(occurred_at=pa.array([-(2**63) + 2, 1], pa.timestamp("us", "UTC"))),
     "lies before 1990-01-01"),
    ("nanoseconds", events_table(occurred_at=pa.array([2**63 - 1, 1], pa.timestamp("ns", "UTC"))), ""),
    ("amounts that are texts", events_table(amount=pa.array(["5", "x"])), "wanted DOUBLE"),
    ("amounts that are none", events_table(amount=pa.array([float("nan"), float("inf")])), "is not a finite number"),
    ("amounts beyond all", events_table(amount=pa.array([1e308, -1e308])), "amount exceeds ingest.max_amount"),
    ("a column too many", events_table(colour=pa.array(["a", "b"])), "outside the contract"),
    ("the words of ingestion", events_table(reason=pa.array(["a", "b"])), "outside the contract"),
    ("no rows", events_table().slice(0, 0), "has no rows"),
    ("two rows of one id", events_table(event_id=pa.array(["1", "1"])), "stands for two different rows"),
    ("columns twice", pa.Table.from_arrays([*events_table().columns, pa.array(["a", "b"])],
                                           names=[*events_table().column_names, "USER_ID"]), ""),
    ("properties that are nested", events_table(properties=pa.array([{"a": [1]}, None])), ""),
    ("a dictionary", events_table(user_id=pa.array(["a", "b"]).dictionary_encode()), ""),
    ("columns of nulls", events_table(amount=pa.nulls(2), session_id=pa.nulls(2)), ""),
    ("ids without any", events_table(user_id=pa.nulls(2)), "user_id is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "table", "wanted"), TABLES, ids=[what for what, *_ in TABLES])
def test_raw_tables_made_by_hand(folder, what, table, wanted):
    files = Files(folder)
    pq.write_table(table, folder / "raw" / "events.parquet")
    files.write("my_source.sql", "CREATE VIEW events AS FROM read_parquet(getvariable('raw') || '/events.parquet')")
    drive(TALLY, "tables by hand", files, ingested, wanted)


RAW = [
    ("an empty file", "events.csv", b"", "my_source.sql failed"),
    ("a header alone", "events.csv", EVENTS.splitlines()[0].encode(), "has no rows"),
    ("UTF-16", "events.csv", EVENTS.encode("utf-16"), "my_source.sql failed"),
    ("Latin-1", "events.csv", EVENTS.replace("tea", "th\u00e9").encode("latin-1"), "my_source.sql failed"),
    ("a byte order mark", "events.csv", b"\xef\xbb\xbf" + EVENTS.encode(), ""),
    ("a ZIP", "events.csv", b"PK\x03\x04" + bytes(200), "my_source.sql failed"),
    ("a page of HTML", "events.csv", b"<!doctype html><html><body>log in</body></html>\n" * 5, "my_source.sql failed"),
    ("a quote that never ends", "events.csv", EVENTS.replace("e3,", 'e3,"', 1).encode(), ""),
    ("semicolons", "events.csv", EVENTS.replace(",", ";").encode(), ""),
    ("a column missing", "events.csv", EVENTS.replace("user_id,", "", 1).encode(), "my_source.sql failed"),
    ("a header twice", "events.csv", (EVENTS + EVENTS).encode(), "my_source.sql failed"),
    ("every row twice", "events.csv", (EVENTS + EVENTS.split("\n", 1)[1]).encode(), ""),
    ("decimal commas", "events.csv", EVENTS.replace(".5", '",5"').encode(), "my_source.sql failed"),
    ("NUL bytes", "events.csv", EVENTS.replace("tea", "t\x00a").encode(), ""),
    ("a line of a megabyte", "events.csv", (EVENTS + "e99," + "u" * 3_000_000 + ",,,,\n").encode(), "my_source"),
    ("a sign-up that never ends", "users.csv", (USERS + "u3,infinity,free\n").encode(), ""),
    ("a sign-up in no zone", "users.csv", USERS.replace("00Z", "00+99:99", 1).encode(), "no time zone has"),
    ("trait names of ours", "users.csv", USERS.replace("plan", "day", 1).encode(), "which cannot name a trait"),
    ("a discount beyond all", "treatments.csv", b"user_id,decided_at,offer_id,discount,channel\n"
     b"u0,2024-03-05T00:00:00Z,ten_percent,1e308,email\n", "discount is not a share"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "name", "content", "wanted"), RAW, ids=[what for what, *_ in RAW])
def test_raw_files_made_by_hand(folder, what, name, content, wanted):
    files = Files(folder)
    files.write(f"raw/{name}", content)
    drive(TALLY, "raw files by hand", files, ingested, wanted)


SOURCES = [
    ("", "defines no view 'events'"),
    ("-- nothing", "defines no view 'events'"),
    ("SELECT 1", "defines no view 'events'"),
    ("\ufeff" + CSV_SOURCE, ""),
    ("\x00", "holds NUL"),
    (CSV_SOURCE + "\x00", "holds NUL"),
    ("CREATE VIEW events AS SELECT", "failed"),
    ("CREATE VIEW events AS FROM events", "failed"),
    ("CREATE TABLE events (a INT)", "defines no view 'events'"),
    ("CREATE VIEW \"EVENTS\" AS SELECT 1", "defines no view 'events'"),
    (CSV_SOURCE + "CREATE VIEW aliases AS SELECT 'a' AS old_user_id, 'a' AS user_id, now() AS since", ""),
    (CSV_SOURCE + "CREATE VIEW aliases AS SELECT 'a' AS x", "lacks the column 'old_user_id'"),
    (CSV_SOURCE.replace("event_id,", "uuid()::VARCHAR AS event_id,", 1), "gives other keys each time"),
    (CSV_SOURCE.replace("event_id,", "NULL AS event_id,", 1), "event_id is missing"),
    ("CREATE VIEW events AS SELECT error('no') AS event_id, 'a' AS user_id, 'p' AS event_name, "
     "TIMESTAMPTZ '2024-03-01 00:00:00+00' AS occurred_at", "failed"),
    ("(" * 5_000, "failed"),
    ("CREATE VIEW events AS SELECT " + "(" * 3_000 + "1" + ")" * 3_000, ""),
    (CSV_SOURCE + "COPY events TO 'x.csv'", "may not COPY"),
    (CSV_SOURCE + "FROM read_text('/etc/passwd')", "may not read '/etc/passwd'"),
    (CSV_SOURCE + "DROP VIEW events", "defines no view 'events'"),
    (CSV_SOURCE.replace("'/events.csv'", "'/nowhere.csv'"), "nowhere.csv"),
    (CSV_SOURCE.replace("amount::DOUBLE", "(item_category || 'x')::DOUBLE"), "failed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), SOURCES, ids=range(len(SOURCES)))
def test_sources_made_by_hand(folder, text, wanted):
    files = Files(folder)
    files.write("my_source.sql", text)
    drive(TALLY, "sources by hand", files, ingested, wanted)


ENGLISH = (FOLDER / "languages" / "en.toml").read_text(encoding="utf-8")
LONG, NUL = "a" * 5_000, "\\u0000"
# of a file's text this, by each of these: what the sentence says
SWAPS = [
    (PROFILE, "Europe/Berlin", ["", "Mars", "../UTC", "a" * 300], "time zone"),
    (PROFILE, "my_source.sql", ["", "no.sql", LONG, NUL, "."], "was not found"),
    (PROFILE, "my_offers.toml", ["", "no.toml", LONG, NUL, "."], "was not found"),
    (PROFILE, "my_words.toml", ["", "no.toml", LONG, NUL, "xx"], "was not found"),
    (PROFILE, '"raw"', ['"no"', '"package:"', '"package:no/x"', '"package:."', f'"{LONG}"'], "ingest.raw = "),
    (PROFILE, '["purchase", "view_item"]', ["[]", '[""]', '["a\\nb"]', "3"], "roles.activity"),
    (PROFILE, "app =", ["threads = 1_000_000\napp =", "threads = -1\napp =", "threads = inf\napp ="], "threads: "),
    (PROFILE, "app =", [f"as_of = {day}\napp =" for day in ("9999-12-31", "1989-12-31", "12:00:00")], "as_of: "),
    (PROFILE, "app =", ["as_of = 2150-12-31\napp ="], "lies in the future"),
    (PROFILE, "[roles]", [f"[scoring]\nbudget = {each}\n[roles]" for each in ("inf", "nan", "-1", "1e99")], "budget: "),
    (PROFILE, "[roles]", ["[scoring.channel_capacity]\npost = 5\n[roles]"], "no offer goes through channel 'post'"),
    (PROFILE, 'category = "tea"', ["", "category", "category ~ 1", "$.a..b = 1", "$.a = inf"], "features.custom"),
    (PROFILE, 'category = "tea"', ["$" + ".a" * 5_000], "deeper"),
    (PROFILE, "[7, 28]", ["[0]", "[28, 7]", "[1e9]", "[]", "7"], "features.custom"),
    (PROFILE, "tea_bought", ["tea_y", "Tea", '"a b"', '""'], "cannot name columns"),
    (PROFILE, 'role = "value"', ['role = "__class__"'], "which there is not"),
    (OFFERS, "14", ["1_000_000_000", "0", "-1", "1.5"], "valid_days"),
    (OFFERS, "0.05", ["inf", "nan", "-1", "1e300"], "contact_cost"),
    (OFFERS, "[ten_percent]", ['[""]', '["\\n"]', '["\\u200b"]', '["a\\u0000"]'], "a name begins and ends with a sign"),
    (OFFERS, "[ten_percent]", ["[none]", "[[a]]"], "is not an offer"),
    (OFFERS, "{{ last_day }}", ["{{ secret }}", "{{", "{% for x in y %}", "$valid_until"], ""),
    (OFFERS, OFFERS, ["ten_percent = 3"], "is not an offer"),
]  # fmt: skip
FILES = ("profile.toml", "my_offers.toml", "my_words.toml")
WHOLE = [
    *(("my_words.toml", text, "my_words.toml") for text in ("", "lead = 3", "[lead]", "\x00", "[formats]\na = ''")),
    ("my_words.toml", ENGLISH.replace("[units]", '[units]\nfor_everybody = "x"'), "which is no unit"),
    *((name, b"\xff\xfe" + PROFILE.encode("utf-16-le"), "is not valid TOML") for name in FILES),
    *((name, "x = " + "[" * 100_000, "deeper") for name in FILES),
    *((name, "[" + "a." * 50_000 + "a]", "deeper") for name in FILES),
    *((name, "#" * 5_000_000, "which no configuration is") for name in FILES),
]
SWAPPED = [(text, old, new, wanted) for text, old, news, wanted in SWAPS for new in news]


@pytest.mark.parametrize(("text", "old", "new", "wanted"), SWAPPED, ids=range(len(SWAPPED)))
def test_configurations_made_by_hand(folder, text, old, new, wanted):
    assert old in text
    files, name = Files(folder), "profile.toml" if text is PROFILE else "my_offers.toml"
    files.write(name, text.replace(old, new, 1))
    drive(TALLY, f"{name} by hand", files, ingested if "ingest.raw" in wanted else configured, wanted)


@pytest.mark.parametrize(("name", "text", "wanted"), WHOLE, ids=range(len(WHOLE)))
def test_files_of_a_configuration_that_are_none(folder, name, text, wanted):
    files = Files(folder)
    files.write(name, text)
    drive(TALLY, f"{name} by hand", files, configured, wanted)


def command_lines() -> Iterator[tuple[list[str], str]]:
    for day in ("", "soon", "2024-02-31", "9999-12-31", "0001-01-01", "2024-1-1T", "-1"):
        yield ["check", "{profile}", "--as-of", day, "--data-dir", "{data}"], ""
    for profile in ("", "no", "a" * 5_000, "\x00", "{folder}", "{folder}/raw/events.csv", ",", "starbucks,,"):
        yield ["settings", "--profile", profile, "--data-dir", "{data}"], ""
    yield ["explain", "\x00", "--profile", "{profile}", "--data-dir", "{data}"], ""
    yield ["explain", "nobody", "--profile", "{profile}", "--data-dir", "{data}"], ""
    for command in ("status", "report", "explain u0", "check"):
        yield (
            [*command.split(), "--as-of", "0001-01-01", "--profile", "{profile}", "--data-dir", "{data}"],
            "1990-01-02",
        )
    for option, value in (("--users", "-1"), ("--users", "1e99"), ("--days", "0"), ("--nothing-share", "7"),
                          ("--seed", "-1"), ("--weeks", "9" * 30), ("--random-weeks", "nan")):  # fmt: skip
        yield ["simulate", option, value, "--data-dir", "{data}"], option
    yield ["nothing"], "nothing"
    yield ["settings", "--no-such-option"], "no-such-option"
    yield ["promote", "churn", "one", "--reason", "x"], "version"


COMMANDS = [*command_lines()]


@pytest.mark.parametrize(("arguments", "wanted"), COMMANDS, ids=range(len(COMMANDS)))
def test_command_lines_made_by_hand(folder, arguments, wanted, monkeypatch):
    files = Files(folder)
    names = {"folder": str(folder), "data": str(folder / "data"), "profile": files.profile}
    monkeypatch.chdir(folder)
    commanded(TALLY, [each.format(**names) for each in arguments], wanted)


def test_every_case_was_counted_and_none_ended_otherwise(full, record_property):
    record_property("told", str(TALLY))
    assert TALLY.faults == []
    assert TALLY.rows["read"] == TALLY.rows["kept"] + TALLY.rows["quarantined"] + TALLY.rows["duplicates"]
    assert not full or TALLY.cases.total() >= 400
