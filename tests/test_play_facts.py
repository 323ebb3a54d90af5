"""Every message's fact holds: each play of the starter catalogue beside its claim, told anew from events alone."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from play_claims import CLAIMS, PAID, events_by_user

from configs.named_files import FOLDER
from configs.offers import load_catalogue
from configs.settings import load_settings
from features.definitions.app_declarations import declarations_of
from features.materialise.build_daily import build_aggregates
from features.materialise.user_traits import user_traits
from features.simulator.simulator_run import new_world, simulate
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet, write_parquet
from features.training_data.snapshot_run import bring_snapshots_up_to_date
from serving.lookups.play_answers import PlayRow, play_lines, play_rows
from serving.plays.play_rules import HOLDS, play_rules_of
from serving.segments.stages import stages_of
from serving.wording.language_file import load_language
from serving.wording.rendering import Words, words_of

USERS, DAYS, AS_OF = 500, 75, date(2024, 3, 16)


def fail_payments(lake: Lake) -> None:
    """Let the last renewal of one user fail, and that of one who cancels: few do of so few, who then buy no more."""
    path = lake.partition("events", AS_OF - timedelta(days=1))
    events = read_parquet(path).to_pandas()
    ended = events.loc[events["event_name"] == "app_store_subscription_cancel", "user_id"]
    visitor = events.loc[events["event_name"] == "session_start", "user_id"]
    buyers = set(events.loc[events["event_name"].isin(PAID), "user_id"])
    users = [next(user for user in each if user not in buyers) for each in (visitor, ended)]
    more = events.groupby("user_id").head(1).set_index("user_id").loc[users].reset_index()
    night = pd.Timestamp(AS_OF - timedelta(days=1), tz="UTC") + pd.Timedelta(hours=3)
    more = more.assign(event_id=["fails-1", "fails-2"], event_name="payment_failed", occurred_at=night)
    table = pa.Table.from_pandas(pd.concat([events, more]), read_parquet(path).schema, preserve_index=False)
    write_parquet(table.sort_by([("user_id", "ascending"), ("occurred_at", "ascending")]), path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Lake]:
    folder = tmp_path_factory.mktemp("plays")
    settings, lake = load_settings("simulated,plays", folder, seed=7), Lake(folder)
    simulate(settings, lake, new_world(settings, load_catalogue("starter"), USERS, days=DAYS), DAYS, 0, 0.2)
    fail_payments(lake)
    lake.files.accept(".")
    build_aggregates(settings, lake)
    bring_snapshots_up_to_date(settings, lake, AS_OF, only_today=True)
    return settings, lake


def test_a_message_goes_only_where_its_fact_holds_by_the_events_themselves(world):
    settings, lake = world
    snapshot = read_parquet(lake.partition("snapshots", AS_OF)).to_pandas()
    features = declarations_of(settings).catalogue(user_traits(lake, settings))
    rules = play_rules_of(settings, features, load_catalogue("starter"))
    has_fact = {play for play, own in rules.rules.items() if "fact" in own}
    assert has_fact == {*CLAIMS}  # a new fact needs a claim here, told without its rule
    rng = np.random.default_rng(3)
    known = {"stage": stages_of(settings).of(snapshot), "p_churn": rng.random(len(snapshot))}
    cuts = {(split.column, share): 20.0 for split in rules.splits for share in split.shares}
    flags = type(rules)(rules.rules, rules.left_out, rules.kinds, cuts).holds(snapshot, known)
    own = events_by_user(lake, AS_OF)
    for play, claim in CLAIMS.items():
        meant = snapshot["user_id"][flags[HOLDS + play]]
        wrong = [user for user in meant if not claim(own[user])]
        assert not wrong, f"{play} states what is not true of {wrong[:3]}"
        assert len(meant), f"nobody to show {play} on"


def test_every_play_has_a_user_as_an_example_with_the_events_that_led_to_it(world):
    settings, lake = world
    rows = {row.play: row for row in play_rows(settings, lake, AS_OF, examples=True)}
    predicted = {"personal_discount", "feedback"}  # nothing is predicted yet
    for play in {*rows} - predicted:
        assert rows[play].example is not None, play
        assert rows[play].meant
    names = [event["event"] for event in rows["cart_open"].example.events]
    assert set(names) == {"add_to_cart", "begin_checkout"} or names[-1] == "add_to_cart"
    page = "\n".join(play_lines([*rows.values()], AS_OF, words_of(settings)))
    assert page.count("no example: its rule reads the risk, and nobody's is predicted") == len(predicted)
    assert "(recover a payment, transactional; e-mail, push)" in page


def test_a_play_that_is_left_out_or_has_no_aim_says_so_plainly():
    plain = PlayRow("mail", "a mail", "", "marketing", ("mail",), 7)
    lacking = PlayRow("trial", "a trial", "nudge", "marketing", ("push",), lacks="trait_plan")
    page = [*play_lines([plain, lacking], AS_OF, Words(load_language("en")))]
    assert page[1] == "  mail  meant         7  (mail)"
    assert page[2] == "  trial left out: this app has no column trait_plan"


@pytest.mark.parametrize("path", sorted((FOLDER / "offers").glob("*.toml")), ids=lambda path: path.stem)
def test_what_speaks_of_the_readers_own_past_declares_a_fact(path):
    """A message that says "your basket" or "you have" without a fact would go to people of whom it is not true."""
    for offer in load_catalogue(path.stem).offers:
        text = offer.message.casefold()
        if any(
            claim in text for claim in ("you have", "your basket", "your purchase", "a payment", "a while", "you began")
        ):
            assert offer.fact, offer.offer_id
