"""The frames that all models are trained on, collected once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from configs.errors import InputError
from configs.offers import load_catalogue
from configs.settings import Settings
from features.arrays.array_types import Flags
from features.definitions.labels import closed_days
from features.definitions.registry import Feature, trait_column
from features.materialise.as_of_view import grid_days, has_events, open_as_of
from features.materialise.user_traits import user_traits
from features.storage.lake import Lake
from features.tables.parquet_files import count_rows
from features.training_data.contact_details import profiling_refusals
from features.training_data.experiments import held_out_keys, stated_treatments, training_treatments, treatment_days
from features.training_data.feature_store import open_store
from features.training_data.frames import (
    RedemptionCounts,
    UserFilter,
    experiment_frame,
    given_offers,
    outcome_frame,
    redemption_counts,
    redemption_frame,
    with_snapshot,
)
from features.training_data.scoring_frames import known_users
from features.training_data.snapshot_run import require_snapshots
from models.effects.observational_effects import label_exposure
from models.metrics.splits import hash_share

NO_REDEMPTIONS = RedemptionCounts()


@dataclass(frozen=True)
class TrainingFrames:
    """Examples of a `share` of all users, of closed labels only.

    `outcomes` say who left and what they brought, `treatments` which offers were used, `exposure` what became of users
    with and without an offer, `experiment` the same where the offer was drawn at random. `left_out` counts the closed
    treatments that no model learns from, because no snapshot of their day knows their user, `redemptions` all that
    were found. Of those of the users who `refuse` profiling there are none, nor of the `held_out` treatments. Where
    randomised ones state their outcome, those whose outcome only events show are `unused`, as the two are not the same
    money.
    """

    outcomes: pd.DataFrame
    treatments: pd.DataFrame
    exposure: pd.DataFrame
    experiment: pd.DataFrame
    features: list[Feature]
    first_day: date
    share: float = 1.0
    left_out: int = 0
    redemptions: RedemptionCounts = NO_REDEMPTIONS
    refuse: int = 0
    held_out: int = 0
    unused: int = 0

    @property
    def offers_given(self) -> int:
        """How many offers taught something: by their redemption, or by the outcome that the treatment states."""
        stated = self.experiment["offer_id"].ne("none").sum() if "is_net" in self.experiment else 0
        return max(len(self.treatments), int(stated))


def collect_frames(settings: Settings, lake: Lake, as_of: date) -> TrainingFrames:
    """Join labels with what was known at each example's moment, of users who consent to profiling.

    Raises
    ------
    InputError
        There is nobody to learn from.
    """
    grid = grid_days(settings, lake, as_of, holdouts=(settings.training.holdout_days,))
    treated, horizon = treatment_days(lake, as_of), settings.churn.horizon_days
    share = learning_share(settings, lake, as_of)
    refuses = profiling_refusals(lake, unknown=settings.contact.unknown_consent == "refused")
    learners, catalogue = learning_filter(settings, share, refuses), load_catalogue(settings.offers)
    everybody = users_now(lake, as_of)
    refuse = int(refuses(everybody).sum())
    if refuse == len(everybody) > 0:
        raise InputError(
            f"all {refuse:,} users refuse profiling, so that no model may learn from anybody; check consent_profiling "
            f"of users and contact.unknown_consent = {settings.contact.unknown_consent!r}"
        )
    with open_as_of(settings, lake, as_of) as history:
        require_snapshots(lake, closed_days(grid, as_of, horizon), history.features, as_of)
        store = open_store(lake, history.features, engine=settings.engine)
        outcomes = pd.DataFrame()
        if has_events(lake):
            outcomes = outcome_frame(history, store, grid, horizon_days=horizon, user_filter=learners)
        held_out = held_out_keys(history)
        given = redemption_frame(history, store, catalogue, user_filter=learners)
        given = given[~given["decision_id"].isin(held_out["decision_id"])] if len(held_out) else given
        treatments = with_snapshot(given)
        exposure, experiment = pd.DataFrame(), pd.DataFrame()
        if len(outcomes) and len(treatments) and closed_days(treated, as_of, horizon):
            around = outcome_frame(history, store, treated, horizon_days=horizon, user_filter=learners)
            around = _without(around, held_out)
            exposure = label_exposure(around, given_offers(history, given), horizon)
            experiment = experiment_frame(history, around, given)
        stated = training_treatments(stated_treatments(history, store, user_filter=learners))
        experiment, unused = (stated, experiment) if len(stated) > len(experiment) else (experiment, stated)
        traits = {trait_column(name) for name in user_traits(lake, settings, is_taught=True)}
        features = [each for each in history.features if each.view != "traits" or each.name in traits]
        return TrainingFrames(
            outcomes, treatments, exposure, experiment, features, history.first_day, share,
            len(given) - len(treatments), redemption_counts(history, catalogue), refuse, len(held_out), len(unused),
        )  # fmt: skip


def _without(rows: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    """Leave out the users and days of some treatments."""
    if keys.empty:
        return rows
    own, others = (pd.MultiIndex.from_frame(each[["user_id", "day"]]) for each in (rows, keys))
    return rows[~own.isin(others)].reset_index(drop=True)


def learning_share(settings: Settings, lake: Lake, as_of: date) -> float:
    """Share of the users that models learn from, so that they are no more than ``training.max_users``."""
    days = (day for day in lake.days("snapshots") if day <= as_of)
    users = max((count_rows(lake.partition("snapshots", day)) for day in days), default=0)
    return min(1.0, settings.training.max_users / users) if users else 1.0


def users_now(lake: Lake, as_of: date) -> pd.Series:
    """Ids of the users of the newest snapshot until a day; none where there is no snapshot."""
    days = [day for day in lake.days("snapshots") if day <= as_of]
    return known_users(lake, days[-1]) if days else pd.Series([], dtype="object")


def learning_filter(settings: Settings, share: float, refuses: UserFilter) -> UserFilter:
    """Say of user ids whether models learn from them: a stable random share of those who do not refuse it."""

    def is_learnt_from(user_ids: pd.Series) -> Flags:
        return np.asarray((hash_share(user_ids, f"learners:{settings.seed}") < share) & ~refuses(user_ids))

    return is_learnt_from


def closed_values(outcomes: pd.DataFrame, settings: Settings, as_of: date) -> pd.DataFrame:
    """Rows whose value horizon is over."""
    if outcomes.empty:
        return outcomes
    closed = pd.to_datetime(outcomes["day"]) <= pd.Timestamp(as_of - timedelta(days=settings.value.horizon_days))
    return outcomes[closed].reset_index(drop=True)
