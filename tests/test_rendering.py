"""Words: one place where codes become sentences, in a language, and nothing that an app says can forge a reason."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import FEATURES, WORDS, small_settings

from configs.errors import InputError
from configs.named_files import FOLDER
from configs.segment_files import load_segments, load_stages
from configs.settings import load_settings
from models.metrics.evaluation import fit_verdict, ranking_verdict
from models.metrics.metric import Metric
from models.policy_value.policy_verdict import CONSTANT, NOBODY, PERSONAL, RANKING, RULE, Deployed
from serving.segments.known_columns import PREDICTED, STAGE
from serving.wording import reason_codes
from serving.wording.explanations import policy_reasons
from serving.wording.half_languages import language_notes
from serving.wording.language_file import load_language
from serving.wording.reason_codes import ASKED, LOWERS, RAISES, RULES, Reason
from serving.wording.reason_lists import ReasonLists
from serving.wording.rendering import Words, stored, words_of

ENGLISH, GERMAN = load_language("en"), load_language("de")
RULE_FILES = sorted((FOLDER.parent / "serving" / "contact_rules").glob("*.py"))


@pytest.mark.parametrize("path", sorted((FOLDER / "languages").glob("*.toml")), ids=lambda path: path.stem)
def test_every_language_says_all_that_there_is_to_say(path):
    """That templates are those of English, with the same fields, is checked when a language is read."""
    language = load_language(path.stem)
    named = {feature.fact for feature in FEATURES if feature.view != "traits"}
    named |= {STAGE, *PREDICTED}  # what rules of segments may name beside them
    assert path.stem == "en" or set(language.labels) == named
    settings = load_settings().segments
    rules = [*load_stages(settings.stages), *load_segments(settings.files)]
    groups = {rule.name for rule in rules if getattr(rule, "each", None) is None}
    assert path.stem == "en" or set(language.groups) == groups == set(language.meanings)
    english = tomllib.loads((FOLDER / "languages" / "en.toml").read_text(encoding="utf-8"))
    assert set(tomllib.loads(path.read_text(encoding="utf-8"))) - {"groups", "meanings", "pages"} == set(english)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("{text} bringt", "{txt} bringt", r"heading.no_place in language .*my.toml uses {txt}; it may use {text}"),
        ("seit {number:.0f} Tagen", "seit {number:s} Tagen", r"cannot write {number:s}; write 'not active for"),
        ("{effect:+.2f} Kontakt", "{effect:+.2f Kontakt", r"line.contact in language .* is no template .*; mend"),
        ('locale = "de"', 'locale = "dee"', "formats.locale in language .*my.toml: 'dee' is no language; did you mean"),
        ("[values]", "[vaues]", "'vaues' in language .*my.toml is not a setting; did you mean 'values'"),
        ('"user" = "Person"', '"user {0}" = "Person"', r"leaves out \{0\}; write it as 'user \{0\}'"),
        ('"user" = "Person"', '"user" = "<b>Person</b>"', "has other tags than 'user'; keep those"),
        ("{number} Uhr", "Uhr", r"units.hour in language .* leaves out {number}; write it as '{number}:00'"),
        (
            "[heading]",
            '[heading]\nno_tea = "kein {tea}"',
            r"heading.no_tea .* uses {tea}; it may use {label}",
        ),
    ],
)
def test_a_mistake_in_a_language_is_named_when_it_is_read(tmp_path, old, new, sentence):
    text = (FOLDER / "languages" / "de.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "my.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        load_language(str(path))


FRENCH = """
[heading]
no_place = "plus de place : {text} rapporte plus ailleurs"
[terms]
email = "courriel"
[pages]
"At risk" = "En danger"
"""


def test_a_third_language_is_a_file_and_what_it_lacks_is_said_once(tmp_path):
    path = tmp_path / "fr.toml"
    path.write_text(FRENCH, encoding="utf-8")
    words = words_of(load_settings(language=str(path)))
    assert (
        words.sentence(stored((Reason("no_place", value="email"),)))
        == "plus de place : courriel rapporte plus ailleurs"
    )
    assert words.sentence(stored((Reason("nobody"),))) == ENGLISH.heading["nobody"]
    assert (words.term("email"), words.say("At risk"), words.say("Offers today")) == (
        "courriel", "En danger", "Offers today",
    )  # fmt: skip
    assert words.figures.money(1234.5).replace("\u202f", " ").replace("\u00a0", " ") == "1 234 USD"
    (note,) = language_notes(load_settings(language=str(path)))
    assert re.fullmatch(
        r"language .*fr.toml says 3 of [\d,]{3,} texts and the others in English, the first of them '\S+'; add them to "
        r"fr.toml", note,
    )  # fmt: skip
    assert [language_notes(load_settings(language=name)) for name in ("en", "de")] == [[], []]


@pytest.mark.parametrize("name", ["en", "de"])
def test_every_code_of_a_reason_and_every_verdict_has_words(name):
    language = load_language(name)
    own = {value for name, value in vars(reason_codes).items() if name.isupper() and isinstance(value, str)}
    codes = {*own, *reason_codes.RULES, *reason_codes.ASKED}
    codes |= set(re.findall(r'[ (]Rule\(\s*"(\w+)"', "".join(each.read_text("utf-8") for each in RULE_FILES)))
    sections = (language.lead, language.heading, language.line, language.detail)
    assert {"by_rule", "open_offer", "has_left"} <= codes
    assert [code for code in sorted(codes) if not any(code in section for section in sections)] == []
    values = [(value, width) for value in np.arange(-1, 1.01, 0.05) for width in (0.01, 2)]
    grid = [Metric(value, value - width, value + width, 9) for value, width in values]
    judged = {judge(metric) for metric in grid for judge in (ranking_verdict, fit_verdict)}
    assert judged | {"is_average", "not_known"} == set(language.verdicts)


def test_a_value_model_below_zero_is_worse_than_guessing():
    """R² of -0.19: no number that people could take for a success."""
    code = fit_verdict(Metric(-0.19, -0.25, -0.12, 100))
    assert [load_language(name).verdicts[code] for name in ("en", "de")] == [
        "worse than guessing the average", "schlechter als den Durchschnitt zu raten",
    ]  # fmt: skip


def test_the_figures_of_the_front_page_are_said_in_words():
    page = (FOLDER.parent / "README.md").read_text("utf-8").partition("## Results")[2]
    names = re.findall(r"\| `([\w.]+)` \|", page)
    assert len(names) > 15
    for language in (load_language("en"), load_language("de")):
        assert [name for name in names if not language.metric(name)] == []


@given(st.integers(0, 100_000).map(lambda thousandths: thousandths / 100_000))
def test_a_percentage_in_words_is_the_share_itself(share):
    """12.5% off is never said to be 12%, in no language."""
    english, german = ENGLISH.percent(share), GERMAN.percent(share)
    assert float(english.removesuffix("%")) == pytest.approx(100 * share, abs=1e-12)
    assert german.removesuffix("\u00a0%").replace(",", ".") == english.removesuffix("%")


def test_numbers_have_labels_and_units():
    def said_of(words, column, number):
        return words.sentence(stored([Reason(RAISES, column, number=number)])).rsplit(" (", 1)[0]

    german = replace(WORDS, language=load_language("de"))
    for column, number, english, deutsch in [
        ("days_since_last_activity", 50.0, "days since last active: 50", "Tage seit letzter Aktivität: 50"),
        ("gap_days_max_365d", 40.0, "longest pause between visits, last 365 days: 40 days",
         "längste Pause zwischen Besuchen, letzte 365 Tage: 40 Tage"),
        ("gap_days_variation_365d", 0.5634,
         "how much the pauses between visits differ, against the usual pause, last 365 days: 56%",
         "wie sehr die Pausen zwischen Besuchen schwanken, gemessen an der üblichen Pause, letzte 365 Tage: 56\u00a0%"),
        ("spend_sum_28d", 1234.5, "money spent, last 28 days: 1,234.50 USD", "Ausgaben, letzte 28 Tage: 1.234,50 USD"),
        ("is_cart_open", 1.0, "something lies in the cart: yes", "etwas liegt im Warenkorb: ja"),
        ("discount_share_90d", 0.031, "share of the list price that was discounted away, last 90 days: 3.1%",
         "Rabattanteil am Listenpreis, letzte 90 Tage: 3,1\u00a0%"),
        ("trait_seats", 3.0, "seats: 3", "seats: 3"),
    ]:  # fmt: skip
        assert said_of(WORDS, column, number) == english
        assert said_of(german, column, number) == deutsch


@given(p_churn=st.floats(0, 1), medium=st.floats(0, 1))
def test_low_is_said_of_a_risk_that_is_low(p_churn, medium):
    assert (WORDS.risk("low", p_churn, medium) == "low") == (p_churn < medium)
    assert WORDS.risk("high", p_churn, medium) == "high"


def test_what_is_missing_says_whether_it_never_happened_is_too_early_or_was_never_told():
    """Of somebody seen once nothing is unknown: there is too little to tell."""
    said = {each.name: WORDS.value(stored([Reason(RAISES, each.name)])[0]) for each in FEATURES}
    assert said["gap_days_variation_365d"] == "too little seen to tell"
    assert said["days_since_last_purchase"] == "never"
    assert {said[each.name] for each in FEATURES if each.view != "traits"} == {"never", "too little seen to tell"}
    assert WORDS.value(stored([Reason(RAISES, "trait_plan")])[0]) == "unknown"


def test_every_reason_for_nothing_has_words():
    known = {*ENGLISH.lead, *ENGLISH.heading}
    assert {*ASKED, *RULES} <= known


def test_a_language_that_is_not_there_names_those_that_are():
    with pytest.raises(InputError, match=r"language 'eng' was not found .* did you mean 'en'\?"):
        load_language("eng")


def test_every_feature_of_the_catalogue_has_a_label_of_plain_words():
    for feature in FEATURES:
        label = WORDS.label(feature.name)
        assert label[0] == label[0].lower()
        assert not {"_", ";"} & set(label)
    assert WORDS.label("trait_home_owner") == "home owner"
    assert WORDS.label("spend_sum_28d") == "money spent, last 28 days"


def test_a_reason_that_usually_leads_another_can_stand_alone():
    assert WORDS.sentence(stored([Reason("other_rule")])) == "past offers speak for another rule"
    assert WORDS.parts(stored([Reason("randomised")])) == [("drawn at random to learn what works", [])]


def test_what_a_day_decided_is_written_as_people_read_it():
    german = Words(GERMAN, currency="EUR")
    told = {"risk_band": "medium", "stage": "new", "retained_value": 272.089, "p_churn": 0.364, "trait_x": "medium"}
    said = {
        name: german.value({
            "column": name, "value": each if isinstance(each, str) else None,
            "number": None if isinstance(each, str) else each,
        })
        for name, each in told.items()
    }  # fmt: skip
    assert [text.replace("\xa0", " ") for text in said.values()] == ["mittel", "Neu", "272,09 EUR", "36 %", "medium"]


def test_a_trait_that_reads_like_a_reason_stays_one_value():
    value = "35-49K (raises the risk); days since last active: 99"
    lists = ReasonLists(1)
    lists.add(np.array([0]), LOWERS, "trait_income", *lists.values(pd.Series([value])))
    (reasons,) = lists.build().to_pylist()
    assert [(each["code"], each["column"], each["value"]) for each in reasons] == [(LOWERS, "trait_income", value)]
    assert WORDS.drivers(reasons) == [(f"income: {value}", "lowers")]
    assert WORDS.sentence(reasons) == f"income: {value} (lowers the risk)"


def test_braces_in_what_an_app_says_are_no_fields():
    reasons = stored([Reason(RAISES, "trait_plan", "{effect}"), Reason("no_{thing}")])
    assert WORDS.sentence(reasons) == "plan: {effect} (raises the risk); no {thing}"


WORTH = stored(
    [
        Reason("randomised"), Reason("worth", value="EUR", effect=-0.5), Reason("extra_margin", effect=-0.6),
        Reason("contact", effect=-0.1), Reason("works_better", effect=0.25),
        Reason("because", "visits", number=-2.0, effect=-0.1), Reason("because", "trait_a", "b-1", effect=0.35),
    ]
)  # fmt: skip


def test_why_is_written_in_one_line_or_as_headings_with_their_lines():
    assert WORDS.sentence(WORTH) == (
        "drawn at random to learn what works: worth -0.50 EUR = -0.60 extra margin, -0.10 contact; "
        "works better on them than on most, by 0.25, because: visits: -2 (-0.10); a: b-1 (+0.35)"
    )
    assert Words(ENGLISH, is_print=True).parts(WORTH) == [
        (
            "drawn at random to learn what works: worth \u22120.50 EUR",
            ["\u22120.60 extra margin", "\u22120.10 contact"],
        ),
        ("works better on them than on most, by 0.25", ["visits: \u22122 (\u22120.10)", "a: b-1 (+0.35)"]),
    ]
    assert (WORDS.sentence(None), WORDS.parts([])) == ("", [])


@pytest.mark.parametrize(("currency", "digits"), [("JPY", 2), ("EUR", 2), ("KWD", 3), ("CLF", 4)])
def test_amounts_are_written_to_the_minor_unit_of_their_currency(currency, digits):
    amounts = {"worth": 0.0042, "extra_margin": 0.0092, "extra_retention": 0.005, "contact": -0.01}
    reasons = [Reason(code, value=currency, number=0.5, effect=each) for code, each in amounts.items()]
    reasons.insert(3, Reason("worth_of_staying", number=0.0102))
    assert Words(ENGLISH, currency=currency).sentence(stored(reasons)) == (
        "worth {:+.{d}f} {} = {:+.{d}f} extra margin, {:+.{d}f} extra chance to stay (+50.00 points x {:.{d}f} that "
        "staying is worth later), {:+.{d}f} contact"
    ).format(0.0042, currency, 0.0092, 0.005, 0.0102, -0.01, d=digits)


def test_why_in_german():
    assert Words(load_language("de")).sentence(WORTH[1:4]) == "Wert -0,50 EUR = -0,60 mehr Marge, -0,10 Kontakt"


@pytest.mark.parametrize(
    ("deployed", "words"),
    [
        (Deployed(PERSONAL), "each user gets what is expected to be worth most for them"),
        (Deployed(NOBODY), "nobody gets an offer"),
        (Deployed(CONSTANT, ("bundle", 0.15)), "Bundle, 15% off, for everybody"),
        (
            Deployed(RULE, ("mail", 0.0), "spend_sum_28d", 12.5),
            "mail, without a discount, for users whose “money spent, last 28 days” is above 12.50 USD",
        ),
        (
            Deployed(RANKING, ("mail", 0.1), "p_redeem", 0.25, is_above=False),
            "mail, 10% off, for users whose chance to use it is at most 25%",
        ),
    ],
    ids=["personal", "nobody", "constant", "rule", "ranking"],
)
def test_a_policy_is_put_in_words(deployed, words):
    assert WORDS.sentence(stored(policy_reasons(deployed))) == words


def test_lists_are_built_column_by_column_and_one_that_is_not_known_is_missing():
    lists = ReasonLists(4)
    lists.add(np.array([0, 2]), RAISES, "a", number=np.array([1.0, np.nan]))
    lists.add(np.array([1, 2]), LOWERS, effect=0.5)
    rows = lists.build(np.array([True, True, True, False])).to_pylist()
    assert [None if row is None else [each["code"] for each in row] for row in rows] == [
        [RAISES], [LOWERS], [RAISES, LOWERS], None,
    ]  # fmt: skip
    assert rows[2][0] == {"code": RAISES, "column": "a", "value": None, "number": None, "effect": None}
    assert ReasonLists(2).build().to_pylist() == [[], []]


def test_a_column_of_an_app_s_own_is_called_what_its_declaration_says():
    tea = {"meaning": "Views of tea", "role": "view", "measure": "count", "windows": [14]}
    words = words_of(small_settings(features={"custom": {"tea_views": tea}}))
    assert words.label("tea_views_count_14d") == "views of tea, last 14 days"
