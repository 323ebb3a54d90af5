"""The ledger: appended, never changed, the newest of a day counts; what counts lands in the treatments."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from apps import App, small_app, treatment
from synthetic import AS_OF, behaviour, small_policy, small_settings

from configs.errors import InputError
from features.ingestion.contract import TREATMENTS
from features.materialise.build_snapshots import build_snapshots
from features.storage.lake import Lake
from features.storage.parquet_files import read_parquet, write_parquet
from serving.decide.day_tables import day_folder
from serving.decide.decisions import decide
from serving.decide.executors import LocalExecutor
from serving.decide.ledger import SCHEMA, appending, effective_files, entries, files_of, land, policy_version
from serving.decide.scoring import Policy

COLUMNS = (
    "decision_id, user_id, as_of, policy_version, arm, offer_id, discount, channel, propensity, intended_offer_id, "
    "intended_discount, intended_channel, expected_cost, expected_value, remaining_value, p_churn, risk_band, stage, "
    "lot_propensity"
)
SCORING = {"business_as_usual_share": 0.1, "exploration": {"budget_share": 1.0, "share": 0.3}}
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


def decided(lake: Lake, policy: Policy, users: pd.DataFrame, as_of: date = AS_OF, size: int = 1000) -> Lake:
    parts = [users.iloc[start : start + size].reset_index(drop=True) for start in range(0, len(users), size)]
    decide(policy, lake, as_of, LocalExecutor([partial(pd.DataFrame, part) for part in parts]))
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
        "decision_id": f"d-{name}", "user_id": name, "as_of": datetime(2024, 7, 1, tzinfo=UTC), "arm": "policy",
        "offer_id": "none", "discount": 0.0, "propensity": 1.0, **fields,
    }  # fmt: skip


def append(lake: Lake, as_of: date, version: str, rows: pa.Table) -> Path:
    """Append rows; returns the file that counts."""
    with appending(lake, as_of, version) as enter:
        enter(rows)
    return files_of(lake, as_of)[-1]


def table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def test_the_ledger_repeats_the_decisions_and_adds_what_was_intended(lake, policy):
    (path,) = files_of(lake, AS_OF)
    assert path.name == f"0001-{policy.version}.parquet"
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
    assert [path.name for path in files_of(lake, AS_OF)] == [f"0001-{policy.version}.parquet"]


def test_another_policy_appends_and_treatments_follow_the_newest(lake, policy, users):
    before = tree(lake)
    other = with_scoring(policy, budget=3.0)
    decided(lake, other, users)
    assert other.version != policy.version
    first, second = files_of(lake, AS_OF)
    assert second.name == f"0002-{other.version}.parquet"
    assert first.read_bytes() == before[str(first.relative_to(lake.root))]
    assert set(entries(lake, AS_OF, AS_OF)["policy_version"].to_pylist()) == {other.version}
    given = decisions(lake).set_index("user_id")["offer_id"]
    assert landed(lake).set_index("user_id")["offer_id"].to_dict().items() <= given.to_dict().items()
    # back to the first policy: what counts is what was decided last
    decided(lake, policy, users)
    assert [path.name[:4] for path in files_of(lake, AS_OF)] == ["0001", "0002", "0003"]
    after = tree(lake)
    assert {name: after[name] for name in before} == before


def test_the_version_follows_what_decides_and_nothing_else(policy):
    models, settings, catalogue = policy.model_versions, policy.settings, policy.catalogue

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


def test_only_the_content_decides_whether_a_file_is_appended(tmp_path):
    lake = Lake(tmp_path)
    first = append(lake, AS_OF, "aaaa", table(row("a"), row("b")))
    assert append(lake, AS_OF, "bbbb", pa.concat_tables([table(row("a")), table(row("b"))])) == first
    for number, changed in enumerate(({"offer_id": "x"}, {"channel": "none"}, {"propensity": None}), start=2):
        assert append(lake, AS_OF, "cccc", table(row("a", **changed), row("b"))).name == f"{number:04d}-cccc.parquet"
    assert append(lake, AS_OF, "cccc", table(row("a", offer_id="x"), row("b"))).name == "0005-cccc.parquet"
    assert append(lake, AS_OF, "cccc", table(row("a"), row("b", offer_id="x"))).name == "0006-cccc.parquet"
    assert append(lake, AS_OF, "cccc", table(row("b"))).name == "0007-cccc.parquet"
    assert first.exists()


def test_entries_are_those_that_count_from_the_first_to_the_last_day(tmp_path):
    lake, days = Lake(tmp_path), [AS_OF + timedelta(days=step) for step in range(4)]
    for step, day in enumerate(days):
        append(lake, day, "old", table(row(f"old {step}")))
        newest = append(lake, day, "new", table(row(f"new {step}")))
        assert effective_files(lake, day, day) == [newest]
    found = entries(lake, days[1], days[2])
    assert found.schema.equals(SCHEMA)
    assert found["user_id"].to_pylist() == ["new 1", "new 2"]
    assert entries(lake, days[0], days[3], ["user_id", "arm"]).column_names == ["user_id", "arm"]
    assert entries(lake, days[3] + timedelta(days=1), days[3] + timedelta(days=9)).num_rows == 0
    assert entries(Lake(tmp_path / "nothing"), days[0], days[3]).schema.equals(SCHEMA)


def test_a_damaged_file_is_named(tmp_path):
    path = append(Lake(tmp_path), AS_OF, "v", table(row("a")))
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"0001-v\.parquet is not a readable"):
        entries(Lake(tmp_path), AS_OF, AS_OF)
    with pytest.raises(InputError, match=r"0001-v\.parquet is not a readable"):
        append(Lake(tmp_path), AS_OF, "v", table(row("a")))


def test_what_was_given_lands_with_its_chance_and_what_says_nothing_does_not(lake):
    found, given = landed(lake), decisions(lake).set_index("decision_id")
    assert found.columns.tolist() == TREATMENTS.names
    arms = given.loc[found["decision_id"], "arm"]
    assert set(arms) == {"policy", "explore", "control"}
    assert len(found) == given["arm"].isin(["policy", "explore", "control"]).sum()
    rows = entries(lake, AS_OF, AS_OF).to_pandas().set_index("decision_id").loc[found["decision_id"]]
    explores = (arms == "explore").to_numpy()
    assert found.loc[~explores, "propensity"].eq(1.0).all()
    # within the lot: the chance of having been given it anyhow is taken out, and the share of explorers
    share = SCORING["exploration"]["share"]
    same = (rows["offer_id"] == rows["intended_offer_id"]) & (rows["discount"] == rows["intended_discount"])
    by_lot = (rows["propensity"] - (1 - share) * same) / share
    assert found.loc[explores, "propensity"].to_numpy() == pytest.approx(by_lot[explores].to_numpy())
    assert found.loc[explores, "propensity"].between(0.0, 1.0, inclusive="neither").all()
    assert set(found["decided_at"]) == {pd.Timestamp(AS_OF, tz="UTC")}
    nothing = found["offer_id"] == "none"
    assert set(found.loc[nothing, "channel"]) == {"none"}
    assert set(found.loc[nothing, "cost"]) == {0.0}
    assert found.loc[nothing, "valid_until"].isna().all()
    assert set(found.loc[~nothing, "channel"]) == {"email"}
    assert set(found.loc[~nothing, "cost"]) == {0.05}
    assert set(found.loc[~nothing, "valid_until"]) == {pd.Timestamp(AS_OF + timedelta(days=7), tz="UTC")}


def test_the_day_begins_at_the_app_s_midnight(tmp_path, policy):
    lake = Lake(tmp_path)
    append(lake, AS_OF, "v", table(row("a", offer_id="bundle", discount=0.1, channel="email")))
    land(lake, AS_OF, policy.catalogue, "Asia/Tokyo")
    (found,) = landed(lake).to_dict("records")
    assert found["decided_at"] == pd.Timestamp("2024-06-30 15:00", tz="UTC")
    assert found["valid_until"] == pd.Timestamp("2024-07-07 15:00", tz="UTC")


def test_treatments_from_elsewhere_stay_and_own_ones_of_earlier_versions_go(tmp_path, policy):
    lake = Lake(tmp_path)
    append(lake, AS_OF, "v", table(row("a", offer_id="bundle", discount=0.1), row("gone")))
    land(lake, AS_OF, policy.catalogue, "UTC")
    foreign = landed(lake).assign(decision_id=["x-2", "x-1"], offer_id="other", user_id=["a", "z"])
    rows = pd.concat([foreign, landed(lake)])
    write_parquet(pa.Table.from_pandas(rows, preserve_index=False), lake.partition("treatments", AS_OF))
    append(lake, AS_OF, "v", table(row("b"), row("a")))
    land(lake, AS_OF, policy.catalogue, "UTC")
    found = landed(lake)
    assert found["decision_id"].tolist() == ["d-a", "x-2", "d-b", "x-1"]
    assert found["offer_id"].tolist() == ["none", "other", "none", "other"]
    before = lake.partition("treatments", AS_OF).read_bytes()
    land(lake, AS_OF, policy.catalogue, "UTC")
    assert lake.partition("treatments", AS_OF).read_bytes() == before


def given_to_all(app: App, as_of: date) -> list[dict[str, object]]:
    snapshot = read_parquet(app.lake.partition("snapshots", as_of))
    fields = {"offer_id": "bundle", "discount": 0.1, "channel": "email"}
    return [row(name, **fields) for name in snapshot["user_id"].to_pylist()]


def test_what_lands_is_seen_the_next_day_and_never_by_its_own(copy_tiny, tmp_path, policy):
    app = copy_tiny(tmp_path)
    today, tomorrow = date(2024, 5, 20), date(2024, 5, 21)
    before = app.snapshots(today, tomorrow)
    stored = app.lake.partition("snapshots", today).read_bytes()
    append(app.lake, today, "v", table(*given_to_all(app, today)))
    land(app.lake, today, policy.catalogue, "UTC")
    assert app.aggregate() == [today]
    with app.history(tomorrow) as history:
        assert build_snapshots(history, [today, tomorrow]) == [tomorrow]
    assert app.lake.partition("snapshots", today).read_bytes() == stored
    after = app.snapshots(today, tomorrow)["treatments_count_28d"]
    more = after - before["treatments_count_28d"]
    assert set(more.xs(today, level="day")) == {0.0}
    assert set(more.xs(tomorrow, level="day").dropna()) == {1.0}


def test_a_decision_that_comes_back_by_ingestion_is_harmless(tmp_path, policy):
    app = small_app(tmp_path, events=[{"event_id": "e", "user_id": "a", "event_name": "purchase",
                                       "occurred_at": datetime(2024, 6, 1, tzinfo=UTC)}])  # fmt: skip
    app.ingest()
    append(app.lake, AS_OF, "v", table(row("a", offer_id="bundle", discount=0.1, channel="email"), row("b")))
    land(app.lake, AS_OF, policy.catalogue, "UTC")
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
    append(app.lake, AS_OF, "v", table(row("a")))
    land(app.lake, AS_OF, policy.catalogue, "UTC")
    assert app.ingest()["treatments"].added == 1
    assert landed(app.lake)["user_id"].tolist() == ["a", "z"]
    schema = read_parquet(app.lake.partition("treatments", AS_OF)).schema
    before = app.lake.partition("treatments", AS_OF).read_bytes()
    land(app.lake, AS_OF, policy.catalogue, "UTC")
    assert read_parquet(app.lake.partition("treatments", AS_OF)).schema.equals(schema)
    assert app.lake.partition("treatments", AS_OF).read_bytes() == before
