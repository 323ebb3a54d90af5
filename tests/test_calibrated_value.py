"""Calibrated values: precise where outcomes have heavy tails, honest where held-out effects are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models.judge.calibrated_value import Calibrated, calibration, gain_over
from models.metrics.evaluation import Z
from models.policy_value.evidence import Evidence
from models.policy_value.off_policy import value_difference

SIGNAL = 0.6  # standard deviation of what an option changes


def drawn_evidence(
    rows: int, rng: np.random.Generator, *, truth: float = 1.0, size: float = 2.0
) -> tuple[Evidence, np.ndarray]:
    """Treatments of two options with heavy-tailed margins, and held-out effects `size` times as large as true ones.

    `truth` scales what options really change; returned beside the evidence, (rows, 2).
    """
    action = rng.integers(-1, 2, rows)
    order = rng.lognormal(0.0, 1.2, rows)
    signal = SIGNAL * rng.normal(size=(rows, 2)) + [0.3, -0.1]
    effect = truth * signal
    drawn = np.c_[effect, np.zeros(rows)][np.arange(rows), action]
    paid = np.where(action >= 0, 0.2 * (rng.random(rows) < 0.5), 0.0)
    return Evidence(
        options=(("a", 0.1), ("b", 0.2)),
        action=action,
        propensity=np.full(rows, 1 / 3),
        user_ids=pd.Series(np.arange(rows) // 2),
        fold=(np.arange(rows) // 2) % 3,
        net=order * rng.lognormal(-0.5, 1.0, rows) * 3 + drawn - paid,
        usual=3 * order,
        effect=size * signal - 0.1,
        cost=np.full((rows, 2), 0.1),
        p_redeem=np.full((rows, 2), 0.5),
        columns=pd.DataFrame({"tenure_days": np.arange(rows, dtype=float)}),
        had_chance=np.ones((rows, 2), dtype=bool),
        is_simple=np.ones(2, dtype=bool),
        paid=paid,
    ), effect


def personal(evidence: Evidence) -> np.ndarray:
    """Chances of the option that is expected to be worth most, and nothing where none is."""
    return evidence.chances(np.c_[np.zeros(len(evidence.effect)), evidence.effect].argmax(axis=1))


def nobody(evidence: Evidence) -> np.ndarray:
    """Chances of nothing for everybody."""
    return evidence.chances(np.zeros(len(evidence.effect), dtype=np.intp))


def test_the_treatments_say_how_much_of_the_effects_is_true():
    evidence, _ = drawn_evidence(30_000, np.random.default_rng(3))
    assert calibration(evidence).slope == pytest.approx(0.5, abs=0.12)


def test_a_value_is_as_wide_as_it_errs_and_narrower_than_the_doubly_robust_one():
    errors, widths, robust = [], [], []
    for seed in range(60):
        evidence, effect = drawn_evidence(1500, np.random.default_rng(seed))
        new, old = personal(evidence), nobody(evidence)
        true = float((new[:, 1:3] * (effect - 0.1)).sum(axis=1).mean())
        found = gain_over(Calibrated(evidence), new, old)
        errors.append(found.value - true)
        widths.append((found.high - found.low) / 2 / Z)
        other = value_difference(evidence.logged, new, old, predicted=evidence.predicted)
        robust.append((other.high - other.low) / 2 / Z)
    assert np.median(widths) < 0.6 * np.median(robust)
    assert np.mean(np.abs(errors) < Z * np.array(widths)) >= 0.88
    assert abs(np.mean(errors)) < 0.35 * np.median(widths)


def test_where_nothing_has_an_effect_hardly_anything_is_proven():
    proven = 0
    for seed in range(60):
        evidence, _ = drawn_evidence(600, np.random.default_rng([seed, 1]), truth=0.0, size=0.5)
        proven += gain_over(Calibrated(evidence), personal(evidence), nobody(evidence)).low > 0
    assert proven <= 4


def test_tails_that_are_cut_do_not_hide_what_is_earned_from_the_few_who_pay():
    """One in twenty orders, and an option adds orders: of these a fixed share of all rows would cut off much."""
    off = []
    for seed in range(8):
        rows, rng = 60_000, np.random.default_rng([seed, 2])
        evidence, _ = drawn_evidence(rows, rng)
        more = rng.uniform(0.0, 0.03, (rows, 2))  # orders that each option adds, of 5 in the mean
        chance = 0.05 + np.c_[more, np.zeros(rows)][np.arange(rows), evidence.action]
        spent = np.where(rng.random(rows) < chance, 5 * rng.lognormal(-0.5, 1.0, rows), 0.0)
        evidence = replace(evidence, net=spent - evidence.paid, usual=np.full(rows, 0.25), effect=5 * more - 0.1)
        new, old = personal(evidence), nobody(evidence)
        true = float((new[:, 1:3] * (5 * more - 0.1)).sum(axis=1).mean())
        found = gain_over(Calibrated(evidence), new, old)
        off.append((found.value - true) / (found.high - found.value) * Z)
    assert np.abs(np.mean(off)) < 1.0, off


def test_effects_that_the_treatments_contradict_are_not_asked():
    evidence, _ = drawn_evidence(4000, np.random.default_rng(8))
    late = np.abs(evidence.effect[:, 0] - 0.5) < 0.5  # whom the policy is for, and what no slope can tell
    harm = np.where(late[:, None], -4.0, 0.0) * np.ones((1, 2))
    net = evidence.net + np.c_[harm, np.zeros(4000)][np.arange(4000), evidence.action]
    wrong = Calibrated(replace(evidence, net=net))
    new, old = evidence.chances(late.astype(np.intp)), nobody(evidence)
    alone = value_difference(wrong.logged, new, old, predicted=wrong.evidence.predicted)
    assert gain_over(wrong, new, old) == alone
    assert alone.high < wrong.by_effects(new, old).value


def test_a_policy_is_worth_nothing_more_than_itself():
    evidence, _ = drawn_evidence(300, np.random.default_rng(4))
    found = gain_over(Calibrated(evidence), personal(evidence), personal(evidence))
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)
