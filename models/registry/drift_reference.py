"""What is kept of the population that a model was taught on, so that scoring notices when people are others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.learn.training import Trained, rows_of
from models.metrics.drift import Reference, bins_of, expected_auc

OF_SNAPSHOTS = ("churn", "value")  # subjects whose rows are everybody of a day


def drift_reference(trained: Trained, name: str, frame: pd.DataFrame, as_of: pd.Timestamp) -> Reference | None:
    """Bin the newest snapshot that a candidate was taught, and its scores on rows that its cross-fit had not seen.

    How far each column, and the score, moves by itself is measured between that snapshot and one before it, as far
    back as `as_of` lies after it: so much lies between training and use. None of what is not trained on snapshots.
    """
    if trained.subject not in OF_SNAPSHOTS:
        return None
    candidate, starts = trained.candidates[name], frame["event_timestamp"]
    newest = starts.max()
    wanted = newest - (as_of - newest)
    earlier = sorted(starts[starts < newest].unique(), key=lambda each: abs(each - wanted))
    before = rows_of(frame, (starts == earlier[0]).to_numpy()) if earlier else None
    inputs = {
        column: bins_of(trained.latest[column], before[column] if before is not None else None)
        for column in candidate.estimator.columns
    }
    is_last = (trained.trial.starts == trained.trial.starts.max()).to_numpy()
    unseen = candidate.test_score[is_last]
    score = bins_of(pd.Series(unseen))
    if before is not None:
        then, now = (pd.Series(candidate.estimator.predict(rows)) for rows in (before, trained.latest))
        score = score.moving(bins_of(now, then).moves)
    promised = expected_auc(unseen) if candidate.estimator.link == "logit" else float(np.nan)
    return Reference(inputs, score, promised)
