"""The desk: its numbers are those of the stored tables, nobody gets in uninvited, and what people typed is text."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from desks import DAYS, FORMULA, HOSTILE, SmallDesk, decided_desk
from sklearn.metrics import roc_auc_score
from synthetic import offer

from configs.errors import InputError
from configs.offers import Catalogue, Option
from features.tables.duckdb_sessions import duckdb_session
from models.measurement.lift import Lift, Shortage
from models.metrics.comparison import Difference
from models.metrics.drift import expected_auc
from models.metrics.metric import Metric
from serving.charts.bar_charts import bar_chart
from serving.charts.line_chart import Point, line_chart
from serving.cubes.calibration_history import calibration_table
from serving.cubes.stored_cubes import read_cubes
from serving.desk.audience_post import Receiver, message_of, post, signature
from serving.desk.desk_pages import Desk, Question
from serving.desk.health_page import calibration, calibration_charts
from serving.desk.page_list import PAGES
from serving.desk.person_history import outcome
from serving.desk.timeline import TimelineEntry, marks
from serving.desk.today_page import figures, pages_linked
from serving.desk.visitors import Authenticator, Visitor
from serving.desk.what_if import Wish, decide_again
from serving.hand_over.channel_audiences import COLUMNS
from serving.report_page.budget_curve import BudgetCurve
from serving.report_page.page_environment import chart_words
from serving.report_page.report_pdf import pdf_of, printer
from serving.stored_days.day_basis import basis_changes, basis_table
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.stored_day import read_stored_day
from serving.wording.formatting import day_words
from serving.wording.language_file import load_language
from serving.wording.rendering import Words

DAY = DAYS[-1]
WORDS = Words(load_language("en"))
TOKENS = {"operator": "operator-token-of-a-test", "viewer": "viewer-token-of-a-test"}
VOID = {"meta", "img", "br", "input", "hr", "link"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> SmallDesk:
    return decided_desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def ask(desk: SmallDesk) -> Callable[..., object]:
    return desk.client().get


class Html(HTMLParser):
    """A page as a browser takes it: what is linked, which tags there are, and that every tag is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(source)
        assert not self.open
        self.text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", source)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")
        if tag not in VOID and self.get_starttag_text()[-2:] != "/>":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def sql(desk: SmallDesk, query: str) -> list[tuple[object, ...]]:
    folder = desk.lake.path("decisions", f"day={DAY}")
    tables = {name: f"read_parquet('{folder}/{name}.parquet')" for name in ("decisions", "options")}
    return duckdb.sql(query.format(**tables)).fetchall()


def test_the_cubes_add_up_to_the_decisions(desk: SmallDesk) -> None:
    cubes = read_cubes(desk.lake, DAY)
    measures = (
        "count(*), count(p_churn), sum(p_churn), sum(p_churn * retained_value), sum(expected_cost), sum(expected_value)"
    )
    (whole,) = sql(desk, f"SELECT {measures} FROM {{decisions}}")
    names = ("users", "known", "leavers", "value_at_risk", "expected_cost", "expected_value")
    assert [cubes.total(name) for name in names] == pytest.approx(whole)
    found = {row["stage"]: row["users"] for row in cubes.by("stage")}
    assert found == dict(sql(desk, "SELECT stage, count(*) FROM {decisions} GROUP BY stage"))
    assert sum(row["users"] for row in cubes.risk_bins) == whole[1]
    offered = {(row["offer_id"], row["discount"]): row["users"] for row in cubes.messages}
    assert offered == {
        row[:2]: row[2]
        for row in sql(
            desk, "SELECT offer_id, discount, count(*) FROM {decisions} WHERE offer_id <> 'none' GROUP BY ALL"
        )
    }


def test_reasons_and_rules_are_counted_as_they_are_stored(desk: SmallDesk) -> None:
    cubes = read_cubes(desk.lake, DAY)
    reasons = "SELECT unnest(reasons) AS each FROM {decisions} WHERE p_churn IS NOT NULL"
    counted = sql(desk, f"SELECT each.column, count(*) FROM ({reasons}) WHERE each.effect IS NOT NULL GROUP BY ALL")
    found: dict[str, int] = {}
    for row in cubes.drivers:
        found[row["driver"]] = found.get(row["driver"], 0) + row["users"]
    assert found == dict(counted)
    barred = sql(desk, "SELECT offer_id, why_not[1].code, count(*) FROM {options} GROUP BY ALL")
    sums: dict[tuple[object, object], int] = {}
    for row in cubes.rules:
        sums[row["offer_id"], row["code"]] = sums.get((row["offer_id"], row["code"]), 0) + row["users"]
    assert sums == {(offer, code): users for offer, code, users in barred}


def test_the_same_day_gives_the_same_cubes(desk: SmallDesk) -> None:
    from serving.cubes.day_cubes import write_cubes

    names = desk.lake.files.list(f"cubes/day={DAY}/*.parquet")
    before = {name: desk.lake.files.read(name) for name in names}
    write_cubes(desk.settings, desk.lake, DAY)
    assert {name: desk.lake.files.read(name) for name in names} == before
    assert len(before) == 8


