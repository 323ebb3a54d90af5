"""Effects: what an offer truly changes, found where a plain comparison is fooled."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from synthetic import AS_OF, small_settings, treated_rows

from models.effects.average_effect import AverageEffect
from models.effects.observational_effects import (
    MIN_TREATED,
    estimate_effects,
    is_comparable,
    label_exposure,
    shrink,
)
from models.metrics.splits import hash_share

SETTINGS = small_settings(training={"trees": 8, "learning_rate": 0.4})
SEEDS = range(20)
DAY = date(2024, 3, 1)


def rows_of(seed: int, users: int = 600, **truth: float) -> pd.DataFrame:
    return treated_rows(users, np.random.default_rng(seed), **{"margin": 1.0, "retention": 0.1, **truth})


def only_effect(rows: pd.DataFrame) -> AverageEffect:
    (found,) = estimate_effects(rows, SETTINGS)
    return found.effect


@pytest.fixture(scope="module")
def effects() -> list[AverageEffect]:
    """AverageEffect of the same offer in twenty worlds: +1.0 margin, +0.1 retention."""
    return [only_effect(rows_of(seed)) for seed in SEEDS]


def plain_difference(rows: pd.DataFrame, outcome: str) -> float:
    treated = rows["offer_given"] == "bundle"
    return float(rows.loc[treated, outcome].mean() - rows.loc[~treated, outcome].mean())


def test_a_plain_comparison_is_fooled_by_targeting():
    for seed in SEEDS:
        assert plain_difference(rows_of(seed), "margin_soon") > 2.0  # the truth is 1.0


@pytest.mark.parametrize(("outcome", "truth"), [("margin", 1.0), ("retention", 0.1)])
def test_the_interval_covers_the_true_effect(effects, outcome, truth):
    found = [getattr(effect, outcome) for effect in effects]
    assert sum(metric.low <= truth <= metric.high for metric in found) >= 0.8 * len(found)
    assert np.mean([metric.value for metric in found]) == pytest.approx(truth, rel=0.3)


def test_the_interval_is_narrow_enough_to_refute_the_plain_comparison(effects):
    for seed, effect in zip(SEEDS, effects, strict=True):
        assert effect.margin.high < plain_difference(rows_of(seed), "margin_soon")
        assert effect.margin.low > 0


def test_an_effect_says_on_whom_it_rests(effects):
    rows = rows_of(0)
    assert effects[0].offer_id == "bundle"
    assert effects[0].evidence == "observational"
    assert 0 < effects[0].treated <= (rows["offer_given"] == "bundle").sum()
    assert effects[0].treated + effects[0].control == effects[0].margin.n == round(effects[0].overlap * len(rows))
    assert effects[0].redemption_rate == pytest.approx(0.3, abs=0.08)


def test_an_effect_of_zero_is_pulled_to_zero():
    found = [only_effect(rows_of(seed, margin=0.0, retention=0.0)) for seed in range(6)]
    for effect in found:
        assert abs(effect.margin_shrunk) <= abs(effect.margin.value)
        assert abs(effect.retention_shrunk) <= abs(effect.retention.value)
    assert sum(effect.margin_shrunk == 0 for effect in found) >= 3
    assert np.mean([abs(effect.margin_shrunk) for effect in found]) < 0.2


def test_a_certain_effect_is_hardly_pulled_at_all(effects):
    for effect in effects:
        error = (effect.margin.high - effect.margin.value) / 1.96
        assert effect.margin_shrunk == pytest.approx(effect.margin.value * (1 - (error / effect.margin.value) ** 2))
        assert effect.margin_shrunk > 0.75 * effect.margin.value


@pytest.mark.parametrize(
    ("value", "error", "pulled"),
    [(2.0, 1.0, 1.5), (-2.0, 1.0, -1.5), (1.0, 1.0, 0.0), (0.5, 1.0, 0.0), (0.0, 1.0, 0.0)],
)
def test_shrinking_by_hand(value, error, pulled):
    assert shrink(value, error) == pulled


def test_the_same_rows_give_the_same_effect(effects):
    assert only_effect(rows_of(0)) == effects[0]


def test_rows_of_one_user_are_not_independent_evidence(effects):
    rows = rows_of(0)
    sixfold = pd.concat([rows] * 6, ignore_index=True)
    width = effects[0].margin.high - effects[0].margin.low
    found = only_effect(sixfold).margin
    assert found.high - found.low > 0.7 * width  # were they independent, it would shrink to 0.41


def test_too_few_treated_are_not_enough_data():
    rows = rows_of(1)
    few = rows[(rows["offer_given"] == "none") | (np.cumsum(rows["offer_given"] == "bundle") < MIN_TREATED)]
    assert estimate_effects(few.reset_index(drop=True), SETTINGS) == []


def test_too_few_controls_are_not_enough_data():
    rows = rows_of(1)
    few = rows[(rows["offer_given"] != "none") | (np.cumsum(rows["offer_given"] == "none") < 25)]
    assert estimate_effects(few.reset_index(drop=True), SETTINGS) == []


def test_an_offer_that_one_group_of_users_got_is_not_enough_data():
    rows = rows_of(1)
    folds = SETTINGS.training.folds
    in_first = (hash_share(rows["user_id"], "folds") * folds).astype(int) == 0  # of the groups that are held out
    got = rows.assign(offer_given=np.where(in_first, rows["offer_given"], "none"))
    assert (got["offer_given"] == "bundle").sum() > MIN_TREATED
    assert estimate_effects(got, SETTINGS) == []


@pytest.mark.parametrize("left", [0, 1])
def test_an_offer_that_everybody_got_is_not_enough_data(left):
    rows = rows_of(1, users=200).assign(offer_given="bundle")
    rows.loc[: left - 1, "offer_given"] = "none"
    assert estimate_effects(rows, SETTINGS) == []


def test_users_unlike_all_others_are_not_compared():
    assert is_comparable(np.array([0.01, 0.02, 0.03, 0.5, 0.979, 0.98, 1.0]), SETTINGS).tolist() == [
        False, False, True, True, True, False, False,
    ]  # fmt: skip
    strongly = only_effect(rows_of(2, aim=4.0))
    assert strongly.overlap < 0.9


def test_an_offer_is_compared_on_the_days_it_was_given_only():
    rows = rows_of(3)
    elsewhere = rows[rows["offer_given"] == "none"].assign(day=AS_OF + timedelta(days=60), margin_soon=1e6)
    both = pd.concat([rows, elsewhere.assign(user_id="v" + elsewhere["user_id"])], ignore_index=True)
    found = only_effect(both)
    assert found.control + found.treated <= len(rows)


def test_two_offers_are_told_apart():
    rows = pd.concat(
        [rows_of(4), rows_of(5, margin=4.0).assign(user_id=lambda part: "v" + part["user_id"], day=DAY)],
        ignore_index=True,
    )
    rows.loc[(rows["day"] == DAY) & (rows["offer_given"] == "bundle"), "offer_given"] = "come_back"
    first, second = (offer.effect for offer in estimate_effects(rows, SETTINGS))
    assert (first.offer_id, second.offer_id) == ("bundle", "come_back")
    assert first.margin.low <= 1.0 <= first.margin.high
    assert second.margin.low <= 4.0 <= second.margin.high


def test_the_redemption_rate_is_that_of_offers_that_are_over():
    rows = rows_of(6)
    treated = rows["offer_given"] == "bundle"
    half = rows.index % 2 == 0
    still_open = rows.assign(is_redeemed=rows["is_redeemed"].where(~(treated & half)))
    assert only_effect(still_open).redemption_rate == pytest.approx(rows.loc[treated & ~half, "is_redeemed"].mean())
    assert only_effect(rows.assign(is_redeemed=rows["is_redeemed"].where(~treated))).redemption_rate == 0.0


def exposure(*given: tuple[str, int, str, float | None], users: tuple[str, ...] = ("a", "b", "c")) -> pd.DataFrame:
    """Label the users on DAY; `given` holds user, days after DAY, offer, whether redeemed."""
    frame = pd.DataFrame({"user_id": users, "day": DAY, "is_retained": [1.0, 0.0, 1.0][: len(users)]}).assign(
        spend_sum_90d=1.0
    )
    treatments = pd.DataFrame(
        [(user, DAY + timedelta(days=days), offer, redeemed) for user, days, offer, redeemed in given],
        columns=["user_id", "day", "offer_id", "is_redeemed"],
    ).astype({"is_redeemed": float})
    return label_exposure(frame, treatments, 28).set_index("user_id")


def test_exposure_by_hand():
    rows = exposure(("a", 0, "bundle", 1.0), ("b", 0, "come_back", 0.0))
    assert rows["offer_given"].to_dict() == {"a": "bundle", "b": "come_back", "c": "none"}
    assert rows["is_redeemed"].to_dict() == {"a": 1.0, "b": 0.0, "c": 0.0}
    assert rows["is_retained"].to_dict() == {"a": 1.0, "b": 0.0, "c": 1.0}
    assert (rows["spend_sum_90d"] == 1.0).all()


@pytest.mark.parametrize("user", ["a", "c"], ids=["treated", "control"])
@pytest.mark.parametrize(
    ("days", "is_kept"), [(-15, True), (-14, False), (-1, False), (1, False), (27, False), (28, True)]
)
def test_another_treatment_near_by_drops_the_row(user, days, is_kept):
    rows = exposure(("a", 0, "bundle", 1.0), (user, days, "come_back", 0.0))
    assert (user in rows.index) == is_kept
    assert "b" in rows.index  # others are not touched


def test_the_same_offer_again_near_by_drops_the_row_too():
    assert "a" not in exposure(("a", 0, "bundle", 1.0), ("a", 7, "bundle", 0.0)).index


def test_two_offers_on_one_day_cannot_be_told_apart_and_drop_the_row():
    assert list(exposure(("a", 0, "bundle", 1.0), ("a", 0, "come_back", 0.0)).index) == ["b", "c"]


def test_the_same_offer_twice_on_one_day_is_one_treatment():
    rows = exposure(("a", 0, "bundle", 1.0), ("a", 0, "bundle", 1.0))
    assert rows["offer_given"].to_dict() == {"a": "bundle", "b": "none", "c": "none"}
    for used in ((0.0, 1.0), (1.0, 0.0)):  # a redemption counts for the latest: told by mail and by push it was used
        assert exposure(*(("a", 0, "bundle", each) for each in used)).loc["a", "is_redeemed"] == 1.0


def test_a_treatment_that_is_still_open_is_no_control():
    rows = exposure(("a", 0, "bundle", None))
    assert rows.loc["a", "offer_given"] == "bundle"
    assert np.isnan(rows.loc["a", "is_redeemed"])
    assert "b" not in exposure(("b", 5, "bundle", None)).index


def test_a_frame_that_carries_an_offer_already_is_labelled_anew():
    frame = pd.DataFrame({"user_id": ["a"], "day": [DAY], "is_churned": [0], "offer_given": ["old"]})
    none = pd.DataFrame(columns=["user_id", "day", "offer_id", "is_redeemed"])
    assert label_exposure(frame, none, 28)["offer_given"].tolist() == ["none"]
