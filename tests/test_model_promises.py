"""Promises: the one list of checks that every model goes through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import lightgbm
import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, MIXED, outcomes, small_settings

from configs.errors import InputError
from features.storage.lake import Lake
from models.champion_gate.champions import promote
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import fit_linear, fit_proportional
from models.estimator_families.tree_estimators import fit_lightgbm
from models.metrics.metric import Metric
from models.model_cards.explain import importance
from models.registry.model_reader import ModelLineage, load
from models.registry.tracking import register

SETTINGS = small_settings()
FITS: dict[str, Callable[[pd.DataFrame], Estimator]] = {
    "logistic": lambda rows: fit_linear(rows, "is_churned", MIXED),
    "lightgbm": lambda rows: fit_lightgbm(rows, "is_churned", MIXED, SETTINGS),
    "tweedie": lambda rows: fit_lightgbm(rows, "margin", MIXED, SETTINGS, link="log"),
    "least_squares": lambda rows: fit_linear(rows, "margin", MIXED, link="identity"),
    "proportional": lambda rows: fit_proportional(rows, "margin", "spend_sum_90d"),
}
every_model = pytest.mark.parametrize("name", FITS)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Rows with missing numbers and missing texts."""
    return outcomes(150, np.random.default_rng(11), snapshots=2)


@pytest.fixture(scope="module")
def models(frame) -> dict[str, Estimator]:
    """Each model, fitted and calibrated by some slope and intercept."""
    return {
        name: replace(fit(frame), slope=0.8, intercept=0.0 if name == "proportional" else 0.1)
        for name, fit in FITS.items()
    }


@every_model
def test_a_prediction_is_in_the_range_of_its_target(models, frame, name):
    predicted = models[name].predict(frame)
    assert predicted.shape == (len(frame),)
    assert predicted.dtype == np.float64
    assert predicted.min() >= 0
    assert models[name].link != "logit" or predicted.max() <= 1
    assert len(np.unique(predicted)) > 20


@every_model
def test_the_order_of_the_columns_has_no_effect(models, frame, name):
    turned = frame[frame.columns[::-1]]
    assert (models[name].predict(turned) == models[name].predict(frame)).all()
    assert (models[name].contributions(turned) == models[name].contributions(frame)).all()
    assert (FITS[name](turned).predict(frame) == FITS[name](frame).predict(frame)).all()


@every_model
def test_the_same_seed_gives_the_same_answer(frame, name):
    assert (FITS[name](frame).predict(frame) == FITS[name](frame).predict(frame)).all()


@every_model
def test_the_input_is_left_unchanged(frame, name):
    before = frame.copy(deep=True)
    model = FITS[name](frame)
    model.predict(frame)
    model.contributions(frame)
    pd.testing.assert_frame_equal(frame, before)


@every_model
def test_a_missing_column_is_named(models, frame, name):
    gone = models[name].columns[-1]
    for ask in (models[name].predict, models[name].contributions):
        with pytest.raises(InputError, match=rf"reads the column '{gone}', which the frame lacks; .*build-features"):
            ask(frame.drop(columns=gone))


@every_model
@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_user_is_told_the_same_in_a_batch_of_any_size(models, frame, name, size):
    part = frame.head(40)
    # as each batch is read from disk by itself, so its categories are its own
    batches = [part.iloc[start : start + size] for start in range(0, 40, size)]
    own = [batch.astype({"trait_plan": object}).astype({"trait_plan": "category"}) for batch in batches]
    together = np.concatenate([models[name].predict(batch) for batch in own])
    assert (together == models[name].predict(part)).all()


@every_model
def test_a_batch_in_which_nobody_has_a_trait_is_predicted(models, frame, name):
    none = frame.head(5).assign(trait_plan=pd.Categorical([None] * 5), trait_plan_plus=np.nan)
    assert np.isfinite(models[name].predict(none)).all()


