"""One shape for every model: fit, predict, explain exactly, survive the registry as a library's own object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from configs.errors import InputError
from configs.settings import Settings
from features.arrays.array_types import Floats
from features.definitions.registry import null_fillers
from features.definitions.snapshot_features import catalogue
from models.forest import boosters
from models.forest.boosters import Constant, threads_for, with_constants

Link = Literal["logit", "log", "identity", "signed"]
FILLERS = null_fillers(catalogue())  # of the columns that every app has


@dataclass(frozen=True)
class Estimator:
    """A fitted model of one target.

    `core` is a scikit-learn pipeline or a LightGBM booster; a ``surface`` is linear with several outputs, so that its
    scores have shape (rows, outputs). `slope` and
    `intercept` calibrate it on the scale of `link`. `columns` are read by name, so their order has no effect.
    """

    target: str
    family: Literal["linear", "lightgbm", "surface"]
    link: Link
    columns: tuple[str, ...]
    core: Any
    slope: float = 1.0
    intercept: float = 0.0

    def raw_score(self, frame: pd.DataFrame) -> Floats:
        """Score rows on the scale of the link, before calibration; shape (rows,)."""
        inputs = self.inputs(frame)
        if self.family == "surface":
            return self.surface_scores(frame)
        if self.family == "lightgbm":
            return boosters.raw_scores(self.core, inputs)
        # summed row by row: a matrix product's last bits depend on how many rows there are
        return np.asarray(self._linear(inputs).sum(axis=1))

    def surface_scores(self, frame: pd.DataFrame, outputs: int | None = None) -> Floats:
        """Score rows by the first outputs of a ``surface``, or all of them; shape (rows, outputs)."""
        scaled = np.asarray(self.core[:-1].transform(self.plain_inputs(frame)), dtype=np.float64)
        model = self.core[-1]
        found = np.tile(model.intercept_[:outputs], (len(frame), 1))
        for values, weights in zip(scaled.T, model.coef_[:outputs].T, strict=True):
            found += values[:, None] * weights  # term by term: a matrix product's last bits depend on the rows' number
        return found

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Predict rows on the scale of the target: a probability or an amount; shape (rows,)."""
        return inverse_link(self.link, self.slope * self.raw_score(frame) + self.intercept)

    def predict_given(self, frame: pd.DataFrame, constants: Sequence[Mapping[str, Constant]]) -> Floats:
        """Predict rows once under each of several sets of constants, such as the options of a catalogue.

        Parameters
        ----------
        constants
            Values that some columns take on all rows; each set names the same columns.

        Returns
        -------
        Shape (rows, sets of constants); each column as `predict` would give it.
        """
        own_columns = [name for name in self.columns if name in frame.columns]
        if self.family == "lightgbm" and constants:
            inputs = self.inputs(with_constants(frame[own_columns], constants[0]))
            own = [{name: given[name] for name in given if name in self.columns} for given in constants]
            raw = boosters.raw_scores_given(self.core, inputs, own)
        else:
            each = [self.raw_score(with_constants(frame[own_columns], given)) for given in constants]
            raw = np.stack(each, axis=1) if each else np.empty((len(frame), 0))
        return inverse_link(self.link, self.slope * raw + self.intercept)

    def contributions(self, frame: pd.DataFrame) -> Floats:
        """Split each prediction exactly into its columns' Shapley values on the scale of the link.

        Returns
        -------
        Shape (rows, columns + 1); the last column is the base value, and each row sums to the calibrated score.
        Trees: path-dependent TreeSHAP (Lundberg et al. 2020); linear: coefficient times distance from the mean.
        """
        inputs = self.inputs(frame)
        parts = boosters.contributions(self.core, inputs) if self.family == "lightgbm" else self._linear(inputs)
        parts *= self.slope
        parts[:, -1] += self.intercept
        return parts

    def inputs(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Pick the model's columns.

        Raises
        ------
        InputError
            The frame lacks one of them.
        """
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise InputError(
                f"the {self.target} model reads the column {missing[0]!r}, which the frame lacks; "
                "run winback build-features and train again"
            )
        return frame[list(self.columns)]

    def plain_inputs(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Pick the model's columns as scikit-learn reads them."""
        return _plain(self.inputs(frame))

    def columns_behind(self) -> list[str]:
        """Name the column behind each input of a linear model; a text has one input per category."""
        return _columns_behind(self.core[:-1])

    def _linear(self, inputs: pd.DataFrame) -> Floats:
        head, model = self.core[:-1], self.core[-1]
        scaled = np.asarray(head.transform(_plain(inputs))) * np.ravel(model.coef_)
        parts = np.zeros((len(inputs), len(self.columns) + 1))
        for place, column in enumerate(self.columns_behind()):
            parts[:, self.columns.index(column)] += scaled[:, place]
        parts[:, -1] = float(np.ravel(model.intercept_)[0]) if np.ndim(model.intercept_) else float(model.intercept_)
        return parts


def _plain(inputs: pd.DataFrame) -> pd.DataFrame:
    # scikit-learn cannot read a category without any value, such as a trait that nobody of a batch has
    return inputs.astype(dict.fromkeys(inputs.select_dtypes("category"), object))


def inverse_link(link: Link, score: Floats) -> Floats:
    """Turn a score into a probability (logit), a positive amount (log, identity) or itself (signed)."""
    if link == "signed":
        return score
    if link == "logit":
        return 1.0 / (1.0 + np.exp(-score))
    return np.exp(score) if link == "log" else np.maximum(score, 0.0)


def fit_linear(frame: pd.DataFrame, target: str, columns: list[str], *, link: Link = "logit") -> Estimator:
    """Fit a logistic (or, for amounts, a least-squares) regression on logged, scaled columns.

    Parameters
    ----------
    frame
        Rows with `columns` and `target`. A number must not be negative; a missing one counts as its declaration says
        (`FILLERS`), else as the median; texts become indicators.
    """
    model = LogisticRegression(C=0.1, max_iter=5000) if link == "logit" else LinearRegression()
    pipeline = make_pipeline(scaled_columns(frame, columns), StandardScaler(), model)
    pipeline.fit(frame[columns], frame[target])
    return Estimator(target, "linear", link, tuple(columns), pipeline)


def scaled_columns(frame: pd.DataFrame, columns: list[str]) -> ColumnTransformer:
    """Plan how columns become comparable numbers: filled, logged, texts as indicators; not fitted yet."""
    texts = [name for name in columns if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    numbers = [name for name in columns if name not in texts and name not in FILLERS]
    alike = {fill: [name for name in columns if FILLERS.get(name) == fill] for fill in sorted(set(FILLERS.values()))}
    steps = [
        *((f"missing as {fill:g}", make_pipeline(_filled_with(fill), _logged()), alike[fill]) for fill in alike),
        ("numbers", make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), _logged()), numbers),
        ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
    ]
    return ColumnTransformer(steps)


