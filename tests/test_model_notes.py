"""Notes of registered models: they come back typed, and those of another version are named."""

from __future__ import annotations

import pytest

from configs.errors import InputError
from configs.offers import Option
from models.effects.average_effect import AverageEffect
from models.effects.effect_model import EffectUnit, Listening
from models.learn.redeemed_spend import RedeemedSpend
from models.metrics.metric import Metric
from models.model_cards.model_notes import EffectNotes, RedemptionNotes, notes_as_json, read_notes
from models.policy_value.policy_verdict import CONSTANT, NOBODY, P_REDEEM, PERSONAL, RANKING, RULE, Deployed

MARGIN = Metric(1.0, -2.0, 4.0, 300)
EFFECT = AverageEffect("mail", "observational", 100, 200, 0.5, 0.2, MARGIN, MARGIN, 0.4, 0.0)
POLICIES = [
    Deployed(NOBODY),
    Deployed(PERSONAL),
    Deployed(CONSTANT, Option("mail", 0.1)),
    Deployed(RULE, Option("mail", 0.0), "spend_sum_28d", 12.5, is_above=False),
    Deployed(RANKING, Option("mail", 0.1), P_REDEEM, 0.25),
]


def test_notes_of_the_redemption_model_come_back() -> None:
    notes = RedemptionNotes(RedeemedSpend({"mail": 12.5}, 1.5), (EFFECT,))
    assert read_notes(RedemptionNotes, notes_as_json(notes), "x") == notes


@pytest.mark.parametrize("deployed", POLICIES, ids=str)
def test_notes_of_effects_come_back_with_every_policy(deployed: Deployed) -> None:
    options = (Option("mail", 0.0), Option("mail", 0.1))
    units = (EffectUnit("own_money", 12.5), EffectUnit("log_odds", 0.7))
    listening = (Listening("email_opened_count_90d", "email_sent_count_90d", 0.3),)
    notes = EffectNotes(options, ("mail",), deployed, ((0.5, 0.01), (0.7, 0.02)), units, listening, "it earns more")
    found = read_notes(EffectNotes, notes_as_json(notes), "x")
    assert found == notes
    assert found.options[1].offer_id == "mail"


def test_notes_of_another_version_are_named() -> None:
    with pytest.raises(InputError, match="the notes of redemption-1 are not RedemptionNotes; run winback train-models"):
        read_notes(RedemptionNotes, {"covered_spend": {}, "has_lots": False}, "redemption-1")
