"""Typed notes that are stored with a registered model and tell scoring what it must know besides the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from configs.errors import InputError
from configs.offers import Option
from models.effects.average_effect import AverageEffect
from models.effects.effect_model import EffectUnit
from models.learn.listening import Listening
from models.learn.paid_costs import AS_EXPECTED, CostRatios
from models.learn.redeemed_spend import RedeemedSpend
from models.policy_value.policy_verdict import NO_TRIAL, Deployed, Trial

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Notes = TypeVar("Notes", bound="DataclassInstance")


@dataclass(frozen=True)
class RedemptionNotes:
    """Of the redemption model: what a redemption costs, and the average effects learnt beside it.

    Where treatments were randomised effects are models of their own (`has_experiment`), and `effects` is empty.
    `listening` is that to each offer's channel, where the model reads it.
    """

    spend: RedeemedSpend
    effects: tuple[AverageEffect, ...] = ()
    has_experiment: bool = False
    listening: Mapping[str, Listening] = field(default_factory=dict)


@dataclass(frozen=True)
class ValueNotes:
    """Of the value model: the share of a user's value that comes after the measured margin (`value.later_share`)."""

    later_share: float


@dataclass(frozen=True)
class PropensityNotes:
    """Of the model of who used to get an offer: the effect of that offer."""

    effect: AverageEffect


@dataclass(frozen=True)
class EffectNotes:
    """Of the effect models: options and offers they speak of, the policy that the gate deploys, and why.

    `average` are the mean effects of each option on margin and on retention; the former are 0 without `has_money`.
    `units` are those of the effects on margin and on retention, `listening` that to each offer's channel. Effects are
    `is_net` where what offers gave away is paid in them already. The `trial` lets policies decide for some users that
    are not proven, `costs` is what those cost whom the personal policy picks, beside what is expected of them,
    and `believed` the share of their effects that is promised.
    """

    options: tuple[Option, ...]
    offers: tuple[str, ...]
    deployed: Deployed
    average: tuple[tuple[float, ...], ...]
    units: tuple[EffectUnit, EffectUnit]
    listening: tuple[Listening, ...]
    reason: str
    has_money: bool = True
    is_net: bool = False
    trial: Trial = NO_TRIAL
    costs: CostRatios = AS_EXPECTED
    believed: float = 1.0


def notes_as_json(notes: DataclassInstance) -> dict[str, Any]:
    """Write notes as JSON keeps them."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(notes)))
    return plain


def read_notes(kind: type[Notes], stored: dict[str, Any], name: str) -> Notes:
    """Read the notes of the model of some name back.

    Raises
    ------
    InputError
        They are not of this kind: another version of winback registered the model.
    """
    try:
        return TypeAdapter(kind).validate_python(stored)
    except ValidationError as error:
        raise InputError(f"the notes of {name} are not {kind.__name__}; run winback train-models again") from error
