"""The test rows on which models of one subject are compared, with the metrics that count and a minimum quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from models.estimator_families.estimators import Estimator
from models.metrics.evaluation import Measure, auc, gain_metric, score_metric
from models.metrics.metric import Metric
from models.metrics.splits import hash_share

DECIDES = {
    "log_loss": ("log loss", -1.0),
    "r_squared": ("R²", 1.0),
    "auc": ("AUC", 1.0),
}  # its words, and -1 where less is better


@dataclass(frozen=True)
class Trial:
    """Test rows of one subject, in the order of all candidates' scores.

    Parameters
    ----------
    rows
        With ``user_id`` and the `target`.
    starts
        Instant of each row, from which on its label counts.
    headline
        Rows that the reported measures are taken on.
    measures
        What is reported of every model, by name; `decisive` is the one that decides, a key of `DECIDES`.
    honest_from
        No model of the cross-fit learnt from a label that ends later; None where users alone are left out.
    baselines
        Plain columns as scores, by name: who ranks worse than one of them is no use.
    """

    subject: str
    rows: pd.DataFrame
    target: str
    starts: pd.Series
    headline: Flags
    measures: Mapping[str, Measure]
    decisive: str
    honest_from: pd.Timestamp | None
    baselines: Mapping[str, Floats]

    @cached_property
    def label(self) -> Floats:
        """Label of each row."""
        return self.rows[self.target].to_numpy(dtype=np.float64)

    @property
    def words(self) -> str:
        """Words for the decisive measure."""
        return DECIDES[self.decisive][0]

    def gain(self, new: Floats, old: Floats, among: Flags, settings: Settings, rng: np.random.Generator) -> Metric:
        """Say how much better one score is than another on some rows: paired, on the same resampled users."""
        sign, measure = DECIDES[self.decisive][1], self.measures[self.decisive]

        def signed(label: Floats, score: Floats, weight: Floats) -> float:
            return sign * measure(label, score, weight)

        users, samples = self.rows.loc[among, "user_id"], settings.training.bootstrap_samples
        return gain_metric(signed, self.label[among], new[among], old[among], users, samples=samples, rng=rng)

    def measured(
        self, score: Floats, settings: Settings, rng: np.random.Generator, among: Flags | None = None
    ) -> dict[str, Metric]:
        """Measure a score on the headline rows, by metric name; with `among` on those of them that are also there."""
        rows = self.headline if among is None or not (self.headline & among).any() else self.headline & among
        users, samples = self.rows.loc[rows, "user_id"], settings.training.bootstrap_samples
        return {
            f"{self.subject}.{name}": score_metric(
                measure, self.label[rows], score[rows], users, samples=samples, rng=rng
            )
            for name, measure in self.measures.items()
        }


def below_floor(trial: Trial, scores: Mapping[str, Floats], families: Mapping[str, str]) -> dict[str, str]:
    """Say which candidates are not good enough for any use, whomever they beat.

    A model of an amount must explain more than the mean does (R² of 0), unless it is the mean itself. Trees must not
    rank worse than any simpler candidate or plain column. Both are judged by the estimate alone, as doubt is no merit.

    Parameters
    ----------
    families
        Family of each candidate's estimator, by name.

    Returns
    -------
    The shortfall of each candidate that has one, in words.
    """
    everyone = np.ones(len(trial.label))
    if trial.decisive == "r_squared":
        measure = trial.measures["r_squared"]
        found = {name: measure(trial.label, scores[name], everyone) for name in scores if families[name] != "constant"}
        words = "its R² of {:.3f} is below 0: everybody's mean is nearer"
        return {name: words.format(value) for name, value in found.items() if value < 0}
    trees = [name for name in scores if families[name] == "lightgbm"]
    plain = {name: score for name, score in scores.items() if name not in trees} | dict(trial.baselines)
    ranked = {name: auc(trial.label, score, everyone) for name, score in {**scores, **plain}.items()}
    best = max(plain, key=lambda name: ranked[name], default=None)
    return {
        name: f"its AUC of {ranked[name]:.4f} is below the {ranked[best]:.4f} of {best}"
        for name in trees
        if best is not None and ranked[name] < ranked[best]
    }


def scores_of_others(by_fold: Mapping[int, Estimator], folds: int, rows: pd.DataFrame) -> Floats:
    """Predict rows each by a model that never saw its user; shape (rows,).

    Parameters
    ----------
    by_fold
        Models by the fold of users that they did not learn from, as `cross_fit` makes them.
    folds
        Number of folds that users were parted into.

    Raises
    ------
    InputError
        The rows lack a column of the models.
    """
    fold = (hash_share(rows["user_id"], "folds") * folds).astype(np.intp)
    found = np.zeros(len(rows))
    for number in np.unique(fold):
        inside = fold == number  # nobody of a fold without a model was there to be learnt from
        model = by_fold.get(int(number), next(iter(by_fold.values())))
        found[inside] = model.predict(rows[inside])
    return found
