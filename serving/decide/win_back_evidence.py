"""The newest results of win-back plays, and which plays are therefore stopped or proven."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

from features.storage.lake import Lake
from models.judge.win_back_verdict import WinBackVerdict
from models.metrics.metric import Metric
from serving.arms.win_back_draws import WinBackFindings
from serving.stored_days.measurements import newest_measurement

FILE = "win_back.json"


def verdicts_as_json(as_of: date, verdicts: Sequence[WinBackVerdict]) -> str:
    """Write verdicts as they are kept."""
    rows = [{**asdict(each), "effect": each.effect.as_dict()} for each in verdicts]
    return json.dumps({"as_of": str(as_of), "win_back": rows}, indent=1) + "\n"


def newest_verdicts(lake: Lake, as_of: date) -> list[WinBackVerdict]:
    """Read the verdicts that were reached last, on or before a day; none before anything was measured.

    Raises
    ------
    DamagedError
        The file is not the one that was written.
    """
    found = newest_measurement(lake, as_of, FILE)
    rows = found[1]["win_back"] if found is not None else []
    return [WinBackVerdict(**{**row, "effect": Metric(**row["effect"])}) for row in rows]


def win_back_findings(lake: Lake, as_of: date) -> WinBackFindings:
    """Say which win-back offers are stopped and which are proven, by their id."""
    verdicts = newest_verdicts(lake, as_of)
    states = {state: frozenset(each.offer_id for each in verdicts if each.state == state) for state in STATES}
    return WinBackFindings(**states)


STATES = ("stopped", "proven")
