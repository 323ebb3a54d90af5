"""SHAP values of a model, as pictures and as importances. Only this module imports shap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import fill

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.estimator_families.estimators import Estimator
from models.model_cards.pictures import STYLE, png

SAMPLE_ROWS = 2000
WIDEST = 44  # signs in a line of a label, so that the values keep their place


def shap_pictures(
    estimator: Estimator, frame: pd.DataFrame, labels: Mapping[str, str] | None = None, *, top: int = 12
) -> dict[str, bytes]:
    """Draw SHAP beeswarm and bar of a sample of rows.

    Parameters
    ----------
    labels
        Words for people, by column; a column without one keeps its name.

    Returns
    -------
    ``shap_beeswarm`` and ``shap_bar`` as PNG bytes; the values are on the scale of the model's link.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import shap
    from matplotlib import pyplot

    words = labels or {}
    rows = frame.iloc[:: max(1, len(frame) // SAMPLE_ROWS)][:SAMPLE_ROWS]
    parts = estimator.contributions(rows)
    shown = np.argsort(-np.abs(parts[:, :-1]).mean(axis=0), kind="stable")[:top]
    values = shap.Explanation(
        values=parts[:, shown],
        base_values=parts[:, -1],
        data=np.column_stack([numbers(rows[estimator.columns[place]]) for place in shown]),
        feature_names=[fill(words.get(name, name), WIDEST) for name in map(estimator.columns.__getitem__, shown)],
    )
    pictures = {}
    for name, draw, axis in (
        ("shap_beeswarm", shap.plots.beeswarm, "← lowers the prediction · raises it →"),
        ("shap_bar", shap.plots.bar, "average effect on the prediction"),
    ):
        with mpl.rc_context(STYLE), _fixed_global_draws():
            draw(values, max_display=top, show=False)
            figure = pyplot.gcf()
            figure.axes[0].set_xlabel(axis)
            figure.tight_layout()
            pictures[name] = png(figure)
            pyplot.close(figure)
    return pictures


@contextmanager
def _fixed_global_draws() -> Iterator[None]:
    """Seed NumPy's global draws, with which shap jitters its points, and put them back."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


def importance(estimator: Estimator, frame: pd.DataFrame) -> pd.Series:
    """Mean absolute SHAP value of each column over all rows, strongest first, on the scale of the link."""
    strength = np.abs(estimator.contributions(frame)[:, :-1]).mean(axis=0)
    return pd.Series(strength, index=list(estimator.columns)).sort_values(ascending=False, kind="stable")


def numbers(column: pd.Series) -> npt.NDArray[np.float64]:
    """Values of a column as numbers; a text becomes the code of its category."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes, dtype=np.float64)
    return column.to_numpy(dtype=np.float64)
