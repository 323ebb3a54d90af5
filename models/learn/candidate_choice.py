"""The choice between the candidates of one subject: the simplest wins unless a later one is proven better.

Candidates are compared on the same test rows, which are later than the training and of other users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.array_types import Floats
from models.learn.training import GateVerdict, Trained, TrainedCandidate, generator
from models.learn.trial import Trial, below_floor
from models.metrics.evaluation import Measure, score_metric
from models.metrics.metric import Metric

USERS_ALONE = "judged out of users alone, because the history cannot be cut in time"
Measures = Mapping[str, tuple[Measure, Floats]]  # a measure and the score that it is taken of, by name of the metric


def choose_candidate(
    candidates: dict[str, TrainedCandidate], trial: Trial, latest: pd.DataFrame, settings: Settings,
    more_measures: Callable[[TrainedCandidate], Measures] | None = None, *, reports_gain: bool = True,
) -> Trained:  # fmt: skip
    """Judge the candidates on the test rows of a trial, and measure the one that is chosen.

    Parameters
    ----------
    latest
        The newest rows, on which explanations are drawn.
    more_measures
        Makes further metrics of the chosen candidate, of scores on the headline rows.
    reports_gain
        Whether the gain of the last comparison is a metric, too.

    Raises
    ------
    InputError
        A metric is not finite.
    """
    subject, rng = trial.subject, generator(settings, trial.subject)
    verdict = judge(candidates, trial, settings, rng)
    chosen = candidates[verdict.winner]
    label, score = trial.label[trial.headline], chosen.test_score[trial.headline]
    measures = {f"{subject}.{name}": (measure, score) for name, measure in trial.measures.items()}
    measures |= more_measures(chosen) if more_measures is not None else {}
    metrics = score_all(measures, label, trial.rows.loc[trial.headline, "user_id"], settings, rng)
    if reports_gain and verdict.gain is not None:
        metrics[f"{subject}.{trial.decisive}_gain"] = verdict.gain
    own = own_metrics(candidates, verdict.winner, metrics, trial, settings)
    return Trained(subject, candidates, verdict, metrics, label, score, latest, own, trial)


def judge(
    candidates: dict[str, TrainedCandidate], trial: Trial, settings: Settings, rng: np.random.Generator
) -> GateVerdict:
    """Keep the first candidate, the simplest, unless a later one beats it with its whole 95% interval.

    The comparison is paired: both are measured on the same resampled users. Who is below the floor cannot win; where
    all are, the verdict has the shortfall. Where the test was not out of time the reason says so.
    """
    families = {name: each.estimator.family for name, each in candidates.items()}
    below = below_floor(trial, {name: each.test_score for name, each in candidates.items()}, families)
    simplest, *others = candidates
    winner, reason, best = simplest, f"{simplest} is the only candidate", None
    everyone = np.ones(len(trial.rows), dtype=bool)
    for name in others:
        best = trial.gain(candidates[name].test_score, candidates[winner].test_score, everyone, settings, rng)
        interval = f"{interval_words(trial, best)} test rows"
        if winner in below and name not in below:
            winner, reason = name, f"{name} wins: {winner} is not good enough, {below[winner]} ({interval})"
        elif best.low <= 0:
            reason = f"{winner} stays: {interval} of {name} does not lie above 0"
        elif name in below:
            reason = f"{winner} stays: {name} is not good enough, {below[name]} ({interval})"
        else:
            winner, reason = name, f"{name} beats {winner}: {interval} lies above 0"
    if trial.honest_from is None:
        reason = f"{reason}; {USERS_ALONE}"
    return GateVerdict(winner, reason, best, below.get(winner, ""))


def interval_words(trial: Trial, gain: Metric) -> str:
    """Say a gain with its interval and its rows."""
    return f"{trial.words} gain {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] over {gain.n:,}"


def own_metrics(
    candidates: dict[str, TrainedCandidate], winner: str, metrics: dict[str, Metric], trial: Trial, settings: Settings
) -> dict[str, dict[str, Metric]]:
    """Measure every candidate alike, by its name; those of the winner are known already."""
    known = {f"{trial.subject}.{name}" for name in trial.measures}
    return {
        name: {key: metric for key, metric in metrics.items() if key in known}
        if name == winner
        else trial.measured(each.test_score, settings, generator(settings, f"{trial.subject} {name}"))
        for name, each in candidates.items()
    }


def score_all(
    measures: Mapping[str, tuple[Measure, Floats]], label: Floats, user_ids: pd.Series, settings: Settings,
    rng: np.random.Generator,
) -> dict[str, Metric]:  # fmt: skip
    """Bootstrap several measures of the same rows; the keys become metric names.

    Raises
    ------
    InputError
        One of them is not finite.
    """
    samples = settings.training.bootstrap_samples
    found = {
        name: score_metric(measure, label, score, user_ids, samples=samples, rng=rng)
        for name, (measure, score) in measures.items()
    }
    for name, metric in found.items():
        if not np.isfinite([metric.value, metric.low, metric.high]).all():
            raise InputError(
                f"{name} is no finite number ({metric}); look at its label and its columns, then train again"
            )
    return found
