"""Linear models on log-transformed, scaled columns: one output, a proportional one, or several at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from configs.settings import Settings
from features.arrays.array_types import Floats
from features.definitions.registry import null_fillers
from features.definitions.snapshot_features import catalogue
from models.estimator_families.estimators import Estimator, Link, check_finite

FILLERS = null_fillers(catalogue())  # of the columns that every app has
HUGE = 1e300  # two of them still have a mean
FUNCTIONS = ["numpy.log1p", "numpy.arcsinh", "numpy.clip"]
TRUSTED = ["numpy.dtype", *FUNCTIONS, "sklearn.compose._column_transformer._RemainderColsList"]


@dataclass(frozen=True)
class LinearEstimator(Estimator):
    """A logistic regression or, for amounts, least squares; `core` is a scikit-learn pipeline.

    Shapley values are coefficient times distance from the mean.
    """

    family: ClassVar[str] = "linear"
    flavour: ClassVar[str] = "sklearn"
    save_options: ClassVar[Mapping[str, object]] = {"skops_trusted_types": TRUSTED}

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, target: str, columns: list[str], settings: Settings, *, link: Link = "logit",  # noqa: ARG003
        rising: tuple[str, ...] = (),  # noqa: ARG003
    ) -> Self:  # fmt: skip
        """Fit the core; columns that must rise are chosen so by whoever names them."""
        return cls(target, link, tuple(columns), cls.fitted_core(frame, target, columns, link))

    @staticmethod
    def fitted_core(frame: pd.DataFrame, target: str, columns: list[str], link: Link) -> Pipeline:
        """Fit the pipeline behind a model of `columns` of the frame: in this family, a regression.

        Raises
        ------
        InputError
            A coefficient is not finite; the column is named.
        """
        return _fitted_regression(frame, target, columns, link)

    def refit(
        self, frame: pd.DataFrame, settings: Settings, *, rising: tuple[str, ...] = ()  # noqa: ARG002
    ) -> Self:  # fmt: skip
        """Fit another model of the same columns, preparation and calibration on other rows."""
        return replace(self, core=clone(self.core).fit(frame[list(self.columns)], frame[self.target]))

    def raw_score(self, frame: pd.DataFrame) -> Floats:
        """Score rows on the scale of the link, before calibration; shape (rows,)."""
        # summed row by row: a matrix product's last bits depend on how many rows there are
        return np.asarray(self.raw_contributions(self.inputs(frame)).sum(axis=1))

    def raw_contributions(self, inputs: pd.DataFrame) -> Floats:
        """Split each raw score exactly into its columns' Shapley values; (rows, columns + 1), the base value last."""
        model = self.core[-1]
        intercept = float(np.ravel(model.intercept_)[0]) if np.ndim(model.intercept_) else float(model.intercept_)
        return self.by_column(self.scaled(inputs) * np.ravel(model.coef_), intercept)

    def coefficient(self, column: str) -> float:
        """Coefficient of a column of numbers, on its scaled values."""
        names = list(self.core[:-1].get_feature_names_out())
        return float(np.ravel(self.core[-1].coef_)[names.index(f"numbers__{column}")])

    def scaled(self, inputs: pd.DataFrame) -> Floats:
        """Bring the model's columns to comparable numbers; shape (rows, inputs): a text has one per category."""
        return np.asarray(self.core[:-1].transform(_plain(inputs)), dtype=np.float64)

    def by_column(self, moved: Floats, base: float | Floats) -> Floats:
        """Sum what each input adds, shape (rows, inputs), up to its column; the base value comes last."""
        parts = np.zeros((len(moved), len(self.columns) + 1))
        for place, column in enumerate(self.columns_behind()):
            parts[:, self.columns.index(column)] += moved[:, place]
        parts[:, -1] = base
        return parts

    def columns_behind(self) -> list[str]:
        """Name the column behind each input; a text has one input per category."""
        return columns_behind(self.core[:-1])


@dataclass(frozen=True)
class ProportionalEstimator(LinearEstimator):
    """The plainest rule for an amount: it stays in proportion to one column."""

    family: ClassVar[str] = "proportional"

    @staticmethod
    def fitted_core(frame: pd.DataFrame, target: str, columns: list[str], link: Link) -> Pipeline:  # noqa: ARG004
        """Fit the proportion to the one column."""
        pipeline = make_pipeline(_filled_with(0.0), LinearRegression(fit_intercept=False))
        return pipeline.fit(frame[columns], frame[target])


@dataclass(frozen=True)
class ConstantEstimator(LinearEstimator):
    """The same for everybody, the mean of the target: what is left where no column that could tell users apart varies.

    Its column is read and has no effect.
    """

    family: ClassVar[str] = "constant"

    @staticmethod
    def fitted_core(frame: pd.DataFrame, target: str, columns: list[str], link: Link) -> Pipeline:
        """Fit the mean."""
        return _fitted_regression(frame.assign(**{columns[0]: 0.0}), target, columns, link)

    def refit(
        self, frame: pd.DataFrame, settings: Settings, *, rising: tuple[str, ...] = ()
    ) -> Self:  # fmt: skip
        """Fit the mean of other rows."""
        return super().refit(frame.assign(**{self.columns[0]: 0.0}), settings, rising=rising)


