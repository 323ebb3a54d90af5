"""The trial of policies that are not proven: random options are drawn more often if a policy on trial chooses them.

A user whose option is drawn at random draws it as the exploration or as the trial says. Both form one lottery with one
probability per option, so that the logged propensity is exact and every row of a trial is evidence about all policies
(multiple logging: Li et al. 2011; Dudík et al. 2011).
"""

from __future__ import annotations

import numpy as np

from configs.offers import NOTHING
from configs.settings import Settings
from features.arrays.array_types import Flags, Floats, Kinds
from models.policy_value.policy_verdict import Trial


def with_trial(settings: Settings, trial: Trial) -> Settings:
    """Raise share and budget of exploration by those of the trial.

    Examples
    --------
    >>> from configs.settings import load_settings
    >>> together = with_trial(load_settings(), Trial(share=0.15, budget_share=0.1)).scoring.exploration
    >>> together.share, together.budget_share
    (0.15, 0.1)
    """
    if not trial.arms and trial.share == 0:
        return settings
    own = settings.scoring.exploration
    money = (own.budget_share if own.share > 0 else 0.0) + trial.budget_share
    shares = {"share": min(1.0, own.share + trial.share), "budget_share": min(1.0, money)}
    exploration = own.model_copy(update=shares)
    scoring = settings.scoring.model_copy(update={"exploration": exploration})
    return settings.model_copy(update={"scoring": scoring})


def weight_of(settings: Settings, trial: Trial) -> float:
    """Share of the random draws that follow the trial; `settings` are those without the trial."""
    own = settings.scoring.exploration.share
    added = min(trial.share, 1.0 - own)
    return added / (own + added) if added > 0 else 0.0


def trial_weights(choices: Kinds, explorable: Flags, trial: Trial) -> Floats:
    """Compute the probability with which the trial draws each option, or nothing; (users, options + 1), rows sum to 1.

    Parameters
    ----------
    choices
        Of every arm, shape (users, arms), from `serving.valuation.trial_choices`.
    explorable
        Which options may be tried, shape (users, options); another choice is nothing.

    Examples
    --------
    >>> from models.policy_value.policy_verdict import Arm, Deployed
    >>> trial = Trial((Arm(Deployed("nobody"), 0.25), Arm(Deployed("personal"), 0.75, 0.8)), 0.5)
    >>> choices = np.array([[-1, 0], [-1, -1]], dtype=np.int8)
    >>> trial_weights(choices, np.ones((2, 1), dtype=bool), trial).round(2).tolist()
    [[0.6, 0.4], [0.0, 1.0]]
    """
    rows, weights = np.arange(len(choices)), np.zeros((len(choices), explorable.shape[1] + 1))
    allowed = np.c_[explorable, np.ones(len(choices), dtype=bool)]
    for choice, arm in zip(choices.T, trial.arms, strict=True):
        given = np.where(allowed[rows, choice], choice, NOTHING)
        weights[rows, given] += arm.share * arm.part
        weights[:, NOTHING] += arm.share * (1 - arm.part)
    return weights
