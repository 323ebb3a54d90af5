"""Reasons: what a person reads are the numbers the model used, and they point the same way."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from synthetic import (
    DRAWN_OPTIONS,
    FEATURES,
    MIXED,
    WORDS,
    behaviour,
    outcomes,
    randomised_treatments,
    said,
    small_settings,
)

from models.effects.effect_model import EffectUnit
from models.effects.uplift import learn_effects
from models.estimator_families.estimators import Estimator
from models.estimator_families.linear_estimators import fit_linear
from models.estimator_families.tree_estimators import fit_lightgbm
from models.policy_value.policy_verdict import CONSTANT, P_REDEEM, PERSONAL, RANKING, RULE, Deployed
from models.registry.response import PersonalEffects
from serving.lookups.user_day import UserDay
from serving.lookups.user_explanation import explanation_lines
from serving.wording.explanations import (
    TOP,
    add_effect_reasons,
    add_risk_reasons,
    add_rule,
    add_worth,
    effect_parts,
    fact_of,
)
from serving.wording.reason_codes import Reason
from serving.wording.reason_lists import ReasonLists

ROLES = small_settings().roles


def described(column: str, values: pd.Series) -> str:
    """What a person reads of a user's column."""
    (value,) = values
    text, number = (value, None) if isinstance(value, str) else (None, None if pd.isna(value) else float(value))
    return f"{WORDS.label(column)}: {WORDS.value({'column': column, 'value': text, 'number': number})}"


def risk_reasons(model: Estimator, frame: pd.DataFrame) -> list[str]:
    """Reasons of everybody's risk, in words."""
    lists = ReasonLists(len(frame))
    add_risk_reasons(lists, np.arange(len(frame)), model, frame, ROLES)
    return said(lists)


def effect_reasons(personal: PersonalEffects, frame: pd.DataFrame, chosen: np.ndarray, worth: np.ndarray) -> list[str]:
    """Why everybody's option works better or less, in words."""
    lists = ReasonLists(len(frame))
    add_effect_reasons(lists, np.arange(len(frame)), personal, DRAWN_OPTIONS, frame, chosen, worth, ROLES)
    return said(lists)


def personal_effects(randomised: pd.DataFrame) -> PersonalEffects:
    """Effects learnt from randomised treatments, with a personal policy."""
    learnt = learn_effects(randomised, DRAWN_OPTIONS, FEATURES, small_settings())
    margin, retention = (learnt[outcome] for outcome in ("margin_soon", "is_retained"))
    average = np.stack([margin.mean, retention.mean], axis=1)
    return PersonalEffects(
        margin.effect_model, retention.effect_model, DRAWN_OPTIONS, Deployed(PERSONAL), average, "effects-x"
    )


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return outcomes(150, np.random.default_rng(61), snapshots=2)


@pytest.fixture(scope="module", params=["linear", "trees"])
def model(request, frame) -> Estimator:
    if request.param == "linear":
        return fit_linear(frame, "is_churned", MIXED)
    return fit_lightgbm(frame, "is_churned", MIXED, small_settings())


def values_said(values: pd.Series) -> list[str]:
    lists = ReasonLists(len(values))
    lists.add(np.arange(len(values)), "raises_risk", "trait_plan", *lists.values(values))
    return [sentence.removeprefix("plan: ").removesuffix(" (raises the risk)") for sentence in said(lists)]


def test_values_are_written_without_needless_digits():
    assert values_said(pd.Series([3.0, 0.0, 2.345, -1.5, np.nan])) == ["3", "0", "2.35", "-1.50", "unknown"]
    assert values_said(pd.Series([7, 8])) == ["7", "8"]


def test_texts_are_written_as_they_are():
    assert values_said(pd.Series(pd.Categorical(["a b", None]))) == ["a b", "unknown"]
    assert values_said(pd.Series(["<b>", None], dtype=object)) == ["<b>", "unknown"]


