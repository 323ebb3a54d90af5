"""The closed loop: one budget, one world, the same chances for every policy, and sums that agree with the events."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from click.testing import Result
from typer.testing import CliRunner

from configs.offers import NOTHING, load_catalogue
from configs.settings import load_settings
from features.materialise.build_daily import build_aggregates
from features.simulator.population import RENEWAL
from features.simulator.simulated_day import World
from features.simulator.simulated_events import events_of
from features.simulator.simulator_run import new_world
from features.simulator.world_request import begin_world
from features.storage.lake import Lake
from flows.cli import app
from models.metrics.metric import Metric
from serving.closed_loop_study.policy_weeks import NOBODY, ORACLE, OURS, Career, Week, follow, given_to
from serving.closed_loop_study.rival_policies import AT_RISK, CONSTANT, EVERYBODY, RIVALS, oracle, rival
from serving.closed_loop_study.study_summary import loop_metrics, loop_notes
from serving.closed_loop_study.winback_policy import live_ours
from serving.offer_measurement.closed_variants import experiment_results

SETTINGS = load_settings("simulated", Path("nowhere"))
GROSS_MARGIN = SETTINGS.value.gross_margin


@pytest.fixture(scope="module")
def world() -> World:
    """Morning of 3,000 users after seven weeks."""
    world = new_world(SETTINGS, load_catalogue("simulated"), 3000, days=60)
    for _ in range(49):
        world, _ = world.live()
    return world


def simulate(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["simulate", "--closed-loop", "--data-dir", str(folder), *words])


def nobody(world: World, _: object) -> object:
    return given_to(world, np.zeros(0, dtype=np.intp), 0)


def first_offer(world: World, _: object) -> object:
    return given_to(world, np.flatnonzero(world.is_member), 1)


def test_sums_of_a_week_are_those_of_its_events(world):
    events = []
    career = follow("x", world, 1, first_offer, SETTINGS, lambda morning, day: events.append(events_of(morning, day)))
    (week,) = career.weeks
    paid = discounts = renewals = 0.0
    for table in events:
        bought = table.filter(pc.equal(table["event_name"], "purchase"))
        used = table.filter(pc.equal(table["event_name"], "offer_redeem"))
        paid += pc.sum(bought["amount"]).as_py()
        discounts += pc.sum(used["discount"]).as_py() or 0.0
        renewals += RENEWAL * pc.sum(pc.equal(table["event_name"], "app_store_subscription_renew")).as_py()
    assert discounts > 100
    assert week.discounts == pytest.approx(discounts, rel=1e-3)  # events are rounded to cents
    # an offer's discount is charged by itself: margin is what it was before
    assert week.margin == pytest.approx(GROSS_MARGIN * (paid + discounts + renewals), rel=1e-3)
    assert week.treated == np.count_nonzero(world.is_member & world.state.reachable)
    assert week.contacts == pytest.approx(week.treated * world.menu.contact_cost[1])
    assert week.earned == pytest.approx(week.margin - week.discounts - week.contacts)


def test_the_same_decisions_have_the_same_outcome(world):
    assert follow("x", world, 2, nobody, SETTINGS) == follow("x", world, 2, nobody, SETTINGS)


def test_churn_counts_the_members_of_the_first_morning(world):
    career = follow("x", world, 2, nobody, SETTINGS)
    after = world
    for _ in range(14):
        after, _ = after.live()
    gone = world.is_member & ~after.state.here
    assert career.churn == pytest.approx(gone.sum() / world.is_member.sum())
    assert 0 < career.churn < 1


@pytest.mark.parametrize("name", RIVALS)
def test_no_rival_spends_more_than_the_budget_nor_on_strangers(world, name):
    truth = world.expected(SETTINGS)
    given = rival(name, 100.0)(world, truth)
    rows = np.flatnonzero(given.option != NOTHING)
    cost = truth.cost[rows, given.option[rows]].sum()
    assert len(rows) > 20
    assert world.is_member[rows].all()
    assert 90.0 < cost <= 100.0 + 1e-9 or len(rows) == world.is_member.sum()


def test_the_oracle_expects_more_than_every_rival(world):
    truth = world.expected(SETTINGS)

    def expected(given) -> float:
        rows = np.flatnonzero(given.option != NOTHING)
        return float(truth.value[rows, given.option[rows]].sum())

    best = oracle(world, truth, 100.0)
    rows = np.flatnonzero(best.option != NOTHING)
    assert truth.cost[rows, best.option[rows]].sum() <= 100.0 * (1 + 1e-9)
    assert all(expected(best) > expected(rival(name, 100.0)(world, truth)) for name in RIVALS)


def test_rivals_order_users_by_what_their_name_says(world):
    truth = world.expected(SETTINGS)
    at_risk = rival(AT_RISK, 60.0)(world, truth).option != NOTHING
    left_out = world.is_member & ~at_risk
    assert truth.stays[at_risk].max() <= truth.stays[left_out].min()
    top = rival(EVERYBODY, 60.0)(world, truth).option
    assert set(world.menu.discount[top[top != NOTHING]]) == {world.menu.discount.max()}
    constant = rival(CONSTANT, 60.0)(world, truth).option
    assert len(set(constant[constant != NOTHING])) == 1


def test_metrics_by_hand():
    week = Week(margin=100.0, discounts=0.0, contacts=0.0, treated=0, left_over=50.0, here=0.8)
    careers = [
        Career(NOBODY, (week, week)),
        Career(ORACLE, (week, replace(week, margin=140.0, discounts=15.0, contacts=5.0, here=0.9))),
        Career(OURS, (week, replace(week, left_over=65.0, here=0.84)), ("constant", "constant")),
    ]
    found = loop_metrics(careers, 10)
    assert found["oracle.gain"] == Metric.exact(20.0, 10)
    assert found["winback.gain"].value == pytest.approx(15.0)
    assert found["winback.share_of_oracle"].value == pytest.approx(0.75)
    assert found["winback.churn"].value == pytest.approx(0.16)
    assert found["winback.churn_change"].value == pytest.approx(-0.2)
    assert "week 1: constant" in loop_notes(careers)[0]


def test_how_personal_a_policy_was_is_told_beside_the_oracle():
    def week(*given: int) -> Week:
        return Week(0.0, 0.0, 0.0, sum(given), 0.0, 1.0, given)

    careers = [
        Career(NOBODY, (week(0, 0, 0), week(0, 0, 0))),
        Career(ORACLE, (week(40, 10, 0), week(0, 40, 10))),
        Career(OURS, (week(90, 4, 0), week(0, 6, 0)), ("constant", "constant")),
    ]
    found = loop_metrics(careers, 100)
    assert found["oracle.personalisation"].value == pytest.approx(1 - 0.4**2 - 0.5**2 - 0.1**2)
    assert found["winback.personalisation"].value == pytest.approx(1 - 0.9**2 - 0.1**2)
    assert (found["oracle.common_pairs"].value, found["winback.common_pairs"].value) == (3, 2)
    assert found["nobody.personalisation"].value == 0
    assert "oracle 0.58 (3 pairs) · winback 0.18 (2 pairs)" in loop_notes(careers)[1]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--weeks", "0"], "greater than or equal to 1"),
        (["--random-weeks", "0"], "1 of randomised offers"),
        (["--variant-effect", "-2"], "greater than or equal to -1"),
        (["--variant-effect", "0.5", "--profile", "simulated,plays"], "'starter' has no experiment"),
    ],
)
def test_a_loop_that_cannot_be_is_refused(tmp_path, more, sentence):
    result = simulate(tmp_path / "app", "--users", "50", *more)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (tmp_path / "app" / "events").exists()


def test_variants_have_an_effect_only_where_winback_decides(tmp_path):
    result = CliRunner().invoke(app, ["simulate", "--data-dir", str(tmp_path / "app"), "--variant-effect", "0.5"])
    assert (result.exit_code, (tmp_path / "app").exists()) == (2, False)
    assert "add --closed-loop" in result.stderr


@pytest.mark.full
def test_a_subject_that_is_noticed_less_loses_its_experiment(tmp_path):
    settings, lake = load_settings("simulated", tmp_path, seed=3), Lake(tmp_path)
    about = {"users": 3000, "days": 84, "random_weeks": 4, "nothing_share": 0.2, "more_days": 28}
    world = begin_world(settings, lake, **about, variant_effect=-0.9)
    live_ours(settings, lake, world, 4)
    build_aggregates(settings, lake)
    (found,) = experiment_results(settings, lake, world.today + timedelta(days=28))
    assert (found.state, found.winner) == ("won", "as it is")
    assert found.variants[1].effect.high < -0.2


def test_a_small_loop_from_the_command_line(tmp_path, run_notebook, monkeypatch, full):
    monkeypatch.setattr("models.champion_gate.promotion.quality_pictures", lambda *_: {})  # the demo draws them
    (tmp_path / "few.toml").write_text("" if full else "[training]\ntrees = 20\nfolds = 2\n", encoding="utf-8")
    profile = f"simulated,{tmp_path / 'few.toml'}"
    result = simulate(tmp_path / "app", "--users", "1000", "--weeks", "1", "--profile", profile, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    policies = {name.split(".")[0] for name in found["metrics"] if name.endswith(".share_of_oracle")}
    assert policies == {name.replace(" ", "_") for name in (NOBODY, *RIVALS, ORACLE, OURS)}
    assert found["metrics"]["oracle.share_of_oracle"]["value"] == 1.0
    assert found["metrics"]["nobody.gain"]["value"] == 0.0
    weeks = json.loads(Path(found["outputs"]["weeks"]).read_text())
    assert all(len(career) == 1 for career in weeks.values())
    assert weeks["winback"][0]["treated"] > 0  # explorers draw even where the gate allows nothing else
    assert Path(found["outputs"]["picture"]).read_bytes().startswith(b"\x89PNG")
    assert "the gate deployed week 1: " in found["warnings"][0]
    assert any(each.startswith("measured on its own: ") for each in found["warnings"])

    run_notebook("policy_value", tmp_path / "app")
