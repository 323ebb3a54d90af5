"""Days of the simulated app: events that keep the contract, the same chance for every branch, the truth kept apart."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from configs.errors import InputError
from configs.offers import NOTHING, load_catalogue
from configs.settings import load_settings
from features.ingestion.contract import CONTRACT, EVENTS, TREATMENTS, USERS
from features.ingestion.ingest_source import ingest_source
from features.simulator.simulated_day import START, Given, World
from features.simulator.simulated_events import simulate_day
from features.simulator.simulator_run import at_random, new_world, read_truth, simulate, write_treatments
from features.simulator.world_request import begin_world, check_world
from features.storage.lake import TIME_ZONE_FILE, Lake
from features.storage.writer_lock import LOCK_FILE
from features.tables.parquet_files import read_parquet
from flows.cli import app

SETTINGS = load_settings("simulated")
CATALOGUE = load_catalogue("simulated")
PEOPLE, DAYS, RANDOM_WEEKS, NOTHING_SHARE = 800, 35, 2, 0.2
NAMES = {
    "session_start", "view_item", "add_to_cart", "begin_checkout", "purchase", "app_store_subscription_renew",
    "payment_failed", "notification_receive", "notification_open", "offer_view", "offer_redeem", "opt_out", "sign_up",
    "tutorial_complete", "app_remove", "app_store_subscription_cancel",
}  # fmt: skip
SOURCE = """
CREATE VIEW events AS FROM read_parquet(getvariable('raw') || '/events/*/*.parquet', hive_partitioning = false);
CREATE VIEW users AS FROM read_parquet(getvariable('raw') || '/users/users.parquet');
CREATE VIEW treatments AS FROM read_parquet(getvariable('raw') || '/treatments/*/*.parquet', hive_partitioning = false);
"""
# who makes the world, who writes its truth down, the two flows that live in it, and the study whose rivals know it
TRUTH_DOORS = {
    *(
        f"features/simulator/{name}.py"
        for name in ("ground_truth", "simulated_day", "simulated_events", "simulator_run", "world_request")
    ),
    *(f"flows/{name}.py" for name in ("simulate", "closed_loop")),
    *(f"serving/closed_loop_study/{name}.py" for name in ("policy_weeks", "rival_policies", "winback_policy")),
    # these name the folder, to say how it comes back
    "features/publishing/recovery.py",
    "serving/lookups/repair_order.py",
}


def lived(
    folder: Path, *, seed: int = 7, people: int = PEOPLE, days: int = DAYS, random_weeks: int = RANDOM_WEEKS
) -> tuple[World, Lake]:
    """Simulate into a folder."""
    settings, lake = load_settings("simulated", folder, seed=seed), Lake(folder)
    return simulate(
        settings, lake, new_world(settings, CATALOGUE, people, days=days), days, random_weeks, NOTHING_SHARE
    ), lake


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Lake]:
    return lived(tmp_path_factory.mktemp("simulated"))


def rows_of(lake: Lake, table: str) -> pa.Table:
    return pa.concat_tables([read_parquet(lake.partition(table, day)) for day in lake.days(table)])


# --- the contract ---------------------------------------------------------------------------------------------


def test_every_day_is_a_partition_of_the_contract(simulated):
    _, lake = simulated
    assert lake.days("events") == [START + timedelta(days=day) for day in range(DAYS)]
    assert lake.days("treatments") == [START + timedelta(days=day) for day in (DAYS - 14, DAYS - 7)]
    for table in (EVENTS, TREATMENTS):
        for day in lake.days(table.name):
            rows = read_parquet(lake.partition(table.name, day))
            assert rows.column_names == table.names
            assert {instant.date() for instant in rows[table.instant].to_pylist()} == {day}
            keys = list(zip(rows["user_id"].to_pylist(), rows[table.instant].to_pylist(), strict=True))
            assert keys == sorted(keys)
        ids = rows_of(lake, table.name)[table.key].to_pylist()
        assert len(set(ids)) == len(ids)


def test_the_users_table_has_the_contracts_columns_and_one_trait(simulated):
    _, lake = simulated
    users = read_parquet(lake.path("users", "users.parquet"))
    assert users.column_names == [*USERS.names, "notification_setting"]
    assert users["user_id"].to_pylist() == sorted(set(users["user_id"].to_pylist()))
    assert len(users) == PEOPLE


def test_ingestion_accepts_every_row(simulated, tmp_path):
    _, lake = simulated
    (tmp_path / "app.sql").write_text(SOURCE)
    own = {"source": str(tmp_path / "app.sql"), "raw": str(lake.root)}
    settings = load_settings("simulated", tmp_path / "data", ingest=own)
    reports = ingest_source(settings, Lake(settings.data_dir), datetime.now(UTC))
    assert [report.table for report in reports] == [table.name for table in CONTRACT]
    for report in reports:
        assert (report.added, report.reasons) == (report.read, {})
    for table in (EVENTS, TREATMENTS):
        first, second = (rows_of(where, table.name).sort_by(table.key) for where in (lake, Lake(settings.data_dir)))
        assert first.select(table.names).equals(second.select(table.names)), table.name


def test_every_event_of_the_app_happens(simulated):
    _, lake = simulated
    assert set(rows_of(lake, "events")["event_name"].to_pylist()) == NAMES


def test_money_of_a_redemption_is_also_in_its_purchase(simulated):
    _, lake = simulated
    events = rows_of(lake, "events").to_pandas()
    used = events[events.event_name == "offer_redeem"]
    bought = events[events.event_name == "purchase"].set_index("session_id")
    assert len(used) > 10
    assert used.amount.tolist() == bought.amount[used.session_id].tolist()
    assert used.discount.tolist() == bought.discount[used.session_id].tolist()
    treatments = rows_of(lake, "treatments").to_pandas().set_index("decision_id")
    level = treatments.discount[used.decision_id].to_numpy()
    assert np.allclose(used.discount / (used.amount + used.discount), level, atol=0.01)
    assert (used.occurred_at.to_numpy() < treatments.valid_until[used.decision_id].to_numpy()).all()


def test_no_offer_is_used_before_it_was_read(simulated):
    _, lake = simulated
    events = rows_of(lake, "events").to_pandas()
    read, used = (events[events.event_name == name].set_index("decision_id") for name in ("offer_view", "offer_redeem"))
    assert used.index.is_unique
    waited = used.occurred_at - read.occurred_at[used.index]
    assert waited.min() > timedelta(0)
    assert (waited < timedelta(hours=12)).any()


def test_who_has_left_is_not_seen_again(simulated):
    world, lake = simulated
    events = rows_of(lake, "events").to_pandas()
    removed = events[events.event_name == "app_remove"].set_index("user_id").occurred_at
    later = events[events.user_id.isin(removed.index)]
    assert (later.occurred_at.to_numpy() <= removed[later.user_id].to_numpy()).all()
    assert set(removed.index) == set(world.user_ids[world.state.removed])


# --- chance ---------------------------------------------------------------------------------------------------


def test_one_seed_gives_the_same_bytes_and_another_other_events(tmp_path):
    folders = {}
    for name, seed in (("first", 7), ("again", 7), ("other", 8)):
        _, lake = lived(tmp_path / name, seed=seed, people=200, days=10, random_weeks=1)
        files = [path for path in lake.root.rglob("*") if path.is_file() and path.name != LOCK_FILE]
        folders[name] = {path.relative_to(lake.root): path.read_bytes() for path in files}
    assert len(folders["first"]) == 10 + 1 + 1 + 2 + 2  # days, users, treatments, truth, time zone, a manifest of each
    assert folders["first"] == folders["again"]
    assert folders["first"].keys() == folders["other"].keys()
    same = [path.name for path, content in folders["first"].items() if content == folders["other"][path]]
    assert sorted(same) == ["manifest.json", TIME_ZONE_FILE]  # the former lists the latter


def young(people: int = 2000, days: int = 5) -> World:
    world = new_world(SETTINGS, CATALOGUE, people, days=days)
    for _ in range(days):
        world, _ = simulate_day(world)
    return world


def given(world: World, option: int, to: np.ndarray) -> Given:
    chosen = np.where(world.is_member & to, option, NOTHING).astype(np.intp)
    return Given(chosen, np.array([f"d-{user}" for user in world.user_ids], dtype=object))


def test_equal_decisions_keep_two_worlds_equal():
    start = young()
    everybody = np.ones(len(start.people), dtype=bool)
    one, two = (start.decide(given(start, 4, everybody)) for _ in range(2))
    for _ in range(8):
        (one, events), (two, same) = simulate_day(one), simulate_day(two)
        assert events.equals(same)
    for name, column in vars(one.state).items():
        assert np.array_equal(column, getattr(two.state, name)), name
    assert (one.day, one.today) == (start.day + 8, start.today + timedelta(days=8))


def test_stepping_leaves_the_world_before_as_it_was():
    start = young(people=300)
    before = {name: column.copy() for name, column in vars(start.state).items()}
    simulate_day(start.decide(given(start, 2, np.ones(300, dtype=bool))))
    for name, column in before.items():
        assert np.array_equal(column, getattr(start.state, name)), name


def test_whom_nothing_different_was_decided_lives_the_same_days():
    start = young()
    even = np.arange(len(start.people)) % 2 == 0
    touched, alone = start.decide(given(start, 2, even)), start.decide(given(start, NOTHING, even))
    differs = False
    for _ in range(8):
        (touched, events), (alone, others) = simulate_day(touched), simulate_day(alone)
        halves = [
            table.to_pandas().assign(even=lambda f: f.user_id.str[1:].astype(int) % 2 == 0)
            for table in (events, others)
        ]
        odd, same = (half[~half.even].reset_index(drop=True) for half in halves)
        assert odd.equals(same)
        differs |= len(halves[0][halves[0].even]) != len(halves[1][halves[1].even])
    assert differs


# --- offers at random ---------------------------------------------------------------------------------------------


def test_offers_are_drawn_with_the_propensities_they_state(tmp_path):
    world, share = new_world(SETTINGS, CATALOGUE, 20_000, days=10), 0.25
    drawn, propensity = at_random(world, share)
    member, options = world.is_member, len(world.menu)
    assert 0 < (~member).sum() < len(member)
    assert (drawn.option[~member] == NOTHING).all()
    stated = {place: set(propensity[member & (drawn.option == place)]) for place in range(NOTHING, options)}
    assert stated == {NOTHING: {share}} | {place: {(1 - share) / options} for place in range(options)}
    assert sum(next(iter(one)) for one in stated.values()) == pytest.approx(1)
    for place, (p,) in stated.items():
        counted = np.sum(member & (drawn.option == place))
        off = (counted - p * member.sum()) / np.sqrt(member.sum() * p * (1 - p))
        assert abs(off) < 4, (place, off)
    write_treatments(world, Lake(tmp_path), drawn, propensity)
    rows = read_parquet(Lake(tmp_path).partition("treatments", world.today))
    assert rows["user_id"].to_pylist() == world.user_ids[member].tolist()
    assert rows["propensity"].to_numpy().tolist() == propensity[member].tolist()
    assert set(rows["offer_id"].to_pylist()) == {*(offer.offer_id for offer in CATALOGUE.offers), "none"}


def test_an_offer_ends_when_its_own_days_are_over(tmp_path):
    short = CATALOGUE.offers[0].model_copy(update={"valid_days": 3})
    world = new_world(SETTINGS, CATALOGUE.model_copy(update={"offers": (short, *CATALOGUE.offers[1:])}), 500, days=1)
    write_treatments(world, Lake(tmp_path), *at_random(world, 0.2))
    rows = read_parquet(Lake(tmp_path).partition("treatments", world.today)).to_pandas()
    days_open = (rows.valid_until - rows.decided_at).dt.days.groupby(rows.offer_id).unique().map(list).to_dict()
    assert days_open == {"come_back": [3], "favourites": [7], "basket": [7], "none": [7]}


# --- the truth is kept apart ----------------------------------------------------------------------------------


def test_the_truth_file_holds_every_member_and_option(simulated):
    world, lake = simulated
    truths = read_truth(lake).to_pandas()
    known = world.expected(SETTINGS)
    assert truths.user_id.tolist() == np.repeat(world.user_ids[world.is_member], len(world.menu)).tolist()
    assert np.array_equal(truths.value, known.value[world.is_member].ravel())
    worth = truths.incremental_margin + truths.incremental_retention * truths.remaining_value - truths.expected_cost
    assert np.allclose(truths.value, worth)
    assert truths.p_stays.between(0, 1).all()


def test_only_the_simulation_knows_the_truth(repository):
    packages = ("configs", "features", "models", "serving", "flows")
    sources = {
        path.relative_to(repository).as_posix(): path for one in packages for path in (repository / one).rglob("*.py")
    }
    knows = {name for name, path in sources.items() if touches_truth(path.read_text(encoding="utf-8"))}
    assert knows == TRUTH_DOORS


def touches_truth(source: str) -> bool:
    """Tell whether a module imports the simulated world or names the file with its truth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            imported = []
        if {
            "features.simulator.population",
            "features.simulator.ground_truth",
            "features.simulator.simulated_day",
            "features.simulator.simulator_run",
        } & set(imported):
            return True
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if re.search(r"(^|/)truth($|/|\.parquet)", text):
            return True
        if isinstance(node, ast.ClassDef) and node.name == "Truth":
            return True
    return False