def test_the_words_are_the_strongest_shapley_values_and_their_signs(model, frame):
    parts = model.contributions(frame)[:, :-1]
    sentences = risk_reasons(model, frame)
    for row in range(len(frame)):
        strongest = np.argsort(-np.abs(parts[row]), kind="stable")[:TOP]
        expected = []
        for place in strongest[parts[row, strongest] != 0]:
            name = model.columns[place]
            words = described(name, frame[name].iloc[[row]])
            expected.append(f"{words} ({'raises' if parts[row, place] > 0 else 'lowers'} the risk)")
        assert sentences[row] == "; ".join(expected)


class Parts:
    """A model whose Shapley values are given, base value last."""

    def __init__(self, columns: list[str], parts: np.ndarray) -> None:
        self.columns, self.parts = columns, parts

    def contributions(self, frame: pd.DataFrame) -> np.ndarray:
        return np.c_[self.parts, np.zeros(len(frame))]


WINDOWS = [
    "spend_sum_28d", "spend_sum_90d", "sessions_count_28d", "active_days_count_90d", "tenure_days",
    "gap_days_std_365d", "gap_days_variation_365d",
]  # fmt: skip


@given(arrays(np.float64, (5, len(WINDOWS)), elements=st.integers(-40, 40).map(lambda eighths: eighths / 8)))
def test_one_fact_is_told_once_with_what_all_its_windows_add_up_to(parts):
    frame = pd.DataFrame(np.arange(5.0 * len(WINDOWS)).reshape(5, -1), columns=WINDOWS)
    lists = ReasonLists(5)
    add_risk_reasons(lists, np.arange(5), Parts(WINDOWS, parts), frame, ROLES)
    facts = np.array([fact_of(name, ROLES) for name in WINDOWS])
    for row, reasons in enumerate(lists.build().to_pylist()):
        told = [fact_of(each["column"], ROLES) for each in reasons]
        assert len(set(told)) == len(told) <= TOP
        sums = pd.Series(parts[row]).groupby(facts).sum()
        assert [each["effect"] for each in reasons] == [sums[fact] for fact in told]
        assert [each["code"] == "raises_risk" for each in reasons] == [sums[fact] > 0 for fact in told]
        assert sorted(sums[sums != 0].abs())[::-1][:TOP] == [abs(each["effect"]) for each in reasons]
        for each in reasons:  # the column that stands for it moves most in that direction
            sign = np.sign(each["effect"])
            own = parts[row, WINDOWS.index(each["column"])] * sign
            assert own == (parts[row, facts == fact_of(each["column"], ROLES)] * sign).max()


def test_who_was_away_for_long_is_told_so(model, frame):
    asked = pd.concat([frame.head(1)] * 2, ignore_index=True).assign(days_since_last_activity=[1.0, 55.0])
    here, gone = risk_reasons(model, asked)
    assert ": 55 (raises the risk)" in gone
    assert ": 1 (lowers the risk)" in here


def test_a_column_that_moves_nothing_is_no_reason(frame):
    settings = small_settings(training={"leaves": 2, "trees": 1, "column_share": 1.0})
    stump = fit_lightgbm(frame, "is_churned", MIXED, settings)  # one split on one column
    assert (stump.contributions(frame)[:, :-1] != 0).sum(axis=1).max() == 1
    for sentence in risk_reasons(stump, frame):
        assert sentence.count("the risk)") == 1
        assert not sentence.endswith("; ")


def test_a_model_of_one_column_gives_one_reason(frame):
    model = fit_linear(frame, "is_churned", ["days_since_last_activity"])
    sentences = risk_reasons(model, frame)
    assert all(";" not in sentence for sentence in sentences)
    assert all(sentence.startswith("days since last active: ") for sentence in sentences)


def test_fifty_thousand_users_take_seconds():
    frame = behaviour(2_000, np.random.default_rng(62)).assign(is_churned=lambda rows: rows.index % 2)
    model = fit_linear(frame, "is_churned", ["days_since_last_activity", "spend_sum_90d", "active_days_count_28d"])
    many = pd.concat([frame] * 25, ignore_index=True)
    started = time.perf_counter()
    lists = ReasonLists(len(many))
    add_risk_reasons(lists, np.arange(len(many)), model, many, ROLES)
    assert len(lists.build()) == 50_000
    assert time.perf_counter() - started < 5  # a loop over users would take a minute


