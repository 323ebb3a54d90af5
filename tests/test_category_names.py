"""Display names of categories in the language of whoever reads them: messages, the report and the desk."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest
from pydantic import ValidationError

from configs.benefits import Benefit
from configs.categories import Categories
from configs.errors import InputError
from configs.offers import load_catalogue
from configs.settings import load_settings
from serving.lookups.user_explanation import preference_lines
from serving.messages.message_texts import message_texts
from serving.messages.written_messages import Occasion, written_text
from serving.wording.language_file import load_language
from serving.wording.rendering import words_of

GERMAN = load_settings("complete_journey", language="de")


def test_every_category_of_the_demo_has_a_german_name() -> None:
    categories = GERMAN.categories
    named = set(categories.names.values())
    assert named == set(categories.names_in["de"])
    unchanged = {name for name in named if categories.name_in("de", name) == name}
    assert unchanged <= {"sushi", "snacks", "crackers", "butter", "make-up"}


def test_tastes_are_told_in_the_language() -> None:
    row = {"list": "new", "name": "frozen pizza", "usual_days_between": None, "days_since_last": None}
    told = [" ".join(preference_lines({"tastes": [row], "hours": []}, words_of(settings)))
            for settings in (load_settings("complete_journey"), GERMAN)]  # fmt: skip
    assert told == ["  new       frozen pizza", "  neu       Tiefkühlpizza"]


def test_texts_of_a_language_call_categories_as_its_readers_do() -> None:
    catalogue = load_catalogue(GERMAN.offers)
    texts = message_texts(GERMAN, catalogue, load_language("en")).of_offers
    told = {text.tag: text.categories.get("milk", "milk") for own in texts.values() for text in own}
    assert told["de"] == "Milch"
    assert {name for tag, name in told.items() if tag != "de"} == {"milk"}


@pytest.mark.parametrize("word", ["Bier", "bier"])
def test_a_name_in_another_language_can_make_a_category_sensitive(word: str) -> None:
    categories = Categories(
        sensitive=("bier",), also_sensitive=(), names={"DRINKS A": "drinks"}, names_in={"de": {"drinks": word}}
    )
    assert categories.featured("DRINKS A") is None
    assert categories.featured("drinks") is None
    assert categories.featured("tea") == "tea"


def test_a_message_names_a_category_in_the_language_of_its_text() -> None:
    catalogue = load_catalogue(GERMAN.offers)
    readers = pd.DataFrame({"category": ["milk", "caviar", None]})
    said = {}
    for own in message_texts(GERMAN, catalogue, load_language("en")).of_offers.values():
        for text in own:
            if "category" in text.message(is_given=True).fields:
                occasion = Occasion(text.title, Benefit("percent", 0.4), 5.0, date(2018, 1, 7), "USD")
                _, said[text.tag] = written_text(text, text.locale, occasion, readers, {})
    assert [name in message for name, message in zip(("Milch", "caviar", "ausgewählte"), said["de"], strict=True)] == [
        True, True, True,
    ]  # fmt: skip
    assert "milk" in said["en-GB" if "en-GB" in said else "en"][0]


@pytest.mark.parametrize(("language", "said"), [
    ("german", "Milch"), ("DE", "Milch"), ("de-AT", "Milch"), ("de", ""), ("de", "a\nb")
])  # fmt: skip
def test_a_name_that_nobody_would_read_is_refused(language: str, said: str) -> None:
    with pytest.raises(ValidationError, match=r"a language is named by two|a name begins and ends"):
        Categories(sensitive=(), also_sensitive=(), names={}, names_in={language: {"milk": said}})


@pytest.mark.parametrize("said", ["", " ", "salted\nnuts"])
def test_a_display_name_that_nobody_would_read_is_refused(said: str) -> None:
    with pytest.raises(InputError, match=r"categories.names.NUTS: a name begins and ends with a sign that can be seen"):
        load_settings(categories={"names": {"NUTS": said}})
