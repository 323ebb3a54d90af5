"""Eligibility: pure rules, asked before anything is allocated and again before it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import AS_OF, behaviour, offer, said, small_policy, small_settings

from configs.offers import NO_OFFER, NOTHING, Catalogue
from features.storage.lake import Lake
from serving.contact_rules.contact_history import OPEN, RESTRICTIONS, ContactHistory, UserContacts, no_contacts
from serving.contact_rules.contact_rule import (
    ELIGIBLE,
    FIRST_RULE,
    Rule,
    broken_by,
    forbidden,
    unscored,
)
from serving.contact_rules.rule_list import has_left, rules_of
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.decide.scoring import Policy, score
from serving.report_page.summary import summarise
from serving.segments.stages import stages_of
from serving.stored_days.day_tables import day_folder
from serving.stored_days.ledger import entries
from serving.wording.reason_codes import ASKED, asked_at
from serving.wording.reason_codes import RULES as CODES

SETTINGS = small_settings()

CATALOGUE = Catalogue(offers=(offer("mail", discounts=(0.1,)), offer("ping", discounts=(0.2,), channel="push")))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return small_policy(small_settings(scoring={"budget": 1e6, "control_share": 0.0}))


@pytest.fixture(scope="module")
def users() -> pd.DataFrame:
    return behaviour(80, np.random.default_rng(5)).assign(days_since_last_activity=3.0, payment_failures_count_28d=0.0)


def no_push_on(day: int) -> Rule:
    """A rule of an app's own: one function, and one line where it is listed."""

    def is_that_day(frame: pd.DataFrame, contacts: UserContacts) -> np.ndarray:
        return np.full(len(frame), day == AS_OF.isoweekday())

    return Rule("no_push_today", is_that_day, forbids=lambda each: each.channel == "push")


def written_to_lately(frame: pd.DataFrame, contacts: UserContacts) -> np.ndarray:
    """Whoever was contacted before is left in peace."""
    return contacts.until("written to") > 0


def history(user_ids: list[str], what: str = OPEN, until: int = 1) -> ContactHistory:
    """Something is forbidden to some users."""
    rows = [sorted(user_ids), [0] * len(user_ids), [until] * len(user_ids)]
    return ContactHistory(pa.table(rows, schema=RESTRICTIONS), (what,))


RULES = rules_of(small_settings(), CATALOGUE)


def told(frame: pd.DataFrame, contacts: ContactHistory, rules: tuple[Rule, ...] = RULES) -> tuple[list, list]:
    """Why everybody may get nothing at all, and why not each option: code and value of the rule, None for none."""
    says = dict(enumerate(((rule.code, rule.value) for rule in rules), FIRST_RULE)) | {ELIGIBLE: None}
    found = forbidden(rules, frame, known(contacts, frame), CATALOGUE)
    return [says[kind] for kind in found.everything], [[says[kind] for kind in row] for row in found.option.tolist()]


def known(contacts: ContactHistory, frame: pd.DataFrame) -> UserContacts:
    return contacts.of(frame["user_id"], np.full(len(frame), "UTC", dtype=object))


def user(**columns: object) -> dict[str, object]:
    return {"user_id": "a", "payment_failures_count_28d": 0.0, "days_since_last_activity": 3.0, **columns}


def test_the_rules_of_every_app_by_hand():
    failed = {"payment_failures_count_28d": 1.0}
    frame = pd.DataFrame(
        [user(days_since_last_activity=56.0), user(**failed), user(days_since_last_activity=np.nan),
         user(**failed, days_since_last_activity=57.0), user(user_id="holder")]
    )  # fmt: skip
    everything, options = told(frame, history(["holder"]))
    rules = [None, "payment_failed", "not_active", "payment_failed", "open_offer"]  # the first that applies is told
    assert everything == [rule and (rule, None) for rule in rules]
    assert options == [[rule] * 2 for rule in everything]


