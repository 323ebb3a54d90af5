"""Counts of messages per user, each message counted once, as needed for caps, cool-downs and silence.

A message is known by its decision: the treatments tell of it, the decisions say when it was to be sent, and an event of
the role message_sent when it was. An event without a decision is a message of somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from configs.channel_names import channel_names
from configs.contact import WINDOW_DAYS, Caps
from configs.offers import NO_OFFER, Catalogue
from configs.settings import Settings
from features.ingestion.contract import TREATMENTS
from features.ingestion.user_aliases import in_merged
from features.tables.duckdb_sessions import sql_text
from serving.contact_rules.contact_history import ALL, IGNORED, RESTRICTIONS, ContactHistory, of_channel, of_play
from serving.stored_days.decision_moment import DecisionMoment

A_DAY = 86_400  # seconds
WINDOW = WINDOW_DAYS * A_DAY
MESSAGES_AT_ONCE = 3_000_000  # whose users are counted together

# seconds after the moment of the decisions, rounded up
SECONDS = "CAST(ceil((epoch_us({}) - epoch_us($now)) / 1e6) AS BIGINT)"
OF_WINDOW = "{at} < $now AND {at} >= $now - to_days($days)"
TREATMENTS_AND_ENTRIES = f"""
    SELECT user_id, decision_id, NULL::VARCHAR AS event_id, channel, offer_id, {SECONDS.format("{decided}")} AS sent
    FROM {{source}} WHERE offer_id <> $none AND {{when}}
"""
SENT = f"""
    SELECT user_id, decision_id, event_id, channel, NULL::VARCHAR AS offer_id, {SECONDS.format("occurred_at")} AS sent
    FROM {{source}} WHERE event_name IN ({{names}}) AND {OF_WINDOW.format(at="occurred_at")}
"""
# users are told apart by 64 bits of their ids while messages are counted, as numbers group faster than texts
BUSY = """
    CREATE TEMP TABLE busy AS SELECT hash(user_id) AS who, any_value(user_id) AS user_id
    FROM ({sources}) {answered} GROUP BY 1 HAVING {reached}
"""
TOLD = """
    CREATE TEMP TABLE told AS
    SELECT hash(user_id) AS who,
           CASE WHEN decision_id IS NULL THEN hash(event_id, 1) ELSE hash(decision_id) END AS message,
           coalesce(bits, 0) AS bits, coalesce(code, -1) AS offer, sent
    FROM ({sources}) AS rows SEMI JOIN busy ON hash(rows.user_id) = busy.who
    LEFT JOIN offers USING (offer_id) LEFT JOIN channels USING (channel)
"""
MESSAGES = """
    CREATE OR REPLACE TEMP TABLE messages AS
    SELECT who, message, bit_or(bits) AS bits, max(offer) AS offer, max(sent) AS sent
    FROM told WHERE who % {parts} = {part} GROUP BY who, message
"""
CAPPED = f"""
    SELECT who, {{what}}::SMALLINT AS what, {{until}} AS until FROM (
        SELECT who, max(sent, {{most}}) AS latest FROM messages
        WHERE NOT list_contains($uncounted, offer) AND sent > -{WINDOW} AND {{only}} GROUP BY who
    )
"""
IGNORES = f"""
    SELECT who, {{what}}::SMALLINT AS what, latest[{{many}}] + {WINDOW} AS until FROM (
        SELECT who, max(sent, {{many}}) AS latest FROM messages
        WHERE NOT list_contains($uncounted, offer) AND sent > -{WINDOW} AND sent <= -{A_DAY} GROUP BY who
    ) LEFT JOIN answers USING (who)
    WHERE latest[{{many}}] > coalesce(answers.said, -{WINDOW}) AND (SELECT count(*) FROM answers) > 0
"""
ANSWERS = f"""
    CREATE TEMP TABLE answers AS SELECT hash(user_id) AS who, max({SECONDS.format("occurred_at")}) AS said
    FROM {{source}} WHERE event_name IN ({{names}}) AND {OF_WINDOW.format(at="occurred_at")} GROUP BY 1