@every_model
def test_the_registry_gives_the_same_model_back(models, frame, name, registry: Lake):
    subject = f"promise-{name}"
    version = register(
        registry, ModelLineage(subject, name, AS_OF, AS_OF, AS_OF, "0123456789abcdef"), models[name], frame.head(20),
        parameters={"rows": len(frame)}, metrics={f"{subject}.auc": Metric(0.8, 0.7, 0.9, 10)}, pictures={},
        notes={"answer": 42}, verdict="the only candidate",
    )  # fmt: skip
    promote(registry, subject, version, "the only candidate")
    back = load(registry, subject)
    assert (back.version, back.lineage.candidate, back.notes) == (version, name, {"answer": 42})
    assert replace(back.estimator, core=None) == replace(models[name], core=None)
    assert (back.estimator.predict(frame) == models[name].predict(frame)).all()
    assert (back.estimator.contributions(frame) == models[name].contributions(frame)).all()


@every_model
def test_contributions_sum_to_the_calibrated_score(models, frame, name):
    model = models[name]
    parts = model.contributions(frame)
    assert parts.shape == (len(frame), len(model.columns) + 1)
    score = model.slope * model.raw_score(frame) + model.intercept
    assert parts.sum(axis=1) == pytest.approx(score, abs=1e-9)


@pytest.mark.filterwarnings("ignore:LightGBM binary classifier with TreeExplainer")
@pytest.mark.parametrize("name", ["lightgbm", "tweedie"])
def test_contributions_of_trees_are_their_shapley_values(models, frame, name):
    import shap

    model = models[name]
    values = shap.TreeExplainer(model.core).shap_values(model.inputs(frame))
    assert model.contributions(frame)[:, :-1] == pytest.approx(0.8 * np.asarray(values), abs=1e-9)


@pytest.mark.parametrize("name", ["lightgbm", "tweedie"])
def test_contributions_of_trees_are_lightgbm_s_own(models, frame, name):
    model = models[name]
    assert isinstance(model.core, lightgbm.Booster)
    own = model.core.predict(frame[list(model.columns)], pred_contrib=True)
    assert model.contributions(frame)[:, :-1] == pytest.approx(0.8 * own[:, :-1], abs=1e-12)
    assert model.contributions(frame)[:, -1] == pytest.approx(0.8 * own[:, -1] + 0.1, abs=1e-12)


def test_contributions_of_a_linear_model_are_coefficient_times_distance(models, frame):
    model = models["logistic"]
    plans = [*frame["trait_plan"].cat.categories, np.nan]
    days = np.log1p(frame["days_since_last_activity"])
    numbers = [np.log1p(frame[name].fillna(frame[name].median())) for name in MIXED if name not in (MIXED[0], MIXED[3])]
    texts = [frame["trait_plan"].isna() if plan is np.nan else frame["trait_plan"] == plan for plan in plans]
    scaled = [(column - column.mean()) / np.std(column.astype(float)) for column in [days, *numbers, *texts]]
    coefficients = np.ravel(model.core[-1].coef_)
    assert len(scaled) == len(coefficients)
    parts = [0.8 * coefficient * column for coefficient, column in zip(coefficients, scaled, strict=True)]
    by_column = dict(zip([MIXED[0], MIXED[1], MIXED[2], MIXED[4]], parts[:4], strict=True)) | {MIXED[3]: sum(parts[4:])}
    expected = np.column_stack([by_column[name] for name in MIXED])
    assert model.contributions(frame)[:, :-1] == pytest.approx(expected, abs=1e-9)


@every_model
def test_importance_is_the_mean_strength_of_the_contributions(models, frame, name):
    strength = np.abs(models[name].contributions(frame)[:, :-1]).mean(axis=0)
    ranked = importance(models[name], frame)
    assert ranked.is_monotonic_decreasing
    assert ranked[list(models[name].columns)].tolist() == strength.tolist()
