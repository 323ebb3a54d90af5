"""Variants beside each other: numbers of a published library; nothing is found where nothing is, and something else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from models.judge.confidence_sequence import anytime_widths
from models.judge.variant_comparison import (
    NOBODY,
    Moments,
    difference,
    pair_error,
    split_doubt,
    users_needed,
    winners,
)
from models.metrics.comparison import cuped_difference, raw_difference

USERS = np.arange(500)
OUTCOME = np.r_[USERS * 11 % 17, USERS * 7 % 13].astype(float)
KNOWN = np.r_[USERS * 3 % 7, USERS * 5 % 11] + OUTCOME / 2
VARIANT = np.repeat([0, 1], 500)


def test_the_interval_is_that_of_a_published_library() -> None:
    """gbstats 0.8.0, SequentialTwoSidedTTest with sequential_tuning_parameter = 10000, on the same two groups."""
    plain = difference(Moments.of(OUTCOME, np.zeros(1000), VARIANT, 2), 0, 1)
    assert [float(each) for each in plain[:3]] == pytest.approx([2.028, 0.9626656592, 3.0933343408], rel=1e-9)
    by_its_slope = OUTCOME - 0.7479161043961711 * KNOWN  # its CUPED pools the slope over both groups
    pooled = difference(Moments.of(by_its_slope, np.zeros(1000), VARIANT, 2), 0, 1)
    assert [float(each) for each in pooled[:3]] == pytest.approx([2.7699327756, 1.9427213393, 3.5971442118], rel=1e-9)


def test_what_was_known_before_is_taken_out_as_everywhere_else() -> None:
    plain, freed = (difference(Moments.of(OUTCOME, each, VARIANT, 2), 0, 1) for each in (np.zeros(1000), KNOWN))
    own = cuped_difference(OUTCOME, pd.DataFrame({"known": KNOWN}), VARIANT == 0, np.arange(1000))
    assert float(freed.value) == pytest.approx(own.absolute.value, rel=1e-9)
    assert float(freed.error) == pytest.approx(own.standard_error, rel=2e-3)  # which charges a degree of freedom
    assert float(plain.error) == pytest.approx(
        raw_difference(OUTCOME, VARIANT == 0, np.arange(1000)).standard_error, rel=1e-9
    )


def test_the_doubt_about_a_split_is_computed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a flat prior 3 and 1 of 4 in an order have the chance 3! 1! / 5! = 1/20; of halves 1/16."""
    monkeypatch.setattr("models.judge.variant_comparison.CONCENTRATION", 2.0)
    assert float(split_doubt(np.array([3, 1]), (0.5, 0.5))) == 1.0  # 0.8 to 1 for the halves
    assert float(split_doubt(np.array([9, 0]), (0.5, 0.5))) == pytest.approx(10 / 2**9)  # 9! 0! / 10! = 1/10
    assert float(split_doubt(np.array([4, 0, 0]), (0.25, 0.25, 0.5))) == pytest.approx(  # prior 1/2, 1/2, 1
        1 / (256 * (0.5 * 1.5 * 2.5 * 3.5) / (2 * 3 * 4 * 5))
    )


def looks(rng: np.random.Generator, experiments: int, days: int, a_day: int, *, effect: float, variants: int = 2):
    """Sums by experiment, day and variant of skewed money of users, a third of whom spend, half of it known before."""
    shape = (experiments, days, a_day)
    known = np.where(rng.random(shape) < 0.5, rng.lognormal(1.0, 1.0, shape), 0.0)
    spends = rng.random(shape) < 0.35
    drawn = rng.integers(0, variants, shape)
    outcome = np.where(spends, rng.lognormal(1.0, 0.8, shape), 0.0) + 0.4 * known + effect * (drawn == 1)
    return outcome, known, drawn


def moments_by_day(outcome: np.ndarray, known: np.ndarray, drawn: np.ndarray, variants: int = 2) -> Moments:
    def added(values: np.ndarray) -> np.ndarray:
        by_variant = [np.where(drawn == place, values, 0.0).sum(axis=-1) for place in range(variants)]
        return np.cumsum(np.stack(by_variant, axis=-1), axis=1)

    one = np.ones_like(outcome)
    sums = (one, (outcome != 0) * one, outcome, known, outcome**2, known**2, outcome * known)
    return Moments.of_sums(*map(added, sums))


