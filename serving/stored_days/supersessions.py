"""Superseded decisions: when and why published decisions were replaced (``ledger/supersessions.jsonl``).

Published decisions may have been sent already. Superseding them asserts that they were *not* carried out and will not
be: treatments, open offers and measurements then follow the newer decisions only, and the earlier ones are kept for
reading. Decisions that were carried out cannot be superseded: if an event names one, the command is refused, the
decision stays a treatment, and the next day takes it into account.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from configs.errors import InputError
from features.ingestion.contract import EVENTS
from features.publishing.recovery import recovery_hint
from features.storage.lake import Lake
from features.storage.storage_interface import Publication
from features.tables.duckdb_sessions import reading_session, sql_text
from features.tables.parquet_files import column_names
from serving.stored_days.day_tables import SEND_LISTS
from serving.stored_days.decision_moment import DecisionMoment

LOG = "ledger/supersessions.jsonl"
STAYS = (
    "the day stays as it is; where it was not sent and will not be, winback score-users --supersede REASON lets the "
    "new decisions count"
)
OTHERWISE = """
    SELECT count(*) FROM read_parquet({before}) AS before FULL JOIN read_parquet({now}) AS now USING (user_id)
    WHERE (before.offer_id, before.discount, before.channel) IS DISTINCT FROM (now.offer_id, now.discount, now.channel)
"""


@dataclass(frozen=True)
class Supersession:
    """A moment that was decided again on purpose; `entry` names the file that holds what counted before."""

    day: str
    moment: str
    entry: str
    reason: str
    at: str

    def __str__(self) -> str:
        return f"the decisions of {self.day} took the place of earlier ones on {self.at[:10]}: {self.reason}"


def supersede(
    lake: Lake, publication: Publication, moment: DecisionMoment, before: str, kept: str, reason: str
) -> None:
    """Keep the entry `before` under the name `kept`, and note why it counts no more; the day's send lists go with it.

    Raises
    ------
    InputError
        The reason is empty, or events name a decision of the entry.
    """
    check_reason(reason)
    require_not_carried_out(lake, moment, before)
    publication.write(kept, lake.files.read(before))
    publication.remove(f"{SEND_LISTS}/day={moment.day}")  # nobody may be written to by it any more
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = Supersession(f"{moment.day}", moment.name, kept, reason.strip(), now)
    log = lake.files.read(LOG) if lake.files.exists(LOG) else b""
    publication.write(LOG, log + f"{json.dumps(asdict(found), ensure_ascii=False)}\n".encode())


def require_not_carried_out(lake: Lake, moment: DecisionMoment, entry: str) -> None:
    """Refuse to supersede an entry that people were written to by.

    Raises
    ------
    InputError
        Events name a decision of it.
    """
    users = _carried_out(lake, moment, entry)
    if users:
        raise InputError(
            f"events of {users:,} users name decisions of {moment.name}, so that these were carried out and cannot be "
            "superseded; what people were given stays, and the next day decides with it in mind"
        )


def check_reason(reason: str | None) -> None:
    """Refuse a reason that says nothing; None asks for nothing.

    Raises
    ------
    InputError
        It is blank.
    """
    if reason is not None and not reason.strip():
        raise InputError("--supersede wants a reason that people will read later; write one")


def refusal(lake: Lake, moment: DecisionMoment, before: Path, now: Path) -> str:
    """Say that a moment was decided otherwise before, and what to do."""
    with reading_session(lake) as connection:
        row = connection.execute(OTHERWISE.format(before=sql_text(before), now=sql_text(now))).fetchone()
    users = int(row[0]) if row else 0
    others = f"{users:,} users would get something else" if users else "all get the same, with another risk or value"
    return f"{moment.day} was decided otherwise before ({others}), and what was published may have been sent: {STAYS}"


def supersessions(lake: Lake, day: date | None = None) -> list[Supersession]:
    """Read what took the place of what, of a day or of all, oldest first.

    Raises
    ------
    InputError
        The log is damaged.
    """
    lines = lake.files.read(LOG).splitlines() if lake.files.exists(LOG) else []
    try:
        found = [Supersession(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise InputError(f"{lake.path(LOG)} is damaged; {recovery_hint(LOG)}") from error
    return [each for each in found if day is None or each.day == str(day)]


def newest_supersession(lake: Lake) -> list[str]:
    """Tell of the newest one, or that the log is damaged; nothing where there was none."""
    try:
        return [str(each) for each in supersessions(lake)[-1:]]
    except InputError as error:
        return [str(error)]


def _carried_out(lake: Lake, moment: DecisionMoment, entry: str) -> int:
    """Count the users of whom an event names a decision of an entry."""
    days = [lake.partition(EVENTS.name, day) for day in lake.days(EVENTS.name) if day >= moment.day]
    files = ", ".join(sql_text(path) for path in days if "decision_id" in column_names(path))
    if not files:
        return 0
    own = f"SELECT decision_id FROM read_parquet({sql_text(lake.path(entry))})"
    query = f"SELECT count(DISTINCT user_id) FROM read_parquet([{files}]) WHERE decision_id IN ({own})"
    with reading_session(lake) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
