"""Findings of guards: stored as codes with parameters, and put into words only for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from itertools import groupby

import pyarrow as pa

from configs.errors import InputError
from configs.guard_settings import Guard
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet

FILE = "guards.parquet"
Say = Callable[..., str]
PASSED, FIRED, UNKNOWN = "passed", "fired", "unknown"
WORDS = {
    "quiet_days": "there is no event for {value:.0f} days before {as_of}, the newest is of {subject}",
    "volume": "{day}, a {weekday}, has {value:,.0f} events, the same weekdays before it usually {usual:,.0f}",
    "missing_values": "{subject} is missing in {value:.1%} of the events of {day}, usually in {usual:.1%}",
    "unknown_names": "{value:.1%} of the events of {day} have names that no {weekday} before it has, such as {subject}",
    "unknown_users": "{value:.1%} of the users of {day} are in no row of users, a week before {usual:.1%} were in none",
    "name_gone": "no event of {day} is a {subject}, usually {usual:.1%} are",
    "column_gone": "no event of {day} has {subject}, usually {usual:.1%} have",
    "column_came": "{value:.1%} of the events of {day} have {subject}, which no {weekday} before it has",
    "snapshot_column_gone": "{subject} is no column of the snapshots any more",
    "snapshot_column_came": "{subject} is a new column of the snapshots",
    "late_events": "{value:.1%} of the events that arrived on {day} had happened before it",
    "score_drift": "scores of {subject} lie {value:.2f} (PSI) from those of its training (usually {usual:.2f})",
    "input_drift": "{subject} lies {value:.2f} (PSI) from what models were taught (usually {usual:.2f})",
    "constant_scores": "{subject} predicts {value:.3f} of everybody",
    "expected_auc": "scores of {subject} promise an AUC of {value:.3f}, at its training {usual:.3f}",
    "calibration": "of those that {subject} gave no offer {value:.1%} left, {usual:.1%} were expected to",
    "by_version": "{subject} is predicted by version {value:.0f}, the last good champion: {because}",
    "by_rule": "{subject} is predicted by the rule of recency: {because}",
    "without": "nothing is predicted of {subject}: {because}",
    "hindsight": "{subject} was taught what came after this day, up to {because}: it decides in hindsight, which no "
    "guard counts",
    "no_labels": "no day that {subject} decided lies a whole horizon back yet",
    "no_reference": "{subject} was registered without what it was taught on; train again",
    "one_snapshot": "{subject} was taught one snapshot, which does not tell how people change by themselves",
    "few_weeks": "{value:.0f} same weekdays lie before {day}, guards.min_weeks = {usual:.0f}",
    "few_rows": "{day} has {value:,.0f} rows to tell by, guards.min_rows = {usual:,.0f}",
    "nothing": "nothing looks wrong",
}


@dataclass(frozen=True)
class Finding:
    """What one guard found about one subject, such as a column.

    `guard` is its name in ``[guards]``, `state` whether it passed, fired, or knows too little to tell, `code` what it
    says, a key of `WORDS`, with `value` beside the `usual` one; `because` is what an error said.
    """

    guard: str
    state: str
    mode: str
    limit: float
    code: str = "nothing"
    subject: str = ""
    value: float = float("nan")
    usual: float = float("nan")
    because: str = ""

    @property
    def brief(self) -> str:
        """Say it for a day that is known."""
        return WORDS[self.code].format(**vars(self), day="the day", as_of="it", weekday="same weekday")

    def words(self, as_of: date, say: Say = str.format, weekday: Callable[[date], str] = "{:%A}".format) -> str:
        """Say it in a sentence, with the setting that it rests on.

        `say` gives an English text in a language, with its fields, and `weekday` names a day of the week.
        """
        day = as_of - timedelta(days=1)
        said = say(WORDS[self.code], **vars(self), day=day, as_of=as_of, weekday=weekday(day))
        if self.state != FIRED or self.guard == "champion":
            return said
        return say("{said} (guards.{guard}, limit {limit:g})", said=said, guard=self.guard, limit=self.limit)


def found_by(
    guard: str, chosen: Guard, is_fired: bool, code: str, subject: str = "", value: float = float("nan"),
    usual: float = float("nan"),
) -> list[Finding]:  # fmt: skip
    """Put down what a guard found, where it fires."""
    return [Finding(guard, FIRED, chosen.mode, chosen.limit, code, subject, value, usual)] if is_fired else []


def guard_words(
    findings: Iterable[Finding], as_of: date, say: Say = str.format, weekday: Callable[[date], str] = "{:%A}".format
) -> list[str]:
    """Say what fired, a sentence each, and which guards know too little, in one sentence for each lack."""
    findings = list(findings)
    said = [*dict.fromkeys(each.words(as_of, say, weekday) for each in findings if each.state == FIRED)]
    lacking = sorted((each for each in findings if each.state == UNKNOWN), key=lambda each: (each.code, each.value))
    for why, same in groupby(lacking, key=lambda each: each.words(as_of, say, weekday)):
        names = ", ".join(sorted({each.guard for each in same}))
        said.append(say("too little is known to judge {names}: {why}", names=names, why=why))
    return said


def refuse(findings: Iterable[Finding], as_of: date) -> None:
    """End the run where a guard fired whose mode is ``stop``, before anything is written.

    Raises
    ------
    InputError
        One did; all of them are named.
    """
    stopping = [each for each in findings if each.state == FIRED and each.mode == "stop"]
    if stopping:
        said = "; ".join(each.words(as_of) for each in stopping)
        names = ", ".join(dict.fromkeys(f"guards.{each.guard}.mode" for each in stopping))
        raise InputError(
            f"{as_of} is not decided: {said}; ingest what is missing or mend it, or set {names} = 'warn' to go on"
        )


def findings_table(findings: Sequence[Finding]) -> pa.Table:
    """Write findings as a table, a column for each of their fields."""
    texts = {"guard", "state", "mode", "code", "subject", "because"}
    schema = pa.schema([(each.name, pa.string() if each.name in texts else pa.float64()) for each in fields(Finding)])
    return pa.Table.from_pylist([asdict(each) for each in findings], schema=schema)


def stored_findings(lake: Lake, as_of: date) -> list[Finding]:
    """Read what guards found on a decided day; nothing where it was decided without them.

    Raises
    ------
    InputError
        The file is damaged.
    """
    name = f"decisions/day={as_of:%Y-%m-%d}/{FILE}"
    if not lake.files.exists(name):
        return []
    return [Finding(**row) for row in read_parquet(lake.path(name)).to_pylist()]
