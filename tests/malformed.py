"""A small app as files of an operator's own, what can be done to them, and what must hold whatever was done."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from typer.testing import CliRunner

from configs.errors import InputError
from configs.named_files import FOLDER
from features.definitions.app_declarations import declarations_of
from features.ingestion.ingest_source import TableIngest, ingest_source
from features.storage.lake import Lake
from flows.cli import app as command_line
from flows.runs.opened_run import open_run
from serving.lookups.configuration_check import check_offers, check_source
from serving.wording.language_file import load_language

NOW = datetime(2024, 6, 1, tzinfo=UTC)
EVENTS = "event_id,user_id,event_name,occurred_at,amount,item_category\n" + "".join(
    f"e{day},u{day % 4},{'view_item' if day % 2 else 'purchase'},2024-03-{day:02}T10:00:00Z,{day}.5,tea\n"
    for day in range(1, 13)
)
USERS = "user_id,signed_up_at,plan\nu0,2024-01-01T00:00:00Z,free\nu1,2024-01-02T00:00:00Z,plus\nu2,,free\n"
TREATMENTS = "user_id,decided_at,offer_id,discount,channel\nu0,2024-03-05T00:00:00Z,ten_percent,0.1,email\n"
COLUMNS = "event_id, user_id, event_name, occurred_at, amount::DOUBLE AS amount, item_category"
CSV_SOURCE = f"""-- the shop's exports
CREATE VIEW events AS SELECT {COLUMNS} FROM read_csv(getvariable('raw') || '/events.csv', all_varchar = true);
CREATE VIEW users AS SELECT * FROM read_csv(getvariable('raw') || '/users.csv', all_varchar = true);
CREATE VIEW treatments AS SELECT * REPLACE (discount::DOUBLE AS discount)
FROM read_csv(getvariable('raw') || '/treatments.csv', all_varchar = true);
"""
PROFILE = """app = "My shop"
currency = "EUR"
time_zone = "Europe/Berlin"
offers = "my_offers.toml"
language = "my_words.toml"

[ingest]
source = "my_source.sql"
raw = "raw"
max_bad_share = 1.0

[roles]
activity = ["purchase", "view_item"]
value = ["purchase"]

[features.custom.tea_bought]
meaning = "Tea bought."
role = "value"
where = ['category = "tea"']
measure = "sum"
windows = [7, 28]
"""
OFFERS = """[ten_percent]
title = "Ten percent off"
play = "win-back mail"
channel = "email"
message = "{{ discount }} off until {{ last_day }}."
discounts = [0.10]
valid_days = 14
contact_cost = 0.05
covered_spend = 30.0
"""
READERS = {"csv": "read_csv(getvariable('raw') || '/events.csv', all_varchar = true)",
           "json": "read_json(getvariable('raw') || '/events.json')",
           "parquet": "read_parquet(getvariable('raw') || '/events.parquet')"}  # fmt: skip


class Tally:
    """What became of the cases: how many were taken, refused, and ended otherwise."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.faults: list[str] = []

    def __str__(self) -> str:
        ends = Counter(name.rpartition(": ")[2] for name in self.cases.elements())
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.cases.items()))
        rows = self.rows
        return (
            f"{self.cases.total()} malformed inputs: taken {ends['taken']}, refused {ends['refused']}, "
            f"tracebacks {ends['traceback']}, silent {ends['silent']}; {rows['read']} rows in = {rows['kept']} kept + "
            f"{rows['quarantined']} quarantined + {rows['duplicates']} duplicates\n{kinds}"
        )


