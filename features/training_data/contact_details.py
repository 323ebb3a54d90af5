"""Contact details of users, from the current users table: consents, addresses, time zones.

They also say whether there is an address for a channel, and how old a user is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.contact import Contact
from configs.errors import InputError, did_you_mean, first_line
from features.arrays.array_types import Flags, Texts
from features.ingestion.contract import CONSENT
from features.storage.lake import USERS_FILE, Lake
from features.suppression.suppression_list import LIST_FILE, suppressed
from features.tables.duckdb_sessions import reading_session, sql_text
from features.tables.parquet_files import column_names

if TYPE_CHECKING:
    import pandas as pd  # looking up needs none

PROFILING, TIME_ZONE, COUNTRY, BIRTH_YEAR = "consent_profiling", "time_zone", "country", "birth_year"
ADDRESS, AGE = "address_", "age_years"  # begins the columns that say whether a channel reaches somebody; least age
SUPPRESSED = "is_suppressed"
NO_ADDRESS = ("", "false", "0")  # what a trait says of who has none
ENDS = ("min", "max")


def contact_columns(lake: Lake) -> list[str]:
    """List the columns of the users table that say whether and when somebody may be written to; none without users."""
    if not lake.files.exists(USERS_FILE):
        return []
    return [name for name in column_names(lake.path(USERS_FILE)) if name.startswith(CONSENT) or name == TIME_ZONE]


def with_contact_details(
    lake: Lake, frame: pd.DataFrame, contact: Contact | None = None, as_of: date | None = None
) -> pd.DataFrame:
    """Append consents (1, 0, or NaN where nothing is known) and ``time_zone`` to a frame of users, in their order.

    Who has no time zone on record has that of most users of their country, where the table knows countries. A consent
    is no feature: it is read when somebody is decided about, so that one withdrawn this morning counts. Where the rules
    of contact ask for addresses or ages, ``address_<channel>`` (1 or 0) and ``age_years``, the least that somebody's
    year of birth allows on a day, stand beside them, and ``is_suppressed`` where there is a suppression list.

    Raises
    ------
    InputError
        The users table cannot be read, or has no column of addresses that the settings name.
    """
    asked = _asked(lake, contact, as_of)
    columns = [*contact_columns(lake), *asked]
    if frame.empty:
        return frame
    if contact is not None and lake.files.exists(LIST_FILE):
        frame = frame.assign(**{SUPPRESSED: suppressed(lake, frame["user_id"]).astype(np.float64)})
    if not columns:
        return frame
    ids = pa.array(frame["user_id"], pa.string())
    ends = pc.min_max(ids)  # most of the file need not be read
    flags = [name for name in columns if name != TIME_ZONE and name not in asked]
    names = [f'CAST("{name}" AS BOOLEAN) AS "{name}"' for name in flags]
    names += [f'{each} AS "{name}"' for name, each in asked.items()]
    names += [_zone_column(lake)] if TIME_ZONE in columns else []
    rows = _rows(lake, ", ".join(names), "user_id BETWEEN $1 AND $2", [ends[end].as_py() for end in ENDS])
    own = rows.take(pc.index_in(ids, value_set=rows["user_id"].combine_chunks())).drop_columns(["user_id"])
    kinds = {name: "float64" for name in columns if name != TIME_ZONE}
    import pandas as pd

    return pd.concat([frame, own.to_pandas().astype(kinds).set_index(frame.index)], axis=1)


def with_fresh_details(lake: Lake, contact: Contact, as_of: date, frame: pd.DataFrame) -> pd.DataFrame:
    """Read the contact details of a frame of users anew."""
    own = [
        name for name in map(str, frame) if name.startswith((CONSENT, ADDRESS)) or name in (TIME_ZONE, AGE, SUPPRESSED)
    ]
    return with_contact_details(lake, frame.drop(columns=own), contact, as_of)


def _asked(lake: Lake, contact: Contact | None, as_of: date | None) -> dict[str, str]:
    """Write the SQL of what the rules of contact ask of users, by the column's name."""
    if contact is None or not (contact.addresses or contact.min_ages):
        return {}
    known = column_names(lake.path(USERS_FILE)) if lake.files.exists(USERS_FILE) else []
    for channel, trait in contact.addresses.items():
        if trait not in known:
            raise InputError(
                f"contact.addresses: {channel} needs the column {trait!r} of users, which there is not; "
                f"{did_you_mean(trait, known)}"
            )
    none = ", ".join(map(sql_text, NO_ADDRESS))
    asked = {
        f"{ADDRESS}{channel}": f"coalesce(lower(trim(CAST({quoted(trait)} AS VARCHAR))) NOT IN ({none}), false)"
        for channel, trait in contact.addresses.items()
    }
    if contact.min_ages and as_of is not None and BIRTH_YEAR in known:
        asked[AGE] = f"{as_of.year} - CAST({BIRTH_YEAR} AS DOUBLE) - 1"
    return asked


