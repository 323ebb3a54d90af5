"""What the deciding policy promises: what randomised treatments showed of its picks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_calibrated_value import drawn_evidence, personal

from models.judge.calibrated_promise import MOST, believed_share, shown_change
from models.judge.calibrated_value import Calibrated
from models.judge.simple_policies import best_simple, simple_policy
from models.policy_value.policy_verdict import CONSTANT


@pytest.mark.parametrize("size", [1.0, 2.0])
def test_effects_are_believed_as_far_as_the_treatments_show_them(size):
    evidence, effect = drawn_evidence(60_000, np.random.default_rng(5), size=size)
    chances = personal(evidence)
    promised = float((chances[:, 1:3] * evidence.gross).sum())
    true = float((chances[:, 1:3] * effect).sum())
    believed = believed_share(Calibrated(evidence), chances)
    assert abs(believed * promised / true - 1.0) < 0.15
    assert believed < 0.75 or size == 1.0


def test_few_treatments_leave_a_promise_nearly_as_it_is():
    evidence, _ = drawn_evidence(150, np.random.default_rng(6), size=2.0)
    assert 0.5 < believed_share(Calibrated(evidence), personal(evidence)) <= MOST
    nothing = evidence.chances(np.zeros(150, dtype=np.intp))
    assert believed_share(Calibrated(evidence), nothing) == 1.0  # nobody promises nothing


def test_simple_policies_are_chosen_by_what_is_steady():
    """Of two options with heavy tails the better one is found more often than by doubly robust scores."""
    steady, robust = 0, 0
    for seed in range(40):
        evidence, effect = drawn_evidence(1200, np.random.default_rng(seed), size=1.0)
        best = evidence.options[int(effect.mean(axis=0).argmax())]
        steady += best_simple(Calibrated(evidence), CONSTANT).option == best
        everybody = np.ones(len(evidence.action), dtype=bool)
        robust += simple_policy(evidence, evidence.scores, CONSTANT, everybody).option == best
    assert steady > robust
    assert steady >= 32


def test_a_simple_policy_promises_what_its_picks_gained_before_it_was_paid_for():
    evidence, effect = drawn_evidence(60_000, np.random.default_rng(7))
    assert shown_change(Calibrated(evidence), personal(evidence)) is None  # nothing tells what staying is worth
    worth = np.where(np.arange(60_000) % 2, 10.0, 30.0)
    half = np.where(worth > 20, 1, 0)
    known = Calibrated(replace(evidence, worth=worth))
    found = shown_change(known, evidence.chances(half, 0.5))
    assert found is not None
    assert found.worth == pytest.approx(30.0)
    assert found.gain == pytest.approx(effect[half > 0, 0].mean(), abs=0.08)
    assert shown_change(known, evidence.chances(np.zeros(60_000, dtype=np.intp))) is None
