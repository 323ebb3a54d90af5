"""The page Experiments: which variant of a play is better, or how many more users a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.judge.experiment_verdict import ExperimentResult
from serving.charts.bar_charts import bar_chart
from serving.charts.chart_frame import Chart
from serving.cubes.experiment_words import effect_words, mean_words, measured_words, verdict_words
from serving.cubes.kept_experiments import newest_results
from serving.desk.desk_pages import Desk, Page, Question
from serving.wording.rendering import Words


def experiments_page(question: Question) -> Page:
    """Answer which way of a play is better."""
    desk = question.desk
    measured_on, results = newest_results(desk.lake, question.day)
    known = {each.name for each in results}
    values = {
        "measured_on": measured_on,
        "results": [result_rows(each, desk.words) for each in results],
        "unmeasured": [name for name in desk.catalogue.experiments if name not in known],
        "horizon": desk.settings.churn.horizon_days,
    }
    return Page("experiments", desk.words.say("Experiments"), values, _charts(results, desk))


def result_rows(experiment: ExperimentResult, words: Words) -> Mapping[str, Any]:
    """Put an experiment into words, and each of its variants into a row."""
    rows = [
        {
            "name": each.name,
            "share": each.share,
            "exposed": each.exposed,
            "closed": each.closed,
            "brought": mean_words(each, experiment.measured_by, words),
            "effect": effect_words(each, experiment.measured_by, words) if place else "",
        }
        for place, each in enumerate(experiment.variants)
    ]
    return {
        "result": experiment, "verdict": verdict_words(experiment, words), "rows": rows,
        "measure": measured_words(experiment.measured_by, words),
    }  # fmt: skip


def _charts(results: Sequence[ExperimentResult], desk: Desk) -> dict[str, Chart]:
    say = desk.words.say
    return {
        f"drew-{place}": bar_chart(
            say("{name}: users by the variant that they drew", name=each.name),
            (say("variant"), say("users")),
            [(variant.name, variant.exposed) for variant in each.variants],
            words=desk.chart_words,
        )
        for place, each in enumerate(results)
    }
