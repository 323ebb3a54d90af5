"""Uplift: personal effects of randomised treatments whose truth is known, and what a registry keeps of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from synthetic import AS_OF, DRAWN_OPTIONS, FEATURES, randomised_treatments, small_settings

from configs.errors import InputError
from features.definitions.registry import trait
from features.storage.lake import Lake
from models.champion_gate.promotion import publish_effects
from models.effects.effect_design import MOST_INPUTS, effect_design, reweighted
from models.effects.effect_model import ActionSet, Chances, scores_of, shifted
from models.effects.effect_ranking import effect_rankings
from models.effects.effect_regression import EffectRegression, PooledFit, Target
from models.effects.observational_effects import average_of_experiment
from models.effects.uplift import (
    DRAWS,
    MIN_NOTHING_ROWS,
    MIN_OPTION_ROWS,
    OUTCOMES,
    LearntEffects,
    _scores,
    chances_of_slope,
    learn_effects,
    mean_effects,
    usable_options,
)
from models.learn.listening import Listening, listening_to
from models.policy_value.policy_verdict import NOBODY, PERSONAL, Deployed, PolicyValue, PolicyVerdict
from models.registry.response import _load_personal

SETTINGS = small_settings()
DRAWN_COLUMNS = ["user_id", "day", "offer_id", "discount", "propensity", "margin_soon", "is_retained"]
every_outcome = pytest.mark.parametrize("outcome", OUTCOMES)
Draws = tuple[pd.DataFrame, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def randomised() -> Draws:
    """Twelve thousand rows of six thousand users, and the true effects."""
    return randomised_treatments(6000, np.random.default_rng(61))


@pytest.fixture(scope="module")
def learnt(randomised) -> dict[str, LearntEffects]:
    """What these treatments teach."""
    return learn_effects(randomised[0], DRAWN_OPTIONS, FEATURES, SETTINGS)


@every_outcome
def test_mean_effects_are_those_of_the_truth(randomised, learnt, outcome):
    frame, truth = randomised
    found, true = learnt[outcome], truth[outcome].mean(axis=0)
    share = 1 / np.array([(frame["offer_id"] == name).sum() for name, _ in DRAWN_OPTIONS])
    noise = frame[outcome].std() * np.sqrt(2.5 * share.max() + 1 / (frame["offer_id"] == "none").sum())
    assert np.abs(found.mean - true).max() < 3 * noise
    by_offer = np.array([true[:2].mean(), true[2:].mean()])
    assert (np.abs(found.offer_mean - by_offer) < 3 * found.offer_error).all()
    effect_model = found.effect_model.effects(frame, DRAWN_OPTIONS).mean(axis=0)
    assert np.abs(effect_model - true).max() < 3 * noise


@every_outcome
def test_personal_effects_are_close_to_the_truth(randomised, learnt, outcome):
    frame, truth = randomised
    for effects in (learnt[outcome].effect_model.effects(frame, DRAWN_OPTIONS), learnt[outcome].held_out):
        for place in range(len(DRAWN_OPTIONS)):
            assert np.corrcoef(effects[:, place], truth[outcome][:, place])[0, 1] > 0.8
    assert learnt[outcome].has_slope


def test_a_simple_policys_option_is_worth_what_it_changes_for_whom_it_picks(randomised, learnt):
    frame, truth = randomised
    idle = frame["days_since_last_activity"].to_numpy()
    picked = np.where(idle > np.quantile(idle, 0.7), 2, 0)  # the second option pulls more on those who are away
    option = DRAWN_OPTIONS[1]
    means, everybody = mean_effects(learnt, option, picked), mean_effects(learnt, None, None)
    for place, outcome in enumerate(OUTCOMES):
        true = truth[outcome][picked > 0, 1].mean()
        assert abs(means[1, place] - true) < 0.5 * abs(everybody[1, place] - true)
    assert (means[[0, 2, 3]] == everybody[[0, 2, 3]]).all()
    assert (mean_effects(learnt, option, np.zeros_like(picked)) == everybody).all()


def test_what_is_expected_without_an_offer_is_what_happens_without_one(randomised, learnt):
    alone = (randomised[0]["offer_id"] == "none").to_numpy()
    left = (randomised[0]["margin_soon"] - learnt["margin_soon"].without)[alone]
    assert abs(left.mean()) < 3 * left.std() / np.sqrt(alone.sum())


@every_outcome
def test_no_effect_falls_as_the_discount_rises(randomised, learnt, outcome):
    steps = [(name, share) for name in ("bundle", "come_back") for share in (0.0, 0.01, 0.1, 0.25, 0.6)]
    effects = learnt[outcome].effect_model.effects(randomised[0], steps).reshape(-1, 2, 5)
    assert np.diff(effects, axis=2).min() > -1e-12
    draws = learnt[outcome].effect_model.draws(randomised[0].head(500), steps).reshape(DRAWS, -1, 2, 5)
    assert np.diff(draws, axis=3).min() > -1e-12


def test_of_a_discount_without_effect_next_to_nothing_remains():
    frame, truth = randomised_treatments(3000, np.random.default_rng(62), pull=0.0)
    for outcome, found in learn_effects(frame, DRAWN_OPTIONS, FEATURES, SETTINGS).items():
        assert not found.has_slope
        effects = found.effect_model.effects(frame, DRAWN_OPTIONS)
        apart = np.abs(np.c_[effects[:, 1] - effects[:, 0], effects[:, 2:] - effects[:, [2]]]).mean()
        assert apart < 0.1 * np.abs(truth[outcome]).mean()


def test_whether_discounts_matter_is_weighed_and_not_switched():
    # where the evidence says yes in one sample and no in the next, a switch would make the gap 0 or double
    assert chances_of_slope([-9.0, -9.0]) == [0.0, 0.0]
    assert chances_of_slope([9.0, -9.0]) == pytest.approx([1.0, 0.0], abs=0.02)
    between = [chances_of_slope([odds, 0.0])[0] for odds in (-2.0, 0.0, 2.0)]
    assert between == pytest.approx([0.079, 0.333, 0.772], abs=0.06)
    weak, strong = (chances_of_slope([0.0, other])[0] for other in (-3.0, 3.0))
    assert weak < 0.27 < 0.45 < strong  # that discounts keep users makes it likelier that they sell, too
    assert sorted(between) == between


def test_mixed_coefficients_are_those_of_both_fits_by_their_chances(randomised):
    design = effect_design(randomised[0], DRAWN_OPTIONS, FEATURES, SETTINGS, None, {})
    target = Target(randomised[0]["margin_soon"].to_numpy(), np.ones(len(randomised[0])))
    regression = EffectRegression.of(design, target)
    fits = regression.best()
    assert fits[True].log_evidence > fits[False].log_evidence + 10  # the discount pulls here
    mixed = PooledFit(fits[False], fits[True], 0.25, np.full(len(regression.gram), 0.25))
    each = [
        regression.held_out(PooledFit(fits[False], fits[True], chance, np.full(len(regression.gram), chance)))
        for chance in (0.0, 1.0)
    ]
    assert regression.held_out(mixed) == pytest.approx(0.75 * each[0] + 0.25 * each[1], abs=1e-9)
    drawn = regression.coefficients(mixed, DRAWS, np.random.default_rng(0))[: (1 + DRAWS) * 5].reshape(1 + DRAWS, 5, -1)
    assert (drawn[1:, 1] == 0).all(axis=1).sum() == round(0.75 * DRAWS)  # a draw is of one fit or of the other


def test_a_rare_offer_borrows_from_the_others():
    frame, _ = randomised_treatments(6000, np.random.default_rng(64), rare=0.005, pull=0.0)
    options = usable_options(frame, [*DRAWN_OPTIONS, ("rare", 0.1)])
    assert MIN_OPTION_ROWS <= (frame["offer_id"] == "rare").sum() < 80
    assert options[-1] == ("rare", 0.1)
    found = learn_effects(frame, options, FEATURES, SETTINGS)["margin_soon"]
    effects = found.effect_model.effects(frame, options).mean(axis=0)
    own, others = found.mean[-1], effects[:-1].mean()
    assert others + 0.05 * (own - others) < effects[-1] < own
    # what is well known hardly borrows
    assert effects[0] == pytest.approx(found.mean[:2].mean(), abs=0.3)


@every_outcome
def test_contributions_sum_to_the_effect(randomised, learnt, outcome):
    rows, effect_model = randomised[0].head(700), learnt[outcome].effect_model
    chosen = np.arange(len(rows)) % len(DRAWN_OPTIONS)
    parts = effect_model.contributions(rows, DRAWN_OPTIONS, chosen)
    effects = effect_model.effects(rows, DRAWN_OPTIONS)[np.arange(len(rows)), chosen]
    assert np.abs(parts.sum(axis=1) - effects).max() < 1e-9


def test_a_text_has_one_contribution_whatever_its_values(randomised, learnt):
    effect_model = learnt["margin_soon"].effect_model
    columns = effect_model.estimator.columns
    assert "trait_plan" in columns
    assert effect_model.estimator.columns_behind().count("trait_plan") == 4  # free, plus, pro and unknown
    rows = randomised[0].head(300)
    parts = effect_model.contributions(rows, DRAWN_OPTIONS, np.zeros(len(rows), dtype=np.intp))
    assert parts.shape == (len(rows), len(columns) + 1)
    plan = pd.Series(parts[:, columns.index("trait_plan")]).round(12)
    # the discount's pull is cut off at 0 for some, hence at most two values per plan
    assert plan.groupby(rows["trait_plan"].astype(str)).nunique().max() <= 2


def test_a_surface_names_the_column_that_is_missing_and_leaves_its_input_unchanged(randomised, learnt):
    effect_model, rows = learnt["margin_soon"].effect_model, randomised[0].head(40)
    before = rows.copy(deep=True)
    effect_model.effects(rows[rows.columns[::-1]], DRAWN_OPTIONS)
    effect_model.contributions(rows, DRAWN_OPTIONS, np.zeros(len(rows), dtype=np.intp))
    pd.testing.assert_frame_equal(rows, before)
    with pytest.raises(InputError, match="reads the column 'spend_sum_90d', which the frame lacks"):
        effect_model.effects(rows.drop(columns="spend_sum_90d"), DRAWN_OPTIONS)
    nobody = rows.assign(trait_plan=pd.Categorical([None] * len(rows)), trait_plan_plus=np.nan)
    assert np.isfinite(effect_model.effects(nobody, DRAWN_OPTIONS)).all()


def test_the_column_that_matters_contributes_most(randomised, learnt):
    effect_model = learnt["margin_soon"].effect_model
    parts = effect_model.contributions(randomised[0], DRAWN_OPTIONS, np.full(len(randomised[0]), 1))
    size = dict(zip(effect_model.estimator.columns, np.abs(parts[:, :-1]).mean(axis=0), strict=True))
    assert set(sorted(size, key=size.__getitem__)[-2:]) == {"spend_sum_90d", "days_since_last_activity"}


def test_effects_do_not_depend_on_the_batch(randomised, learnt):
    rows, effect_model = randomised[0].head(61), learnt["margin_soon"].effect_model
    whole, draws = effect_model.effects(rows, DRAWN_OPTIONS), effect_model.draws(rows, DRAWN_OPTIONS)
    for size in (1, 7, 40):
        batches = [rows.iloc[start : start + size] for start in range(0, len(rows), size)]
        assert (np.concatenate([effect_model.effects(batch, DRAWN_OPTIONS) for batch in batches]) == whole).all()
        assert (np.concatenate([effect_model.draws(batch, DRAWN_OPTIONS) for batch in batches], axis=1) == draws).all()
    turned = rows.iloc[::-1]
    assert (effect_model.effects(turned, DRAWN_OPTIONS)[::-1] == whole).all()
    one = [effect_model.effects(rows, [option])[:, 0] for option in DRAWN_OPTIONS]
    assert (whole == np.array(one).T).all()


@every_outcome
def test_draws_are_as_uncertain_as_the_mean_effect(randomised, learnt, outcome):
    found = learnt[outcome]
    draws = found.effect_model.draws(randomised[0], DRAWN_OPTIONS).mean(axis=1)
    assert draws.shape == (DRAWS, len(DRAWN_OPTIONS))
    spread = np.array([draws[:, :2].mean(axis=1).std(), draws[:, 2:].mean(axis=1).std()])
    assert ((spread > 0.4 * found.offer_error) & (spread < 2.0 * found.offer_error)).all()


def test_scores_are_the_doubly_robust_ones_by_hand():
    # nothing, the first option twice, the second; predictions of nothing, first, second
    design = SimpleNamespace(place=np.array([-1, 0, 0, 1]), propensity=np.array([0.5, 0.25, 0.5, 0.25]))
    predicted = np.array([[1.0, 2.0, 4.0]] * 4)
    scores = _scores(np.array([2.0, 3.0, 1.0, 5.0]), predicted, design)
    # row 1: nothing is 1 + (2 - 1) / 0.5 = 3; row 2: first is 2 + 1 / 0.25 = 6; row 3: 2 - 1 / 0.5; row 4: 4 + 1 / 0.25
    assert scores.tolist() == [[2 - 3, 4 - 3], [6 - 1, 4 - 1], [0 - 1, 4 - 1], [2 - 1, 8 - 1]]
    assert scores.mean(axis=0).tolist() == [1.0, 3.5]
    assert predicted[0].tolist() == [1.0, 2.0, 4.0]
    # of what is off the menu the predictions stay as they are
    other = SimpleNamespace(place=np.array([2]), propensity=np.array([0.1]))
    assert _scores(np.array([9.0]), predicted[:1], other).tolist() == [[1.0, 3.0]]


def test_the_same_rows_and_seed_give_the_same_coefficients(randomised):
    rows = randomised[0].head(1500).reset_index(drop=True)
    first, again = (learn_effects(rows, DRAWN_OPTIONS, FEATURES, SETTINGS)["is_retained"] for _ in range(2))
    model, same = first.effect_model.estimator.core[-1], again.effect_model.estimator.core[-1]
    assert (model.coef_ == same.coef_).all() and (model.intercept_ == same.intercept_).all()
    other = learn_effects(rows, DRAWN_OPTIONS, FEATURES, small_settings(seed=7))["is_retained"]
    assert not (model.coef_ == other.effect_model.estimator.core[-1].coef_).all()


def test_no_user_teaches_their_own_held_out_effect(randomised):
    rows = randomised[0].head(1500).reset_index(drop=True)
    before = learn_effects(rows, DRAWN_OPTIONS, FEATURES, SETTINGS)["margin_soon"]
    inside = before.fold == 0
    changed = rows.assign(margin_soon=rows["margin_soon"] + np.where(inside & (rows.index < 9), 0.5, 0.0))
    after = learn_effects(changed, DRAWN_OPTIONS, FEATURES, SETTINGS)["margin_soon"]
    assert not (after.held_out[~inside] == before.held_out[~inside]).all()
    assert (after.fold == before.fold).all()
    for k in np.unique(before.fold):
        assert not set(rows["user_id"][before.fold == k]) & set(rows["user_id"][before.fold != k])


def table(**counts: int) -> pd.DataFrame:
    offers = [name for name, rows in counts.items() for _ in range(rows)]
    return pd.DataFrame({"offer_id": offers, "discount": 0.1, "propensity": 0.5})


@pytest.mark.parametrize(
    ("counts", "usable"),
    [
        ({}, ()),
        ({"none": MIN_NOTHING_ROWS, "a": MIN_OPTION_ROWS, "b": MIN_OPTION_ROWS - 1}, (("a", 0.1), ("a", 0.2))),
        ({"none": MIN_NOTHING_ROWS - 1, "a": 500}, ()),
        ({"none": 500, "a": MIN_OPTION_ROWS - 1, "retired": 500}, ()),
    ],
)
def test_an_offer_is_learnt_from_enough_rows_only(counts, usable):
    assert usable_options(table(**counts), [("a", 0.1), ("a", 0.2), ("b", 0.1)]) == usable


def test_an_offer_that_is_off_the_menu_makes_no_other_effect_wrong(randomised):
    frame, truth = randomised
    found = learn_effects(frame, DRAWN_OPTIONS[:2], FEATURES, SETTINGS)["margin_soon"]
    assert (frame["offer_id"] == "come_back").mean() > 0.3
    assert abs(found.offer_mean[0] - truth["margin_soon"][:, :2].mean()) < 3 * found.offer_error[0]
    effects = found.effect_model.effects(frame, DRAWN_OPTIONS[:2])
    assert np.corrcoef(effects[:, 1], truth["margin_soon"][:, 1])[0, 1] > 0.8


def test_an_offer_that_came_late_is_not_diluted_by_the_days_before_it(randomised):
    frame, truth = randomised
    early, late_offer = frame["day"] == frame["day"].min(), frame["offer_id"] == "come_back"
    # on the first day nobody could draw it: the others were likelier
    one = np.where(frame["offer_id"] == "none", (1 - frame["propensity"]) / len(DRAWN_OPTIONS), frame["propensity"])
    others = 1 - 3 * one
    kept = ~(early & late_offer)
    rows = frame.assign(propensity=np.where(early, frame["propensity"] / others, frame["propensity"]))[kept]
    found = learn_effects(rows.reset_index(drop=True), DRAWN_OPTIONS, FEATURES, SETTINGS)
    assert found["margin_soon"].had_chance.all(axis=0).tolist() == [name != "come_back" for name, _ in DRAWN_OPTIONS]
    for outcome, effect in truth.items():
        learnt = found[outcome]
        assert learnt.offer_mean == pytest.approx(
            [effect[:, :2].mean(), effect[(~early).to_numpy(), 2:].mean()], abs=3 * learnt.offer_error.max()
        )
    assert found["margin_soon"].offer_error[1] > found["margin_soon"].offer_error[0]


def test_a_menu_by_hand():
    action_set = ActionSet((("a", 0.0), ("a", 0.1), ("b", 0.1)), ("a", "b"))
    assert action_set.pull.tolist() == pytest.approx([0.0, np.log(2), np.log(2)])
    assert action_set.own.tolist() == [[1, 0], [1, 0], [0, 1]]
    places = action_set.places(["none", "b", "a", "none"], np.array([0.0, 0.1 + 1e-12, 0.0, 0.3]))
    assert places.tolist() == [-1, 2, 0, -1]
    assert action_set.places(["b", "retired"], np.array([0.3, 0.1])).tolist() == [3, 3]


def test_an_offer_s_effect_is_its_average_over_discounts(randomised, learnt):
    frame, truth = randomised
    bundle, come_back = average_of_experiment(frame, learnt)
    rows = frame[frame["offer_id"] == "bundle"]
    assert (bundle.offer_id, bundle.evidence, bundle.overlap) == ("bundle", "randomised", 1.0)
    assert (bundle.treated, bundle.control) == (len(rows), (frame["offer_id"] == "none").sum())
    assert bundle.redemption_rate == rows["is_redeemed"].mean()
    found = learnt["margin_soon"]
    assert come_back.margin.value == found.offer_mean[1] == pytest.approx(found.mean[2:].mean())
    assert come_back.margin.high - come_back.margin.value == pytest.approx(1.96 * found.offer_error[1])
    assert come_back.margin.low <= truth["margin_soon"][:, 2:].mean() <= come_back.margin.high
    assert come_back.retention.value == learnt["is_retained"].offer_mean[1]
    # a randomised effect is used as it is
    assert (come_back.margin_shrunk, come_back.retention_shrunk) == (come_back.margin.value, come_back.retention.value)


def test_what_was_learnt_survives_the_registry(registry: Lake, randomised, learnt):
    rows, unknown = randomised[0].head(200), PolicyValue(float("nan"), float("-inf"), float("inf"), 9, 1.0)
    known = PolicyValue(2.0, 1.0, 3.0, 9, 9.0)
    verdict = PolicyVerdict(Deployed(PERSONAL), {"rule": unknown}, known, {})
    published = publish_effects(registry, learnt, DRAWN_OPTIONS, verdict, rows, SETTINGS, AS_OF, AS_OF)
    found = _load_personal(registry)
    assert [each.subject for each in published] == ["effect on margin", "effect on retention"]
    assert found.name == ", ".join(each.champion for each in published)
    assert found.options == DRAWN_OPTIONS
    assert found.deployed == Deployed(PERSONAL)
    assert found.average.tolist() == np.c_[learnt["margin_soon"].mean, learnt["is_retained"].mean].tolist()
    for loaded, outcome in ((found.margin, "margin_soon"), (found.retention, "is_retained")):
        effect_model = learnt[outcome].effect_model
        assert (loaded.effects(rows, DRAWN_OPTIONS) == effect_model.effects(rows, DRAWN_OPTIONS)).all()
        assert (loaded.draws(rows, DRAWN_OPTIONS) == effect_model.draws(rows, DRAWN_OPTIONS)).all()
    # the same rows under another budget or price can end in another verdict: it decides from then on
    other = replace(verdict, deployed=Deployed(NOBODY))
    again = publish_effects(registry, learnt, DRAWN_OPTIONS, other, rows, SETTINGS, AS_OF, AS_OF)
    assert again[0].version > published[0].version
    assert _load_personal(registry).deployed == Deployed(NOBODY)
    # and the first one again is the first version
    publish_effects(registry, learnt, DRAWN_OPTIONS, verdict, rows, SETTINGS, AS_OF, AS_OF)
    assert _load_personal(registry).deployed == Deployed(PERSONAL)


def test_a_trait_below_minus_one_changes_no_effect_but_its_own():
    frame, _ = randomised_treatments(1500, np.random.default_rng(67))
    light = small_settings(training={"trees": 5})
    means = []
    for shift in (0.0, -1.0, -9.0):
        level = frame.assign(trait_plan_plus=frame["trait_plan_plus"] + shift)
        found = learn_effects(level, DRAWN_OPTIONS, FEATURES, light)
        assert np.isfinite(found["margin_soon"].effect_model.effects(level, DRAWN_OPTIONS)).all()
        means.append(found["margin_soon"].offer_mean)
    assert means[1] == pytest.approx(means[0], abs=0.05)
    assert means[2] == pytest.approx(means[0], abs=0.05)


def test_where_all_users_are_alike_so_are_effects():
    frame, _ = randomised_treatments(1500, np.random.default_rng(68))
    bare = frame[[*DRAWN_COLUMNS, "days_since_last_activity"]].assign(days_since_last_activity=15.0)
    found = learn_effects(bare, DRAWN_OPTIONS, FEATURES, small_settings(training={"trees": 5}))["margin_soon"]
    effects = found.effect_model.effects(bare, DRAWN_OPTIONS)
    assert np.ptp(effects, axis=0) == pytest.approx(np.zeros(len(DRAWN_OPTIONS)), abs=1e-9)
    assert effects[0] == pytest.approx(found.mean, abs=1.0)


def test_learnt_effects_rank_users_better_than_chance_and_noise_does_not(randomised, learnt):
    frame, _ = randomised
    found = effect_rankings(frame, learnt, SETTINGS)
    assert set(found) == {
        f"{offer}.{name}_{outcome}"
        for offer in ("bundle", "come_back")
        for name in ("qini", "auuc")
        for outcome in ("margin", "retention")
    }
    for name in ("bundle.qini_margin", "bundle.auuc_margin", "come_back.auuc_margin"):
        assert 0 < found[name].low < found[name].value < found[name].high
    noise = np.random.default_rng(5).normal(size=learnt["margin_soon"].held_out.shape)
    blind = effect_rankings(frame, {name: replace(each, held_out=noise) for name, each in learnt.items()}, SETTINGS)
    assert blind["bundle.auuc_margin"].low < 0 < blind["bundle.auuc_margin"].high


def test_auuc_is_the_mean_gain_of_the_best_over_any_by_hand():
    frame = pd.DataFrame(
        {
            "user_id": list("abcd"), "offer_id": ["bundle", "none", "bundle", "none"], "propensity": 0.5,
            "margin_soon": [3.0, 1.0, 1.0, 1.0], "is_retained": [1.0, 1.0, 0.0, 0.0],
        }
    )  # fmt: skip
    held_out = np.array([[2.0], [2.0], [0.0], [0.0]])  # two users gain 2, two nothing
    model = SimpleNamespace(offers=("bundle",))
    one = SimpleNamespace(
        effect_model=model, options=(("bundle", 0.1),), held_out=held_out, had_chance=np.ones((4, 1), bool)
    )
    found = effect_rankings(frame, {"margin_soon": one, "is_retained": one}, SETTINGS)
    # after half of the users 2 each are gained, in the end 1 each: above the chord by 1/2 at half, so 1/4 on average
    assert found["bundle.auuc_margin"].value == pytest.approx(0.25)
    assert found["bundle.auuc_retention"].value == 0.0
    poor = effect_rankings(frame.assign(margin_soon=0.0), {"margin_soon": one, "is_retained": one}, SETTINGS)
    assert sorted(poor) == ["bundle.auuc_retention", "bundle.qini_retention"]


def test_effects_differ_by_so_many_inputs_whatever_there_is():
    frame, _ = randomised_treatments(60, np.random.default_rng(3))
    rng, few = np.random.default_rng(0), effect_design(frame, DRAWN_OPTIONS, FEATURES, SETTINGS, None, {})
    told = {f"trait_n{number}": rng.normal(size=len(frame)) for number in range(400)}
    told["trait_names"] = pd.Categorical(np.arange(1000, 1000 + len(frame)).astype(str))
    wide = pd.concat([frame, pd.DataFrame(told, index=frame.index)], axis=1)
    many = [*FEATURES, *(trait(name.removeprefix("trait_"), is_text=name == "trait_names") for name in told)]
    found = effect_design(wide, DRAWN_OPTIONS, many, SETTINGS, None, {})
    assert found.inputs.shape[1] == MOST_INPUTS + 1  # that of everybody's effect
    assert found.columns[: len(few.columns)] == few.columns


EXTREMES = {"huge": [1.7e308, -1e308, 0.0], "all at once": [5e-324, 1e-310, 1e308, -3.0, np.nan, 1e15, 1e15 + 0.125]}


@pytest.mark.parametrize("case", EXTREMES)
def test_effects_are_finite_whatever_a_trait_holds(case):
    frame, _ = randomised_treatments(150, np.random.default_rng(3))
    extreme = frame.assign(trait_odd=np.resize(EXTREMES[case], len(frame)))
    for found in learn_effects(extreme, DRAWN_OPTIONS, [*FEATURES, trait("odd", is_text=False)], SETTINGS).values():
        assert np.isfinite(found.held_out).all()
        assert np.isfinite(found.effect_model.effects(extreme, DRAWN_OPTIONS)).all()


def test_scores_put_their_parts_together_by_hand():
    # one offer without and with a discount whose pull is log(2); the user opens half of the channel's messages
    action_set = ActionSet((("a", 0.0), ("a", 0.1)), ("a",))
    parts, own, option = np.array([[1.0, 2.0, 4.0, 0.5, -1.0]]), np.array([[[0.25], [0.5]]]), np.array([[0.0, 0.125]])
    found = scores_of(parts, own, option, action_set, np.array([[0.5]]), np.array([[0.0, 0.2]]))
    level, slope = 1.0 + 0.25 + 0.5 * 0.5, 2.0 + 0.5 - 1.0 * 0.5
    assert found[0, 0].tolist() == pytest.approx([level, level + slope * np.log(2) + 4.0 * 0.2 + 0.125])
    option = np.zeros((1, 2))
    # a slope or a conversion below 0 changes nothing, and where no redemption is known there is none
    falling = parts * np.array([1.0, -1.0, -1.0, 1.0, 1.0])
    assert (
        scores_of(falling, own, option, action_set, np.array([[0.5]]), np.array([[0.0, 0.2]]))[0, 0].tolist()
        == [level] * 2
    )
    assert scores_of(parts, own, option, action_set, np.array([[0.5]]), None)[0, 0, 1] == pytest.approx(
        level + slope * np.log(2)
    )


def test_how_a_user_listens_is_the_share_opened_pulled_to_the_usual_one():
    frame = pd.DataFrame({"opened": [0.0, 6.0, np.nan, 9.0], "sent": [0.0, 8.0, 8.0, 0.0]})
    shares = Listening("opened", "sent", 0.5).share(frame)
    assert shares.tolist() == [0.5, 0.7, 0.1, 1.0]  # (6 + 2 x 0.5) / (8 + 2); never above 1
    assert Listening(None, None, 0.3).share(frame).tolist() == [0.3] * 4


def test_the_channel_s_own_counts_tell_how_users_listen_to_it():
    def table(what: str, channel: str) -> dict[str, object]:
        return {
            "meaning": "Messages", "role": f"message_{what}", "measure": "count", "windows": (28, 90),
            "where": (f'channel = "{channel}"',),
        }  # fmt: skip

    custom = {f"{channel}_{what}": table(what, channel) for channel in ("push", "sms") for what in ("opened", "sent")}
    settings = small_settings(features={"custom": custom})
    names = [f"push_{what}_count_90d" for what in ("opened", "sent")]
    frame = pd.DataFrame(
        {
            names[0]: [1.0, 3.0], names[1]: [4.0, 6.0],
            "messages_opened_count_90d": [1.0, 3.0], "messages_sent_count_90d": [6.0, 10.0],
        }
    )  # fmt: skip
    assert listening_to("push", settings, frame) == Listening(*names, 0.4)
    everything = Listening("messages_opened_count_90d", "messages_sent_count_90d", 0.25)
    assert listening_to("email", settings, frame) == everything  # no columns of its own
    assert listening_to("push", SETTINGS, frame) == everything
    assert listening_to("sms", settings, frame) == Listening(None, None, 1.0)  # columns that the frame lacks


def test_reweighted_treatments_give_every_option_to_everybody_alike():
    rng = np.random.default_rng(71)
    likely = np.where(rng.random(4000) < 0.5, 0.2, 0.7)  # of the option
    place = np.where(rng.random(4000) < likely, 0, -1)
    chances, weight = reweighted(place, np.where(place == 0, likely, 1 - likely), np.ones((4000, 1), dtype=bool))
    for group in (likely == 0.2, likely == 0.7):
        share = weight[group & (place == 0)].sum() / weight[group].sum()
        assert share == pytest.approx(chances[0, 1], abs=0.04)
    # what left the catalogue counts nothing
    assert reweighted(np.array([-1, 0, 1]), np.full(3, 0.3), np.ones((3, 1), dtype=bool))[1][2] == 0.0


@given(
    stays=st.floats(0.0, 1.0), score=st.floats(-1e3, 1e3), more=st.floats(0.0, 5.0),
)  # fmt: skip
def test_nobody_is_kept_more_than_they_could_leave(stays, score, more):
    change, higher = shifted(np.array([stays] * 2), np.array([score, score + more]))
    assert -stays <= change <= 1.0 - stays
    assert change <= higher + 1e-12


@given(risk=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3), used=st.floats(0.0, 1.0))
@hypothesis_settings(max_examples=20, deadline=None)
def test_learnt_effects_on_staying_lie_within_the_risk_of_each_user(randomised, learnt, risk, used):
    rows, p_churn = randomised[0].head(3), np.array(risk)
    chances = Chances(np.full((3, len(DRAWN_OPTIONS)), used), p_churn)
    model = learnt["is_retained"].effect_model
    for effects in (model.effects(rows, DRAWN_OPTIONS, chances), *model.draws(rows, DRAWN_OPTIONS, chances)):
        assert (effects <= p_churn[:, None]).all()
        assert (effects >= p_churn[:, None] - 1).all()


@every_outcome
def test_contributions_sum_to_the_effect_of_users_who_listen_and_redeem(outcome):
    rng = np.random.default_rng(72)
    frame, _ = randomised_treatments(400, rng)
    frame = frame.assign(messages_opened_count_90d=rng.poisson(2.0, 800), messages_sent_count_90d=rng.poisson(5.0, 800))
    used = rng.random((800, len(DRAWN_OPTIONS)))
    light = small_settings(training={"trees": 5})
    model = learn_effects(frame, DRAWN_OPTIONS, FEATURES, light, p_redeem=used)[outcome].effect_model
    assert model.listening[0].opened == "messages_opened_count_90d"
    core = model.estimator.core
    linear = LinearRegression()  # every part moves, and some slopes lie below 0
    linear.coef_, linear.intercept_ = (
        core[-1].coef_ + rng.normal(0, 0.1, core[-1].coef_.shape),
        core[-1].intercept_ + 0.1,
    )
    model = replace(model, estimator=replace(model.estimator, core=Pipeline([*core.steps[:-1], ("same", linear)])))
    chances, chosen = Chances(used, rng.random(800)), rng.integers(0, len(DRAWN_OPTIONS), 800)
    effects = model.effects(frame, DRAWN_OPTIONS, chances)[np.arange(800), chosen]
    parts = model.contributions(frame, DRAWN_OPTIONS, chosen, chances)
    assert np.abs(parts.sum(axis=1) - effects).max() < 1e-9
    assert np.ptp(parts[:, model.estimator.columns.index("messages_opened_count_90d")]) > 0
