"""Who is to be written to: a file per channel, each row once, times with their zone, nothing that computes."""

from __future__ import annotations

import csv
import re
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apps import at
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import InputError
from configs.offers import Catalogue, Offer
from configs.settings import load_settings
from features.ingestion.ingest_source import ingest_source
from features.storage.lake import Lake
from features.tables.parquet_files import write_parquet
from serving.earlier_contacts.past_contacts import PastContacts
from serving.hand_over.channel_audiences import Audiences, file_name, write_audiences
from serving.stored_days.day_tables import SEND_LISTS
from serving.stored_days.decision_moment import DecisionMoment

DAY = date(2024, 7, 1)
SETTINGS = load_settings(time_zone="Europe/Berlin")


def decided(lake: Lake, *rows: tuple[str, str, str]) -> Lake:
    """Decisions of a day: user, offer and channel."""
    many = len(rows)
    columns = dict(zip(("user_id", "offer_id", "channel"), map(list, zip(*rows, strict=True)), strict=True))
    columns |= {"benefit": ["percent"] * many, "benefit_level": [0.1] * many}
    columns |= {"subject": ["+ hello"] * many, "language": ["de"] * many}
    columns |= {"message": ["=1+1"] * many, "discount": [0.1] * many, "decision_id": [f"d{row[0]}" for row in rows]}
    instants = pa.array([at("2024-07-01 07:30")] * many, pa.timestamp("us", "UTC"))
    columns |= {"as_of": pa.array([at("2024-06-30 22:00")] * many, instants.type)}
    path = lake.partition("decisions", DAY)
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({**columns, "send_at": instants, "valid_until": instants}), path)
    return lake


def listed(lake: Lake, channel: str) -> list[dict[str, str]]:
    with lake.path(SEND_LISTS, f"day={DAY}", file_name(channel, "csv")).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_channel_gets_a_list_of_those_who_are_given_something(tmp_path: Path) -> None:
    pushed = ("u2", "come_back", "push"), ("u1", "come_back", "push")
    lake = decided(Lake(tmp_path), *pushed, ("u3", "bundle", "e mail/x"), ("u4", "none", "none"))
    assert write_audiences(SETTINGS, lake, DAY) == Audiences({"e mail/x": 1, "push": 2}, {})
    assert [row["user_id"] for row in listed(lake, "push")] == ["u1", "u2"]
    assert listed(lake, "e mail/x") == [
        {
            "user_id": "u3", "address": "", "channel": "e mail/x", "subject": "'+ hello",
            "message": "'=1+1", "language": "de",
            "send_at": "2024-07-01T09:30:00+02", "time_zone": "Europe/Berlin", "idempotency_key": "du3:e mail/x",
            "valid_until": "2024-07-01T09:30:00+02", "offer": "bundle", "discount": "0.1",
            "benefit": "percent", "benefit_level": "0.1", "decision_id": "du3", "experiment": "", "variant": "",
        }
    ]  # fmt: skip


def test_lists_of_before_give_way_and_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    lake = decided(Lake(tmp_path), ("u1", "come_back", "push"))
    write_audiences(SETTINGS, lake, DAY, kind="parquet")
    table = pq.read_table(lake.path(SEND_LISTS, f"day={DAY}", "push.parquet"), partitioning=None)
    assert (table["message"].to_pylist(), table["send_at"].type) == (["=1+1"], pa.timestamp("us", "UTC"))
    written = []
    for _ in range(2):
        write_audiences(SETTINGS, lake, DAY)
        written.append({name: lake.files.read(name) for name in lake.files.list(f"{SEND_LISTS}/*/*")})
    assert written[0] == written[1]
    assert list(written[0]) == [f"{SEND_LISTS}/day={DAY}/push.csv"]


def test_a_day_without_decisions_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no decisions of 2024-07-01"):
        write_audiences(SETTINGS, Lake(tmp_path), DAY)


@given(st.text(min_size=1, max_size=9), st.text(min_size=1, max_size=9))
def test_channels_have_files_of_their_own_in_the_folder_of_the_day(one: str, other: str) -> None:
    assert Path(file_name(one, "csv")).name == file_name(one, "csv")
    assert (file_name(one, "csv") == file_name(other, "csv")) == (one == other)


def test_addresses_go_along_and_who_withdrew_since_is_left_out(tmp_path: Path) -> None:
    names = ["agrees", "formula", "no address", "opted out", "withdrew"]
    lake = decided(Lake(tmp_path), *((name, "a", "push") for name in names), ("mailed", "b", "email"))
    users = {
        "user_id": [*names, "mailed"], "consent_push": [True, True, True, True, False, None],
        "push_token": ["t1", "=t2", " ", "t4", "t5", None], "time_zone": ["Asia/Tokyo", None, None, None, None, None],
    }  # fmt: skip
    write_parquet(pa.table(users), lake.path("users", "users.parquet"))
    said = {"event_id": ["e"], "user_id": ["opted out"], "event_name": ["opt_out"], "channel": ["push"],
            "occurred_at": pa.array([at("2024-07-01 03:00")], pa.timestamp("us", "UTC"))}  # fmt: skip
    write_parquet(pa.table(said), lake.partition("events", DAY))
    catalogue = tmp_path / "mine.toml"
    fields = (
        'title = "A"\nplay = "p"\nmessage = "m"\ndiscounts = [0.1]\nvalid_days = 7\ncontact_cost = 0\ncovered_spend = 1'
    )
    catalogue.write_text(f'[a]\nchannel = "push"\n{fields}\n[b]\nchannel = "email"\n{fields}\n')
    asked = load_settings(offers=str(catalogue), contact={"addresses": {"push": "push_token"}})
    found = write_audiences(asked, lake, DAY)
    assert found.rows == {"email": 1, "push": 2}
    assert found.withdrawn == {("no_address", "push"): 1, ("no_consent", "push"): 1, ("opted_out", "push"): 1}
    rows = [(row["user_id"], row["address"], row["time_zone"]) for row in listed(lake, "push")]
    assert rows == [("agrees", "t1", "Asia/Tokyo"), ("formula", "'=t2", "UTC")]


