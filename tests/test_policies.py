"""Policies: deciding personally is deployed where held-out treatments prove it, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from synthetic import DRAWN_OPTIONS, FEATURES, WORDS, offer, randomised_treatments, small_settings

from configs.offers import Catalogue
from models.effects.uplift import learn_effects
from models.judge.calibrated_value import Calibrated
from models.judge.policies import judge_policies, personal_choice
from models.judge.simple_policies import cross_chosen, simple_policy
from models.learn.redeemed_spend import RedeemedSpend
from models.metrics.evaluation import Z
from models.policy_value.evidence import Evidence
from models.policy_value.policy_verdict import (
    CONSTANT,
    NOBODY,
    P_REDEEM,
    PERSONAL,
    RANKING,
    RULE,
    Deployed,
    PolicyVerdict,
)
from models.registry.response import gather_evidence
from serving.wording.explanations import policy_reasons
from serving.wording.rendering import stored

SETTINGS = small_settings()
OPTIONS = (("a", 0.1), ("b", 0.2))
POLICIES = [
    Deployed(NOBODY),
    Deployed(PERSONAL),
    Deployed(CONSTANT, ("a", 0.1)),
    Deployed(RULE, ("b", 0.2), "spend_sum_90d", 12.5, is_above=False),
    Deployed(RANKING, ("b", 0.2), P_REDEEM, 0.25),
]


def evidence_of(effect: np.ndarray, *, seed: int = 0, error: float = 0.3) -> Evidence:
    """Evidence on users whom the two options change by `effect` (rows, 2), each drawn as often as nothing."""
    rng, rows = np.random.default_rng(seed), len(effect)
    action = rng.integers(-1, 2, rows)
    usual = rng.normal(10.0, 2.0, rows)
    return Evidence(
        options=OPTIONS,
        action=action,
        propensity=np.full(rows, 1 / 3),
        user_ids=pd.Series([f"u{row}" for row in range(rows)]),
        fold=np.arange(rows) % 3,
        net=usual + np.c_[effect, np.zeros(rows)][np.arange(rows), action] + rng.normal(0, 1.0, rows),
        usual=usual,
        effect=effect + rng.normal(0, error, effect.shape),
        cost=np.full(effect.shape, 0.1),
        p_redeem=rng.random(effect.shape),
        columns=pd.DataFrame({"spend_sum_90d": rng.random(rows), "tenure_days": np.arange(rows, dtype=float)}),
        had_chance=np.ones(effect.shape, dtype=bool),
        is_simple=np.ones(2, dtype=bool),
    )


@pytest.fixture
def four() -> tuple[Evidence, np.ndarray]:
    """Four rows, and the scores of nothing and of two options."""
    evidence = replace(
        evidence_of(np.zeros((4, 2))),
        p_redeem=np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3], [0.2, 0.9]]),
        columns=pd.DataFrame({"spend_sum_90d": [1.0, 2.0, 10.0, 20.0]}),
    )
    return evidence, np.array([[5.0, 6.0, 3.0], [0.0, 1.0, -2.0], [1.0, -3.0, 4.0], [0.0, -4.0, 3.0]])


EVERYBODY = np.ones(4, dtype=bool)


def test_simple_policies_by_hand(four):
    # the options change [1, -2], [1, -2], [-4, 3] and [-4, 3]
    assert simple_policy(*four, NOBODY, EVERYBODY) == Deployed(NOBODY)
    assert simple_policy(*four, CONSTANT, EVERYBODY) == Deployed(CONSTANT, ("b", 0.2))  # 2 in all, the other -6
    assert simple_policy(*four, RULE, EVERYBODY) == Deployed(RULE, ("b", 0.2), "spend_sum_90d", 6.0)  # 6 in all
    found = simple_policy(*four, RANKING, EVERYBODY)  # the likelier half: 6 in all
    assert found == Deployed(RANKING, ("b", 0.2), P_REDEEM, pytest.approx(0.25))


def test_a_simple_policy_is_chosen_by_the_rows_it_may_see(four):
    first = np.array([True, True, False, False])
    assert simple_policy(*four, CONSTANT, first).option == ("a", 0.1)
    assert simple_policy(*four, RULE, first) == Deployed(RULE, ("a", 0.1), "spend_sum_90d", 1.5)
    assert simple_policy(*four, RANKING, first).option == ("a", 0.1)


def test_a_rule_may_speak_for_those_below(four):
    evidence, scores = four
    assert simple_policy(evidence, scores[::-1], RULE, EVERYBODY) == Deployed(
        RULE, ("b", 0.2), "spend_sum_90d", 6.0, is_above=False
    )


def test_a_rule_may_ask_a_trait_of_texts_or_of_signed_numbers(four):
    evidence, scores = four
    plans = pd.DataFrame({"trait_plan": pd.Categorical(["basic", "basic", "pro", None])})
    by_plan = simple_policy(replace(evidence, columns=plans), scores, RULE, EVERYBODY)
    assert by_plan == Deployed(RULE, ("b", 0.2), "trait_plan", is_above=False, category="basic")
    assert str(by_plan) == "b at 20% where trait_plan is not basic"
    applies = by_plan.applies_to(pd.DataFrame({"trait_plan": ["basic", "plus", None]}), np.zeros(3))
    assert applies.tolist() == [False, True, True]
    scored = pd.DataFrame({"trait_score": [-3.0, -2.0, 5.0, 7.0]})
    signed = simple_policy(replace(evidence, columns=scored), scores, RULE, EVERYBODY)
    assert signed == Deployed(RULE, ("b", 0.2), "trait_score", 1.5)


def test_without_a_column_there_is_no_rule(four):
    evidence, scores = four
    bare = replace(evidence, columns=pd.DataFrame({"unheard_of": [1.0, 2.0, 3.0, 4.0]}))
    assert simple_policy(bare, scores, RULE, EVERYBODY) == Deployed(NOBODY)


def test_the_personal_choice_by_hand():
    effect = np.array([[1.0, 2.0], [3.0, -1.0], [-1.0, -2.0], [0.0, 0.0]])
    evidence = replace(evidence_of(effect), effect=effect)
    assert personal_choice(evidence).tolist() == [2, 1, 0, 0]


def test_the_personal_choice_fits_the_budget_by_hand():
    effect = np.array([[1.0, 2.0], [3.0, -1.0], [0.6, -2.0], [0.0, 0.0]])
    cost = np.array([[0.1, 1.5], [4.0, 1.0], [0.4, 1.0], [1.0, 1.0]])
    evidence = replace(evidence_of(effect), effect=effect, cost=cost)
    spent = {}
    for budget in (6.0, 2.0, 0.5, 0.1, 0.0):
        chosen = personal_choice(replace(evidence, budget=budget / 4))
        spent[budget] = (chosen.tolist(), np.c_[np.zeros(4), cost][np.arange(4), chosen].sum())
    assert spent[6.0][0] == [2, 1, 1, 0]  # 5.9
    # per money: 10 and then .71 for the first user's steps, .75 for the second, 1.5 for the third
    assert [spent[budget][0] for budget in (2.0, 0.5, 0.1, 0.0)] == [[1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0], [0] * 4]
    assert all(cost <= budget + 1e-12 for budget, (_, cost) in spent.items())


def test_a_simple_policy_treats_only_whom_the_budget_pays_for():
    alike = evidence_of(np.tile([2.0, 1.0], (3000, 1)), error=0.0)
    evidence = replace(alike, cost=np.tile([5.0, 0.1], (3000, 1)), budget=0.1)
    found = judge_policies(evidence)
    # 2% of the users at 5.00 earn 0.04 a head; everybody at 0.10 earns 1
    assert found.deployed == Deployed(CONSTANT, ("b", 0.2))
    assert found.gains[CONSTANT].low <= 1.0 <= found.gains[CONSTANT].high
    poor = judge_policies(replace(evidence, budget=0.02))
    assert poor.gains[CONSTANT].value == pytest.approx(0.2, abs=0.03)


def test_whom_a_policy_applies_to():
    columns = pd.DataFrame({"spend_sum_90d": [12.4, 12.5, 12.6, np.nan]})
    p_redeem = np.array([0.2, 0.25, 0.3, 0.9])
    applies = [policy.applies_to(columns, p_redeem).tolist() for policy in POLICIES]
    assert applies == [
        [False] * 4,
        [False] * 4,
        [True] * 4,
        [True, True, False, True],  # who never spent spent nothing
        [False, False, True, True],
    ]


def test_a_rule_on_a_text_in_words():
    rule = Deployed(RULE, ("b", 0.2), "trait_plan", category="pro")
    assert WORDS.sentence(stored(policy_reasons(rule))).endswith(", for users whose “plan” is pro")
    assert WORDS.sentence(stored(policy_reasons(replace(rule, is_above=False)))).endswith("“plan” is not pro")


def test_policies_in_words():
    assert [str(policy) for policy in POLICIES] == [
        "nobody",
        "personal",
        "a at 10% for everybody",
        "b at 20% where spend_sum_90d is at most 12.5",
        "b at 20% where p_redeem is above 0.25",
    ]


def opposite(rows: int = 3000) -> np.ndarray:
    """What helps one half of the users with one option harms the other."""
    taste = np.random.default_rng(5).normal(0, 3.0, rows)
    return np.c_[taste, -taste]


def test_the_gate_promotes_what_is_strongly_personal():
    found = judge_policies(evidence_of(opposite()))
    assert found.deployed == Deployed(PERSONAL)
    assert found.lead.low > 0
    assert found.gains[PERSONAL].value == pytest.approx(3.0 * np.sqrt(2 / np.pi), abs=0.3)  # E|taste|
    assert found.reason.startswith("personal beats what is simpler; over ")
    assert f"{found.lead.value:+.3f} [{found.lead.low:+.3f}, {found.lead.high:+.3f}] a head" in found.reason


def test_the_gate_counts_those_whom_every_option_harms():
    taste = np.random.default_rng(6).normal(0, 3.0, 3000)
    found = judge_policies(evidence_of(np.c_[taste, taste - 1.0]))
    assert found.deployed == Deployed(PERSONAL)


def test_the_gate_keeps_one_option_for_all_where_all_are_alike():
    found = judge_policies(evidence_of(np.tile([2.0, 1.0], (3000, 1))))
    assert found.deployed == Deployed(CONSTANT, ("a", 0.1))
    assert found.gains[CONSTANT].low <= 2.0 <= found.gains[CONSTANT].high
    assert found.reason.startswith("constant stays: personal is worth ")
    assert found.reason.endswith(", which does not lie above 0")


def test_the_gate_keeps_nobody_where_every_option_harms():
    found = judge_policies(evidence_of(np.full((3000, 2), -2.0)))
    assert found.deployed == Deployed(NOBODY)
    assert found.reason.startswith("nobody stays: personal gives nothing to anybody")
    assert found.who_decides.startswith("nobody gets an offer, as no policy is proven to bring more")


def test_the_gate_finds_a_rule():
    evidence = evidence_of(np.zeros((6000, 2)))
    taste = np.where(evidence.columns["spend_sum_90d"] > 0.5, 3.0, -3.0)
    truth = np.c_[taste, np.full(6000, -1.0)]
    net = evidence.net + np.c_[truth, np.zeros(6000)][np.arange(6000), evidence.action]
    found = judge_policies(replace(evidence, net=net, effect=np.full((6000, 2), -1.0)))  # personal sees nothing
    assert (found.deployed.name, found.deployed.option, found.deployed.is_above) == (RULE, ("a", 0.1), True)
    assert found.deployed.column == "spend_sum_90d"
    assert found.deployed.threshold == pytest.approx(0.5, abs=0.03)


def test_too_few_treatments_prove_nothing():
    found = judge_policies(evidence_of(opposite(40)))
    assert found.deployed == Deployed(NOBODY)
    assert "an unknown amount a head" in found.reason


def learnt_verdict(seed: int, gain: float) -> PolicyVerdict:
    """Verdict on effects learnt from few treatments in which every option changes everybody by `gain`."""
    rng = np.random.default_rng(seed)
    rows, _ = randomised_treatments(400, rng)
    margin = np.log1p(rows["spend_sum_90d"]) + gain * (rows["offer_id"] != "none") + rng.normal(0, 2.0, len(rows))
    rows = rows.assign(margin_soon=margin, is_retained=(rng.random(len(rows)) < 0.5).astype(float))
    learnt = learn_effects(rows, DRAWN_OPTIONS, FEATURES, SETTINGS)["margin_soon"]
    places = {option: place for place, option in enumerate(DRAWN_OPTIONS)}
    given = zip(rows["offer_id"], rows["discount"], strict=True)
    evidence = Evidence(
        DRAWN_OPTIONS, np.array([places.get(option, -1) for option in given]), rows["propensity"].to_numpy(),
        rows["user_id"], learnt.fold, margin.to_numpy(), learnt.without, learnt.held_out,
        np.zeros((len(rows), len(DRAWN_OPTIONS))), rng.random((len(rows), len(DRAWN_OPTIONS))), rows,
        learnt.had_chance, np.ones(len(DRAWN_OPTIONS), dtype=bool),
    )  # fmt: skip
    return judge_policies(evidence)


@pytest.mark.parametrize("gain", [0.0, 2.0], ids=["no effect", "the same effect on all"])
def test_chance_is_not_taken_for_taste(gain):
    found = [learnt_verdict(seed, gain).deployed.name for seed in range(10)]
    assert found.count(PERSONAL) <= 1
    assert found.count(CONSTANT if gain else NOBODY) >= 7


@pytest.mark.parametrize("name", [NOBODY, CONSTANT, RULE, RANKING])
def test_a_fold_has_no_say_in_its_own_choices(name):
    evidence = evidence_of(opposite(600))
    before = cross_chosen(Calibrated(evidence), name)
    for k in range(3):
        inside = evidence.fold == k
        turned = replace(evidence, net=np.where(inside, -7.0 * evidence.net, evidence.net))
        after = cross_chosen(Calibrated(turned), name)
        assert (after[inside] == before[inside]).all()
    assert (before.sum(axis=1) == 1).all()


def test_an_evidence_is_read_by_the_estimators_as_it_is():
    evidence = evidence_of(np.zeros((5, 2)))
    assert evidence.logged.action.tolist() == (evidence.action + 1).tolist()
    assert evidence.logged.user_id is evidence.user_ids
    assert (evidence.predicted[:, 0] == evidence.usual).all()
    assert evidence.predicted[:, 2] == pytest.approx(evidence.usual + evidence.effect[:, 1])


def test_what_is_off_the_menu_speaks_for_no_policy():
    evidence = evidence_of(opposite())
    off = np.arange(3000) % 4 == 0
    retired = replace(
        evidence,
        action=np.where(off, 2, evidence.action),
        propensity=np.full(3000, 0.25),
        net=np.where(off, 1e6, evidence.net),
    )
    assert retired.scores.shape == (3000, 3)
    assert (retired.scores[off] == retired.predicted[off, :3]).all()
    found = judge_policies(retired)
    assert found.deployed == Deployed(PERSONAL)
    assert found.gains[PERSONAL].value == pytest.approx(3.0 * np.sqrt(2 / np.pi), abs=0.3)


def fixed(value: float) -> SimpleNamespace:
    """Model that answers the same for everybody."""
    return SimpleNamespace(predict=lambda frame: np.full(len(frame), value))


@pytest.mark.parametrize("has_slope", [True, False])
def test_evidence_of_treatments_by_hand(has_slope):
    drawn = pd.DataFrame(
        {
            "user_id": ["u", "v", "w"], "offer_id": ["none", "a", "b"], "discount": [0.0, 0.1, 0.2 + 1e-12],
            "propensity": [0.5, 0.25, 0.25], "margin_soon": [4.0, 6.0, 1.0], "is_retained": [1.0, 0.0, 1.0],
            "discount_given": [0.0, 2.0, 0.0], "order_value_mean_365d": 20.0,
        }
    )  # fmt: skip
    fold = np.array([0, 1, 1])
    margin = SimpleNamespace(
        without=np.full(3, 3.0), held_out=np.tile([1.0, 2.0], (3, 1)), fold=fold, has_slope=has_slope,
        had_chance=np.array([[True, False], [True, True], [True, True]]),
    )  # fmt: skip
    retention = SimpleNamespace(without=np.full(3, 0.5), held_out=np.tile([0.1, 0.2], (3, 1)), fold=fold)
    catalogue = Catalogue(
        offers=(offer("a", discounts=(0.1,), contact_cost=0.5), offer("b", discounts=(0.2,), contact_cost=0.25))
    )
    p_redeem = np.array([[0.4] * 2, [0.2] * 2, [0.2] * 2])
    found = gather_evidence(
        drawn, {"margin_soon": margin, "is_retained": retention}, p_redeem,
        {0: fixed(10.0), 1: fixed(20.0)}, RedeemedSpend({"a": 30.0}), catalogue, OPTIONS, 0.75,
        categories=small_settings().categories,
    )  # fmt: skip
    assert found.action.tolist() == [-1, 0, 1]
    # margin and what staying is worth, less the discount given and the contact; nothing costs nothing
    assert found.net.tolist() == pytest.approx([4.0 + 10.0, 6.0 - 2.0 - 0.5, 1.0 + 20.0 - 0.25])
    assert found.usual.tolist() == pytest.approx([3.0 + 5.0, 3.0 + 10.0, 3.0 + 10.0])
    assert found.p_redeem.tolist() == [[0.4, 0.4], [0.2, 0.2], [0.2, 0.2]]
    # a redemption costs 0.1 x 30 (measured) or 0.2 x 20 (the own order)
    assert found.effect[0].tolist() == pytest.approx([1 + 1 - 0.4 * 3 - 0.5, 2 + 2 - 0.4 * 4 - 0.25])
    assert found.effect[2].tolist() == pytest.approx([1 + 2 - 0.2 * 3 - 0.5, 2 + 4 - 0.2 * 4 - 0.25])
    assert found.cost[2].tolist() == pytest.approx([0.2 * 3 + 0.5, 0.2 * 4 + 0.25])
    assert found.budget == 0.75
    assert found.had_chance.tolist() == [[True, False], [True, True], [True, True]]
    assert found.is_simple.tolist() == [True, True]  # each the lowest of its offer


def test_without_a_pull_only_the_lowest_discount_of_an_offer_is_simple():
    evidence = replace(evidence_of(np.tile([1.0, 2.0], (3000, 1))), is_simple=np.array([True, False]))
    for name in (CONSTANT, RULE, RANKING):
        assert simple_policy(evidence, evidence.scores, name, np.ones(3000, dtype=bool)).option == ("a", 0.1)


def test_no_policy_is_judged_by_what_could_not_be_drawn():
    evidence = evidence_of(np.tile([1.0, 5.0], (3000, 1)), error=0.0)
    late = np.arange(3000) < 1500  # the second option came later: nobody drew it on these rows
    gone = late & (evidence.action == 1)
    action = np.where(gone, -1, evidence.action)
    net = np.where(gone, evidence.usual, evidence.net)
    had_chance = np.c_[np.ones(3000, dtype=bool), ~late]
    propensity = np.where(late, np.where(action == -1, 2 / 3, 1 / 3), 1 / 3)
    new = replace(evidence, action=action, net=net, had_chance=had_chance, propensity=propensity)
    assert set(personal_choice(new)[late]) == {1}
    assert set(personal_choice(new)[~late]) == {2}
    found = judge_policies(new)
    assert found.gains[PERSONAL].value == pytest.approx(3.0, abs=0.2)  # 1 on the early half, 5 on the late one
    assert found.gains[CONSTANT].value == pytest.approx(2.5, abs=0.2)  # the second option, where it had a chance


def test_what_decides_goes_on_while_it_is_ahead_and_noise_lets_nobody_in():
    weak = next(
        evidence
        for evidence in (evidence_of(np.tile([gain, -1.0], (3000, 1)), seed=7) for gain in np.arange(0.02, 0.3, 0.005))
        if 1.3 < _ratio(judge_policies(evidence).gains[CONSTANT]) < 1.8
    )
    fresh = judge_policies(weak)
    assert fresh.deployed == Deployed(NOBODY)  # between one standard error and the whole interval
    decided = replace(fresh, deployed=Deployed(CONSTANT, ("a", 0.1)))
    again = judge_policies(weak, before=decided)
    assert again.deployed == Deployed(CONSTANT, ("a", 0.1))
    assert judge_policies(weak, before=again).deployed == again.deployed
    worse = judge_policies(evidence_of(np.tile([-0.05, -1.0], (3000, 1)), seed=7), before=decided)
    assert worse.deployed == Deployed(NOBODY)


def _ratio(gain) -> float:
    return gain.value * Z / (gain.value - gain.low)


def test_an_option_is_exchanged_for_one_that_is_proven_better_only():
    near = evidence_of(np.tile([2.0, 2.02], (3000, 1)), seed=3)
    best = judge_policies(near)
    assert best.deployed.name == CONSTANT
    other = next(option for option in OPTIONS if option != best.deployed.option)
    assert judge_policies(near, before=replace(best, deployed=Deployed(CONSTANT, other))).deployed.option == other
    far = evidence_of(np.tile([2.0, 4.0], (3000, 1)), seed=3)
    assert judge_policies(far, before=replace(best, deployed=Deployed(CONSTANT, ("a", 0.1)))).deployed.option[0] == "b"
    gone = replace(best, deployed=Deployed(CONSTANT, ("no longer there", 0.1)))
    assert judge_policies(near, before=gone).deployed == best.deployed
