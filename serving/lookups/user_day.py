"""Everything that a decided day holds about one user, read from the files of the day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from configs.errors import InputError
from configs.offers import NO_OFFER, load_catalogue
from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from models.personas.stored_personas import latest_personas
from models.training_run.training_record import latest_training
from serving.decide.discount_evidence import why_discounts
from serving.memberships.onboarding_progress import UserProgress, user_progress
from serving.memberships.persona_cards import Apart, set_apart
from serving.memberships.user_memberships import UserMemberships, user_memberships
from serving.segments.known_columns import PERSONA
from serving.stored_days.day_tables import CAUSES, columns_of_day, connect, day_file, decisions_source
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.stored_rules import RuleCount, rules_about
from serving.wording.reason_codes import Reasons

Row = dict[str, Any]
LETTERS = 4
LONGEST_OFFER = 366  # days back that an offer that is still open may have been given
COMEBACK = ("p_return", "value_if_back")


@dataclass(frozen=True)
class UserDay:
    """What a decided day holds about one user.

    `features` is the row of the snapshot that the day was decided from, if it was asked for; else it is empty.
    `decision` and `options` are rows of the tables of these names. `discounts` says why a discount is personal, or why
    not. `persona_traits` are the columns that set the user's persona apart. `progress` is how far the user is with the
    onboarding. `rules` are the contact rules that held offers back, and `open_offers` those that were given before and
    can still be used.
    """

    decision: Row
    options: Sequence[Row]
    memberships: UserMemberships | None = None
    discounts: Reasons = ()
    preferences: Mapping[str, Sequence[Row]] = field(default_factory=lambda: {"tastes": (), "hours": ()})
    persona_traits: tuple[Apart, ...] = ()
    progress: UserProgress | None = None
    rules: Sequence[RuleCount] = ()
    open_offers: Sequence[Row] = ()
    features: Row = field(default_factory=dict)


def read_user_day(settings: Settings, lake: Lake, as_of: date, user_id: str, *, with_features: bool = False) -> UserDay:
    """Read everything that a decided day holds about a user; the columns of the snapshot only where they are asked for.

    Raises
    ------
    InputError
        The day has no decisions, or the user is unknown.
    """
    decision = decision_of(lake, as_of, user_id)
    record = latest_training(lake, as_of)
    deployed = record.verdict.deployed.name if record is not None and record.verdict is not None else None
    return UserDay(
        decision,
        options_of(lake, as_of, user_id),
        user_memberships(settings, lake, as_of, user_id),
        why_discounts(lake, as_of, load_catalogue(settings.offers), deployed),
        preferences_of(lake, as_of, user_id),
        persona_of(lake, as_of, decision),
        user_progress(settings, lake, as_of, user_id),
        rules_about(lake, as_of, user_id),
        open_offers_of(lake, settings, as_of, user_id),
        features_of(lake, as_of, user_id) if with_features else {},
    )


def features_of(lake: Lake, as_of: date, user_id: str) -> Row:
    """Read every column of a user's stored snapshot, in the order of the catalogue.

    Raises
    ------
    InputError
        The snapshot is not stored any more, is damaged, or does not hold the user.
    """
    lake.files.check(lake.partition_name("snapshots", as_of))
    path = lake.partition("snapshots", as_of)
    if as_of not in lake.days("snapshots"):
        raise InputError(f"no snapshot of {as_of} is stored; winback build-features --as-of {as_of} computes it")
    own = (
        f"SELECT * EXCLUDE (user_id, as_of, created_at) FROM read_parquet({sql_text(path)}, hive_partitioning = false)"
    )
    found = _rows(lake, f"{own} WHERE user_id = {sql_text(user_id)}")
    if not found:
        raise InputError(f"the snapshot of {as_of} holds nothing of {user_id!r}, who was not active before that day")
    return found[0]


def decision_of(lake: Lake, as_of: date, user_id: str) -> Row:
    """Read one user's decision; instants are in UTC, and what is not known is None.

    Raises
    ------
    InputError
        The day has no decisions, or the user is unknown.
    """
    source = decisions_source(lake, as_of)
    found = _rows(lake, f"SELECT * FROM {source} WHERE user_id = {sql_text(user_id)}")
    if found:
        return found[0] | _predicted(lake, as_of, user_id)
    raise InputError(f"there is no user {user_id!r} in the decisions of {as_of}; {_like(lake, source, user_id)}")


def _predicted(lake: Lake, as_of: date, user_id: str) -> Row:
    """Read the chances to leave by choice and by failed payments, and what is expected of who has lapsed.

    What is not predicted of anybody, as there are no contracts or an older winback decided, is left out.
    """
    names = [name for name in columns_of_day(lake, as_of, "predictions") if name in {*CAUSES, *COMEBACK}]
    if not names:
        return {}
    source = f"read_parquet({sql_text(day_file(lake, as_of, 'predictions'))})"
    query = f"SELECT {', '.join(names)} FROM {source} WHERE user_id = {sql_text(user_id)}"
    return next(iter(_rows(lake, query)), {})


def _like(lake: Lake, source: str, user_id: str) -> str:
    """Name ids that an unknown one may have been meant for: at most a letter in `LETTERS` is another; else some."""
    apart = f"damerau_levenshtein(lower(user_id), lower({sql_text(user_id)}))"
    near = _rows(lake, f"SELECT user_id, {apart} AS apart FROM {source} ORDER BY apart, user_id LIMIT 3")
    most = max(1, len(user_id) // LETTERS)
    if meant := [row["user_id"] for row in near if row["apart"] <= most]:
        return f"did you mean {', '.join(meant)}?"
    some = _rows(lake, f"SELECT user_id, count(*) OVER () AS users FROM {source} ORDER BY user_id LIMIT 3")
    return (
        f"none of its {some[0]['users']:,} ids is like it; they begin with {', '.join(row['user_id'] for row in some)}"
    )


def options_of(lake: Lake, as_of: date, user_id: str, columns: str = "*") -> list[Row]:
    """Read one user's options, best first; `columns` in SQL, as few are read faster than all."""
    path = day_file(lake, as_of, "options")
    own = f"SELECT {columns} FROM read_parquet({sql_text(path)}) WHERE user_id = {sql_text(user_id)}"
    return _rows(lake, f"{own} ORDER BY value DESC")


