"""What people ask of messages: each text counted, unused ones named, a bad one refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from configs.errors import InputError
from configs.settings import Settings, load_settings
from features.storage.lake import Lake
from flows.lookup import messages
from serving.lookups.message_answers import check_lines, check_texts, text_uses, use_lines
from serving.messages.checked_texts import require_texts
from serving.wording.language_file import load_language
from serving.wording.rendering import Words

DAY = date(2024, 7, 1)
OFFERS = """language = "en"
[tea]
title = "Tea"
play = "p"
channel = "push"
subject = "{{ title }}{% if first_name %} for {{ first_name }}{% endif %}"
message = "{{ discount }} off"
discounts = [0.1]
valid_days = 7
contact_cost = 0
covered_spend = 1

[[tea.texts]]
language = "de"
message = "{{ discount }} Rabatt"
"""


def settings_of(folder: Path, offers: str = OFFERS) -> Settings:
    (folder / "offers.toml").write_text(offers, encoding="utf-8")
    return load_settings(data_dir=folder / "data", offers=str(folder / "offers.toml"))


def decided(lake: Lake, **more: list[str]) -> Lake:
    """Decisions of a day: three of a text, one of another, one of nothing."""
    path = lake.partition("decisions", DAY)
    path.parent.mkdir(parents=True)
    columns = {
        "user_id": ["u3", "u1", "u2", "u4", "u5"], "offer_id": ["tea"] * 4 + ["none"], "channel": ["push"] * 4 + [None],
        "subject": ["Tea for Cyd", "Tea for Ann", "Tea", None, None], "benefit": ["percent"] * 5,
        "message": ["10% off"] * 3 + ["10 % Rabatt", None], "language": ["en"] * 3 + ["de", None],
    }  # fmt: skip
    pd.DataFrame(columns | more).to_parquet(path)
    return lake


def test_every_text_is_counted_with_an_example(tmp_path):
    settings = settings_of(tmp_path, OFFERS + '\n[[tea.texts]]\nstage = "lapsed"\nmessage = "Still {{ discount }}"')
    lake = decided(Lake(tmp_path / "data"), written_for=["everybody"] * 3 + ["de", None])
    uses = text_uses(settings, lake, DAY)
    assert [(each.users, each.written_for, each.language, each.longest, each.most) for each in uses] == [
        (3, "everybody", "en", 7, 178), (1, "de", "de", 11, 178), (0, "lapsed", "en", 9, 178),
    ]  # fmt: skip
    assert (uses[0].subject, uses[0].message) == ("Tea for Ann", "10% off")  # the first user's
    page = "\n".join(use_lines(DAY, uses, Words(load_language("en"))))
    assert "texts on 2024-07-01: 4 messages" in page
    assert "Tea for Ann | 10% off" in page
    assert "nobody; it would say: Still 10%" in page


TRIED = """
[tea.experiment]
name = "tone"
[[tea.experiment.variants]]
name = "as it is"
share = 0.4
[[tea.experiment.variants]]
name = "short"
share = 0.3
message = "{{ discount }}!"
[[tea.experiment.variants]]
name = "late"
share = 0.3
send_hour = 20
"""


def test_the_texts_of_an_experiment_are_counted_by_variant(tmp_path):
    settings = settings_of(tmp_path, OFFERS + TRIED)
    lake = decided(Lake(tmp_path / "data"), written_for=["everybody"] * 3 + ["de", None],
                   variant=["as it is", "as it is", "short", "late", None])  # fmt: skip
    uses = text_uses(settings, lake, DAY)
    assert [(each.users, each.variant, each.written_for, each.language) for each in uses] == [
        (2, "as it is", "everybody", "en"), (1, "late", "de", "de"), (1, "short", "everybody", "en"),
        (0, "as it is", "de", "de"), (0, "short", "de", "de"), (0, "late", "everybody", "en"),
    ]  # fmt: skip
    assert uses[4].message == "10\xa0% Rabatt"  # what a variant does not say in a language stays the play's
    assert "everybody; short" in "\n".join(use_lines(DAY, uses, Words(load_language("en"))))


def test_decisions_of_an_older_winback_do_not_say_their_texts(tmp_path):
    settings, lake = settings_of(tmp_path), decided(Lake(tmp_path / "data"))
    with pytest.raises(InputError, match=r"do not say which texts they use, .*; run winback score-users"):
        text_uses(settings, lake, DAY)


def test_every_text_is_written_to_users_of_the_folder(tmp_path):
    settings, lake = settings_of(tmp_path), Lake(tmp_path / "data")
    found = check_texts(settings, lake)
    assert (found.faults, found.texts, found.readers) == ((), 2, 3)
    assert found.notes[-1] == "there are no users: the readers are made up"
    lake.path("users").mkdir(parents=True)
    names = {"first_name": ["Ann", "x" * 70, "Wilhelmina"], "language": ["de", "fr", "fr"]}
    pd.DataFrame({"user_id": ["a", "b", "c"], **names}).to_parquet(lake.path("users", "users.parquet"))
    found = check_texts(settings, lake)
    assert list(found.notes) == ["67% of the users read 'fr', in which there is no text: they get 'en'"]
    assert next(iter(check_lines(replace(found, faults=["a"])))) == "1 text cannot be written"
    assert next(iter(check_lines(found))) == "2 texts, each written to 3 readers: all can be written"


def test_a_bad_text_is_refused_before_anything_is_written(tmp_path):
    settings = settings_of(tmp_path, OFFERS.replace("{{ discount }} Rabatt", "{{ discuont }} Rabatt"))
    sentence = r"offers.toml, line 15: message of offer 'tea', text 1: 'discuont' is no field of messages; did you mean"
    with pytest.raises(InputError, match=sentence):
        require_texts(settings, Lake(tmp_path / "data"))
    profile = tmp_path / "profile.toml"
    profile.write_text('offers = "offers.toml"\n[roles]\nactivity = ["x"]\n', encoding="utf-8")
    page, facts, can_be_written = messages(True, str(profile), str(tmp_path / "data"), None)
    assert not can_be_written
    assert "wrong: " in page
    assert len(facts["faults"]) == 1