@pytest.mark.parametrize(
    ("consents", "everything", "options"),
    [
        ({}, None, [None, None]),
        ({"consent_push": 1.0, "consent_email": 1.0, "consent_profiling": 1.0}, None, [None, None]),
        ({"consent_push": 0.0}, None, [None, ("no_consent", "push")]),
        ({"consent_push": 0.0, "consent_email": 0.0}, ("no_consent", "push"),
         [("no_consent", "email"), ("no_consent", "push")]),
        ({"consent_sms": 0.0}, None, [None, None]),  # no offer goes there
        ({"consent_profiling": 0.0, "consent_push": 0.0}, ("no_profiling", None), [("no_profiling", None)] * 2),
        ({"consent_push": 0.0, "payment_failures_count_28d": 2.0}, ("payment_failed", None),
         [("payment_failed", None), ("no_consent", "push")]),
        ({"consent_push": 0.0, "consent_email": 0.0, "days_since_last_activity": 90.0}, ("no_consent", "push"),
         [("no_consent", "email"), ("no_consent", "push")]),
    ],
)  # fmt: skip
def test_consent_is_asked_first_and_for_each_channel(consents, everything, options):
    found = told(pd.DataFrame([user(**consents)]), no_contacts())
    assert found == ([everything], [options])


@given(consents=st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, np.nan])] * 3), min_size=1, max_size=8),
       unknown=st.sampled_from(["granted", "refused"]))  # fmt: skip
def test_nobody_gets_through_a_channel_that_they_do_not_consent_to(consents, unknown):
    columns = ["consent_profiling", "consent_email", "consent_push"]
    frame = pd.DataFrame([user(**dict(zip(columns, each, strict=True))) for each in consents])
    contact = SETTINGS.contact.model_copy(update={"unknown_consent": unknown})
    rules = rules_of(SETTINGS.model_copy(update={"contact": contact}), CATALOGUE)
    _, options = told(frame, no_contacts(), rules)
    for (profiling, *channels), row in zip(consents, options, strict=True):
        for consent, why in zip(channels, row, strict=True):
            agreed = [each == 1.0 or (np.isnan(each) and unknown == "granted") for each in (profiling, consent)]
            assert (why is None) == all(agreed)
    assert unscored(rules, frame).tolist() == [row[0] == ("no_profiling", None) for row in options]


@pytest.mark.parametrize(
    "channel",
    ["E-Mail+in-app", "email/In App", "e-mail, in_app", "email & in-app", "email;inapp +", "Email and in app"],
)
def test_an_offer_through_several_channels_needs_consent_to_all(channel):
    both = Catalogue(offers=(offer("both", channel=channel, discounts=(0.1,)),))
    rules = rules_of(SETTINGS, both)
    frame = pd.DataFrame([user(consent_in_app=0.0, consent_email=1.0), user(consent_in_app=1.0, consent_email=np.nan)])
    assert (forbidden(rules, frame, known(no_contacts(), frame), both).option != ELIGIBLE).tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("ended", "seen", "is_gone"), [(np.nan, 3.0, False), (5.0, 3.0, False), (3.0, 3.0, True), (2.0, 3.0, True),
                                   (2.0, np.nan, True), (np.nan, np.nan, False)],
)  # fmt: skip
def test_who_ended_the_contract_and_was_not_seen_since_has_left(ended, seen, is_gone):
    frame = pd.DataFrame([user(days_since_last_cancellation=ended, days_since_last_activity=seen, tenure_days=200.0)])
    assert has_left(frame, known(no_contacts(), frame)).tolist() == [is_gone]
    assert (stages_of(SETTINGS).of(frame)[0] == "left") == is_gone
    if is_gone:
        assert told(frame, no_contacts())[0] == [("has_left", None)]
        assert unscored(RULES, frame).all()


def test_nothing_is_predicted_for_who_left_or_refuses_it(policy, users):
    gone = users.assign(consent_profiling=np.where(users.index == 3, 0.0, 1.0),
                        days_since_last_cancellation=np.where(users.index == 5, 1.0, np.nan))  # fmt: skip
    batch = score(policy, gone)
    unknown = np.isin(np.arange(len(gone)), [3, 5])
    assert np.isnan(batch.p_churn).tolist() == np.isnan(batch.remaining_value).tolist() == unknown.tolist()
    assert batch.reasons.is_null().to_pylist() == unknown.tolist()