def test_the_worth_of_an_offer_is_written_term_by_term():
    columns = [(1.5, -0.2), (0.04, -0.01), (50.0, 20.0), (0.25, 0.5), (3.0, 0.0), (0.05, 0.0)]
    terms = ("margin", "retention", "remaining", "p_redeem", "discount_cost", "contact")
    both = {name: np.array(numbers) for name, numbers in zip(terms, columns, strict=True)}
    lists = ReasonLists(2)
    add_worth(lists, np.arange(2), "EUR", **both)
    assert said(lists) == [
        "worth +2.70 EUR = +1.50 extra margin, "
        "+2.00 extra chance to stay (+4.00 points x 50.00 that staying is worth later), "
        "-0.75 expected discount (25.0% likely to use it x 3.00), -0.05 contact",
        "worth -0.40 EUR = -0.20 extra margin, "
        "-0.20 extra chance to stay (-1.00 points x 20.00 that staying is worth later), -0.00 contact",
    ]
    effects = [[reason["effect"] for reason in reasons] for reasons in lists.build().to_pylist()]
    for total, *parts in effects:
        assert sum(part for part in parts if part is not None) == pytest.approx(total)


@pytest.fixture(scope="module")
def randomised() -> pd.DataFrame:
    return randomised_treatments(500, np.random.default_rng(63))[0]


@pytest.fixture(scope="module")
def personal(randomised) -> PersonalEffects:
    return personal_effects(randomised)


