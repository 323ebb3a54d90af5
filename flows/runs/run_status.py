"""Lines of `winback status` about runs: the last ones, who is writing, what is next, disk usage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from configs.counted import counted
from configs.errors import InputError
from configs.settings import Settings
from features.storage.lake import Lake
from features.storage.writer_lock import LOCK_FILE
from flows.runs.next_run import next_run
from flows.runs.run_records import RUNNING, RunRecord, run_records
from models.registry.registry_state import DATABASE
from serving.guards.guard_findings import Finding, guard_words, stored_findings

SHOWN, LISTED = 5, 50  # runs: for people, for machines
MIB = 2**20
LARGE = 0.01  # share of the disk used from which on people are told a folder's name
SCHEDULE = "schedule"


def run_lines(settings: Settings, lake: Lake, as_of: date, now: datetime) -> tuple[dict[str, str], dict[str, object]]:
    """Say what is known of runs, as texts by their titles for people, and as facts for machines."""
    records, disk = run_records(lake), disk_used(lake)
    owner, planned = lock_owner(lake, records), next_runs(settings, now)
    told = {name: f"{moment:%Y-%m-%d %H:%M %Z}" for name, moment in next_moments(settings, now).items() if moment}
    is_served = any(each.command == SCHEDULE and each.outcome == RUNNING for each in records)
    lines = {f"run {each.command} of {each.started[:19]}": _ended(each) for each in records[-SHOWN:]}
    lines |= freshness_lines(lake, as_of)
    by = "" if is_served else ", if winback schedule were running"
    lines |= {f"next {name}": f"{told.get(name, line)}{by}" for name, line in planned.items()}
    who = "{command} (run {run}, process {process}, since {since})"
    lines["writing now"] = who.format(**owner) if owner else "nobody"
    shared, stores = store_lines(lake)
    lines |= shared
    lines["disk"] = disk_line(disk) or "nothing"
    facts: dict[str, object] = {
        "runs": [asdict(each) for each in reversed(records[-LISTED:])],
        "next": planned,
        "schedule_is_served": is_served,
        "lock": owner,
        "stores": stores,
        "disk_bytes": disk,
        "newest": {table: str(days[-1]) if (days := lake.days(table)) else None for table in ("events", "decisions")},
    }
    return lines, facts


def freshness_lines(lake: Lake, as_of: date) -> dict[str, str]:
    """Say how old the newest events and decisions are."""
    found = {}
    for table, whole in (("events", as_of - timedelta(days=1)), ("decisions", as_of)):
        days = [day for day in lake.days(table) if day <= as_of]
        behind = (whole - days[-1]).days if days else 0
        late = f", {counted(behind, 'day')} behind" if behind > 0 else ""
        found[f"newest {table}"] = f"{days[-1]}{late}" if days else "none"
    return found


def lock_owner(lake: Lake, records: list[RunRecord]) -> Mapping[str, object] | None:
    """Say who writes to the data folder; None where nobody does, or who did was killed. The lock is not touched."""
    text = lake.files.read(LOCK_FILE) if lake.files.exists(LOCK_FILE) else b""
    try:
        owner = json.loads(text)
    except ValueError:
        return None
    ended = {each.run for each in records if each.outcome != RUNNING}
    wanted = {"command", "run", "process", "since"}
    return owner if isinstance(owner, dict) and wanted <= set(owner) and owner["run"] not in ended else None


def store_lines(lake: Lake) -> tuple[dict[str, str], dict[str, object]]:
    """Say which stores the data folder is a copy of, whether they answer, and who writes to them on any machine."""
    stores = lake.stores
    facts: dict[str, object] = {"database": stores.database, "files": stores.files}
    if not stores.database:
        return {}, facts
    from features.stores.published_files import stores_state

    lines = {"database": stores.database, "object storage": stores.files or "none: files lie in this folder alone"}
    try:
        found = stores_state(stores)
    except InputError as error:
        return {**lines, "database": str(error)}, {**facts, "is_answering": False}
    last = f"{found.published_at:%Y-%m-%d %H:%M:%S} UTC" if found.published_at else "never"
    lines["published"] = f"{counted(found.publishes, 'time')}, last {last}"
    if found.writer is not None:
        named = "{command} (run {run}, process {process} on {host}, since {since})"
        lines["writing on any machine"] = named.format(**found.writer) if found.writer else "another run"
    return lines, {**facts, "is_answering": True, **found._asdict()}


def next_runs(settings: Settings, now: datetime) -> dict[str, str]:
    """Say when each part of the schedule runs next; the cron line itself where that cannot be told."""
    lines, found = cron_lines(settings), next_moments(settings, now)
    return {name: moment.isoformat() if moment else f"at {lines[name]}" for name, moment in found.items()}


def next_moments(settings: Settings, now: datetime) -> dict[str, datetime | None]:
    """Find when each part of the schedule runs next; None where that cannot be told."""
    zone = settings.schedule.time_zone
    return {name: next_run(line, zone, now) for name, line in cron_lines(settings).items()}


def cron_lines(settings: Settings) -> dict[str, str]:
    """List the parts of the schedule with their cron lines."""
    times = settings.schedule
    return {"score-daily": times.score_cron, "train-weekly": times.train_cron, "measure-daily": times.measure_cron}


def disk_used(lake: Lake) -> dict[str, int]:
    """Bytes of each folder of the data folder, most first; files beside them together as ``files``."""
    return dict(sorted(lake.files.sizes().items(), key=lambda item: (-item[1], item[0])))


def suppression_line(lake: Lake) -> str:
    """Say how many are on the suppression list and since when, or why it cannot be read."""
    from features.suppression.suppression_list import list_line

    try:
        return list_line(lake)
    except InputError as error:
        return str(error)


def consent_line(settings: Settings, lake: Lake, as_of: date) -> str:
    """Say what counts where no consent is on record, and of how many users of the newest decided day none is."""
    from configs.offers import load_catalogue
    from serving.report_page.unknown_consents import unknown_consents

    days = [day for day in lake.days("decisions") if day <= as_of]
    counts = f"counts as {settings.contact.unknown_consent} where none is on record (contact.unknown_consent)"
    try:
        found = unknown_consents(lake, days[-1], load_catalogue(settings.offers)) if days else {}
    except InputError:
        return counts
    told = ", ".join(f"{counted(users, 'user')} to {channel}" for channel, users in found.items())
    return f"{counts}: {told}" if told else counts


def disk_line(disk: Mapping[str, int]) -> str:
    """Say where the disk space goes, in one line: small folders together.

    Examples
    --------
    >>> disk_line({"events": 99 * MIB, "runs": MIB // 2, "users": MIB // 2})
    'events 99.0 MiB, 2 smaller ones 1.0 MiB'
    """
    large = {name: size for name, size in disk.items() if size >= LARGE * sum(disk.values())}
    small = [size for name, size in disk.items() if name not in large]
    told = [f"{name} {size / MIB:,.1f} MiB" for name, size in large.items()]
    return ", ".join([*told, *([f"{len(small)} smaller ones {sum(small) / MIB:,.1f} MiB"] if small else [])])


def empty_notes(lake: Lake, days: Mapping[str, Sequence[date]]) -> list[str]:
    """Say that no day of `days` and no model is stored, and what fills the folder: its name may be misspelt."""
    if any(days.values()) or lake.files.exists(DATABASE):
        return []
    return [f"{lake.root} holds nothing yet: winback ingest fills it, unless you meant another --data-dir"]


def early_notes(settings: Settings, lake: Lake, now: datetime) -> list[str]:
    """Say which days were decided before they began, as a machine does whose clock is ahead."""
    today = now.astimezone(ZoneInfo(settings.time_zone)).date()
    return [
        f"{day} was decided before it began: the clock was ahead; when it comes, winback score-users --supersede "
        "REASON decides it anew, unless it was sent"
        for day in lake.days("decisions")
        if day > today
    ]


def last_guards(lake: Lake, as_of: date) -> tuple[date | None, list[Finding], list[str]]:
    """Read what guards found on the newest decided day: the day, the findings, and what is wrong in words."""
    days = [day for day in lake.days("decisions") if day <= as_of]
    if not days:
        return None, [], []
    try:
        found = stored_findings(lake, days[-1])
    except InputError as error:
        return days[-1], [], [str(error)]
    return days[-1], found, [f"guards, {days[-1]}: {each}" for each in guard_words(found, days[-1])]


def _ended(record: RunRecord) -> str:
    if record.ended is None or record.outcome == RUNNING:
        return record.outcome if record.reason is None else f"{record.outcome}: {record.reason}"
    seconds = (_instant(record.ended) - _instant(record.started)).total_seconds()
    return f"{record.outcome} in {seconds:,.0f} s" + (f": {record.reason}" if record.reason else "")


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
