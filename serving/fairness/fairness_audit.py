"""The fairness audit: contacts, discounts and value of a day's decisions by gender, age band and country.

The traits come from the users table; gender and year of birth are in no snapshot and so in no model, unless
``features.protected`` lets them in. A difference is given with its interval, and with the difference that the groups'
risk alone would explain, so that a reader can see whether a group had more users at risk or was favoured itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.settings import Settings
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import PACKED, column_names, read_parquet
from serving.stored_days.day_tables import connect, decisions_source
from serving.wording.rendering import Words, english_words_of

AUDIT = "audit"
AGE, UNKNOWN = "age band", "unknown"
BANDS = ((18, "under 18"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"), (65, "55-64"), (200, "65+"))
LEVEL = 0.95
SCHEMA = pa.schema(
    [("trait", pa.string()), ("group", pa.string()), ("users", pa.int64()), ("contacts", pa.int64()),
     *((name, pa.float64()) for measure in ("contact_share", "contact_difference", "discount", "value_mean")
       for name in (measure, f"{measure}_low", f"{measure}_high")),
     ("expected_share", pa.float64()), ("user_share", pa.float64()), ("value_share", pa.float64()),
     ("is_named", pa.bool_())]
)  # fmt: skip
COUNTS = """
    SELECT coalesce(CAST({group} AS VARCHAR), 'unknown') AS "group", count(*) AS users,
           count(*) FILTER (offer_id <> 'none') AS contacts,
           coalesce(avg(discount) FILTER (offer_id <> 'none'), 0) AS discount,
           coalesce(stddev_samp(discount) FILTER (offer_id <> 'none'), 0) AS discount_deviation,
           coalesce(avg(expected_value), 0) AS value, coalesce(stddev_samp(expected_value), 0) AS value_deviation,
           avg(expected) AS expected_share
    FROM {decisions} LEFT JOIN {users} AS who USING (user_id)
         JOIN (SELECT risk_band, avg(CAST(offer_id <> 'none' AS DOUBLE)) AS expected FROM {decisions} GROUP BY ALL)
         USING (risk_band)
    GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Interval:
    """A number and its 95% interval."""

    value: float
    low: float
    high: float


def audit_traits(lake: Lake, settings: Settings, as_of: date) -> dict[str, str]:
    """Say which traits of the users table are audited, each with the SQL that tells a user's group."""
    there = column_names(lake.path(USERS_FILE)) if lake.files.exists(USERS_FILE) else []
    plain = [name for name in ("gender", "country", *settings.features.protected) if name in there]
    traits = {name: f'who."{name}"' for name in dict.fromkeys(plain) if name != "birth_year"}
    return traits | ({AGE: age_band_sql("who.birth_year", as_of)} if "birth_year" in there else {})


def age_band_sql(birth_year: str, as_of: date) -> str:
    """Write the SQL of an age band.

    Examples
    --------
    >>> import duckdb
    >>> duckdb.sql(f"SELECT {age_band_sql('1990', date(2024, 7, 1))}").fetchone()
    ('25-34',)
    """
    cases = " ".join(f"WHEN {as_of.year} - {birth_year} < {end} THEN '{name}'" for end, name in BANDS)
    return f"CASE {cases} END"


def write_audit(settings: Settings, lake: Lake, as_of: date) -> None:
    """Write ``audit/day=<as_of>/audit.parquet``: a row for every trait and group with enough users.

    Raises
    ------
    InputError
        The day has no decisions.
    """
    decisions, users = decisions_source(lake, as_of), f"read_parquet({sql_text(lake.path(USERS_FILE))})"
    rows: list[dict[str, object]] = []
    with connect(lake) as connection:
        connection.execute("SET threads = 1")  # which adds in one order, so that a rerun writes the same bytes
        for trait, group in audit_traits(lake, settings, as_of).items():
            found = connection.execute(COUNTS.format(group=group, decisions=decisions, users=users))
            names = [name for name, *_ in found.description or ()]
            counts = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
            rows += audited(trait, counts, settings)
    with lake.files.publish() as publication:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, publication.path(lake.partition_name(AUDIT, as_of)), **PACKED)


def audited(trait: str, counts: Sequence[Mapping[str, float | str]], settings: Settings) -> list[dict[str, object]]:
    """Judge the groups of a trait, nothing where nobody's group is known; those of too few users are left out.

    The intervals hold for all groups of the trait at once (Bonferroni). A group is named where its share of contacts
    lies further from that of everybody else whose group is known than ``segments.audit_gap``, and the interval leaves
    zero out.
    """
    all_users = sum(int(each["users"]) for each in counts)
    known = [each for each in counts if each["group"] != UNKNOWN]
    all_value = sum(int(each["users"]) * float(each["value"]) for each in counts)
    judged = [each for each in counts if int(each["users"]) >= settings.segments.audit_min_users]
    if not any(each["group"] != UNKNOWN for each in judged):
        return []
    z = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / len(judged))
    rows: list[dict[str, object]] = []
    for each in judged:
        users, contacts = int(each["users"]), int(each["contacts"])
        share = share_interval(contacts, users, z)
        beside = [other for other in known if other is not each]
        their_contacts, their_users = (sum(int(other[name]) for other in beside) for name in ("contacts", "users"))
        others = share_interval(their_contacts, their_users, z)
        difference = difference_of(share, others)
        worth = float(each["value"])
        measures = {
            "contact_share": share, "contact_difference": difference,
            "discount": _mean(float(each["discount"]), float(each["discount_deviation"]), contacts, z),
            "value_mean": _mean(worth, float(each["value_deviation"]), users, z),
        }  # fmt: skip
        is_apart = difference.low > 0 or difference.high < 0
        rows.append(
            {"trait": trait, "group": each["group"], "users": users, "contacts": contacts, **_columns(measures),
             "expected_share": each["expected_share"], "user_share": users / all_users,
             "value_share": users * worth / all_value if all_value else None,
             "is_named": is_apart and abs(difference.value) > settings.segments.audit_gap}
        )  # fmt: skip
    return rows