def test_a_rule_about_some_offers_leaves_the_others():
    frame = pd.DataFrame({"user_id": ["a", "b"]})
    found = forbidden((no_push_on(AS_OF.isoweekday()),), frame, known(no_contacts(), frame), CATALOGUE)
    assert found.everything.tolist() == [ELIGIBLE] * 2
    assert found.option.tolist() == [[ELIGIBLE, FIRST_RULE]] * 2
    assert broken_by(np.array([NOTHING, 1]), found).tolist() == [ELIGIBLE, FIRST_RULE]
    other_day = forbidden((no_push_on(AS_OF.isoweekday() % 7 + 1),), frame, known(no_contacts(), frame), CATALOGUE)
    assert not other_day.option.any()


def test_rules_ask_nobody_where_there_are_no_offers():
    frame = pd.DataFrame({"user_id": ["a"]})
    found = forbidden((no_push_on(1),), frame, known(no_contacts(), frame), Catalogue(offers=()))
    assert found.option.shape == (1, 0)


def test_the_rules_stand_in_the_funnel_in_the_order_in_which_they_are_asked():
    contact = {"channel_caps": {"push": {"in_7_days": 1}}, "addresses": {"push": "token"}, "min_ages": {"wine": 18}}
    slow = offer("slow", cool_down_days=3)
    every = rules_of(
        small_settings(contact=contact),
        Catalogue(offers=(*CATALOGUE.offers, slow, offer("cart", when="is_cart_open", aim="win_back"))),
    )
    own = [code for code in CODES if code != "no_contract"]  # an app has this, or `not_active`
    assert list(dict.fromkeys(rule.code for rule in every)) == own
    codes = [*CODES, "own_rule", *ASKED]
    assert [asked_at(code) for code in codes] == sorted(asked_at(code) for code in codes)


def test_an_own_rule_is_kept_and_said(policy, users, tmp_path):
    pushed = replace(
        policy, catalogue=small_policy(offers=(offer("bundle"), offer("come_back", channel="push"))).catalogue
    )
    free, ruled = Lake(tmp_path / "free"), Lake(tmp_path / "ruled")
    decide(pushed, free, AS_OF, LocalExecutor([lambda: users]))
    decide(replace(pushed, own_rules=(no_push_on(AS_OF.isoweekday()),)), ruled, AS_OF, LocalExecutor([lambda: users]))
    assert "push" in set(table(free)["channel"])
    assert set(table(ruled)["channel"].dropna()) == {"email"}
    options = table(ruled, "options")
    assert set(options.loc[options["channel"] == "push", "why_not"]) == {"no push today"}


def table(lake: Lake, name: str = "decisions") -> pd.DataFrame:
    return said(pq.ParquetFile(day_folder(lake, AS_OF) / f"{name}.parquet").read())


def test_what_breaks_a_rule_by_the_time_it_is_written_is_withdrawn_and_counted(policy, users, tmp_path: Path):
    lake, calm = Lake(tmp_path / "late"), Lake(tmp_path / "calm")
    ruled = replace(policy, own_rules=(Rule("written_to_lately", written_to_lately, ("user_id",)),))
    decide(ruled, calm, AS_OF, LocalExecutor([lambda: users]))
    before = table(calm)
    given = before.loc[before["offer_id"] != NO_OFFER, "user_id"]
    assert len(given) > 10
    late = given.head(4)
    answers = iter(
        [no_contacts(), history(late.tolist(), "written to")]
    )  # somebody else wrote to them between allocation and writing
    decide(ruled, lake, AS_OF, LocalExecutor([lambda: users]), contacts=lambda: next(answers))
    after = table(lake)
    gone = after["user_id"].isin(late)
    assert set(after.loc[gone, "offer_id"]) == {NO_OFFER}
    assert set(after.loc[gone, "arm"]) == {"suppressed"}
    assert not after.loc[gone, ["discount", "expected_cost", "expected_value"]].any().any()
    assert set(after.loc[gone, "suppressed_because"]) == {"written to lately"}
    assert set(after.loc[gone, "why"]) == {"withdrawn by the check before it was written: written to lately"}
    pd.testing.assert_frame_equal(after[~gone].drop(columns="decision_id"), before[~gone].drop(columns="decision_id"))
    assert summarise(lake, AS_OF).withdrawn == 4
    assert summarise(calm, AS_OF).withdrawn == 0
    ledger = entries(lake, AS_OF, AS_OF).to_pandas()
    assert ledger.loc[ledger["user_id"].isin(late), "offer_id"].eq(NO_OFFER).all()
