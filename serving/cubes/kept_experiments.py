"""The newest stored results of A/B tests inside plays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

from features.storage.lake import Lake
from models.judge.experiment_verdict import ExperimentResult, VariantResult, result_facts
from models.metrics.metric import Metric
from serving.stored_days.measurements import newest_measurement

FILE = "experiments.json"


def results_as_json(as_of: date, results: Sequence[ExperimentResult]) -> str:
    """Write results as they are kept."""
    rows = [{**result_facts(each), "first_day": str(each.first_day) if each.first_day else None} for each in results]
    return json.dumps({"as_of": str(as_of), "experiments": rows}, indent=1) + "\n"


def newest_results(lake: Lake, as_of: date) -> tuple[date | None, list[ExperimentResult]]:
    """Read the results that were reached last, on or before a day, and that day; none before anything was measured.

    Raises
    ------
    DamagedError
        The file is not the one that was written.
    """
    found = newest_measurement(lake, as_of, FILE)
    if found is None:
        return None, []
    day, kept = found
    return day, [_result(row) for row in kept["experiments"]]


def _result(row: dict[str, Any]) -> ExperimentResult:
    variants = tuple(_variant(each) for each in row["variants"])
    first_day = date.fromisoformat(row["first_day"]) if row["first_day"] else None
    return ExperimentResult(**{**row, "variants": variants, "first_day": first_day})


def _variant(row: dict[str, Any]) -> VariantResult:
    effect = row["effect"]
    return VariantResult(**{**row, "effect": Metric(**{**effect, "n": int(effect["n"])}) if effect else None})
