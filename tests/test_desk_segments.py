"""Segments on the desk, added up independently; and a whole catalogue of hostile texts, shown as text everywhere."""

from __future__ import annotations

import re
from datetime import date
from html import unescape
from urllib.parse import quote

import pandas as pd
import pytest
from desks import DAYS, HOSTILE, USERS, SmallDesk, people
from fastapi.testclient import TestClient
from synthetic import small_policy, small_settings
from test_desk import Html, table
from test_segment_day import write_snapshot

from configs.offers import load_catalogue
from features.storage.lake import Lake
from serving.cubes.day_cubes import write_cubes
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.desk.page_list import PAGES
from serving.memberships.segment_day import load_rules, write_segments
from serving.wording.formatting import money, signed, thousands

DAY = DAYS[-1]
RULES = f"""
[busy]
title = "Busy {HOSTILE}"
meaning = "active on five days or more {HOSTILE}"
when = "active_days_count_28d >= 5"

[spends]
title = "Spends"
meaning = "spent more than 30"
when = "spend_sum_28d > 30"

[risky]
title = "Risky"
meaning = "at medium or high risk"
when = "risk_band IN ('high', 'medium')"
"""
OFFER = f"""
title = "Offer {HOSTILE}"
play = "Play {HOSTILE}"
channel = "email"
message = "{HOSTILE} {{{{ title }}}}"
discounts = [0.1, 0.2]
valid_days = 7
contact_cost = 0.05
covered_spend = 20.0
"""
OFFERS = "".join(f"[{name}]{OFFER}" for name in ("bundle", "come_back"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> SmallDesk:
    """Decide two days of a catalogue in which every text is hostile, and keep who is in which segment."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    (folder / "offers.toml").write_text(OFFERS, encoding="utf-8")
    settings = small_settings(
        scoring={"control_share": 0.2, "budget": 25.0}, data_dir=folder / "data", app=f"App {HOSTILE}",
        segments={"files": [str(folder / "rules.toml")]}, offers=str(folder / "offers.toml"),
    )  # fmt: skip
    lake = Lake(settings.data_dir)
    policy = small_policy(settings, offers=load_catalogue(settings.offers).offers)
    for day in DAYS:
        frame = people(USERS, day)
        decide(policy, lake, day, LocalExecutor([lambda frame=frame: frame.copy()]))
        rows = frame.astype(object).where(frame.notna(), None)
        write_snapshot(lake, day, {row["user_id"]: row for row in rows.to_dict("records")})
        with lake.files.lock("test"):
            write_segments(settings, lake, day, load_rules(settings, lake))
        write_cubes(settings, lake, day)
    return SmallDesk(settings, lake, tuple(frame["user_id"]))


@pytest.fixture(scope="module")
def client(desk: SmallDesk) -> TestClient:
    return desk.client()


def members(desk: SmallDesk, day: date) -> dict[str, pd.DataFrame]:
    """Decisions of those in each segment, by its rule and nothing of the desk's."""
    frame = people(USERS, day)
    decisions = pd.read_parquet(desk.lake.path("decisions", f"day={day}") / "decisions.parquet")
    known = frame[["user_id", "active_days_count_28d", "spend_sum_28d"]].merge(decisions, on="user_id")
    return {
        "busy": known[known["active_days_count_28d"] >= 5],
        "spends": known[known["spend_sum_28d"] > 30],
        "risky": known[known["risk_band"].isin(["high", "medium"])],
    }


def row_of(page: str, name: str) -> dict[str, str]:
    """Cells of a segment's row of a page, by their labels."""
    row = re.search(rf'<tr><th scope="row"><a href="/people\?segment={name}">.*?</tr>', page, re.S)
    assert row is not None
    return {label: unescape(text) for label, text in re.findall(r'data-label="([^"]*)">([^<]*)<', row[0])}


@pytest.mark.parametrize("name", ["busy", "spends", "risky"])
def test_segments_and_risk_say_of_each_segment_what_the_tables_say(
    desk: SmallDesk, client: TestClient, name: str
) -> None:
    now, before = (members(desk, day)[name] for day in (DAY, DAYS[0]))
    now_ids, ids_before = set(now["user_id"]), set(before["user_id"])
    shown = row_of(client.get("/groups").text, name)
    assert shown.pop("Than a week ago") == signed(len(now_ids) - len(ids_before), 0)
    came, left = (value for label, value in shown.items() if label.startswith(("Came since", "Left since")))
    assert (came, left) == (thousands(len(now_ids - ids_before)), thousands(len(ids_before - now_ids)))
    offers = int((now["offer_id"] != "none").sum())
    assert (shown["Users"], shown["Offers"]) == (thousands(len(now)), thousands(offers))
    assert shown["Expected to leave"] == thousands(now["p_churn"].sum())

    shown = row_of(client.get("/risk").text, name)
    at_risk = int(now["risk_band"].isin(["high", "medium"]).sum())
    value = (now["p_churn"] * now["retained_value"]).sum()
    assert shown == {
        "Users": thousands(len(now)), "Expected to leave": thousands(now["p_churn"].sum()),
        "At risk": thousands(at_risk), "Value at risk": money(value, desk.settings.currency),
    }  # fmt: skip
    assert f"{len(now):,} people" in Html(client.get(f"/people?segment={name}").text).text


def test_who_went_from_stage_to_stage_is_counted_as_stored(desk: SmallDesk, client: TestClient) -> None:
    stages = [
        pd.read_parquet(desk.lake.path("segments", f"day={day}") / "segments.parquet").set_index("user_id")["stage"]
        for day in DAYS
    ]
    moves = pd.concat(stages, axis=1, keys=["before", "now"]).groupby(["before", "now"]).size()
    assert sorted(float(row[2]) for row in table(client.get, "/groups?table=flow")) == sorted(moves)
    users = stages[1].value_counts()
    assert sorted(float(row[1]) for row in table(client.get, "/groups?table=stages")) == sorted(users)


def test_hostile_texts_of_a_catalogue_and_of_rules_are_shown_as_text(desk: SmallDesk, client: TestClient) -> None:
    decisions = pd.read_parquet(desk.lake.path("decisions", f"day={DAY}") / "decisions.parquet")
    written = decisions[decisions["offer_id"] != "none"]["user_id"].iloc[0]
    person = f"/people/{quote(written, safe='')}"
    texts = {}
    for address in (*(f"/{name}" for name in PAGES), person, "/what-if?budget_share=0.5", "/people?segment=busy"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "<img" not in answer.text, address
        texts[address] = Html(answer.text).text
        assert f"App {HOSTILE}" in texts[address]
    for address, hostile in {
        "/today": f"Offer {HOSTILE}", "/plays": f"Play {HOSTILE}", person: f"{HOSTILE} Offer {HOSTILE}",
        "/groups": f"active on five days or more {HOSTILE}", "/risk": f"Busy {HOSTILE}", "/what-if": f"Offer {HOSTILE}",
    }.items():  # fmt: skip
        assert hostile in texts[address], address
    assert f"{HOSTILE} Offer {HOSTILE}" in texts["/plays"]  # as a phone shows it


def test_a_rule_that_is_hostile_names_no_other_segment(desk: SmallDesk, client: TestClient) -> None:
    assert client.get(f"/people?segment={quote(HOSTILE)}").status_code == 400
