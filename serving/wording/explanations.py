"""Reasons in plain words: SHAP for the risk and for what an offer changes, and the terms of its worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from configs.offers import Option
from features.arrays.array_types import Floats, Places, Texts
from features.definitions.registry import Feature
from models.judge.policies import P_REDEEM, Deployed
from models.learn.estimators import Estimator
from models.registry.response import PersonalEffects
from serving.wording.formatting import policy_words, repeated

TOP = 3
HALF_A_CENT = 0.005  # what moves an effect by less is no reason


def risk_reasons(estimator: Estimator, frame: pd.DataFrame, features: list[Feature]) -> Texts:
    """Name the columns that move each user's risk most, as their exact Shapley values say.

    Returns
    -------
    ``; ``-joined reasons, strongest first, shape (users,); a column that moves nothing is no reason.
    """
    parts = estimator.contributions(frame)[:, :-1]
    return _sentences(parts, estimator.columns, frame, features, _direction)


def effect_reasons(
    personal: PersonalEffects, options: Sequence[Option], frame: pd.DataFrame, chosen: Places, remaining: Floats,
    features: list[Feature],
) -> Texts:  # fmt: skip
    """Say why each user's own option works better, or less, on them than on most.

    Parameters
    ----------
    options, chosen, remaining
        As in `effect_parts`.

    Returns
    -------
    The columns that move the effect's value most, strongest first, each with what it adds; shape (rows,).
    """
    columns, parts = effect_parts(personal, options, frame, chosen, remaining)
    parts = parts[:, :-1]
    differs = parts.sum(axis=1)
    told = np.where(np.abs(parts) < HALF_A_CENT, 0.0, parts)
    because = _sentences(told, columns, frame, features, _amount)
    compared = np.where(differs > 0, "works better", "works less well").astype(object)
    amount = np.char.mod("%.2f", np.abs(differs)).astype(object)
    words = compared + " on them than on most, by " + amount + ", because: " + because
    return np.where(because == "", "works on them as on most", words)


def effect_parts(
    personal: PersonalEffects, options: Sequence[Option], frame: pd.DataFrame, chosen: Places, remaining: Floats
) -> tuple[list[str], Floats]:
    """Split the worth of what each user's own option changes, costs aside, into the Shapley values of the columns.

    Those of the effects on margin and on retention add up, because Shapley values are linear (Lundberg & Lee 2017).

    Parameters
    ----------
    options, chosen
        The menu, and each row's place in it, shape (rows,); their effects must be known.
    remaining
        What staying is worth, account currency, shape (rows,).

    Returns
    -------
    Column names, and shape (rows, columns + 1), the last one the effect on the average user; each row sums to
    incremental margin + incremental retention x `remaining`.
    """
    columns = list(dict.fromkeys(personal.margin.estimator.columns + personal.retention.estimator.columns))
    parts = np.zeros((len(frame), len(columns) + 1))
    for effect_model, weight in ((personal.margin, np.ones(len(frame))), (personal.retention, remaining)):
        own = [columns.index(name) for name in effect_model.estimator.columns]
        parts[:, [*own, -1]] += weight[:, None] * effect_model.contributions(frame, options, chosen)
    return columns, parts


def rule_reasons(deployed: Deployed, titles: Mapping[str, str], frame: pd.DataFrame, p_redeem: Floats) -> Texts:
    """Say the rule by which each of some users was given its option, and their own number where it asks for one.

    Parameters
    ----------
    titles
        What people call each offer.
    p_redeem
        Probability that the option is used, shape (rows,).
    """
    rule = f"by one rule for all: {policy_words(deployed, titles)}"
    if deployed.column is None:
        return repeated(rule, len(frame))
    is_likely = deployed.column == P_REDEEM
    own = np.char.mod("%.0f%%", 100 * p_redeem).astype(object) if is_likely else value_words(frame[deployed.column])
    return np.asarray(rule + " (theirs: " + own + ")", dtype=object)


def _sentences(
    parts: Floats, columns: Sequence[str], frame: pd.DataFrame, features: list[Feature],
    ending: Callable[[Floats], Texts],
) -> Texts:  # fmt: skip
    """Describe the columns that move each row most, ``; ``-joined, each with what `ending` says of its part."""
    order = _strongest(parts)
    by_name = {feature.name: feature for feature in features}
    sentences: Texts = np.full(order.shape, "", dtype=object)
    # a loop over columns, never over users
    for place in np.unique(order):
        name = columns[place]
        rows, ranks = np.nonzero((order == place) & (parts[:, [place]] != 0))
        sentences[rows, ranks] = describe(by_name[name], frame[name].iloc[rows]) + ending(parts[rows, place])
    joined = sentences[:, 0]
    for rank in range(1, sentences.shape[1]):
        joined = joined + np.where(sentences[:, rank] == "", "", "; ") + sentences[:, rank]
    return joined


def _strongest(parts: Floats) -> Places:
    """Places of the columns that move each row most, strongest first, shape (rows, up to `TOP`)."""
    weakness = np.abs(parts)
    np.negative(weakness, out=weakness)
    return np.argsort(weakness, axis=1, kind="stable")[:, :TOP].copy()  # without all the others behind it


def _direction(parts: Floats) -> Texts:
    return np.array([" (lowers the risk)", " (raises the risk)"], dtype=object)[(parts > 0).astype(int)]


def _amount(parts: Floats) -> Texts:
    return np.char.mod(" (%+.2f)", parts).astype(object)


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
    """Write the value formula of the chosen options out, term by term, shape (rows,); amounts add up to the worth."""
    total = margin + retention * remaining - p_redeem * discount_cost - contact
    discount = _filled(
        (", -", p_redeem * discount_cost, "%.2f"), (" expected discount (", 100 * p_redeem, "%.1f"),
        ("% likely to use it x ", discount_cost, "%.2f"),
    )  # fmt: skip
    gain = _filled(
        ("worth ", total, "%+.2f"), (f" {currency} = ", margin, "%+.2f"),
        (" extra margin, ", retention * remaining, "%+.2f"), (" extra chance to stay (", 100 * retention, "%+.2f"),
        (" points x ", remaining, "%.2f"),
    )  # fmt: skip
    discount = np.where(discount_cost > 0, discount + ")", "")
    return np.asarray(gain + " that staying is worth)" + discount + _filled((", -", contact, "%.2f")) + " contact")


def _filled(*parts: tuple[str, Floats, str]) -> Texts:
    """Join texts, each followed by a number of every row in its own shape."""
    words = np.full(len(parts[0][1]), "", dtype=object)
    for lead, number, shape in parts:
        words = words + lead + np.char.mod(shape, number).astype(object)
    return words
