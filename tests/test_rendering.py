"""Words: one place where codes become sentences, in a language, and nothing that an app says can forge a reason."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
import pytest
from synthetic import FEATURES, WORDS, small_settings

from configs.errors import InputError
from configs.settings import FOLDER
from models.judge.policy_verdict import CONSTANT, NOBODY, PERSONAL, RANKING, RULE, Deployed
from serving.wording.explanations import policy_reasons
from serving.wording.reason_codes import ASKED, LOWERS, RAISES, Reason
from serving.wording.reason_lists import ReasonLists
from serving.wording.rendering import Words, load_language, stored, words_of

ENGLISH = load_language("en")


def test_every_language_says_the_same_codes_with_the_same_fields():
    english = tomllib.loads((FOLDER / "languages" / "en.toml").read_text(encoding="utf-8"))
    for path in (FOLDER / "languages").glob("*.toml"):
        other = tomllib.loads(path.read_text(encoding="utf-8"))
        assert {name: set(codes) for name, codes in other.items()} == {name: set(own) for name, own in english.items()}
        for name, codes in other.items():
            for code, template in codes.items():
                assert template.count("{") == english[name][code].count("{"), (path.stem, code)


def test_every_reason_for_nothing_has_words():
    known = {*ENGLISH.lead, *ENGLISH.heading}
    assert set(ASKED) <= known


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
        "drawn by lot to learn what works: worth -0.50 EUR = -0.60 extra margin, -0.10 contact; "
        "works better on them than on most, by 0.25, because: visits: -2 (-0.10); a: b-1 (+0.35)"
    )
    assert Words(ENGLISH, is_print=True).parts(WORTH) == [
        ("drawn by lot to learn what works: worth \u22120.50 EUR", ["\u22120.60 extra margin", "\u22120.10 contact"]),
        ("works better on them than on most, by 0.25", ["visits: \u22122 (\u22120.10)", "a: b-1 (+0.35)"]),
    ]
    assert (WORDS.sentence(None), WORDS.parts([])) == ("", [])


def test_why_in_german():
    assert Words(load_language("de")).sentence(WORTH[1:4]) == "Wert -0.50 EUR = -0.60 mehr Marge, -0.10 Kontakt"


@pytest.mark.parametrize(
    ("deployed", "words"),
    [
        (Deployed(PERSONAL), "each user gets what is expected to be worth most for them"),
        (Deployed(NOBODY), "nobody gets an offer"),
        (Deployed(CONSTANT, ("bundle", 0.15)), "Bundle, 15% off, for everybody"),
        (
            Deployed(RULE, ("mail", 0.0), "spend_sum_28d", 12.5),
            "mail, without a discount, for users whose “money spent, last 28 days” is above 12.5",
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
