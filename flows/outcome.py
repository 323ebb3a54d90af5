"""What a run says at its end, to machines and to people."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import wraps
from pathlib import Path
from typing import IO, ParamSpec
from zoneinfo import ZoneInfo

from configs.errors import InputError
from configs.settings import Settings, is_about_machines, load_settings
from features.storage.lake import Lake
from models.metrics.metric import Metric

PROFILE_FILE = "profile.txt"
Given = ParamSpec("Given")


@dataclass(frozen=True)
class Outcome:
    """Metrics, where the results are, and what a person should know; `as_of` is the moment of decision."""

    command: str
    as_of: date
    metrics: dict[str, Metric] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self, seconds: float, peak_mib: int) -> dict[str, object]:
        """Return the one object that ``--json`` prints."""
        return {
            "command": self.command,
            "as_of": str(self.as_of),
            "seconds": seconds,
            "peak_mib": peak_mib,
            "metrics": {name: _json_numbers(metric) for name, metric in self.metrics.items()},
            "outputs": self.outputs,
            "warnings": self.warnings,
        }

    def show(self, stream: IO[str], seconds: float, peak_mib: int) -> None:
        """Print the outcome for people."""
        from rich.console import Console
        from rich.table import Table

        console = Console(file=stream, soft_wrap=True, highlight=False)
        console.print(f"{self.command} as of {self.as_of}: done in {seconds:.0f} s, {peak_mib:,} MiB", style="bold")
        if self.metrics:
            table = Table("metric", "value [95% interval]", "rows", box=None, pad_edge=False)
            for name, metric in self.metrics.items():
                table.add_row(name, str(metric), f"{metric.n:,}")
            console.print(table)
        for warning in self.warnings:
            console.print(f"note: {warning}", markup=False)
        for name, place in self.outputs.items():
            console.print(f"{name}: {place}", markup=False)

    def markdown(self) -> str:
        """Write the outcome as a page for Prefect's artifacts."""
        rows = [f"| {name} | {metric} | {metric.n:,} |" for name, metric in self.metrics.items()]
        table = ["| metric | value [95% interval] | rows |", "|---|---|---|", *rows] if rows else []
        places = [f"- {name}: `{place}`" for name, place in self.outputs.items()]
        notes = [f"- warning: {warning}" for warning in self.warnings]
        return "\n".join([f"# {self.command} as of {self.as_of}", "", *table, "", *places, *notes, ""])


def _json_numbers(metric: Metric) -> dict[str, float | None]:
    """Return the fields of a metric; JSON has no word for what is not a number or has no end."""
    return {name: value if math.isfinite(value) else None for name, value in metric.as_dict().items()}


def open_run(profile: str | None, data_dir: str | None, as_of: date | None) -> tuple[Settings, Lake, date]:
    """Find settings, lake and moment of decision of a run.

    Without a profile the one that the data folder was filled with is taken, and one that is about machines alone is
    laid over it; without `as_of` the profile's, else today.

    Raises
    ------
    InputError
        The data folder holds another profile's data, or `as_of` lies in the future.
    """
    folder = Path(data_dir) if data_dir else None
    remembered = Lake(load_settings(None, folder).data_dir)
    held = remembered_profile(remembered)
    if held and profile and is_about_machines(profile):
        profile = f"{held},{profile}"
    settings = load_settings(profile or held, folder)
    if held is not None and load_settings(held, folder).profile != settings.profile:
        raise InputError(
            f"{settings.data_dir} holds the data of profile {held!r}, not of {profile!r}; choose another --data-dir"
        )
    today = datetime.now(ZoneInfo(settings.time_zone)).date()
    day = as_of or settings.as_of or today
    if day > today:
        raise InputError(f"as_of = {day} lies in the future (today is {today}); choose a day that has begun")
    lake = Lake(settings.data_dir)
    lake.files.settle()
    return settings, lake, day


def writes_alone(run: Callable[Given, Outcome]) -> Callable[Given, Outcome]:
    """Let a flow be the one that writes to its data folder; a flow within a flow shares the lock.

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
        _, lake, _ = open_run(given.arguments["profile"], given.arguments["data_dir"], given.arguments.get("as_of"))
        with lake.files.lock(f"winback {run.__name__.replace('_', '-')}"):
            return run(*args, **kwargs)

    return alone


def dated(command: str) -> Callable[[], str]:
    """Name a flow run after its command and moment of decision, also where that is left to the profile."""

    def name() -> str:
        from prefect.runtime import flow_run

        given = flow_run.parameters
        try:
            _, _, day = open_run(given.get("profile"), given.get("data_dir"), given.get("as_of"))
        except InputError:
            return f"{command} {given.get('as_of')}"
        return f"{command} {day}"

    return name


def remember_profile(lake: Lake, profile: str | None) -> None:
    """Note in the data folder which profile filled it; a file inside it by its place there, as it may be moved."""
    if profile is not None:
        paths = [Path(name) for name in profile.split(",")]
        places = [path.relative_to(lake.root) if path.is_relative_to(lake.root) else path for path in paths]
        lake.files.write(PROFILE_FILE, f"{','.join(map(str, places))}\n".encode())


def remembered_profile(lake: Lake) -> str | None:
    """Profile that the data folder was filled with; None where there is none."""
    if not lake.files.exists(PROFILE_FILE):
        return None
    names = lake.files.read(PROFILE_FILE).decode().strip().split(",")
    return ",".join(str(lake.path(name)) if lake.files.exists(name) else name for name in names)
