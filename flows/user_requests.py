"""Requests of users: erasure, objection to contact, readmission, and export of all their data.

None of it is a flow of Prefect's, which would keep the ids that a run was asked about.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from configs.counted import counted
from configs.errors import InputError
from configs.settings import Settings
from features.tables.raw_bytes import text_of
from flows.runs.opened_run import open_run
from flows.runs.run_records import recorded

if TYPE_CHECKING:
    from features.erasure.erase_users import Erasure
    from features.erasure.traces import Trace

Answer = tuple[str, dict[str, object], bool]
ID_FILE = "a text file with one user's id a line"


def asked_ids(user_ids: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """Read ids of users as ingest writes them: from the words of a command and the lines of a file, each once.

    Raises
    ------
    InputError
        The file cannot be read, or there is no id.
    """
    lines = text_of(file, ID_FILE).splitlines() if file else []
    written = (unicodedata.normalize("NFC", each.strip()) for each in (*user_ids, *lines))
    found = tuple(dict.fromkeys(each for each in written if each))
    if not found:
        where = f"{file} holds no id" if file else "nobody is named"
        raise InputError(f"{where}; give users' ids, or {ID_FILE} by --file")
    return found


def check_one_wish(chosen: Sequence[str], *, has_ids: bool, has_day: bool) -> None:
    """Refuse ways to call the command that do not go together: one would be passed over.

    Raises
    ------
    InputError
        Two options are given, ids beside an option that finds its own, or a day beside one that has none.
    """
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)} are given together; give one of them")
    if has_ids and set(chosen) & {"--listed", "--expired"}:
        raise InputError(f"{chosen[0]} finds by itself what to remove and takes no ids; leave out one or the other")
    if has_day and chosen != ["--expired"]:
        raise InputError("--as-of goes with --expired alone: users are forgotten on all days; leave it out")


def forget(
    user_ids: Sequence[str], file: Path | None, is_listed: bool, profile: str | None, data_dir: str | None
) -> Answer:
    """Take users out of everything but the suppression list; the last says whether all of them are gone now.

    `is_listed` asks for those whom the data folder holds although they are on the list. Days that counted the users are
    added up without them.
    """
    from features.erasure.erase_users import erase, listed_ids
    from serving.lookups.erasure_lines import erasure_lines, recounted_lines
    from serving.report_page.day_sums import count_forgotten_out

    settings, lake, _ = open_run(profile, data_dir, None)
    asked = () if is_listed else asked_ids(user_ids, file)
    with recorded(lake, "forget"), lake.files.lock("winback forget"):
        asked = listed_ids(lake) if is_listed else asked
        if not asked:
            return "nobody on the suppression list is in the data folder", {"command": "forget", "users": 0}, True
        found = erase(lake, asked, "forgotten", _today(settings))
        days, stay = count_forgotten_out(settings, lake)
    raw = _traces_of_raw(settings, found)
    facts = {
        "command": "forget", "ids": list(found.ids), "rows": dict(found.rows), "files": found.files,
        "before": {user_id: str(day) for user_id, (_, day) in found.before.items()}, "unknown": list(found.unknown),
        "searched": found.looked_at, "left": [each._asdict() for each in found.traces],
        "raw": [each._asdict() for each in raw], "handed_over": list(found.handed_over),
        "taken_away": [each._asdict() for each in found.taken_away], "unprinted": list(found.unprinted),
        "added_up": days, "not_added_up": stay,
    }  # fmt: skip
    lines = [*erasure_lines(lake, asked, found, raw), *recounted_lines(days, stay)]
    return "\n".join(lines), facts, not (found.traces or found.unknown or stay)


def object_to_contact(user_ids: Sequence[str], file: Path | None, profile: str | None, data_dir: str | None) -> Answer:
    """Put users on the suppression list and keep what is held of them: nothing is sent to them any more."""
    from features.erasure.copies_elsewhere import days_of_lists
    from features.erasure.sought_ids import SoughtIds
    from features.suppression.suppression_list import OBJECTION, enter
    from serving.lookups.erasure_lines import earlier_entry_lines, send_list_lines

    settings, lake, _ = open_run(profile, data_dir, None)
    asked = asked_ids(user_ids, file)
    with recorded(lake, "forget"), lake.files.lock("winback forget"), lake.files.publish() as publication:
        before = enter(lake, publication, asked, OBJECTION, _today(settings))
    new = len(set(asked) - set(before))
    listed = counted(new, "user is", "users are")
    page = [f"{listed} on the suppression list now: nothing is sent to them; what is held of them stays"]
    days = days_of_lists(lake, SoughtIds(asked))
    page += [*earlier_entry_lines(before), *send_list_lines(days)]
    return "\n".join(page), {"command": "forget", "objections": new, "handed_over": days}, True


def take_in_again(user_ids: Sequence[str], file: Path | None, profile: str | None, data_dir: str | None) -> Answer:
    """Note a new consent: who was forgotten is taken in again from today on, who objected is written to again."""
    from features.suppression.suppression_list import let_back

    settings, lake, _ = open_run(profile, data_dir, None)
    asked, today = asked_ids(user_ids, file), _today(settings)
    with recorded(lake, "forget"), lake.files.lock("winback forget"), lake.files.publish() as publication:
        before = let_back(lake, publication, asked, today)
    freed = counted(len(before), "user is", "users are")
    page = [f"{freed} off the suppression list: what they do from {today} on is taken in again"]
    page += [f"{user_id!r} was not on it" for user_id in asked if user_id not in before]
    return "\n".join(page), {"command": "forget", "let_back": len(before)}, True


def expire(profile: str | None, data_dir: str | None, as_of: date | None = None) -> list[str]:
    """Remove what is older than its retention period, counted back from a day; returns what was removed."""
    from features.erasure.retention_periods import remove_expired

    settings, lake, day = open_run(profile, data_dir, as_of)
    with recorded(lake, "forget"), lake.files.lock("winback forget"):
        return remove_expired(settings, lake, day)


def expired(profile: str | None, data_dir: str | None, as_of: date | None) -> Answer:
    """Say what `expire` removed."""
    removed = expire(profile, data_dir, as_of)
    page = "\n".join(removed or ["nothing is older than its retention period"])
    return page, {"command": "forget", "removed": removed}, True


def export_user(user_id: str, profile: str | None, data_dir: str | None) -> dict[str, object]:
    """Put everything that is held of a user into one object, with the newest decision about them in words."""
    from flows.lookup import explain
    from serving.lookups.held_data import held_data

    settings, lake, _ = open_run(profile, data_dir, None)
    (asked,) = asked_ids([user_id], None)
    found = held_data(settings, lake, asked)
    decided = {row["user_id"]: date.fromisoformat(row["stored_for"]) for row in _rows_of(found, "decisions")}
    in_words = [explain(each, False, profile, data_dir, day)[0].splitlines() for each, day in sorted(decided.items())]
    return {"command": "export-user", "app": settings.app, "made_at": datetime.now(UTC), **found, "in_words": in_words}


def _rows_of(found: dict[str, Any], table: str) -> list[dict[str, Any]]:
    return list(found["tables"].get(table, {}).get("rows", []))


def _today(settings: Settings) -> date:
    return datetime.now(ZoneInfo(settings.time_zone)).date()


def _traces_of_raw(settings: Settings, erasure: Erasure) -> list[Trace]:
    """Look for the users in the raw files that the source reads, which are not winback's to change."""
    from features.erasure.sought_ids import SoughtIds
    from features.erasure.traces import traces
    from features.sources.source_script import raw_folder
    from features.tables.raw_bytes import files_below

    try:
        folder = raw_folder(settings.ingest.raw)
    except InputError:  # the data came from elsewhere, or its files are gone
        return []
    known = tuple(each for each in erasure.ids if each not in erasure.unknown)
    named = traces(folder, files_below(folder), SoughtIds(known))
    return [each._replace(name=str(folder / each.name)) for each in named]
