"""What some users did of late, straight from the events: the hours in which they were there, by their own clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays.array_types import Integers, Kinds, Places, Texts
from features.arrays.calendar_days import HOUR, local_time
from features.materialise.as_of_view import AsOfView
from features.materialise.spark_executor import SparkEngine

OPENED, ACTIVE, BOUGHT, SENT = range(4)  # kinds of what happened in an hour
READ = (
    "day", "user_id", "event_name", "occurred_at", "channel", "session_id", "item_id", "item_category", "amount",
)  # fmt: skip
OWN_HOURS = 2**24  # more than an hour's number


class ActiveHours(NamedTuple):
    """Hours in which users did something, each kind and channel once an hour; all have shape (hours,).

    `user` is a place among the users that were asked for, `hour` counts from 1970 by the user's own clock, `channel`
    is that of an opened message, else None.
    """

    user: Places
    kind: Kinds
    hour: Integers
    channel: Texts

    def taken(self, rows: Places) -> ActiveHours:
        """Take some of the rows."""
        return ActiveHours(self.user[rows], self.kind[rows], self.hour[rows], self.channel[rows])


def with_events_read(history: AsOfView, user_ids: pd.Series, days: int) -> AsOfView:
    """Read the events of a few users once, those of the `days` before a day, as far as they had arrived by then.

    Whoever asks the view for more users or days than that gets these alone. On Spark they are read as they are asked.
    """
    if isinstance(history.engine, SparkEngine):
        return history
    wanted = history.engine.create_table("few_users", obj=_ids(user_ids.drop_duplicates()), temp=True, overwrite=True)
    events = history.events
    rows = events.filter(events.day >= history.as_of - timedelta(days=days)).semi_join(wanted, "user_id")
    read = history.engine.create_table("few_events", obj=rows.select(*READ), temp=True, overwrite=True)
    return replace(history, events_read=read)


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
    # whole instants: DuckDB would count seconds and hours by the clock of its session, which is the app's
    found = history.collect(rows.select("place", "kind", "occurred_at", "channel", "has_session").distinct())
    is_own = found["has_session"] | found["kind"].isin([OPENED, SENT]) | (not found["has_session"].any())
    return _once_an_hour(found[is_own], zones)


def _once_an_hour(found: pd.DataFrame, zones: Texts) -> ActiveHours:
    """Count each kind and channel once an hour of the user's own clock, in the order of users; a purchase is both."""
    bought = found[found["kind"] == BOUGHT]
    found = pd.concat([found, bought.assign(kind=ACTIVE)])
    user, kind = found["place"].to_numpy(np.intp), found["kind"].to_numpy(np.int8)
    hour = _own_hours(found["occurred_at"], zones[user])
    channel = found["channel"].to_numpy(dtype=object)
    places = user * OWN_HOURS + hour
    came = np.unique(places[kind == SENT])
    kind[(kind == OPENED) & np.isin(places, came)] = ACTIVE
    channel[kind == ACTIVE] = None
    codes, names = pd.factorize(channel, sort=True)
    kinds = (kind.astype(np.int64) * (len(names) + 1)) + codes + 1
    keys = (user * (kinds.max(initial=0) + 1) + kinds) * OWN_HOURS + hour
    rows = np.unique(keys, return_index=True)[1]
    return ActiveHours(user, kind, hour, channel).taken(rows[kind[rows] != SENT])


def _own_hours(instants: pd.Series, zones: Texts) -> Integers:
    """Read instants off the clocks of the zones beside them, in hours since 1970."""
    table = pa.array(instants, pa.timestamp("us", "UTC"))
    codes, names = pd.factorize(zones)
    hours = np.zeros(len(instants), np.int64)
    for code, name in enumerate(names):
        rows = np.flatnonzero(codes == code)
        hours[rows] = local_time(table.take(pa.array(rows)), name, 0) // HOUR
    return hours
