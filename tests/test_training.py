"""Training: cross-fitting that cannot cheat, refusals in one sentence, and the gate."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import FEATURES, outcomes, small_settings

from configs.errors import InputError
from models.estimator_families.estimators import Estimator, calibrated, inverse_link
from models.estimator_families.linear_estimators import fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.learn.candidate_choice import judge, score_all
from models.learn.training import (
    GateVerdict,
    NotTrainableError,
    TrainedCandidate,
    cross_fit,
    cross_fitted_models,
    generator,
    honest_split,
    newest,
    rows_of,
    train_candidates,
    usable_columns,
    user_fold,
    varied,
)
from models.learn.trial import Trial, below_floor, scores_of_others
from models.metrics.evaluation import auc, expected_calibration_error, log_loss, r_squared
from models.metrics.splits import Split, out_of_user

SETTINGS = small_settings()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_twin_saw_nobody_whom_it_judges():
    frame = outcomes(90, rng(), snapshots=2)
    model = fit_linear(frame, "is_churned", ["spend_sum_90d", "tenure_days"])
    fold = user_fold(frame["user_id"], SETTINGS)
    before = cross_fitted_models(model, frame, SETTINGS)
    assert sorted(before) == [0, 1, 2] == sorted(np.unique(fold))
    for k, twin in before.items():
        turned = frame.assign(is_churned=frame["is_churned"].where(fold != k, 1 - frame["is_churned"]))
        after = cross_fitted_models(model, turned, SETTINGS)
        assert (after[k].predict(frame) == twin.predict(frame)).all()
        other = (k + 1) % 3
        assert not (after[other].predict(frame) == before[other].predict(frame)).all()


def test_users_keep_their_fold_whatever_the_frame():
    users = pd.Series([f"u{number}" for number in range(300)])
    fold = user_fold(users, SETTINGS)
    assert set(fold) == {0, 1, 2}
    assert (user_fold(users[::-1], SETTINGS) == fold[::-1]).all()


def halves(rows: int) -> Split:
    """First half trains, second tests; two folds, taken in turns."""
    first = np.arange(rows) < rows // 2
    return Split(first, ~first, np.arange(rows) % 2)


def gate(rows: pd.DataFrame, decisive: str, family: str = "linear", **scores: np.ndarray) -> GateVerdict:
    """Judge scores of some rows with a label; all but the first come from models of a family."""
    families = ["linear", *[family] * (len(scores) - 1)]
    candidates = {
        name: TrainedCandidate(name, SimpleNamespace(family=family), score)
        for (name, score), family in zip(scores.items(), families, strict=True)
    }
    return judge(candidates, trial_of(rows, decisive), SETTINGS, rng())


def trial_of(rows: pd.DataFrame, decisive: str, **baselines: np.ndarray) -> Trial:
    starts = pd.Series(pd.Timestamp("2024-01-01", tz="UTC"), rows.index)
    measures = {"log_loss": log_loss, "r_squared": r_squared, "auc": auc}
    return Trial(
        "churn", rows, "label", starts, np.ones(len(rows), bool), measures, decisive, starts.min(), baselines
    )  # fmt: skip


@pytest.fixture(scope="module")
def test_rows() -> pd.DataFrame:
    """300 users with a label that follows a known probability."""
    draws = np.random.default_rng(1)
    truth = draws.random(300)
    label = (draws.random(300) < truth).astype(int)
    return pd.DataFrame({"user_id": [f"u{n}" for n in range(300)], "label": label, "truth": truth})


def test_the_gate_promotes_what_beats_the_simplest_with_its_whole_interval(test_rows):
    found = gate(test_rows, "log_loss", simple=np.full(300, 0.5), clever=test_rows["truth"].to_numpy())
    label = test_rows["label"].to_numpy(float)
    arithmetic = log_loss(label, np.full(300, 0.5), np.ones(300)) - log_loss(
        label, test_rows["truth"].to_numpy(), np.ones(300)
    )
    assert found.winner == "clever"
    assert found.gain.value == pytest.approx(arithmetic)
    assert 0 < found.gain.low < found.gain.value < found.gain.high
    assert found.reason == (
        f"clever beats simple: log loss gain {found.gain.value:+.4f} [{found.gain.low:+.4f}, {found.gain.high:+.4f}] "
        "over 300 test rows lies above 0"
    )


def test_the_gate_keeps_the_simplest_when_the_gain_may_be_chance(test_rows):
    truth = test_rows["truth"].to_numpy()
    nearly = np.clip(truth + np.random.default_rng(2).normal(0, 0.02, 300), 0.01, 0.99)
    better, worse = sorted(
        (truth, nearly), key=lambda score: -auc(test_rows["label"].to_numpy(float), score, np.ones(300))
    )
    found = gate(test_rows, "auc", simple=worse, clever=better)
    assert found.gain.value >= 0
    assert found.gain.low <= 0
    assert found.winner == "simple"
    assert found.reason.startswith("simple stays: AUC gain +")
    assert found.reason.endswith("of clever does not lie above 0")


def test_the_gate_keeps_the_simplest_when_the_other_is_worse(test_rows):
    truth = test_rows["truth"].to_numpy()
    found = gate(test_rows, "auc", simple=truth, clever=1 - truth)
    assert found.winner == "simple"
    assert found.gain.high < 0


def test_the_gate_knows_which_way_a_measure_is_better(test_rows):
    both = {"simple": test_rows["truth"].to_numpy(), "clever": np.full(300, 0.5)}
    loss, explained = gate(test_rows, "log_loss", **both), gate(test_rows, "r_squared", **both)
    assert (loss.winner, explained.winner) == ("simple", "simple")


def test_the_gate_compares_on_the_same_users(test_rows):
    label = test_rows["label"].to_numpy(float)
    simple = np.clip(test_rows["truth"].to_numpy(), 0.02, 0.98)
    clever = np.clip(simple + 0.002 * (2 * label - 1), 0.02, 0.98)  # a little better for each user
    found = gate(test_rows, "log_loss", simple=simple, clever=clever)
    assert found.winner == "clever"  # unpaired, so small a gain would drown


def test_rows_of_one_user_are_one_piece_of_evidence(test_rows):
    # one user in ten is right, 30 rows each; counted by rows the gain would look certain
    one = pd.DataFrame({"user_id": np.repeat(["a", "b", "c", "d", "e", "f"], 30), "label": np.tile([0, 1], 90)})
    label = one["label"].to_numpy(float)
    better = np.isin(one["user_id"], ["a", "b", "c", "d"])
    clever = np.where(better, 0.5 + 0.1 * (2 * label - 1), 0.5 - 0.1 * (2 * label - 1))
    both = {"simple": np.full(180, 0.5), "clever": clever}
    by_user, by_row = (gate(rows, "log_loss", **both) for rows in (one, one.assign(user_id=np.arange(180).astype(str))))
    assert by_user.gain.value == by_row.gain.value > 0
    assert (by_user.winner, by_row.winner) == ("simple", "clever")


def test_the_only_candidate_wins_without_a_comparison(test_rows):
    found = gate(test_rows, "auc", simple=np.full(300, 0.5))
    assert (found.winner, found.reason, found.gain) == ("simple", "simple is the only candidate", None)


def test_of_three_candidates_each_must_beat_the_best_so_far(test_rows):
    truth, coin = test_rows["truth"].to_numpy(), np.full(300, 0.5)
    found = gate(test_rows, "log_loss", simple=coin, clever=truth, copy=truth)
    assert found.winner == "clever"
    assert found.reason.startswith("clever stays")


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(0.2, 3.0), share=st.floats(0.0, 0.9))
def test_an_amount_that_is_further_off_than_the_mean_is_below_the_floor(shift: float, share: float) -> None:
    # pulled towards the truth by a share and moved away by a part of its spread: R² = 1 - (1 - share)² - shift²
    truth = np.random.default_rng(3).gamma(2.0, 5.0, 400)
    rows = pd.DataFrame({"user_id": np.arange(400).astype(str), "label": truth})
    off = truth.mean() + share * (truth - truth.mean()) + shift * truth.std()
    expected = 1 - (1 - share) ** 2 - shift**2
    for family in ("linear", "lightgbm", "constant"):
        below = below_floor(trial_of(rows, "r_squared"), {"it": off}, {"it": family})
        assert set(below) == ({"it"} if expected < 0 and family != "constant" else set())
    found = gate(rows, "r_squared", "lightgbm", simple=off, trees=np.full(400, truth.mean()) + 0.01 * truth)
    assert (found.winner, found.shortfall) == ("trees", "") if expected < 0 else found.shortfall == ""


def test_where_no_amount_is_above_the_floor_the_verdict_says_so(test_rows):
    off = -test_rows["truth"].to_numpy()
    found = gate(test_rows, "r_squared", "lightgbm", simple=off, trees=2 * off)
    assert found.shortfall.startswith("its R² of -")
    assert found.shortfall.endswith("is below 0: everybody's mean is nearer")


def test_trees_that_rank_worse_than_something_plain_are_below_the_floor(test_rows):
    truth = test_rows["truth"].to_numpy()
    loud = np.where(truth > 0.5, 0.95, 0.05)  # ranks better, and is far too sure of itself
    calm = np.clip(0.5 + 0.2 * (truth - 0.5) + np.random.default_rng(4).normal(0, 0.05, 300), 0.05, 0.95)
    free = gate(test_rows, "log_loss", "linear", simple=loud, trees=calm)
    held = gate(test_rows, "log_loss", "lightgbm", simple=loud, trees=calm)
    assert (free.winner, held.winner, held.shortfall) == ("trees", "simple", "")
    assert re.search(
        r"simple stays: trees is not good enough, its AUC of 0\.\d+ is below the 0\.\d+ of simple", held.reason
    )
    coin = np.full(300, 0.5)
    trial = trial_of(test_rows, "log_loss", recency=truth)
    below = below_floor(trial, {"simple": coin, "trees": calm}, {"simple": "linear", "trees": "lightgbm"})
    assert below["trees"].endswith(" of recency")


def training_frame(users: int, label: list[int] | None = None) -> pd.DataFrame:
    rows = 2 * users
    names = [f"u{number % users}" for number in range(rows)]
    return pd.DataFrame({"user_id": names, "label": label or [number % 3 % 2 for number in range(rows)]})


def test_a_split_in_time_is_taken_where_it_leaves_enough_of_both_sides():
    split = halves(120)
    assert honest_split("churn", training_frame(60), split, "label", SETTINGS) is split


def test_too_few_users_are_refused_with_both_numbers():
    with pytest.raises(NotTrainableError, match=r"data for the churn model: 49 users .* training.min_users = 50; "):
        honest_split("churn", training_frame(49), halves(98), "label", SETTINGS)


def test_where_no_label_is_closed_no_setting_of_users_helps():
    nobody = Split(np.zeros(0, bool), np.zeros(0, bool), np.zeros(0, int))
    with pytest.raises(
        NotTrainableError, match="0 users have a closed label; choose a later as_of or a shorter horizon"
    ):
        honest_split("value", training_frame(60).head(0), nobody, "label", SETTINGS)


def test_users_are_counted_not_rows():
    frame = training_frame(100).assign(user_id=[f"u{number % 10}" for number in range(200)])
    with pytest.raises(NotTrainableError, match="10 users have a closed label"):
        honest_split("churn", frame, halves(200), "label", SETTINGS)


one_class = pytest.mark.parametrize(
    ("part", "label"), [("training", [0] * 60 + [0, 1] * 30), ("test", [0, 1] * 30 + [1] * 60), ("fold", [0] * 120)]
)


@one_class
def test_where_time_cannot_part_the_rows_users_alone_do(part, label):
    frame, split = training_frame(60, label), halves(120)
    if part == "fold":
        frame.loc[frame.index[:90:7], "label"] = 1
        split = Split(np.ones(120, bool), np.zeros(120, bool), np.zeros(120, int))  # no test row at all
    found = honest_split("churn", frame, split, "label", SETTINGS)
    assert not found.is_out_of_time
    assert found.train.all()
    assert found.test.all()
    assert frame.groupby("user_id")["label"].size().eq(2).all()
    assert pd.Series(found.fold).groupby(frame["user_id"]).nunique().eq(1).all()


def test_one_class_only_is_refused_and_the_part_is_named():
    with pytest.raises(NotTrainableError, match="churn model has one class only: label = 0 for all 120 training rows"):
        honest_split("churn", training_frame(60, [0] * 120), halves(120), "label", SETTINGS)


def test_a_class_that_lives_in_one_fold_of_users_is_refused():
    label = [int(number == 2) for number in range(120)]  # one leaver
    with pytest.raises(NotTrainableError, match=r"label = 0 for all \d+ training \(fold \d left out\) rows"):
        honest_split("churn", training_frame(60, label), halves(120), "label", SETTINGS)


def test_out_of_users_alone_no_row_is_predicted_or_calibrated_by_its_own_user():
    frame = outcomes(150, np.random.default_rng(5), snapshots=1)
    split = out_of_user(frame["user_id"], 3)

    def fit(rows: pd.DataFrame) -> Estimator:
        return fit_linear(rows, "is_churned", ["days_since_last_activity", "active_days_count_90d"])

    scores, _ = cross_fit(frame, split, "is_churned", fit)
    label, raw = frame["is_churned"].to_numpy(float), np.zeros(len(frame))
    for fold in split.folds:
        raw[split.fold == fold] = fit(frame[split.fold != fold]).raw_score(frame[split.fold == fold])
    for fold in split.folds:
        own = split.fold == fold
        scale = calibrated(fit(frame), raw[~own], label[~own])
        assert scores[own] == pytest.approx(inverse_link("logit", scale.slope * raw[own] + scale.intercept))


def test_a_column_that_is_infinite_stops_the_training_by_name():
    frame = outcomes(60, np.random.default_rng(0), snapshots=1)
    frame.loc[3, "trait_plan_plus"] = -np.inf
    with pytest.raises(InputError, match="column 'trait_plan_plus' is infinite in 1 of 60 rows"):
        usable_columns(frame, FEATURES, ("traits",), np.ones(len(frame), bool))


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_a_metric_that_is_no_number_stops_the_training_by_name():
    label = np.zeros(60)
    with pytest.raises(InputError, match=r"churn\.auc is no finite number"):
        score_all({"churn.auc": (auc, label)}, label, pd.Series(range(60)).astype(str), SETTINGS, rng())


def test_columns_of_the_asked_views_that_vary_are_used_in_catalogue_order():
    frame = outcomes(60, np.random.default_rng(0), snapshots=1).assign(tenure_days=3.0)
    train = np.arange(len(frame)) < 30
    used = usable_columns(frame, FEATURES, ("behaviour", "traits"), train)
    assert used == [feature.name for feature in FEATURES if feature.name in used]
    assert {"days_since_last_activity", "trait_plan"} <= set(used)
    assert not {"tenure_days", "favourite_hour_90d", "treatments_count_90d", "user_id", "p_true"} & set(used)


def test_a_column_that_varies_after_the_cut_only_is_not_used():
    frame = pd.DataFrame({"tenure_days": [1.0, 1.0, 2.0], "spend_sum_28d": [1.0, 2.0, 2.0]})
    used = usable_columns(frame, FEATURES, ("behaviour",), np.array([True, True, False]))
    assert used == ["spend_sum_28d"]
    assert varied(frame, ("tenure_days", "spend_sum_28d")) == ["tenure_days", "spend_sum_28d"]


def test_a_model_that_memorises_users_gains_nothing_in_the_test():
    draws = np.random.default_rng(5)
    users = np.repeat(np.arange(80.0), 6)
    habit = draws.integers(0, 2, 80)[users.astype(int)]  # each user always does the same; nothing else tells
    frame = pd.DataFrame({"user_id": users.astype(int).astype(str), "number": users, "label": habit})
    late = np.tile(np.arange(6) >= 4, 80)
    split = Split(~late, late, users.astype(int) % 4)

    def by_number(rows: pd.DataFrame):
        settings = small_settings(training={"min_leaf_rows": 2, "leaves": 60})
        return fit_lightgbm(rows, "label", ["number"], settings)

    known = by_number(frame[~late]).raw_score(frame[late])
    honest, _ = cross_fit(frame, split, "label", by_number)
    label = frame.loc[late, "label"].to_numpy(float)
    assert auc(label, known, np.ones(len(label))) > 0.9  # out of time alone is fooled
    assert auc(label, honest, np.ones(len(label))) < 0.7


def test_cross_fitted_scores_are_calibrated_on_rows_the_model_did_not_see():
    frame = outcomes(500, np.random.default_rng(6), snapshots=4)
    days = sorted(frame["day"].unique())
    early = frame["day"].isin(days[:2]).to_numpy()
    fold = frame["user_id"].str[1:].astype(int).to_numpy() % 3

    def overfitted(rows: pd.DataFrame):
        return fit_lightgbm(
            rows,
            "is_churned",
            ["spend_sum_28d", "days_since_last_activity"],
            small_settings(training={"trees": 120, "min_leaf_rows": 2, "leaves": 31}),
        )

    scores, calibrate = cross_fit(frame, Split(early, ~early, fold), "is_churned", overfitted)
    label = frame.loc[~early, "is_churned"].to_numpy(float)
    model = overfitted(frame[early])
    assert calibrate(model).slope < 0.5  # too sure of itself by far
    raw, calm = (
        expected_calibration_error(label, p, np.ones(len(label))) for p in (model.predict(frame[~early]), scores)
    )
    assert calm < raw / 2
    assert calm < 0.06


def test_a_candidate_is_fitted_on_everything_and_tested_as_if_it_were_not():
    frame = outcomes(120, np.random.default_rng(7), snapshots=2)
    split = Split(np.arange(240) < 120, np.arange(240) >= 120, np.tile(np.arange(120) % 3, 2))
    fitted: list[int] = []

    def simple(rows: pd.DataFrame):
        fitted.append(len(rows))
        return fit_linear(rows, "is_churned", ["spend_sum_28d"])

    found = train_candidates(frame, split, "is_churned", {"simple": simple}, np.ones(240, bool))
    assert fitted == [80, 80, 80, 240]
    assert found["simple"].test_score.shape == (120,)


@pytest.mark.parametrize("is_out_of_time", [True, False])
def test_the_models_of_the_folds_predict_the_test_rows_again(is_out_of_time: bool) -> None:
    frame = outcomes(120, np.random.default_rng(7), snapshots=2)
    late = frame["day"] == frame["day"].max()
    split = out_of_user(frame["user_id"], 3)
    if is_out_of_time:
        split = Split(~late.to_numpy(), late.to_numpy(), split.fold)
    fits = {
        "linear": lambda rows: fit_linear(rows, "is_churned", ["spend_sum_28d"]),
        "trees": lambda rows: fit_lightgbm(rows, "is_churned", ["spend_sum_28d", "trait_plan"], SETTINGS),
    }
    for found in train_candidates(frame, split, "is_churned", fits, np.ones(240, bool)).values():
        assert (scores_of_others(found.by_fold, 3, frame[split.test]) == found.test_score).all()


def test_draws_depend_on_the_seed_and_the_subject_alone():
    def draw(subject: str, seed: int = 1) -> float:
        return float(generator(small_settings(seed=seed), subject).random())

    assert draw("churn") == draw("churn")
    assert len({draw("churn"), draw("value"), draw("churn", 2)}) == 3


def test_several_measures_are_named_after_their_keys():
    label, users = np.array([0.0, 1.0] * 20), pd.Series(np.arange(40))
    found = score_all({"churn.auc": (auc, label), "churn.auc_other": (auc, 1 - label)}, label, users, SETTINGS, rng())
    assert {name: metric.value for name, metric in found.items()} == {"churn.auc": 1.0, "churn.auc_other": 0.0}


def test_rows_under_a_mask_are_renumbered_and_the_newest_snapshot_is_the_last():
    frame = outcomes(10, np.random.default_rng(0), snapshots=3)
    assert rows_of(frame, np.arange(30) >= 28).index.tolist() == [0, 1]
    assert set(newest(frame)["day"]) == {frame["day"].max()}
