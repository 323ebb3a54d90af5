"""Users who have lapsed: draws of their own within a share of the budget, judged by what came of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from synthetic import AS_OF, behaviour, offer, small_policy, small_settings

from configs.offers import NO_OFFER, NOTHING, Catalogue
from features.storage.lake import Lake
from models.judge.win_back_verdict import win_back_verdicts
from serving.arms.win_back_draws import NOTHING_LEARNT, OpenOptions, WinBackFindings, draw_win_back
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.decide.win_back_evidence import newest_verdicts, verdicts_as_json, win_back_findings
from serving.stored_days.day_tables import day_folder
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.stored_day import read_stored_day

OWN = {"share": 0.5, "budget_share": 0.1, "nothing_share": 0.5, "proven_nothing_share": 0.1}
BACK, BETTER = (offer(name, aim="win_back", discounts=(0.1,), play_id=name) for name in ("back", "better"))
CATALOGUE = Catalogue(offers=(offer("bundle"), BACK, BETTER))
PEOPLE = 3000


def users() -> pd.DataFrame:
    frame = behaviour(PEOPLE, np.random.default_rng(4))
    idle = np.where(np.arange(PEOPLE) % 2, 3.0, 200.0)
    return frame.assign(days_since_last_activity=idle, payment_failures_count_28d=0.0)


def decided(folder, known: WinBackFindings = NOTHING_LEARNT, budget: float = 1e6, days: int = 0) -> pd.DataFrame:
    settings = small_settings(scoring={"budget": budget, "control_share": 0.1}, win_back=OWN)
    policy = replace(small_policy(settings), catalogue=CATALOGUE, win_back=known)
    day = AS_OF + timedelta(days=days)
    decide(policy, Lake(folder), day, LocalExecutor([users]))
    return pq.read_table(day_folder(Lake(folder), day) / "decisions.parquet").to_pandas()


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    folder = tmp_path_factory.mktemp("win_back")
    return folder, decided(folder)


def test_who_has_lapsed_draws_win_back_plays_or_nothing_with_known_chances(day):
    _, rows = day
    has_lapsed = np.arange(PEOPLE) % 2 == 0
    drawn = rows[rows["arm"] == "win_back"]
    assert has_lapsed[drawn.index].all()
    assert len(drawn) == pytest.approx(PEOPLE / 2 * 0.9 * 0.5, rel=0.1)  # not the control group, and half of the rest
    shares = drawn["offer_id"].value_counts(normalize=True)
    assert shares[NO_OFFER] == pytest.approx(0.5, abs=0.06)
    assert shares["back"] == pytest.approx(0.25, abs=0.06)
    assert drawn["propensity"].eq(0.5).all()  # of the offer that the draw is about, and of nothing
    others = rows[has_lapsed & (rows["arm"] != "win_back")]
    assert set(others["arm"]) == {"suppressed"}
    assert {reason["code"] for each in others["why"] for reason in each} == {"no_lot"}
    assert not set(rows.loc[~has_lapsed, "offer_id"]) & {"back", "better"}  # and nobody else gets one
    nothing = drawn.loc[drawn["offer_id"] == NO_OFFER, "why"]
    assert {tuple(reason["code"] for reason in each) for each in nothing} == {("randomised", "nothing_drawn")}


def test_the_draws_keep_to_their_share_of_the_budget(tmp_path, day):
    rows = decided(tmp_path, budget=300.0)
    cost = rows.loc[rows["arm"] == "win_back", "expected_cost"].sum()
    assert 20.0 < cost <= 30.0
    assert rows["expected_cost"].sum() <= 300.0
    few = rows["arm"] == "win_back"
    assert few.sum() < (day[1]["arm"] == "win_back").sum()
    assert (rows.loc[few, "offer_id"] == NO_OFFER).mean() == pytest.approx(0.5, abs=0.15)


def test_who_is_expected_to_bring_most_draws_first_and_ties_are_left_to_chance():
    ids, allowed = pd.Series([f"u{number}" for number in range(400)]), np.ones((400, 1), dtype=bool)
    options = OpenOptions.of(Catalogue(offers=(BACK,)), NOTHING_LEARNT)
    own = small_settings(win_back=OWN | {"share": 1.0}).win_back
    worth = np.repeat([np.nan, 2.0, 1.0, 0.0], 100)
    by_chance, by_worth = (
        draw_win_back(ids, allowed, np.ones((400, 1)), options, own, 5, AS_OF, each) for each in (None, worth)
    )
    assert np.array_equal(by_worth.option, by_chance.option) and np.array_equal(by_worth.chance, by_chance.chance)
    front = np.argsort(by_worth.place)
    assert set(front[:100]) == {*range(100, 200)} and set(front[100:200]) == {*range(200, 300)}
    own_order = [*np.argsort(by_chance.place[100:200]) + 100]
    assert front[:100].tolist() == own_order  # by chance among those alike


def test_what_is_stored_gives_the_same_draws_again(day):
    folder, rows = day
    settings = small_settings(scoring={"budget": 1e6, "control_share": 0.1}, win_back=OWN)
    again = read_stored_day(Lake(folder), DecisionMoment.of_night(AS_OF, settings.time_zone)).assignment(settings)
    assert again.arm.tolist() == rows["arm"].tolist()
    offers = np.array([*(option.offer_id for option in CATALOGUE.options), NO_OFFER], dtype=object)
    assert offers[again.given].tolist() == rows["offer_id"].tolist()


def test_a_stopped_play_is_not_drawn_and_a_proven_one_is_drawn_by_most(tmp_path):
    stopped = decided(tmp_path, WinBackFindings(stopped=frozenset({"back"})))
    assert set(stopped.loc[stopped["arm"] == "win_back", "offer_id"]) == {NO_OFFER, "better"}
    proven = decided(tmp_path, WinBackFindings(proven=frozenset({"back"})), days=1)
    drawn = proven.loc[proven["arm"] == "win_back", "offer_id"].value_counts(normalize=True)
    assert drawn["back"] == pytest.approx(0.9, abs=0.05)
    assert set(drawn.index) == {NO_OFFER, "back"}
    over = decided(tmp_path, WinBackFindings(stopped=frozenset({"back", "better"})), days=2)
    assert "win_back" not in set(over["arm"])


def closed_draws(effect: float, count: int, seed: int) -> pd.DataFrame:
    """Draws of two kinds of days, whose users differ as much as the chances: only weights make the groups alike."""
    rng = np.random.default_rng(seed)
    is_rich = rng.random(count) < 0.5
    chance = np.where(is_rich, 0.8, 0.2)
    is_given = rng.random(count) < chance
    margin = 5.0 * is_rich + effect * is_given + rng.normal(0, 2, count)
    return pd.DataFrame(
        {"offer_id": np.where(is_given, "back", NO_OFFER), "intended_offer_id": "back",
         "propensity": np.where(is_given, chance, 1 - chance),
         "margin": margin, "is_retained": (margin > 2).astype(int)}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "count", "state"),
    [(1.0, 4000, "proven"), (-1.0, 4000, "stopped"), (0.0, 1000, "learning"), (-0.1, 9000, "stopped"),
     (1.0, 150, "learning")],
)  # fmt: skip
def test_a_play_that_earns_is_proven_and_one_that_does_not_is_stopped(effect, count, state):
    (found,) = win_back_verdicts(closed_draws(effect, count, 3), min_draws=100, most_draws=3000)
    assert found.state == state
    assert found.effect.low < effect < found.effect.high
    if count > 1000:
        assert found.effect.value == pytest.approx(effect, abs=0.25)  # the plain difference is off by 3


def test_a_play_is_compared_with_those_alone_who_might_have_got_it():
    rich = closed_draws(1.0, 4000, 3).assign(intended_offer_id="rich")
    rich["margin"] += 50.0
    rows = pd.concat([closed_draws(-1.0, 4000, 4), rich.assign(offer_id=rich["offer_id"].replace("back", "rich"))])
    found = win_back_verdicts(rows, min_draws=100, most_draws=3000)
    assert [(each.offer_id, each.state) for each in found] == [("back", "stopped"), ("rich", "proven")]


def test_a_draw_is_about_an_option_that_the_user_may_get():
    allowed = np.array([[False, True, False], [False, True, True], [False, False, False]]).repeat(500, axis=0)
    ids, cost = pd.Series(np.arange(1500).astype(str)), np.ones((1500, 3))
    options = OpenOptions.of(Catalogue(offers=(offer("a", discounts=(0.1,)), BACK, BETTER)), NOTHING_LEARNT)
    found = draw_win_back(ids, allowed, cost, options, small_settings(win_back=OWN).win_back, 3, AS_OF)
    draws = np.isfinite(found.place)
    assert not draws[1000:].any()
    assert set(found.meant[:500][draws[:500]]) == {1}
    assert set(found.meant[500:1000][draws[500:1000]]) == {1, 2}
    for part in (slice(0, 500), slice(500, 1000)):  # half of them get it, however many they may get
        assert (found.option[part][draws[part]] != NOTHING).mean() == pytest.approx(0.5, abs=0.1)
    assert ((found.option == NOTHING) | (found.option == found.meant)).all()


def test_verdicts_are_kept_and_read_by_the_next_decisions(tmp_path):
    lake, found = Lake(tmp_path), win_back_verdicts(closed_draws(-1.0, 4000, 3), min_draws=100, most_draws=3000)
    assert win_back_findings(lake, AS_OF) == NOTHING_LEARNT
    lake.files.publish_file(f"measurements/day={AS_OF}/win_back.json", verdicts_as_json(AS_OF, found).encode())
    assert [(each.offer_id, each.state) for each in newest_verdicts(lake, AS_OF)] == [("back", "stopped")]
    assert win_back_findings(lake, AS_OF).stopped == {"back"}
    assert win_back_findings(lake, AS_OF - timedelta(days=1)) == NOTHING_LEARNT
    assert "stopped, as it does not earn what it costs" in found[0].words
