"""The ledger: one entry per user, instant and trigger; what counts lands in the treatments, what counted is kept."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from apps import App, small_app, treatment
from synthetic import AS_OF, behaviour, small_policy, small_settings

from configs.errors import InputError
from configs.offers import Catalogue
from features.ingestion.contract import TREATMENTS
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import Lake
from features.tables.parquet_files import read_parquet, write_parquet
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.decide.scoring import Policy
from serving.stored_days.day_tables import day_folder
from serving.stored_days.decided_before import look_before
from serving.stored_days.decision_moment import DecisionMoment
from serving.stored_days.ledger import (
    SCHEMA,
    appending,
    effective_files,
    entries,
    files_of,
    land,
    policy_version,
    superseded_files,
)
from serving.stored_days.supersessions import supersessions

COLUMNS = (
    "decision_id, user_id, as_of, trigger, policy_version, arm, offer_id, discount, channel, propensity, "
    "intended_offer_id, intended_discount, intended_channel, expected_cost, expected_value, remaining_value, p_churn, "
    "risk_band, stage, lot_propensity, experiment, variant"
)
SCORING = {"business_as_usual_share": 0.1, "exploration": {"budget_share": 1.0, "share": 0.3}}
NO_OFFERS = Catalogue(offers=())
Tree = dict[str, bytes]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return small_policy(small_settings(scoring=SCORING))


@pytest.fixture(scope="module")
def users() -> pd.DataFrame:
    frame = behaviour(120, np.random.default_rng(5))
    frame.loc[frame.index % 15 == 0, "payment_failures_count_28d"] = 1.0
    return frame


@pytest.fixture
def lake(tmp_path: Path, policy: Policy, users: pd.DataFrame) -> Lake:
    """Lake with one day decided."""
    return decided(Lake(tmp_path / "lake"), policy, users)


def decided(
    lake: Lake, policy: Policy, users: pd.DataFrame, as_of: date = AS_OF, size: int = 1000, reason: str | None = None
) -> Lake:
    parts = [users.iloc[start : start + size].reset_index(drop=True) for start in range(0, len(users), size)]
    decide(policy, lake, as_of, LocalExecutor([partial(pd.DataFrame, part) for part in parts]), supersede=reason)
    return lake


def with_scoring(policy: Policy, **scoring: object) -> Policy:
    return replace(policy, settings=small_settings(scoring={**SCORING, **scoring}))


def tree(lake: Lake) -> Tree:
    return {str(path.relative_to(lake.root)): path.read_bytes() for path in lake.root.rglob("*") if path.is_file()}


def decisions(lake: Lake, as_of: date = AS_OF) -> pd.DataFrame:
    return read_parquet(day_folder(lake, as_of) / "decisions.parquet").to_pandas()


def landed(lake: Lake, as_of: date = AS_OF) -> pd.DataFrame:
    return read_parquet(lake.partition("treatments", as_of)).to_pandas()


def row(name: str, **fields: object) -> dict[str, object]:
    """Ledger row of a user who gets nothing, unless `fields` say otherwise."""
    return {
        "decision_id": f"d-{name}", "user_id": name, "as_of": datetime(2024, 7, 1, tzinfo=UTC), "trigger": "nightly",
        "arm": "policy", "offer_id": "none", "discount": 0.0, "propensity": 1.0, **fields,
    }  # fmt: skip


def append(
    lake: Lake, rows: pa.Table, catalogue: Catalogue = NO_OFFERS, time_zone: str = "UTC", reason: str | None = "a test"
) -> Path:
    """Enter rows of one moment and let them land; returns the file that counts."""
    instant, trigger = (rows[name][0].as_py() for name in ("as_of", "trigger"))
    moment = DecisionMoment(instant.astimezone(ZoneInfo(time_zone)).date(), instant, trigger)
    with lake.files.publish() as publication:
        with appending(lake, publication, moment, reason) as enter:
            enter(rows)
        land(lake, publication, moment.day, catalogue, time_zone)
    return lake.path("ledger", f"day={moment.day}", f"{moment.name}.parquet")


def table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def test_the_ledger_repeats_the_decisions_and_adds_what_was_intended(lake, policy):
    (path,) = files_of(lake, AS_OF)
    assert path.name == "20240701T000000Z-nightly.parquet"
    found = entries(lake, AS_OF, AS_OF).to_pandas()
    assert found.columns.tolist() == COLUMNS.split(", ")
    shared = [name for name in found.columns if name in decisions(lake).columns]
    pd.testing.assert_frame_equal(found[shared], decisions(lake)[shared])
    assert set(found["policy_version"]) == {policy.version}
    by_policy = found["arm"] == "policy"
    assert (found.loc[by_policy, "intended_offer_id"] == found.loc[by_policy, "offer_id"]).all()
    assert set(found.loc[found["arm"] == "suppressed", "intended_offer_id"]) == {"none"}
    kept = found[found["arm"].isin(["control", "business_as_usual"])]
    assert set(kept["offer_id"]) == {"none"}
    assert set(kept["intended_offer_id"]) > {"none"}
    assert kept["intended_channel"].isna().equals(kept["intended_offer_id"] == "none")


def test_a_rerun_changes_no_byte(lake, policy, users):
    before = tree(lake)
    decided(lake, policy, users)
    assert tree(lake) == before
    decided(lake, policy, users, size=31)  # other batches, other row groups: the same decisions
    assert [path.name for path in files_of(lake, AS_OF)] == ["20240701T000000Z-nightly.parquet"]
    assert superseded_files(lake, AS_OF) == []


def test_what_is_decided_otherwise_supersedes_and_both_can_be_read(lake, policy, users):
    (path,) = files_of(lake, AS_OF)
    first, other = path.read_bytes(), with_scoring(policy, budget=3.0)
    decided(lake, other, users, reason="the budget was wrong")
    assert other.version != policy.version
    assert files_of(lake, AS_OF) == [path]
    assert [old.read_bytes() for old in superseded_files(lake, AS_OF)] == [first]
    assert set(entries(lake, AS_OF, AS_OF)["policy_version"].to_pylist()) == {other.version}
    given = decisions(lake).set_index("user_id")["offer_id"]
    assert landed(lake).set_index("user_id")["offer_id"].to_dict().items() <= given.to_dict().items()
    # back to the first policy: what counts is what was decided last
    second = path.read_bytes()
    decided(lake, policy, users, reason="it was not")
    assert [old.read_bytes() for old in superseded_files(lake, AS_OF)] == [first, second]
    assert path.read_bytes() == first
    names = [old.name for old in superseded_files(lake, AS_OF)]
    assert names == ["20240701T000000Z-nightly-0001.parquet", "20240701T000000Z-nightly-0002.parquet"]
    told = supersessions(lake)
    assert [each.reason for each in told] == ["the budget was wrong", "it was not"]
    assert [lake.path(each.entry).read_bytes() for each in told] == [first, second]
    assert re.fullmatch(
        r"the decisions of 2024-07-01 took the place of earlier ones on 20\d\d-.*: it was not", str(told[1])
    )
    assert supersessions(lake, AS_OF) == told
    assert supersessions(lake, date(2024, 7, 2)) == []


def test_what_was_published_stays_unless_somebody_supersedes_it(lake, policy, users):
    before, other = tree(lake), with_scoring(policy, budget=3.0)
    told = r"2024-07-01 was decided otherwise before \(\d+ users would .*--supersede REASON lets"
    with pytest.raises(InputError, match=told):
        decided(lake, other, users)
    with pytest.raises(InputError, match="--supersede wants a reason"):
        decided(lake, other, users, reason=" ")
    decided(lake, policy, users, reason="the same once more")
    assert {name: content for name, content in tree(lake).items() if not name.startswith("scoring")} == before


def test_the_same_decisions_of_a_newer_winback_leave_the_entry_as_it_is(tmp_path):
    lake = Lake(tmp_path)
    append(lake, table(row("a", policy_version="older")))
    before = tree(lake)
    append(lake, table(row("a", policy_version="newer")))
    assert tree(lake) == before


def test_decisions_that_differ_in_risk_alone_are_others_too(tmp_path):
    lake = Lake(tmp_path)
    append(lake, table(row("a", p_churn=0.1)))
    with pytest.raises(InputError, match=r"\(all get the same, with another risk or value\)"):
        append(lake, table(row("a", p_churn=0.2)), reason=None)
    assert entries(lake, AS_OF, AS_OF)["p_churn"].to_pylist() == [0.1]


def test_what_was_carried_out_cannot_be_superseded(tmp_path):
    lake = Lake(tmp_path)
    append(lake, table(row("a"), row("b")))
    events = pa.table({"user_id": ["a", "a", "z"], "decision_id": ["d-a", "d-a", "d-z"]})
    write_parquet(events, lake.partition("events", AS_OF + timedelta(days=1)))
    write_parquet(pa.table({"user_id": ["b"]}), lake.partition("events", AS_OF))
    with pytest.raises(InputError, match="events of 1 users name decisions of 20240701T000000Z-nightly, so that"):
        append(lake, table(row("a", offer_id="x"), row("b")))
    assert superseded_files(lake, AS_OF) == []
    append(lake, table(row("a"), row("b")))


def test_what_is_bound_to_be_refused_is_refused_before_anybody_is_scored(lake, policy, users, capsys):
    def look(version=policy.version, catalogue=policy.catalogue, number=120, reason=None, day=AS_OF):
        look_before(lake, DecisionMoment.of_night(day, "UTC"), version, catalogue, number, reason)

    look()
    look(day=AS_OF + timedelta(days=1), number=3)  # nothing was decided then
    assert capsys.readouterr().err == ""
    with pytest.raises(InputError, match=r"decided for 120 users, and now there are 121: the day stays as it is; .*"):
        look(number=121)
    given = decisions(lake)["offer_id"]
    most = given[given != "none"].mode()[0]
    fewer = Catalogue(offers=tuple(offer for offer in policy.catalogue.offers if offer.offer_id != most))
    told = rf"decided otherwise before \({(given == most).sum()} users got {most}, which the catalogue has no more\)"
    with pytest.raises(InputError, match=told):
        look(catalogue=fewer)
    look(catalogue=fewer, number=121, reason="it was not sent")
    look(version="another")  # which may decide the same
    assert "decided before by another policy; where it comes out otherwise, the day stays" in capsys.readouterr().err
    carried_out = pa.table({"user_id": ["a"], "decision_id": decisions(lake)["decision_id"][:1]})
    write_parquet(carried_out, lake.partition("events", AS_OF))
    with pytest.raises(InputError, match="were carried out and cannot be superseded"):
        look(reason="it was not sent")


def test_a_damaged_log_of_supersessions_is_named(tmp_path):
    lake = Lake(tmp_path)
    lake.files.publish_file("ledger/supersessions.jsonl", b"null\n")
    with pytest.raises(InputError, match=r"supersessions\.jsonl is damaged; restore it from a backup"):
        supersessions(lake)


def test_two_triggers_of_a_day_both_count_and_both_land(lake, policy, users):
    noon = DecisionMoment(AS_OF, datetime(2024, 7, 1, 12, tzinfo=UTC), "noon")
    night, at_night = landed(lake), entries(lake, AS_OF, AS_OF)
    some = users.head(40)
    decide(policy, lake, AS_OF, LocalExecutor([lambda: some]), moment=noon)
    assert [path.name for path in files_of(lake, AS_OF)] == [
        "20240701T000000Z-nightly.parquet", "20240701T120000Z-noon.parquet",
    ]  # fmt: skip
    found = entries(lake, AS_OF, AS_OF)
    assert found.slice(0, len(users)).equals(at_night)
    later = found.slice(len(users)).to_pandas()
    assert later["user_id"].tolist() == some["user_id"].tolist()
    assert set(later["trigger"]) == {"noon"}
    assert set(later["as_of"]) == {pd.Timestamp("2024-07-01 12:00", tz="UTC")}
    assert len({*found["decision_id"].to_pylist()}) == len(users) + len(some)
    both = landed(lake)
    is_night = both["decided_at"] == pd.Timestamp(AS_OF, tz="UTC")
    pd.testing.assert_frame_equal(both[is_night].reset_index(drop=True), night)
    given = later[later["arm"].isin(["policy", "explore", "control"])]
    assert sorted(both.loc[~is_night, "decision_id"]) == sorted(given["decision_id"])
    ends = both.loc[~is_night & (both["offer_id"] != "none"), "valid_until"]
    assert set(ends) <= {pd.Timestamp("2024-07-08 12:00", tz="UTC")}
    # the night's own files are as they were, and a rerun of either changes nothing
    assert len(decisions(lake)) == len(users)
    before = tree(lake)
    decide(policy, lake, AS_OF, LocalExecutor([lambda: some]), moment=noon)
    decided(lake, policy, users)
    assert tree(lake) == before


def test_a_user_has_one_entry_of_a_moment_and_an_entry_is_of_its_moment(tmp_path):
    lake = Lake(tmp_path)
    with pytest.raises(InputError, match="user 'a' has two decisions of 20240701T000000Z-nightly"):
        append(lake, table(row("a"), row("b"), row("a")))
    with pytest.raises(InputError, match="another moment than 20240701T000000Z-nightly"):
        append(lake, table(row("a"), row("b", trigger="noon")))
    with pytest.raises(InputError, match="another moment than 20240701T000000Z-nightly"):
        append(lake, table(row("a"), row("b", as_of=datetime(2024, 7, 1, 1, tzinfo=UTC))))
    assert tree(lake).keys() == {".lock"}


def test_the_version_follows_what_decides_and_nothing_else(policy):
    models = f"{policy.model_versions}, stages {policy.stages.digest}"
    settings, catalogue = policy.settings, policy.catalogue

    def version(**changes: object) -> str:
        return policy_version(models, settings.model_copy(update=changes), catalogue)

    own = policy.version
    assert own == version()
    assert len(own) == 8
    scoring = settings.scoring
    indifferent = {"threads": 7, "data_dir": Path("elsewhere"), "profile": "p"}
    assert version(**indifferent, scoring=scoring.model_copy(update={"batch_users": 3})) == own
    different = [
        version(seed=1),
        version(scoring=scoring.model_copy(update={"budget": 31.0})),
        version(churn=settings.churn.model_copy(update={"lookback_days": 3})),
        policy_version("others", settings, catalogue),
        policy_version(models, settings, catalogue.model_copy(update={"offers": catalogue.offers[:1]})),
    ]
    assert len({own, *different}) == 6


def test_only_the_content_decides_whether_an_entry_is_superseded(tmp_path):
    lake = Lake(tmp_path)
    append(lake, table(row("a"), row("b")))
    append(lake, pa.concat_tables([table(row("a")), table(row("b"))]))
    assert superseded_files(lake, AS_OF) == []
    for number, changed in enumerate(({"offer_id": "x"}, {"channel": "none"}, {"propensity": None}), start=1):
        append(lake, table(row("a", **changed), row("b")))
        assert len(superseded_files(lake, AS_OF)) == number
    append(lake, table(row("a", offer_id="x"), row("b")))
    append(lake, table(row("a"), row("b", offer_id="x")))
    append(lake, table(row("b")))
    assert len(superseded_files(lake, AS_OF)) == 6
    assert read_parquet(superseded_files(lake, AS_OF)[0]).equals(table(row("a"), row("b")))


def test_entries_are_those_that_count_from_the_first_to_the_last_day(tmp_path):
    lake, days = Lake(tmp_path), [AS_OF + timedelta(days=step) for step in range(4)]
    for step, day in enumerate(days):
        instant = {"as_of": datetime(day.year, day.month, day.day, tzinfo=UTC)}
        append(lake, table(row(f"old {step}", **instant)))
        newest = append(lake, table(row(f"new {step}", **instant)))
        assert effective_files(lake, day, day) == [newest]
    found = entries(lake, days[1], days[2])
    assert found.schema.equals(SCHEMA)
    assert found["user_id"].to_pylist() == ["new 1", "new 2"]
    assert entries(lake, days[0], days[3], ["user_id", "arm"]).column_names == ["user_id", "arm"]
    assert entries(lake, days[3] + timedelta(days=1), days[3] + timedelta(days=9)).num_rows == 0
    assert entries(Lake(tmp_path / "nothing"), days[0], days[3]).schema.equals(SCHEMA)


def test_a_damaged_file_is_named(tmp_path):
    path = append(Lake(tmp_path), table(row("a")))
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"nightly\.parquet is damaged: .*; restore it from a backup"):
        entries(Lake(tmp_path), AS_OF, AS_OF)
    with pytest.raises(InputError, match=r"nightly\.parquet is damaged: .*; restore it from a backup"):
        append(Lake(tmp_path), table(row("a")))


def test_what_was_given_lands_with_its_chance_and_what_says_nothing_does_not(lake):
    found, given = landed(lake), decisions(lake).set_index("decision_id")
    assert found.columns.tolist() == TREATMENTS.names
    arms = given.loc[found["decision_id"], "arm"]
    assert set(arms) == {"policy", "explore", "control"}
    assert len(found) == given["arm"].isin(["policy", "explore", "control"]).sum()
    rows = entries(lake, AS_OF, AS_OF).to_pandas().set_index("decision_id").loc[found["decision_id"]]
    explores = (arms == "explore").to_numpy()
    assert found.loc[~explores, "propensity"].eq(1.0).all()
    # within the draw: the chance of having been given it anyhow is taken out, and the share of explorers
    share = SCORING["exploration"]["share"]
    same = (rows["offer_id"] == rows["intended_offer_id"]) & (rows["discount"] == rows["intended_discount"])
    at_random = (rows["propensity"] - (1 - share) * same) / share
    assert found.loc[explores, "propensity"].to_numpy() == pytest.approx(at_random[explores].to_numpy())
    assert found.loc[explores, "propensity"].between(0.0, 1.0, inclusive="neither").all()
    assert set(found["decided_at"]) == {pd.Timestamp(AS_OF, tz="UTC")}
    nothing = found["offer_id"] == "none"
    assert set(found.loc[nothing, "channel"]) == {"none"}
    assert set(found.loc[nothing, "cost"]) == {0.0}
    assert found.loc[nothing, "valid_until"].isna().all()
    assert set(found.loc[~nothing, "channel"]) == {"email"}
    assert set(found.loc[~nothing, "cost"]) == {0.05}
    assert set(found.loc[~nothing, "valid_until"]) == {pd.Timestamp(AS_OF + timedelta(days=7), tz="UTC")}


def test_an_offer_ends_at_the_app_s_midnight(tmp_path, policy):
    lake, begins = Lake(tmp_path), datetime(2024, 6, 30, 15, tzinfo=UTC)
    given = row("a", as_of=begins, offer_id="bundle", discount=0.1, channel="email")
    append(lake, table(given), policy.catalogue, "Asia/Tokyo")
    (found,) = landed(lake).to_dict("records")
    assert found["decided_at"] == pd.Timestamp("2024-06-30 15:00", tz="UTC")
    assert found["valid_until"] == pd.Timestamp("2024-07-07 15:00", tz="UTC")


def test_treatments_from_elsewhere_stay_and_own_ones_that_were_superseded_go(tmp_path, policy):
    lake = Lake(tmp_path)
    append(lake, table(row("a", offer_id="bundle", discount=0.1), row("gone")), policy.catalogue)
    foreign = landed(lake).assign(decision_id=["x-2", "x-1"], offer_id="other", user_id=["a", "z"])
    rows = pd.concat([foreign, landed(lake)])
    write_parquet(pa.Table.from_pandas(rows, preserve_index=False), lake.partition("treatments", AS_OF))
    lake.files.accept("treatments")
    append(lake, table(row("b"), row("a")), policy.catalogue)
    found = landed(lake)
    assert found["decision_id"].tolist() == ["d-a", "x-2", "d-b", "x-1"]
    assert found["offer_id"].tolist() == ["none", "other", "none", "other"]
    before = lake.partition("treatments", AS_OF).read_bytes()
    append(lake, table(row("b"), row("a")), policy.catalogue)
    assert lake.partition("treatments", AS_OF).read_bytes() == before


def given_to_all(app: App, as_of: date) -> list[dict[str, object]]:
    snapshot = read_parquet(app.lake.partition("snapshots", as_of))
    instant = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC)
    fields = {"as_of": instant, "offer_id": "bundle", "discount": 0.1, "channel": "email"}
    return [row(name, **fields) for name in snapshot["user_id"].to_pylist()]


def test_what_lands_is_seen_the_next_day_and_never_by_its_own(copy_tiny, tmp_path, policy):
    app = copy_tiny(tmp_path)
    today, tomorrow = date(2024, 5, 20), date(2024, 5, 21)
    before = app.snapshots(today, tomorrow)
    stored = app.lake.partition("snapshots", today).read_bytes()
    append(app.lake, table(*given_to_all(app, today)), policy.catalogue)
    assert app.aggregate() == [today]
    with app.history(tomorrow) as history:
        assert build_snapshots(history, [today, tomorrow]) == [tomorrow]
    assert app.lake.partition("snapshots", today).read_bytes() == stored
    after = app.snapshots(today, tomorrow)["treatments_count_28d"]
    more = after - before["treatments_count_28d"]
    assert set(more.xs(today, level="day")) == {0.0}
    assert set(more.xs(tomorrow, level="day").dropna()) == {1.0}


@pytest.mark.parametrize("time_zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_day_of_decisions_alone_is_aggregated_whatever_the_time_zone(tmp_path, policy, time_zone):
    app = small_app(tmp_path, overrides={"time_zone": time_zone})
    moment = DecisionMoment.of_night(AS_OF, time_zone)
    append(app.lake, table(row("a", as_of=moment.in_utc, offer_id="bundle")), policy.catalogue, time_zone)
    assert app.aggregate() == [AS_OF]


def test_a_decision_that_comes_back_by_ingestion_is_harmless(tmp_path, policy):
    app = small_app(tmp_path, events=[{"event_id": "e", "user_id": "a", "event_name": "purchase",
                                       "occurred_at": datetime(2024, 6, 1, tzinfo=UTC)}])  # fmt: skip
    app.ingest()
    append(app.lake, table(row("a", offer_id="bundle", discount=0.1, channel="email"), row("b")), policy.catalogue)
    before = app.lake.partition("treatments", AS_OF).read_bytes()
    app.write(treatments=read_parquet(app.lake.partition("treatments", AS_OF)))
    Path(app.settings.ingest.source).write_text(
        "".join(
            f"CREATE VIEW {name} AS SELECT * FROM read_parquet(getvariable('raw') || '/{name}.parquet');"
            for name in ("events", "treatments")
        )
    )
    report = app.ingest()["treatments"]
    assert (report.read, report.unchanged, report.added, report.quarantined) == (2, 2, 0, 0)
    assert app.lake.partition("treatments", AS_OF).read_bytes() == before


def test_treatments_that_are_ingested_beside_own_ones_stay_through_a_rerun(tmp_path, policy):
    app = small_app(
        tmp_path,
        events=[{"event_id": "e", "user_id": "a", "event_name": "purchase",
                 "occurred_at": datetime(2024, 6, 1, tzinfo=UTC)}],
        treatments=[treatment("z", "2024-07-01 09:00", "other", 0.3)],
    )  # fmt: skip
    append(app.lake, table(row("a")), policy.catalogue)
    assert app.ingest()["treatments"].added == 1
    assert landed(app.lake)["user_id"].tolist() == ["a", "z"]
    schema = read_parquet(app.lake.partition("treatments", AS_OF)).schema
    before = app.lake.partition("treatments", AS_OF).read_bytes()
    append(app.lake, table(row("a")), policy.catalogue)
    assert read_parquet(app.lake.partition("treatments", AS_OF)).schema.equals(schema)
    assert app.lake.partition("treatments", AS_OF).read_bytes() == before