def share_interval(count: int, users: int, z: float) -> Interval:
    """Share with its score interval (Wilson, 1927); nothing is known of nobody.

    Examples
    --------
    >>> found = share_interval(8, 40, 1.96)
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (0.105, 0.2, 0.348)
    """
    if not users:
        return Interval(math.nan, 0.0, 1.0)
    share, width = count / users, 1 + z * z / users
    middle = (share + z * z / (2 * users)) / width
    half = z / width * math.sqrt(share * (1 - share) / users + z * z / (4 * users * users))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def difference_of(one: Interval, other: Interval) -> Interval:
    """Difference of two independent shares, from their own intervals (Newcombe, 1998, method 10).

    Examples
    --------
    >>> found = difference_of(share_interval(56, 70, 1.96), share_interval(48, 80, 1.96))
    >>> round(found.low, 4), round(found.value, 4), round(found.high, 4)
    (0.0524, 0.2, 0.3339)
    """
    difference = one.value - other.value  # not a number where there is nobody else
    low = difference - math.hypot(one.value - one.low, other.high - other.value)
    return Interval(difference, low, difference + math.hypot(one.high - one.value, other.value - other.low))


def audit_rows(lake: Lake, as_of: date) -> list[dict[str, Any]]:
    """Read the audit of a day; nothing where there is none."""
    if as_of not in lake.days(AUDIT):
        return []
    name = lake.partition_name(AUDIT, as_of)
    lake.files.check(name)
    rows: list[dict[str, Any]] = read_parquet(lake.path(name)).to_pylist()
    return rows


def audit_lines(rows: Sequence[Mapping[str, Any]], day: date, words: Words) -> Iterator[str]:
    """Write the audit as a table, and what it names."""
    said, number = words.language.audit, words.language.number
    yield said["page"].format(day=words.language.day(day))
    if not rows:
        yield said["nothing"]
        return
    names = ("trait", "group", "users", "written_to", "against_others", "by_risk", "discount", "a_head")
    heading = [said[name].format(currency=words.currency) for name in names]
    yield "{:<10} {:<12} {:>9} {:>24} {:>26} {:>13} {:>9} {:>20}".format(*heading)
    for row in rows:
        share, worth = _said(row, "contact_share", ".1%", words), _said(row, "value_mean", ",.2f", words)
        apart = _said(row, "contact_difference", "+.1%", words)
        discount = "" if row["discount"] is None else number(row["discount"], ".1%")
        trait, group = named(row, words)
        yield (
            f"{trait:<10} {group:<12} {number(row['users'], ',.0f'):>9} {share:>24} {apart:>26} "
            f"{number(row['expected_share'], '.1%'):>13} {discount:>9} {worth:>20}" + (" !" if row["is_named"] else "")
        )
    yield from (f"! {sentence}" for sentence in audit_sentences(rows, words))


def audit_sentences(rows: Sequence[Mapping[str, Any]], words: Words) -> Iterator[str]:
    """Say of each group that stands apart by how much, and what its risk alone would make it."""
    for row in rows:
        if row["is_named"]:
            trait, group = named(row, words)
            way = "more" if row["contact_difference"] > 0 else "less"
            yield words.language.audit[way].format(
                trait=trait, group=group, share=words.language.number(row["contact_share"], ".1%"),
                difference=_said(row, "contact_difference", "+.1%", words),
                expected=words.language.number(row["expected_share"], ".1%"),
            )  # fmt: skip


def audit_notes(settings: Settings, lake: Lake, as_of: date) -> list[str]:
    """Say what the audit of a day names, in English as all notes of a run."""
    return list(audit_sentences(audit_rows(lake, as_of), english_words_of(settings)))


def named(row: Mapping[str, Any], words: Words) -> tuple[str, str]:
    """Name a trait and a group of it for people."""
    said = words.language.audit
    group = said["unknown"] if row["group"] == UNKNOWN else row["group"]
    return said.get(row["trait"].replace(" ", "_"), row["trait"]), group


def _said(row: Mapping[str, Any], name: str, shape: str, words: Words) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return words.language.audit["unknown"]
    number = words.language.number
    between = f" [{number(low, shape)}, {number(high, shape)}]" if low is not None and high is not None else ""
    return number(value, shape) + between


def _mean(mean: float, deviation: float, count: int, z: float) -> Interval:
    half = z * deviation / math.sqrt(count) if count > 1 else math.inf
    return Interval(mean, mean - half, mean + half) if count else Interval(math.nan, math.nan, math.nan)


def _columns(measures: Mapping[str, Interval]) -> dict[str, float | None]:
    columns: dict[str, float | None] = {}
    for name, interval in measures.items():
        found = (interval.value, interval.low, interval.high)
        suffixes = ("", "_low", "_high")
        columns |= {f"{name}{end}": number if math.isfinite(number) else None
                    for end, number in zip(suffixes, found, strict=True)}  # fmt: skip
    return columns
