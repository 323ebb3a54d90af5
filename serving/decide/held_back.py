"""Whom each rule of contact kept from an offer on a day: the rules, and of every user those that applied."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays.array_types import Flags
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from serving.contact_rules.contact_rule import Rule
from serving.decide.day_tables import connect, day_file, decisions_source

RULES, HELD_BACK = "contact_rules", "held_back"
RULE = pa.schema([("place", pa.int16()), ("code", pa.string()), ("value", pa.string()), ("number", pa.float64()),
                  ("settings", pa.string())])  # fmt: skip
HELD = pa.schema([("user_id", pa.string()), ("rules", pa.list_(pa.int16()))])
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
    def of(cls, place: int, rule: Rule) -> RuleCount:
        """List a rule of which nobody has been asked yet."""
        return cls(place, rule.code, rule.value, rule.number, ", ".join(rule.settings))


def rules_table(rules: Sequence[Rule]) -> pa.Table:
    """List the rules of a day."""
    rows = [RuleCount.of(place, each)[: len(RULE)] for place, each in enumerate(rules)]
    return pa.table([list(column) for column in zip(*rows, strict=True)] or [[]] * len(RULE), schema=RULE)


def held_back_table(user_ids: pd.Series, broken: Flags) -> pa.Table:
    """List the rules that applied to each user, by their places; users whom none held back have no row.

    Examples
    --------
    >>> held_back_table(pd.Series(["a", "b"]), np.array([[False, False], [True, True]])).to_pylist()
    [{'user_id': 'b', 'rules': [0, 1]}]
    """
    users, places = np.nonzero(broken)
    rows = np.flatnonzero(broken.any(axis=1))
    offsets = np.searchsorted(users, np.append(rows, len(broken)))
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(places, pa.int16()))
    return pa.table([pa.array(user_ids.iloc[rows], pa.string()), lists.cast(HELD.field("rules").type)], schema=HELD)


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