def false_winners(experiments: int, days: int, a_day: int, variants: int, *, is_yes_no: bool, seed: int) -> int:
    rng, found = np.random.default_rng(seed), 0
    for _ in range(0, experiments, 50):  # as memory has room
        outcome, known, drawn = looks(rng, 50, days, a_day, effect=0.0, variants=variants)
        outcome = (outcome > 3.0).astype(float) if is_yes_no else outcome
        named = winners(moments_by_day(outcome, known, drawn, variants), is_yes_no=is_yes_no)
        found += int((named != NOBODY).any(axis=1).sum())
    return found


@pytest.mark.parametrize(("variants", "is_yes_no"), [(2, False), (2, True), (4, False)])
def test_of_a_a_experiments_looked_at_daily_few_name_a_winner(variants: int, is_yes_no: bool) -> None:
    found = false_winners(100, 60, 60, variants, is_yes_no=is_yes_no, seed=7)
    assert found <= binom.ppf(0.999, 100, 0.05), found


@pytest.mark.full
@pytest.mark.parametrize(("variants", "is_yes_no"), [(2, False), (2, True), (4, False)])
def test_of_1000_a_a_experiments_looked_at_daily_five_in_a_hundred_name_a_winner_at_most(variants, is_yes_no) -> None:
    found = false_winners(1000, 120, 100, variants, is_yes_no=is_yes_no, seed=11)
    assert found <= 50, found


@pytest.mark.parametrize("share", [0.005, 0.02, 0.5, 0.97])
def test_of_1000_a_a_experiments_on_a_rare_answer_few_name_a_winner(share: float) -> None:
    shape = (1000, 120, 2)  # experiments, days, variants
    rng = np.random.default_rng(5)
    users = np.cumsum(rng.binomial(100, 0.5, shape), axis=1).astype(float)
    yes = np.cumsum(rng.binomial(np.diff(users, axis=1, prepend=0).astype(int), share), axis=1).astype(float)
    zero = np.zeros(shape)
    of = Moments.of_sums(users, yes, yes, zero, yes, zero, zero)
    found = int((winners(of, is_yes_no=True) != NOBODY).any(axis=1).sum())
    assert found <= 50, found


def test_looking_every_day_at_a_usual_interval_would_name_many() -> None:
    """What the confidence sequence is for: the same experiments by the 95% interval of one look."""
    outcome, known, drawn = looks(np.random.default_rng(7), 100, 60, 60, effect=0.0)
    found = difference(moments_by_day(outcome, known, drawn), 0, 1)
    assert (np.abs(found.value) > 1.96 * found.error)[:, 3:].any(axis=1).mean() > 0.15


def test_a_planted_effect_is_found_by_about_as_many_users_as_were_said() -> None:
    effect = 0.35
    outcome, known, drawn = looks(np.random.default_rng(3), 100, 120, 100, effect=effect)
    moments = moments_by_day(outcome, known, drawn)
    named = winners(moments, is_yes_no=False)
    whole = difference(moments, 1, 0)
    deviation = float(np.median(whole.error[:, -1])) * np.sqrt(120 * 100 / 4)
    needed = users_needed(deviation, effect, (0.5, 0.5))
    assert 2_000 < needed < 12_000
    by_then = (named[:, : needed // 100] != NOBODY).any(axis=1).mean()
    assert 0.7 < by_then <= 1.0, (by_then, needed)
    assert set(named[named != NOBODY]) == {1}  # and never the other one
    assert (whole.plain_error[:, -1] / whole.error[:, -1]).mean() > 1.05  # what was known before narrows it


def test_an_interval_of_several_variants_allows_for_all_pairs() -> None:
    assert pair_error(3) == pytest.approx(0.05 / 3)
    assert anytime_widths(np.array(5000.0), error=pair_error(3)) > anytime_widths(np.array(5000.0))


def test_a_split_is_doubted_only_where_chance_hardly_explains_it() -> None:
    rng = np.random.default_rng(5)
    drawn = rng.random((300, 100, 50)) < 0.3
    users = np.cumsum(np.stack([(~drawn).sum(axis=2), drawn.sum(axis=2)], axis=-1), axis=1)
    assert (split_doubt(users, (0.7, 0.3)) < 0.001).any(axis=1).sum() <= 2
    lost = np.cumsum(np.stack([(~drawn).sum(axis=2), (drawn & (rng.random(drawn.shape) < 0.85)).sum(axis=2)], -1), 1)
    assert (split_doubt(lost, (0.7, 0.3))[:, -1] < 0.001).mean() > 0.7  # 15% of one variant's users get lost