@pytest.mark.parametrize(
    "source",
    [
        "from features.simulator.simulator_run import read_truth",
        "from features.simulator import population",
        "import features.simulator.population",
        "def late():\n    from features.simulator.population import Truth",
        "lake.path('truth')",
        "open(f'{folder}/truth/truth.parquet')",
        "glob('data/truth/*.parquet')",
    ],
)
def test_a_module_that_peeks_at_the_truth_is_found(source):
    assert touches_truth(source)
    assert not touches_truth("'''1 for the truth; see tests.'''\nfrom features.storage.lake import Lake")


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_fills_an_empty_folder_and_refuses_a_full_one(tmp_path):
    words = ["simulate", "--users", "400", "--days", "35", "--random-weeks", "2", "--data-dir", str(tmp_path), "--json"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.stderr
    answer = json.loads(first.stdout)
    assert answer["as_of"] == "2024-02-05"
    counts = {name: metric["value"] for name, metric in answer["metrics"].items()}
    assert counts["users.total"] == 400
    assert counts["events.rows"] == len(rows_of(Lake(tmp_path), "events"))
    assert counts["treatments.rows"] == len(rows_of(Lake(tmp_path), "treatments")) > 0
    assert 0.9 < counts["truth.p_stays_untreated"] < 1
    assert counts["truth.best_value_per_member"] > 0
    assert "--as-of 2024-02-05" in " ".join(answer["warnings"])
    assert json.loads((tmp_path / "profile.json").read_text())["files"] == ["simulated"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "already holds events (2024-01-01 to 2024-02-04)" in json.loads(again.stdout)["error"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"users": 0}, "--users 0 leaves nobody to live; ask for at least 1"),
        ({"days": 0, "random_weeks": 0}, "--days 0 is no time; ask for at least 1"),
        ({"days": 27}, "--days 27 is shorter than --random-weeks 4 (28 days); ask for at least 28 days"),
        ({"random_weeks": -1}, "--random-weeks -1 is negative; 0 means no randomised offers"),
        ({"nothing_share": 1.2}, "--nothing-share 1.2 is no share; choose one from 0 to 1"),
        ({"days": 9000}, "in the future"),
    ],
)
def test_numbers_that_make_no_world_are_refused_with_a_sentence(tmp_path, wrong, sentence):
    good = {"users": 10, "days": 28, "random_weeks": 4, "nothing_share": 0.2}
    check_world(Lake(tmp_path), **good)
    with pytest.raises(InputError, match=re.escape(sentence)):
        check_world(Lake(tmp_path), **(good | wrong))


def test_a_profile_without_offers_is_refused(tmp_path):
    profile = tmp_path / "bare.toml"
    profile.write_text('offers = "none"\n')
    words = ["simulate", "--profile", str(profile), "--data-dir", str(tmp_path / "data")]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 2
    assert "has no offers" in answer.stderr
    assert not (tmp_path / "data" / "events").exists()


def test_the_simulated_clock_moves_with_the_days():
    world = new_world(SETTINGS, CATALOGUE, 10, days=3)
    assert world.today == START
    assert replace(world, day=31).today == START + timedelta(days=31)


def test_a_simulated_app_lives_by_utc_and_its_folder_says_so(tmp_path):
    wish = {"users": 20, "days": 2, "random_weeks": 0, "nothing_share": 0.2}
    with pytest.raises(
        InputError, match=r"time_zone = 'Asia/Tokyo', and a simulated app lives by UTC; leave time_zone"
    ):
        begin_world(load_settings("simulated", tmp_path, time_zone="Asia/Tokyo"), Lake(tmp_path), **wish)
    assert Lake(tmp_path).days("events") == []
    begin_world(load_settings("simulated", tmp_path), Lake(tmp_path), **wish)
    assert Lake(tmp_path).time_zone == "UTC"