def preferences_of(lake: Lake, as_of: date, user_id: str) -> dict[str, list[Row]]:
    """Read what a day kept of a user's ``tastes`` and ``hours``; of a larger app only those written to have any."""
    found = {}
    for name, order in (("tastes", " ORDER BY list, place"), ("hours", "")):
        is_there = lake.files.exists(f"decisions/day={as_of}/{name}.parquet")  # an older winback kept none
        source = f"read_parquet({sql_text(day_file(lake, as_of, name))})" if is_there else ""
        own = f"SELECT * FROM {source} WHERE user_id = {sql_text(user_id)}{order}"
        found[name] = _rows(lake, own) if is_there else []
    return found


def open_offers_of(lake: Lake, settings: Settings, as_of: date, user_id: str) -> list[Row]:
    """Read what a user was given before a day and can still use then: ``offer_id, discount, valid_until``, by end."""
    now = DecisionMoment.of_night(as_of, settings.time_zone).in_utc
    days = [day for day in lake.days("treatments") if as_of - timedelta(days=LONGEST_OFFER) <= day <= as_of]
    if not days:
        return []
    files = ", ".join(sql_text(lake.partition("treatments", day)) for day in days)
    return _rows(
        lake,
        f"""
        SELECT DISTINCT offer_id, coalesce(discount, 0) AS discount, valid_until
        FROM read_parquet([{files}], union_by_name = true, hive_partitioning = false)
        WHERE user_id = {sql_text(user_id)} AND offer_id <> {sql_text(NO_OFFER)}
              AND decided_at < TIMESTAMPTZ '{now.isoformat()}' AND valid_until > TIMESTAMPTZ '{now.isoformat()}'
        ORDER BY valid_until, offer_id
    """,
    )


def persona_of(lake: Lake, as_of: date, decision: Row) -> tuple[Apart, ...]:
    """Read what sets the persona of a user apart, whose decision is of a day; nothing of who has none."""
    return set_apart(latest_personas(lake, as_of), decision[PERSONA]) if decision.get(PERSONA) else ()


def _rows(lake: Lake, query: str) -> list[Row]:
    """Ask a question; a parameter of DuckDB's would cost the import of pandas."""
    with connect(lake) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(query)
        names = [name for name, *_ in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
