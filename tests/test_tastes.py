"""Tastes: counts by hand, planted likings found, nothing barred or had already listed, kept as learnt."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from apps import App
from hypothesis import given
from hypothesis import strategies as st
from synthetic import small_settings

from features.arrays.calendar_days import days_since_1970
from features.storage.lake import Lake
from features.training_data.purchases import Purchases, read_purchases
from models.tastes.stored_tastes import latest_tastes, write_tastes
from models.tastes.taste_counts import bought_within, counts_before
from models.tastes.taste_model import best, categories_known, usual_gap
from models.tastes.taste_training import HORIZON, TasteVerdict, fit_logistic, learn_tastes
from serving.preferences.user_tastes import SCHEMA, UserTastes, user_tastes, with_items

AS_OF = date(2024, 7, 1)
TODAY = days_since_1970(AS_OF)
FIRST = TODAY - 200
BARRED = "Red wine"
FOOD = {"bread", "milk", "cheese", "CHEESES", BARRED, *(f"food {letter}" for letter in "abcdefghijklmno")}
SHELF = tuple(sorted({*FOOD, "nails", "screws", "rope", *(f"tool {letter}" for letter in "abcdefghijklmnop")}))
CATEGORIES = small_settings(categories={"names": {"CHEESES": "cheese"}}).categories


def planted(users: int, seed: int, *, is_noise: bool = False) -> Purchases:
    """Cooks buy food and builders tools, each some of it often; noise is bought by anybody."""
    rng = np.random.default_rng(seed)
    is_food = np.array([name in FOOD for name in SHELF])
    likes = np.where((np.arange(users) % 2 == 0)[:, None], is_food, ~is_food)
    weight = np.where(likes, rng.gamma(0.4, 1.0, likes.shape), 0.02) if not is_noise else np.ones(likes.shape)
    chance = 0.008 * weight / weight.mean()
    bought = rng.random((users, 200 + HORIZON, len(SHELF))) < np.clip(chance, 0, 0.5)[:, None]
    user, day, category = np.nonzero(bought)
    return Purchases(user, category, day + FIRST, day + FIRST, SHELF)


@pytest.fixture(scope="module")
def verdict() -> TasteVerdict:
    found = learn_tastes(planted(400, 5), 400, TODAY, FIRST)
    assert found is not None
    return found


def lists_of(verdict: TasteVerdict, found: Purchases, ids: list[str], monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """What is listed for some users, whose purchases these are."""
    monkeypatch.setattr("serving.preferences.user_tastes.read_purchases", lambda *_: found)
    monkeypatch.setattr("serving.preferences.user_tastes.BLOCK", 3)
    tastes = user_tastes(SimpleNamespace(as_of=AS_OF), verdict.model, pd.Series(ids), CATEGORIES, 365, 3)
    return tastes.rows.to_pandas()


def test_planted_likings_are_found_and_beat_the_plain_rules(verdict):
    assert verdict.metrics["tastes.new_gain"].low > 0.05
    assert verdict.metrics["tastes.again_gain"].value > -0.01
    assert verdict.model.new is not None
    assert (verdict.model.again is not None) == (verdict.metrics["tastes.again_gain"].low > 0)
    bread, milk, nails = (SHELF.index(name) for name in ("bread", "milk", "nails"))
    assert verdict.model.alike[bread, milk] > verdict.model.alike[bread, nails]


def test_where_everybody_buys_anything_the_plain_rules_stay():
    found = learn_tastes(planted(150, 6, is_noise=True), 150, TODAY, FIRST)
    assert found is not None
    assert found.model.again is None
    assert found.model.new is None


def test_a_short_history_teaches_nothing():
    assert learn_tastes(planted(20, 7), 20, TODAY, TODAY - 2 * HORIZON) is None


def test_gaps_are_those_between_purchases():
    days = np.array([100, 110, 130, 90]) + FIRST
    found = Purchases(np.zeros(4, np.intp), np.array([0, 0, 0, 1]), days, days, ("bread", "milk"))
    counts = counts_before(found, 1, FIRST + 140)
    assert usual_gap(counts, np.nonzero(counts.has_had)).tolist() == [15.0, 50.0]  # (130 - 100) / 2; once, 50 days ago
    assert (counts.recent.tolist(), counts.visits_quarter.tolist()) == ([[1.0, 0.0]], [[4.0]])
    assert bought_within(found, 1, FIRST + 105, 28).tolist() == [[True, False]]


@given(seed=st.integers(0, 2**16), cut=st.integers(1, 227), late=st.integers(0, 40))
def test_counts_never_see_what_happened_or_was_known_later(seed, cut, late):
    found = planted(6, seed)
    found = found._replace(known_on=found.day + late * (found.day % 3 == 0))
    rows = np.flatnonzero((found.day < FIRST + cut) & (found.known_on < FIRST + cut))
    whole, before = (counts_before(each, 6, FIRST + cut) for each in (found, found.taken(rows)))
    for name in vars(whole):
        assert np.array_equal(getattr(whole, name), getattr(before, name)), name
    assert whole.ever.sum() == len(rows)


def test_what_is_barred_or_had_is_not_new_and_one_name_is_listed_once(verdict, monkeypatch):
    found = planted(40, 8)
    cold = np.flatnonzero((found.user != 7) & (found.day < TODAY))
    rows = lists_of(verdict, found.taken(cold), [f"u{number:02d}" for number in range(40)], monkeypatch)
    assert BARRED not in set(rows["category"])
    assert not rows.duplicated(["user_id", "list", "name"]).any()
    assert not rows.duplicated(["user_id", "name"]).any()  # nothing is both new and bought again
    had = counts_before(found.taken(cold), 40, TODAY).has_had
    user, category = rows["user_id"].str[1:].astype(int), rows["category"].map(SHELF.index)
    assert (had[user, category] == (rows["list"] == "again")).all()
    cheese = had[:, SHELF.index("cheese")] | had[:, SHELF.index("CHEESES")]
    assert not ((rows["list"] == "new") & (rows["name"] == "cheese") & cheese[user]).any()
    assert set(rows.loc[user == 7, "list"]) == {"favourite"}  # who has bought nothing
    assert set(rows["list"]) == {"again", "new", "favourite"}
    assert (
        rows.groupby(["user_id", "list"])["place"]
        .apply(list)
        .map(lambda each: each == [*range(1, len(each) + 1)])
        .all()
    )
    again = rows[rows["list"] == "again"]
    assert (again["days_since_last"] >= 1).all()
    assert rows.loc[rows["list"] != "again", ["days_since_last", "usual_days_between"]].isna().all().all()


def test_items_are_the_users_own_or_what_most_buy_and_none_that_is_gone():
    listed = [("a", "again", "tea"), ("a", "new", "milk"), ("b", "again", "tea"), ("b", "again", "bread")]
    rows = pd.DataFrame(listed, columns=["user_id", "list", "category"]).assign(
        place=1, name="x", item_id=None, days_since_last=1.0, usual_days_between=1.0
    )
    now, old = pd.Timestamp("2024-06-30", tz="UTC"), pd.Timestamp("2024-05-01", tz="UTC")
    names = ["place", "category", "item_id", "bought", "last_at"]
    own = pd.DataFrame(
        [
            (0, "tea", "mint", 2, now),
            (0, "tea", "green", 2, now),
            (1, "tea", "gone", 9, old),
            (1, "tea", "green", 1, now),
        ],
        columns=names,
    )
    everybody = pd.DataFrame([(4, "milk", "oat", 1, now), (5, "milk", "cow", 3, now), (6, "milk", "oat", 3, now)],
                             columns=names)  # fmt: skip
    found = with_items(
        UserTastes(pa.Table.from_pandas(rows[SCHEMA.names], SCHEMA)), pd.Series(["a", "b"]), own, everybody
    )
    assert found.rows["item_id"].to_pylist() == ["green", "oat", "green", None]
    assert found.featured(pd.Series(["b", "stranger", "a"])).item.tolist() == ["green", None, "green"]


def test_blocks_of_users_are_as_all_at_once(verdict, monkeypatch):
    found, ids = planted(9, 9), [f"u{number:02d}" for number in range(9)]
    small = lists_of(verdict, found, ids, monkeypatch)
    monkeypatch.setattr("serving.preferences.user_tastes.BLOCK", 100)
    at_once = user_tastes(SimpleNamespace(as_of=AS_OF), verdict.model, pd.Series(ids), CATEGORIES, 365, 3)
    assert small.equals(at_once.rows.to_pandas())


def test_a_model_is_kept_as_it_was_learnt_and_twice_the_same(verdict, tmp_path):
    lake = Lake(tmp_path)
    assert latest_tastes(lake, AS_OF) is None
    contents = []
    for _ in range(2):
        write_tastes(lake, AS_OF, verdict.model)
        contents.append(lake.partition("tastes", AS_OF).read_bytes())
    assert contents[0] == contents[1]
    kept = latest_tastes(lake, AS_OF)
    counts = counts_before(planted(30, 3), 30, TODAY)
    assert kept is not None
    for name in ("again_scores", "new_scores"):
        assert np.array_equal(getattr(kept, name)(counts), getattr(verdict.model, name)(counts))


def test_the_logistic_is_the_one_that_scikit_learn_finds():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(4)
    x = rng.normal(size=(3000, 3)) * [1.0, 5.0, 0.1] + [0, 2, 1]
    y = rng.random(3000) < 1 / (1 + np.exp(-(x @ [0.5, -0.2, 4.0] - 4)))
    found, theirs = fit_logistic(x, y), LogisticRegression(C=1e4, max_iter=500).fit(x, y)
    assert found.weights == pytest.approx(theirs.coef_[0].tolist(), rel=0.02)


def test_of_equal_scores_the_first_by_name_is_best_and_nothing_fills_up():
    scores = np.array([[1.0, 1.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    assert best(scores, 3).tolist() == [[0, 1, -1], [-1, -1, -1]]
    assert categories_known(("a", "b"), counts_before(planted(4, 1)._replace(categories=SHELF), 4, TODAY)) is not None


def test_purchases_are_read_from_the_daily_rows_as_they_were_known(tiny: App):
    as_of = date(2024, 6, 1)
    with tiny.history(as_of) as history:
        everybody = pd.Series(
            sorted(history.collect(history.category_hour_counts.select("user_id").distinct())["user_id"])
        )
        found = read_purchases(history, everybody, 365)
        some = read_purchases(history, everybody.iloc[:5], 30, found.categories[:1])
    assert len(found.day)
    assert found.day.max() < days_since_1970(as_of)
    assert found.known_on.max() < days_since_1970(as_of)
    assert not pd.DataFrame({"u": found.user, "c": found.category, "d": found.day}).duplicated().all()
    assert set(some.category) <= {0}
    assert some.day.min(initial=days_since_1970(as_of)) >= days_since_1970(as_of) - 30
    assert set(some.user) <= set(range(5))
