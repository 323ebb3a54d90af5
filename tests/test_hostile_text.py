"""Texts that want to be more than texts stay texts: on pages, in spreadsheets, in a terminal and in messages."""

from __future__ import annotations

import csv
import io
import re

import pytest
from test_report import AS_OF, Page, effect, write_training
from test_summary import decision, offer, write_decisions

from configs.categories import Categories
from configs.settings import load_settings
from features.storage.lake import Lake
from flows.runs.outcome import Outcome
from serving.hand_over.channel_audiences import write_audiences
from serving.report_page.report import write_report
from serving.wording.visible_text import visible

TAG, FORMULA, MARKUP = "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0", "[bold red]x[/] {0} {{ 7 * 7 }} %s"
TURNED, CONTROL, LONG = "tea\u202egnp.exe", "\x1b]0;mine\x07\x1b[31m", "w" * 5_000
EVERY = (TAG, FORMULA, MARKUP, TURNED, CONTROL, LONG)
INCOME = "trait_income"


@pytest.fixture
def lake(tmp_path) -> Lake:
    """A day on which ids, categories, traits, plays, channels and messages are hostile."""
    lake, rows = Lake(tmp_path), []
    for place, text in enumerate(EVERY):
        reasons = [{"code": "raises_risk", "column": INCOME, "value": text, "number": None, "effect": 0.1}]
        given = offer(play=text, channel=text[:40], message=text, featured_category=text, subject=text, offer_id=text)
        rows.append(decision(f"{text}{place}", 0.6, 100.0, reasons=reasons, persona=text, stage=text, **given))
    write_decisions(lake, rows)
    write_training(lake, AS_OF, effects=[effect()])
    return lake


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_report_shows_hostile_texts_as_texts(lake: Lake, language: str) -> None:
    settings = load_settings("complete_journey", lake.root).model_copy(update={"language": language})
    page = Page(write_report(settings, lake, AS_OF))
    assert not page.open
    assert [attributes for tag, attributes in page.tags if "onerror" in attributes] == []
    assert TAG in page.text and MARKUP in page.text  # and nothing of it was filled in
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page.source)


def test_no_list_for_spreadsheets_holds_a_formula(lake: Lake) -> None:
    settings = load_settings("complete_journey", lake.root)
    write_report(settings, lake, AS_OF)
    write_audiences(settings, lake, AS_OF)
    files = [lake.root / "reports" / f"{AS_OF}-at-risk.csv", *(lake.root / "send_lists" / f"day={AS_OF}").iterdir()]
    assert len(files) == 1 + len(EVERY)
    for file in files:
        cells = [cell for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8"))) for cell in row]
        assert [cell for cell in cells if re.match(r"[=+@\t\r]|-[^0-9]", cell)] == []
        assert file.resolve().is_relative_to(lake.root.resolve())


def test_a_terminal_gets_words_and_no_commands() -> None:
    told, stream = {name: name for name in EVERY}, io.StringIO()
    Outcome("status", AS_OF, {}, told, list(EVERY), {}).show(stream, 1.0, 1)
    page = stream.getvalue()
    assert MARKUP in page and TURNED not in page and "\x1b" not in page and "\x07" not in page
    assert visible(CONTROL) in page


def test_no_message_names_a_hostile_category() -> None:
    categories = Categories(sensitive=(), also_sensitive=(), names={})
    assert [categories.featured(text) for text in (TAG, FORMULA, MARKUP, TURNED, CONTROL)] == [None] * 5
