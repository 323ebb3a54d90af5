"""The contact history of a day: caps, cool-downs, silence, opt-outs and open offers, from ledger and events.

One counter per person over all that reaches them: what winback sent, and what others sent that comes back as events.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa

from configs.contact import WINDOW_DAYS
from configs.offers import Catalogue
from configs.settings import Settings
from features.ingestion.contract import ALIASES, EVENTS, TREATMENTS
from features.ingestion.user_aliases import merge_users
from features.storage.lake import USERS_FILE, Lake
from features.suppression.suppression_list import LIST_FILE
from features.tables.duckdb_sessions import sql_text
from features.tables.fingerprints import Stamp, file_stamps
from features.training_data.contact_details import with_fresh_details
from serving.contact_rules.contact_history import RESTRICTIONS, ContactHistory
from serving.earlier_contacts.message_counts import MessageCounts
from serving.earlier_contacts.open_offers import open_offers
from serving.earlier_contacts.opt_outs import opt_outs
from serving.preferences.send_times import last_slots
from serving.stored_days.day_tables import connect
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.ledger import later_entries

MOST_GIB = 0.5  # memory of the counts; what goes beyond is spilled


@dataclass
class PastContacts:
    """Reads what earlier contacts forbid on a day; what it has read holds as long as no file has changed."""

    lake: Lake
    settings: Settings
    catalogue: Catalogue
    moment: DecisionMoment
    seen: list[Stamp] = field(default_factory=list)
    users_seen: list[Stamp] | None = None
    known: ContactHistory | None = None

    def __call__(self) -> ContactHistory:
        """Read what is forbidden to whom, as the files are now.

        Raises
        ------
        InputError
            A file of the treatments, the decisions or the events cannot be read.
        """
        counts = self._counts()
        older = [*self._days(TREATMENTS.name), *self._days(EVENTS.name)]  # open offers and opt-outs of any age
        seen, users = file_stamps(dict.fromkeys([*counts.paths, *older])), self._stamps_of_users()
        if self.known is None or seen != self.seen:
            self.known, self.seen = self._read(counts), seen
        if users != (self.users_seen or users):  # since the first call, when everybody was read
            again = partial(with_fresh_details, self.lake, self.settings.contact, self.moment.day)
            self.known = replace(self.known, fresh=again)
        self.users_seen = self.users_seen or users
        return self.known

    def _stamps_of_users(self) -> list[Stamp]:
        files = self.lake.files
        return file_stamps([self.lake.path(name) for name in (USERS_FILE, LIST_FILE) if files.exists(name)])

    def _counts(self) -> MessageCounts:
        """Say which files tell of messages."""
        self.lake.require_whole(TREATMENTS.name, EVENTS.name)
        span = 1 + max([WINDOW_DAYS, *(offer.cool_down_days for offer in self.catalogue.offers)])
        return MessageCounts(
            self.settings, self.catalogue, self.moment, span,
            treatments=self._days(TREATMENTS.name, span), decisions=self._days("decisions", span),
            entries=later_entries(self.lake, self.moment), events=self._days(EVENTS.name, WINDOW_DAYS + 1),
            are_merged=bool(self.lake.days(ALIASES.name)),
        )  # fmt: skip

    def _days(self, table: str, days: int | None = None) -> list[Path]:
        first = date.min if days is None else self.moment.day - timedelta(days=days)
        return [self.lake.partition(table, day) for day in self.lake.days(table) if first <= day <= self.moment.day]

    def _read(self, counts: MessageCounts) -> ContactHistory:
        found = [open_offers(self.lake, self.settings, self.catalogue, self.moment)]
        with connect(self.lake) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET memory_limit = '{int(1024 * min(self.lake.memory_gib, MOST_GIB))}MiB'")
            if counts.are_merged:
                merge_users(connection, f"SELECT * FROM read_parquet({sql_text(self.lake.glob(ALIASES.name))})")
            found += [counts.read(connection), opt_outs(self.lake, self.settings, self.catalogue, self.moment)]
        names = tuple(dict.fromkeys(name for each in found for name in each.names))
        tables = [_renamed(each, names) for each in found if len(each.restrictions)]
        rows = pa.concat_tables([RESTRICTIONS.empty_table(), *tables])
        rows = rows.sort_by([("user_id", "ascending"), ("what", "ascending"), ("until", "ascending")]).combine_chunks()
        return ContactHistory(rows, names, partial(last_slots, self.moment, self.settings))


def _renamed(history: ContactHistory, names: tuple[str, ...]) -> pa.Table:
    """Count what is forbidden by other places of its names."""
    places = pa.array([names.index(name) for name in history.names], pa.int16())
    what = places.take(history.restrictions["what"].combine_chunks())
    return history.restrictions.set_column(1, RESTRICTIONS.field("what"), what)
