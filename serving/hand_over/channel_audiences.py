"""Send lists of a day: one table per channel, for the systems that send the messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

import pyarrow as pa

from configs.channel_names import channel_names
from configs.offers import NO_OFFER
from configs.settings import Settings
from features.storage.lake import USERS_FILE, Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import column_names
from features.training_data.contact_details import TIME_ZONE, quoted
from serving.hand_over.withdrawn_wishes import somebody, withdrawn
from serving.stored_days.day_tables import SEND_LISTS, columns_of_day, connect, decisions_source, spreadsheet_text
from serving.stored_days.ledger import OF_EXPERIMENTS

Format = Literal["csv", "parquet"]
FORMATS = get_args(Format)
INSTANT = "strftime({name}, '%Y-%m-%dT%H:%M:%S%z')"
COLUMNS = {
    "user_id": "user_id", "address": "address", "channel": "channel", "subject": "subject", "message": "message",
    "language": "language", "send_at": "send_at", "time_zone": "time_zone", "valid_until": "valid_until",
    "offer": "offer_id", "discount": "discount", "benefit": "benefit", "benefit_level": "benefit_level",
    "decision_id": "decision_id", "idempotency_key": "idempotency_key", "experiment": "experiment",
    "variant": "variant",
}  # fmt: skip
TEXTS = ("user_id", "address", "channel", "subject", "message", "language", "time_zone", "offer_id", "idempotency_key",
         *OF_EXPERIMENTS)  # fmt: skip
INSTANTS = ("send_at", "valid_until")
LACKING = "SELECT count(*) - count(nullif(address, '')), count(*) - count(nullif(subject, '')) FROM ({rows})"
KEY = "decision_id || ':' || channel"  # the same message has the same key, whenever the list is written


@dataclass(frozen=True)
class Audiences:
    """How many are to be written to, by channel, and how many not any more, by the rule's code and value.

    `no_address` and `no_subject` count the messages of a channel that lack them, where any do.
    """

    rows: dict[str, int]
    withdrawn: dict[tuple[str, str | None], int]
    no_address: dict[str, int] = field(default_factory=dict, compare=False)
    no_subject: dict[str, int] = field(default_factory=dict, compare=False)


def write_audiences(settings: Settings, lake: Lake, as_of: date, *, kind: Format = "csv") -> Audiences:
    """Write everybody who is given an offer to ``send_lists/day=<as_of>/<channel>.<kind>``, by user.

    Columns: ``user_id, address`` (the trait that ``contact.addresses`` names for the channel), ``channel, subject,
    message, language, send_at`` (instant; in CSV the app's clock with its distance from UTC), ``time_zone`` (the user's
    own), ``valid_until, offer, discount`` (share), ``benefit, benefit_level`` (what is given: a share, an amount, days
    or points), ``decision_id``, which events that come back carry, ``idempotency_key``, by which a sender tells
    what it has sent already, and ``experiment`` and ``variant``, where the play is in one.

    Who has opted out, withdrawn a consent or was put on the suppression list since the decision is left out. An id that
    turned out to be somebody stands under that user's, who gets one message. In CSV a text that a spreadsheet would
    take for a formula gets an apostrophe before it. Lists
    of before give way.

    Raises
    ------
    InputError
        The day has no decisions.
    """
    source = f"{decisions_source(lake, as_of)} WHERE offer_id <> {sql_text(NO_OFFER)} AND send_at IS NOT NULL"
    lacks = {*OF_EXPERIMENTS} - {*columns_of_day(lake, as_of, "decisions")}  # an older winback decided the day
    cells = {name: "NULL::VARCHAR" if name in lacks else _cell(column, kind) for name, column in COLUMNS.items()}
    columns = ", ".join(f"{cell} AS {name}" for name, cell in cells.items())
    form = "FORMAT csv, HEADER" if kind == "csv" else "FORMAT parquet"
    with connect(lake) as connection, lake.files.publish() as publication:
        connection.execute(f"SET TimeZone = {sql_text(settings.time_zone)}")
        given = connection.execute(f"SELECT user_id, offer_id FROM {source} ORDER BY user_id").to_arrow_table()
        connection.register("withdrawn", withdrawn(settings, lake, as_of, given))
        who = [*somebody(settings, lake).items()] or [("", "")]
        connection.register(
            "who_is_who", pa.table([*map(pa.array, zip(*who, strict=True))], ["old_user_id", "somebody"])
        )
        listed = f"{source} AND user_id NOT IN (SELECT user_id FROM withdrawn)"
        counted = connection.execute(f"SELECT channel, count(*) FROM {listed} GROUP BY channel ORDER BY channel")
        rows: dict[str, int] = dict(counted.fetchall())
        lacking: list[dict[str, int]] = [{}, {}]
        folder = publication.folder(f"{SEND_LISTS}/day={as_of}")
        for channel in rows:
            own = _with_contact(settings, lake, channel, f"{listed} AND channel = {sql_text(channel)}")
            path = folder / file_name(channel, kind)
            found = connection.execute(LACKING.format(rows=own)).fetchone() or (0, 0)
            lacking = [each | ({channel: count} if count else {}) for each, count in zip(lacking, found, strict=True)]
            connection.execute(f"COPY (SELECT {columns} FROM ({own}) ORDER BY user_id) TO {sql_text(path)} ({form})")
        left_out = connection.execute(
            "SELECT code, value, count(*) FROM withdrawn GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    return Audiences(rows, {(code, value): count for code, value, count in left_out}, *lacking)


def file_name(channel: str, kind: Format) -> str:
    """Name the file of a channel, whatever signs its name has.

    Examples
    --------
    >>> file_name("push", "csv"), file_name("in app/banner", "csv")
    ('push.csv', 'in%20app%2Fbanner.csv')
    """
    return f"{quote(channel, safe='')}.{kind}"


def _with_contact(settings: Settings, lake: Lake, channel: str, rows: str) -> str:
    """Write the rows of a channel with address, time zone and key."""
    users = lake.path(USERS_FILE) if lake.files.exists(USERS_FILE) else None
    columns, joined = _contact_of_users(settings, users, channel)
    added = ", ".join([f"{KEY} AS idempotency_key", *columns])
    known = "SELECT given.* REPLACE (coalesce(somebody, given.user_id) AS user_id)"
    known += f" FROM (SELECT * FROM {rows}) AS given LEFT JOIN who_is_who ON old_user_id = given.user_id"
    return f"SELECT rows.*, {added} FROM ({known}) AS rows {joined}"


def _contact_of_users(settings: Settings, users: Path | None, channel: str) -> tuple[list[str], str]:
    """Write address and time zone of users, and where they are joined from; empty where nothing is on record."""
    known = column_names(users) if users is not None else []
    traits = [settings.contact.addresses[each] for each in channel_names(channel) if each in settings.contact.addresses]
    traits = [trait for trait in traits if trait in known][:1]
    address = f"CAST(users.{quoted(traits[0])} AS VARCHAR)" if traits else "NULL::VARCHAR"
    zone = f"coalesce(users.{TIME_ZONE}, {sql_text(settings.time_zone)})" if TIME_ZONE in known else None
    columns = [f"{address} AS address", f"{zone or sql_text(settings.time_zone)} AS time_zone"]
    needed = users is not None and (traits or zone)
    return columns, f"LEFT JOIN read_parquet({sql_text(users)}) AS users USING (user_id)" if needed and users else ""


def _cell(column: str, kind: Format) -> str:
    if kind == "parquet":
        return column
    if column in INSTANTS:
        return INSTANT.format(name=column)
    return spreadsheet_text(column) if column in TEXTS else column
