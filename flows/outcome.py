"""What a run says at its end, to machines and to people."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial, wraps
from pathlib import Path
from typing import IO, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

from configs.errors import InputError
from configs.progress import announce
from configs.settings import FIRST_DAY, Settings, load_settings
from features.storage.lake import TIME_ZONE_FILE, Lake
from flows.kept_profile import anew, changed_settings, settings_of
from flows.run_records import recorded
from models.metrics.metric import Metric

Given = ParamSpec("Given")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Outcome:
    """Metrics, where the results are, and what a person should know; `as_of` is the moment of decision.

    `facts` are further fields of the object that ``--json`` prints. `models` says of each model whether there is one
    and why, where a command trains them.
    """

    command: str
    as_of: date
    metrics: dict[str, Metric] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    models: list[dict[str, str | bool]] = field(default_factory=list)

    def as_dict(self, seconds: float, peak_mib: int) -> dict[str, object]:
        """Return the one object that ``--json`` prints, by `strict_json`."""
        return {
            "command": self.command,
            "as_of": str(self.as_of),
            "seconds": seconds,
            "peak_mib": peak_mib,
            "metrics": {name: metric.as_dict() for name, metric in self.metrics.items()},
            "outputs": self.outputs,
            "warnings": self.warnings,
            **self.facts,
            **({"models": self.models} if self.models else {}),
        }

    def show(self, stream: IO[str], seconds: float, peak_mib: int) -> None:
        """Print the outcome for people."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(file=stream, soft_wrap=True, highlight=False)
        console.print(f"{self.command} as of {self.as_of}: done in {seconds:.0f} s, {peak_mib:,} MiB", style="bold")
        if self.metrics:
            table = Table("metric", _heading(self.metrics), "rows", box=None, pad_edge=False)
            for name, metric in self.metrics.items():
                table.add_row(name, str(metric), f"{metric.n:,}")
            console.print(table)
        for warning in self.warnings:
            console.print(f"note: {warning}", markup=False)
        for name, place in self.outputs.items():
            console.print(f"{name}: {place}", markup=False)
        if self.models:
            table = Table(box=None, pad_edge=False)
            for heading in ("model", "trained", "why", "what it means for decisions"):
                table.add_column(heading, overflow="fold")
            for row in self.models:
                table.add_row(*(Text(each) for each in _in_words(row)))
            console.print(table)

    def markdown(self) -> str:
        """Write the outcome as a page for Prefect's artifacts."""
        rows = [f"| {name} | {metric} | {metric.n:,} |" for name, metric in self.metrics.items()]
        table = [f"| metric | {_heading(self.metrics)} | rows |", "|---|---|---|", *rows] if rows else []
        models = [f"| {' | '.join(_in_words(row))} |" for row in self.models]
        models = ["", "| model | trained | why | what it means |", "|---|---|---|---|", *models] if models else []
        places = [f"- {name}: {_linked(place)}" for name, place in self.outputs.items()]
        notes = [f"- warning: {warning}" for warning in self.warnings]
        return "\n".join([f"# {self.command} as of {self.as_of}", "", *table, *models, "", *places, *notes, ""])


def _linked(place: str) -> str:
    """Make a link of a path; what is none, a model's name or the address of a store, stays as it is."""
    return f"[{place}]({Path(place).as_uri()})" if Path(place).is_absolute() else f"`{place}`"


def _heading(metrics: Mapping[str, Metric]) -> str:
    is_estimated = any(metric.low != metric.high for metric in metrics.values())
    return "value [95% interval]" if is_estimated else "value"


def _in_words(row: dict[str, str | bool]) -> list[str]:
    return [str(row["model"]), "yes" if row["is_trained"] else "no", str(row["why"]), str(row["meaning"])]


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
    lake = Lake(settings.data_dir)
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


def writes_alone(run: Callable[Given, Outcome]) -> Callable[Given, Outcome]:
    """Let a flow be the one that writes to its data folder, and keep a record; a flow within a flow shares both.

    Its outcome begins with what changed in the settings since the data folder was filled, and with a word where the
    moment of decision lies long after the last event, which is said at the start, too.

    Raises
    ------
    InputError
        Another process writes to the data folder.
    """
    signature = inspect.signature(run)

    @wraps(run)
    def alone(*args: Given.args, **kwargs: Given.kwargs) -> Outcome:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        asked = given.arguments
        where, is_rewritten = (asked["profile"], asked["data_dir"]), asked.get("replace", False)
        settings, lake, day = _of_one_publish(
            *where, partial(open_run, *where, asked.get("as_of"), is_rewritten=is_rewritten)
        )
        changed = changed_settings(lake, settings)
        for note in _quiet(settings, lake, day, asked):
            announce(note)
        command = run.__name__.replace("_", "-")
        with recorded(lake, command, day), lake.files.lock(f"winback {command}"):
            outcome = run(*args, **kwargs)
        return replace(outcome, warnings=[*changed, *_quiet(settings, lake, day, asked), *outcome.warnings])

    return alone


def reads_one_publish(look: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let a question be answered by what one publish left, also where another run publishes meanwhile."""
    signature = inspect.signature(look)

    @wraps(look)
    def undisturbed(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        asked = signature.bind(*args, **kwargs).arguments
        return _of_one_publish(asked["profile"], asked["data_dir"], partial(look, *args, **kwargs))

    return undisturbed


def _of_one_publish(profile: str | None, data_dir: str | None, look: Callable[[], Found]) -> Found:
    try:
        files = Lake(load_settings(profile, Path(data_dir) if data_dir else None).data_dir).files
    except InputError:
        return look()  # which says so, too
    return files.of_one_publish(look)


def _quiet(settings: Settings, lake: Lake, day: date, asked: Mapping[str, object]) -> list[str]:
    """Say that a run that decides a day does so long after the last event."""
    from serving.lookups.data_check import quiet_note

    last = lake.days("events")[-1:] if "as_of" in asked else []
    is_default = asked.get("as_of") is None and settings.as_of is None
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