def test_an_interval_by_chance_alone_is_that_of_independent_leavers(desk: SmallDesk) -> None:
    p_churn = np.array([p for (p,) in sql(desk, "SELECT p_churn FROM {decisions} WHERE p_churn IS NOT NULL")])
    shown = figures(read_cubes(desk.lake, DAY))
    spread = 1.96 * np.sqrt((p_churn * (1 - p_churn)).sum())
    assert (shown["leavers_low"], shown["leavers_high"]) == pytest.approx(
        (p_churn.sum() - spread, p_churn.sum() + spread)
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_whole_light_and_without_script(ask: Callable[..., object], name: str) -> None:
    answer = ask(f"/{name}")
    assert answer.status_code == 200
    page = Html(answer.text)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert not [attrs for _, attrs in page.tags if any(key.startswith("on") or key == "style" for key in attrs)]
    assert not [link for link in page.links if "//" in link]
    assert "script" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert len(answer.content) < 400_000
    assert [attrs["lang"] for tag, attrs in page.tags if tag == "html"] == ["en"]
    fields = [
        attrs
        for tag, attrs in page.tags
        if tag in ("input", "select") and attrs.get("type") not in ("hidden", "checkbox")
    ]
    labels = {attrs.get("for") for tag, attrs in page.tags if tag == "label"}
    assert all(attrs.get("id") in labels for attrs in fields)
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    style = (Path(__file__).parents[1] / "serving/charts/charts.css").read_text()
    drawn = {attrs["class"] for tag, attrs in page.tags if tag == "rect" and attrs.get("class")}
    assert not [each for each in drawn if not re.search(rf"\.{each}\b[^}}]*{{ fill: ", style)]  # else it is black


def test_today_says_what_the_tables_say(desk: SmallDesk, ask: Callable[..., object]) -> None:
    text = Html(ask("/today").text).text
    ((leavers, known, with_offer, cost),) = sql(
        desk,
        "SELECT sum(p_churn), count(p_churn), count(*) FILTER (offer_id <> 'none'), sum(expected_cost) FROM "
        "{decisions}",
    )
    assert f"About {leavers:,.0f} of {known:,} users are expected to leave" in text
    assert f"Offers {with_offer:,}" in text
    assert f"expected cost {cost:,.2f}" in text
    assert f"{day_words(DAYS[0])}, a week before" in text


def test_the_ten_questions_are_answered_within_two_clicks(ask: Callable[..., object]) -> None:
    first = Html(ask("/today").text)
    asked = {question for question, *_ in pages_linked()}
    assert len(asked) == 10
    words = {
        "Who leaves?": "Value at risk", "Why?": "What raises the risk", "What is it worth?": "What it is worth",
        "What do we do?": "Get it", "What does it cost?": "What it costs", "Does it work?": "How evidence starts",
        "Who got it?": "people", "Why not this user?": "people", "What if we had half the budget?": "Beside today",
        "What changed since last week?": "What changed",
    }  # fmt: skip
    for question, name, more in pages_linked():
        link = next(each for each in first.links if each == f"/{name}{more}")
        answer = ask(link.partition("#")[0])
        assert answer.status_code == 200
        page = Html(answer.text)
        assert words[question] in page.text, question
        if anchor := link.partition("#")[2]:
            assert anchor in {attrs.get("id") for _, attrs in page.tags}
        if question == "Why not this user?":
            person = next(each for each in page.links if each.startswith("/people/"))
            assert "Every option, and why not" in Html(ask(person).text).text


def test_people_are_found_filtered_and_ordered(desk: SmallDesk, ask: Callable[..., object]) -> None:
    def shown(query: str) -> list[str]:
        return [
            unescape(each)
            for each in re.findall(r'<a class="mono" href="[^"]*">([^<]*)</a>', ask(f"/people?{query}").text)
        ]

    expected = sql(desk, "SELECT user_id FROM {decisions} ORDER BY p_churn DESC NULLS LAST, user_id LIMIT 50")
    assert shown("order=risk") == [user for (user,) in expected]
    assert shown("order=id&page=2")[0] == sorted(desk.user_ids)[50]
    assert shown("q=u0001&order=id") == [f"u0001{number}" for number in range(10)]
    high = {user for (user,) in sql(desk, "SELECT user_id FROM {decisions} WHERE risk_band = 'high'")}
    assert set(shown("band=high")) <= high
    assert f"{len(high)} people" in Html(ask("/people?band=high").text).text
    assert "Nobody is like that" in ask("/people?q=nobody-at-all").text


def test_what_people_typed_is_text_wherever_it_is_shown(ask: Callable[..., object]) -> None:
    asked = [
        f"{address}={quote(HOSTILE)}" for address in ("/people?q", "/people?stage", "/what-if?segment", "/today?day")
    ]
    person = f"/people/{quote(HOSTILE, safe='')}"
    for address in ("/people?order=id", "/people?q=%3Cimg", person, "/plays", "/what-if?budget=1", *asked):
        answer = ask(address)
        assert "<img" not in answer.text
        Html(answer.text)
    assert HOSTILE in Html(ask(f"/people/{quote(HOSTILE, safe='')}").text).text


def test_hostile_categories_traits_and_texts_are_shown_as_text(desk: SmallDesk, ask: Callable[..., object]) -> None:
    (written,) = sql(desk, "SELECT user_id FROM {decisions} WHERE offer_id = 'bundle' ORDER BY user_id LIMIT 1")[0]
    named = (
        "SELECT user_id FROM (SELECT user_id, unnest(reasons) AS each FROM {decisions}) WHERE each.value LIKE '<img%'"
    )
    (reasoned,) = sql(desk, f"{named} ORDER BY user_id LIMIT 1")[0]
    for address in (f"/people/{written}", f"/people/{quote(reasoned, safe='')}", "/plays", "/risk"):
        answer = ask(address)
        assert "<img" not in answer.text
        Html(answer.text)
    assert HOSTILE in Html(ask(f"/people/{written}").text).text
    assert HOSTILE in Html(ask(f"/people/{quote(reasoned, safe='')}").text).text
    assert HOSTILE in Html(ask("/plays").text).text


def test_what_a_page_does_not_read_is_refused_with_a_sentence(ask: Callable[..., object]) -> None:
    for address, said in {
        "/people?stge=new": "did you mean stage?", "/risk?stage=new": "it reads day, table",
        "/audience.csv?bnd=high": "did you mean band?", "/people?page=1.5": "page must be a whole number",
        "/what-if?cap_email=0.5": "cap_email must be a whole number",
        "/what-if?cap_mail=5": "no offer of the day goes by",
        "/today?day=2024-01-01&day=2024-01-02": "given twice",
    }.items():  # fmt: skip
        answer = ask(address)
        assert (answer.status_code, said in Html(answer.text).text.lower()) == (400, True), address


def test_what_the_menu_says_is_an_address_and_a_misspelt_one_is_named(ask: Callable[..., object]) -> None:
    answer = ask(f"/segments?day={DAYS[0]}")
    assert (answer.status_code, answer.headers["location"]) == (308, f"/groups?day={DAYS[0]}")
    answer = ask("/helth")
    assert (answer.status_code, "did you mean /health?" in answer.text) == (404, True)


def test_filters_name_what_people_know_and_not_ids(ask: Callable[..., object]) -> None:
    text = Html(ask("/people").text).text
    assert "control group, never written to" in text
    assert 'value="dormant">Dormant<' in ask("/people").text and "not predicted" in text


def table(ask: Callable[..., object], address: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(ask(address).text)))[1:]


