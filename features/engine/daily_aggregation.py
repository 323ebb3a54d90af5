"""One day's rows: the declared measures, in one pass over the day's events.

Rows are keyed by ``user_id``, ``day`` and ``known_on``: an event that became known later than its day gets a row of its
own, so that a snapshot can leave out what was not known yet. The tests hold this to Ibis queries of the same measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.settings import Roles
from features.arrays.array_types import Array, Flags, Integers
from features.arrays.calendar_days import DAY, HOUR, days_since_1970, local_time
from features.arrays.dictionaries import DICTIONARY, dictionary_codes, one_chunk, ordinal_encoded
from features.arrays.group_by import GroupedRows, order_of, run_lengths, run_numbers, run_starts
from features.definitions.daily_measures import micros
from features.definitions.event_filters import columns_read, event_marks
from features.definitions.event_roles import TREATMENT, role_bits, role_codes
from features.definitions.registry import Declarations
from features.definitions.snapshot_features import DECLARED
from features.engine.session_days import OpenSession, go_on

WORDS = ("event_name", "item_category", "session_id")  # read as codes of a dictionary
EVENT_COLUMNS = pa.schema(
    dict.fromkeys(("user_id", *WORDS), pa.string())
    | dict.fromkeys(("occurred_at", "received_at"), pa.timestamp("us", "UTC"))
    | dict.fromkeys(("amount", "discount"), pa.float64())
)
HOURS = sorted(str(hour) for hour in range(24))
HOUR_PLACE = np.array([HOURS.index(str(hour)) for hour in range(24)])


@dataclass(frozen=True)
class DayOfEvents:
    """The events of a day in groups, one per row of the aggregates.

    A row is a user (a place in `users`, the ids in order) and the number of days until the events became known; rows
    are ordered by both. `labels` holds the words of each dimension, in order; the column of `events` named like it
    has the place of each event's word, -1 where it has none.
    """

    day: date
    users: pa.Array
    row_user: Integers
    row_known: Integers
    events: GroupedRows
    labels: dict[str, pa.Array]


def day_rows(
    events: pa.Table,
    treatments: pa.Table | None,
    day: date,
    roles: Roles,
    time_zone: str,
    declared: Declarations = DECLARED,
    *,
    begun_before: Sequence[OpenSession] = (),
    after: pa.Table | None = None,
    going_on: Sequence[OpenSession] = (),
) -> dict[str, pa.Table]:
    """Sum the events of a day to its daily rows; a session over midnight belongs to the day on which it began.

    Parameters
    ----------
    events, treatments
        Rows of the contract, of one day, with the columns of `event_columns`; texts of the events may be dictionaries.
    begun_before, going_on
        Sessions that go on over midnight: from the day before, and into the day `after`, whose events of the same
        users are asked for then.

    Returns
    -------
    ``aggregates``
        The keys but for ``day``, the measures, and three that make a day whole however late some of its events came:
        ``active_days`` and ``purchase_days`` are 1 on the row by which the day first counts, so that their sum counts
        distinct days; ``spend_of_day_micros`` is the day's spend as far as known by the row, so that its maximum is
        that of whole days.
    ``category_hour_counts``
        What activity was about: events and spend by the keys, ``dimension`` (category or hour) and its ``label``;
        ``row`` numbers the aggregates of the same ``known_on`` in the order of their users, so that who has read those
        need not read the users again.

    Both are in the order of their files; words are dictionaries.
    """
    own = events.filter(pa.array(~go_on(events, begun_before, time_zone))) if begun_before else events
    parts = [own] if after is None else [own, after.filter(pa.array(go_on(after, going_on, time_zone)))]
    rows = pa.concat_tables([_read_columns(each, declared) for each in parts])
    found = _grouped(_with_treatments(rows, treatments), day, roles, time_zone, declared)
    return {"aggregates": _aggregates(found, declared), "category_hour_counts": _category_hour_counts(found)}


def event_columns(declared: Declarations) -> pa.Schema:
    """Columns of events that daily rows rest on."""
    own = [pa.field(name, pa.string()) for name in columns_read(declared.filters) if name not in EVENT_COLUMNS.names]
    return pa.schema([*EVENT_COLUMNS, *own])


def joined_rows(parts: Sequence[Mapping[str, pa.Table]]) -> dict[str, pa.Table]:
    """Put the daily rows of ranges of users together, which come in order: what `day_rows` makes of all at once."""
    known = [_known_on(part["aggregates"]) for part in parts]
    oldest = min(int(each.min(initial=np.iinfo(np.int64).max)) for each in known)
    before = np.zeros(max(int(each.max(initial=oldest)) for each in known) - oldest + 1, np.int64)
    counts = []
    for part, each in zip(parts, known, strict=True):
        rows = part["category_hour_counts"]
        number = rows["row"].to_numpy() + before[_known_on(rows) - oldest]
        counts.append(rows.set_column(rows.column_names.index("row"), "row", pa.array(number)))
        before += np.bincount(each - oldest, minlength=len(before))
    tables = {"aggregates": [part["aggregates"] for part in parts], "category_hour_counts": counts}
    return {name: _in_order_of_file(pa.concat_tables(rows)) for name, rows in tables.items()}


def _known_on(rows: pa.Table) -> Integers:
    return rows["known_on"].cast(pa.int32()).to_numpy().astype(np.int64)


def _in_order_of_file(rows: pa.Table) -> pa.Table:
    rows = rows.unify_dictionaries().combine_chunks()
    key = _known_on(rows)
    if "dimension" in rows.column_names:
        dimension, dimensions = ordinal_encoded(one_chunk(rows["dimension"]))
        key = key * len(dimensions) + dimension
    return rows.take(order_of(key))


def _read_columns(events: pa.Table, declared: Declarations) -> pa.Table:
    names = event_columns(declared).names
    return pa.table({name: events[name].cast(DICTIONARY) if name in WORDS else events[name] for name in names})


def _with_treatments(rows: pa.Table, treatments: pa.Table | None) -> pa.Table:
    if treatments is not None:
        given = treatments.filter(pc.field("offer_id") != "none")["user_id"]
        treated = pa.array([TREATMENT] * len(given), pa.string()).cast(DICTIONARY)
        rows = pa.concat_tables([rows, pa.table({"user_id": given, "event_name": treated})], promote_options="default")
    return rows


def _grouped(rows: pa.Table, day: date, roles: Roles, time_zone: str, declared: Declarations) -> DayOfEvents:
    """Name every event's row and roles, and put the events into the order of their rows."""
    user, users = ordinal_encoded(one_chunk(rows["user_id"]))
    name, names = ordinal_encoded(one_chunk(rows["event_name"]))
    category, categories = ordinal_encoded(one_chunk(rows["item_category"]))
    session = dictionary_codes(one_chunk(rows["session_id"]))
    alone = session < 0  # an event without a session is one of its own
    session[alone] = session.max(initial=0) + 1 + np.arange(np.count_nonzero(alone))
    today = days_since_1970(day)
    clock, arrived = (local_time(rows[name], time_zone, today * DAY) for name in ("occurred_at", "received_at"))
    known, hours = np.maximum(np.maximum(clock, arrived) // DAY - today, 0), clock // HOUR
    codes = role_codes(roles)
    columns: dict[str, Array] = {
        "roles": np.array([codes.get(each, 0) for each in names.to_pylist()], np.int32)[name],
        "session_key": session,
        "category": category,
        "hour": HOUR_PLACE[hours - hours // 24 * 24],
        "amount": rows["amount"].to_numpy(),
        "discount": rows["discount"].to_numpy(),
        **event_marks(rows, declared.filters),
    }
    key = user * (known.max(initial=0) + 1) + known
    if np.any(key[1:] < key[:-1]):
        order = np.argsort(key, kind="stable")
        key, user, known = key[order], user[order], known[order]
        columns = {each: column[order] for each, column in columns.items()}
    starts = run_starts(key)
    row = run_numbers(starts, len(key))
    bits = columns.pop("roles")
    columns |= {f"is_{role}": (bits & bit) != 0 for role, bit in role_bits(roles).items()}
    has_late = (np.bincount(user[starts]) > 1)[user]
    for opens, role in (("opens_session", "is_activity"), ("opens_basket", "is_value")):
        columns[opens] = _is_first(columns[role], columns["session_key"], user, row, has_late)
    events = GroupedRows(row, len(starts), columns)
    return DayOfEvents(
        day, users, user[starts], known[starts], events, {"category": categories, "hour": pa.array(HOURS)}
    )


def _is_first(happened: Flags, session: Integers, user: Integers, row: Integers, has_late: Flags) -> Flags:
    """Mark what happened on the row that makes its session known first; users with one row have nothing to compare."""
    late = np.flatnonzero(happened & has_late)
    late = late[np.lexsort((row[late], session[late], user[late]))]
    starts = run_starts(user[late], session[late])
    is_first = happened.copy()
    is_first[late] = row[late] == row[late][starts][run_numbers(starts, len(late))]
    return is_first


def _aggregates(found: DayOfEvents, declared: Declarations) -> pa.Table:
    measured = {name: np.asarray(measure(found.events)) for name, measure in declared.measures.items()}
    spend = np.cumsum(measured["spend_micros"])
    starts = run_starts(found.row_user)
    before = (spend - measured["spend_micros"])[starts][run_numbers(starts, len(spend))]
    measured |= {mark: _first_of_user(found, measured[name] > 0) for mark, name in declared.day_marks.items()}
    measured["spend_of_day_micros"] = spend - before
    rows = pa.table(_keys(found, found.row_user, found.row_known) | measured)
    return rows.take(np.argsort(found.row_known, kind="stable")) if np.any(found.row_known) else rows


def _first_of_user(found: DayOfEvents, happened: Flags) -> Integers:
    """1 on the first row of each user where it happened, 0 elsewhere."""
    rows = np.flatnonzero(happened)
    first = np.zeros(len(happened), np.int64)
    first[rows[run_starts(found.row_user[rows])]] = 1
    return first


def _category_hour_counts(found: DayOfEvents) -> pa.Table:
    """Count activity by row, dimension and label; one number stands for all of them, in the order of the file."""
    events, columns = found.events, found.events.columns
    names = sorted(found.labels)
    labels = pa.concat_arrays([found.labels[name] for name in names])
    words = labels.unique().sort()
    first_label = np.cumsum([0, *(len(found.labels[name]) for name in names)])
    row_key = found.row_known * (len(names) * len(found.users)) + found.row_user
    keys, paid_keys, paid = [], [], []
    for place, name in enumerate(names):
        about = np.flatnonzero(columns["is_activity"] & (columns[name] >= 0))
        key = row_key[events.group[about]] + place * len(found.users)
        key = key * len(labels) + first_label[place] + columns[name][about]
        keys.append(key)
        is_paid = columns["is_value"][about]
        paid_keys.append(key[is_paid])
        paid.append(about[is_paid])
    ordered = np.sort(np.concatenate(keys), kind="stable")  # nearly in order already, as the rows are
    starts = run_starts(ordered)
    key = ordered[starts]
    spend = np.nan_to_num(micros(events.amount).of(np.concatenate(paid)))
    spend = np.bincount(np.searchsorted(key, np.concatenate(paid_keys)), spend, len(key)).astype(np.int64)
    key, label = np.divmod(key, len(labels))
    key, user = np.divmod(key, max(len(found.users), 1))
    known, dimension = np.divmod(key, len(names))
    return pa.table(
        _keys(found, user, known)
        | {
            "row": _row_numbers(found, user, known),
            "dimension": pa.DictionaryArray.from_arrays(dimension.astype(np.int32), names),
            "label": pa.DictionaryArray.from_arrays(pc.index_in(labels, value_set=words).take(label), words),
            "events_count": run_lengths(starts, len(ordered)),
            "spend_micros": spend,
        }
    )


def _row_numbers(found: DayOfEvents, user: Integers, known: Integers) -> Integers:
    """Give the aggregates of some users and days of becoming known their numbers: from 0 for each such day."""
    if not np.any(found.row_known):
        return user  # each has one row
    order = np.argsort(found.row_known, kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order)) - np.searchsorted(found.row_known[order], found.row_known[order])
    days = found.row_known.max() + 1
    return number[np.searchsorted(found.row_user * days + found.row_known, user * days + known)]


def _keys(found: DayOfEvents, user: Integers, known: Integers) -> dict[str, pa.Array]:
    """Name the users of rows and the days on which they became known."""
    return {
        "user_id": found.users.take(pa.array(user)),
        "known_on": pa.array((known + days_since_1970(found.day)).astype(np.int32), pa.date32()),
    }