def test_an_id_that_turned_out_to_be_somebody_is_asked_as_that_user_who_gets_one_message(tmp_path: Path) -> None:
    names = ["visitor", "ann", "guest", "stranger", "bob"]
    lake = decided(Lake(tmp_path), *((name, "a", "push") for name in names))
    users = {"user_id": ["ann", "bob", "eve"], "consent_push": [True, True, True], "push_token": ["t1", "t2", "t3"]}
    write_parquet(pa.table(users), lake.path("users", "users.parquet"))
    noon = pa.array([at("2024-07-01 03:00")] * 3, pa.timestamp("us", "UTC"))
    pairs = {"old_user_id": ["visitor", "guest", "stranger"], "user_id": ["ann", "bob", "eve"], "since": noon}
    write_parquet(pa.table(pairs), lake.partition("aliases", DAY))
    said = {"event_id": ["e"], "user_id": ["bob"], "event_name": ["opt_out"], "channel": ["push"],
            "occurred_at": noon[:1]}  # fmt: skip
    write_parquet(pa.table(said), lake.partition("events", DAY))
    catalogue = tmp_path / "mine.toml"
    catalogue.write_text('[a]\nchannel = "push"\ntitle = "A"\nplay = "p"\nmessage = "m"\ndiscounts = [0.1]\n'
                         "valid_days = 7\ncontact_cost = 0\ncovered_spend = 1\n")  # fmt: skip
    asked = load_settings(offers=str(catalogue), contact={"addresses": {"push": "push_token"}})
    found = write_audiences(asked, lake, DAY)
    assert found.rows == {"push": 2}
    assert found.withdrawn == {("same_user", None): 2, ("opted_out", "push"): 1}
    assert [(row["user_id"], row["address"], row["decision_id"]) for row in listed(lake, "push")] == [
        ("ann", "t1", "dann"), ("eve", "t3", "dstranger"),
    ]  # fmt: skip


def test_what_came_of_a_list_comes_back_as_the_readme_says(tmp_path: Path) -> None:
    lake = decided(Lake(tmp_path / "data"), ("reader", "a", "push"), ("leaver", "a", "push"))
    write_audiences(SETTINGS, lake, DAY)
    (tmp_path / "raw" / "outcomes").mkdir(parents=True)
    with (tmp_path / "raw" / "outcomes" / "tool.csv").open("w", encoding="utf-8", newline="") as file:
        outcomes = csv.writer(file)
        outcomes.writerow(["idempotency_key", "user_id", "status", "happened_at"])
        for row in listed(lake, "push"):
            last = "opened" if row["user_id"] == "reader" else "unsubscribed"
            outcomes.writerow([row["idempotency_key"], row["user_id"], "sent", row["send_at"]])
            outcomes.writerow([row["idempotency_key"], row["user_id"], last, "2024-07-01T12:00:00+02"])
    page = (Path(__file__).parents[1] / "serving" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "outcomes.sql").write_text(re.findall(r"```sql\n(.*?)```", page, re.S)[0], encoding="utf-8")
    ingest = {"source": str(tmp_path / "outcomes.sql"), "raw": str(tmp_path / "raw")}
    asked = load_settings(time_zone="Europe/Berlin", data_dir=lake.root, ingest=ingest,
                          contact={"caps": {"in_7_days": 1}, "channel_caps": {"push": {"in_28_days": 1}}})  # fmt: skip
    for _ in range(2):  # twice changes nothing
        ingest_source(asked, lake, at("2024-07-02"))
    fields = {"play": "p", "discounts": (0.1,), "valid_days": 7, "contact_cost": 0, "covered_spend": 1}
    catalogue = Catalogue(offers=(Offer(offer_id="a", title="A", channel="push", message="m", **fields),))
    found = PastContacts(lake, asked, catalogue, DecisionMoment.of_night(date(2024, 7, 2), "Europe/Berlin"))()
    until = {(row["user_id"], found.names[row["what"]]): row["until"] / 3600 for row in found.restrictions.to_pylist()}
    week, sent = 7 * 24, 14.5  # hours before the next midnight: the list's own send_at, counted once
    assert until.pop(("leaver", "opt-out push")) > 10**6
    assert until == {
        (user, what): most - sent
        for user in ("reader", "leaver")
        for what, most in (("all", week), ("channel push", 4 * week))
    }