def test_segments_plays_and_health_say_what_the_tables_say(desk: SmallDesk, ask: Callable[..., object]) -> None:
    stages = sql(desk, "SELECT count(*) FROM {decisions} GROUP BY stage")
    assert sorted(float(row[1]) for row in table(ask, "/groups?table=stages")) == sorted(users for (users,) in stages)

    given = "SELECT count(*), sum(expected_cost) FROM {decisions} WHERE offer_id <> 'none'"
    ((users, cost),) = sql(desk, given)
    text = Html(ask("/plays").text).text
    assert f"{users:,} users get an offer today, at an expected cost of {cost:,.2f}" in text
    levels = sql(desk, "SELECT count(*) FROM {decisions} WHERE offer_id <> 'none' GROUP BY offer_id, discount")
    assert sorted(float(row[1]) for row in table(ask, "/plays?table=levels")) == sorted(each for (each,) in levels)
    may = """SELECT count(*) FILTER (o.eligible), count(*) FILTER (o.why_not IS NULL OR len(o.why_not) = 0),
                    count(d.user_id)
             FROM {options} AS o LEFT JOIN {decisions} AS d USING (user_id, offer_id, discount)
             WHERE o.offer_id = 'bundle' GROUP BY o.discount ORDER BY o.discount"""
    numbers = "SELECT count(*) FROM {decisions}"
    shown = ask("/plays?offer=bundle").text
    own = [
        [int(each.replace(",", "")) for each in re.findall(rf'data-label="{name}">([\d,]+)<', shown)]
        for name in ("May get it", "Would pay", "Get it")
    ]
    assert [tuple(row) for row in zip(*own, strict=True)] == sql(desk, may)
    funnel = table(ask, "/plays?offer=bundle&table=funnel-bundle")
    assert float(funnel[0][1]) == sql(desk, numbers)[0][0]
    reasons = shown[shown.index('id="none"') : shown.index("Rules that leave nothing")]
    why = re.findall(r'data-label="Users">([\d,]+)<', reasons)
    nothing = sql(desk, "SELECT count(*) FROM {decisions} WHERE offer_id = 'none' GROUP BY why[1].code")
    assert sorted(int(each.replace(",", "")) for each in why) == sorted(each for (each,) in nothing)

    assert float(table(ask, "/health?table=users")[-1][1]) == sql(desk, numbers)[0][0]
    ((expected, users),) = sql(desk, "SELECT sum(p_churn), count(p_churn) FROM {decisions} WHERE offer_id = 'none'")
    assert float(table(ask, "/health?table=calibration")[-1][1]) == pytest.approx(expected / users)


