"""The fold models of a cross-fit, stored so that a later training can evaluate the champion on rows it has not seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from configs.errors import InputError
from configs.profile_layers import by_full_name
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats
from features.storage.lake import Lake
from features.storage.whole_writes import write_text
from models.estimator_families.estimators import Estimator
from models.estimator_families.model_families import description_of
from models.learn.trial import Trial, scores_of_others
from models.registry.artifact_digests import ESTIMATOR, StoredVersion
from models.registry.model_reader import read_folds
from models.registry.registry_state import FOLDS, HONEST_FROM, PREDICTS
from models.registry.tracking import save_core

PREDICTS_BY = {"time_zone", "roles", "churn"}  # settings that say what a label is
AMOUNTS = "value"  # the model whose label [value] says, too


@dataclass(frozen=True)
class FoldModels:
    """Models by the fold of users that each did not see, of so many `folds`, and the instant that none saw beyond.

    `predicts` is what the label was: `what_is_predicted`.
    """

    by_fold: Mapping[int, Estimator] = field(default_factory=dict)
    folds: int = 0
    honest_from: str = ""
    predicts: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """What is kept of them in the registry."""
        return {FOLDS: str(self.folds), HONEST_FROM: self.honest_from, PREDICTS: self.predicts} if self.by_fold else {}


class IncomparableError(InputError):
    """A champion cannot be judged on the rows of a training; the sentence says why."""


def what_is_predicted(settings: Settings, subject: str) -> str:
    """Write the settings that say what the label of a model is; models of different ones cannot be compared."""
    include = PREDICTS_BY | ({AMOUNTS} if subject == AMOUNTS else set())
    return json.dumps(settings.model_dump(mode="json", include=include), sort_keys=True)


def told_difference(before: str, now: str) -> str:
    """Name the settings that make the labels of two models differ, or nothing where none does.

    Examples
    --------
    >>> told_difference('{"churn": {"horizon_days": 28}, "time_zone": "UTC"}', '{"churn": {"horizon_days": 14}}')
    'churn.horizon_days was 28 and is 14, time_zone was UTC and is unset'
    """
    if before == now:
        return ""
    if not before.startswith("{"):
        return "an earlier winback did not keep by which settings"
    old, new = by_full_name(json.loads(before)), by_full_name(json.loads(now))
    names = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    return ", ".join(f"{name} was {_shown(old.get(name))} and is {_shown(new.get(name))}" for name in names)


def _shown(value: object) -> object:
    return ", ".join(map(str, value)) or "empty" if isinstance(value, list) else "unset" if value is None else value


def write_folds(models: FoldModels, folder: Path) -> None:
    """Write the models into a folder, one folder each."""
    for fold, estimator in models.by_fold.items():
        save_core(estimator, folder / str(fold) / "model")
        write_text(folder / str(fold) / ESTIMATOR, json.dumps(description_of(estimator)))


def champion_scores(lake: Lake, champion: StoredVersion, trial: Trial, predicts: str) -> tuple[Floats, Flags]:
    """Predict the test rows of a training by the models of the champion's folds.

    Returns
    -------
    scores, among
        Shape (rows,); the comparison is honest on the rows `among` them, which begin after all that the champion's
        models learnt from. Where both were judged by users alone, these are all rows.

    Raises
    ------
    IncomparableError
        There are no such models or rows, or the champion predicts something else.
    """
    if FOLDS not in champion.tags:
        raise IncomparableError("it was registered without the models that could judge it")
    if otherwise := told_difference(champion.tags[PREDICTS], predicts):
        raise IncomparableError(f"it predicts something else: {otherwise}")
    among = (trial.starts >= pd.Timestamp(champion.tags[HONEST_FROM])).to_numpy() | (trial.honest_from is None)
    if trial.rows.loc[among, "user_id"].nunique() < 2:
        raise IncomparableError("no test row begins after what it learnt from")
    try:
        return scores_of_others(read_folds(lake, champion), int(champion.tags[FOLDS]), trial.rows), among
    except InputError as error:
        raise IncomparableError(str(error)) from error
