"""The randomised treatments on which policies are evaluated: held-out ones, else later ones, else all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pandas as pd

from configs.errors import InputError, did_you_mean
from configs.offers import load_catalogue
from configs.settings import Settings
from features.definitions.registry import Feature
from features.materialise.as_of_view import AsOfView, open_as_of
from features.storage.lake import Lake
from features.training_data.experiments import measured_treatments, stated_treatments
from features.training_data.feature_store import open_store
from features.training_data.snapshot_run import require_snapshots
from models.policy_value.logged_treatments import LoggedTreatments, logged_treatments
from models.registry.model_reader import load_if_any
from models.registry.response import EFFECT_SUBJECTS

HOLDOUT, UNSEEN, ALL = "holdout", "unseen", "all"
KINDS = (HOLDOUT, UNSEEN, ALL)
FEWEST_USERS = 60  # that anything is said of


@dataclass(frozen=True, eq=False)
class EvaluatedTreatments:
    """The randomised treatments on which policies are evaluated.

    `which` says how they were chosen: `HOLDOUT` (never used in training), `UNSEEN` (decided after the training) or
    `ALL`, from some of which the champion learnt. `is_stated` tells whether their outcomes are stated in the treatments
    or were derived from the events of the horizon. `trained_on` is the day of the champion's training.
    """

    treatments: LoggedTreatments
    features: tuple[Feature, ...]
    which: str
    is_stated: bool
    trained_on: date | None

    @property
    def is_unseen(self) -> bool:
        """Whether the champion learnt from none of them."""
        return self.which != ALL or self.trained_on is None


def evaluated_treatments(
    settings: Settings, lake: Lake, as_of: date, *, first: date | None = None, last: date | None = None,
    which: str | None = None,
) -> EvaluatedTreatments:  # fmt: skip
    """Collect the randomised treatments to evaluate policies on, closed by `as_of`.

    Parameters
    ----------
    first, last
        Days of the treatments, both included; all by default.
    which
        `HOLDOUT`, `UNSEEN` or `ALL`; by default the first of them that has any treatments.

    Raises
    ------
    InputError
        There are no such treatments, or too few.
    """
    if which is not None and which not in KINDS:
        raise InputError(f"there are no treatments {which!r} to judge on; {did_you_mean(which, KINDS)}")
    with open_as_of(settings, lake, as_of) as history:
        rows, is_stated = _closed_treatments(history)
        features = tuple(history.features)
    days = pd.to_datetime(rows["day"]).dt.date if len(rows) else rows.get("day", pd.Series(dtype=object))
    rows = rows[(days >= (first or date.min)) & (days <= (last or date.max))] if len(rows) else rows
    champion = load_if_any(lake, EFFECT_SUBJECTS["margin_soon"])
    trained_on = champion.lineage.as_of if champion is not None else None
    judging, kind = _chosen(rows, trained_on, which)
    users = judging["user_id"].nunique() if len(judging) else 0
    if users < FEWEST_USERS:
        others = "a later --as-of" if kind == ALL else "a later --as-of, other days, or --on all"
        raise InputError(
            f"{users:,} users have a closed treatment to judge by ({kind}{_between(first, last)}, known by {as_of}), "
            f"at least {FEWEST_USERS} are needed: treatments drawn at random, with a propensity below 1, whose outcome "
            f"is stated or whose churn.horizon_days = {settings.churn.horizon_days} are over; they come from "
            f"scoring.exploration.share or an experiment of your own; where there are some choose {others}"
        )
    judging = judging.reset_index(drop=True)
    catalogue = load_catalogue(settings.offers).options
    treatments = logged_treatments(judging, catalogue, [each.name for each in features], settings)
    return EvaluatedTreatments(treatments, features, kind, is_stated, trained_on)


def _closed_treatments(history: AsOfView) -> tuple[pd.DataFrame, bool]:
    """Collect the closed treatments of one kind: those that state their outcome, or that events measure, if more."""
    days = [day for day in history.lake.days("treatments") if day < history.as_of]
    require_snapshots(history.lake, [day for day in days if day > history.first_day], history.features, history.as_of)
    store = open_store(history.lake, history.features, engine=history.settings.engine)
    stated, measured = stated_treatments(history, store), measured_treatments(history, store)
    return (stated, True) if len(stated) >= len(measured) else (measured, False)


def _chosen(rows: pd.DataFrame, trained_on: date | None, which: str | None) -> tuple[pd.DataFrame, str]:
    if rows.empty:
        return rows, which or ALL
    since = pd.to_datetime(rows["day"]).dt.date >= (trained_on or date.max)
    masks = {HOLDOUT: rows["is_holdout"], UNSEEN: since, ALL: pd.Series(True, index=rows.index)}
    kind = which or next(name for name, mask in masks.items() if mask.any())
    return rows[masks[kind]], kind


def _between(first: date | None, last: date | None) -> str:
    return (f" from {first}" if first else "") + (f" to {last}" if last else "")
