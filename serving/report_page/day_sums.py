"""Aggregates of a decided day that are computed again after users were erased: curve, audit, cubes, report."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import InputError
from configs.settings import Settings
from features.erasure.sought_ids import FORGOTTEN
from features.storage.lake import Lake
from features.tables.parquet_files import PACKED, count_rows, read_parquet
from serving.cubes.day_cubes import write_cubes
from serving.cubes.stored_cubes import cube_days
from serving.fairness.fairness_audit import AUDIT, write_audit
from serving.report_page.report import write_report
from serving.stored_days.day_tables import decided_days
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.stored_day import read_stored_day


def outdated_days(lake: Lake) -> list[date]:
    """Days whose cubes count users who are in their decisions no more, in order."""
    decided = set(decided_days(lake))
    return [day for day in cube_days(lake) if day in decided and _counted(lake, day) != _decided(lake, day)]


def _counted(lake: Lake, day: date) -> int:
    users = read_parquet(lake.partition("cubes", day), ["users"])["users"]
    return int(pc.sum(users, min_count=0).as_py())


def _decided(lake: Lake, day: date) -> int:
    return count_rows(lake.partition("decisions", day))


def count_forgotten_out(settings: Settings, lake: Lake) -> tuple[list[date], list[str]]:
    """Add up anew every day that counts users who were forgotten; the caller holds the folder's lock.

    Reports are written anew where one of the users was an example, and of the newest of these days: those of other days
    are sums alone, of what was decided then.

    Returns
    -------
    The days, in order, and a sentence for each that stays as it is.
    """
    days, stay = outdated_days(lake), list[str]()
    for day in days:
        report = f"reports/{day}.html"
        is_named = lake.files.exists(report) and FORGOTTEN.encode() in lake.files.read(report)
        try:
            count_anew(settings, lake, day, has_report=is_named or day == days[-1])
        except InputError as error:
            stay.append(f"sums of {day} could not be written anew and still count them: {error}")
    return [day for day in days if not any(str(day) in each for each in stay)], stay


def count_anew(settings: Settings, lake: Lake, day: date, *, has_report: bool = True) -> None:
    """Write what a day adds up from the users that its decisions hold.

    Raises
    ------
    InputError
        The day has no decisions, or a file is damaged.
    """
    if day in cube_days(lake) and _counted(lake, day) != _decided(lake, day):
        _write_curve(settings, lake, day)
    if day in lake.days(AUDIT):
        write_audit(settings, lake, day)
    if has_report:
        write_report(settings, lake, day)
    write_cubes(settings, lake, day)  # last, as they tell that the rest is done


def _write_curve(settings: Settings, lake: Lake, day: date) -> None:
    """Draw the budget curve of the users who are left; a day that kept no prices keeps its curve."""
    moment = DecisionMoment.of_night(day, settings.time_zone)
    if not lake.files.exists(f"{moment.folder}/prices.parquet") or not _decided(lake, day):
        return
    curve: pa.Table = read_stored_day(lake, moment).curve(settings)
    with lake.files.publish() as publication:
        pq.write_table(curve, publication.path(f"{moment.folder}/budget_curve.parquet"), **PACKED)
