"""Progress of users with the onboarding steps: of one user, and counts of all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from configs.settings import Settings
from features.definitions.app_declarations import declarations_of
from features.definitions.onboarding_steps import NEXT_STEP
from features.storage.lake import Lake
from features.tables.duckdb_sessions import sql_text
from features.tables.parquet_files import column_names
from serving.segments.day_query import quoted
from serving.stored_days.day_tables import connect
from serving.wording.rendering import Words

NEW_DAYS = 28  # users as new as this are told apart: most of the others came before their steps were recorded


@dataclass(frozen=True)
class UserProgress:
    """The names of the steps that a user did, in order, the name of the next one, and the number of all."""

    done: tuple[str, ...]
    upcoming: str | None
    steps: int


@dataclass(frozen=True)
class StepCount:
    """How many did a step and for how many it is the next one, and the same of those who are new."""

    name: str
    done: int
    upcoming: int
    new_done: int
    new_upcoming: int


@dataclass(frozen=True)
class StepCounts:
    """The steps of an app in order, and the users and new users among whom they are counted."""

    users: int
    new_users: int
    steps: tuple[StepCount, ...]


def user_progress(settings: Settings, lake: Lake, day: date, user_id: str) -> UserProgress | None:
    """Look up how far a user was at the start of a day; None where the app has no steps or the day no snapshot."""
    rows = _asked(settings, lake, day, ", ".join(_columns(settings)), f"WHERE user_id = {sql_text(user_id)}")
    if not rows:
        return None
    *flags, upcoming = rows[0]
    done = [step.title for step, is_done in zip(declarations_of(settings).steps, flags, strict=True) if is_done]
    return UserProgress(tuple(done), upcoming and settings.onboarding.name_of(upcoming), len(flags))


def step_counts(settings: Settings, lake: Lake, day: date) -> StepCounts | None:
    """Count who did which step by the start of a day; None where the app has no steps or the day no snapshot."""
    is_new, steps = f"tenure_days <= {NEW_DAYS}", declarations_of(settings).steps
    counted = [f"{quoted(step.column)} > 0" for step in steps]
    counted += [f"{NEXT_STEP} = {sql_text(step.event_name)}" for step in steps]
    asked = [f"count(*) FILTER ({each}), count(*) FILTER ({each} AND {is_new})" for each in ["true", *counted]]
    rows = _asked(settings, lake, day, ", ".join(asked))
    if not rows:
        return None
    users, new_users, *counts = rows[0]
    done, upcoming = counts[: 2 * len(steps)], counts[2 * len(steps) :]
    each = zip(steps, done[::2], upcoming[::2], done[1::2], upcoming[1::2], strict=True)
    return StepCounts(users, new_users, tuple(StepCount(step.title, *numbers) for step, *numbers in each))


def progress_line(progress: UserProgress, words: Words) -> str:
    """Write how far a user is with the first steps, in a line."""
    lines, done = words.language.explain, words.language.joins["because_lines"].join(progress.done)
    kind = "onboarding_done" if progress.upcoming is None else "onboarding" if progress.done else "onboarding_none"
    return lines[kind].format(done=done, count=len(progress.done), all=progress.steps, step=progress.upcoming)


def _columns(settings: Settings) -> list[str]:
    return [*(quoted(step.column) for step in declarations_of(settings).steps), NEXT_STEP]


def _asked(settings: Settings, lake: Lake, day: date, columns: str, condition: str = "") -> list[tuple[Any, ...]]:
    """Ask a day's snapshot; nothing where it is not there or holds no steps: an older winback computed it."""
    name = lake.partition_name("snapshots", day)
    if not declarations_of(settings).steps or not lake.files.exists(name):
        return []
    lake.files.check(name)
    wanted = {each.strip('"') for each in _columns(settings)}
    if not wanted <= {*column_names(lake.path(name))}:
        return []
    with connect(lake) as connection:
        source = f"read_parquet({sql_text(lake.path(name))})"
        return connection.execute(f"SELECT {columns} FROM {source} {condition}").fetchall()
