"""Parts of rules in plain words: every comparison of the shipped rules is told without SQL, in both languages."""

from __future__ import annotations

import re

import pytest

from configs.settings import load_settings
from features.definitions.app_declarations import declarations_of
from serving.memberships.part_words import part_words, unusual_words
from serving.segments.comparisons import comparison_of
from serving.segments.definitions import definitions_of
from serving.wording.rendering import Words, words_of

SETTINGS = load_settings(currency="EUR")
ENGLISH, GERMAN = (words_of(load_settings(language=language, currency="EUR")) for language in ("en", "de"))
CONSTANTS = {"churn_horizon_days": 28.0}


@pytest.mark.parametrize(
    ("part", "english", "german"),
    [
        ("spend_sum_28d > 1234.5", "money spent, last 28 days: above 1,234.50 EUR",
         "Ausgaben, letzte 28 Tage: über 1.234,50 EUR"),
        ("28 >= days_since_last_activity", "days since last active: at most 28",
         "Tage seit letzter Aktivität: höchstens 28"),
        ("tenure_days <= churn_horizon_days", "days as a customer: at most 28", "Tage als Kunde: höchstens 28"),
        ("is_cart_open", "something lies in the cart", "etwas liegt im Warenkorb"),
        ("quintile(purchases_count_365d) >= 4", "purchases, last 365 days: the highest two fifths of the users",
         "Käufe, letzte 365 Tage: die oberen zwei Fünftel der Personen"),
        ("quintile(purchases_count_365d) IN (3, 4)",
         "purchases, last 365 days: fifth 3, 4 of five, 1 the lowest, of the users",
         "Käufe, letzte 365 Tage: Fünftel 3, 4 von fünf, 1 das unterste, der Personen"),
        ("spend_sum_28d > quantile(spend_sum_28d, 0.8)",
         "money spent, last 28 days: above what 80% of the users have at most",
         "Ausgaben, letzte 28 Tage: über dem, was 80\u00a0% höchstens haben"),
        ("risk_band IN ('high', 'medium')", "risk: high, medium", "Risiko: hoch, mittel"),
        ("days_since_last_cart IS NULL", "days since something was put into the cart: unknown",
         "Tage, seit etwas in den Warenkorb kam: unbekannt"),
        ("spend_sum_28d BETWEEN 5 AND 10", "money spent, last 28 days: 5 EUR to 10 EUR",
         "Ausgaben, letzte 28 Tage: 5 EUR bis 10 EUR"),
        ("spend_sum_28d * 2 < spend_sum_90d", "money spent, last 28 days; money spent, last 90 days",
         "Ausgaben, letzte 28 Tage; Ausgaben, letzte 90 Tage"),
        ("spend_trend_28d < -0.5", "spend, against the usual pace, last 28 of 90 days: below -50%",
         "Ausgaben, gemessen am üblichen Tempo, letzte 28 von 90 Tagen: unter -50\u00a0%"),
        ("new user", "being new", "neu sein"),
    ],
)  # fmt: skip
def test_a_part_is_told_in_the_words_of_the_catalogue(part: str, english: str, german: str) -> None:
    assert (part_words(part, ENGLISH, CONSTANTS), part_words(part, GERMAN, CONSTANTS)) == (english, german)


@pytest.mark.parametrize("words", [ENGLISH, GERMAN], ids=["en", "de"])
def test_no_part_of_a_shipped_rule_is_told_as_sql(words: Words) -> None:
    found = definitions_of(SETTINGS, declarations_of(SETTINGS).catalogue())
    parts = {part.text for each in found.segments for part in each.rule.parts}
    parts |= {part.text for stage in found.stages.stages for part in stage.rule.parts}
    assert len(parts) > 40
    constants = {"churn_horizon_days": 28.0, "churn_lookback_days": 91.0, "value_horizon_days": 91.0}
    told = {part: part_words(part, words, constants) for part in parts}
    assert {part: text for part, text in told.items() if re.search(r"[_=<>*]|\d+\.\d{3}", text)} == {}


@pytest.mark.parametrize(
    ("text", "fifths"),
    [
        ("quintile(x) = 1", (1,)), ("quintile(x) < 3", (1, 2)), ("quintile(x) <> 3", (1, 2, 4, 5)),
        ("4 <= quintile(x)", (4, 5)), ("quintile(x) BETWEEN 2 AND 3", (2, 3)), ("quintile(x) > 4", (5,)),
    ],
)  # fmt: skip
def test_fifths_are_those_that_fulfil_the_comparison(text: str, fifths: tuple[int, ...]) -> None:
    assert comparison_of(text, {}).fifths == fifths


def test_an_unusual_week_is_told_with_what_moved_it() -> None:
    row = {
        "segment": "champions", "title": "Champions", "before": 1200, "users": 900, "change": -300, "usual": 4.0,
        "spread": 20.0, "weeks": 8,
        "week_moved_by": [{"part": "is_cart_open", "is_member": False, "users": 1100}],
    }  # fmt: skip
    assert unusual_words(row, ENGLISH, SETTINGS) == (
        "Champions shrank, 1,200 to 900 within a week (usually +4 give or take 20, over 8 weeks): "
        "1,100 left by “something lies in the cart”"
    )
    assert unusual_words(row, GERMAN, SETTINGS) == (
        "„Beste Kunden“ schrumpfte binnen einer Woche von 1.200 auf 900 (üblich +4 ± 20, über 8 Wochen)"
        ": 1.100 gingen durch „etwas liegt im Warenkorb“"
    )
