"""Flow: send lists of a decided day, one table per channel."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from configs.channel_names import channel_names
from configs.counted import counted
from configs.errors import InputError
from configs.settings import Settings
from flows.runs.opened_run import dated, open_run, writes_alone
from flows.runs.outcome import Outcome
from models.metrics.metric import Metric
from serving.hand_over.channel_audiences import FORMATS, Audiences, Format, file_name, write_audiences
from serving.stored_days.day_tables import SEND_LISTS, newest_decided_day
from serving.wording.reason_codes import Reason
from serving.wording.rendering import stored, words_of


@flow(name="send-list", flow_run_name=dated("send-list"), validate_parameters=False)
@writes_alone
def send_list(
    profile: str | None = None, data_dir: str | None = None, as_of: date | None = None, kind: Format = "csv"
) -> Outcome:
    """List everybody who is given an offer on a day, by channel; without a day, on the newest."""
    if kind not in FORMATS:
        raise InputError(f"--format {kind} is not known; known are: {', '.join(FORMATS)}")
    settings, lake, day = open_run(profile, data_dir, as_of)
    day = as_of or newest_decided_day(lake, day)
    written = write_audiences(settings, lake, day, kind=kind)
    rows = written.rows
    metrics = {f"messages.{channel}": Metric.exact(count, sum(rows.values())) for channel, count in rows.items()}
    folder = f"{SEND_LISTS}/day={day}"
    outputs = {f"send list {channel}": str(lake.path(folder, file_name(channel, kind))) for channel in rows}
    words, left_out = words_of(settings), written.withdrawn.items()
    reasons = [words.sentence(stored((Reason(code, value=value),))) for (code, value), _ in left_out]
    notes = [f"{counted(count, 'user is', 'users are')} left out since they were decided about: {reason}"
             for reason, (_, count) in zip(reasons, left_out, strict=True)]  # fmt: skip
    notes += list(_lacking(settings, written))
    notes += [] if rows else ["nobody is written to on this day"]
    outcome = Outcome("send-list", day, metrics, outputs, notes)
    create_markdown_artifact(outcome.markdown(), key="send-list")
    return outcome


def _lacking(settings: Settings, written: Audiences) -> Iterator[str]:
    """Say which columns of a list are empty, and why."""
    for channel, count in written.no_address.items():
        known = settings.contact.addresses
        traits = [known[name] for name in channel_names(channel) if name in known]
        why = f"the users' column {traits[0]!r} is empty" if traits else "contact.addresses names no column of users"
        rows = counted(written.rows[channel], "row")
        yield f"{channel}: address is empty in {count:,} of {rows}; {why}"
    for channel, count in written.no_subject.items():
        rows = counted(written.rows[channel], "row")
        yield f"{channel}: subject is empty in {count:,} of {rows}; their offers have none"
