"""Messages: templates that can only fill in fields, the right text for each reader, and faults said before the run."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthetic import offer, small_settings

from configs.benefits import Benefit
from configs.offer_texts import Text
from configs.offers import Catalogue, load_catalogue
from configs.settings import Settings, load_settings
from features.storage.lake import Lake
from serving.messages.checked_texts import text_faults
from serving.messages.message_texts import message_texts
from serving.messages.reader_details import AGREES, ReaderDetails, read_details, spoken_text
from serving.messages.template_sandbox import MessageError, message_template
from serving.messages.written_messages import Messages, Occasion, written_messages
from serving.wording.language_file import load_language

SETTINGS = small_settings()
LAST_DAY = date(2024, 8, 7)
GERMAN = Text(language="de", title="Das", message="{{ discount }} Rabatt auf {{ category }} bis {{ last_day }}.")
SIGNS = ["<", ">", "&", '"', "'", "{", "}", "{{", "}}", "{%", "%}", "{#", "$", "%s", "=", "://", ".", "\n", "\r", "\0"]
SIGNS += ["\u202e", "\u200b"]
MARKUP = st.text(st.characters() | st.sampled_from("".join(SIGNS)), max_size=30) | st.lists(
    st.sampled_from([*SIGNS, "a", "item", " "]), max_size=12
).map("".join)


def readers_of(*rows: dict[str, object]) -> pd.DataFrame:
    """Readers, of whom nothing is known but what is said here."""
    known = {"locale": None, "stage": None, "persona": None, "category": None, "item": None}
    return pd.DataFrame([known | row for row in rows], dtype=object)


def sent(texts: dict[str, object], *rows: dict[str, object], level: float = 0.125, app: str = "en",
         ours: Settings = SETTINGS, **of_offer: object) -> Messages:  # fmt: skip
    """What some readers get of an offer with such texts."""
    catalogue = Catalogue(offers=(offer("a", **texts, **of_offer),))
    known, units = message_texts(ours, catalogue, load_language(app)), {"progress": "share", "credit": "money"}
    occasion = Occasion("a", Benefit("percent", level), catalogue.offers[0].max_cost, LAST_DAY, "EUR")
    return written_messages(known, occasion, readers_of(*rows), units)


def test_a_reader_gets_their_language_and_days_as_their_country_writes_them():
    texts = {"message": "{{ discount }} off {{ category }} until {{ last_day }}.", "texts": (GERMAN,), "language": "en"}
    rows = [{"locale": tag, "category": "tea"} for tag in ("en_US", "en_GB", "de_AT", "ja", None)]
    found = sent(texts, *rows)
    assert found.message.tolist() == [
        "12.5% off tea until August 7, 2024.", "12.5% off tea until 7 August 2024.",
        "12,5\u00a0% Rabatt auf tea bis 7. August 2024.",
        "12.5% off tea until 7 August 2024.", "12.5% off tea until 7 August 2024.",
    ]  # fmt: skip
    assert found.language.tolist() == ["en", "en", "de", "en", "en"]
    assert found.written_for.tolist() == ["everybody", "everybody", "de", "everybody", "everybody"]
    assert sent(texts, *rows, app="de").language.tolist() == ["en", "en", "de", "de", "de"]


def test_the_narrowest_text_of_the_language_is_taken():
    """Language before stage and persona, stage before persona, more words of a persona before fewer."""
    narrow = (
        Text(stage="lapsed", message="lapsed"), Text(persona="evening", message="evening"),
        Text(persona="deal-seeking, evening", message="deals in the evening"),
        Text(stage="lapsed", persona="evening", message="lapsed evening"), Text(language="de", message="deutsch"),
        Text(language="de", stage="lapsed", message="deutsch, fort"),
    )  # fmt: skip
    rows = [
        {"stage": "new"}, {"stage": "lapsed"}, {"persona": "evening, broad"}, {"persona": "evening, deal-seeking"},
        {"stage": "lapsed", "persona": "evening"}, {"locale": "de", "persona": "evening"},
        {"locale": "de_CH", "stage": "lapsed", "persona": "evening"},
    ]  # fmt: skip
    found = sent({"message": "own", "texts": narrow}, *rows)
    assert found.message.tolist() == [
        "own", "lapsed", "evening", "deals in the evening", "lapsed evening", "deutsch", "deutsch, fort",
    ]  # fmt: skip
    assert found.written_for[-1] == "de, lapsed"


def test_a_text_says_what_is_known_and_nothing_of_what_is_not():
    message = "{% if first_name %}{{ first_name }}, {% endif %}{{ progress or 'some' }} done, {{ credit or 'no' }} left"
    rows = [
        {"first_name": "Zoë", "progress": 0.4, "credit": 5.0},
        {"first_name": None, "progress": None, "credit": 2.5},
    ]
    assert sent({"message": message}, *rows).message.tolist() == [
        "Zoë, 40% done, €5 left", "some done, €2.50 left",
    ]  # fmt: skip


def test_nothing_is_said_of_a_discount_where_none_is_given():
    texts = {"message": "{{ discount }} off", "plain_message": "See {{ category }}", "discounts": (0.0, 0.1)}
    assert sent(texts, {"category": "tea"}, {}, level=0.0).message.tolist() == ["See tea", "See selected items"]
    assert sent(texts, {"category": "tea"}, level=0.1).message.tolist() == ["10% off"]


def test_what_is_too_long_for_the_channel_is_said_without_what_is_personal():
    texts = {"message": "{{ first_name or 'Hi' }}! " + "x" * 170, "channel": "push"}
    rows = [{"first_name": "Jo"}, {"first_name": "Wilhelmina-Charlotte"}]
    assert [text[:4] for text in sent(texts, *rows).message] == ["Jo! ", "Hi! "]


@settings(max_examples=200, deadline=None)
@given(name=MARKUP, item=MARKUP, is_html=st.booleans())
@example(name="{{ 7 * 7 }}", item="{% for x in range(9) %}x{% endfor %}", is_html=False)
@example(name="<script>alert(1)</script>", item="a\r\nBcc: everybody@example.com", is_html=True)
@example(name="{{ ''.__class__.__mro__ }}", item="\u202egnp.exe", is_html=True)
def test_what_users_are_called_is_never_executed_and_never_breaks_out(name, item, is_html):
    channel = SETTINGS.messages.channels["email"].model_copy(update={"is_html": is_html})
    own = SETTINGS.messages.model_copy(update={"channels": {"email": channel}})
    spoken = spoken_text(name, 40, is_name=True), spoken_text(item, 40)
    texts = {"subject": "[{{ first_name or '-' }}|{{ item or '-' }}]", "message": "<p>{{ item or '-' }}</p>"}
    row = {"first_name": spoken[0], "item": spoken[1]}
    found = sent(texts, row, ours=SETTINGS.model_copy(update={"messages": own}))
    assert found.subject[0] == f"[{spoken[0] or '-'}|{spoken[1] or '-'}]"  # to the letter, whatever it looks like
    assert "\n" not in found.subject[0]
    inner = found.message[0].removeprefix("<p>").removesuffix("</p>")
    assert inner == (spoken[1] or "-") if not is_html else not set("<>\"'") & set(inner)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ item.__class__ }}", "no place for an attribute"), ("{{ item['x'] }}", "no place for a part of a field"),
        ("{% for a in item %}x{% endfor %}", "no place for a loop"), ("{{ item() }}", "no place for a call"),
        ("{% set a = 1 %}", "no place for a variable"), ("{% include 'x' %}", "no place for another file"),
        ("{{ 'a' * 9999999999 }}", "no place for Mul"), ("{{ item|attr('x') }}", "'attr' is no filter of messages"),
        ("{{ item|upper(1) }}", "'upper' takes nothing"), ("{{ item|d(1, 2) }}", "'d' takes one text"),
        ("{{ item is defined(3) }}", "'defined' takes nothing"), ("{{ '\\ud800' }}", "half of a sign"),
        ("{% if item %}" * 150 + "{% endif %}" * 150, "nest deeper"), ("{{ " + "9" * 5000 + " }}", "is no template"),
        ("{{ item|pprint }}", "is no filter"), ("{{ 'a' ~ item }}", "no place for a sum of texts"),
        ("{% if item is mapping %}{% endif %}", "asks only whether a field is defined"), ("{{ item", "is no template"),
        ("{% macro a() %}{% endmacro %}", "no place for a macro"), ("{% if item == 'a' %}{% endif %}", "a comparison"),
        ("x" * 20_001, "at most 20,000 signs"), ("{% if a %}" * 500 + "{% endif %}" * 500, ""),
        ("{{ cycler }}{% raw %}{{ x }}{% endraw %}", ""),
    ],
)  # fmt: skip
def test_a_template_can_only_fill_in_fields(template, sentence):
    if sentence:
        with pytest.raises(MessageError, match=re.escape(sentence)):
            message_template(template)
        return
    try:
        found = message_template(template)
    except MessageError:
        return  # nested deeper than Python compiles
    with pytest.raises(MessageError, match="is undefined"):  # nothing of Jinja's own is there
        found.filled({})


def faults_of(folder: Path, text: str, **changes: object) -> list[str]:
    """What is wrong with a catalogue of one offer with such texts."""
    path = folder / "mine.toml"
    head = '[a]\ntitle = "A"\nplay = "p"\nvalid_days = 7\ncontact_cost = 0.1\ncovered_spend = 10.0\n'
    path.write_text(head + text, "utf-8")
    ours = load_settings(offers=str(path), **changes)
    return list(text_faults(ours, load_catalogue(str(path)), load_language("en")))


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("{{ discuont }} off", "line 9: message of offer 'a': 'discuont' is no field of messages; did you mean 'disc"),
        ("Hi {{ first_name }}", "line 9: .* first_name is not known of everybody: ask {% if first_name %}"),
        ("{% if item %}Hi {{ first_name }}{% endif %}", "first_name is not known of everybody"),
        ("{% if item %}{% else %}{{ streak }}{% endif %}", "streak is not known of everybody"),
        ("{first_name} {{ discount }}", "'{first_name}' is left over; write a field as"),
        ("[FIRST NAME] {{ discount }}", r"'\[FIRST NAME\]' is left over"),
        ("%NAME% {{ discount }}", "'%NAME%' is left over"), ("TODO", "'TODO' is left over"),
        ("{{ max_cost }}", "a limit must be told and be there: give the offer a max_cost"),
        ("x" * 179, "it has 179 signs, even without what is said of one user alone, and the channel takes 178"),
        ("{% for a in b %}{% endfor %}", "a message has no place for a loop"),
    ],
)  # fmt: skip
def test_a_fault_of_a_text_is_one_sentence_with_file_and_line(tmp_path, message, sentence):
    found = faults_of(tmp_path, f'channel = "push"\ndiscounts = [0.1]\nmessage = "{message}"\n')
    assert len(found) == 1
    assert re.search(rf"mine.toml, .*{sentence}", found[0]), found
    assert "\n" not in found[0]


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ("max_cost = 5.0\nmessage = '{{ discount }} off'", "line 10: .*a limit must be told: max_cost of the"),
        ("message = '{{ discount }} off'\n[[a.texts]]\nlanguage = 'dee'\nmessage = 'x'", "'dee' is no language; did"),
        ("message = 'x'\n[[a.texts]]\nlanguage = 'fr'\nmessage = 'x'", "is in 'fr', of which there are no words"),
        ("message = 'x'\n[[a.texts]]\nstage = 'lapsd'\nmessage = 'x'", "line 11: stage of offer 'a', text 1: there"),
        ("message = 'x'\n[[a.texts]]\npersona = 'evenin'\nmessage = 'x'", "no persona is called 'evenin'; did you"),
        ("message = 'x'\n[[a.texts]]\nstage = 'new'\nmessage = '''\n\n{{ tea }}'''", "line 14: .*'tea' is no field"),
        ("message = 'x'\nsubject = '{{ first_name }}'", "line 10: subject .*first_name is not known of everybody"),
        ("message = 'x'\nsubject = '" + "x" * 51 + "'", "subject .*it has 51 signs, .* the channel takes 50"),
    ],
)  # fmt: skip
def test_texts_for_some_readers_are_checked_as_the_own_one(tmp_path, own, sentence):
    found = faults_of(tmp_path, f'channel = "push"\ndiscounts = [0.1]\n{own}\n')
    assert len(found) == 1
    assert re.search(sentence, found[0]), found


def test_a_level_of_nothing_needs_words_of_its_own(tmp_path):
    head = 'channel = "sms"\ndiscounts = [0.0, 0.1]\n'
    (found,) = faults_of(tmp_path, head + 'message = "{{ discount }} off"')
    assert "a level of 0 gives nothing that it could call discount: add a plain_message, or ask {% if discount" in found
    assert faults_of(tmp_path, head + 'message = "{{ discount }} off"\nplain_message = "Hi"') == []
    assert faults_of(tmp_path, head + 'message = "{% if discount %}{{ discount }} off{% else %}Hi{% endif %}"') == []
    (found,) = faults_of(tmp_path, head + 'subject = "x"\nmessage = "Hi"')
    assert "the channel 'sms' shows no subject; leave it out" in found


def test_a_trait_that_is_declared_may_be_said(tmp_path):
    text = 'channel = "sms"\nbenefit = "none"\nmessage = "{{ club or \'our club\' }}"'
    assert "'club' is no field of messages" in faults_of(tmp_path, text)[0]
    assert faults_of(tmp_path, text, messages={"fields": {"club": "club_name"}}) == []


def test_details_of_readers_come_from_the_users_table_by_consent(tmp_path):
    lake = Lake(tmp_path)
    (tmp_path / "users").mkdir()
    pd.DataFrame(
        {"user_id": ["a", "b", "c", "d"], "language": ["de", "en-US", None, "de"], "country": ["AT", "DE", "FR", "?"],
         "first_name": ["Ann", "Bo", "www.evil.com", "Di"], "loyalty_points": [1250.0, np.nan, 3.0, 4.0],
         "consent_profiling": [True, None, True, False]}
    ).to_parquet(tmp_path / "users" / "users.parquet")  # fmt: skip
    ids, given = pd.Series(["a", "b", "c", "d", "x"]), np.array([0, 0, 1, 1, 0])
    found = read_details(SETTINGS, lake, ids, {"first_name", "points"}, given).of(ids)
    assert found["locale"].tolist() == ["de_AT", "en_US", None, "de", None]
    assert found["first_name"].tolist() == ["Ann", "Bo", None, None, None]
    assert found["points"].tolist() == [1250.0, None, 3.0, None, None]
    assert found[AGREES].tolist() == [True, True, True, False, True]
    none = read_details(SETTINGS, lake, ids, set(), np.full(5, -1)).of(ids)
    assert none["locale"].isna().all()
    assert ReaderDetails().of(ids)[AGREES].all()
