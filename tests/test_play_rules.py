"""Plays: whom each is meant for, by the language of segments, and what must be said whatever it is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given
from hypothesis import settings as config
from hypothesis import strategies as st
from synthetic import AS_OF, behaviour, offer, small_policy, small_settings

from configs.errors import InputError
from configs.offers import NO_OFFER, NOTHING, Catalogue, Offer, load_catalogue
from features.definitions.app_declarations import declarations_of
from features.storage.lake import Lake
from serving.arms.assignment import allocation_input, assign
from serving.contact_rules.contact_history import OPEN, RESTRICTIONS, ContactHistory, of_open
from serving.contact_rules.contact_rule import FIRST_RULE
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.decide.scoring import Policy, score
from serving.knapsack.allocation import limits_of
from serving.plays.play_rules import HOLDS, PlayRules, play_rules_of, usable
from serving.stored_days.day_tables import day_folder

SETTINGS = small_settings(scoring={"budget": 1e6, "control_share": 0.2})
FEATURES = declarations_of(SETTINGS).catalogue()
PLAIN = {
    "title": "A", "play": "a", "channel": "push", "message": "Hi", "benefit": "none", "valid_days": 3,
    "contact_cost": 0.01, "covered_spend": 10.0,
}  # fmt: skip
RECOVERY = Offer(
    offer_id="recovery", play_id="recovery", aim="recover", send_class="transactional",
    fact="payment_failures_count_28d > 0", **PLAIN,
)  # fmt: skip
CART = offer("cart", play_id="cart", fact="is_cart_open", when="stage <> 'left' AND p_churn > 0.2")


def rules_of_plays(*offers: Offer) -> PlayRules:
    return play_rules_of(SETTINGS, FEATURES, Catalogue(offers=offers))


def written(folder: Path, text: str) -> str:
    (folder / "mine.toml").write_text(text, "utf-8")
    return str(folder / "mine.toml")


def toml(**fields: object) -> str:
    return "\n".join(f"{name} = {value!r}" for name, value in (PLAIN | fields).items())


def test_a_play_is_one_offer_per_channel(tmp_path):
    fields = {name: value for name, value in PLAIN.items() if name != "channel"}
    table = "\n".join(f"{name} = {value!r}" for name, value in fields.items())
    catalogue = load_catalogue(written(tmp_path, f"[cart]\n{table}\nchannels = ['push', 'email']\nclass = 'marketing'"))
    assert [(each.offer_id, each.play_id, each.channel) for each in catalogue.offers] == [
        ("cart_push", "cart", "push"), ("cart_email", "cart", "email")
    ]  # fmt: skip
    assert [*catalogue.plays] == ["cart"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"channels": ["push"]}, "names channel and channels; keep one"),
        ({"channel": "+"}, "'.' has no letter, so that no consent can name it"),
        ({"aim": "recover", "benefit": "percent", "discounts": [0.1]}, "the aim recover gives nothing but a message"),
        ({"class": "mandatory"}, "the class mandatory goes to everybody for whom it is meant; say when or fact"),
        ({"class": "mandatory", "when": "true", "stock": 3}, "class mandatory goes to everybody .* so it has no stock"),
        ({"class": "transactional", "when": "true", "total_stock": 3}, "goes to everybody .* no stock"),
        ({"class": "transactional", "benefit": "points", "levels": [1.0], "unit_cost": 1.0, "when": "true"},
         "the class transactional gives nothing but a message"),
        ({"aim": "winback"}, "aim: .*'recover' or 'win_back', found 'winback'"),
        ({"when": " "}, "when: is blank"),
        ({"cool_down": 3}, "did you mean 'cool_down_days'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_play_gives_one_sentence(tmp_path, fields, sentence):
    with pytest.raises(InputError, match=sentence):
        load_catalogue(written(tmp_path, f"[a]\n{toml(**fields)}"))


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("is_cart_opn", r"mine.toml, line 11: fact of play 'a' names 'is_cart_opn', .*did you mean 'is_cart_open'"),
        ("offer_value_max > 1", "line 11: fact of play 'a' rests on 'offer_value_max', which is known only once"),
        ("p_churn > quantile(p_churn, 0.9)", "splits users by 'p_churn', which is predicted only later"),
        ("read_csv('x') = 1", "calls 'ReadCSV', which rules may not"),
    ],
)  # fmt: skip
def test_a_wrong_rule_names_its_file_and_line(tmp_path, rule, sentence):
    catalogue = load_catalogue(written(tmp_path, f"[b]\n{toml()}\n[a]\nfact = {rule!r}\n{toml()}"))
    with pytest.raises(InputError, match=sentence):
        play_rules_of(SETTINGS, FEATURES, catalogue)


def test_a_play_that_an_app_cannot_have_is_left_out():
    level = offer("level", play_id="level", needs=("days_since_last_level",), fact="days_since_last_level < 3")
    rules = rules_of_plays(CART, level)
    assert rules.left_out == {"level": "days_since_last_level"}
    assert [each.offer_id for each in usable(Catalogue(offers=(CART, level)), rules).offers] == ["cart"]


def test_both_rules_of_a_play_must_hold_and_what_is_unknown_does_not():
    frame = pd.DataFrame({"is_cart_open": [1.0, 1.0, 0.0, np.nan, 1.0]})
    known = {"stage": np.array(["loyal", "left", "loyal", "loyal", "loyal"], dtype=object),
             "p_churn": np.array([0.5, 0.5, 0.5, 0.5, np.nan])}  # fmt: skip
    assert rules_of_plays(CART).holds(frame, known)[f"{HOLDS}cart"].tolist() == [True, False, False, False, False]


def test_a_play_may_name_segments_and_compare_with_everybody_of_the_day():
    spenders = offer("spenders", play_id="spenders", when="quintile(spend_sum_90d) = 5 AND NOT deal_seekers_off")
    with pytest.raises(InputError, match="names 'deal_seekers_off'"):
        rules_of_plays(spenders)
    rules = rules_of_plays(spenders.model_copy(update={"when": "quintile(spend_sum_90d) = 5 AND NOT cart_open"}))
    frame = pd.DataFrame({"spend_sum_90d": np.arange(1.0, 11.0), "is_cart_open": [0.0] * 9 + [1.0]}).assign(
        days_since_last_cart=2.0
    )
    with duckdb.connect() as connection:
        connection.register("day", pa.Table.from_pandas(frame))
        found = rules.with_cuts(connection, "day").holds(frame.iloc[5:], {})
    assert found[f"{HOLDS}spenders"].tolist() == [False, False, False, True, False]


@pytest.fixture(scope="module")
def policy() -> Policy:
    offers = (RECOVERY, CART, offer("bundle"))
    catalogue = Catalogue(offers=offers)
    return replace(small_policy(SETTINGS), catalogue=catalogue, plays=play_rules_of(SETTINGS, FEATURES, catalogue))


def users(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return behaviour(count, rng).assign(
        days_since_last_activity=rng.integers(0, 120, count).astype(float),
        days_since_last_cancellation=np.where(rng.random(count) < 0.2, 1.0, np.nan),
        is_cart_open=rng.integers(0, 2, count).astype(float),
        payment_failures_count_28d=rng.integers(0, 3, count).astype(float),
    )


@config(max_examples=20, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(seed=st.integers(0, 10_000), capacity=st.sampled_from([None, 0, 3]))
def test_whose_payment_failed_gets_the_recovery_and_never_a_discount(policy, seed, capacity):
    limits = {} if capacity is None else {"push": capacity, "email": capacity}
    scoring = policy.settings.scoring.model_copy(update={"channel_capacity": limits})
    settings = policy.settings.model_copy(update={"scoring": scoring})
    found = limits_of(policy.catalogue, settings)
    frame = users(12, seed)
    batch = score(policy, frame)
    parts = [allocation_input(batch.frame["user_id"], batch.p_churn, batch.options, settings, found, AS_OF)]
    given_options = assign(parts, settings, found).given
    has_failed = batch.frame["payment_failures_count_28d"].to_numpy() > 0
    assert (given_options[has_failed] == 0).all()  # control group, lapsed users and full channels make no difference
    assert (given_options[~has_failed] != 0).all()
    is_cart = np.isin(given_options, [1, 2])  # at either discount
    assert (frame["is_cart_open"].to_numpy()[is_cart] == 1).all()


def test_decisions_say_that_a_rule_sent_it_and_it_waits_while_it_is_open(policy, tmp_path):
    frame = users(40, 5).assign(payment_failures_count_28d=1.0)
    rows = [[*frame["user_id"].iloc[[0, 1, 1]]], [0, 0, 1], [1, 1, 1]]
    open_offers = ContactHistory(pa.table(rows, schema=RESTRICTIONS), (OPEN, of_open(policy.catalogue["recovery"])))
    lake = Lake(tmp_path)
    decide(policy, lake, AS_OF, LocalExecutor([lambda: frame]), contacts=lambda: open_offers)
    rows = pq.read_table(day_folder(lake, AS_OF) / "decisions.parquet").to_pandas()
    assert rows["offer_id"].tolist() == ["recovery", NO_OFFER, *["recovery"] * 38]
    assert rows["arm"].tolist() == ["by_rule", "suppressed", *["by_rule"] * 38]
    assert rows["propensity"].eq(1.0).all()
    assert {reason["code"] for each in rows["why"].drop(1) for reason in each} == {"by_rule"}
    assert rows["discount"].eq(0.0).all()
    treatments = pq.read_table(lake.partition("treatments", AS_OF)).to_pandas()
    assert len(treatments) == 39


def test_whom_no_play_is_meant_for_is_told_so(policy):
    frame = users(30, 7).assign(
        payment_failures_count_28d=0.0, is_cart_open=0.0, days_since_last_activity=3.0,
        days_since_last_cancellation=np.nan,
    )  # fmt: skip
    batch = score(policy, frame)
    codes = [rule.code for rule in policy.rules]
    assert {codes[kind - FIRST_RULE] for kind in batch.options.why_not[:, :3].ravel()} == {"not_meant"}
    assert (batch.options.by_rule == NOTHING).all()
    assert not len(policy.contacts.restrictions)
