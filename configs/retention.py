"""Retention periods: for how many days each kind of data is kept before the daily run removes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from configs.section import Section

Kept = Annotated[int, Field(gt=0, le=36_600)] | None
LONGEST_WINDOW = 365  # days of a feature, unless the app's own are longer


class Retention(Section):
    """For how many days each table is kept, counted back from the day of the daily run; unset keeps it for good."""

    events: Kept = Field(
        None, description="events; their daily sums stay, as windows and labels count on them, and no ingest brings "
        "older ones back"
    )  # fmt: skip
    snapshots: Kept = Field(None, description="snapshots; models learn from no older ones")
    decisions: Kept = Field(
        None, description="decisions with all that stands beside them, and who was in which segment"
    )
    options: Kept = Field(None, description="every option of every user of a day, the largest of what a day leaves")
    cubes: Kept = Field(
        None, description="counts and sums of a day, which name nobody; the desk's charts over time are made of them"
    )
    ledger: Kept = Field(None, description="the ledger of decisions; what they gave stays in the treatments")
    runs: Kept = Field(None, description="records of runs")
    reports: Kept = Field(None, description="reports, lists of users at risk and send lists")
    quarantine: Kept = Field(None, description="refused rows, by when what they tell happened")

    @property
    def periods(self) -> dict[str, int]:
        """Days by table, of those that are not kept for good."""
        return {name: days for name, days in self if days is not None}


def needed_days(
    *, horizon: int, holdout: int, step: int, longest: int = LONGEST_WINDOW
) -> Mapping[str, tuple[int, str]]:
    """Say how many days back tables are read, and by what.

    Parameters
    ----------
    horizon
        Days after which the last label of a moment is known.
    holdout
        Days before today at which models are judged.
    step
        Days between the snapshots that models learn from.
    longest
        Days of the longest window.

    Examples
    --------
    >>> needed_days(horizon=28, holdout=91, step=28)["snapshots"]
    (147, 'a snapshot to learn from before the test cut needs its horizon to be over (28 + 28 + 91 days)')
    """
    labelled = horizon + step + holdout
    terms = f"{step} + {horizon} + {holdout} days"
    return {
        "events": (longest + labelled, f"windows reach {longest} days back from snapshots whose labels need {terms}"),
        "snapshots": (labelled, f"a snapshot to learn from before the test cut needs its horizon to be over ({terms})"),
        "decisions": (horizon + 1, f"what was expected is held against what came within the horizon ({horizon} days)"),
        "options": (horizon + 1, f"what was expected is held against what came within the horizon ({horizon} days)"),
        "ledger": (horizon + holdout, f"what decisions changed is measured {horizon} days later, over {holdout} days"),
    }


def too_short(retention: Retention, needed: Mapping[str, tuple[int, str]]) -> str | None:
    """Say which table would be kept for fewer days than it is read back; None where none is.

    Examples
    --------
    >>> too_short(Retention(ledger=30), {"ledger": (119, "why")})
    'retention.ledger = 30 days would remove what is still needed: why; keep it for 119 days or more, or leave it out'
    """
    for name, days in retention.periods.items():
        least, why = needed.get(name, (0, ""))
        if days < least:
            return (
                f"retention.{name} = {days} days would remove what is still needed: {why}; keep it for {least} days or "
                "more, or leave it out"
            )
    return None