"""
COOLS_DOWN = "SELECT who, what, max(sent + lasts) AS until FROM messages JOIN plays USING (offer) GROUP BY who, what"


@dataclass
class MessageCounts:
    """The files that tell of messages, and the counts of a catalogue and settings over them.

    `span` is the number of days over which messages count; `entries` are the ledger's of later moments that count too.
    `are_merged` says that some ids turned out to be somebody (the table `MERGED` of the connection): decisions and
    entries keep the id that they were made under, where treatments and events have the user's.
    """

    settings: Settings
    catalogue: Catalogue
    moment: DecisionMoment
    span: int
    treatments: list[Path] = field(default_factory=list)
    decisions: list[Path] = field(default_factory=list)
    entries: list[Path] = field(default_factory=list)
    events: list[Path] = field(default_factory=list)
    are_merged: bool = False

    @property
    def paths(self) -> list[Path]:
        """All the files."""
        return [*self.treatments, *self.decisions, *self.entries, *self.events]

    @property
    def names(self) -> list[str]:
        """Name all that can be forbidden: the place of a name is its number."""
        plays = {of_play(offer): None for offer in self.catalogue.offers if offer.cool_down_days}
        return [ALL, IGNORED, *map(of_channel, self.settings.contact.channel_caps), *plays]

    def read(self, connection: duckdb.DuckDBPyConnection) -> ContactHistory:
        """Count the messages of those who were told of so often that something may be forbidden to them.

        What is told twice is one message, which costs most to find out: few users are asked about it, and so many of
        them together as memory has room for.
        """
        sources, names = [*self._sources()], self.names
        if not sources:
            return ContactHistory(names=tuple(names))
        about = {"now": self.moment.in_utc, "days": self.span, "none": NO_OFFER}
        self._register(connection, names)
        union = " UNION ALL ".join(sources)
        own = {name: what for name, what in about.items() if f"${name}" in union}
        ignores = self._ignores(connection, names)
        answered = "AS rows LEFT JOIN answers ON answers.who = hash(rows.user_id)" if ignores else ""
        reached = " OR ".join(self._reached(is_asked=bool(ignores))) or "false"
        connection.execute(BUSY.format(sources=union, answered=answered, reached=reached), own)
        connection.execute(TOLD.format(sources=union), own)
        forbidden = [*self._capped(names), *ignores, COOLS_DOWN]
        asked = " UNION ALL ".join(f"({each})" for each in forbidden)
        query = f"SELECT user_id, what, until FROM ({asked}) JOIN busy USING (who) WHERE until > 0"
        own = {"uncounted": self._uncounted()} if "$uncounted" in query else {}
        parts = 1 + connection.execute("SELECT count(*) FROM told").fetchall()[0][0] // MESSAGES_AT_ONCE
        tables = []
        for part in range(parts):
            connection.execute(MESSAGES.format(parts=parts, part=part))
            tables.append(connection.execute(query, own).to_arrow_table().cast(RESTRICTIONS))
        return ContactHistory(pa.concat_tables(tables), tuple(names))

    def _sources(self) -> list[str]:
        """Write the sources of messages, as far as there are files."""
        kept, later = OF_WINDOW.format(at="decided_at"), "as_of < $now AND send_at IS NOT NULL"
        shape, sent = TREATMENTS_AND_ENTRIES, self.settings.roles.message_sent
        found = [
            (self.treatments, shape, {"decided": "decided_at", "when": kept}),
            (self.decisions, shape, {"decided": "send_at", "when": later}),
            (self.entries, shape, {"decided": "as_of", "when": "true"}),
            (self.events if sent else [], SENT, {"names": ", ".join(map(sql_text, sent))}),
        ]
        return [query.format(source=self._whose(paths), **more) for paths, query, more in found if paths]

    def _whose(self, paths: list[Path]) -> str:
        """Write the rows of files under the ids that events know."""
        is_of_decisions = paths in (self.decisions, self.entries)
        merged = in_merged(f"SELECT * FROM {_source(paths)}", TREATMENTS)
        return f"({merged})" if self.are_merged and is_of_decisions else _source(paths)

    def _register(self, connection: duckdb.DuckDBPyConnection, names: list[str]) -> None:
        """Let the query know the offers by number, their cool-downs, and the capped channels of every text by bit."""
        offers = self.catalogue.offers
        ids = pa.array([offer.offer_id for offer in offers], pa.string())
        connection.register("offers", pa.table({"offer_id": ids, "code": pa.array(range(len(offers)), pa.int16())}))
        own = [(code, offer) for code, offer in enumerate(offers) if offer.cool_down_days]
        plays = {
            "offer": pa.array([code for code, _ in own], pa.int16()),
            "what": pa.array([names.index(of_play(offer)) for _, offer in own], pa.int16()),
            "lasts": pa.array([offer.cool_down_days * A_DAY for _, offer in own], pa.int64()),
        }
        connection.register("plays", pa.table(plays))
        connection.register("channels", self._bits(connection))

    def _bits(self, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        """Say which capped channels each text speaks of, a bit for each."""
        capped, texts = list(self.settings.contact.channel_caps), list[str]()
        if capped:
            each = [paths for paths in (self.treatments, self.entries, self.events) if paths]
            union = " UNION ".join(f"SELECT channel FROM {_source(paths)}" for paths in each)
            texts = [row[0] for row in connection.execute(union).fetchall() if row[0]]
        bits = [sum(1 << capped.index(name) for name in {*channel_names(text)} & {*capped}) for text in texts]
        return pa.table({"channel": pa.array(texts, pa.string()), "bits": pa.array(bits, pa.int64())})

    def _capped(self, names: list[str]) -> list[str]:
        """Write whom the caps hold back."""
        contact = self.settings.contact
        own = [(ALL, contact.caps, "true")]
        own += [(of_channel(name), caps, f"(bits & {1 << place}) <> 0")
                for place, (name, caps) in enumerate(contact.channel_caps.items())]  # fmt: skip
        return [
            CAPPED.format(what=names.index(name), until=until_free(caps), most=max(caps.by_days.values()), only=only)
            for name, caps, only in own
            if caps.by_days
        ]

    def _reached(self, *, is_asked: bool) -> Iterator[str]:
        """Write of whom something may be forbidden, however many of the rows tell of one message.

        `is_asked` says whether anybody may have ignored too many.
        """
        contact = self.settings.contact
        for caps in (contact.caps, *contact.channel_caps.values()):
            for days, most in caps.by_days.items():
                yield f"count(*) FILTER (sent > -{days * A_DAY}) >= {most}"
        if is_asked:
            is_ignored = f"sent <= -{A_DAY} AND sent > coalesce(said, -{WINDOW})"
            yield f"count(*) FILTER ({is_ignored}) >= {contact.stop_after_ignored}"
        cooling = [sql_text(offer.offer_id) for offer in self.catalogue.offers if offer.cool_down_days]
        if cooling:
            yield f"bool_or(offer_id IN ({', '.join(cooling)}))"

    def _ignores(self, connection: duckdb.DuckDBPyConnection, names: list[str]) -> list[str]:
        """Write who answered none of their latest messages; nobody where no event tells of answers."""
        roles, many = self.settings.roles, self.settings.contact.stop_after_ignored
        answered = [*roles.message_opened, *roles.offer_redeem]
        if not many or not answered or not self.events:
            return []
        about = {"now": self.moment.in_utc, "days": self.span}
        connection.execute(ANSWERS.format(source=_source(self.events), names=", ".join(map(sql_text, answered))), about)
        return [IGNORES.format(what=names.index(IGNORED), many=many)]

    def _uncounted(self) -> list[int]:
        """Numbers of the offers that neither count nor are held back."""
        return [code for code, offer in enumerate(self.catalogue.offers) if not offer.is_marketing]


def until_free(caps: Caps) -> str:
    """Write when the next message may follow the `latest` ones, newest first: when the cap-th leaves its window.

    Examples
    --------
    >>> until_free(Caps(in_24_hours=1, in_7_days=3))
    'greatest(latest[1] + 86400, latest[3] + 604800)'
    """
    return f"greatest({', '.join(f'latest[{most}] + {days * A_DAY}' for days, most in caps.by_days.items())})"


def _source(paths: list[Path]) -> str:
    files = ", ".join(map(sql_text, paths))
    return f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
