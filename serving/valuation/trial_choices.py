"""What each policy of a trial would give each user: a choice per user and arm, that depends on nobody else."""

from __future__ import annotations

import numpy as np
import pandas as pd

from configs.offers import NOTHING, Catalogue
from features.arrays.array_types import Flags, Floats, Kinds, Places
from models.effects.effect_model import Chances
from models.policy_value.policy_verdict import PERSONAL, Deployed
from models.registry.response import PersonalEffects
from serving.valuation.staying import possible


def trial_choices(
    frame: pd.DataFrame, p_churn: Floats | None, p_redeem: Floats, worth: Floats, cost: Floats, may: Flags,
    personal: PersonalEffects, catalogue: Catalogue,
) -> Kinds:  # fmt: skip
    """Ask every arm of the trial for its choice: the place of an option or `NOTHING`; shape (users, arms).

    Parameters
    ----------
    frame, p_churn, p_redeem
        Of the users, and each option's chance to be used, shape (users, options).
    worth
        What staying is worth, shape (users, 1).
    cost, may
        Expected cost of each option, and whether a rule allows it, shape (users, options).
    """
    arms = personal.trial.arms
    found = np.full((len(frame), len(arms)), NOTHING, dtype=np.int8)
    for place, arm in enumerate(arms):
        if arm.policy.name == PERSONAL:
            value = personal_value(frame, p_churn, p_redeem, worth, cost, personal, catalogue)
            found[:, place] = _best(value - personal.trial.price * cost, may)
        else:
            found[:, place] = _simple(frame, p_redeem, may, arm.policy, catalogue)
    return found


def personal_value(
    frame: pd.DataFrame, p_churn: Floats | None, p_redeem: Floats, worth: Floats, cost: Floats,
    personal: PersonalEffects, catalogue: Catalogue,
) -> Floats:  # fmt: skip
    """Say what each option is expected to be worth to each user, ``-inf`` where lots said nothing of it.

    Expectations are shrunken: effects are pulled to zero as far as the lots leave them uncertain. Parameters and shape
    as above.
    """
    is_known = np.array([option in personal.options for option in catalogue.options], dtype=bool)
    known = [option for option in catalogue.options if option in personal.options]
    value = np.full(cost.shape, -np.inf)
    if known:
        chances = Chances(p_redeem[:, is_known], p_churn)
        retention = possible(personal.retention.effects(frame, known, chances), p_churn)
        margin = personal.margin.effects(frame, known, chances)
        contact = np.array([[offer.contact_cost for offer in catalogue.offer_of_options]])
        charged = np.broadcast_to(contact if personal.is_net else cost, cost.shape)
        value[:, is_known] = margin + retention * worth - charged[:, is_known]
    return value


def _best(worth: Floats, may: Flags) -> Places:
    """Pick each user's best allowed option; `NOTHING` where none is worth more than that."""
    if not worth.shape[1]:
        return np.full(len(worth), NOTHING)
    worth = np.where(may, worth, -np.inf)
    return np.where(worth.max(axis=1) > 0, worth.argmax(axis=1), NOTHING)


def _simple(frame: pd.DataFrame, p_redeem: Floats, may: Flags, policy: Deployed, catalogue: Catalogue) -> Places:
    if policy.option is None or policy.option not in catalogue.options:
        return np.full(len(frame), NOTHING)
    place = list(catalogue.options).index(policy.option)
    return np.where(policy.applies_to(frame, p_redeem[:, place]) & may[:, place], place, NOTHING)
