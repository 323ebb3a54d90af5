"""Experiments without events: offers a, b and none drawn at random, 1/3 each, with a trait and a stated outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from apps import NOW, App, Row, at, small_app, treatment

from features.ingestion.treated_offers import write_treated_offers
from features.training_data.snapshot_run import bring_snapshots_up_to_date
from models.training_run.response_models import FittedResponse, fit_response
from models.training_run.training_frames import TrainingFrames, collect_frames

AS_OF = date(2024, 4, 8)
OVERRIDES: dict[str, object] = {
    "offers": "treatments",
    "response": {"min_treatments": 50},
    "training": {"bootstrap_samples": 100, "min_users": 20, "min_leaf_rows": 10},
}
Said = Callable[[str, np.random.Generator], float]


def a_third(_drawn: str, _rng: np.random.Generator) -> float:
    """Propensity as it is."""
    return 1 / 3


def drawn_app(folder: Path, users: int = 800, *, said: Said = a_third, constant: float | None = None) -> App:
    """Write the experiment, ingested, with its snapshots; `said` states the propensity, `constant` every outcome."""
    rng, people, drawn = np.random.default_rng(5), [], []
    for number in range(users):
        user, rec, offer = f"c{number:04d}", int(rng.integers(1, 13)), ("none", "a", "b")[rng.integers(3)]
        outcome = 10 - rec / 2 + {"none": 0.0, "a": 0.3, "b": 1.0}[offer] + rng.normal()
        people.append({"user_id": user, "known_from": at("2024-01-01"), "rec": rec})
        drawn.append(
            treatment(
                user, "2024-03-20 00:00", offer, 0.0, channel="email", propensity=said(offer, rng), cost=0.0,
                outcome=outcome if constant is None else constant, outcome_at=at("2024-04-03"),
                is_holdout=bool(rng.random() < 0.4),
            )
        )  # fmt: skip
    return experiment_app(folder, OVERRIDES, people, drawn, AS_OF)


def experiment_app(
    folder: Path, overrides: dict[str, object], people: Sequence[Row], drawn: Sequence[Row], as_of: date
) -> App:
    """Ingest users and what they drew, and bring the snapshots up to a day; nothing is trained."""
    app = small_app(folder, overrides=overrides, users=pa.Table.from_pandas(pd.DataFrame(people)), treatments=drawn)
    app.ingest(NOW)
    write_treated_offers(app.settings, app.lake)
    app.aggregate()
    bring_snapshots_up_to_date(app.settings, app.lake, as_of)
    return app


def trained(app: App) -> tuple[TrainingFrames, FittedResponse]:
    """Learn the response to offers."""
    frames = collect_frames(app.settings, app.lake, AS_OF)
    return frames, fit_response(app.settings, app.lake, AS_OF, frames)
