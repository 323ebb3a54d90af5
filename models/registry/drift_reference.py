"""What is kept of the population that a model was taught on, so that scoring notices when people are others."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import pandas as pd

from models.learn.training import Trained, rows_of
from models.metrics.drift import Bins, Reference, bins_of, expected_auc

OF_SNAPSHOTS = ("churn", "value")  # subjects whose rows are everybody of a day


def drift_reference(trained: Trained, name: str, frame: pd.DataFrame, as_of: pd.Timestamp) -> Reference | None:
    """Bin the newest snapshot that a candidate was taught, and its scores of it.

    How far each column, and the score, moves by itself is measured between that snapshot and one before it, as far
    back as `as_of` lies after it: so much lies between training and use. None of what is not trained on snapshots.
    """
    if trained.subject not in OF_SNAPSHOTS:
        return None
    estimator, starts = trained.candidates[name].estimator, frame["event_timestamp"]
    newest = starts.max()
    wanted = newest - (as_of - newest)
    earlier = sorted(starts[starts < newest].unique(), key=lambda each: abs(each - wanted))
    before = rows_of(frame, (starts == earlier[0]).to_numpy()) if earlier else None

    def moving(values: Callable[[pd.DataFrame], pd.Series]) -> Bins:
        return bins_of(values(trained.latest), values(before) if before is not None else None)

    def scored(rows: pd.DataFrame) -> pd.Series:
        return pd.Series(estimator.predict(rows))

    inputs = {column: moving(itemgetter(column)) for column in estimator.columns}
    is_risk = estimator.link == "logit"
    promised = expected_auc(scored(trained.latest).to_numpy()) if is_risk else float("nan")
    return Reference(inputs, moving(scored), promised)
