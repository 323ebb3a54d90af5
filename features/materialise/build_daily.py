"""Files of daily rows: each day computed once, and again only when its events, treatments or declarations changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import feather

from configs.progress import track
from configs.settings import Roles, Settings
from features.definitions.app_declarations import declarations_of, definitions_of
from features.definitions.registry import Declarations
from features.engine.daily_aggregation import WORDS, day_rows, event_columns, joined_rows
from features.engine.session_days import KEYS, OpenSession, night_sessions, open_sessions
from features.materialise.executor import Executor, open_executor
from features.storage.lake import Lake
from features.storage.whole_writes import content_hash, scratch_folder
from features.tables.code_version import code_version
from features.tables.fingerprints import (
    DAILY_TABLES,
    file_fingerprints,
    file_hashes,
    remembered,
    write_daily_rows,
)
from features.tables.parquet_files import column_names
from features.tables.removed_days import first_kept_days
from features.tables.row_group_reader import KeyRange, read_users, user_ranges

EVERYBODY: KeyRange[str] = KeyRange()
DAYS_AT_ONCE = 64  # of daily rows that are published together
EVENTS_AT_ONCE = 4_000_000  # of a day: its users are cut into ranges where it has more


@dataclass(frozen=True)
class DailyBuilder:
    """Computes daily rows where the files of the data folder are seen.

    `stale` maps the days to the hash of their input, `begun` to the sessions that go on from the day before, `cuts`
    huge days to ranges of their users, in order; what is found about those lies in the folder `parts` until it is put
    together. `files` are where to write, by the names of the files of each table and day.
    """

    lake: Lake
    roles: Roles
    time_zone: str
    declared: Declarations
    stale: Mapping[date, str]
    begun: Mapping[date, list[OpenSession]]
    cuts: Mapping[date, Sequence[KeyRange[str]]]
    parts: Path
    files: Mapping[str, Path] = field(default_factory=dict)

    def write_part(self, part: tuple[date, int]) -> None:
        """Compute one range of users of a huge day."""
        day, number = part
        for table, rows in self._rows(day, self.cuts[day][number]).items():
            feather.write_feather(rows, self._path(table, day, number), compression="lz4")

    def write_day(self, day: date) -> None:
        """Write the files of a day."""
        numbers = range(len(self.cuts.get(day, ())))
        parts = [
            {table: feather.read_table(self._path(table, day, number)) for table in DAILY_TABLES} for number in numbers
        ]
        tables = joined_rows(parts) if parts else self._rows(day, EVERYBODY)
        for table in DAILY_TABLES:
            write_daily_rows(tables[table], self.files[self.lake.partition_name(table, day)], self.stale[day])

    def _rows(self, day: date, users: KeyRange[str]) -> dict[str, pa.Table]:
        morrow = day + timedelta(days=1)
        return day_rows(
            self._events(day, users),
            read_users(self._checked("treatments", day), ["user_id", "offer_id"], users)
            if self.lake.has_partition("treatments", day)
            else None,
            day,
            self.roles,
            self.time_zone,
            self.declared,
            begun_before=self.begun.get(day, ()),
            after=self._events(morrow, users) if self.begun.get(morrow) else None,
            going_on=self.begun.get(morrow, ()),
        )

    def _events(self, day: date, users: KeyRange[str]) -> pa.Table:
        columns = event_columns(self.declared)
        if not self.lake.has_partition("events", day):
            return columns.empty_table()
        return read_users(self._checked("events", day), columns.names, users, words=WORDS)

    def _checked(self, table: str, day: date) -> Path:
        self.lake.files.check(self.lake.partition_name(table, day))
        return self.lake.partition(table, day)

    def _path(self, table: str, day: date, number: int) -> Path:
        return self.parts / f"{table}-{day}-{number:05d}.arrow"


def build_aggregates(settings: Settings, lake: Lake) -> list[date]:
    """Bring the daily rows up to date with the events; returns the days that were computed.

    A day is computed again when its events, its treatments or the declarations of its rows changed, or what its
    sessions went on with after midnight, and goes where it has neither any more.
    """
    lake.require_whole("events", "treatments")  # what is missing must not be taken for a day without any
    _remove_others(lake, declarations_of(settings))
    begun = _begun_before(settings, lake)
    stale = _stale_days(settings, lake, begun)
    if not stale:
        return []
    cuts = {
        day: users
        for day in stale
        if lake.has_partition("events", day)
        and len(users := user_ranges(lake.partition("events", day), EVENTS_AT_ONCE)) > 1
    }
    executor = open_executor(settings)
    with scratch_folder(lake.path("tmp")) as folder:
        builder = DailyBuilder(
            lake, settings.roles, settings.time_zone, declarations_of(settings), stale, begun, cuts, folder
        )
        parts = [(day, number) for day, users in cuts.items() for number in range(len(users))]
        for _ in executor.each(builder.write_part, parts):
            pass
        for _ in track(_written(executor, builder), "daily rows", total=len(stale)):
            pass
    return sorted(stale)


def _remove_others(lake: Lake, declared: Declarations) -> None:
    """Remove daily rows of days without events and treatments; where retention took those, what is whole stays."""
    there = {*lake.days("events"), *lake.days("treatments")}
    kept_from, columns = first_kept_days(lake).get("events", date.min), {*declared.measures, *declared.day_marks}

    def stays(table: str, day: date) -> bool:
        if day > kept_from:
            return day in there
        return table != "aggregates" or columns <= {*column_names(lake.partition(table, day))}

    gone = [f"{table}/day={day}" for table in DAILY_TABLES for day in lake.days(table) if not stays(table, day)]
    if gone:
        with lake.files.publish() as publication:
            for name in gone:
                publication.remove(name)


def _written(executor: Executor, builder: DailyBuilder) -> Iterator[None]:
    """Write the stale days, some at a time, which appear together: a run that is cut off goes on from there."""
    days = list(builder.stale)
    for some in (days[first : first + DAYS_AT_ONCE] for first in range(0, len(days), DAYS_AT_ONCE)):
        with builder.lake.files.publish() as publication:
            names = [builder.lake.partition_name(table, day) for table in DAILY_TABLES for day in some]
            files = {name: publication.path(name) for name in names}
            yield from executor.each(replace(builder, files=files).write_day, some)


def _begun_before(settings: Settings, lake: Lake) -> dict[date, list[OpenSession]]:
    """Find the sessions that go on from one day to the next, by the later day; days are looked at once."""
    nights: dict[Path, tuple[pa.Array, pa.Array]] = {}

    def sessions_of(path: Path) -> tuple[pa.Array, pa.Array]:
        if path not in nights:
            for old in list(nights)[:-1]:
                del nights[old]
            nights[path] = night_sessions(path, settings.time_zone)
        return nights[path]

    def look(morning: Path, evening: Path) -> list[OpenSession]:
        (_, begun), (going_on, _) = sessions_of(evening), sessions_of(morning)
        shared = begun.filter(pc.is_in(begun, value_set=going_on))
        if not len(shared):
            return []
        before, after = (
            pq.read_table(path, columns=KEYS, filters=pc.field("session_id").isin(shared), partitioning=None)
            for path in (evening, morning)
        )
        return open_sessions(before, after, settings.time_zone)

    days = set(lake.days("events"))
    with remembered(lake, "sessions.json", look, code_version(__name__), settings.time_zone) as begun_before:
        return {
            day: [(user, session, known) for user, session, known in found]
            for day in sorted(days)
            if (eve := day - timedelta(days=1)) in days
            and (found := begun_before(lake.partition("events", day), lake.partition("events", eve)))
        }


def _stale_days(settings: Settings, lake: Lake, begun: Mapping[date, list[OpenSession]]) -> dict[date, str]:
    """Days whose stored rows do not rest on today's input, each with the hash of that input."""
    declarations = f"{code_version(__name__)}{settings.roles.model_dump_json()}{settings.time_zone}"
    declarations += definitions_of(settings)
    stale = {}
    inputs = {table: set(lake.days(table)) for table in ("events", "treatments")}
    kept_from = first_kept_days(lake).get("events", date.min)
    with file_hashes(lake) as hash_of, file_fingerprints(lake) as fingerprint_of:
        for day in sorted(set().union(*inputs.values())):
            if day <= kept_from:  # its rows, or the evening before it, are no longer there to compute it from
                continue
            hashes = [hash_of(lake.partition(table, day)) for table, days in inputs.items() if day in days]
            if begun.get(day):
                hashes.append(str(begun[day]))
            if begun.get(morrow := day + timedelta(days=1)):
                hashes.append(hash_of(lake.partition("events", morrow)))
            wanted = content_hash(text=declarations + "".join(hashes))
            if any(fingerprint_of(lake.partition(table, day)).input != wanted for table in DAILY_TABLES):
                stale[day] = wanted
    return stale