def test_who_left_is_counted_once_the_horizon_is_over(desk: SmallDesk) -> None:
    first = DAYS[0]
    churn = desk.settings.churn.model_copy(update={"horizon_days": 7})
    settings = desk.settings.model_copy(update={"churn": churn})
    decided = duckdb.sql(
        f"SELECT user_id, p_churn, offer_id FROM '{desk.lake.path('decisions', f'day={first}')}/decisions.parquet'"
    ).df()
    stayed = decided["user_id"].iloc[::2]
    active = pa.table({"user_id": pa.array(stayed), "active_days": pa.array([1] * len(stayed))})
    with desk.lake.files.publish() as publication:
        pq.write_table(active, publication.folder(f"aggregates/day={first}") / "aggregates.parquet")
    with duckdb_session(settings) as connection:
        rows = {row["day"]: row for row in calibration_table(settings, desk.lake, DAY, connection).to_pylist()}
    asked = decided[decided["p_churn"].notna() & (decided["offer_id"] == "none")]
    has_left = ~asked["user_id"].isin(stayed)
    assert (rows[first]["users"], rows[first]["left_users"]) == (len(asked), has_left.sum())
    assert rows[first]["leavers"] == pytest.approx(asked["p_churn"].sum())
    assert rows[first]["auc"] == pytest.approx(roc_auc_score(has_left, asked["p_churn"]), abs=2e-3)
    assert rows[first]["expected_auc"] == pytest.approx(expected_auc(asked["p_churn"].to_numpy()), abs=2e-3)
    assert rows[DAY]["left_users"] is None
    charts = calibration_charts(list(rows.values()), [], WORDS)
    assert charts["calibration"].rows[0][-1] == pytest.approx(has_left.mean())
    found = calibration(list(rows.values()))
    assert (found.closed, found.left) == (1, has_left.sum())


def test_what_a_day_was_decided_by_is_compared_with_the_day_before(desk: SmallDesk, tmp_path) -> None:
    from features.storage.lake import Lake

    lake, scoring = Lake(tmp_path), desk.settings.scoring.model_copy(update={"budget": 99.0})
    catalogue = Catalogue(offers=(offer("bundle"),))
    tables = {
        DAYS[0]: basis_table("churn-a-1, value-b-2", desk.settings, catalogue),
        DAYS[1]: basis_table("churn-c-3", desk.settings.model_copy(update={"scoring": scoring}), Catalogue(offers=())),
    }
    with lake.files.publish() as publication:
        for day, basis in tables.items():
            pq.write_table(basis, publication.folder(f"decisions/day={day}") / "basis.parquet")
    found = {(each.kind, each.name): (each.before, each.now) for each in basis_changes(lake, DAYS)}
    assert found.pop(("offer", "bundle"))[1] is None
    assert found == {
        ("model", "churn"): ("churn-a-1", "churn-c-3"), ("model", "value"): ("value-b-2", None),
        ("setting", "scoring.budget"): ("25.0", "99.0"),
    }  # fmt: skip


def test_a_change_is_marked_in_a_chart_named_in_its_legend_and_told_in_its_table() -> None:
    points = [Point("2024-05-01", 3.0), Point("2024-05-03", 4.0)]
    laid = marks(
        [TimelineEntry(date(2024, 5, 3), "model", "new"), TimelineEntry(date(2024, 5, 2), "done", "score-users done")]
    )
    chart = line_chart("Users", ("day", "users"), points, marks=laid, words=chart_words(WORDS))
    assert chart.rows == (("2024-05-01", 3.0, None), ("2024-05-03", 4.0, "new"))
    assert 'class="mark-model"' in chart.svg and "M: another model decides" in chart.svg
    assert "mark" not in line_chart("Users", ("day", "users"), points).svg


def test_a_contact_stands_beside_what_came_of_it(desk: SmallDesk) -> None:
    asked = Question.of(Desk.of(desk.settings, desk.lake), Visitor("operator", "ann"), {})
    at = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) - timedelta(days=40)
    given = {"decision_id": "d1", "decided_at": at}
    opened = {"occurred_at": at + timedelta(days=1), "event_name": "notification_open", "decision_id": "d1"}
    back = {"occurred_at": at + timedelta(days=3), "event_name": desk.settings.roles.activity[0], "decision_id": None}
    assert outcome(asked, given, [opened, back]) == "notification open; active after 3 days"
    assert outcome(asked, given, []) == "not active within 28 days"
    assert outcome(asked, {**given, "decided_at": at + timedelta(days=30)}, []) == "not active yet"


