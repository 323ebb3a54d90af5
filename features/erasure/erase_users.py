"""Erasure of users: their data are removed in one publication, and their keyed hashes are added to a list.

Logs and tables of the frameworks (MLflow, Prefect, Feast) are erased first. One publication then removes the users
from all tables, reports and lists, and adds them to the suppression list; once they are on it, the work is complete.
A run that was killed is simply repeated. Files that can be computed again keep the rows of other users, and are
computed again by the next ``winback build-features``, because their inputs have changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import PurePath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.progress import track
from features.erasure.copies_elsewhere import TakenAway, audiences_taken, days_of_lists, printed_reports
from features.erasure.erased_tables import Change, kept_rows, renumbered, unchanged, write_kept
from features.erasure.erased_texts import SUFFIXES, erased_text
from features.erasure.sought_ids import SoughtIds
from features.erasure.sqlite_rows import erase_cells, is_database, named_cells
from features.erasure.table_names import table_of
from features.erasure.traces import Trace, traces
from features.ingestion.contract import ALIASES, EVENTS, TREATMENTS
from features.publishing.sealed_json import resealed
from features.storage.lake import Lake
from features.storage.storage_interface import Publication
from features.suppression.suppression_key import KEY_FILE
from features.suppression.suppression_list import FORGOTTEN, LIST_FILE, Reason, enter, hash_of_id, read_list, status_of
from features.tables.duckdb_sessions import reading_session, sql_text
from features.tables.fingerprints import DAILY_TABLES
from features.tables.raw_bytes import content_of

CHECKPOINT = "checkpoint"
AGGREGATES, COUNTS = DAILY_TABLES
BESIDE_DECISIONS = {"decisions.parquet": "draws.parquet"}  # whose rows are the other's, in their order
GO_WHEN_EMPTY = {ALIASES.name, EVENTS.name, TREATMENTS.name, *DAILY_TABLES}  # a day without rows has no file
TOLD = ("users", "events", "treatments", "aggregates", "ledger", "decisions")  # tables that say who there is
UNFINISHED = ("scoring", "tmp")  # what a run that was killed left for the next, which does without
PASSED_OVER = (".lock",)


@dataclass(frozen=True)
class Erasure:
    """What became of some users: all ids of theirs, who had been forgotten before, and what went.

    `rows` counts erased rows by table, `files` those written anew, `traces` is what still names somebody in the data
    folder, and `looked_at` how many files were searched. Of `unknown` ids no table held anything and the suppression
    list did not know them, so that nothing was noted; `ambiguous` were looked for in columns of users alone.
    `handed_over` are the days of send lists that named somebody, `taken_away` audiences of the desk that may, and
    `unprinted` the reports on paper that may have, and went.
    """

    ids: tuple[str, ...]
    before: Mapping[str, tuple[str, date]]
    rows: Mapping[str, int]
    files: int
    looked_at: int
    traces: tuple[Trace, ...]
    unknown: tuple[str, ...]
    ambiguous: tuple[str, ...]
    handed_over: tuple[date, ...]
    taken_away: tuple[TakenAway, ...] = ()
    unprinted: tuple[str, ...] = ()


def erase(lake: Lake, user_ids: Sequence[str], reason: Reason, today: date) -> Erasure:
    """Forget users, with every id that turned out to be one of theirs; the caller holds the folder's lock.

    Ids that no table and not the suppression list knows are not put on it: a slip of the pen is nobody's wish.

    Raises
    ------
    InputError
        A file is damaged, a database is in use, or the suppression list has another key.
    """
    ids = all_ids(lake, user_ids)
    sought = SoughtIds(ids)
    for folder in UNFINISHED:
        lake.files.remove(folder)
    names = [name for name in lake.files.list("**/*") if name not in PASSED_OVER]
    listed, handed_over = lake.files.listed()[0], days_of_lists(lake, sought)
    taken_away, unprinted = audiences_taken(lake, sought), tuple(printed_reports(lake, sought))
    changed = _erase_unlisted(lake, [name for name in names if name not in listed], sought)
    with lake.files.publish() as publication:
        tables = [name for name in names if name.endswith(".parquet")]
        rows, held = _erase_tables(lake, publication, tables, sought)
        texts = [name for name in names if name in listed and PurePath(name).suffix in SUFFIXES and not _is_own(name)]
        changed += _erase_texts(lake, publication, texts, sought)
        if rows:
            publication.remove(CHECKPOINT)  # it rests on days that are computed anew
        known = [each for each in ids if each in {*held, *status_of(lake, ids)}]
        before = enter(lake, publication, known, reason, today) if known else {}
        unprinted = unprinted if known else ()
        for name in unprinted:
            publication.remove(name)
        changed += len(publication.list("**/*.parquet"))
    lake.files.drop_unused()
    looked_at = [name for name in lake.files.list("**/*") if name not in PASSED_OVER]
    found = tuple(traces(lake.root, list(track(looked_at, "searching")), sought))
    unknown = tuple(each for each in ids if each not in set(known))
    return Erasure(
        ids, before, rows, changed, len(looked_at), found, unknown, sought.ambiguous, handed_over, taken_away, unprinted
    )


def _is_own(name: str) -> bool:
    """Tell whether a file is the list itself, or goes as a whole."""
    return name in (LIST_FILE, KEY_FILE) or name.startswith(f"{CHECKPOINT}/")


def all_ids(lake: Lake, user_ids: Collection[str]) -> tuple[str, ...]:
    """Follow aliases from some ids to all that mean the same people, in either direction; in order, each once.

    Step by step, as a recursive query of DuckDB 1.5 loses rows where it has more than one thread.
    """
    known = pa.array(sorted(set(user_ids)), pa.string())
    if not lake.days(ALIASES.name):
        return tuple(known.to_pylist())
    pairs = f"SELECT old_user_id, user_id FROM read_parquet({sql_text(lake.glob(ALIASES.name))})"
    with reading_session(lake) as connection:
        old, new = connection.execute(pairs).to_arrow_table().combine_chunks().columns
    before = -1
    while before < len(known):
        before = len(known)
        touched = pc.or_(pc.is_in(old, known), pc.is_in(new, known))
        sides = [chunk for side in (old, new) for chunk in side.filter(touched).chunks]
        known = pc.unique(pa.chunked_array([known, *sides], pa.string()))
    return tuple(sorted(known.to_pylist()))


def listed_ids(lake: Lake) -> tuple[str, ...]:
    """Find users of a data folder who are on its list as forgotten: a backup, or an alias, brought them.

    Raises
    ------
    InputError
        The list cannot be read, or a table.
    """
    found, files = (
        read_list(lake),
        [lake.path(name) for table in TOLD for name in lake.files.list(f"{table}/**/*.parquet")],
    )
    if found is None or not files:
        return ()
    with reading_session(lake) as connection:
        connection.register("suppression_list", found)
        listed = f"SELECT user_hash FROM suppression_list WHERE reason = '{FORGOTTEN}' AND until IS NULL"
        told = f"read_parquet([{', '.join(map(sql_text, files))}], union_by_name = true, hive_partitioning = false)"
        rows = connection.execute(f"""
            SELECT user_id FROM (SELECT DISTINCT user_id FROM {told})
            WHERE {hash_of_id(lake, connection)} IN ({listed}) ORDER BY user_id
        """)
        return tuple(user_id for (user_id,) in rows.fetchall())


def _erase_tables(
    lake: Lake, publication: Publication, names: Sequence[str], sought: SoughtIds
) -> tuple[dict[str, int], frozenset[str]]:
    """Write every table again that holds rows of the users; returns how many by table, and whose."""
    rows, held = Counter[str](), set[str]()
    for name in track(names, "tables"):
        path, found = PurePath(name), kept_rows(lake.path(name), sought)
        if found is None:
            continue
        change = _renumbering(lake, name, sought) if path.stem == COUNTS else unchanged
        rows[table_of(name)] += _write_kept(lake, publication, name, found.masks, change)
        held |= found.held
        if path.name in BESIDE_DECISIONS:
            beside = path.with_name(BESIDE_DECISIONS[path.name]).as_posix()
            if lake.files.exists(beside):
                _write_kept(lake, publication, beside, _cut_alike(lake, beside, found.masks))
    return dict(sorted(rows.items())), frozenset(held)


def _renumbering(lake: Lake, name: str, sought: SoughtIds) -> Change:
    """Find what becomes of the numbers of the day's aggregates, to which its counts refer."""
    aggregates = lake.path(name.replace(COUNTS, AGGREGATES))
    kept = kept_rows(aggregates, sought)
    return renumbered(aggregates, kept.masks) if kept else unchanged