def quoted(name: str) -> str:
    """Write the name of a column in SQL.

    Examples
    --------
    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def own_zones(frame: pd.DataFrame, time_zone: str) -> Texts:
    """Name the time zone of each user of a frame with contact details, shape (users,): the app's where none is known.

    Examples
    --------
    >>> import pandas as pd
    >>> own_zones(pd.DataFrame({"time_zone": ["Asia/Tokyo", "Nowhere/Atlantis", None]}), "UTC").tolist()
    ['Asia/Tokyo', 'UTC', 'UTC']
    """
    if TIME_ZONE not in frame:
        return np.full(len(frame), time_zone, dtype=object)
    import pandas as pd

    codes, names = pd.factorize(frame[TIME_ZONE].astype(object))
    known = np.array([*(name if _is_zone(name) else time_zone for name in names), time_zone], dtype=object)
    return known[codes]  # -1 is the last: the app's


def _is_zone(name: str) -> bool:
    """Tell whether there is a time zone of a name."""
    try:
        return bool(ZoneInfo(name))
    except (LookupError, OSError, ValueError):
        return False


def _zone_column(lake: Lake) -> str:
    """Write the SQL of a user's time zone: their own, else the one that most users of their country have."""
    path = lake.path(USERS_FILE)
    if COUNTRY not in column_names(path):
        return f"CAST({TIME_ZONE} AS VARCHAR) AS {TIME_ZONE}"
    usual = f"""
        SELECT {COUNTRY}, first({TIME_ZONE} ORDER BY users DESC, {TIME_ZONE}) AS zone FROM (
            SELECT {COUNTRY}, {TIME_ZONE}, count(*) AS users FROM read_parquet({sql_text(path)})
            WHERE {TIME_ZONE} IS NOT NULL AND {COUNTRY} IS NOT NULL GROUP BY ALL
        ) GROUP BY {COUNTRY}
    """
    of_country = f"SELECT any_value(zone) FROM ({usual}) AS usual WHERE usual.{COUNTRY} = rows.{COUNTRY}"
    return f"coalesce(CAST({TIME_ZONE} AS VARCHAR), ({of_country})) AS {TIME_ZONE}"


def profiling_refusals(lake: Lake, *, unknown: bool) -> Callable[[pd.Series], Flags]:
    """Say of user ids who does not consent to profiling, as the users table has it now.

    `unknown` says whether that is also assumed of those of whom nothing is known.

    Raises
    ------
    InputError
        The users table cannot be read.
    """
    if PROFILING not in contact_columns(lake):
        return lambda user_ids: np.full(len(user_ids), unknown)
    unlike = _rows(lake, PROFILING, f'CAST("{PROFILING}" AS BOOLEAN) = $1', [unknown])["user_id"].combine_chunks()

    def refuse(user_ids: pd.Series) -> Flags:
        is_unlike = pc.is_in(pa.array(user_ids, pa.string()), value_set=unlike)
        return np.asarray(is_unlike.to_numpy(zero_copy_only=False) != unknown)

    return refuse


def _rows(lake: Lake, columns: str, where: str, values: list[Any]) -> pa.Table:
    query = f"SELECT user_id, {columns} FROM read_parquet({sql_text(lake.path(USERS_FILE))}) AS rows WHERE {where}"
    with reading_session(lake) as connection:
        try:
            return connection.execute(query, values).to_arrow_table()
        except duckdb.ConversionException as error:
            raise InputError(
                f"a column of consents of the users is neither true nor false ({first_line(error)}); "
                "let the source yield a BOOLEAN and ingest again"
            ) from error