def test_a_pdf_holds_the_page_and_says_what_is_missing_where_it_cannot_be_made(monkeypatch) -> None:
    page = f"<p>Eleven leave</p>{bar_chart('Users', ('stage', 'users'), [('new', 3.0)]).svg}"
    try:
        printer()
    except InputError:
        pass
    else:
        assert pdf_of(page).startswith(b"%PDF-")
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(InputError, match="make pdf installs it"):
        pdf_of(page)


def test_an_audience_has_the_columns_of_a_send_list_and_no_formula(desk: SmallDesk, ask: Callable[..., object]) -> None:
    rows = list(csv.DictReader(io.StringIO(ask("/audience.csv?order=id").text)))
    left_out = {"address", "time_zone"}  # which are in the send list alone
    assert list(rows[0]) == [name for name in COLUMNS if name not in left_out]
    assert len(rows) == len(desk.user_ids)
    assert f"'{FORMULA}" in {row["user_id"] for row in rows}
    assert not [cell for row in rows for cell in row.values() if re.match(r"[=+@\t\r]|-[^0-9]", cell)]
    given = list(csv.DictReader(io.StringIO(ask("/audience.csv?offered=yes").text)))
    assert len(given) == sql(desk, "SELECT count(*) FROM {decisions} WHERE offer_id <> 'none'")[0][0]
    nothing = ask("/audience.csv?offered=no")
    assert nothing.text.splitlines()[0] == "user_id,stage,persona,risk_band,p_churn,arm"
    assert "-people-offered-no.csv" in nothing.headers["content-disposition"]
    ask("/audience.csv?offered=yes")
    entries = [json.loads(desk.lake.files.read(name)) for name in desk.lake.files.list("desk/log/*.json")]
    assert (entries[-1]["what"], entries[-1]["rows"], entries[-1]["role"]) == ("audience", len(given), "operator")


def test_a_charts_table_is_taken_away_as_csv(desk: SmallDesk, ask: Callable[..., object]) -> None:
    answer = ask("/risk?table=distribution")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert sum(float(row[1]) for row in rows[1:]) == read_cubes(desk.lake, DAY).total("known")
    assert ask("/risk?table=nothing").status_code == 400


STRANGE = (
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "'; DROP TABLE x; --",
    "' OR 1=1 --",
    "a" * 5000,
    "/",
    "\\",
    "-1",
    "nan",
    "1e400",
)


@pytest.mark.parametrize("value", STRANGE)
def test_no_parameter_reaches_a_file_or_a_query(ask: Callable[..., object], value: str) -> None:
    given = quote(value, safe="%")
    names = (
        "day",
        "stage",
        "persona",
        "risk_band",
        "segment",
        "arm",
        "offer_id",
        "channel",
        "offered",
        "order",
        "page",
        "q",
        "table",
    )
    for name in names:
        answer = ask(f"/people?{name}={given}")
        assert answer.status_code in (200, 400, 404), (name, value)
        assert "root:" not in answer.text
        if name not in ("q", "page"):
            assert answer.status_code in (400, 404), (name, value)
    for address in (
        f"/what-if?budget={given}",
        f"/what-if?cap_email={given}",
        f"/what-if?off_{given}=1",
        f"/people/{given}",
        f"/plays?offer={given}",
    ):
        assert ask(address).status_code in (200, 303, 307, 400, 404), address


