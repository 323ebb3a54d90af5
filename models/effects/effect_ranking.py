"""How well estimated effects rank users: Qini and AUUC of every offer, on held-out users."""

from __future__ import annotations

import numpy as np
import pandas as pd

from configs.settings import Settings
from models.effects.observational_effects import has_money
from models.effects.uplift import LearntEffects
from models.learn.training import generator
from models.metrics.evaluation import score_metric
from models.metrics.metric import Metric
from models.metrics.qini import UpliftMeasure, qini_area, uplift_area
from models.metrics.splits import hash_share

MEASURES: dict[str, UpliftMeasure] = {"qini": qini_area, "auuc": uplift_area}
MOST_SAMPLES, MOST_ROWS = 100, 50_000  # of more a random part says it nearly as well


def effect_rankings(
    experiment: pd.DataFrame, learnt: dict[str, LearntEffects], settings: Settings
) -> dict[str, Metric]:
    """Measure how well predicted effects rank users: what treating the highest first gains over a random order.

    A user's score is the held-out effect of the offer over its discounts; rows with it and rows with nothing stand for
    everybody by their inverse propensities. Both areas lie above their chord, per user and in units of the outcome:
    0 is a random order (`models.metrics.qini`).

    Returns
    -------
    ``<offer>.qini_margin``, ``<offer>.auuc_margin`` (account currency; not without money), ``<offer>.qini_retention``
    and ``<offer>.auuc_retention`` (not where all stay), with intervals by resampling users.
    """
    outcomes = {"is_retained": "retention"} if np.ptp(experiment["is_retained"]) else {}
    outcomes |= {"margin_soon": "margin"} if has_money(experiment) else {}
    return {
        f"{offer}.{name}_{word}": _ranking(experiment, learnt[outcome], place, outcome, measure, settings)
        for place, offer in enumerate(learnt["margin_soon"].effect_model.offers)
        for outcome, word in outcomes.items()
        for name, measure in MEASURES.items()
    }


def _ranking(
    experiment: pd.DataFrame, learnt: LearntEffects, place: int, outcome: str, measure: UpliftMeasure,
    settings: Settings,
) -> Metric:  # fmt: skip
    offer = learnt.effect_model.offers[place]
    own = np.array([name == offer for name, _ in learnt.options])
    score = learnt.held_out[:, own].mean(axis=1)
    given = experiment["offer_id"].astype(str).to_numpy()
    compared = np.flatnonzero(np.isin(given, [offer, "none"]) & learnt.had_chance[:, own].any(axis=1))
    share = MOST_ROWS / max(len(compared), 1)
    compared = compared[hash_share(experiment["user_id"].iloc[compared], "ranking") < share]
    rows = compared[np.argsort(-score[compared], kind="stable")]  # in order, so that no resample sorts again
    treated = (given[rows] == offer).astype(np.float64)
    inverse = 1.0 / experiment["propensity"].to_numpy(dtype=np.float64)[rows]
    stands_for = inverse / np.where(treated == 1, inverse[treated == 1].mean(), inverse[treated == 0].mean())

    def weighted(label: np.ndarray, ranked: np.ndarray, weight: np.ndarray) -> float:
        return measure(label, ranked, treated, None, weight * stands_for)

    label = experiment[outcome].to_numpy(dtype=np.float64)[rows]
    users, rng = experiment["user_id"].iloc[rows], generator(settings, f"{offer}{outcome}")
    samples = min(settings.training.bootstrap_samples, MOST_SAMPLES)
    return score_metric(weighted, label, score[rows], users, samples=samples, rng=rng)
