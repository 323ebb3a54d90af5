from __future__ import annotations

import csv
import json
import math
import re
import sqlite3
from dataclasses import asdict, replace
from datetime import date, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_summary import AS_OF, DAY, INCOME, LAPSED, MODELS, decision, offer, write_decisions

from configs.errors import InputError
from configs.settings import Settings, load_settings
from features.storage.lake import USERS_FILE, Lake
from features.tables.parquet_files import write_parquet
from models.model_cards.pictures import panel, png
from models.policy_value.policy_verdict import (
    NOBODY,
    PERSONAL,
    RANKING,
    Arm,
    Deployed,
    Ladder,
    PolicyValue,
    PolicyVerdict,
    Rung,
    Trial,
)
from models.training_run.training_record import latest_training
from serving.guards.guard_findings import Finding, findings_table
from serving.report_page.policy_gate import gate_of
from serving.report_page.report import by_fact, write_report
from serving.report_page.summary import summarise
from serving.stored_days.day_tables import day_folder
from serving.wording.language_file import load_language
from serving.wording.reason_codes import RAISES
from serving.wording.rendering import Words

VOID = {"meta", "img", "br", "input", "hr", "link"}
SHARE_OF_LEAVERS = {"value": 0.14, "low": 0.12, "high": 0.16, "n": 2317}


class Page(HTMLParser):
    """A page as its readers get it: the text, the tags, and whether every tag is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(self.source)
        visible = re.sub(r"<style>.*?</style>|<[^>]+>", " ", self.source, flags=re.DOTALL)
        self.text = re.sub(r"\s+", " ", unescape(visible))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def metric(value: float, low: float, high: float, n: int = 2317) -> dict[str, float]:
    return {"value": value, "low": low, "high": high, "n": n}


def effect(evidence: str = "observational", low: float = -2.4, high: float = 6.0) -> dict[str, object]:
    return {
        "offer_id": "type_c", "evidence": evidence, "treated": 349, "control": 2689, "overlap": 0.32,
        "redemption_rate": 0.057, "margin": metric((low + high) / 2, low, high), "margin_shrunk": 0.12,
        "retention": metric(0.018, -0.011, 0.048), "retention_shrunk": 0.006,
    }  # fmt: skip


def models(*, ece: float = 0.01) -> dict[str, object]:
    return {
        "churn": {
            "champion": "churn-logistic-1",
            "reason": "logistic stays: the gain does not lie above 0",
            "metrics": {
                "churn.auc": metric(0.875, 0.857, 0.891), "churn.ece": metric(ece, 0.009, 0.025),
                "churn.rate": SHARE_OF_LEAVERS, "churn.auc_recency": metric(0.785, 0.754, 0.816),
                "churn.auc_logistic": metric(0.875, 0.857, 0.891),
            },
        },
        "value": {
            "champion": "value-lightgbm-2",
            "reason": "lightgbm wins",
            "metrics": {
                "value.r_squared": metric(0.73, 0.68, 0.77), "value.bias_ratio": metric(0.8, 0.7, 0.9),
                "value.r_squared_pace": metric(0.7, 0.65, 0.75),
            },
        },
        "redemption": {
            "champion": "redemption-logistic-3",
            "reason": "logistic stays",
            "metrics": {"redemption.auc": metric(0.65, 0.6, 0.7, 2954), "redemption.ece": metric(0.05, 0.04, 0.06)},
        },
    }  # fmt: skip


def write_training(lake: Lake, day: date, *, effects: list[dict[str, object]] | None = None, **of: object) -> Path:
    folder = lake.path("training", f"day={day}")
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "as_of": str(day),
        "models": of.get("models", models()),
        "effects": effects or [],
        "verdict": of.get("policy"),
        "untrained": of.get("untrained", []),
        "version": 1,
    }
    (folder / "training.json").write_text(json.dumps(kept), encoding="utf-8")
    with panel(1, 1) as (figure, _):
        for name in ("churn_shap_bar", "churn_calibration"):
            (folder / f"{name}.png").write_bytes(png(figure))
    return folder


def verdict(deployed: Deployed) -> dict[str, object]:
    """What a training keeps of the gate."""
    gains = {
        "constant": metric(-0.4, -1.4, 0.5), "rule": metric(math.nan, -math.inf, math.inf),
        "response ranking": metric(0.4, 0.1, 0.7), "personal": metric(0.9, 0.2, 1.6),
    }  # fmt: skip
    lead = metric(0.5, -0.5, 0.9)
    return {"deployed": asdict(deployed), "reason": "as it were", "gains": gains, "lead": lead, "values": {}}


def write_curve(lake: Lake, prices: list[float]) -> None:
    """Curve of budgets 0, 100, 200, ...; the settings' budget is 500."""
    points = {
        "budget": [100.0 * place for place in range(len(prices))],
        "value": [0.0, *(50.0 + place for place in range(len(prices) - 1))],
        "spent": [90.0 * place for place in range(len(prices))],
        "shadow_price": prices,
    }
    write_parquet(pa.table(points), day_folder(lake, AS_OF) / "budget_curve.parquet")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("complete_journey", tmp_path)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    write_decisions(lake, DAY)
    return lake


