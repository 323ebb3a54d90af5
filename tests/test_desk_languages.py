"""The desk in another language: no English word is left on a page but what data, commands and settings are called."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from desks import DAYS, FORMULA, HOSTILE, SmallDesk, decided_desk
from test_page_texts import every_text

from configs.named_files import FOLDER, read_toml
from configs.settings import load_settings
from features.definitions.app_declarations import declarations_of
from serving.arms.assignment import AS_USUAL, BY_RULE, CONTROL, EXPLORE, POLICY, SUPPRESSED, WIN_BACK
from serving.charts.line_chart import MARK_KINDS
from serving.desk.page_list import PAGES
from serving.desk.timeline import KINDS
from serving.segments.definitions import definitions_of
from serving.stored_days.ledger import LANDING
from serving.wording.language_file import load_language

WIDE = {code: code + 0xFEE0 for code in (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1))}
KEPT = re.compile(r"(\{[^}]*\}|<[^>]*>|&\w+;)")  # fields, tags and signs of a text
SHOWN = re.compile(r'<[^>]*?\s(?:alt|aria-label|placeholder|data-label)="([^"]*)"')
OWN = {
    # what data, commands, parameters and files are called
    "winback", "app", "USD", "MiB", "CSV", "PSI", "English", "Deutsch", "bundle", "Bundle", "Come", "come", "back",
    "Back", "unproven", "Offer", "img", "src", "onerror", "alert", "cmd", "calc", "plan", "Plan", "plus", "win", "push",
    "mail", "email", "none", "Newest", "events", "decisions", "ledger", "cubes", "treatments", "files", "Page", "Stage",
    # names of events, and what is left of a message
    "session", "start", "view", "item", "add", "cart", "begin", "checkout", "purchase", "store", "subscription",
    "renew",
    "off", "bread", "until", "July",
    # parameters
    "budget", "share", "factor", "offered", "yes", "desk",
}  # fmt: skip


def strange(text: str) -> str:
    """Write a text in letters that no English one has."""
    return "".join(part if KEPT.fullmatch(part) else part.translate(WIDE) for part in KEPT.split(text))


def strange_language(folder: Path) -> Path:
    """Write a language file that says everything in strange letters."""
    tables = read_toml(FOLDER / "languages" / "en.toml")
    settings = load_settings()
    found = definitions_of(settings, declarations_of(settings).catalogue())
    named = [(each.name, each.title, each.meaning) for each in (*found.stages.listed, *found.segments)]
    tables["groups"] = {name: title for name, title, _ in named}
    tables["meanings"] = {name: meaning for name, _, meaning in named}
    tables["labels"] |= {each.fact: each.label for each in declarations_of(settings).catalogue()}
    tables["pages"] = {text: text for text in every_text()}
    lines = []
    for section, codes in tables.items():
        lines.append(f"[{section}]")
        for code, text in codes.items():
            own = [strange(each) for each in text] if isinstance(text, list) else strange(text)
            lines.append(f"{json.dumps(code)} = {json.dumps('el' if code == 'locale' else own)}")
    path = folder / "strange.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> SmallDesk:
    folder = tmp_path_factory.mktemp("desk")
    made = decided_desk(folder / "data")
    language = str(strange_language(folder))
    return SmallDesk(made.settings.model_copy(update={"language": language}), made.lake, made.user_ids)


@pytest.fixture(scope="module")
def german(desk: SmallDesk) -> SmallDesk:
    return SmallDesk(desk.settings.model_copy(update={"language": "de"}), desk.lake, desk.user_ids)


def words_left(page: str) -> list[str]:
    """Words in English letters that people read on a page."""
    body = re.sub(r"<(style|head)>.*?</\1>", "", page, flags=re.S)
    body = re.sub(r"<code>.*?</code>", "", body, flags=re.S)
    texts = [*SHOWN.findall(body), *re.sub(r"<[^>]*>", "\n", body).split("\n")]
    found = [word for text in texts for word in re.findall(r"[A-Za-z]{3,}", unescape(text))]
    return [word for word in found if word not in OWN]


ADDRESSES = (
    *(f"/{name}" for name in PAGES), "/what-if?budget_share=0.5", "/people?offered=yes", "/people?q=nobody",
    f"/people/{quote(HOSTILE, safe='')}", f"/people/{quote(FORMULA, safe='')}", "/people/u00007", "/nothing",
    "/people?page=x", "/today?day=x", f"/today?day={DAYS[0]}", "/people?stage=x", "/what-if?cap_mail=1",
)  # fmt: skip


LANGUAGES = [path.stem for path in (FOLDER / "languages").glob("*.toml")]


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_arm_and_every_mark_of_a_chart_is_named_in_every_language(name: str) -> None:
    language, english = load_language(name), load_language("en")
    arms = {POLICY, EXPLORE, CONTROL, AS_USUAL, SUPPRESSED, BY_RULE, WIN_BACK}
    assert {*LANDING} <= arms
    assert arms == set(language.arms)
    assert set(language.marks) == {*MARK_KINDS, *(f"{kind}_sign" for kind in MARK_KINDS)}
    assert set(KINDS.values()) <= set(MARK_KINDS)
    if name != "en":
        assert not [arm for arm in arms if language.arms[arm] == english.arms[arm]]
        assert not [kind for kind in MARK_KINDS if language.marks[kind] == english.marks[kind]]


def test_a_visitor_chooses_a_language_and_keeps_it(german: SmallDesk) -> None:
    client = german.client()
    page = client.get("/risk?day=" + str(DAYS[0])).text
    assert 'lang="de"' in page and "Wie es verteilt ist" in page
    token = re.search(r'name="form_token" value="([^"]+)"', page)[1]
    form = f"form_token={token}&language=en&spoken=risk&day={DAYS[0]}"
    answer = client.post("/language", content=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/risk?day={DAYS[0]}")
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    page = client.get(answer.headers["location"]).text
    assert 'lang="en"' in page and "How it is distributed" in page
    assert client.post("/language", content=f"form_token={token}&language=../x").status_code == 400
    assert client.post("/language", content="language=de").status_code == 400
    away = client.post("/language", content=f"form_token={token}&language=de&spoken=//evil.example")
    assert away.headers["location"] == "/today"
    client.cookies.set("winback_language", "../../etc/passwd")
    assert 'lang="de"' in client.get("/risk").text


@pytest.mark.parametrize(("asked", "meant"), [
    ("/what-if?budget=1500&factor=1.125", "/what-if?budget=1500&factor=1.125"), ("/people?page=2", "/people?page=2"),
    ("/people?q=1.500", "/people?q=1.500"),
])  # fmt: skip
def test_what_is_asked_is_the_same_in_another_language(german: SmallDesk, asked: str, meant: str) -> None:
    client = german.client()
    form = re.search(r'<form action="/language".*?</form>', client.get(asked).text, re.S)[0]
    given = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)
    answer = client.post("/language", content=urlencode([*given, ("language", "en")]))
    assert answer.headers["location"] == meant


def test_numbers_are_written_and_read_as_the_language_does(german: SmallDesk) -> None:
    client, english = german.client(), SmallDesk(german.settings, german.lake, german.user_ids).client()
    english.cookies.set("winback_language", "en")
    typed = client.get("/what-if?typed=1&budget=1.012,5&factor=&cap_email=&off_0.1@bundle=1")
    address = typed.headers["location"]
    assert (typed.status_code, address) == (303, "/what-if?budget=1012.5&off_0.1%40bundle=1")
    page = client.get(address).text
    assert 'value="1012,50"' in page and "Neben dem heutigen Plan" in page and 'name="typed"' in page
    assert 'value="1012.50"' in english.get(address).text
    assert english.get("/what-if?typed=1&budget=1,500").headers["location"] == "/what-if?budget=1500"
    wrong = client.get(client.get("/what-if?typed=1&budget=1,5,0").headers["location"])
    assert wrong.status_code == 400


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_english_is_left_on_a_page_in_another_language(desk: SmallDesk, address: str) -> None:
    answer = desk.client().get(address)
    assert answer.status_code in (200, 400, 404)
    left = words_left(answer.text)
    assert left == [], sorted(set(left))