@dataclass(frozen=True)
class MultiOutputEstimator(LinearEstimator):
    """Several linear outputs of one set of columns: scores have shape (rows, outputs).

    `models.effects.uplift` makes its core; what an output means is said by who reads it.
    """

    family: ClassVar[str] = "multi_output"

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, target: str, columns: list[str], settings: Settings, *, link: Link = "signed",
        rising: tuple[str, ...] = (),
    ) -> Self:  # fmt: skip
        """Not fitted on one target.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(f"{cls.family} models of {target} are made by models.effects.uplift")

    def raw_score(self, frame: pd.DataFrame) -> Floats:
        """Score rows by all outputs; shape (rows, outputs)."""
        return self.output_scores(frame)

    def output_scores(self, frame: pd.DataFrame, outputs: int | None = None) -> Floats:
        """Score rows by the first outputs, or all of them; shape (rows, outputs)."""
        scaled, model = self.scaled(self.inputs(frame)), self.core[-1]
        found = np.tile(model.intercept_[:outputs], (len(frame), 1))
        for values, weights in zip(scaled.T, model.coef_[:outputs].T, strict=True):
            found += values[:, None] * weights  # term by term: a matrix product's last bits depend on the rows' number
        return found

    def weighted_contributions(self, frame: pd.DataFrame, weight: Floats) -> Floats:
        """Split a weighted sum of each row's first outputs into its columns' Shapley values.

        Parameters
        ----------
        weight
            Of each output on each row, shape (rows, outputs).

        Returns
        -------
        Shape (rows, columns + 1), the base value last.
        """
        model, outputs = self.core[-1], weight.shape[1]
        moved = self.scaled(self.inputs(frame)) * (weight @ model.coef_[:outputs])
        return self.by_column(moved, weight @ model.intercept_[:outputs])


def fit_linear(frame: pd.DataFrame, target: str, columns: list[str], *, link: Link = "logit") -> LinearEstimator:
    """Fit a logistic (or, for amounts, a least-squares) regression, which no setting changes.

    Parameters
    ----------
    frame
        Rows with `columns` and `target`. A missing number counts as its declaration says (`FILLERS`), else as the
        median; texts become indicators.

    Raises
    ------
    InputError
        A coefficient is not finite; the column is named.
    """
    return LinearEstimator(target, link, tuple(columns), LinearEstimator.fitted_core(frame, target, columns, link))


def fit_constant(frame: pd.DataFrame, target: str, column: str, *, link: Link = "logit") -> ConstantEstimator:
    """Fit a probability or an amount that is the same for everybody; the column is read and has no effect."""
    return ConstantEstimator(target, link, (column,), ConstantEstimator.fitted_core(frame, target, [column], link))


def fit_proportional(frame: pd.DataFrame, target: str, column: str) -> ProportionalEstimator:
    """Fit an amount that stays in proportion to one column."""
    core = ProportionalEstimator.fitted_core(frame, target, [column], "identity")
    return ProportionalEstimator(target, "identity", (column,), core)


def _fitted_regression(frame: pd.DataFrame, target: str, columns: list[str], link: Link) -> Pipeline:
    model = LogisticRegression(C=0.1, max_iter=5000) if link == "logit" else LinearRegression()
    pipeline = make_pipeline(scaled_columns(frame, columns), StandardScaler(), model)
    fitted = pipeline.fit(frame[columns], frame[target])
    check_finite(f"model of {target}", np.ravel(model.coef_), columns_behind(fitted[:-1]))
    return fitted


def scaled_columns(frame: pd.DataFrame, columns: list[str]) -> ColumnTransformer:
    """Plan how columns become comparable numbers: filled, logged, texts as indicators; not fitted yet.

    A column with a negative number in the frame becomes its inverse hyperbolic sine, a logarithm with a sign that is
    finite everywhere; of another one a negative number, which no row taught, counts as 0.
    """
    texts = [name for name in columns if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    signed = [name for name in columns if name not in texts and (frame[name] < 0).any()]
    numbers = [name for name in columns if name not in (*texts, *signed) and name not in FILLERS]
    alike = {
        fill: [name for name in columns if FILLERS.get(name) == fill and name not in signed]
        for fill in sorted(set(FILLERS.values()))
    }
    logged = _within(0.0, HUGE), _elementwise(np.log1p)
    steps = [
        *((f"missing as {fill:g}", make_pipeline(_filled_with(fill), *logged), alike[fill]) for fill in alike),
        ("numbers", make_pipeline(logged[0], _filled_with_median(), logged[1]), numbers),
        ("signed numbers", make_pipeline(_elementwise(np.arcsinh), _filled_with_median()), signed),
        ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
    ]
    return ColumnTransformer(steps)


def _plain(inputs: pd.DataFrame) -> pd.DataFrame:
    # scikit-learn cannot read a category without any value, such as a trait that nobody of a batch has
    return inputs.astype(dict.fromkeys(inputs.select_dtypes("category"), object))


def _filled_with(value: float) -> SimpleImputer:
    return SimpleImputer(strategy="constant", fill_value=value, keep_empty_features=True)


def _filled_with_median() -> SimpleImputer:
    return SimpleImputer(strategy="median", keep_empty_features=True)


def _within(low: float, high: float) -> FunctionTransformer:
    return _elementwise(np.clip, {"a_min": low, "a_max": high})


def _elementwise(function: Callable[..., Floats], settled: dict[str, object] | None = None) -> FunctionTransformer:
    return FunctionTransformer(function, kw_args=settled, feature_names_out="one-to-one")


def columns_behind(head: Pipeline) -> list[str]:
    """Name the column behind each coefficient of a linear model; a text has one coefficient per category."""
    if not isinstance(head[0], ColumnTransformer):
        return list(head[0].get_feature_names_out())
    behind: list[str] = []
    for kind, fitted, columns in head[0].transformers_:
        widths = map(len, fitted.categories_) if kind == "texts" and len(columns) else [1] * len(columns)
        behind += [column for column, width in zip(columns, widths, strict=True) for _ in range(width)]
    return behind
