"""Reasons in plain words, for everybody: SHAP for the risk, the value terms for the offer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.columns import Feature
from models.estimators import Estimator

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]
TOP = 3


def risk_reasons(estimator: Estimator, frame: pd.DataFrame, features: list[Feature]) -> tuple[Texts, Texts]:
    """Name the columns that move each user's risk most, as their exact Shapley values say.

    Returns
    -------
    sentences
        ``; ``-joined reasons, strongest first, shape (users,); a column that moves nothing is no reason.
    drivers
        Column name of the strongest reason, shape (users,).
    """
    parts = estimator.contributions(frame)[:, :-1]
    order = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, :TOP]
    by_name = {feature.name: feature for feature in features}
    sentences = np.full((len(frame), order.shape[1]), "", dtype=object)
    # a loop over columns, never over users
    for place in np.unique(order):
        name = estimator.columns[place]
        rows, ranks = np.nonzero((order == place) & (parts[:, [place]] != 0))
        words = describe(by_name[name], frame[name].iloc[rows])
        direction = np.where(parts[rows, place] > 0, " (raises the risk)", " (lowers the risk)")
        sentences[rows, ranks] = words + direction.astype(object)
    joined = sentences[:, 0]
    for rank in range(1, sentences.shape[1]):
        joined = joined + np.where(sentences[:, rank] == "", "", "; ") + sentences[:, rank]
    columns = np.array(estimator.columns, dtype=object)
    return joined, columns[order[:, 0]]


def describe(feature: Feature, values: pd.Series) -> Texts:
    """Say a feature's values in words, shape (rows,).

    Examples
    --------
    >>> feature = Feature("days_since_last_activity", "Days since last active.", "365 days", "activity", "behaviour")
    >>> describe(feature, pd.Series([12.0, None])).tolist()
    ['days since last active: 12', 'days since last active: unknown']
    """
    return np.asarray(f"{feature.label}: " + value_words(values), dtype=object)


def value_words(values: pd.Series) -> Texts:
    """Write numbers without needless digits and texts as they are; what is missing is unknown."""
    if not pd.api.types.is_numeric_dtype(values):
        return np.asarray(values.astype(object).where(values.notna(), "unknown"), dtype=object)
    number = values.to_numpy(dtype=np.float64)
    whole = np.isclose(number, np.round(number))
    text = np.where(whole, np.char.mod("%.0f", np.nan_to_num(number)), np.char.mod("%.2f", np.nan_to_num(number)))
    return np.where(np.isnan(number), "unknown", text).astype(object)


def value_words_of_offer(
    margin: Floats, retention: Floats, remaining: Floats, p_redeem: Floats, discount_cost: Floats, contact: Floats,
    currency: str,
) -> Texts:  # fmt: skip
    """Write the value formula of the chosen options out, term by term, shape (rows,)."""
    total = margin + retention * remaining - p_redeem * discount_cost - contact
    parts = [
        ("worth ", total, "%+.2f"),
        (f" {currency} = ", margin, "%.2f"),
        (" more margin + ", 100 * retention, "%.2f"),
        (" points more retention x ", remaining, "%.2f"),
        (" future margin - ", 100 * p_redeem, "%.1f"),
        ("% redeem x ", discount_cost, "%.2f"),
        (" discount - ", contact, "%.2f"),
    ]
    words = np.full(len(total), "", dtype=object)
    for lead, number, shape in parts:
        words = words + lead + np.char.mod(shape, number).astype(object)
    return np.asarray(words + " contact", dtype=object)