def _write_kept(
    lake: Lake, publication: Publication, name: str, kept: list[pa.ChunkedArray], change: Change = unchanged
) -> int:
    """Write a file without the rows that go, or let it go; returns how many rows those are."""
    lake.files.check(name)
    left = write_kept(lake.path(name), kept, publication.path(name), change)
    if not left and name.partition("/")[0] in GO_WHEN_EMPTY:
        publication.discard(name)
        publication.remove(name)
    return sum(map(len, kept)) - left


def _cut_alike(lake: Lake, name: str, kept: list[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Cut a mask of all rows as another file of the same rows is cut."""
    whole = pa.chunked_array([chunk for each in kept for chunk in each.chunks], pa.bool_())
    metadata, first, masks = pq.read_metadata(lake.path(name)), 0, []
    for number in range(metadata.num_row_groups):
        count = metadata.row_group(number).num_rows
        masks.append(whole.slice(first, count))
        first += count
    return masks


def _erase_texts(lake: Lake, publication: Publication, names: Sequence[str], sought: SoughtIds) -> int:
    changed = 0
    for name in names:
        content = lake.files.read(name)
        if (left := erased_text(name, content, sought)) != content:
            publication.write(name, left)
            changed += 1
    return changed


def _erase_unlisted(lake: Lake, names: Sequence[str], sought: SoughtIds) -> int:
    """Take users out of what frameworks and runs keep, which no manifest lists."""
    changed = 0
    for name in names:
        path = lake.path(name)
        if is_database(path):
            if any(count for _, count in named_cells(path, sought)):
                changed += erase_cells(path, sought) > 0
        elif path.suffix in SUFFIXES and path.name != "manifest.json":
            content = content_of(path)
            if (left := erased_text(name, content, sought)) != content:
                lake.files.write(name, resealed(name, content, left))
                changed += 1
    return changed
