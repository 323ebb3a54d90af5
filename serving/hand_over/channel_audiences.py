"""Who is to be written to after a day's decisions: a table per channel, for whatever sends the messages."""

from __future__ import annotations

from datetime import date
from typing import Literal, get_args
from urllib.parse import quote

from configs.offers import NO_OFFER
from configs.settings import Settings
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from serving.decide.day_tables import SEND_LISTS, connect, decisions_source, spreadsheet_text

Format = Literal["csv", "parquet"]
FORMATS = get_args(Format)
INSTANT = "strftime({name}, '%Y-%m-%dT%H:%M:%S%z')"
COLUMNS = {
    "user_id": "user_id", "channel": "channel", "message": "message", "send_at": "send_at",
    "valid_until": "valid_until", "offer": "offer_id", "discount": "discount", "benefit": "benefit",
    "benefit_level": "benefit_level", "decision_id": "decision_id",
}  # fmt: skip
TEXTS, INSTANTS = ("user_id", "channel", "message", "offer_id"), ("send_at", "valid_until")


def write_audiences(settings: Settings, lake: Lake, as_of: date, *, kind: Format = "csv") -> dict[str, int]:
    """Write everybody who is given an offer to ``send_lists/day=<as_of>/<channel>.<kind>``, by user.

    Columns: ``user_id, channel, message, send_at, valid_until`` (instants; in CSV the app's clock with its distance
    from UTC), ``offer, discount`` (share), ``benefit, benefit_level`` (what is given: a share, an amount,
    days or points), ``decision_id``, by which a sender tells what it has sent already. In CSV a
    text that a spreadsheet would take for a formula gets an apostrophe before it. Lists of before give way.

    Returns
    -------
    Rows by channel.

    Raises
    ------
    InputError
        The day has no decisions.
    """
    source = f"{decisions_source(lake, as_of)} WHERE offer_id <> {sql_text(NO_OFFER)} AND send_at IS NOT NULL"
    columns = ", ".join(f"{_cell(column, kind)} AS {name}" for name, column in COLUMNS.items())
    with connect(lake) as connection, lake.files.publish() as publication:
        connection.execute(f"SET TimeZone = {sql_text(settings.time_zone)}")
        counted = connection.execute(f"SELECT channel, count(*) FROM {source} GROUP BY channel ORDER BY channel")
        rows: dict[str, int] = dict(counted.fetchall())
        folder = publication.folder(f"{SEND_LISTS}/day={as_of}")
        form = "FORMAT csv, HEADER" if kind == "csv" else "FORMAT parquet"
        for channel in rows:
            query = f"SELECT {columns} FROM {source} AND channel = {sql_text(channel)} ORDER BY user_id"
            connection.execute(f"COPY ({query}) TO {sql_text(folder / file_name(channel, kind))} ({form})")
    return rows


def file_name(channel: str, kind: Format) -> str:
    """Name the file of a channel, whatever signs its name has.

    Examples
    --------
    >>> file_name("push", "csv"), file_name("in app/banner", "csv")
    ('push.csv', 'in%20app%2Fbanner.csv')
    """
    return f"{quote(channel, safe='')}.{kind}"


def _cell(column: str, kind: Format) -> str:
    if kind == "parquet":
        return column
    if column in INSTANTS:
        return INSTANT.format(name=column)
    return spreadsheet_text(column) if column in TEXTS else column
