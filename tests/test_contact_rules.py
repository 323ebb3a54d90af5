"""Rules of contact: whatever happened before, and meanwhile, nothing is written that breaks one of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contact_oracle import Message, Person, at, violations
from hypothesis import HealthCheck, Phase, find, given, seed
from hypothesis import settings as examples
from hypothesis import strategies as st
from synthetic import behaviour, offer, small_policy, small_settings

from configs.errors import InputError
from configs.offers import NO_OFFER, Catalogue, Offer
from features.storage.lake import USERS_FILE, Lake
from features.tables.parquet_files import write_parquet
from models.registry.response import KnownEffect
from serving.contact_rules import rule_list
from serving.contact_rules.contact_history import ContactHistory
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.decide.scoring import Policy
from serving.earlier_contacts import message_counts
from serving.earlier_contacts.given_before import places_left
from serving.earlier_contacts.opt_outs import opt_outs
from serving.earlier_contacts.past_contacts import PastContacts
from serving.knapsack.allocation import limits_of
from serving.preferences import send_times
from serving.stored_days.day_tables import day_folder
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.stored_rules import counted_rules

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Nowhere/Atlantis",
]
CHANGES = [
    date(2024, 3, 31),
    date(2024, 10, 27),
    date(2024, 3, 10),
    date(2024, 11, 3),
    date(2024, 4, 7),
    date(2024, 7, 1),
]
CHANNELS = ["email", "push"]
INSTANT = pa.timestamp("us", "UTC")
EVENT = pa.schema([("event_id", pa.string()), ("user_id", pa.string()), ("event_name", pa.string()),
                   ("occurred_at", INSTANT), ("channel", pa.string()), ("decision_id", pa.string())])  # fmt: skip
TREATMENT = pa.schema([("decision_id", pa.string()), ("user_id", pa.string()), ("decided_at", INSTANT),
                       ("offer_id", pa.string()), ("channel", pa.string()), ("valid_until", INSTANT)])  # fmt: skip


@dataclass(frozen=True)
class World:
    """Some people, what reached them before, and what an app may send."""

    zone: str
    day: date
    contact: dict[str, object]
    offers: tuple[dict[str, object], ...]
    people: tuple[tuple[str, dict[str, float]], ...]  # zone and consents
    before: tuple[tuple[int, str, float], ...]  # who got what how many hours before the first night
    foreign: tuple[tuple[int, str, float], ...]  # who was sent something by others through which channel
    meanwhile: tuple[tuple[int, str], ...]  # who opts out, of what, while the second night is decided
    is_told: bool  # whether the app's events tell again what winback sent


LIMIT = st.none() | st.integers(1, 3)
CAPS = st.fixed_dictionaries({"in_24_hours": LIMIT, "in_7_days": LIMIT, "in_28_days": st.none() | st.integers(1, 5)})
CONSENT = st.sampled_from([1.0, 1.0, 1.0, 0.0, np.nan])


def worlds() -> st.SearchStrategy[World]:
    people = st.integers(0, 3)
    hours = st.floats(0.1, 29 * 24).map(lambda value: round(value, 2)) | st.sampled_from([24.0, 3 * 24.0, 7 * 24.0])
    hour = st.integers(0, 23)
    contact = st.fixed_dictionaries(
        {"caps": CAPS, "channel_caps": st.dictionaries(st.sampled_from(CHANNELS), CAPS, max_size=2),
         "unknown_consent": st.sampled_from(["granted", "refused"]), "offers_overlap": st.booleans(),
         "quiet_from": hour, "quiet_until": hour, "ready_hour": hour, "stop_after_ignored": st.sampled_from([0, 2])},
    ).filter(lambda each: each["quiet_from"] != each["quiet_until"])  # fmt: skip
    of_offer = st.fixed_dictionaries(
        {"channel": st.sampled_from(CHANNELS), "cool_down_days": st.sampled_from([0, 0, 1, 3, 40]),
         "stock": st.none() | st.integers(0, 3)},
    )  # fmt: skip
    consents = st.fixed_dictionaries({"profiling": CONSENT, "email": CONSENT, "push": CONSENT})
    return st.builds(
        World, zone=st.sampled_from(["UTC", "Europe/Berlin"]), day=st.sampled_from(CHANGES), contact=contact,
        offers=st.tuples(of_offer, of_offer, of_offer),
        people=st.tuples(*[st.tuples(st.sampled_from(ZONES), consents)] * 4),
        before=st.lists(st.tuples(people, st.sampled_from(["a", "b", "c", "gone"]), hours), max_size=8).map(tuple),
        foreign=st.lists(st.tuples(people, st.sampled_from(CHANNELS), hours), max_size=6).map(tuple),
        meanwhile=st.lists(st.tuples(people, st.sampled_from(["", *CHANNELS])), max_size=2).map(tuple),
        is_told=st.booleans(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def policy() -> Policy:
    found = small_policy()
    return replace(found, own_stages=found.stages)  # which every world has: read once


class Run:
    """Two nights of a world, decided on a data folder of its own."""

    def __init__(self, world: World, policy: Policy, lake: Lake) -> None:
        self.world, self.lake = world, lake
        scoring = {"budget": 1e6, "control_share": 0.0, "exploration": {"share": 0.3, "budget_share": 1.0}}
        self.settings = small_settings(time_zone=world.zone, contact=world.contact, scoring=scoring)
        names = ["a", "b", "c"]
        self.catalogue = Catalogue(offers=tuple(offer(name, discounts=(0.1,), valid_days=1, **fields)
                                                for name, fields in zip(names, world.offers, strict=True)))  # fmt: skip
        alike = policy.response.effects["bundle"]
        effects = {name: KnownEffect(5.0 + place, 0.2, 0.3, "randomised", alike.propensity)
                   for place, name in enumerate(names)}  # fmt: skip
        response = replace(policy.response, effects=effects)
        self.policy = replace(policy, settings=self.settings, catalogue=self.catalogue, response=response)
        self.people = {f"u{place}": Person(zone, consents) for place, (zone, consents) in enumerate(world.people)}
        self.sent: list[Message] = []
        self.events: list[tuple[object, ...]] = []

    def frame(self) -> pd.DataFrame:
        frame = behaviour(len(self.people), np.random.default_rng(0)).assign(
            user_id=list(self.people), days_since_last_activity=3.0, payment_failures_count_28d=0.0,
            time_zone=[each.zone for each in self.people.values()],
        )  # fmt: skip
        consents = {f"consent_{what}": [each.consents[what] for each in self.people.values()]
                    for what in ("profiling", *CHANNELS)}  # fmt: skip
        return frame.assign(**consents)

    def tell_of_before(self) -> None:
        first, channels = self.night(0).in_utc, {each.offer_id: each.channel for each in self.catalogue.offers}
        rows = []
        for place, (who, what, hours) in enumerate(self.world.before):
            when, channel = at(first, -hours), channels.get(what, "email")
            rows.append((f"before {place}", f"u{who}", when, what, channel, when + timedelta(days=1)))
            self.sent.append(Message(f"u{who}", when, channel, what))
        by_day(self.lake, "treatments", rows, TREATMENT, "decided_at", self.world.zone)
        for place, (who, channel, hours) in enumerate(self.world.foreign):
            when = at(first, -hours)
            self.events.append((f"foreign {place}", f"u{who}", "notification_receive", when, channel, None))
            self.sent.append(Message(f"u{who}", when, channel, None))
        self.write_events()

    def write_events(self) -> None:
        by_day(self.lake, "events", self.events, EVENT, "occurred_at", self.world.zone)

    def night(self, number: int) -> DecisionMoment:
        return DecisionMoment.of_night(self.world.day + timedelta(days=number), self.world.zone)

    def decide(self, number: int) -> None:
        moment = self.night(number)
        past = PastContacts(self.lake, self.settings, self.catalogue, moment)
        reads = [0]

        def contacts() -> ContactHistory:
            reads[0] += 1
            if number == 1 and reads[0] == 2:  # between the allocation and the writing
                for place, (who, channel) in enumerate(self.world.meanwhile):
                    when = at(moment.in_utc, 0.5)
                    self.people[f"u{who}"].opted_out[channel] = when
                    self.events.append((f"out {place}", f"u{who}", "opt_out", when, channel or None, None))
                self.write_events()
            return past()

        decide(self.policy, self.lake, moment.day, LocalExecutor([self.frame]), contacts=contacts, moment=moment)

    def given(self, number: int) -> list[Message]:
        rows = pq.ParquetFile(day_folder(self.lake, self.night(number).day) / "decisions.parquet").read().to_pylist()
        given = [row for row in rows if row["offer_id"] != NO_OFFER]
        for row in given if self.world.is_told else ():
            self.events.append((f"told {row['decision_id']}", row["user_id"], "notification_receive", row["send_at"],
                                row["channel"], row["decision_id"]))  # fmt: skip
        return [Message(row["user_id"], row["send_at"], row["channel"], row["offer_id"], True) for row in given]

    def broken(self) -> list[str]:
        self.tell_of_before()
        found = []
        for number in (0, 1):
            self.decide(number)
            new = self.given(number)
            found += violations(self.settings, self.catalogue, self.people, [*self.sent, *new])
            self.sent += [replace(each, is_new=False) for each in new]
            self.write_events()
        return found


def by_day(lake: Lake, table: str, rows: list[tuple[object, ...]], schema: pa.Schema, instant: str, zone: str) -> None:
    """Write rows into the days of a table, cut at midnights of a zone."""
    if rows:
        frame = pd.DataFrame(rows, columns=schema.names)
        days = pd.to_datetime(frame[instant], utc=True).dt.tz_convert(zone).dt.date
        for day, part in frame.groupby(days):
            write_parquet(pa.Table.from_pandas(part, schema, preserve_index=False), lake.partition(table, day))


def check(world: World, policy: Policy, folder: Path) -> None:
    assert not Run(world, policy, Lake(folder)).broken()


NO_HURRY = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@examples(max_examples=5, phases=[Phase.explicit, Phase.generate], **NO_HURRY)
@given(world=worlds())
def test_nothing_is_written_that_breaks_a_rule(world, policy, tmp_path_factory):
    check(world, policy, tmp_path_factory.mktemp("world"))


HOUSEHOLDS = 3  # of four people each, in one app: two nights of twelve people cost little more than of four
SLICES, APPS = range(10), 200  # of a slice: each runs by itself, such as with -k "[0]"


@st.composite
def crowded(draw) -> World:
    """Draw an app as `worlds` does, and by its seed three times as many people with what reached them before."""
    world, rng = draw(worlds()), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    many = 4 * HOUSEHOLDS

    def some(most: int) -> list[int]:
        return rng.integers(0, many, rng.integers(0, most + 1) * HOUSEHOLDS).tolist()

    def hours() -> float:
        return float(rng.choice([24.0, 72.0, 168.0]) if rng.random() < 0.3 else round(rng.uniform(0.1, 29 * 24), 2))

    def consent() -> float:
        return float(rng.choice([1.0, 1.0, 1.0, 0.0, np.nan]))

    offers = tuple({**each, "stock": each["stock"] and each["stock"] * HOUSEHOLDS} for each in world.offers)
    people = tuple((str(rng.choice(ZONES)), {what: consent() for what in AGREES}) for _ in range(many))
    return replace(
        world, offers=offers, people=people,
        before=tuple((user, str(rng.choice(["a", "b", "c", "gone"])), hours()) for user in some(8)),
        foreign=tuple((user, str(rng.choice(CHANNELS)), hours()) for user in some(6)),
        meanwhile=tuple((user, str(rng.choice(["", *CHANNELS]))) for user in some(2)),
    )  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("slice_of_two_thousand", SLICES)
def test_in_two_thousand_random_apps_nothing_is_written_that_breaks_a_rule(
    slice_of_two_thousand, policy, tmp_path_factory
):
    @seed(slice_of_two_thousand)
    @examples(max_examples=APPS, phases=[Phase.generate], **NO_HURRY)
    @given(world=crowded())
    def no_rule_is_broken(world):
        with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as folder:
            check(world, policy, Path(folder))

    no_rule_is_broken()


AGREES = {"profiling": 1.0, "email": 1.0, "push": 1.0}
STRICT = World(
    zone="Europe/Berlin", day=date(2024, 3, 30), is_told=True, meanwhile=((3, "push"),),
    contact={"caps": {"in_24_hours": 1, "in_7_days": 2}, "quiet_from": 0, "quiet_until": 9, "ready_hour": 0},
    offers=({"channel": "email", "cool_down_days": 3}, {"channel": "push", "cool_down_days": 3}, {"channel": "push"}),
    people=(("Europe/Berlin", {**AGREES, "push": 0.0}), ("America/New_York", AGREES), ("Asia/Kathmandu", AGREES),
            ("Europe/Berlin", AGREES)),
    before=((1, "b", 30.0), (2, "a", 20.0)), foreign=((2, "push", 40.0),),
)  # fmt: skip


def nobody(*about: object, **more: object) -> np.ndarray:
    return np.zeros(len(about[0]), dtype=bool)


def every_hour(user, moment, app, contact):
    return [send_times.Slot(moment.in_utc + timedelta(hours=hours), hours) for hours in range(3)]


BREAKS = {
    "consent": (rule_list, "refuses", nobody, "without consent to push"),
    "caps": (message_counts, "until_free", lambda caps: "0", "of at most"),
    "quiet hours": (send_times, "allowed_slots", every_hour, "in the quiet hours"),
    "opt-outs": (rule_list, "is_forbidden", nobody, "after an opt-out"),
}


@pytest.mark.parametrize("rule", [None, *BREAKS])
def test_the_check_finds_a_rule_that_is_broken_on_purpose(rule, policy, tmp_path, monkeypatch):
    if rule is None:
        check(STRICT, policy, tmp_path)
        return
    where, name, broken, sign = BREAKS[rule]
    monkeypatch.setattr(where, name, broken)
    assert any(sign in text for text in Run(STRICT, policy, Lake(tmp_path)).broken())


@pytest.mark.full
@pytest.mark.parametrize("rule", BREAKS)
def test_random_worlds_find_a_rule_that_is_broken_on_purpose(rule, policy, tmp_path_factory, monkeypatch):
    where, name, broken, _ = BREAKS[rule]
    monkeypatch.setattr(where, name, broken)
    found = find(worlds(), lambda world: bool(Run(world, policy, Lake(tmp_path_factory.mktemp("world"))).broken()),
                 settings=examples(max_examples=300, phases=[Phase.generate], **NO_HURRY))  # fmt: skip
    assert found is not None


@pytest.mark.parametrize("at_once", [message_counts.MESSAGES_AT_ONCE, 2])
def test_a_message_that_is_told_again_counts_once_and_strangers_count_too(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(message_counts, "MESSAGES_AT_ONCE", at_once)
    lake, zone = Lake(tmp_path), "UTC"
    night = DecisionMoment.of_night(date(2024, 7, 1), zone)
    settings = small_settings(contact={"caps": {"in_7_days": 2}, "channel_caps": {"push": {"in_28_days": 1}}})
    receipt = Offer(offer_id="receipt", title="Paid", play="p", channel="email", message="Paid.", benefit="none",
                    valid_days=1, contact_cost=0, covered_spend=1, when="is_cart_open",
                    send_class="transactional")  # fmt: skip
    catalogue = Catalogue(offers=(offer("a", cool_down_days=5), receipt))

    def ago(hours: float) -> datetime:
        return at(night.in_utc, -hours)

    treated = [("d1", "told again", ago(30), "a", "email", None), ("d2", "two", ago(30), "a", "E-Mail", None),
               ("d3", "one receipt", ago(30), "receipt", "email", None)]  # fmt: skip
    events = [("e1", "told again", "notification_receive", ago(29), "email", "d1"),
              ("e2", "two", "notification_receive", ago(170), "push", None),
              ("e3", "two", "notification_receive", ago(100), "push", None),
              ("e4", "one receipt", "notification_receive", ago(5), "email", None),
              ("e5", "one receipt", "notification_receive", ago(4), "email", "d3"),
              ("e6", "later", "notification_receive", ago(-1), "push", None)]  # fmt: skip
    by_day(lake, "treatments", treated, TREATMENT, "decided_at", zone)
    by_day(lake, "events", events, EVENT, "occurred_at", zone)
    found = PastContacts(lake, settings, catalogue, night)()
    rows = {(row["user_id"], found.names[row["what"]]): row["until"] / 3600 for row in found.restrictions.to_pylist()}
    week, days = 7 * 24, 24
    assert rows.pop(("two", "all")) == week - 100  # the older of the two leaves the window
    assert rows.pop(("two", "channel push")) == 4 * week - 100
    assert rows.pop(("told again", "play a")) == 5 * days - 29  # when it was sent, not when it was decided
    assert rows.pop(("two", "play a")) == 5 * days - 30
    assert {what for _, what in rows} <= {"open_offer"}


def test_a_message_to_an_id_that_turned_out_to_be_somebody_counts_from_when_it_was_sent(tmp_path):
    lake, night = Lake(tmp_path), DecisionMoment.of_night(date(2024, 7, 1), "UTC")
    yesterday, evening = at(night.in_utc, -24), at(night.in_utc, -4)
    treated = [("d1", "somebody", yesterday, "a", "push", None)]  # as ingest merges them
    by_day(lake, "treatments", treated, TREATMENT, "decided_at", "UTC")
    decided = {"decision_id": ["d1"], "user_id": ["visitor"], "as_of": pa.array([yesterday], INSTANT),
               "offer_id": ["a"], "channel": ["push"], "send_at": pa.array([evening], INSTANT)}  # fmt: skip
    write_parquet(pa.table(decided), lake.partition("decisions", yesterday.date()))
    alias = {"old_user_id": ["visitor"], "user_id": ["somebody"], "since": pa.array([evening], INSTANT)}
    write_parquet(pa.table(alias), lake.partition("aliases", evening.date()))
    settings = small_settings(contact={"caps": {"in_24_hours": 1}})
    found = PastContacts(lake, settings, Catalogue(offers=(offer("a", valid_days=1),)), night)()
    rows = {(row["user_id"], found.names[row["what"]]): row["until"] / 3600 for row in found.restrictions.to_pylist()}
    assert rows["somebody", "all"] == 20
    assert not [who for who, _ in rows if who == "visitor"]


def test_a_cap_holds_however_its_channel_is_written(tmp_path):
    lake, night = Lake(tmp_path), DecisionMoment.of_night(date(2024, 7, 1), "UTC")
    settings = small_settings(contact={"channel_caps": {"E-Mail": {"in_7_days": 1}}, "addresses": {"E-Mail": "mail"}})
    by_day(lake, "treatments", [("d", "u", at(night.in_utc, -30), "a", "e mail", None)], TREATMENT, "decided_at", "UTC")
    by_mail = Catalogue(offers=(offer("a", channel="E-Mail"),))
    found = PastContacts(lake, settings, by_mail, night)()
    assert "channel email" in [found.names[row["what"]] for row in found.restrictions.to_pylist()]
    assert {("channel_capped", "email"), ("no_address", "email")} <= {
        (rule.code, rule.value) for rule in rule_list.rules_of(settings, by_mail)
    }
    for wrong in ({"E-Mail": {}, "email": {}}, {"push + email": {}}):
        with pytest.raises(InputError, match=r"of channel_caps is (named twice|not one channel)"):
            small_settings(contact={"channel_caps": wrong})


def test_a_stock_of_all_days_is_what_is_left_of_it_and_a_rerun_finds_as_much(tmp_path):
    lake, night = Lake(tmp_path), DecisionMoment.of_night(date(2024, 7, 1), "UTC")
    few = Catalogue(offers=(offer("few", total_stock=3), offer("both", stock=5, total_stock=2), offer("plenty")))
    assert places_left(lake, few, night) == {"few": 3, "both": 2}
    rows = [
        (f"d{place}", "u", at(night.in_utc, -hours), "few", "email", None) for place, hours in enumerate((900, 24, 0))
    ]
    by_day(lake, "treatments", rows, TREATMENT, "decided_at", "UTC")
    left = places_left(lake, few, night)
    assert left == {"few": 1, "both": 2}  # what the night itself gave does not count
    assert [limit.most for limit in limits_of(few, small_settings(), left)] == [1, 2]


def test_opt_outs_hold_until_they_are_taken_back(tmp_path):
    lake, night = Lake(tmp_path), DecisionMoment.of_night(date(2024, 7, 1), "UTC")
    catalogue = Catalogue(offers=(offer("a"), offer("b", channel="push + in-app")))
    said = [("all", "opt_out", 900, None), ("mail", "opt_out", 800, "E-Mail"), ("back", "opt_out", 700, None),
            ("back", "opt_in", 600, "push"), ("sms", "opt_out", 5, "sms"), ("this morning", "opt_out", -5, "in_app"),
            ("tomorrow", "opt_out", -30, None)]  # fmt: skip
    rows = [(f"e{place}", user, name, at(night.in_utc, -hours), channel, None)
            for place, (user, name, hours, channel) in enumerate(said)]  # fmt: skip
    by_day(lake, "events", rows, EVENT, "occurred_at", "UTC")
    for _ in range(2):  # the second time by what is remembered of the files
        found = opt_outs(lake, small_settings(), catalogue, night)
        told = {(row["user_id"], found.names[row["what"]]) for row in found.restrictions.to_pylist()}
        assert told == {
            *(("all", f"opt-out {each}") for each in ("email", "push", "in_app")), ("mail", "opt-out email"),
            ("back", "opt-out email"), ("back", "opt-out in_app"), ("this morning", "opt-out in_app"),
        }  # fmt: skip


def test_a_consent_withdrawn_meanwhile_counts_before_anything_is_written(policy, tmp_path):
    lake = Lake(tmp_path)
    run = Run(replace(STRICT, meanwhile=()), policy, lake)
    run.tell_of_before()

    def write_users(agrees: bool) -> None:
        users = {"user_id": [*run.people], "consent_push": [agrees] * 4, "consent_email": [agrees] * 4}
        write_parquet(pa.table(users), lake.path(USERS_FILE))

    write_users(agrees=True)
    past, reads = PastContacts(lake, run.settings, run.catalogue, run.night(0)), [0]

    def contacts() -> ContactHistory:
        reads[0] += 1
        if reads[0] == 2:
            write_users(agrees=False)
        return past()

    decide(run.policy, lake, run.night(0).day, LocalExecutor([run.frame]), contacts=contacts, moment=run.night(0))
    assert not run.given(0)
    counts = {(rule.code, rule.value): rule.users for rule in counted_rules(lake, run.night(0).day)}
    assert counts["no_consent", "push"] == counts["no_consent", "email"] == 4


def month(policy: Policy, folder: Path, people: int, nights: int) -> tuple[Run, list[str]]:
    """Decide every night about people of whom each gets a digest of somebody else's every third day.

    Nine or ten digests leave room for few messages of the app's own under a cap of eight: the whole month of 400 people
    holds 474, and a greedy person with the list at hand could send 447.
    """
    rng = np.random.default_rng(11)
    who = tuple((str(rng.choice(ZONES)), {what: float(rng.choice([1.0, 1.0, 0.0, np.nan])) for what in AGREES})
                for _ in range(people))  # fmt: skip
    contact = {"caps": {"in_24_hours": 1, "in_7_days": 3, "in_28_days": 8}, "unknown_consent": "refused",
               "channel_caps": {"push": {"in_28_days": 5}}, "stop_after_ignored": 0}  # fmt: skip
    digests = tuple((user, "push", -24.0 * day - 9) for user in range(people) for day in range(nights)
                    if (user + day) % 3 == 0)  # fmt: skip
    world = replace(STRICT, people=who, contact=contact, before=(), foreign=digests, meanwhile=())
    run = Run(world, policy, Lake(folder))
    run.tell_of_before()
    digests_sent, found = run.sent, []
    run.sent = []
    for number in range(nights):
        run.decide(number)
        run.sent += run.given(number)
        run.write_events()
    # a digest that came when the app had written already is not its own doing: only the app's messages are counted
    found = violations(run.settings, run.catalogue, run.people, run.sent)
    assert digests_sent
    return run, found


def reachable(run: Run) -> set[str]:
    """Name whom consents let the app write to by some channel: no rule holds them back for a whole month."""
    people = ((user_id, each.consents) for user_id, each in run.people.items())
    return {user_id for user_id, own in people if own["profiling"] == 1 and 1 in (own["push"], own["email"])}


def test_in_days_on_end_nobody_is_above_a_cap_or_written_to_without_consent(policy, tmp_path):
    run, found = month(policy, tmp_path, people=30, nights=4)
    assert not found
    assert len(run.sent) > 20


@pytest.mark.full
def test_in_a_month_of_daily_runs_nobody_is_above_a_cap_or_written_to_without_consent(policy, tmp_path):
    run, found = month(policy, tmp_path, people=1000, nights=31)
    assert not found
    assert len(run.sent) > 1000
    assert {each.user_id for each in run.sent} == reachable(run)
