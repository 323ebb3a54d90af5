"""What tries found, counted: a table for people, JSON for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

COLUMNS = ("lost", "double", "partial", "silent", "traceback", "strays")
COUNTED = ("tries", "hit", *COLUMNS, "told", "stand-in", "same bytes", "other bytes")


@dataclass
class Verdict:
    """One try: what was done, whether the fault met the command at all, what was found, whether bytes were the same.

    `is_told` of a damage that a command, or ``verify``, ends with a sentence about; `has_stand_in` where the champion
    before it, or a rule, decided instead, which the run and every decision say.
    """

    scenario: str
    what: str
    is_hit: bool = True
    findings: list[str] = field(default_factory=list)
    is_same: bool | None = None
    is_told: bool = False
    has_stand_in: bool = False
    seconds: float = 0.0

    def found(self, kind: str) -> bool:
        """Whether something of a kind was found."""
        return any(each.startswith(f"{kind}:") for each in self.findings)


def counted(verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """Count tries and findings of each scenario."""
    table: dict[str, dict[str, int]] = {}
    for each in verdicts:
        row = table.setdefault(each.scenario, dict.fromkeys(COUNTED, 0))
        row["tries"] += 1
        row["hit"] += each.is_hit
        for kind in COLUMNS:
            row[kind] += each.found(kind)
        row["told"] += each.is_told
        row["stand-in"] += each.has_stand_in
        row["same bytes"] += each.is_same is True
        row["other bytes"] += each.is_same is False
    return table


def table_text(verdicts: Sequence[Verdict]) -> str:
    """Lay the counts out for people, and below them what was found."""
    table = counted(verdicts)
    total = Counter[str]()
    for row in table.values():
        total.update(row)
    width = max(map(len, (*table, "all together")), default=0)
    lines = [f"{'':{width}}  {'  '.join(COUNTED)}"]
    lines += [
        f"{scenario:{width}}  {'  '.join(f'{row[name]:>{len(name)}}' for name in COUNTED)}"
        for scenario, row in [*table.items(), ("all together", total)]
    ]
    by_finding: dict[str, list[str]] = {}
    for each in verdicts:
        for finding in each.findings:
            by_finding.setdefault(f"{each.scenario}: {finding}", []).append(each.what)
    lines += ["", *(f"{len(where)}x {finding} [{where[0]}]" for finding, where in by_finding.items())]
    return "\n".join(lines)


def as_json(verdicts: Sequence[Verdict], about: dict[str, Any]) -> dict[str, Any]:
    """Return the one object that machines read: the counts, and every try that found something."""
    return {**about, "counts": counted(verdicts), "tries": [asdict(each) for each in verdicts if each.findings]}
