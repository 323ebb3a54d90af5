"""Hours at which users were active of late, in local time, from the events."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays.array_types import Array, Integers, Kinds, Places, Texts
from features.arrays.calendar_days import HOUR, QUARTER, local_time
from features.arrays.dictionaries import ordinal_encoded
from features.arrays.group_by import distinct, is_among
from features.materialise.as_of_view import AsOfView

OPENED, ACTIVE, BOUGHT, SENT = KINDS = range(4)  # of what happened in an hour
HOUR_BITS, KIND_BITS = 24, 2  # enough for the number of an hour, and for a kind


class ActiveHours(NamedTuple):
    """Hours in which users did something, each kind and channel once an hour; all have shape (hours,).

    `user` is a place among the users that were asked for, `hour` counts from 1970 by the user's own clock, `channel`
    is that of an opened message, else None.
    """

    user: Places
    kind: Kinds
    hour: Integers
    channel: Texts

    def of(self, users: slice) -> ActiveHours:
        """Take the rows of some users, who are counted anew from the first of them."""
        rows = slice(*np.searchsorted(self.user, [users.start, users.stop]))
        return ActiveHours(self.user[rows] - users.start, self.kind[rows], self.hour[rows], self.channel[rows])


def recent_events(history: AsOfView, user_ids: pd.Series, days: int) -> ir.Table:
    """Find the events of some users in the `days` before a day, as far as they had arrived by then.

    Returns
    -------
    The contract's columns and ``place``, that of the user in `user_ids`.
    """
    table = _ids(user_ids).append_column("place", pa.array(np.arange(len(user_ids), dtype=np.int32)))
    wanted = history.engine.create_table("wanted_users", obj=table, temp=True, overwrite=True)
    events = history.events
    return events.filter(events.day >= history.as_of - timedelta(days=days)).inner_join(wanted, "user_id")


def _ids(user_ids: pd.Series) -> pa.Table:
    return pa.table({"user_id": pa.array(user_ids, pa.string())})


def bought_items(
    history: AsOfView, user_ids: pd.Series, days: int, only: tuple[Places, pa.Array] | None = None
) -> pd.DataFrame:
    """Count how often some users bought which item, in the `days` before a day.

    Parameters
    ----------
    only
        Places of users and the category beside each that count, shape (cells,); all by default.

    Returns
    -------
    One row per user and item: ``place`` (of the user), ``category``, ``item_id``, ``bought`` (events) and ``last_at``;
    empty where events name no items.
    """
    events = recent_events(history, user_ids, days)
    is_bought = events.event_name.isin(sorted({*history.settings.roles.value})) & (events.amount > 0)
    rows = events.filter(is_bought & events.item_id.notnull() & events.item_category.notnull())  # noqa: PD004
    if only is not None:
        cells = pa.table({"place": only[0].astype(np.int32), "item_category": only[1]})
        wanted = history.engine.create_table("wanted_cells", obj=cells, temp=True, overwrite=True)
        rows = rows.semi_join(wanted, ["place", "item_category"])
    counted = rows.group_by("place", "item_id", category=rows.item_category).aggregate(
        bought=rows.count(), last_at=rows.occurred_at.max()
    )
    return history.collect(counted).sort_values(["place", "category", "item_id"], ignore_index=True)


def active_hours(history: AsOfView, user_ids: pd.Series, zones: Texts, days: int) -> ActiveHours:
    """Find the hours in which some users opened messages, were active or bought, in the `days` before a day.

    Where the app has sessions, what lies in none is no activity: a renewal at night is nobody's doing. A message that
    was opened in the hour in which it came says when it was sent rather than when its reader has time: it is activity.

    Parameters
    ----------
    zones
        Valid name of each user's time zone, shape (users,).
    """
    roles, events = history.settings.roles, recent_events(history, user_ids, days)
    named = [(kind, names) for kind, names in (
        (OPENED, roles.message_opened), (SENT, roles.message_sent), (BOUGHT, roles.value), (ACTIVE, roles.activity)
    ) if names]  # fmt: skip
    of_kind = [(events.event_name.isin(names), kind) for kind, names in named]
    rows = events.filter(events.event_name.isin(sorted({name for _, names in named for name in names})))
    rows = rows.mutate(kind=ibis.cases(*of_kind, else_=ACTIVE).cast("int8"), has_session=rows.session_id.notnull())  # noqa: PD004
    rows = rows.mutate(channel=ibis.ifelse(rows.kind == OPENED, rows.channel, ibis.null("string")))
    quarter = (history.micros(rows.occurred_at) // QUARTER).cast("int32")
    found = history.collect_table(rows.select("place", "kind", "channel", "has_session", quarter=quarter))
    place, kind, quarter, has_session = (found[name].to_numpy() for name in ("place", "kind", "quarter", "has_session"))
    code, names = _channels(found["channel"].combine_chunks())
    is_own = has_session | (kind == OPENED) | (kind == SENT) | (not has_session.any())
    del found  # of millions of rows none is held twice
    own = place[is_own]
    hour = _own_hours(quarter[is_own], own, zones)
    return _once_an_hour(own, kind[is_own], hour, code[is_own], np.array([*names.to_pylist(), None], dtype=object))


def _once_an_hour(user: Array, kind: Kinds, hour: Array, code: Array, names: Texts) -> ActiveHours:
    """Count each kind and channel once an hour of the user's own clock, in the order of users; a purchase is both.

    `code` is the place of the channel among `names`, of which the last is None: that of -1.
    """
    # bits of one number hold user, kind, channel and hour, in this order, and are read off by shifts
    channel_bits = (len(names) - 1).bit_length()
    kind_at, user_at = HOUR_BITS + channel_bits, HOUR_BITS + channel_bits + KIND_BITS
    at = user.astype(np.int64)
    at <<= user_at
    at |= hour
    opened = np.flatnonzero(kind == OPENED)
    is_at_once = is_among(at[opened], at[kind == SENT])
    also = at[kind == BOUGHT] | ACTIVE << kind_at
    at |= (np.arange(len(KINDS)) << kind_at)[kind]
    later = opened[~is_at_once]
    at[later] |= (code[later].astype(np.int64) + 1) << HOUR_BITS
    at[opened[is_at_once]] |= ACTIVE << kind_at  # instead of OPENED, which is 0
    keys = distinct(np.concatenate([at[kind != SENT], also]))
    code, kind = (keys >> HOUR_BITS) & (2**channel_bits - 1), (keys >> kind_at) & (2**KIND_BITS - 1)
    hour = keys & (2**HOUR_BITS - 1)
    return ActiveHours((keys >> user_at).astype(np.intp), kind.astype(np.int8), hour, names[code - 1])


def _channels(texts: pa.Array) -> tuple[Array, pa.Array]:
    """Find the places of channels, most of which are missing, as `ordinal_encoded` does."""
    there = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
    place, names = ordinal_encoded(texts.take(pa.array(there)))
    code = np.full(len(texts), -1, np.int32)
    code[there] = place
    return code, names


def _own_hours(quarter: Array, user: Array, zones: Texts) -> Array:
    """Read quarters of an hour since 1970 off the clocks of users, whose `zones` they are, in hours since 1970."""
    codes, names = pd.factorize(zones)
    if not len(quarter):
        return np.zeros(0, np.int32)
    first = int(quarter.min())  # the quarters of a history are few: each is read off each clock once
    quarters = np.arange(first, int(quarter.max()) + 1, dtype=np.int64)
    instants = pa.array(quarters * QUARTER).cast(pa.timestamp("us", "UTC"))
    clocks = np.stack([local_time(instants, name, 0) // HOUR for name in names]).astype(np.int32)
    return np.asarray(clocks[codes[user], quarter - first])
