"""Binned distributions of the training population, kept with a model so that scoring can detect drift."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import numpy as np
import pandas as pd

from configs.offers import Option
from features.arrays.array_types import Floats
from models.estimator_families.estimators import Estimator
from models.learn.redemption import OPTION, p_redeem_each
from models.learn.training import Trained, rows_of
from models.metrics.drift import Bins, Reference, bins_of, expected_auc

OF_SNAPSHOTS = ("churn", "value")  # subjects whose rows are everybody of a day
OF_OPTIONS = "redemption"


def drift_reference(
    trained: Trained, name: str, frame: pd.DataFrame, as_of: pd.Timestamp, everybody: pd.DataFrame | None = None
) -> Reference | None:
    """Bin the columns of a candidate's newest training snapshot, and its scores of it, as the reference for drift.

    How far each column, and the score, moves by itself is measured between that snapshot and one before it, as far
    back as `as_of` lies after it: so much lies between training and use.

    Parameters
    ----------
    frame
        What the candidate was taught.
    everybody
        Users of snapshots, for a model of options: it is taught those who were given something, which may be anybody,
        and asked about everybody. Its scores are those of the option that it was taught most.

    Returns
    -------
    None of a model of neither.
    """
    estimator, is_of_options = trained.candidates[name].estimator, trained.subject == OF_OPTIONS
    rows = everybody if is_of_options else frame if trained.subject in OF_SNAPSHOTS else None
    if rows is None or not len(rows):
        return None
    option = usual_option(frame) if is_of_options else None
    starts = rows["event_timestamp"]
    newest = starts.max()
    wanted = newest - (as_of - newest)
    earlier = sorted(starts[starts < newest].unique(), key=lambda each: abs(each - wanted))
    latest = rows_of(rows, (starts == newest).to_numpy())
    before = rows_of(rows, (starts == earlier[0]).to_numpy()) if earlier else None

    def moving(values: Callable[[pd.DataFrame], pd.Series]) -> Bins:
        return bins_of(values(latest), values(before) if before is not None else None)

    def scored(rows: pd.DataFrame) -> pd.Series:
        return pd.Series(scores_about(estimator, rows, option))

    inputs = {column: moving(itemgetter(column)) for column in estimator.columns if column not in OPTION}
    is_risk = estimator.link == "logit"
    promised = expected_auc(scored(latest).to_numpy()) if is_risk else float("nan")
    return Reference(inputs, moving(scored), promised, option)


def usual_option(frame: pd.DataFrame) -> tuple[str, float]:
    """Find the most common offer and discount of some rows; of several the first by name."""
    counts = frame.groupby([*OPTION], observed=True).size()
    offer_id, discount = counts.index[int(np.argmax(counts.to_numpy()))]
    return str(offer_id), float(discount)


def scores_about(estimator: Estimator, rows: pd.DataFrame, option: tuple[str, float] | None) -> Floats:
    """Predict for some users; a model of options predicts about one of these options."""
    return estimator.predict(rows) if option is None else p_redeem_each(estimator, rows, [Option(*option)])[:, 0]
