"""Experiments: which variant of a play is better, or how many users it still takes to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.judge.experiment_verdict import ExperimentResult
from serving.charts.bar_charts import bar_chart
from serving.charts.chart_frame import Chart
from serving.cubes.experiment_words import MEASURES, effect_words, mean_words, verdict_words
from serving.cubes.kept_experiments import newest_results
from serving.desk.desk_pages import Page, Question


def experiments_page(asked: Question) -> Page:
    """Answer which way of a play is better."""
    desk = asked.desk
    measured_on, results = newest_results(desk.lake, asked.day)
    known = {each.name for each in results}
    values = {
        "measured_on": measured_on,
        "results": [result_rows(each, desk.settings.currency) for each in results],
        "unmeasured": [name for name in desk.catalogue.experiments if name not in known],
        "horizon": desk.settings.churn.horizon_days,
    }
    return Page("experiments", "Experiments", values, _charts(results))


def result_rows(result: ExperimentResult, currency: str) -> Mapping[str, Any]:
    """Put an experiment into words, and each of its variants into a row."""
    rows = [
        {
            "name": each.name,
            "share": each.share,
            "exposed": each.exposed,
            "closed": each.closed,
            "brought": mean_words(each, result.measured_by, currency),
            "effect": effect_words(each, result.measured_by, currency) if place else "",
        }
        for place, each in enumerate(result.variants)
    ]
    return {
        "result": result, "verdict": verdict_words(result, currency), "rows": rows,
        "measure": MEASURES[result.measured_by],
    }  # fmt: skip


def _charts(results: Sequence[ExperimentResult]) -> dict[str, Chart]:
    return {
        f"drew-{place}": bar_chart(
            f"{each.name}: users by the variant that they drew",
            ("variant", "users"),
            [(variant.name, variant.exposed) for variant in each.variants],
        )
        for place, each in enumerate(results)
    }
