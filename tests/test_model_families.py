"""A new family of models is one class and one line: it is trained, registered, read back, scored and explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from synthetic import AS_OF, outcomes, small_settings

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.array_types import Floats
from features.storage.lake import Lake
from models.champion_gate.champions import promote
from models.estimator_families.estimators import Estimator, Link
from models.estimator_families.model_families import FAMILIES, described_estimator, description_of, family_named
from models.learn.churn import split_outcomes
from models.learn.training import train_candidates
from models.model_cards.explain import importance
from models.registry.model_reader import ModelLineage, load
from models.registry.tracking import register
from serving.wording.explanations import add_risk_reasons
from serving.wording.reason_lists import ReasonLists

SETTINGS = small_settings()
COLUMN = "days_since_last_activity"


@dataclass(frozen=True)
class RecencyEstimator(Estimator):
    """A logistic regression on one column; missing days count as 400."""

    family: ClassVar[str] = "recency"
    flavour: ClassVar[str] = "sklearn"

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, target: str, columns: list[str], settings: Settings, *, link: Link = "logit",
        rising: tuple[str, ...] = (),
    ) -> Self:  # fmt: skip
        days = frame[columns].fillna(400.0).to_numpy()
        return cls(target, link, tuple(columns), LogisticRegression().fit(days, frame[target]))

    def raw_score(self, frame: pd.DataFrame) -> Floats:
        return self.raw_contributions(self.inputs(frame)).sum(axis=1)

    def raw_contributions(self, inputs: pd.DataFrame) -> Floats:
        days = inputs.iloc[:, 0].fillna(400.0).to_numpy(dtype=np.float64)
        return np.column_stack([days * self.core.coef_[0, 0], np.full(len(days), self.core.intercept_[0])])


@pytest.fixture
def frame() -> pd.DataFrame:
    return outcomes(300, np.random.default_rng(3), snapshots=3)


def test_a_new_family_survives_train_register_load_score_and_explain(
    frame: pd.DataFrame, registry: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "recency", RecencyEstimator)
    starts = sorted(frame["event_timestamp"].unique())
    split = split_outcomes(frame, 7, pd.Timestamp(starts[1]), SETTINGS)

    def fit(rows: pd.DataFrame) -> Estimator:
        return RecencyEstimator.fit(rows, "is_churned", [COLUMN], SETTINGS)

    everything = np.ones(len(frame), dtype=bool)
    candidate = train_candidates(frame, split, "is_churned", {"recency": fit}, everything)["recency"]
    assert candidate.test_score.shape == (split.test.sum(),)
    lineage = ModelLineage("toy", "recency", AS_OF, AS_OF, AS_OF, "0123456789abcdef")
    version = register(
        registry, lineage, candidate.estimator, frame.head(20), parameters={}, metrics={}, pictures={}, notes={},
        verdict="the only candidate",
    )  # fmt: skip
    promote(registry, "toy", version, "the only candidate")
    back = load(registry, "toy").estimator
    assert isinstance(back, RecencyEstimator)
    assert (back.predict(frame) == candidate.estimator.predict(frame)).all()
    given = back.predict_given(frame, [{COLUMN: 3.0}, {COLUMN: 300.0}])
    assert (given[:, 0] < given[:, 1]).all()
    parts = back.contributions(frame)
    assert parts.sum(axis=1) == pytest.approx(back.slope * back.raw_score(frame) + back.intercept)
    assert list(importance(back, frame).index) == [COLUMN]
    reasons = ReasonLists(len(frame))
    add_risk_reasons(reasons, np.arange(len(frame)), back, frame, SETTINGS.roles)
    assert {reason["column"] for each in reasons.build().to_pylist() for reason in each or ()} == {COLUMN}
    assert (back.refit(frame, SETTINGS).raw_score(frame) == fit(frame).raw_score(frame)).all()


def test_each_family_is_registered_under_its_own_name() -> None:
    assert {name: family.family for name, family in FAMILIES.items()} == {name: name for name in FAMILIES}


def test_a_description_and_a_core_make_the_model_again(frame: pd.DataFrame) -> None:
    for name in ("linear", "lightgbm"):
        model = family_named(name).fit(frame, "is_churned", [COLUMN], SETTINGS)
        assert described_estimator(description_of(model), model.core) == model


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(InputError, match=r"'lightgbn' is no family of models; did you mean 'lightgbm'\?; train again"):
        family_named("lightgbn")