def fit_proportional(frame: pd.DataFrame, target: str, column: str) -> Estimator:
    """Fit the plainest rule for an amount: it stays in proportion to one column."""
    pipeline = make_pipeline(_filled_with(0.0), LinearRegression(fit_intercept=False))
    pipeline.fit(frame[[column]], frame[target])
    return Estimator(target, "linear", "identity", (column,), pipeline)


def fit_lightgbm(
    frame: pd.DataFrame, target: str, columns: list[str], settings: Settings, *, link: Link = "logit",
    rising: tuple[str, ...] = (),
) -> Estimator:  # fmt: skip
    """Fit gradient-boosted trees; the same rows, settings and seed give the same trees.

    Parameters
    ----------
    rising
        Columns in which the prediction must never fall (a higher discount is never redeemed less).
    """
    training = settings.training
    parameters = {
        "objective": {"logit": "binary", "log": "tweedie", "identity": "regression"}[link],
        "num_leaves": training.leaves,
        "learning_rate": training.learning_rate,
        "min_data_in_leaf": training.min_leaf_rows,
        "feature_fraction": training.column_share,
        "monotone_constraints": [int(name in rising) for name in columns],
        "num_threads": settings.threads or threads_for(len(frame)),
        "seed": settings.seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
    rows = lgb.Dataset(frame[columns], frame[target], free_raw_data=True)
    return Estimator(target, "lightgbm", link, tuple(columns), lgb.train(parameters, rows, training.trees))


def refit(estimator: Estimator, frame: pd.DataFrame, settings: Settings, *, rising: tuple[str, ...] = ()) -> Estimator:
    """Fit another model of the same kind, columns and calibration on other rows; `rising` as in `fit_lightgbm`."""
    columns = list(estimator.columns)
    if estimator.family == "lightgbm":
        core = fit_lightgbm(frame, estimator.target, columns, settings, link=estimator.link, rising=rising).core
    else:
        core = clone(estimator.core).fit(frame[columns], frame[estimator.target])
    return replace(estimator, core=core)


def calibrated(estimator: Estimator, raw_score: Floats, label: Floats) -> Estimator:
    """Fit slope and intercept on scores of rows the model did not see (Platt 1999).

    A model of an amount is only rescaled, so that its predictions sum to the truth.
    """
    if estimator.link == "logit":
        platt = LogisticRegression(C=1e6).fit(raw_score[:, None], label)
        slope, intercept = float(platt.coef_[0, 0]), float(platt.intercept_[0])
        return replace(estimator, slope=slope, intercept=intercept) if slope > 0 else estimator
    ratio = float(label.sum() / max(inverse_link(estimator.link, raw_score).sum(), 1e-9))
    if estimator.link == "log":
        return replace(estimator, intercept=float(np.log(max(ratio, 1e-9))))
    return replace(estimator, slope=ratio)


def _filled_with(value: float) -> SimpleImputer:
    return SimpleImputer(strategy="constant", fill_value=value, keep_empty_features=True)


def _logged() -> Pipeline:
    return FunctionTransformer(np.log1p, feature_names_out="one-to-one")


def _columns_behind(head: Pipeline) -> list[str]:
    """Name the column behind each coefficient of a linear model; a text has one coefficient per category."""
    if not isinstance(head[0], ColumnTransformer):
        return list(head[0].get_feature_names_out())
    behind: list[str] = []
    for kind, fitted, columns in head[0].transformers_:
        widths = map(len, fitted.categories_) if kind == "texts" and len(columns) else [1] * len(columns)
        behind += [column for column, width in zip(columns, widths, strict=True) for _ in range(width)]
    return behind
