"""The outcome of a run, for machines and for people."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, TYPE_CHECKING

from models.metrics.metric import Metric
from serving.wording.visible_text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LINE_OF_LOGS = 200  # signs of a line where no terminal says how wide it is


@dataclass(frozen=True)
class Outcome:
    """Metrics, where the results are, and what a person should know; `as_of` is the moment of decision.

    `facts` are further fields of the object that ``--json`` prints. `models` says of each model whether there is one
    and why, where a command trains them. A `table` is what people see in place of a long list of metrics; `groups`
    names those that they see of it, by headings, as patterns with ``*``, and the rest is counted. What each figure says
    stands beside it in a `language`.
    """

    command: str
    as_of: date
    metrics: dict[str, Metric] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    models: list[dict[str, str | bool]] = field(default_factory=list)
    table: list[dict[str, str]] = field(default_factory=list)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    language: str = "en"

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

        width = None if stream.isatty() else LINE_OF_LOGS
        console = Console(file=stream, soft_wrap=True, highlight=False, width=width)
        console.print(f"{self.command} as of {self.as_of}: done in {seconds:.0f} s, {peak_mib:,} MiB", style="bold")
        if self.table:
            console.print(_plain_table(self.table[0], [line.values() for line in self.table]))
        elif self.metrics:
            self._show_metrics(console)
        for warning in self.warnings:
            console.print(visible(f"note: {warning}"), markup=False)
        for name, place in self.outputs.items():
            console.print(visible(f"{name}: {place}"), markup=False)
        if self.models:
            headings = ("model", "trained", "why", "what it means for decisions")
            console.print(_plain_table(headings, map(_in_words, self.models), is_folded=True))

    def _show_metrics(self, console: Console) -> None:
        from serving.wording.language_file import load_language

        grouped, rows, words = self.grouped(), [], load_language(self.language)
        for heading, metrics in grouped.items():
            rows += [[f"{heading}:"]] if heading else []
            rows += [[name, str(metric), f"{metric.n:,}", words.metric(name)] for name, metric in metrics.items()]
        console.print(_plain_table(("metric", _heading(self.metrics), "rows", ""), rows))
        if left := len(self.metrics) - sum(map(len, grouped.values())):
            console.print(f"{left:,} more figures with --json")

    def grouped(self) -> dict[str, dict[str, Metric]]:
        """Metrics that people see, by heading; all of them without one, where no groups are named."""
        found = {
            heading: {name: self.metrics[name] for like in patterns for name in fnmatch.filter(self.metrics, like)}
            for heading, patterns in self.groups.items()
        }
        return {heading: metrics for heading, metrics in found.items() if metrics} or {"": self.metrics}

    def markdown(self) -> str:
        """Write the outcome as a page for Prefect's artifacts."""
        rows = [f"| {name} | {metric} | {metric.n:,} |" for name, metric in self.metrics.items()]
        table = [f"| metric | {_heading(self.metrics)} | rows |", "|---|---|---|", *rows] if rows else []
        if self.table:
            table = [f"| {' | '.join(self.table[0])} |", f"|{'---|' * len(self.table[0])}"]
            table += [f"| {' | '.join(line.values())} |" for line in self.table]
        models = [f"| {' | '.join(_in_words(row))} |" for row in self.models]
        models = ["", "| model | trained | why | what it means |", "|---|---|---|---|", *models] if models else []
        places = [f"- {name}: {_linked(place)}" for name, place in self.outputs.items()]
        notes = [f"- warning: {warning}" for warning in self.warnings]
        return "\n".join([f"# {self.command} as of {self.as_of}", "", *table, *models, "", *places, *notes, ""])


def _plain_table(headings: Iterable[str], rows: Iterable[Iterable[str]], *, is_folded: bool = False) -> Table:
    """Lay rows out below headings, word for word.

    Where a terminal is too narrow all cells are folded, or the last of each row is cut, and names and figures never.
    """
    from rich.table import Table
    from rich.text import Text

    table, last = Table(box=None, pad_edge=False), len(names := list(headings)) - 1
    for place, heading in enumerate(names):
        table.add_column(heading, overflow="fold", no_wrap=not is_folded and place < last)
    for row in rows:
        table.add_row(
            *(Text(visible(cell), no_wrap=not is_folded, overflow=None if is_folded else "ellipsis") for cell in row)
        )
    return table


def _linked(place: str) -> str:
    """Make a link of a path; what is none, a model's name or the address of a store, stays as it is."""
    return f"[{place}]({Path(place).as_uri()})" if Path(place).is_absolute() else f"`{place}`"


def _heading(metrics: Mapping[str, Metric]) -> str:
    is_estimated = any(metric.low != metric.high for metric in metrics.values())
    return "value [95% interval]" if is_estimated else "value"


def _in_words(row: dict[str, str | bool]) -> list[str]:
    return [str(row["model"]), "yes" if row["is_trained"] else "no", str(row["why"]), str(row["meaning"])]