def test_page_needs_nothing_from_outside_and_is_whole(settings: Settings, lake: Lake) -> None:
    write_training(lake, AS_OF, effects=[effect()])
    page = Page(write_report(settings, lake, AS_OF))
    assert not page.open
    for outside in ("http://", "https://", 'src="//', "url(", "@import", "<script", "<link"):
        assert outside not in page.source
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2
    assert all((p["src"] or "").startswith("data:image/png;base64,") and p["alt"] for p in pictures)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    policy = next(attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_text_of_users_is_escaped(settings: Settings, lake: Lake) -> None:
    bad = "<script>alert(1)</script>"
    reasons = [{"code": RAISES, "column": "trait_plan", "value": bad}]
    why = [{"code": "worth", "value": bad, "effect": 1.0}]
    write_decisions(lake, [decision(bad, 0.6, 10.0, reasons=reasons, **offer(message=bad, why=why, channel=bad))])
    page = Page(write_report(settings, lake, AS_OF))
    assert "<script" not in page.source
    assert page.source.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_figures_equal_the_sums_of_the_decisions(settings: Settings, lake: Lake) -> None:
    text = Page(write_report(settings, lake, AS_OF)).text
    # a: .6 x 100, b: .3 x 1000, d: .2 x 10 are at risk; c: .1 x 2000 is not
    assert "About 1 of 4 users is expected to leave within 28 days, and 562 USD with them" in text
    assert "3 users are at risk: likelier to leave than the average, and at least 20 in 100 like them do" in text
    assert "Both are at risk, as far as they lie above the average of 30%" in text
    assert "Value at risk 562 USD 362 USD of it with the users at risk, who would bring 1,110 USD in 91 days" in text
    assert "High risk 1 20% 100 USD 60.00 USD" in text
    assert "Medium risk 2 40% 1,010 USD 302 USD" in text
    assert "Low risk 1 20% 2,000 USD 200 USD" in text
    assert "Not predicted 1 20% not known not known" in text
    assert "Everybody 5 100% 3,110 USD 562 USD" in text
    assert "expected to cost 2.25 USD and to bring 5.00 USD more than it costs" in text
    assert "Category coupons 40% mail 2 1 20% 2.25 USD 5.00 USD observational" in text
    assert "2 users get an offer, 1 of them at risk" in text
    assert "2.25 USD of at most 500 USD (0.4%)" in text
    assert "Why 3 users get no offer" in text
    assert "1 user is in the control group" in text
    assert "Active days, last 90 days 2 (67%) 2 3" in text


def test_examples_show_risk_worth_reasons_and_decision(settings: Settings, lake: Lake) -> None:
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "User a 60% · high risk Active · worth 100 USD · value at risk 60.00 USD" in text
    assert "plan: a (raises the risk); income: 9 lowers the risk" in text
    assert "40% off : Category coupons, by mail, 1 July 2024, 00:00 40% off BREAD" in text
    assert "Why: worth +2.50 USD" in text
    assert "User e" not in text


def test_same_inputs_give_the_same_bytes(settings: Settings, lake: Lake) -> None:
    write_training(lake, AS_OF, effects=[effect()])
    first = write_report(settings, lake, AS_OF).read_bytes()
    assert write_report(settings, lake, AS_OF).read_bytes() == first


def test_models_are_judged_in_words_beside_plainer_rules(settings: Settings, lake: Lake) -> None:
    write_training(lake, AS_OF)
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "Who will leave? good" in text
    assert "(AUC 0.875 [0.857, 0.891] ; a coin gets 50), tested on 2,317 users" in text
    assert "Plainer rule, days since last active, nothing else: 0.785 [0.754, 0.816]" in text
    assert "a logistic regression: 0.875" not in text  # the champion itself
    assert "can be taken at their word: when it says 20%, typically 19 to 21 in 100 leave" in text
    assert "logistic stays: the gain does not lie above 0." in text
    assert "What is staying worth? good" in text
    assert "when it says 100 USD, users bring about 125 USD" in text
    assert "Who will use an offer? poor" in text
    assert "with some care: when it says 20%, typically 15 to 25 in 100 use it" in text


def test_a_column_that_may_tell_the_future_is_named_before_the_figures_are_believed(
    settings: Settings, lake: Lake
) -> None:
    told = models()
    told["churn"] |= {"leaks": [{"column": "trait_status", "auc_alone": 0.9, "gain_without": None}]}
    write_training(lake, AS_OF, models=told)
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "Check this first: trait_status may tell the future" in text
    assert "Alone it tells users apart 90 times in 100." in text


def test_the_mean_is_not_called_worse_than_the_average(settings: Settings, lake: Lake) -> None:
    told = models()
    worth = {"value.r_squared": metric(-0.02, -0.03, -0.01), "value.mean": metric(24.0, 22.0, 26.0)}
    told["value"] = {"champion": "value-mean-2", "reason": "mean wins", "metrics": worth}
    write_training(lake, AS_OF, models=told)
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "What is staying worth? the average itself Everybody counts as worth the same, " in text
    assert "worse than the average" not in text
    assert "In use: the mean of everybody" in text


def test_without_a_training_the_page_says_so(settings: Settings, lake: Lake) -> None:
    write_training(lake, AS_OF + timedelta(days=1))
    text = Page(write_report(settings, lake, AS_OF)).text
    assert latest_training(lake, AS_OF) is None
    assert "No training is on record on or before 1 July 2024" in text
    assert "Training None on record" in text


def test_newest_training_on_or_before_the_day_is_shown(settings: Settings, lake: Lake) -> None:
    for days in (30, 7, -1):
        write_training(lake, AS_OF - timedelta(days=days))
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "As of 24 June 2024, the newest one on record" in text
    assert f"{MODELS} The section above" in text  # value-lightgbm-2 is judged, value-pace-2 decided
    assert "judges value-lightgbm-2, which did not take part" in text


def write_registry(lake: Lake, name: str, pin: dict[str, object]) -> None:
    """Registry that holds one model of the name, and a pin, as MLflow's file has them."""
    lake.path("mlflow").mkdir(exist_ok=True)
    with sqlite3.connect(lake.path("mlflow", "mlflow.db")) as store:
        store.executescript(
            """CREATE TABLE model_versions (name, version, storage_location, run_id, current_stage);
            CREATE TABLE runs (run_uuid, artifact_uri);
            CREATE TABLE model_version_tags (name, version, key, value);
            CREATE TABLE registered_model_tags (name, key, value);
            CREATE TABLE registered_model_aliases (name, alias, version);
            INSERT INTO model_versions VALUES ('winback-churn', 1, '', 'r', 'None');"""
        )
        store.execute("INSERT INTO model_version_tags VALUES ('winback-churn', 1, 'name', ?)", (name,))
        store.execute("INSERT INTO registered_model_tags VALUES ('winback-churn', 'pin', ?)", (json.dumps(pin),))


@pytest.mark.parametrize("decides", [True, False])
def test_a_model_that_a_person_pinned_is_told_where_it_decides(settings: Settings, lake: Lake, decides: bool) -> None:
    write_training(lake, AS_OF)
    used = summarise(lake, AS_OF).model_versions[0].split(", ")[0]
    pin = {"version": 1, "by": "ana", "since": "2024-06-30T08:00:00+00:00", "reason": "complaints <b>"}
    write_registry(lake, used if decides else "another", pin)
    said = "ana chose the model in use and pinned it on 2024-06-30: complaints <b>. No training replaces it until"
    assert (said in Page(write_report(settings, lake, AS_OF)).text) == decides


@pytest.mark.parametrize(
    ("given", "words", "is_bet"),
    [
        (effect(), "anything between −2.40 and +6.00 USD a head: treat it as a bet, not as a fact.", True),
        (effect(low=0.5, high=1.0), "It adds margin, between +0.50 and +1.00 USD a head before costs, as far as", True),
        (effect("randomised", 0.5, 1.0), "It adds margin, between +0.50 and +1.00 USD a head before costs.", False),
        (effect("randomised", -3, -1), "It loses margin, between −3.00 and −1.00 USD a head before costs.", True),
    ],
)
def test_evidence_of_an_offer_is_put_in_words(
    settings: Settings, lake: Lake, given: dict[str, object], words: str, is_bet: bool
) -> None:
    write_training(lake, AS_OF, effects=[given])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert words in text
    assert ("That gain is a bet" in text) is is_bet
    assert "349 cases with the offer and 2,689 without it could be compared, 32% of all" in text
    assert "Coupon book not measured Not enough data: an effect needs 50 comparable users" in text


def test_a_day_without_offers_says_why(settings: Settings, lake: Lake) -> None:
    write_decisions(lake, [decision("a", 0.6, 100.0)])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "Nobody gets an offer today. What offers change is not known: no training is on record" in text
    few = {"reason": "280 of 500 treatments are over", "meaning": "nobody gets one but at random"}
    write_training(lake, AS_OF, untrained=[{"subject": "effects", **few}, {"subject": "redemption", **few}])
    text = Page(write_report(settings, lake, AS_OF)).text
    told = "280 of 500 treatments are over"
    assert f"Nobody gets an offer today. What offers change is not known: {told}" in text
    assert f"There is no model of redemption: {told}" in text
    write_training(lake, AS_OF)
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "No offer is expected to bring more than it costs for anyone" in text


def test_without_money_the_page_speaks_of_people(settings: Settings, lake: Lake) -> None:
    write_decisions(lake, [decision("a", 0.6, None), decision("b", 0.7, None), decision("c", 0.1, None)])
    untrained = [{"subject": "value", "reason": "no money is known", "meaning": "worth is not known"}]
    poor = {**effect("randomised"), "margin": None, "retention": metric(0.046, 0.02, 0.072)}
    write_training(lake, AS_OF, untrained=untrained, effects=[poor])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "About 1 of 3 users is expected to leave within 28 days 2 users are at risk" in text
    assert "Expected leavers 1 within 28 days, at risk or not; what they are worth is not known" in text
    assert "It keeps users: between +2.0 and +7.2 more of 100 stay." in text
    assert "What a user is worth is not known: no money is known." in text
    assert "Value at risk 0" not in text


def test_without_a_model_of_risk_the_page_says_why(settings: Settings, lake: Lake) -> None:
    write_decisions(lake, [decision("a", None, 100.0), decision("b", None, 10.0)])
    untrained = [{"subject": "churn", "reason": "49 users have a closed label", "meaning": "nobody's risk is known"}]
    write_training(lake, AS_OF, untrained=untrained, models={})
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "Nobody’s risk is known of 2 users" in text
    assert "There is no model of churn: 49 users have a closed label. So nobody's risk is known." in text


def test_an_app_without_a_catalogue_reports_risk_alone(lake: Lake) -> None:
    settings = load_settings("online_retail", lake.root)
    write_decisions(lake, [decision("a", 0.6, 100.0), decision("b", None, None)])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "About 1 of 1 user is expected to leave within 91 days, and 60.00 GBP with them 1 user is at risk" in text
    assert "Nobody gets an offer today. This app has no offers in its catalogue" in text
    assert "nothing on this page rests on the effect of an offer" in text
    assert "USD" not in text


def test_a_day_of_lapsed_users_only_still_makes_a_page(settings: Settings, lake: Lake) -> None:
    write_decisions(lake, [decision(name, None, None, why=LAPSED) for name in "abc"])
    page = Page(write_report(settings, lake, AS_OF))
    assert "None of 3 users was active lately" in page.text
    assert "Nobody is at risk today" in page.text
    assert "there is no user to show" in page.text
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize(("deployed", "is_told"), [(PERSONAL, True), (NOBODY, False)])
def test_what_picks_cost_and_change_beside_what_models_expect_is_told_where_personal_decides(
    settings: Settings, lake: Lake, deployed: str, is_told: bool
) -> None:
    corrected = verdict(Deployed(deployed)) | {"costs": {"own": 1.2, "others": 2.0}, "believed": 0.7}
    write_training(lake, AS_OF, policy=corrected)
    told = "benefits of those it picks cost 120% of what models expect, 200% where no own spend is known, and 70% of"
    assert (told in Page(write_report(settings, lake, AS_OF)).text) == is_told


@pytest.mark.parametrize(
    ("deployed", "words"),
    [
        (Deployed(PERSONAL), "Each user gets what is expected to be worth most for them. It was proven to bring more"),
        (Deployed(NOBODY), "Nobody gets an offer. No way of giving offers was proven to bring more than giving none."),
        (
            Deployed(RANKING, ("type_c", 0.4), "p_redeem", 0.25),
            "Category coupons, 40% off, for users whose chance to use it is above 25%. It was proven to",
        ),
    ],
    ids=str,
)
def test_the_policy_that_decides_is_told_with_what_it_was_chosen_from(
    settings: Settings, lake: Lake, deployed: Deployed, words: str
) -> None:
    write_training(lake, AS_OF, policy=verdict(deployed))
    text = Page(write_report(settings, lake, AS_OF)).text
    assert words in text
    own = {PERSONAL: "To each user what is expected to be worth most for them", RANKING: "likeliest to use it"}
    assert text.count(" decides ") == (deployed.name in own)
    if deployed.name in own:
        assert re.search(f"{own[deployed.name]} [^A-Z]* decides", text)
    assert "The same offer for everybody −0.40 −1.40 to +0.50 not proven" in text
    assert "One offer for whoever lies on one side of one number not known too few data not proven" in text
    assert "worth +0.50 USD a head (−0.50 to +0.90) more than the simpler way that came closest" in text
    assert "as it were" not in text  # the English sentence that an older winback kept
    assert ("That gain is a bet" in text) is (deployed.name == NOBODY)


def test_why_a_policy_decides_is_said_in_the_language_and_whom_it_beats_least() -> None:
    gain = PolicyValue(1.5, -0.5, 2.5, 900, 400.0)
    gains = dict.fromkeys(("constant", "personal"), gain)
    words = Words(load_language("de"), currency="EUR", is_print=True)
    goes_on = gate_of(PolicyVerdict(Deployed(PERSONAL), gains, gain, {}, against="constant"), words).lead
    assert goes_on.startswith(
        "Für jede Person zu wählen war +1,50 EUR je Kopf (−0,50 bis +2,50) mehr wert als dasselbe Angebot für alle, "
    )
    assert goes_on.endswith("Es entschied schon vorher und bleibt, solange es um einen Standardfehler vorn liegt.")
    stays = PolicyVerdict(Deployed(NOBODY), gains, gain, {}, against=NOBODY)
    assert "als niemandem etwas zu geben" in gate_of(stays, words).lead
    assert "Standardfehler" not in gate_of(stays, words).lead
    assert stays.reason == (
        "nobody stays: personal is worth +1.500 [-0.500, +2.500] a head more than nobody, which does not lie above 0"
    )
    same = replace(stays, lead=PolicyValue(0.0, 0.0, 0.0, 9, 9.0))
    assert gate_of(same, words).lead == "Für jede Person zu wählen gäbe niemandem etwas."
    refuted = gate_of(PolicyVerdict(Deployed(NOBODY), {}, gain, {}, refuted=("mail",)), words)
    assert "widerlegt die angegebenen Wahrscheinlichkeiten (propensity) von mail" in refuted.why
    unknown = PolicyValue(math.nan, -math.inf, math.inf, 9)
    poor = gate_of(PolicyVerdict(Deployed(NOBODY), {}, unknown, {}), words)
    assert (poor.lead, "denn kein Ereignis bringt Geld" in poor.why) == ("", True)


def test_without_randomised_treatments_nothing_is_said_about_a_policy(settings: Settings, lake: Lake) -> None:
    write_training(lake, AS_OF)
    assert "How it was decided" not in Page(write_report(settings, lake, AS_OF)).text


def test_when_no_policy_is_proven_the_page_says_that_nobody_gets_an_offer(settings: Settings, lake: Lake) -> None:
    write_decisions(lake, [decision("a", 0.6, 100.0)])
    write_training(lake, AS_OF, policy=verdict(Deployed(NOBODY)))
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "Nobody gets an offer today. No way of giving offers was proven to bring more than giving none." in text


def test_what_is_on_trial_and_what_is_retired_is_told_with_what_it_may_cost(settings: Settings, lake: Lake) -> None:
    gain = PolicyValue(0.9, -0.4, 2.2, 900, 100.0)
    mail = Deployed("constant", ("type_c", 0.4))
    rungs = (
        Rung(mail, "retired", replace(gain, high=-0.1), 0.001),
        Rung(Deployed(PERSONAL), "on trial", gain, 0.8, 0.3),
    )
    ladder = Ladder(rungs, Trial((Arm(Deployed(NOBODY), 0.4), Arm(Deployed(PERSONAL), 0.6)), 0.5), 0.1, 0.2)
    write_training(lake, AS_OF, policy=verdict(Deployed(NOBODY)) | {"ladder": asdict(ladder)})
    text = Page(write_report(settings, lake, AS_OF)).text
    own = "each user gets what is expected to be worth most for them (30%)"
    assert f"On trial, for 30% of the users, who are drawn anew every day: {own}. Past offers speak for it" in text
    assert "In a day the trial may lose 250 USD at most (50% of the budget)." in text
    assert "+0.90 +0.20 to +1.60 on trial for 30% of users" in text
    assert "The same offer for everybody −0.40 −1.40 to +0.50 retired: proven to bring less" in text


def test_a_damaged_verdict_names_the_command(settings: Settings, lake: Lake) -> None:
    write_training(lake, AS_OF, policy={"reason": "lost"})
    with pytest.raises(InputError, match=r"training\.json is damaged; run winback train-models --as-of 2024-07-01"):
        write_report(settings, lake, AS_OF)


def test_the_budget_curve_is_shown_with_what_one_more_unit_earns(settings: Settings, lake: Lake) -> None:
    write_curve(lake, [2.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    page = Page(write_report(settings, lake, AS_OF))
    assert "One more USD of budget would earn about 0.60 USD after paying for itself" in page.text
    assert "500 USD today 450 USD 54.00 USD 0.60 USD" in page.text
    assert "1,000 USD 900 USD 59.00 USD 0.10 USD" in page.text
    assert sum(attrs.get("class") == "chart" for tag, attrs in page.tags if tag == "svg") == 1
    assert write_report(settings, lake, AS_OF).read_text(encoding="utf-8") == page.source


def test_what_one_more_unit_earns_is_what_the_day_s_allocation_said(settings: Settings, lake: Lake) -> None:
    write_curve(lake, [2.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    write_parquet(pa.table({"shadow_price": [0.75]}), day_folder(lake, AS_OF) / "spending.parquet")
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "would earn about 0.75 USD after" in text
    assert "one more USD earns more today than the table says" in text


def test_when_only_random_draws_give_offers_the_page_says_so(settings: Settings, lake: Lake) -> None:
    write_training(lake, AS_OF, policy=verdict(Deployed(NOBODY)))
    assert "Only those drawn at random do" in Page(write_report(settings, lake, AS_OF)).text


def test_a_budget_that_buys_everything_is_said_to_be_enough(settings: Settings, lake: Lake) -> None:
    write_curve(lake, [2.0, 1.0, 0.0, 0.0])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "More budget would earn nothing: all that pays is given, for 270 USD." in text
    assert "300 USD today" in text  # the nearest to today's budget that the curve has
    prices = {"limit": ["budget", "channel mail", "channel email"], "price": [0.0, 1.5, 0.0]}
    write_parquet(pa.table(prices), day_folder(lake, AS_OF) / "prices.parquet")
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "More budget would earn nothing, as no place is left: channel mail." in text


@pytest.mark.parametrize("prices", [[], [0.0]], ids=["no points", "nothing to gain"])
def test_a_curve_that_says_nothing_is_left_out(settings: Settings, lake: Lake, prices: list[float]) -> None:
    points = {name: [0.0] * len(prices) for name in ("budget", "value", "spent")} | {"shadow_price": prices}
    table = pa.table({name: pa.array(column, pa.float64()) for name, column in points.items()})
    write_parquet(table, day_folder(lake, AS_OF) / "budget_curve.parquet")
    assert "would earn" not in Page(write_report(settings, lake, AS_OF)).text


def test_the_funnel_counts_who_is_left_after_every_reason(settings: Settings, lake: Lake) -> None:
    text = Page(write_report(settings, lake, AS_OF)).text
    rows = [
        "Not active for 56 days: the models do not speak of lapsed users 1 (20%) 4",
        "In the control group, which is never treated, so that effects can be measured 1 (20%) 3",
        "Nothing pays: every option whose effect is known would cost more than it brings 1 (20%) 2",
        "Get an offer 2 (40%)",
    ]
    assert " ".join(rows) in text


def test_a_message_without_a_discount_is_not_zero_percent_off(settings: Settings, lake: Lake) -> None:
    write_decisions(lake, [decision("a", 0.6, 100.0, **offer(discount=0.0, channel="in_app", message="New for you"))])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "No discount : Category coupons, by in-app" in text
    assert "Category coupons none in-app 1" in text
    assert "0% off" not in text
    assert "likely to use it" not in text


def test_refused_rows_and_the_interval_of_the_events_are_told(settings: Settings, lake: Lake) -> None:
    write_parquet(
        pa.table({"reason": ["no user", "no user", "in the future"]}), lake.path("quarantine/src/events.parquet")
    )
    for days in (1, 3, -2):
        write_parquet(pa.table({"n": [1]}), lake.partition("events", AS_OF - timedelta(days=days)))
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "3 rows broke the data contract and were set aside" in text
    assert "src events no user 2 src events in the future 1" in text
    assert "28 June 2024 to 30 June 2024, 2 days with events" in text
    assert "1 event of the newest day, decisions about 5 users" in text


def test_a_damaged_training_names_the_command(settings: Settings, lake: Lake) -> None:
    (write_training(lake, AS_OF) / "training.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"training\.json is damaged; run winback train-models --as-of 2024-07-01"):
        write_report(settings, lake, AS_OF)


def test_of_whom_no_consent_is_on_record_is_told(settings: Settings, lake: Lake) -> None:
    """The catalogue goes by mail alone, to the five users a to e."""
    write_parquet(pa.table({"user_id": ["a", "b", "c"], "consent_mail": [True, False, None]}), lake.path(USERS_FILE))
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "Of 3 users no consent to mail is on record (users' consent_mail): it counts as granted" in text
    write_parquet(pa.table({"user_id": list("abcde"), "consent_mail": [True] * 5}), lake.path(USERS_FILE))
    assert "on record (users'" not in Page(write_report(settings, lake, AS_OF)).text
    write_parquet(pa.table({"user_id": list("abcde")}), lake.path(USERS_FILE))
    refused = settings.model_copy(
        update={"contact": settings.contact.model_copy(update={"unknown_consent": "refused"})}
    )
    assert (
        "Of 5 users no consent to mail is on record (users' consent_mail): it counts as refused"
        in Page(write_report(refused, lake, AS_OF)).text
    )


def test_the_users_at_risk_are_listed_with_what_raises_their_risk_and_what_they_get(tmp_path: Path) -> None:
    settings, lake = load_settings("complete_journey", tmp_path, time_zone="Europe/Berlin"), Lake(tmp_path)
    bad = {"code": RAISES, "column": "trait_plan", "value": "=1+1"}
    spent = {"code": RAISES, "column": "spend_sum_28d", "number": 12.5}
    write_decisions(
        lake, [*DAY, decision("@x", 0.7, None, reasons=[INCOME, bad, spent], **offer(message='-sale, "now"'))]
    )
    page = Page(write_report(settings, lake, AS_OF))
    assert 'href="2024-07-01-at-risk.csv"' in page.source
    with (tmp_path / "reports" / "2024-07-01-at-risk.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["user_id"] for row in rows] == ["b", "a", "d", "'@x"]  # most value at risk first; c is not at risk
    assert rows[0] | {"p_churn": "0.3", "worth": "1000.0", "value_at_risk": "300.0", "offer": "none"} == rows[0]
    assert rows[1]["why_at_risk"] == "active days, last 90 days: 2"  # what lowers it is no reason
    assert (rows[1]["offer"], rows[1]["discount"], rows[1]["send_at"]) == ("type_c", "0.4", "2024-07-01 02:00:00")
    assert rows[2]["why_at_risk"] == ""
    assert rows[3]["why_at_risk"] == "plan: =1+1; money spent, last 28 days: 12.50 USD"
    assert (rows[3]["message"], rows[3]["worth"]) == ('\'-sale, "now"', "")
    assert not any(value.startswith(("=", "+", "@", "\t", "\r")) for row in rows for value in row.values())


def test_who_left_or_refuses_profiling_is_told_apart_from_who_lapsed(settings: Settings, lake: Lake) -> None:
    refusing = decision("g", None, None, stage="cooling", why=[{"code": "no_profiling"}])
    fresh = decision("h", None, None, stage="new", why=[{"code": "not_active", "number": 91.0}])
    write_decisions(lake, [*DAY, decision("f", None, None, stage="left"), refusing, fresh])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "Not predicted 4 50%" in text
    assert "1 new user has not been active yet: nothing is predicted of them" in text
    assert "1 user has not been active for 91 days: they count as lapsed" in text
    assert "1 user has ended the contract and not been active since: they have left already" in text
    assert "Of 1 user nothing is predicted because they do not consent to profiling" in text


def test_a_plan_that_random_draws_make_lose_is_not_said_to_bring_more_than_it_costs(
    settings: Settings, lake: Lake
) -> None:
    write_decisions(lake, [decision("a", 0.6, 100.0, **offer(arm="explore", expected_value=-3.0))])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "to bring −3.00 USD after its cost: the price of what randomised offers teach" in text
    assert "more than it costs" not in text.split("Who is at risk")[0]


def test_where_nobody_stands_out_the_page_says_what_to_do(settings: Settings, lake: Lake) -> None:
    write_decisions(lake, [decision(name, 0.02, 10.0) for name in "abcd"])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "above the average of 2.0%. Nobody does today : a lower scoring.medium_risk shows" in text
    assert "Nobody is at risk today, so there are no reasons to count" in text


def test_what_a_guard_found_stands_above_all_figures(settings: Settings, lake: Lake) -> None:
    assert "Guards None looked at this day" in Page(write_report(settings, lake, AS_OF)).text
    found = [Finding("volume", "fired", "warn", 0.5, "volume", "", 3.0, 9.0)]
    write_parquet(findings_table(found), day_folder(lake, AS_OF) / "guards.parquet")
    text = Page(write_report(settings, lake, AS_OF)).text
    words = "30 June 2024, a Sunday, has 3 events, the same weekdays before it usually 9 (guards.volume, limit 0.5)"
    assert f"Before you act on this page: {words}." in text
    assert text.index(words) < text.index("At risk")
    assert f"Guards {words}" in text
    drifted = [Finding("input_drift", "fired", "warn", 0.25, "input_drift", "tenure_days", 3.0, 0.0), *found]
    write_parquet(findings_table(drifted), day_folder(lake, AS_OF) / "guards.parquet")
    text = Page(write_report(settings, lake, AS_OF)).text
    assert text.count("Before you act on this page:") == 1
    assert "“days as a customer” lies 3.00 (PSI) from what models were taught" in text and words in text


def test_where_most_leave_nobody_likely_to_leave_is_called_low_risk(settings: Settings, lake: Lake) -> None:
    write_decisions(lake, [{**decision(name, 0.51, 10.0), "risk_band": "low"} for name in "abcd"])
    text = Page(write_report(settings, lake, AS_OF)).text.lower()
    assert "low risk" not in text
    assert "51% · not above the average risk" in text
    assert "no more than average risk 4 100%" in text


def test_a_model_whose_interval_lies_above_a_half_is_better_than_chance(settings: Settings, lake: Lake) -> None:
    weak = models()
    weak["churn"]["metrics"]["churn.auc"] = metric(0.591, 0.529, 0.648)
    write_training(lake, AS_OF, models=weak)
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "Who will leave? weak, but better than chance" in text
    assert "Risk model weak, but better than chance" in text


def test_windows_of_one_fact_are_one_driver(settings: Settings) -> None:
    rows = [("sessions_count_28d", 5, 2, None, None), ("trait_plan", 4, 4, None, "free"),
            ("active_days_count_90d", 3, 1, 7.0, None), ("tenure_days", 1, 0, 9.0, None)]  # fmt: skip
    drivers = pd.DataFrame(rows, columns=["column", "users", "strongest", "number", "value"])
    found = by_fact(drivers, settings.roles).replace(np.nan, None)
    assert list(found.itertuples(index=False, name=None)) == [
        ("sessions_count_28d", 8, 3, None, None), ("trait_plan", 4, 4, None, "free"), ("tenure_days", 1, 0, 9.0, None)
    ]  # fmt: skip
    assert by_fact(drivers.head(0), settings.roles).empty


def test_what_random_draws_bring_of_which_nothing_is_known_is_not_told_as_a_loss(
    settings: Settings, lake: Lake
) -> None:
    explorer = {"arm": "explore", "offer_id": "type_c", "discount": 0.4, "channel": "mail", "evidence": "none"}
    write_decisions(lake, [decision("a", 0.6, 9.0, **explorer, expected_cost=2.5, expected_value=-2.5, p_redeem=None)])
    text = Page(write_report(settings, lake, AS_OF)).text
    assert "It is expected to cost 2.50 USD; what it brings is not known yet" in text
    assert "All were drawn at random, to learn what offers change" in text and "change most for its cost" not in text
    assert "2.50 USD not known not measured" in text and "−2.50" not in text
    assert "no further offer is known to pay, and randomised offers may cost 25% of it at most" in text


def test_the_page_and_the_list_speak_the_language_of_the_app(settings: Settings, lake: Lake) -> None:
    german = settings.model_copy(update={"language": "de"})
    page = Page(write_report(german, lake, AS_OF))
    assert ("html", {"lang": "de"}) in page.tags
    assert "nach Kosten" in page.text and f"Risikobericht vom {AS_OF.day}. " in page.source
    english = {text for text in load_language("de").pages if len(text.split()) > 2 and "{" not in text}
    assert [text for text in english if f">{text}<" in page.source or f'"{text}"' in page.source] == []
    listed = (lake.root / "reports" / f"{AS_OF}-at-risk.csv").read_text(encoding="utf-8")
    assert '"aktive Tage, letzte 90 Tage: 2"' in listed