def chosen_and_worth(users: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(64)
    return rng.integers(0, len(DRAWN_OPTIONS), users), rng.gamma(2.0, 20.0, users)


def test_reasons_of_an_effect_add_up_to_what_the_offer_changes(randomised, personal):
    chosen, worth = chosen_and_worth(len(randomised))
    columns, parts = effect_parts(personal, DRAWN_OPTIONS, randomised, chosen, worth)
    rows = np.arange(len(randomised))
    margin, retention = (
        each.effects(randomised, DRAWN_OPTIONS)[rows, chosen] for each in (personal.margin, personal.retention)
    )
    assert parts.shape == (len(randomised), len(columns) + 1)
    assert parts.sum(axis=1) == pytest.approx(margin + retention * worth)
    assert np.ptp(parts[:, :-1], axis=0).max() > 1  # users differ


def test_effects_of_two_trainings_are_explained_by_name(randomised, personal):
    column = "days_since_last_activity"
    estimator = personal.retention.estimator
    other = replace(personal, retention=personal_effects(randomised.drop(columns=column)).retention)
    chosen, worth = chosen_and_worth(len(randomised))
    columns, parts = effect_parts(other, DRAWN_OPTIONS, randomised, chosen, worth)
    assert column in columns
    assert column not in other.retention.estimator.columns
    assert column in estimator.columns
    retention = other.retention.contributions(randomised, DRAWN_OPTIONS, chosen)
    margin = other.margin.contributions(randomised, DRAWN_OPTIONS, chosen)
    place = columns.index(column)
    assert parts[:, place].tolist() == margin[:, other.margin.estimator.columns.index(column)].tolist()
    assert parts.sum(axis=1) == pytest.approx(margin.sum(axis=1) + worth * retention.sum(axis=1))


def test_the_words_of_an_effect_are_its_strongest_columns_with_their_amounts(randomised, personal):
    few = randomised.head(60)
    chosen, worth = chosen_and_worth(len(few))
    columns, parts = effect_parts(personal, DRAWN_OPTIONS, few, chosen, worth)
    sentences = effect_reasons(personal, few, chosen, worth)
    fact_of_each = [fact_of(name, ROLES) for name in columns]
    for row, sentence in enumerate(sentences):
        own = pd.Series(parts[row, :-1], index=columns)
        moving = own.where(own.abs() >= 0.005, 0.0)
        sums = moving.groupby(fact_of_each, sort=False).sum()
        expected = []
        for fact in sums.abs().sort_values(ascending=False, kind="stable").index[:TOP]:
            members = moving[[each == fact for each in fact_of_each]] * np.sign(sums[fact])
            words = described(members.idxmax(), few[members.idxmax()].iloc[[row]])
            expected.append(f"{words} ({sums[fact]:+.2f})")
        compared = "works better" if own.sum() > 0 else "works less well"
        lead = f"{compared} on them than on most, by {abs(own.sum()):.2f}, because: "
        assert sentence == lead + "; ".join(expected)
    assert len({sentence.split(" on them")[0] for sentence in sentences}) == 2


def test_what_is_the_same_for_all_works_on_everybody_as_on_most(randomised, personal):
    core = personal.margin.estimator.core
    model = LinearRegression()
    model.coef_, model.intercept_ = np.zeros_like(core[-1].coef_), core[-1].intercept_
    # money, so that no user's own orders tell
    same = replace(
        personal.margin, unit=EffectUnit("money"),
        estimator=replace(personal.margin.estimator, core=Pipeline([*core.steps[:-1], ("same", model)])),
    )  # fmt: skip
    alike = replace(personal, margin=same)
    sentences = effect_reasons(alike, randomised.head(3), np.zeros(3, int), np.zeros(3))
    assert sentences == ["works on them as on most"] * 3


@pytest.mark.parametrize(
    ("deployed", "words"),
    [
        (Deployed(CONSTANT, ("bundle", 0.1)), ["Bundle, 10% off, for everybody"] * 2),
        (
            Deployed(RULE, ("bundle", 0.1), "spend_sum_28d", 5.0),
            [
                f"Bundle, 10% off, for users whose “money spent, last 28 days” is above 5 USD (theirs: {n} USD)"
                for n in "68"
            ],
        ),
        (
            Deployed(RANKING, ("bundle", 0.0), P_REDEEM, 0.25),
            [
                f"Bundle, without a discount, for users whose chance to use it is above 25% (theirs: {n}%)"
                for n in (30, 41)
            ],
        ),
    ],
    ids=["constant", "rule", "ranking"],
)
def test_a_simple_policy_is_put_in_words_with_the_user_s_own_number(deployed, words):
    frame = pd.DataFrame({"spend_sum_28d": [6.0, 8.0]})
    lists = ReasonLists(2)
    add_rule(lists, np.arange(2), deployed, frame, np.array([0.3, 0.41]))
    assert said(lists) == [f"by one rule for all: {each}" for each in words]


def test_an_offer_that_was_never_measured_is_not_called_worth_its_cost():
    decision = dict.fromkeys(("p_churn", "risk_band", "suppressed_because", "retained_value", "reasons", "why"))
    decision |= {"user_id": "u", "offer_id": "none", "discount": 0.0, "risk_band": "unknown"}
    option = {"offer_id": "gift", "discount": 0.1, "value": -5.05, "p_redeem": None}
    unknown, known = ({**option, "why_not": [Reason(code)._asdict()]} for code in ("no_data", "does_not_pay"))
    lines = [*explanation_lines(UserDay(decision, [unknown, known]), WORDS, small_settings(), date(2024, 7, 1))][-2:]
    assert "-5.05" in lines[1]
    assert "5.05" not in lines[0]
    assert re.search(r"value +unknown", lines[0])
    fils = UserDay(decision, [{**known, "value": -0.004}]), replace(WORDS, currency="KWD")
    assert "-0.004" in [*explanation_lines(*fils, small_settings(), date(2024, 7, 1))][-1]
    given = [{"offer_id": "type_b", "discount": 0.35, "valid_until": datetime(2024, 7, 8, tzinfo=UTC)}]
    words, day = replace(WORDS, titles={"type_b": "Brand coupons"}), date(2024, 7, 1)
    told = [*explanation_lines(UserDay(decision, [], open_offers=given), words, small_settings(), day)]
    assert told[-1].startswith("  open      Brand coupons at ")  # by its title, never by its id
