"""The query that evaluates rules on a day's snapshot and decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from features.tables.duckdb_sessions import sql_text
from serving.segments.known_columns import OF_DECISIONS, OF_OPTIONS, STAGE, Kind
from serving.segments.rules import Segment, Split, Stages

Cuts = Mapping[tuple[str, float], float | None]
OPTIONS_SQL = {
    "offer_value_max": "max(value)", "incremental_margin_max": "max(incremental_margin)",
    "incremental_retention_max": "max(incremental_retention)", "p_redeem_max": "max(p_redeem)",
}  # fmt: skip
TYPES: dict[Kind, str] = {"number": "DOUBLE", "flag": "DOUBLE", "text": "VARCHAR", "boolean": "BOOLEAN"}


@dataclass(frozen=True)
class DaySources:
    """SQL sources of a day: `snapshot`, and once it is decided `decisions` and `options`, None before.

    Users stand in one order in decisions and options, where each has `options_each` rows. `refusing` is a query of the
    ids of who refuses profiling, and is in no segment.
    """

    snapshot: str
    decisions: str | None = None
    options: str | None = None
    options_each: int = 0
    refusing: str | None = None

    def of_user(self, user_id: str) -> DaySources:
        """Narrow them to one user, so that nothing of anybody else is read and added up."""

        def own(source: str) -> str:
            return f"(SELECT * FROM {source} WHERE user_id = {sql_text(user_id)})"

        return replace(
            self,
            snapshot=own(self.snapshot),
            decisions=own(self.decisions) if self.decisions else None,
            options=own(self.options) if self.options else None,
        )

    def of(self, column: str) -> str | None:
        """Source that holds a column, None where the day has none."""
        if column in OF_OPTIONS:
            return self._best_options if self.options is not None and self.options_each else None
        return self.decisions if column in OF_DECISIONS else self.snapshot

    @property
    def _best_options(self) -> str:
        wanted = ", ".join(f"{sql} AS {name}" for name, sql in OPTIONS_SQL.items())
        place = f"file_row_number // {self.options_each} AS place"
        return f"(SELECT {place}, {wanted} FROM {self.options} GROUP BY place)"

    def known_sql(self, columns: Iterable[str], stages: Stages, only: str | None = None) -> str:
        """Write the query of some columns of every user, or of those that a query lists, with their stage."""
        read = dict.fromkeys([*columns, *stages.columns])
        own = ", ".join(f"{self._column(name)} AS {quoted(name)}" for name in read if name != STAGE)
        joins = ""
        if self.decisions is not None and any(name in OF_DECISIONS or name in OF_OPTIONS for name in read):
            joins += f" LEFT JOIN {self.decisions} AS decided ON decided.user_id = snapshot.user_id"
        if any(name in OF_OPTIONS and self.of(name) for name in read):
            joins += f" LEFT JOIN {self._best_options} AS best ON best.place = decided.file_row_number"
        chosen = f" WHERE snapshot.user_id IN ({only})" if only is not None else ""
        every = f"SELECT snapshot.user_id AS user_id, {own} FROM {self.snapshot} AS snapshot{joins}{chosen}"
        return f"SELECT *, {stages.sql} AS {STAGE} FROM ({every})"

    def _column(self, name: str) -> str:
        if name in OF_OPTIONS or name in OF_DECISIONS:
            table, kind = ("best", OF_OPTIONS) if name in OF_OPTIONS else ("decided", OF_DECISIONS)
            return f"{table}.{quoted(name)}" if self.of(name) else f"CAST(NULL AS {TYPES[kind[name][0]]})"
        return f"snapshot.{quoted(name)}"


def splits_of(segments: Sequence[Segment]) -> list[Split]:
    """List what splits all users of a day, which the rules compare with."""
    return sorted({split for segment in segments for split in segment.rule.splits}, key=lambda split: split.name)


def cuts_of(connection: duckdb.DuckDBPyConnection, sources: DaySources, splits: Iterable[Split]) -> Cuts:
    """Find the numbers at which a day's users are split, by column and share; None where nobody has a number."""
    wanted: dict[str, set[float]] = {}
    for split in splits:
        wanted.setdefault(split.column, set()).update(split.shares)
    cuts: dict[tuple[str, float], float | None] = {}
    for source in dict.fromkeys(map(sources.of, wanted)):
        own = {name: sorted(shares) for name, shares in wanted.items() if sources.of(name) == source}
        asked = ", ".join(
            f"quantile_disc({quoted(name)}, {shares}) FILTER ({quoted(name)} <> 0)" for name, shares in own.items()
        )
        found = connection.execute(f"SELECT {asked} FROM {source}").fetchone() if source else None
        for (name, shares), numbers in zip(own.items(), found or [None] * len(own), strict=True):
            cuts |= {(name, share): numbers[place] if numbers else None for place, share in enumerate(shares)}
    return cuts


def split_sql(split: Split, cuts: Cuts) -> str:
    """Write the column of a split, once its numbers are known."""
    numbers = [cuts[split.column, share] for share in split.shares]
    if any(number is None for number in numbers):
        return "CAST(NULL AS DOUBLE)"
    if split.share is not None:
        return _double(numbers[0])
    above = " + ".join(f"CAST({quoted(split.column)} > {_double(number)} AS INTEGER)" for number in numbers)
    return f"CASE WHEN {quoted(split.column)} <> 0 THEN CAST(1 + {above} AS DOUBLE) END"


def users_sql(
    sources: DaySources, stages: Stages, segments: Sequence[Segment], cuts: Cuts, *, only: str | None = None
) -> str:
    """Write the query of everything that some rules read of every user, or of those listed by the query `only`."""
    columns = dict.fromkeys(name for segment in segments for name in segment.rule.columns)
    columns |= dict.fromkeys(split.column for split in splits_of(segments))
    own = "".join(f", {split_sql(split, cuts)} AS {quoted(split.name)}" for split in splits_of(segments))
    return f"SELECT *{own} FROM ({sources.known_sql(columns, stages, only)})"


def membership_sql(sources: DaySources, stages: Stages, segments: Sequence[Segment], cuts: Cuts) -> str:
    """Write the one query that tells every user's stage and whether they are in each segment, by user.

    A segment that rests on predictions is null where the day has none.
    """
    allowed = f" AND user_id NOT IN ({sources.refusing})" if sources.refusing else ""
    is_decided = sources.decisions is not None
    own = "".join(
        f", coalesce({each.rule.sql}, false){allowed} AS {quoted(each.name)}"
        if is_decided or not each.is_predicted
        else f", CAST(NULL AS BOOLEAN) AS {quoted(each.name)}"
        for each in segments
    )
    return f"SELECT user_id, {STAGE}{own} FROM ({users_sql(sources, stages, segments, cuts)}) ORDER BY user_id"


def quoted(name: str) -> str:
    """Quote the name of a column."""
    return '"' + name.replace('"', '""') + '"'


def _double(number: float | None) -> str:
    """Write a number as exactly what it is."""
    return f"CAST('{number!r}' AS DOUBLE)"
