"""Lift: verdicts and families of them by hand, and simulated experiments whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_comparison import COVARIATES, SEEDS, experiment, small

from configs.errors import InputError
from models.measurement.lift import (
    Lift,
    Shortage,
    adjust_for_comparisons,
    false_discovery_adjusted,
    lift,
    lift_metrics,
    measure,
    sample_ratio_mismatch,
)

# verdicts


def yes_no(treated: tuple[int, int], control: tuple[int, int], outcome: str = "is_converted") -> Lift:
    """Give users and how many of them said yes, for both groups."""
    answers = [[1.0] * yes + [0.0] * (users - yes) for users, yes in (treated, control)]
    return lift(small(*answers, outcome=outcome), outcome)


@pytest.mark.parametrize(
    ("treated", "control", "shortage"),
    [
        ((50, 15), (30, 5), ()),
        ((49, 20), (30, 5), (Shortage("treated", "users", 49, 50),)),
        ((50, 15), (29, 5), (Shortage("control", "users", 29, 30),)),
        ((50, 14), (30, 5), (Shortage("treated", "rarer_answer", 14, 15),)),
        ((50, 15), (30, 4), (Shortage("control", "rarer_answer", 4, 5),)),
        ((50, 15), (30, 26), (Shortage("control", "rarer_answer", 4, 5),)),
        ((49, 15), (3, 1), (Shortage("treated", "users", 49, 50), Shortage("control", "users", 3, 30))),
    ],
)
def test_minimum_counts(treated, control, shortage):
    found = yes_no(treated, control)
    assert found.shortage == shortage
    assert (found.verdict == "not enough data") == (shortage != ())
    assert (found.p_adjusted is None) == (shortage != ())
    assert (found.treated_responders, found.control_responders) == (treated[1], control[1])


def test_amounts_need_users_who_spend():
    found = lift(small([5.0] * 14 + [0.0] * 60, [0.0] * 60), "margin")
    assert found.shortage == (
        Shortage("treated", "amount", 14, 15),
        Shortage("control", "amount", 0, 5),
    )
    assert lift(small([5.0] * 50, [1.0] * 30), "margin").shortage == ()  # all of them may


def test_rows_are_not_counted_as_users():
    frame = experiment(6, users=60, days=9)
    assert lift(frame, "margin").shortage == (Shortage("treated", "users", 30, 50),)


def test_verdicts_in_words():
    assert yes_no((400, 200), (400, 100)).verdict == "helps"
    assert yes_no((400, 100), (400, 200)).verdict == "harms"
    assert yes_no((400, 104), (400, 100)).verdict == "no difference shown"


@pytest.mark.parametrize("groups", [([1.0] * 60, []), ([], [1.0] * 60), ([], []), ([1.0] * 60, [2.0])])
def test_one_group_only_is_not_enough_data(groups):
    found = lift(small(*groups), "margin")
    assert (found.verdict, found.raw, found.cuped, found.variance_reduction) == ("not enough data", None, None, 0.0)
    assert not found.is_significant_alone
    assert json.loads(json.dumps(found.as_dict()))["raw"] is None
    assert lift_metrics([found]) == {}


def test_a_small_control_group_without_big_spenders_proves_nothing():
    def skewed(seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        return small(*np.split((rng.random(600) < 0.25) * rng.lognormal(2, 1.2, 600), [540]))

    verdicts = [lift(skewed(seed), "margin").verdict for seed in SEEDS]
    assert verdicts.count("helps") <= 5  # 10 to 14 of 100 by Welch alone


@pytest.mark.parametrize("amount", [0.1, 1 / 3, 1e6 + 0.1])
def test_the_same_amount_for_everybody_is_no_difference(amount):
    found = lift(small([amount] * 61, [amount] * 37).assign(before=range(98)), "margin", ["before"])
    assert found.verdict == "no difference shown"
    assert found.raw.p_value > 0.9


# many comparisons


def test_false_discoveries_by_hand():
    assert false_discovery_adjusted(np.array([])).tolist() == []
    assert false_discovery_adjusted(np.array([0.03])).tolist() == [0.03]
    assert false_discovery_adjusted(np.array([0.02, 0.8, 0.001, 0.02])) == pytest.approx(
        [0.08 / 3, 0.8, 0.004, 0.08 / 3]
    )


def test_a_family_is_judged_together():
    lucky, idle, small_one = yes_no((400, 130), (400, 100)), yes_no((400, 100), (400, 100)), yes_no((40, 30), (40, 1))
    assert lucky.verdict == "helps"
    judged = adjust_for_comparisons([small_one, lucky, *[idle] * 9])
    assert [found.comparisons for found in judged] == [10] * 11  # the one without data does not count
    assert judged[0].p_adjusted is None
    assert judged[1].p_adjusted == pytest.approx(10 * lucky.cuped.p_value)
    assert (judged[1].is_significant_alone, judged[1].is_significant) == (True, False)
    assert judged[1].verdict == "no difference shown"


def test_looking_often_does_not_find_what_is_not_there():
    alone, together = 0, 0
    for seed in range(15):
        frame = experiment(seed, users=2000)
        of_twenty = frame["user_id"].str[1:].astype(int) % 20
        lifts = measure(frame.assign(stage=of_twenty), ["pre_margin"], ("stage",), outcomes=("margin",))
        assert len(lifts) == 21
        enough = [replace(found, shortage=(), p_adjusted=found.cuped.p_value) for found in lifts]
        judged = adjust_for_comparisons(enough)
        alone += any(found.is_significant_alone for found in judged)
        together += any(found.is_significant for found in judged)
    assert alone >= 6
    assert together <= 3


def test_measure_says_all_and_every_level():
    lifts = measure(experiment(7, users=1600, truth=1.0), COVARIATES)
    subjects = ["offers", "bundle", "come_back", "channel_email", "channel_push", "stage_at_risk"]
    kinds = ["margin", "retention", "conversion", "revenue"]
    assert [found.name for found in lifts] == [f"{subject}.lift_{kind}" for subject in subjects for kind in kinds]
    assert {found.comparisons for found in lifts} == {24}
    assert [found.verdict for found in lifts if found.measure == "margin"] == ["helps"] * 6
    assert [found.verdict for found in lifts if found.measure == "retention"] == ["no difference shown"] * 6
    assert lifts[4].treated + lifts[8].treated == lifts[0].treated


def test_a_level_of_its_own_is_measured_on_its_own():
    frame = experiment(8)
    alone = lift(frame[frame["offer_id"] == "bundle"], "margin", COVARIATES, subject="bundle")
    among = measure(frame, COVARIATES, ("offer_id",), outcomes=("margin",))[1]
    assert replace(among, p_adjusted=None, comparisons=1) == replace(alone, p_adjusted=None)


def test_a_missing_level_counts_in_all_only():
    frame = experiment(9)
    frame.loc[:79, "channel"] = None
    everybody, *levels = measure(frame, by=("channel",), outcomes=("margin",))
    assert everybody.raw.absolute.n == 160
    assert sum(found.raw.absolute.n for found in levels) == 80


def test_the_order_of_the_rows_has_no_effect_and_the_frame_is_left_alone():
    frame = experiment(10, days=2)
    frame.loc[5, "pre_margin"] = np.nan
    kept = frame.copy()
    shuffled = frame.sample(frac=1, random_state=1)
    before, after = ([found.as_dict() for found in measure(rows, COVARIATES)] for rows in (frame, shuffled))
    assert before == after
    pd.testing.assert_frame_equal(frame, kept)


def test_json_and_metrics():
    found = measure(experiment(11, users=400, truth=1.0), COVARIATES, ("offer_id",), outcomes=("margin",))
    written = json.loads(json.dumps(found[0].as_dict(), allow_nan=False))
    assert written["name"] == "offers.lift_margin"
    assert written["verdict"] == "helps"
    assert written["cuped"]["absolute"]["value"] == round(found[0].cuped.absolute.value, 6)
    assert written["variance_reduction"] == round(found[0].variance_reduction, 6)
    assert written["comparisons"] == 3
    metrics = lift_metrics(found)
    assert metrics["offers.lift_margin"] == found[0].cuped.absolute
    assert metrics["bundle.relative_lift_margin"] == found[1].cuped.relative


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "holdout"}, "160 rows are of group 'holdout'; a group is 'treated' or 'control'"),
        ({"margin": np.nan}, "160 rows have no margin; leave out decisions whose window is not over"),
        ({"is_retained": 0.5}, "is_retained has other values than 0 and 1, such as 0.5"),
        ({"user_id": None}, "160 rows have no user_id; leave them out"),
    ],
)
def test_bad_rows_are_named(change, message):
    with pytest.raises(InputError, match=message):
        measure(experiment(12).assign(**change))


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match=r"no column 'pre_margn' to measure; did you mean 'pre_margin'\?"):
        measure(experiment(12), ["pre_margn"])


# sample ratio


def test_a_sample_ratio_by_hand():
    found = sample_ratio_mismatch(60, 40, 0.5)
    assert found.chi_square == pytest.approx(10**2 / 50 + 10**2 / 50)
    assert found.p_value == pytest.approx(0.0455, abs=1e-4)  # two standard deviations
    assert not found.is_mismatch


def test_lost_users_are_found():
    assert not sample_ratio_mismatch(5000, 5000, 0.5).is_mismatch
    assert sample_ratio_mismatch(5000, 4000, 0.5).is_mismatch
    assert sample_ratio_mismatch(9000, 800, 0.1).is_mismatch
    assert not sample_ratio_mismatch(9000, 960, 0.1).is_mismatch
    found = sample_ratio_mismatch(5000, 4000, 0.5)
    assert found.advice.startswith("44.4% of the users are in the control group, 50.0% meant: a mismatch")
    assert json.loads(json.dumps(found.as_dict()))["is_mismatch"] is True
    assert sample_ratio_mismatch(0, 0, 0.1).p_value == 1.0


def test_a_fair_split_seldom_cries_wolf():
    controls = np.random.default_rng(0).binomial(2000, 0.1, 3000)
    assert sum(sample_ratio_mismatch(2000 - n, n, 0.1).is_mismatch for n in controls.tolist()) <= 10


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(InputError, match="give one between 0 and 1"):
        sample_ratio_mismatch(10, 10, share)
