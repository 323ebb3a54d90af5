"""Opening of a run: settings, data folder, day, lock and name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from functools import partial, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from zoneinfo import ZoneInfo

from configs.errors import InputError
from configs.progress import announce
from configs.settings import FIRST_DAY, Settings, load_settings
from features.storage.lake import TIME_ZONE_FILE, Lake
from flows.runs.kept_profile import anew, changed_settings, of_this_run, settings_of
from flows.runs.outcome import Outcome
from flows.runs.run_records import recorded

REMEMBERING = {"ingest", "simulate", "closed_loop", "demo"}  # flows after which later ones go by their profile
Given = ParamSpec("Given")
Found = TypeVar("Found")


def open_run(
    profile: str | None, data_dir: str | None, as_of: date | None, *, is_rewritten: bool = False
) -> tuple[Settings, Lake, date]:
    """Find settings, lake and moment of decision of a run.

    Without a profile the one that the data folder was filled with is taken (`kept_profile`); without `as_of` the
    profile's, else today. A run that rewrites all days may cut them in another time zone.

    Raises
    ------
    InputError
        The data folder holds another app's data, days of another time zone or those of an older winback, or `as_of`
        lies in the future, or before every event.
    """
    settings = settings_of(profile, Path(data_dir) if data_dir else None)
    lake = Lake(settings.data_dir, settings.memory_gib)
    if not is_rewritten:
        if lake.time_zone is None and lake.days("events"):
            lack = f"it has days, but no {TIME_ZONE_FILE}"
            raise InputError(f"{lake.root} was filled by an older winback: {lack}; {anew(lake, profile)}")
        lake.require_time_zone(settings.time_zone)
    today = datetime.now(ZoneInfo(settings.time_zone)).date()
    day = as_of or settings.as_of or today
    if day > today:
        raise InputError(f"as_of = {day} lies in the future (today is {today}); choose a day that has begun")
    if day < FIRST_DAY:
        raise InputError(f"as_of = {day} lies before {FIRST_DAY}, and no event may be as old; choose a later day")
    return settings, lake, day


@dataclass(frozen=True)
class Asked:
    """What a call of a flow or look-up says of the run: where, of which day, and whether it rewrites all days."""

    profile: str | None
    data_dir: str | None
    as_of: date | None = None
    replace: bool = False
    decides_a_day: bool = False


@dataclass(frozen=True)
class Question:
    """How to read `Asked` out of a call of a function, whichever arguments are given by place and which by name."""

    signature: inspect.Signature

    @classmethod
    def of(cls, run: Callable[..., object]) -> Question:
        """Look at a function once, where it is defined.

        Raises
        ------
        TypeError
            It takes no profile or no data folder, so that nobody could tell which folder it is about.
        """
        signature = inspect.signature(run)
        if lacking := {"profile", "data_dir"} - set(signature.parameters):
            raise TypeError(f"{run.__name__} needs the parameters profile and data_dir; it lacks {sorted(lacking)}")
        return cls(signature)

    def asked(self, *args: object, **kwargs: object) -> Asked:
        """Read a call."""
        given = self.signature.bind(*args, **kwargs)
        given.apply_defaults()
        names = [each.name for each in fields(Asked) if each.name in given.arguments]
        told = {name: given.arguments[name] for name in names}
        return Asked(**told, decides_a_day="as_of" in self.signature.parameters)


def writes_alone(run: Callable[Given, Outcome]) -> Callable[Given, Outcome]:
    """Let a flow be the one that writes to its data folder, and keep a record; a flow within a flow shares both.

    Its outcome begins with what changed in the settings since the data folder was filled, and with a word where the
    moment of decision lies long after the last event, which is said at the start, too.

    Raises
    ------
    InputError
        Another process writes to the data folder.
    """
    question = Question.of(run)

    @wraps(run)
    def alone(*args: Given.args, **kwargs: Given.kwargs) -> Outcome:
        asked = question.asked(*args, **kwargs)
        settings, lake, day = _of_one_publish(
            asked.profile,
            asked.data_dir,
            partial(open_run, asked.profile, asked.data_dir, asked.as_of, is_rewritten=asked.replace),
        )
        changed = changed_settings(lake, settings)
        changed += [] if run.__name__ in REMEMBERING else of_this_run(lake, asked.profile)
        for note in _quiet(settings, lake, day, asked):
            announce(note)
        command = run.__name__.replace("_", "-")
        with recorded(lake, command, day), lake.files.lock(f"winback {command}"):
            outcome = run(*args, **kwargs)
        told = [*changed, *_quiet(settings, lake, day, asked), *outcome.warnings]
        return replace(outcome, warnings=told, language=settings.language)

    return alone


def reads_one_publish(look: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let a question be answered by what one publish left, also where another run publishes meanwhile."""
    question = Question.of(look)

    @wraps(look)
    def undisturbed(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        asked = question.asked(*args, **kwargs)
        return _of_one_publish(asked.profile, asked.data_dir, partial(look, *args, **kwargs))

    return undisturbed


def _of_one_publish(profile: str | None, data_dir: str | None, look: Callable[[], Found]) -> Found:
    try:
        files = Lake(load_settings(profile, Path(data_dir) if data_dir else None).data_dir).files
    except InputError:
        return look()  # which says so, too
    return files.of_one_publish(look)


def _quiet(settings: Settings, lake: Lake, day: date, asked: Asked) -> list[str]:
    """Say that a run that decides a day does so long after the last event."""
    from serving.lookups.data_check import quiet_note

    last = lake.days("events")[-1:] if asked.decides_a_day else []
    is_default = asked.as_of is None and settings.as_of is None
    return quiet_note(last[0], day, is_default=is_default) if last else []


def dated(command: str) -> Callable[[], str]:
    """Name a flow run after its command and moment of decision, also where that is left to the profile."""

    def name() -> str:
        from prefect.runtime import flow_run

        given = flow_run.parameters
        as_of = given.get("as_of")  # a text where the run was asked for in Prefect's page or API
        try:
            as_of = date.fromisoformat(as_of) if isinstance(as_of, str) else as_of
            _, _, day = open_run(given.get("profile"), given.get("data_dir"), as_of)
        except ValueError:
            return f"{command} {as_of}"
        return f"{command} {day}"

    return name