class Files:
    """The files of one case, written anew."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "raw").mkdir(parents=True)
        self.folder = folder
        own = {"profile.toml": PROFILE, "my_offers.toml": OFFERS, "my_source.sql": CSV_SOURCE,
               "raw/events.csv": EVENTS, "raw/users.csv": USERS, "raw/treatments.csv": TREATMENTS}  # fmt: skip
        for name, text in own.items():
            self.write(name, text)
        shutil.copy(FOLDER / "languages" / "en.toml", folder / "my_words.toml")

    @property
    def profile(self) -> str:
        return str(self.folder / "profile.toml")

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    def events_as(self, kind: str) -> bytes:
        """Write the events as another kind of file, with a source for it, and return its content."""
        rows = pa.csv.read_csv(self.folder / "raw" / "events.csv")
        path = self.folder / "raw" / f"events.{kind}"
        if kind == "parquet":
            pq.write_table(rows, path)
            columns = COLUMNS.replace("occurred_at", "occurred_at AT TIME ZONE 'UTC' AS occurred_at")
        elif kind == "json":
            path.write_text("\n".join(map(str, rows.to_pylist())).replace("'", '"'))
            rows = rows.set_column(3, "occurred_at", rows["occurred_at"].cast(pa.string()))
            path.write_text("\n".join(map(str, rows.to_pylist())).replace("'", '"'))
            columns = COLUMNS.replace("occurred_at", "occurred_at::VARCHAR AS occurred_at")
        else:
            columns = COLUMNS
        self.write("my_source.sql", f"CREATE VIEW events AS SELECT {columns} FROM {READERS[kind]}")
        return path.read_bytes()


def ingested(files: Files) -> list[TableIngest]:
    """Read everything that the configuration names, and ingest: what a night does before it decides."""
    settings, lake, _ = open_run(files.profile, str(files.folder / "data"), date(2024, 5, 1))
    configured(files)
    return ingest_source(settings, lake, NOW)


def configured(files: Files) -> list[TableIngest]:
    """Read everything that the configuration names."""
    settings, _, _ = open_run(files.profile, str(files.folder / "data"), None)
    check_source(settings)
    check_offers(settings)
    load_language(settings.language)
    declarations_of(settings)
    return []


def counts_of(lake: Lake, reports: list[TableIngest]) -> Counter[str]:
    """Add up what was read and what became of it; every row is in the lake, in quarantine or a duplicate."""
    total: Counter[str] = Counter()
    for each in reports:
        assert each.read == each.added + each.unchanged + each.duplicates + each.quarantined, each
        assert sum(each.reasons.values()) == each.quarantined, each
        stored = sum(
            pq.read_metadata(lake.path(name)).num_rows for name in lake.files.list(f"{each.table}/**/*.parquet")
        )
        assert stored == each.added, (each, stored)
        refused = lake.path("quarantine", "my_source", f"{each.table}.parquet")
        assert refused.exists() == bool(each.quarantined), each
        total += Counter(read=each.read, kept=each.added, quarantined=each.quarantined, duplicates=each.duplicates)
    return total


def require_lines_read(files: Files, reports: list[TableIngest]) -> None:
    """Hold the rows read of a CSV file against a reader of another make, where the file is plain to that."""
    for each in reports:
        path = files.folder / "raw" / f"{each.table}.csv"
        if f"/{path.name}" not in (files.folder / "my_source.sql").read_text(errors="replace"):
            continue
        try:
            with path.open(encoding="utf-8", newline="") as file:
                header, *rows = (row for row in csv.reader(file, strict=True) if row)
        except (ValueError, csv.Error):
            continue
        if all(len(row) == len(header) for row in rows):
            assert each.read == len(rows), f"{each.read} of {len(rows)} rows of {path.name} were read"


def drive(tally: Tally, kind: str, files: Files, run: Callable[[Files], list[TableIngest]], wanted: str = "") -> None:
    """Run a case and note how it ended: taken with every row accounted for, or refused in a sentence, nothing written.

    `wanted` is part of the sentence, or of what is told of the rows, that must come: else the case is silent.
    """
    lake = Lake(files.folder / "data")
    try:
        reports = run(files)
        tally.rows += counts_of(lake, reports)
        require_lines_read(files, reports)
        told, end = "\n".join(sentence for each in reports for sentence in each.sentences), "taken"
    except InputError as error:
        told, end = str(error), "refused"
        if not told.strip() or lake.files.list("**/*.parquet"):
            end = "silent"
    except Exception as error:  # whatever else it is, it would be a traceback
        told, end = f"{type(error).__name__}: {error}", "traceback"
    if wanted not in told:
        end = "silent" if end != "traceback" else end
    tally.cases[f"{kind}: {end}"] += 1
    if end in ("silent", "traceback"):
        tally.faults.append(f"{kind}: {end}: {told[:500]!r}, wanted {wanted!r}")
    assert end in ("taken", "refused"), tally.faults[-1]


def commanded(tally: Tally, arguments: list[str], wanted: str) -> None:
    """Run a command line in this process: its exit code is that of bad input, and the sentence stands there."""
    ended = CliRunner().invoke(command_line, arguments)
    fine = ended.exit_code == 2 and wanted in ended.output + ended.stderr and "Traceback" not in ended.output
    tally.cases[f"command lines: {'refused' if fine else 'traceback'}"] += 1
    assert fine, (arguments, ended.exit_code, ended.output[-800:], ended.exception)
