"""Promises beside what came of them: by hand, as evidence comes in, and what a day's plan then promises."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from features.storage.lake import Lake
from features.storage.whole_writes import write_text
from models.measurement.promise_ratio import ALL
from models.measurement.promises import Comparison, compare_groups, promise_ratio, promise_ratios
from serving.decide.promise_ratios import FILE, NOTHING_KEPT, newest_ratios, promised_sum, ratios_as_json
from serving.stored_days.measurements import MEASUREMENTS


def groups(users: int, *, effect: float, promised: float, seed: int = 5) -> pd.DataFrame:
    """Users given something or nothing at random, who bring `effect` more and were promised to bring `promised`."""
    rng = np.random.default_rng(seed)
    given, before = rng.random(users) < 0.8, rng.gamma(2.0, 5.0, users)
    return pd.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(users)],
            "is_given": given,
            "weight": np.where(given, 1 / 0.8, 1 / 0.2),
            "realised": before + effect * given + rng.normal(size=users),
            "promised": np.where(given, promised, 0.0),
            "before": before,
        }
    )


def test_the_ratio_is_the_precision_weighted_mean_of_prior_and_evidence_by_hand():
    found = promise_ratio(ALL, [Comparison(2.0, 1.0, 1.0, 800, 100), Comparison(2.0, 1.4, 0.5, 90, 60)])
    # precisions: prior 1 / 0.5**2 = 4, (2 / 1)**2 = 4, (2 / 0.5)**2 = 16; ratios 1, 0.5 and 0.7
    assert found.ratio.value == pytest.approx((4 * 1 + 4 * 0.5 + 16 * 0.7) / 24)
    assert (found.ratio.high - found.ratio.low) / 2 == pytest.approx(1.96 / np.sqrt(24), rel=1e-3)
    assert (found.promised, found.shown.value) == (2.0, pytest.approx((1.0 + 4 * 1.4) / 5))
    assert found.ratio.n == 1050


def test_without_evidence_there_is_no_ratio_and_no_promise_is_touched():
    assert promise_ratio(ALL, []) is None
    assert promise_ratios({}) == []
    assert promised_sum(NOTHING_KEPT, [("mail", 10.0, 4)]).value == 10.0


def test_a_play_leans_on_everything_until_it_has_evidence_of_its_own():
    whole = [Comparison(1.0, 0.5, 0.02, 5000, 500)]
    vague, sure = [Comparison(1.0, 1.0, 5.0, 60, 40)], [Comparison(1.0, 0.9, 0.01, 4000, 400)]
    found = {each.subject: each.ratio.value for each in promise_ratios({ALL: whole, "push": vague, "mail": sure})}
    assert found["push"] == pytest.approx(found[ALL], abs=0.01)
    assert found["mail"] == pytest.approx(0.9, abs=0.01)


def test_groups_are_compared_free_of_what_was_known_before():
    frame = groups(4000, effect=1.0, promised=2.0)
    plain, freed = compare_groups(frame, []), compare_groups(frame, ["before"])
    assert freed.error < 0.25 * plain.error
    assert abs(freed.shown - 1.0) < 3 * freed.error
    assert freed.promised == 2.0
    assert promise_ratio(ALL, [freed]).ratio.value == pytest.approx(0.5, abs=0.05)


def test_rows_of_one_user_are_one_voice():
    frame = groups(1000, effect=1.0, promised=2.0)
    once, again = compare_groups(frame, []), compare_groups(pd.concat([frame] * 3), [])
    assert again.error == pytest.approx(once.error, rel=1e-6)


def test_too_few_users_are_no_comparison():
    assert compare_groups(groups(60, effect=1.0, promised=2.0), []) is None


def test_the_error_covers_the_truth_as_often_as_it_says():
    found = [compare_groups(groups(400, effect=0.5, promised=1.0, seed=seed), ["before"]) for seed in range(100)]
    assert np.mean([abs(each.shown - 0.5) < 1.96 * each.error for each in found]) > 0.88


def test_a_plan_promises_each_play_by_its_ratio_as_measured_last(tmp_path):
    lake = Lake(tmp_path)
    assert newest_ratios(lake, date(2024, 5, 1)) == NOTHING_KEPT
    ratios = promise_ratios(
        {ALL: [Comparison(1.0, 0.5, 0.001, 900, 90)], "mail": [Comparison(1.0, 0.8, 0.001, 90, 40)]}
    )
    with lake.whole_folder(MEASUREMENTS, "day=2024-04-01") as folder:
        write_text(folder / FILE, ratios_as_json(date(2024, 4, 1), ratios))
    assert newest_ratios(lake, date(2024, 3, 31)) == NOTHING_KEPT
    kept = newest_ratios(lake, date(2024, 5, 1))
    total = promised_sum(kept, [("mail", 100.0, 7), ("push", 10.0, 3)])
    assert total.value == pytest.approx(100 * 0.8 + 10 * 0.5, abs=0.1)
    assert total.low < total.value < total.high
    assert "plans brought 50%" in kept.words
