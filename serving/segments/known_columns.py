"""The names that a rule may use: snapshot columns, predictions, and numbers from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from configs.settings import Settings
from features.definitions.registry import Feature

Kind = Literal["number", "flag", "text", "boolean"]
STAGE, PERSONA = "stage", "persona"
# known once a day is decided, with what each says
OF_DECISIONS: dict[str, tuple[Kind, str]] = {
    PERSONA: ("text", "name of the persona, where personas were found"),
    "p_churn": ("number", "P(churn), 0 to 1"),
    "risk_band": ("text", "high, medium, low or unknown"),
    "retained_value": ("number", "margin that a user brings who stays, account currency"),
    "remaining_value": ("number", "the part of it after the days in which effects on margin are measured"),
}
OF_OPTIONS: dict[str, tuple[Kind, str]] = {
    "offer_value_max": ("number", "what the best offer is worth after its cost, account currency"),
    "incremental_margin_max": ("number", "most margin that an offer adds, account currency"),
    "incremental_retention_max": ("number", "most that an offer adds to the chance of staying"),
    "p_redeem_max": ("number", "chance that the likeliest offer is used"),
}
PREDICTED = {**OF_DECISIONS, **OF_OPTIONS}


def snapshot_kinds(features: Iterable[Feature]) -> dict[str, Kind]:
    """Tell the kind of each column of a snapshot."""
    return {feature.name: _kind(feature) for feature in features}


def _kind(feature: Feature) -> Kind:
    return "text" if feature.is_text else "flag" if feature.unit == "flag" else "number"


def constants_of(settings: Settings) -> dict[str, float]:
    """Give the numbers of the settings that rules may name."""
    return {
        "churn_horizon_days": settings.churn.horizon_days,
        "churn_lookback_days": settings.churn.lookback_days,
        "value_horizon_days": settings.value.horizon_days,
        "onboarding_steps_count": len(set(settings.roles.onboarding)),
    }
