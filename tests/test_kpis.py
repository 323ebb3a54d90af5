"""Key figures: numbers by hand, and intervals that cover the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.measurement.kpis import LIFETIME_ASSUMES, expected_periods, kpis

SEEDS = range(200)


def figures(rows: list[tuple[str, int, int, float, float]]) -> pd.DataFrame:
    columns = ["user_id", "is_converted", "is_retained", "revenue", "margin"]
    return pd.DataFrame(rows, columns=columns).assign(group="treated")


def test_key_figures_by_hand():
    found = kpis(figures([("a", 1, 1, 10, 4), ("b", 0, 1, 0, 0), ("c", 0, 0, 0, 0), ("d", 0, 0, 6, 4)]), periods=3)
    assert {name: metric.value for name, metric in found.items()} == {
        "treated.conversion_rate": 0.25,
        "treated.retention_rate": 0.5,
        "treated.revenue_per_user": 4.0,
        "treated.margin_per_user": 2.0,
        "treated.lifetime_value": 2.0 * (1 + 0.5 + 0.25),
    }
    assert {metric.n for metric in found.values()} == {4}
    rate = found["treated.conversion_rate"]  # Wilson's interval of 1 in 4
    assert (rate.low, rate.high) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    # the lifetime value by user: 1.75 * margin + 2 * (1 + 2 * 0.5) * (retained - 0.5)
    by_user = np.array([9.0, 2.0, -2.0, 5.0])
    reach = (found["treated.margin_per_user"].high - 2.0) / (np.std([4, 0, 0, 4], ddof=1) / 2)
    assert found["treated.lifetime_value"].high - 3.5 == pytest.approx(reach * by_user.std(ddof=1) / 2)


def test_a_rate_of_nothing_is_not_certain():
    found = kpis(figures([(f"u{k}", 0, 1, 0, 0) for k in range(10)]))
    assert (found["treated.conversion_rate"].low, found["treated.retention_rate"].high) == pytest.approx((0, 1))
    assert found["treated.conversion_rate"].high == pytest.approx(0.2775, abs=1e-4)  # Wilson's 0 in 10
    assert found["treated.retention_rate"].low == pytest.approx(1 - 0.2775, abs=1e-4)
    assert found["treated.lifetime_value"].value == 0.0


def test_days_of_the_same_user_say_little_about_a_rate():
    frame = figures([(f"u{k}", k % 2, 1, 1.0, 1.0) for k in range(40)])
    once, tenfold = kpis(frame), kpis(pd.concat([frame] * 10, ignore_index=True))
    for name, metric in once.items():
        assert (tenfold[name].low, tenfold[name].high) == pytest.approx((metric.low, metric.high))


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_intervals_of_rates_and_lifetime_values_cover_the_truth(share):
    covered = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        kept, bought = rng.random(200) < 0.6, rng.random(200) < share
        found = kpis(figures([(f"u{k}", bought[k], kept[k], 1.0, rng.normal(2, 1)) for k in range(200)]))
        truth = {"conversion_rate": share, "retention_rate": 0.6, "lifetime_value": 2 * expected_periods(0.6, 12)}
        covered.append([found[f"treated.{k}"].low <= v <= found[f"treated.{k}"].high for k, v in truth.items()])
    assert (np.mean(covered, axis=0) >= 0.9).all()


def test_lifetimes_end():
    assert expected_periods(0.5, 60) == pytest.approx(1 / (1 - 0.5))
    assert expected_periods(0.0, 12) == 1.0
    assert "after 12 periods" in LIFETIME_ASSUMES.format(periods=12)


def two_groups(seed: int, users: int = 60, days: int = 2) -> pd.DataFrame:
    """Some days of users half of whom are treated."""
    rng = np.random.default_rng(seed)
    rows = [(f"u{k}", *rng.integers(0, 2, 2), *rng.lognormal(3, 0.5, 2)) for k in np.repeat(range(users), days)]
    frame = figures(rows)
    return frame.assign(group=np.where(frame["user_id"].str[1:].astype(int) % 2, "treated", "control"))


def test_the_order_of_the_rows_has_no_effect_and_the_frame_is_left_alone():
    frame = two_groups(10)
    kept, shuffled = frame.copy(), frame.sample(frac=1, random_state=1)
    assert {k: v.as_dict() for k, v in kpis(frame).items()} == {k: v.as_dict() for k, v in kpis(shuffled).items()}
    pd.testing.assert_frame_equal(frame, kept)


def test_a_group_without_users_has_no_key_figures():
    names = {name.split(".")[0] for name in kpis(two_groups(13))}
    assert names == {"treated", "control"}
    assert kpis(two_groups(13).query("group == 'control'")).keys() == {
        f"control.{kpi}"
        for kpi in ("conversion_rate", "retention_rate", "revenue_per_user", "margin_per_user", "lifetime_value")
    }
