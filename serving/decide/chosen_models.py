"""The choice of models for a day: the champions, or their replacements where a guard rejects one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial

import pandas as pd

from configs.offers import Catalogue
from configs.settings import Settings
from features.arrays.calendar_days import start_of
from features.storage.lake import Lake
from features.training_data.contact_details import with_contact_details
from features.training_data.feature_store import FeatureStore
from features.training_data.scoring_frames import known_users, scoring_frame
from models.learn.churn_causes import SUBJECT
from models.registry.model_reader import Registered, load_if_any
from models.registry.response import ResponseModels
from models.training_run.training_record import latest_training
from serving.contact_rules.contact_rule import unscored
from serving.contact_rules.rule_list import rules_of
from serving.guards.guard_findings import Finding
from serving.guards.model_guards import choose_model, choose_response
from serving.guards.realised_calibration import realised_calibration

SAMPLED = 10_000  # users, evenly over all of them


@dataclass(frozen=True)
class ChosenModels:
    """The models of a day, each None where there is none, what guards found of them, and what is no champion.

    `fallback` names what stands in for a champion, such as ``churn: version 3``; empty where all of them decide.
    """

    churn: Registered | None
    value: Registered | None
    response: ResponseModels | None
    findings: tuple[Finding, ...] = ()
    fallback: str = ""
    causes: Registered | None = None


def choose_models(
    settings: Settings, lake: Lake, as_of: date, store: FeatureStore, catalogue: Catalogue
) -> ChosenModels:
    """Ask the guards which models may decide.

    Raises
    ------
    InputError
        A champion's alias is gone, or it may not decide and ``guards.fall_back`` is false.
    """
    sample, training = sampled_users(settings, lake, as_of, store, catalogue), latest_training(lake, as_of)
    rule = training.recency if training is not None else None
    labels = partial(realised_calibration, settings, lake, as_of)
    churn = choose_model(lake, "churn", sample, settings.guards, rule, labels, as_of)
    value = choose_model(lake, "value", sample, settings.guards, as_of=as_of)
    response, redemption = choose_response(lake, list(catalogue.titles), sample, settings.guards, as_of)
    chosen = (churn, value, redemption)
    return ChosenModels(
        churn.model, value.model, response,
        tuple(finding for each in chosen for finding in each.findings),
        ", ".join(each.fallback for each in chosen if each.fallback),
        load_if_any(lake, SUBJECT) if settings.churn.kind == "cancellation" else None,
    )  # fmt: skip


def sampled_users(
    settings: Settings, lake: Lake, as_of: date, store: FeatureStore, catalogue: Catalogue
) -> pd.DataFrame:
    """Read some users, evenly over all, as scoring reads them: those of whom something is predicted."""
    everybody = known_users(lake, as_of)
    some = everybody.iloc[:: max(1, len(everybody) // SAMPLED)]
    frame = with_contact_details(lake, scoring_frame(store, start_of(as_of, settings.time_zone), some))
    return frame[~unscored(rules_of(settings, catalogue), frame)].reset_index(drop=True)