def test_who_has_no_token_is_refused_and_a_viewer_sees_pseudonyms(desk: SmallDesk) -> None:
    authenticator = Authenticator.of_environment(
        {"WINBACK_DESK_OPERATOR_TOKEN": TOKENS["operator"], "WINBACK_DESK_VIEWER_TOKEN": TOKENS["viewer"]},
        "0.0.0.0",
        "",
        (),
    )
    client = desk.client(authenticator, "desk.example")
    for address in ("/", "/people", "/audience.csv", "/report", "/what-if", "/nothing"):
        assert client.get(address).status_code == 401
        assert client.get(address, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get(address, headers={"cookie": "winback_desk=operator.0"}).status_code == 401
    assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/sign-in"
    viewer = {"authorization": f"Bearer {TOKENS['viewer']}"}
    page = client.get("/people?order=id", headers=viewer).text
    assert not [user for user in desk.user_ids if f">{user}<" in page]
    person = next(each for each in Html(page).links if each.startswith("/people/"))
    assert re.fullmatch(r"/people/~[0-9a-f]{16}", person)
    assert client.get(person, headers=viewer).status_code == 200
    assert client.get("/people/u00005", headers=viewer).status_code == 404
    rows = list(csv.DictReader(io.StringIO(client.get("/audience.csv", headers=viewer).text)))
    assert {len(row["user_id"]) for row in rows} == {17}
    assert {row["decision_id"] + row["idempotency_key"] for row in rows} == {""}
    assert client.get("/report", headers=viewer).status_code == 403
    operator = {"authorization": f"Bearer {TOKENS['operator']}"}
    assert ">u00005<" in client.get("/people?q=u00005", headers=operator).text


def test_a_token_is_given_once_and_kept_in_a_cookie_that_scripts_cannot_read(desk: SmallDesk) -> None:
    authenticator = Authenticator(tokens={"operator": TOKENS["operator"]})
    client = desk.client(authenticator)
    assert client.post("/sign-in", content="token=wrong").status_code == 401
    answer = client.post("/sign-in", content=f"token={TOKENS['operator']}")
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and TOKENS["operator"] not in cookie
    assert client.get("/today").status_code == 200
    assert client.post("/sign-out", content="form_token=guessed").status_code == 400
    assert client.get("/today").status_code == 200


def test_a_reverse_proxy_says_who_asks(desk: SmallDesk) -> None:
    client = desk.client(Authenticator.of_environment({}, "0.0.0.0", "X-User", ("ann",)))
    assert client.get("/today").status_code == 401
    assert ">u00005<" in client.get("/people?q=u00005", headers={"x-user": "ann"}).text
    assert ">u00005<" not in client.get("/people?q=u00005", headers={"x-user": "bob"}).text


def test_a_desk_without_tokens_answers_to_this_machines_names_alone_and_others_want_a_token(desk: SmallDesk) -> None:
    assert desk.client(host="evil.example").get("/today").status_code == 400
    with pytest.raises(InputError, match="lets other machines ask"):
        Authenticator.of_environment({}, "0.0.0.0", "", ())
    with pytest.raises(InputError, match="fewer than 16 signs"):
        Authenticator.of_environment({"WINBACK_DESK_OPERATOR_TOKEN": "short"}, "127.0.0.1", "", ())


def stored(desk: SmallDesk):
    found = read_stored_day(desk.lake, DecisionMoment.of_night(DAY, "UTC"))
    names, discounts = zip(*sql(desk, "SELECT offer_id, discount FROM {decisions}"), strict=True)
    places = {option: place for place, option in enumerate(found.options)}
    today = np.array([places.get(Option(*each), -1) for each in zip(names, discounts, strict=True)])
    return found, today


def test_asking_for_what_was_decided_changes_nothing_and_its_sums_are_those_of_the_decisions(desk: SmallDesk) -> None:
    found, today = stored(desk)
    same = decide_again(found, Wish(25.0), ["email"] * len(found.options), desk.settings, today)
    ((users, cost, value),) = sql(
        desk, "SELECT count(*), sum(expected_cost), sum(expected_value) FROM {decisions} WHERE offer_id <> 'none'"
    )
    assert (same.changed, same.users) == (0, users)
    assert (same.cost, same.value) == pytest.approx((cost, value))


def test_half_the_budget_spends_no_more_and_an_option_that_is_off_is_given_to_nobody(desk: SmallDesk) -> None:
    found, today = stored(desk)
    channels = ["email"] * len(found.options)
    whole, half = (decide_again(found, Wish(budget), channels, desk.settings, today) for budget in (25.0, 12.5))
    assert half.cost <= 12.5 + 1e-9 < whole.cost
    assert half.value <= whole.value
    assert half.changed > 0
    off = max(whole.options, key=lambda each: each.users).option
    without = decide_again(found, Wish(25.0, without=frozenset({off})), channels, desk.settings, today)
    assert {each.users for each in without.options if each.option == off} == {0}
    capped = decide_again(found, Wish(25.0, {"email": 3}), channels, desk.settings, today)
    assert capped.users <= 3
    nobody = decide_again(found, Wish(0.0), channels, desk.settings, today)
    assert nobody.cost == 0


def test_a_preferred_part_of_the_users_gets_more_and_values_are_summed_unscaled(desk: SmallDesk) -> None:
    found, today = stored(desk)
    channels, preferred = ["email"] * len(found.options), np.arange(len(today)) % 2 == 0
    plain, first = (
        decide_again(found, Wish(5.0, preferred=preferred, factor=factor), channels, desk.settings, today)
        for factor in (1.0, 10.0)
    )
    assert first.changed > 0
    assert first.value <= plain.value + 1e-9  # the plan is best by the values themselves


def test_where_users_take_turns_a_preferred_part_stands_nearer_to_the_front(desk: SmallDesk) -> None:
    found, today = stored(desk)
    one, users = found.allocation_input, len(today)
    value = np.where(np.arange(len(found.options))[:, None] == 0, 2.0, np.full((1, users), -np.inf))
    turn = np.random.default_rng(3).random(users)
    cost = np.ones_like(value)
    taking = replace(found, allocation_input=one._replace(value=value, cost=cost, turn=turn), limits=())
    prices = taking.prices.assign(most=taking.prices["most"].where(taking.prices.index != "budget", 20.0))
    given = replace(taking, prices=prices).assignment(desk.settings).given
    plain, first, last = (
        decide_again(taking, Wish(20.0, preferred=given >= 0, factor=factor), ["email"], desk.settings, given)
        for factor in (1.0, 2.0, 0.001)
    )
    assert (plain.changed, first.changed, plain.users) == (0, 0, 20)
    assert last.users == 20 and last.changed == 40  # all of those who were in front are now behind


def test_a_proposal_is_left_only_when_asked_by_a_form_of_ours(desk: SmallDesk) -> None:
    client = desk.client()
    assert client.get("/what-if?budget=10").status_code == 200
    assert not desk.lake.files.list("desk/proposals/*")
    assert client.post("/what-if/proposal", content="budget=10").status_code == 400
    page = Html(client.get("/what-if?budget=10&cap_email=2").text)
    token = next(attrs["value"] for tag, attrs in page.tags if tag == "input" and attrs.get("name") == "form_token")
    assert client.post("/what-if/proposal", content=f"form_token={token}&budget=10&cap_email=2").status_code == 200
    (name,) = desk.lake.files.list("desk/proposals/*")
    text = desk.lake.files.read(name).decode()
    assert 'budget = 10.0\nchannel_capacity = { "email" = 2 }' in text


def test_before_the_first_decided_day_the_desk_says_how_to_begin(desk: SmallDesk, tmp_path) -> None:
    from features.storage.lake import Lake

    empty = SmallDesk(desk.settings, Lake(tmp_path), ())
    answer = empty.client().get("/today")
    assert answer.status_code == 404
    assert "winback score-users" in answer.text


def test_days_whose_sums_are_gone_are_named_with_the_command_that_writes_them(desk: SmallDesk, tmp_path: Path) -> None:
    from shutil import copytree, rmtree

    from features.storage.lake import Lake

    copytree(desk.lake.root, tmp_path / "data")
    rmtree(tmp_path / "data" / "cubes" / f"day={DAYS[0]}")
    lost = SmallDesk(desk.settings, Lake(tmp_path / "data"), desk.user_ids).client()
    assert lost.get("/today").status_code == 200
    assert f"winback report --as-of {DAYS[0]} writes them" in Html(lost.get(f"/today?day={DAYS[0]}").text).text
    rmtree(tmp_path / "data" / "cubes")
    answer = lost.get("/people")
    assert answer.status_code == 404
    said = f"The sums of {day_words(DAY)} that pages are made of are not there (folder cubes); winback report --as-of"
    assert f"{said} {DAY} writes them" in Html(answer.text).text


def test_a_list_of_people_says_a_long_reason_once(ask: Callable[..., object]) -> None:
    page = ask("/people?offered=no").text
    assert page.count("a payment failed: payment recovery comes first, never a discount") == 1
    assert page.count('class="quiet">a payment failed<') > 1


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_reason_for_nothing_names_the_channel_that_is_full(tmp_path: Path, language: str) -> None:
    desk = decided_desk(tmp_path, {"budget": 1e6, "channel_capacity": {"email": 5}})
    own = SmallDesk(desk.settings.model_copy(update={"language": language}), desk.lake, desk.user_ids)
    page = Html(own.client().get("/plays").text).text
    full = {"en": "No place left: the channel email earns more", "de": "Kein Platz mehr: channel email bringt"}
    assert full[language] in page
    assert "None" not in page


def test_an_option_that_would_pay_says_why_its_user_gets_nothing(desk: SmallDesk, ask: Callable[..., object]) -> None:
    pays = "SELECT user_id FROM {options} WHERE eligible AND value > 0"
    found = sql(desk, f"SELECT min(user_id) FROM {{decisions}} WHERE arm = 'control' AND user_id IN ({pays})")
    page = ask(f"/people/{found[0][0]}").text
    table = page[page.index('data-label="Worth after cost"') :]
    assert "In the control group, which is never treated" in table
    assert "was worth more" not in table


def test_of_those_who_get_something_no_reason_stands_above_the_list(tmp_path: Path) -> None:
    exploring = {"budget": 500.0, "exploration": {"share": 0.5, "budget_share": 0.5}}
    desk = decided_desk(tmp_path, exploring)
    assert sql(desk, "SELECT count(*) FROM {decisions} WHERE offer_id <> 'none' AND arm = 'explore'")[0][0] > 0
    page = desk.client().get("/people?offered=yes").text
    assert "at random to learn what works" not in page


def test_the_table_of_a_chart_writes_numbers_as_the_chart_does(desk: SmallDesk, ask: Callable[..., object]) -> None:
    german = SmallDesk(desk.settings.model_copy(update={"language": "de"}), desk.lake, desk.user_ids).client().get

    def cells(get: Callable[..., object], address: str, name: str) -> list[str]:
        figure = get(address).text.split(f'id="{name}"')[1].split("</figure>")[0]
        return [unescape(cell) for cell in re.findall(r"<td[^>]*>([^<]+)</td>", figure)]

    shares = cells(ask, "/today", "leavers_over_time")
    assert len(shares) >= 8 and all(cell in map(str, DAYS) or cell.endswith("%") for cell in shares[:8])
    person = re.search(r'href="(/people/[^"?]+)', ask("/people?order=risk").text).group(1)
    _, average, *moves = cells(german, person, "risk")
    assert re.fullmatch(r"<?\d+(,\d)?\xa0%", average) and any(cell.endswith("Punkte") for cell in moves)


def test_results_show_what_was_measured_over_time(desk: SmallDesk, ask: Callable[..., object]) -> None:
    def lift(measure: str, value: float, *shortage: Shortage, subject: str = "offers") -> Lift:
        known = Difference(0.5, 0.4, Metric(value, value - 1, value + 1, 90), None, 0.5, 0.01)
        found = None if shortage else known
        return Lift(subject, measure, 60, 30, 20, 10, found, found, None if shortage else 0.02, 2, shortage)

    for day, value in zip(DAYS, (1.5, 2.5), strict=True):
        few, older = lift("retention", 0.0, Shortage("control", "users", 9, 30)), lift("revenue", 0.0).as_dict()
        older["shortage"] = "9 control users, at least 30 are needed"
        drawn = [lift("margin", value, subject=subject).as_dict() for subject in ("lots", "lots_bundle")]
        lifts = [lift("margin", value).as_dict(), few.as_dict(), older, *drawn]
        facts = {"as_of": str(day), "first_day": "2024-05-01", "last_day": "2024-05-02", "window_days": 28, "users": 90}
        facts["lifts"] = lifts
        with desk.lake.files.publish() as publication:
            publication.write(f"measurements/day={day}/lifts.json", json.dumps(facts).encode())
    text = Html(ask("/results").text).text
    for subject in ("all offers", "randomised offers", "bundle, given at random"):
        assert f"{subject} margin a head 60 30 +2.500 +1.500 to +3.500 Distinguished from chance" in text
    assert "share who stay 60 30 – – Users in the control group: 9, at least 30 are needed" in text
    assert "revenue a head 60 30 – – Measured by an older winback; winback measure-offers says what is missing" in text
    german = SmallDesk(desk.settings.model_copy(update={"language": "de"}), desk.lake, desk.user_ids)
    spoken = Html(german.client().get("/results").text).text
    assert "60 30 – – Personen in der Kontrollgruppe: 9, nötig sind mindestens 30" in spoken
    assert "zufällig vergebene Angebote" in spoken and "bundle, zufällig vergeben" in spoken
    assert "Von einem älteren winback gemessen; winback measure-offers sagt, was fehlt" in spoken
    rows = list(csv.reader(io.StringIO(ask("/results?table=lift-margin").text)))
    assert rows[1:] == [[str(DAYS[0]), "1.5", "0.5", "2.5"], [str(DAYS[1]), "2.5", "1.5", "3.5"]]


class Takes(BaseHTTPRequestHandler):
    """A receiver that is busy at first."""

    taken: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(503 if len(self.taken) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_audience_is_posted_signed_once_more_where_the_receiver_was_busy_and_by_the_same_name(
    desk: SmallDesk,
) -> None:
    secret = b"a secret of twenty-four b"
    with HTTPServer(("127.0.0.1", 0), Takes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address, key = f"http://127.0.0.1:{server.server_port}/in", "whsec_" + b64encode(secret).decode()
        named = {"WINBACK_AUDIENCE_URL": address, "WINBACK_AUDIENCE_SECRET": key}
        receiver = Receiver.of_environment(named)
        message_id, body = message_of(str(DAY), {"offered": "yes"}, [{"user_id": FORMULA}])
        assert post(receiver, message_id, body, wait=lambda _: None) == 2
        server.shutdown()
    assert [headers["webhook-id"] for headers, _ in Takes.taken] == [message_id, message_id]
    headers, sent = Takes.taken[-1]
    assert sent == body and json.loads(sent)["data"]["people"] == [{"user_id": FORMULA}]
    assert headers["webhook-signature"] == signature(secret, message_id, int(headers["webhook-timestamp"]), sent)
    with pytest.raises(InputError, match="must be whsec_"):
        Receiver.of_environment(named | {"WINBACK_AUDIENCE_SECRET": "plain"})
    assert desk.client().post("/audience/post", content="offered=yes").status_code == 400


EUROS = Words(load_language("en"), currency="EUR")


def test_a_budget_curve_marks_today_and_may_have_one_point() -> None:
    points = {
        "budget": [0.0, 10.0, 20.0],
        "value": [0.0, 7.0, 8.0],
        "spent": [0.0, 9.0, 12.0],
        "shadow_price": [1.0] * 3,
    }
    chart = BudgetCurve(pd.DataFrame(points), 1, 0.5).chart(EUROS)
    assert [row[1] for row in chart.rows] == [0.0, 7.0, 8.0]
    middle = re.search(r'<line x1="([\d.]+)"[^>]*class="mark"', chart.svg)
    dots = re.findall(r'<circle cx="([\d.]+)"', chart.svg)
    assert middle is not None and middle[1] == dots[1]
    assert BudgetCurve(pd.DataFrame(points).head(1), 0, 0.5).chart(EUROS).svg.count("<circle") == 1
