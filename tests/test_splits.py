"""Splits: out of time and of users, with a gap as long as the label."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.learn import training
from models.metrics.splits import hash_number, hash_share, out_of_time_and_user

USERS = pd.Series([f"user {number}" for number in range(20_000)])
CUT = pd.Timestamp("2024-03-01", tz="UTC")


def instants(*texts: str) -> pd.Series:
    return pd.Series(pd.to_datetime(texts, utc=True))


def test_shares_are_uniform():
    share = hash_share(USERS, "folds")
    assert share.min() >= 0
    assert share.max() < 1
    counts = np.bincount((share * 10).astype(int), minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9  # chi-square with 9 degrees of freedom, p = 0.001


def test_shares_are_independent_between_salts():
    one, other = hash_share(USERS, "folds"), hash_share(USERS, "global control:1")
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03
    assert abs(((one < 0.1) & (other < 0.1)).mean() - 0.01) < 0.003


def test_a_share_depends_on_the_user_alone():
    whole = hash_share(USERS, "folds")
    shuffled = USERS.sample(frac=1, random_state=1)
    assert (hash_share(shuffled, "folds") == whole[shuffled.index]).all()
    assert hash_share(USERS[5:6], "folds")[0] == whole[5]
    assert (hash_share(USERS.astype("category"), "folds") == whole).all()


def test_hashes_do_not_change_between_versions():
    # control groups and folds must outlive an upgrade
    assert hash_number(pd.Series(["a", "ü"]), "s").tolist() == [6833154334389515921, 13591874505084185980]


def test_hashes_tell_users_apart():
    assert len(set(hash_number(USERS, "folds"))) == len(USERS)


def test_no_training_label_ends_after_the_cut_and_no_test_row_starts_before_it():
    starts = instants("2024-02-01", "2024-02-02", "2024-02-29", "2024-03-01", "2024-03-08")
    ends = starts + pd.Timedelta(days=29)
    split = out_of_time_and_user(USERS[:5], starts, ends, CUT, 5)
    assert split.train.tolist() == [True, False, False, False, False]
    assert split.test.tolist() == [False, False, False, True, True]  # those between are the gap


def test_all_rows_of_a_user_are_in_one_fold():
    users = pd.Series(np.repeat(USERS[:200].to_numpy(), 3))
    starts = pd.Series([CUT] * 600)
    fold = out_of_time_and_user(users, starts, starts, CUT, 5).fold
    assert pd.Series(fold).groupby(users.to_numpy()).nunique().max() == 1
    assert set(fold) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("folds", [2, 5])
def test_a_row_is_predicted_by_a_model_that_saw_neither_its_user_nor_its_time(folds, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user_id": rng.choice(USERS[:80], 600), "label": rng.integers(0, 2, 600)})
    starts = pd.Series(CUT + pd.to_timedelta(rng.integers(-60, 30, 600), unit="D"))
    ends = starts + pd.Timedelta(days=10)
    split = out_of_time_and_user(frame["user_id"], starts, ends, CUT, folds)
    frame["ends"] = ends
    seen = []

    class Spy:
        """Estimator that notes whom it saw."""

        link, slope, intercept = "identity", 1.0, 0.0

        def __init__(self, rows: pd.DataFrame) -> None:
            self.users = set(rows["user_id"])
            assert (rows["ends"] <= CUT).all()

        def raw_score(self, rows: pd.DataFrame) -> np.ndarray:
            seen.append(len(rows))
            assert not self.users & set(rows["user_id"])
            return np.ones(len(rows))

    monkeypatch.setattr(training, "calibrated", lambda estimator, raw_score, label: estimator)
    training.cross_fit(frame, split, "label", Spy)
    assert sum(seen) == (split.train | split.test).sum()
