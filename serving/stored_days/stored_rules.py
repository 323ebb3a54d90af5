"""Contact rules as stored with a day, and the users whom each held back; imports no framework."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple, Protocol

from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from serving.stored_days.day_tables import connect, day_file, decisions_source

RULES, HELD_BACK = "contact_rules", "held_back"
COUNTS = """
    SELECT place, code, value, number, settings, coalesce(users, 0), coalesce(nothing, 0)
    FROM read_parquet({rules})
    LEFT JOIN (
        SELECT place, count(*) AS users, count(*) FILTER (suppressed) AS nothing
        FROM (SELECT user_id, unnest(rules) AS place FROM read_parquet({held}))
        JOIN (SELECT user_id, suppressed_because IS NOT NULL AS suppressed FROM {decisions}) USING (user_id)
        GROUP BY place
    ) USING (place) ORDER BY place
"""


class AskedRule(Protocol):
    """A rule, as far as it can be listed."""

    @property
    def code(self) -> str: ...  # noqa: D102

    @property
    def value(self) -> str | None: ...  # noqa: D102

    @property
    def number(self) -> float | None: ...  # noqa: D102

    @property
    def settings(self) -> tuple[str, ...]: ...  # noqa: D102


class RuleCount(NamedTuple):
    """A rule, the settings that it goes by, and how many users of a day it held back.

    `users` counts those whom it kept from at least one offer, `nothing` those among them who may get none at all.
    """

    place: int
    code: str
    value: str | None
    number: float | None
    settings: str
    users: int | None = None
    nothing: int | None = None

    @classmethod
    def of(cls, place: int, rule: AskedRule) -> RuleCount:
        """List a rule of which nobody has been asked yet."""
        return cls(place, rule.code, rule.value, rule.number, ", ".join(rule.settings))


def counted_rules(lake: Lake, as_of: date) -> list[RuleCount]:
    """Count whom each rule held back on a day, in the order in which they are asked; none of an older winback's day.

    Raises
    ------
    InputError
        The day has no decisions.
    """
    decisions = decisions_source(lake, as_of)
    if not has_rules(lake, as_of):
        return []
    rules, held = (sql_text(day_file(lake, as_of, name)) for name in (RULES, HELD_BACK))
    with connect(lake) as connection:
        rows = connection.execute(COUNTS.format(rules=rules, held=held, decisions=decisions)).fetchall()
    return [RuleCount(*row) for row in rows]


def count_users(lake: Lake, as_of: date) -> int:
    """Count the users of a decided day."""
    with connect(lake) as connection:
        found = connection.execute(f"SELECT count(*) FROM {decisions_source(lake, as_of)}").fetchone()
    return int(found[0]) if found else 0


class Free(NamedTuple):
    """Users of a day whom no rule kept from any offer, and those of them who are given one."""

    users: int
    given: int


def count_free(lake: Lake, as_of: date) -> Free:
    """Count whom no rule held back on a day, which must have kept whom its rules did."""
    held = sql_text(day_file(lake, as_of, HELD_BACK))
    query = f"""
        SELECT count(*), count(*) FILTER (offer_id <> 'none') FROM {decisions_source(lake, as_of)}
        WHERE user_id NOT IN (SELECT user_id FROM read_parquet({held}) WHERE len(rules) > 0)
    """
    with connect(lake) as connection:
        found = connection.execute(query).fetchone()
    return Free(*found) if found else Free(0, 0)


def rules_about(lake: Lake, as_of: date, user_id: str) -> list[RuleCount]:
    """List the rules that held a user back on a day, without counts."""
    if not has_rules(lake, as_of):
        return []
    rules, held = (sql_text(day_file(lake, as_of, name)) for name in (RULES, HELD_BACK))
    query = f"""
        SELECT place, code, value, number, settings, NULL, NULL
        FROM (SELECT unnest(rules) AS place FROM read_parquet({held}) WHERE user_id = {sql_text(user_id)})
        JOIN read_parquet({rules}) USING (place) ORDER BY place
    """
    with connect(lake) as connection:
        return [RuleCount(*row) for row in connection.execute(query).fetchall()]


def has_rules(lake: Lake, as_of: date) -> bool:
    """Tell whether a day kept whom its rules held back."""
    return lake.files.exists(f"decisions/day={as_of}/{HELD_BACK}.parquet")
