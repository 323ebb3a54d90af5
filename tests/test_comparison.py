"""Two groups compared: numbers by hand, and simulated experiments whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.measurement.lift import Lift, lift
from models.metrics.comparison import cuped

COVARIATES = ["pre_margin", "pre_active_days", "pre_converted"]
SEEDS = range(200)


def experiment(seed: int, users: int = 160, *, truth: float = 0.0, share: float = 0.5, days: int = 1) -> pd.DataFrame:
    """Randomise users; `pre_margin` foretells half of the variance of margin, the rest of the covariates nothing."""
    rng = np.random.default_rng(seed)
    treated = rng.permutation(users) < users * share
    before, of_user = rng.normal(10, 2, users), np.repeat(np.arange(users), days)
    kept, buys = rng.random(users * days) < 0.5, rng.random(users * days) < 0.4
    margin = before[of_user] + rng.normal(0, 2, users)[of_user] + rng.normal(0, 0.1, users * days)
    return pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in of_user],
            "group": np.where(treated, "treated", "control")[of_user],
            "offer_id": rng.choice(["bundle", "come_back"], users)[of_user],
            "channel": rng.choice(["email", "push"], users)[of_user],
            "stage": "at_risk",
            "margin": margin + truth * treated[of_user],
            "is_retained": kept.astype(int),
            "is_converted": buys.astype(int),
            "revenue": buys * rng.lognormal(3, 0.5, users * days),
            "pre_margin": before[of_user],
            "pre_active_days": rng.poisson(5, users)[of_user],
            "pre_converted": rng.integers(0, 2, users)[of_user],
        }
    )


def small(treated: list[float], control: list[float], outcome: str = "margin") -> pd.DataFrame:
    """One row per user."""
    groups = ["treated"] * len(treated) + ["control"] * len(control)
    return pd.DataFrame({"user_id": range(len(groups)), "group": groups, outcome: [*treated, *control]})


def margins(truth: float, seeds: range = SEEDS, **how: float) -> list[Lift]:
    return [lift(experiment(seed, truth=truth, **how), "margin", COVARIATES) for seed in seeds]


@pytest.fixture(scope="module")
def helped() -> list[Lift]:
    """Two hundred experiments in which an offer brings 1.0."""
    return margins(1.0)


@pytest.fixture(scope="module")
def idle() -> list[Lift]:
    """Two hundred experiments in which an offer changes nothing."""
    return margins(0.0)


@pytest.fixture(
    scope="module", params=[{}, {"users": 330, "share": 0.9}, {"days": 4}], ids=["halves", "small control", "days"]
)
def designs(request: pytest.FixtureRequest, helped: list[Lift]) -> list[Lift]:
    """Two hundred experiments of each kind in which an offer brings 1.0."""
    return margins(1.0, **request.param) if request.param else helped


# by hand


def test_a_lift_by_hand():
    found = lift(small([2, 4, 6, 8], [1, 9, 1, 9]), "margin").raw
    # squares 20 and 64: 20/3/4 + 64/3/4 = 7
    assert (found.treated, found.control, found.absolute.value, found.absolute.n) == (5.0, 5.0, 0.0, 8)
    assert found.standard_error == pytest.approx(7**0.5)
    assert found.p_value == pytest.approx(1.0)


def test_a_small_group_that_varies_more_doubts_for_itself():
    found = lift(small([4, 6, 8, 6], [1, 9]), "margin").raw
    assert found.standard_error == pytest.approx((8 / 3 / 4 + 32 / 2) ** 0.5)  # Welch


def test_a_small_group_that_varies_less_is_doubted_by_the_large_one():
    found = lift(small([2, 4, 6, 8], [1, 3]), "margin").raw
    assert found.standard_error == pytest.approx(((20 + 2) / 4 * (1 / 4 + 1 / 2)) ** 0.5)  # Student, not 2/2 + 20/3/4


@pytest.mark.parametrize(("users", "student"), [(6, 2.228), (11, 2.086), (31, 2.000), (500, 1.962)])
def test_the_reach_of_the_interval_is_that_of_the_tables(users, student):
    amounts = [float(k) for k in range(users)]  # alike in both groups: 2 * (users - 1) degrees of freedom
    found = lift(small(amounts, amounts), "margin").raw
    assert found.absolute.high / found.standard_error == pytest.approx(student, abs=0.001)


def test_a_group_that_varies_alone_has_its_own_degrees_of_freedom():
    found = lift(small([5.0] * 40, list(range(11))), "margin").raw
    assert found.absolute.value / found.standard_error < 0.1
    assert (found.absolute.high - found.absolute.value) / found.standard_error == pytest.approx(2.228, abs=0.001)


def test_a_p_value_by_hand():
    found = lift(small([2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5]), "margin").raw
    assert found.absolute.value / found.standard_error == pytest.approx(1.8516, abs=1e-4)
    assert found.p_value == pytest.approx(0.0938, abs=2e-4)  # Student with 10 degrees of freedom


def test_rows_of_one_user_by_hand():
    frame = small([1, 3, 5, 7], [0, 0, 2, 2]).assign(user_id=list("aabbccdd"))
    # user sums around the mean: -4, 4 and -2, 2; (16 + 16)/16 * 2 + (4 + 4)/16 * 2 = 5
    assert lift(frame, "margin").raw.standard_error == pytest.approx(5**0.5)
    assert lift(frame, "margin").treated == lift(frame, "margin").control == 2


def test_users_seen_in_both_groups_share_their_luck():
    frame = small([1, 3, 5], [0, 2, 4]).assign(user_id=list("abcabc"))
    assert lift(frame, "margin").raw.standard_error == pytest.approx(0.0, abs=1e-9)  # each user gains exactly 1
    assert lift(frame, "margin").raw.absolute.value == pytest.approx(1.0)


def test_copies_of_the_rows_are_no_new_evidence():
    frame = experiment(0)
    once, sixfold = (lift(rows, "margin", COVARIATES) for rows in (frame, pd.concat([frame] * 6, ignore_index=True)))
    for part in ("raw", "cuped"):
        assert getattr(sixfold, part).standard_error == pytest.approx(getattr(once, part).standard_error)
    assert (sixfold.treated, sixfold.treated_responders) == (once.treated, once.treated_responders)


def test_the_relative_lift_solves_fiellers_equation():
    found = lift(small([14, 15, 16, 17, 18, 20], [9, 10, 10, 11, 12, 8]), "margin").raw
    reach = (found.absolute.high - found.absolute.value) / found.standard_error
    variances = [np.var(group, ddof=1) / 6 for group in ([14, 15, 16, 17, 18, 20], [9, 10, 10, 11, 12, 8])]
    assert found.relative.value == pytest.approx(100 / 60 - 1)
    for end in (found.relative.low, found.relative.high):
        off = found.treated - (1 + end) * found.control
        assert abs(off) == pytest.approx(reach * (variances[0] + (1 + end) ** 2 * variances[1]) ** 0.5)


@pytest.mark.parametrize("control", [[-3.0, -2.0, -4.0], [-9.0, 1.0, 9.5], [0.0, 0.0, 0.0]])
def test_a_ratio_to_nothing_is_not_given(control):
    assert lift(small([1, 2, 3], control), "margin").raw.relative is None


def test_absolute_and_relative_lift_agree_about_zero(idle, helped):
    for found in [*idle, *helped, *margins(0.8, range(40), share=0.75)]:
        for part in (found.raw, found.cuped):
            assert (
                (part.relative.low > 0) == (part.absolute.low > 0) == (part.p_value < 0.05 and part.absolute.value > 0)
            )
            assert (part.relative.high < 0) == (part.absolute.high < 0)


# CUPED


def test_cuped_is_the_regression_with_all_interactions():
    frame = experiment(1, share=0.7)
    treated, y = (frame["group"] == "treated").to_numpy(), frame["margin"].to_numpy()
    x = frame[COVARIATES].to_numpy(dtype=float)
    x = x - x.mean(axis=0)
    t = treated[:, None].astype(float)
    coefficients = np.linalg.lstsq(np.hstack([np.ones_like(t), t, x, t * x]), y, rcond=None)[0]
    freed = cuped(y, frame[COVARIATES], treated)
    assert freed[treated].mean() - freed[~treated].mean() == pytest.approx(coefficients[1])
    assert freed.mean() == pytest.approx(y.mean())


def test_every_covariate_costs_a_degree_of_freedom():
    frame = experiment(1, users=60)
    found, treated = lift(frame, "margin", COVARIATES).cuped, frame["group"] == "treated"
    freed = pd.Series(cuped(frame["margin"].to_numpy(), frame[COVARIATES], treated.to_numpy()))
    squares = sum(((group - group.mean()) ** 2).sum() for group in (freed[treated], freed[~treated]))
    assert found.standard_error == pytest.approx((squares / 30 / (30 - 1 - 3)) ** 0.5)


def test_a_relative_lift_knows_that_all_users_are_a_sample_too():
    before = np.random.default_rng(0).normal(0, 1, 2000)
    frame = small(list(15 + before[:1000]), list(10 + before[1000:])).assign(before=before)
    found = lift(frame, "margin", ["before"]).cuped
    assert found.absolute.value == pytest.approx(5.0)  # exactly, but not so its share of a mean of 10
    assert found.absolute.high - found.absolute.low < 1e-6
    half = 1.96 * 5 / 10**2 * before.std() / 2000**0.5
    assert (found.relative.high - found.relative.low) / 2 == pytest.approx(half, rel=0.02)


def test_cuped_is_unbiased_and_halves_the_variance(helped):
    raw, freed = (np.array([getattr(found, part).absolute.value for found in helped]) for part in ("raw", "cuped"))
    for values in (raw, freed):
        assert values.mean() == pytest.approx(1.0, abs=4 * values.std() / len(SEEDS) ** 0.5)
    assert freed.var() < 0.65 * raw.var()
    assert np.mean([found.variance_reduction for found in helped]) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("part", ["raw", "cuped"])
def test_intervals_cover_the_truth_and_are_no_wider_than_needed(part, designs):
    found = [getattr(one, part) for one in designs]
    assert np.mean([one.absolute.low <= 1.0 <= one.absolute.high for one in found]) >= 0.9
    spread = np.std([one.absolute.value for one in found])
    assert np.mean([one.standard_error for one in found]) == pytest.approx(spread, rel=0.2)


def test_relative_intervals_cover_the_truth(helped):
    found = [one.cuped.relative for one in helped]
    assert np.mean([metric.low <= 0.1 <= metric.high for metric in found]) >= 0.9  # 1.0 over a control mean of 10


def test_p_values_of_offers_that_change_nothing_are_even(idle):
    for part in ("raw", "cuped"):
        p_values = [getattr(found, part).p_value for found in idle]
        counts = np.histogram(p_values, bins=5, range=(0, 1))[0]
        assert counts.sum() == len(SEEDS)
        assert (abs(counts - len(SEEDS) / 5) < 20).all()  # 3.5 standard deviations


def test_cuped_takes_slopes_that_differ_between_the_groups():
    rng = np.random.default_rng(2)
    before, treated = rng.normal(size=4000), np.arange(4000) < 3600
    y = np.where(treated, 3.0, 1.0) * before  # truth: nothing on average
    freed = cuped(y, pd.DataFrame({"before": before}), treated)
    pooled = y - np.cov(y, before)[0, 1] / before.var() * before
    variances = [v[treated].var() / 3600 + v[~treated].var() / 400 for v in (freed, pooled, y)]
    assert variances[0] < 0.5 * min(variances[1:])  # the slope of the small group counts most


def test_constant_and_missing_covariates_do_no_harm():
    frame = experiment(3)
    plain = lift(frame, "margin", ["pre_margin"])
    spoilt = frame.assign(always=1e6 + 0.1, never=np.nan, twin=frame["pre_margin"] * 2)
    assert lift(spoilt, "margin", ["always", "never", "pre_margin"]) == plain
    cross_fitted_models = lift(spoilt, "margin", ["pre_margin", "twin"]).cuped.absolute
    assert cross_fitted_models.value == pytest.approx(plain.cuped.absolute.value)
    assert lift(spoilt, "margin", ["always", "never"]).cuped == plain.raw


def test_a_missing_covariate_counts_as_the_mean():
    frame = experiment(4)
    gaps = frame["pre_margin"].where(frame.index % 3 > 0)
    nullable = gaps.astype("Float64")
    for column in (gaps, nullable, gaps.fillna(np.inf)):
        found = lift(frame.assign(pre_margin=column), "margin", ["pre_margin"])
        filled = lift(frame.assign(pre_margin=gaps.fillna(gaps.mean())), "margin", ["pre_margin"])
        assert found.cuped.absolute.value == pytest.approx(filled.cuped.absolute.value)
        assert 0.1 < found.variance_reduction < 0.5


def test_few_users_carry_few_covariates():
    frame = experiment(5, users=40)
    noise = {f"noise_{k}": np.random.default_rng(k).normal(size=40) for k in range(30)}
    names = ["pre_margin", *noise]
    found = lift(frame.assign(**noise), "margin", names)
    assert found.cuped == lift(frame.assign(**noise), "margin", names[:2]).cuped  # one per ten of the twenty controls
    assert lift(frame[:15], "margin", names[:1]).cuped == lift(frame[:15], "margin").raw


def test_one_group_leaves_the_outcome_as_it_is():
    values = np.array([1.0, 2.0, 3.0])
    for treated in (np.ones(3, dtype=bool), np.zeros(3, dtype=bool)):
        assert cuped(values, pd.DataFrame({"before": [1, 2, 3]}), treated).tolist() == [1.0, 2.0, 3.0]
