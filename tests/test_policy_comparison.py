"""Policies beside each other on randomised treatments: values by hand, the truth of a world, and what is doubtful."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from configs.offers import Option
from configs.settings import load_settings
from models.policy_value.logged_treatments import LoggedTreatments, logged_treatments
from models.policy_value.policy_comparison import NamedPolicy, best_option, compare_policies, constants
from models.policy_value.policy_verdict import CONSTANT, Deployed
from serving.policy_evaluation import named_policies
from serving.policy_evaluation.evaluated_treatments import EvaluatedTreatments
from serving.policy_evaluation.own_policies import rule_policy
from serving.policy_evaluation.policy_evaluation import table_of

SETTINGS = load_settings(training={"min_leaf_rows": 20})
MAIL, PUSH = Option("mail", 0.0), Option("push", 0.1)


def treatments_of(users: int, *, seed: int = 1, effect: float = 2.0, said: float | None = None) -> LoggedTreatments:
    """A world: mail brings `effect` to who is keen (x > 0) and takes as much from all others; push does nothing."""
    rng = np.random.default_rng(seed)
    keen, drawn = rng.normal(size=users), rng.integers(0, 3, users)
    outcome = 5.0 + keen + np.where(drawn == 1, np.where(keen > 0, effect, -effect), 0.0) + rng.normal(size=users)
    frame = pd.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(users)],
            "day": "2024-01-01",
            "offer_id": np.array(["none", "mail", "push"])[drawn],
            "discount": np.where(drawn == 2, 0.1, 0.0),
            "propensity": said or 1 / 3,
            "outcome": outcome,
            "cost": np.where(drawn == 0, 0.0, 0.25),
            "keen": keen,
        }
    )
    return logged_treatments(frame, [MAIL, PUSH], ["keen"], SETTINGS)


@pytest.fixture(scope="module")
def treatments() -> LoggedTreatments:
    return treatments_of(3000)


def test_treatments_are_read_with_the_cost_of_the_contact_paid_and_options_in_the_order_of_the_catalogue(treatments):
    frame = treatments.frame
    assert treatments.options == (MAIL, PUSH)
    assert (
        treatments.logged.action.tolist()[:50] == frame["offer_id"].map({"none": 0, "mail": 1, "push": 2}).tolist()[:50]
    )
    np.testing.assert_allclose(treatments.logged.outcome, frame["outcome"] - frame["cost"])
    assert treatments.had_chance.all()


def test_ips_and_snips_are_the_weighted_means_by_hand(treatments):
    (mail,) = compare_policies(treatments, [constants(treatments)[1]]).policies
    of_mail = treatments.logged.outcome[treatments.logged.action == 1]
    assert mail.values["ips"].value == pytest.approx(3 * of_mail.sum() / len(treatments.frame))
    assert mail.values["snips"].value == pytest.approx(of_mail.mean())
    assert mail.values["ips"].effective_sample_size == pytest.approx(len(of_mail))
    assert (mail.given, mail.unseen) == (1.0, 0.0)


def test_every_estimator_finds_the_truth_and_the_doubly_robust_one_is_the_narrowest(treatments):
    keen = treatments.frame["keen"].to_numpy() > 0
    personal = NamedPolicy("personal", np.where(keen, 1, 0))
    (found,) = compare_policies(treatments, [personal]).policies
    truth = 5.0 + 0.5 * (2.0 - 0.25)  # half of the users are keen
    for value in found.values.values():
        assert value.low < truth < value.high
    widths = {kind: value.high - value.low for kind, value in found.values.items()}
    assert widths["doubly_robust"] < widths["snips"] < widths["ips"]
    assert found.over_nobody["doubly_robust"].low > 0.5
    assert found.over_best["doubly_robust"].low > 0.5


def test_a_policy_is_worth_nothing_more_than_itself(treatments):
    nobody, *_ = constants(treatments)
    found = compare_policies(treatments, [nobody])
    assert found.best == "nobody"  # mail keeps as many as it drives away, and costs
    assert found.policies[0].over_best["ips"].value == found.policies[0].over_best["ips"].high == 0.0


def test_the_best_constant_is_the_best_of_the_rows_asked(treatments):
    keen = treatments.frame["keen"].to_numpy() > 0
    assert (best_option(treatments, keen), best_option(treatments, ~keen)) == (1, 0)


def test_where_a_rule_does_not_know_its_column_is_said_as_it_counts_as_zero(treatments):
    keen = treatments.frame["keen"].to_numpy()
    partly = replace(treatments, frame=treatments.frame.assign(keen=np.where(np.arange(len(keen)) < 10, np.nan, keen)))
    assert rule_policy(treatments, "keen <= 0: mail").note == ""
    found = rule_policy(partly, "keen <= 0: mail")
    assert found.choice[:10].tolist() == [1] * 10
    assert found.note.startswith("keen is not known in 10 of 3,000 rows, where it counts as 0, as it does when winback")


def test_what_nobody_could_draw_counts_as_nothing_and_is_said():
    treatments = treatments_of(600)
    late = treatments.frame.assign(day=np.where(np.arange(600) < 300, "2024-01-01", "2024-01-02"))
    late = late[(late["day"] == "2024-01-01") | (late["offer_id"] != "push")].reset_index(drop=True)
    treatments = logged_treatments(late, [MAIL, PUSH], ["keen"], SETTINGS)
    found = compare_policies(treatments, [constants(treatments)[2]])
    (push,) = found.policies
    assert push.unseen == pytest.approx((late["day"] == "2024-01-02").mean())
    assert push.given == pytest.approx(1 - push.unseen)
    assert any(warning.startswith("push wants for") for warning in found.warnings)


def test_chances_that_do_not_fit_what_was_drawn_are_said():
    wrong = compare_policies(treatments_of(2000, said=0.25), [])
    assert any("was drawn" in warning for warning in wrong.warnings)
    assert not compare_policies(treatments_of(2000), []).warnings


def test_too_few_users_are_no_number():
    treatments = treatments_of(70)
    (mail,) = compare_policies(treatments, [constants(treatments)[1]]).policies
    assert not mail.values["ips"].is_known


def test_several_rows_of_one_user_are_one_voice(treatments):
    frame = pd.concat([treatments.frame] * 4, ignore_index=True)
    (once,) = compare_policies(treatments, [constants(treatments)[1]]).policies
    everybody = NamedPolicy("mail", np.ones(len(frame), dtype=np.intp))
    (again,) = compare_policies(logged_treatments(frame, [MAIL, PUSH], [], SETTINGS), [everybody]).policies
    widths = [each.values["ips"].high - each.values["ips"].low for each in (once, again)]
    assert widths[1] == pytest.approx(widths[0], rel=0.01)


def drawn_with(offers: list[str], propensity: np.ndarray | float, **columns: object) -> pd.DataFrame:
    """Logged treatments of a day, a row for each user, whose outcomes are of seven kinds."""
    own = {"discount": 0.0, "cost": 0.0, "outcome": np.arange(len(offers)) % 7, **columns}
    frame = pd.DataFrame({"user_id": np.arange(len(offers)).astype(str), "day": "2024-01-01", "offer_id": offers})
    return frame.assign(propensity=propensity, **own)


@pytest.mark.parametrize(("users", "chance", "is_told"), [(500, 0.5, False), (1500, 0.04, True)])
def test_few_effective_users_are_told_where_what_a_policy_gives_was_seldom_drawn(users, chance, is_told):
    mailed = np.random.default_rng(2).random(users) < chance
    frame = drawn_with(np.where(mailed, "mail", "none").tolist(), np.where(mailed, chance, 1 - chance))
    treatments = logged_treatments(frame, [MAIL], [], SETTINGS)
    found = compare_policies(treatments, constants(treatments))
    assert found.policies[1].values["ips"].effective_sample_size < 300
    assert [word.startswith("mail rests on") for word in found.warnings] == [True] * is_told


def test_where_all_outcomes_agree_that_is_the_reason():
    same = logged_treatments(drawn_with(["none", "mail"] * 200, 0.5, outcome=5.0), [MAIL], [], SETTINGS)
    found = compare_policies(same, constants(same))
    assert [row["DR"] for row in table_of(found)] == ["outcomes equal"] * 2


def test_levels_that_differ_read_differently():
    levels = [Option("a", level) for level in (0.121, 0.124, 0.003)]
    frame = drawn_with(["none", "a", "a", "a"] * 150, 0.25, discount=[0.0, 0.121, 0.124, 0.003] * 150)
    names = [each.name for each in constants(logged_treatments(frame, levels, [], SETTINGS))]
    assert names == ["nobody", "a at 12.1%", "a at 12.4%", "a at 0.3%"]
    assert str(Deployed(CONSTANT, levels[0])) == "a at 12.1% for everybody"


class _Risk:
    """A churn model of which everybody's risk is a place."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return np.arange(len(frame)) / len(frame)


@pytest.mark.parametrize(("effect", "is_given"), [(3.0, True), (-3.0, False)])
def test_top_risk_says_where_giving_nothing_is_best_for_them(monkeypatch: pytest.MonkeyPatch, effect, is_given):
    monkeypatch.setattr(named_policies, "load_if_any", lambda *_: SimpleNamespace(estimator=_Risk()))
    monkeypatch.setattr(named_policies, "load_response", lambda _: None)
    frame = drawn_with(["none", "mail"] * 400, 0.5)
    frame["outcome"] = frame["outcome"] + effect * (frame["offer_id"] == "mail")
    evaluated = EvaluatedTreatments(logged_treatments(frame, [MAIL], [], SETTINGS), (), "holdout", True, None)
    top = next(each for each in named_policies.standard_policies(SETTINGS, None, evaluated) if each.name == "top risk")
    assert (top.choice.sum() > 0) == is_given
    assert top.note.endswith("for whom giving nothing is worth most: as nobody") != is_given
