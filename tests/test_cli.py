"""The command line on the tiny app: one object for machines, one sentence for bad input, the same bytes twice."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from apps import TINY_AS_OF, App, event, small_app, tiny_app
from chaos.verdicts import COLUMNS
from click.testing import Result
from nights import Nights, delivers_daily, differing, without_prefect
from typer.testing import CliRunner

from configs.settings import load_settings
from features.storage.lake import Lake
from flows.cli import app
from flows.command_line.strict_json import strict_json
from flows.commands import questions
from flows.runs.kept_profile import kept_profile, remember_profile
from flows.runs.opened_run import open_run
from flows.runs.outcome import Outcome
from models.metrics.metric import Metric
from models.registry.registry_state import registered_model
from serving.decide.decision_columns import SCHEMA

STEPS = ("ingest", "build-features", "train-models", "score-users")
BUILT = "built"  # folder beside the data folder: that after the first two steps


@dataclass(frozen=True)
class Shell:
    """Runs commands on one data folder with one profile."""

    profile: Path
    data_dir: Path
    answers: dict[str, dict] = field(default_factory=dict)

    def run(self, command: str, *words: str, data_dir: Path | None = None) -> Result:
        own = ["--profile", str(self.profile), "--data-dir", str(data_dir or self.data_dir)]
        return CliRunner().invoke(app, [command, *words, *own])

    def answer(self, command: str, *words: str, data_dir: Path | None = None) -> dict:
        result = self.run(command, *words, "--json", data_dir=data_dir)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


def write_profile(tiny: App, path: Path, **changes: dict[str, object]) -> Path:
    """Write an app's settings as a profile; `changes` are laid over its sections."""
    values = (
        tiny.settings.model_dump(mode="json", exclude={"data_dir", "profile"}) | {"as_of": str(TINY_AS_OF)} | changes
    )
    plain = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
    plain = [line.replace(f'"{TINY_AS_OF}"', str(TINY_AS_OF)) for line in plain]
    sections = [text for key, section in values.items() if isinstance(section, dict) for text in toml(key, section)]
    path.write_text("\n".join([*plain, *sections]) + "\n", encoding="utf-8")
    return path


def toml(name: str, section: dict[str, object]) -> list[str]:
    """Write a section and those below it."""
    below = {key: value for key, value in section.items() if isinstance(value, dict)}
    own = [f"{key} = {json.dumps(value)}" for key, value in section.items() if key not in below and value is not None]
    return ["\n".join([f"[{name}]", *own]), *(text for key in below for text in toml(f"{name}.{key}", below[key]))]


@pytest.fixture(autouse=True, scope="module")
def _no_pictures() -> Iterator[None]:
    """Models are registered without pictures, which take a third of a training; the demo draws them."""
    from models.champion_gate import promotion  # MLflow takes seconds to import

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion, "quality_pictures", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A tiny app that was ingested, built, trained and scored by the command line; what follows does without Prefect.

    Its client takes of every flow what an `ingest` of this app does.
    """
    folder = tmp_path_factory.mktemp("shell")
    tiny = tiny_app(folder / "app")
    training = tiny.settings.training.model_dump(mode="json") | {"folds": 3}  # each is kept as a model of its own
    shell = Shell(write_profile(tiny, folder / "tiny.toml", training=training), folder / "data")
    for step in STEPS:
        if step == STEPS[2]:
            shutil.copytree(shell.data_dir, folder / BUILT)
        shell.answers[step] = shell.answer(step)
    with pytest.MonkeyPatch.context() as patch:
        without_prefect(patch)
        yield shell


def decisions(data_dir: Path) -> Path:
    return data_dir / "decisions" / f"day={TINY_AS_OF}" / "decisions.parquet"


def snapshot(data_dir: Path) -> Path:
    return data_dir / "snapshots" / f"day={TINY_AS_OF}" / "snapshots.parquet"


def test_every_user_with_a_history_gets_exactly_one_decision(shell: Shell) -> None:
    table = pq.read_table(decisions(shell.data_dir), partitioning=None)
    assert table.schema.equals(SCHEMA)
    assert sorted(table["user_id"].to_pylist()) == sorted(pd.read_parquet(snapshot(shell.data_dir))["user_id"])


def test_json_is_one_object_with_the_fields_of_the_design(shell: Shell) -> None:
    answer = shell.answers["score-users"]
    assert set(answer) == {"command", "as_of", "seconds", "peak_mib", "metrics", "outputs", "warnings"}
    assert answer["as_of"] == str(TINY_AS_OF)
    assert all(set(metric) == {"value", "low", "high", "n"} for metric in answer["metrics"].values())
    assert answer["metrics"]["budget.expected_cost"]["value"] <= answer["metrics"]["budget.limit"]["value"]
    assert answer["metrics"]["users.in_control"]["value"] > 0
    unused = ("users.exploring", "users.business_as_usual", "budget.for_exploration", "exploration.share")
    assert [answer["metrics"][name]["value"] for name in unused] == [0, 0, 0, 0]
    assert answer["metrics"]["churn.auc"]["n"] > 0
    assert Path(answer["outputs"]["report"]).is_file()


def test_training_reports_every_model_with_intervals(shell: Shell) -> None:
    metrics = shell.answers["train-models"]["metrics"]
    for name in ("churn.auc", "churn.ece", "value.r_squared", "redemption.auc"):
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"], name


@pytest.fixture(scope="module")
def again(shell: Shell, tmp_path_factory: pytest.TempPathFactory, full: bool) -> tuple[Path, bytes]:
    """Data folder of the same steps once more, and the bytes of its snapshot before anything was decided.

    In the short form the first two are not run again: others test that they make the same bytes.
    """
    folder = tmp_path_factory.mktemp("again")
    if full:
        for step in STEPS[:2]:
            shell.answer(step, data_dir=folder)
    else:
        shutil.copytree(shell.data_dir.parent / BUILT, folder, dirs_exist_ok=True)
    undecided = snapshot(folder).read_bytes()
    for step in STEPS[2:]:
        shell.answer(step, data_dir=folder)
    return folder, undecided


def test_two_runs_in_two_folders_give_the_same_bytes(shell: Shell, again: tuple[Path, bytes]) -> None:
    folders = shell.data_dir, again[0]
    for table in ("predictions", "options", "decisions"):
        first, second = (decisions(folder).with_name(f"{table}.parquet") for folder in folders)
        assert first.read_bytes() == second.read_bytes(), table
    reports = [next((folder / "reports").glob("*.html")) for folder in folders]
    assert reports[0].read_bytes() == reports[1].read_bytes()


@pytest.mark.full  # test_promotion.py shows of one model that it is not registered twice
def test_training_again_registers_nothing_and_changes_no_decision(shell: Shell) -> None:
    before = decisions(shell.data_dir).read_bytes()
    log = (shell.data_dir / "mlflow" / "promotions.jsonl").read_bytes()
    shell.answer("train-models")
    shell.answer("score-users")
    assert decisions(shell.data_dir).read_bytes() == before
    assert (shell.data_dir / "mlflow" / "promotions.jsonl").read_bytes() == log


def test_a_rerun_of_the_features_computes_the_day_that_was_decided_and_then_nothing(shell: Shell) -> None:
    assert shell.answer("build-features")["metrics"]["aggregates.days_computed"]["value"] == 1
    shell.answer("score-users")
    metrics = shell.answer("build-features")["metrics"]
    assert metrics["aggregates.days_computed"]["value"] == 0
    assert metrics["snapshots.computed"]["value"] == 0


def test_a_rerun_of_the_scoring_changes_no_byte(shell: Shell) -> None:
    def bytes_of_tables() -> dict[Path, bytes]:
        tables = ("decisions", "ledger", "treatments", "snapshots", "reports")
        files = [path for table in tables for path in (shell.data_dir / table).rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}

    before = bytes_of_tables()
    assert shell.data_dir / "treatments" / f"day={TINY_AS_OF}" / "treatments.parquet" in before
    shell.answer("score-users")
    assert bytes_of_tables() == before


def test_decisions_land_without_changing_what_their_own_day_knew(shell: Shell, again: tuple[Path, bytes]) -> None:
    shell.answer("build-features")
    assert snapshot(shell.data_dir).read_bytes() == again[1]


def test_exploring_is_counted_and_a_share_that_the_budget_cannot_pay_is_told(shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(shell.data_dir, tmp_path / "data")
    tiny = App(load_settings(str(shell.profile), tmp_path / "data"))
    scoring = tiny.settings.scoring.model_dump() | {"budget": 5.0, "business_as_usual_share": 0.2}
    scoring["exploration"] |= {"share": 0.9, "method": "thompson"}
    exploring = Shell(write_profile(tiny, tmp_path / "tiny.toml", scoring=scoring), tmp_path / "data")
    published = {path: path.read_bytes() for path in (tmp_path / "data").glob("[dlt]*/**/*") if path.is_file()}
    refused = exploring.run("score-users")
    assert refused.exit_code == 2
    assert f"winback score-users: {TINY_AS_OF} was decided otherwise before (" in refused.stderr
    assert {path: path.read_bytes() for path in published} == published
    answer = exploring.answer("score-users", "--supersede", "explorers <wanted>")
    told = f"the decisions of {TINY_AS_OF} took the place of earlier ones on 2"
    for warnings in (answer["warnings"], exploring.answer("status")["warnings"]):
        assert [each[-20:] for each in warnings if each.startswith(told)] == [": explorers <wanted>"]
    figures = {name: metric["value"] for name, metric in answer["metrics"].items()}
    assert figures["users.exploring"] > 0
    assert figures["users.business_as_usual"] > 0
    assert 0 < figures["budget.for_exploration"] <= figures["budget.expected_cost"] <= 5.0
    assert 0 < figures["exploration.share"] < 0.9
    assert any("the budget pays for an exploration share of" in warning for warning in answer["warnings"])
    page = Path(answer["outputs"]["report"]).read_text(encoding="utf-8")
    assert "drawn at random today to learn what works" in page
    assert f"T{told[1:]}" in page
    assert ": explorers &lt;wanted&gt;.</p>" in page
    assert "left to business as usual: the campaigns that run anyway" in page
    ledger, day = tmp_path / "data" / "ledger", f"day={TINY_AS_OF}"
    assert len(list((ledger / day).iterdir())) == 1
    assert len(list((ledger / "superseded" / day).iterdir())) == 1  # the decisions without exploration stay readable


def test_a_flipped_bit_is_found_in_every_kind_of_file_and_by_who_reads_it_whole(shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(shell.data_dir, tmp_path / "data")
    lake, damaged = Lake(tmp_path / "data"), {}
    assert shell.answer("verify", data_dir=lake.root)["faults"] == []
    kinds = {(name.split("/")[0], Path(name).suffix): name for name in lake.files.listed()[0]}
    assert {folder for folder, _ in kinds} >= {
        "events", "users", "treatments", "aggregates", "category_hour_counts", "snapshots", "checkpoint", "training",
        "decisions", "ledger", "reports", "hashes.json", "fingerprints.json", "profile.json", "time_zone.txt", "mlflow",
    }  # fmt: skip
    kinds["model", ""] = next(iter(lake.files.list("mlflow/artifacts/models/*/artifacts/model.*")))
    for name in kinds.values():
        whole = lake.path(name).read_bytes()
        damaged[name] = whole
        lake.path(name).write_bytes(
            whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 4]) + whole[len(whole) // 2 + 1 :]
        )
    answer = json.loads(shell.run("verify", "--json", data_dir=lake.root).stdout)
    told = "\n".join(answer["faults"])
    assert [name for name in kinds.values() if f"{name} is damaged" not in told and "artifacts" not in name] == []
    assert len(answer["faults"]) >= len(kinds) - 1
    for name, whole in damaged.items():
        lake.path(name).write_bytes(whole)
    assert shell.answer("verify", data_dir=lake.root)["faults"] == []


def test_the_data_folder_remembers_its_profile(shell: Shell) -> None:
    result = CliRunner().invoke(app, ["status", "--data-dir", str(shell.data_dir), "--json"])
    assert json.loads(result.stdout)["outputs"]["profile"] == "tiny"


def test_another_profile_is_kept_out_of_a_filled_folder(shell: Shell) -> None:
    words = ["status", "--data-dir", str(shell.data_dir), "--profile", "online_retail"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "choose another --data-dir" in result.stderr


def test_explain_says_risk_reasons_decision_and_options(shell: Shell) -> None:
    table = pd.read_parquet(decisions(shell.data_dir), partitioning=None)
    known = table[table["p_churn"].notna()].iloc[0]
    page = shell.run("explain", known["user_id"]).stdout
    assert f"{known['p_churn']:.1%} to leave within 28 days" in page
    facts = shell.answer("explain", known["user_id"])
    assert facts["words"]["reasons"].split("; ")[0] in page
    assert facts["words"]["why"] in page
    assert [reason["code"] for reason in facts["decision"]["reasons"]] == [each["code"] for each in known["reasons"]]
    assert len(facts["words"]["why_not"]) == 4
    assert facts["decision"]["decision_id"] == known["decision_id"]
    assert len(facts["options"]) == 4
    assert "features" not in facts


def test_explain_shows_every_column_of_the_snapshot_when_asked(shell: Shell) -> None:
    decided = decisions(shell.data_dir)
    user = pd.read_parquet(decided, partitioning=None)["user_id"][0]
    stored = pd.read_parquet(
        shell.data_dir / "snapshots" / decided.parent.name / "snapshots.parquet", partitioning=None
    )
    own = stored[stored["user_id"] == user].iloc[0]
    facts = shell.answer("explain", user, "--features")
    assert list(facts["features"]) == [name for name in stored if name not in ("user_id", "as_of", "created_at")]
    assert facts["features"]["active_days_count_90d"] == own["active_days_count_90d"]
    page = shell.run("explain", user, "--features").stdout
    line = next(line for line in page.splitlines() if line.strip().startswith("active_days_count_90d "))
    assert line.split()[1] == f"{own['active_days_count_90d']:.0f}"
    assert line.endswith("active days, last 90 days")


def test_explain_speaks_of_lapsed_users_too(shell: Shell) -> None:
    table = pd.read_parquet(decisions(shell.data_dir), partitioning=None)
    lapsed = table[table["p_churn"].isna()].iloc[0]
    page = shell.run("explain", lapsed["user_id"]).stdout
    assert "has lapsed: " in page and "to come back within 28 days" in page
    assert lapsed["suppressed_because"][0]["code"] == "not_active"
    assert "not active for 56 days: the models do not speak of lapsed users" in page


def test_plan_experiment_says_what_to_try_of_every_offer_and_whether_it_can_be_done(shell: Shell) -> None:
    result = shell.run("plan-experiment", "--weeks", "4")
    assert result.exit_code == 0, result.stderr
    page = result.stdout.replace("\u00a0", " ")
    assert "people may be given something at random; what they bring differs by" in page
    plans = shell.answer("plan-experiment", "--weeks", "4")
    titles = {plan["offer_id"] for plan in plans["plans"]} | set(plans["left_out"])
    assert len(titles) == page.count("\n\n") and all(
        f"\n{offer.replace('_', ' ')}" in page.lower().replace("_", " ") for offer in titles
    )
    for plan in plans["plans"]:
        assert plan["people"] == plan["people_per_arm"] * (len(plan["arms"]) + 1)
        assert plan["is_reached"] == (plan["weeks"] <= 4)
    assert page.count("  verdict ") == sum(not plan["is_reached"] for plan in plans["plans"])
    assert page.count("  settings ") == sum(plan["is_reached"] for plan in plans["plans"])
    one = shell.answer("plan-experiment", plans["plans"][0]["offer_id"], "--power", "0.95")
    assert [plan["offer_id"] for plan in one["plans"]] == [plans["plans"][0]["offer_id"]]
    assert one["plans"][0]["people"] > plans["plans"][0]["people"]


def test_status_names_the_champions_and_why(shell: Shell) -> None:
    page = shell.run("status").stdout
    churn = next(line for line in page.splitlines() if line.startswith("champion churn since"))
    assert re.search(r"(beats logistic|logistic stays) \(the gate\)$", churn), churn
    assert "log loss" not in page  # figures are for --json


def test_status_says_to_machines_who_is_champion_and_what_the_gate_said(shell: Shell) -> None:
    models = shell.answer("status")["champions"]
    assert {"churn", "value", "redemption"} <= set(models)
    churn = models["churn"]
    assert (churn["state"], churn["by"], churn["pin"], churn["fault"]) == ("ready", "the gate", None, None)
    assert churn["last_training"]["champion"] == churn["champion"]
    assert "log loss" in churn["last_training"]["gate"]
    assert churn["last_training"]["metrics"]["churn.auc"]["n"] > 0


def test_where_a_champion_is_damaged_the_rule_decides_and_it_is_said_everywhere(shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(shell.data_dir, tmp_path / "data")
    lake = Lake(tmp_path / "data")
    for table in ("decisions", "ledger"):
        lake.files.remove(table)  # the day is not decided yet
    version = registered_model(lake, "churn").named
    assert version is not None
    lake.path(str(version.model), "MLmodel").write_bytes(b"garbage")
    answer = shell.answer("score-users", data_dir=tmp_path / "data")
    (said,) = (each for each in answer["warnings"] if "rule of recency" in each)
    assert said.startswith("churn is predicted by the rule of recency: the champion of the churn model")
    table = pq.read_table(decisions(tmp_path / "data"), columns=["user_id", "fallback", "model_versions", "p_churn"],
                          partitioning=None)  # fmt: skip
    assert set(table["fallback"].to_pylist()) == {"churn: rule of recency"}
    assert all("churn-recency_rule-" in names for names in table["model_versions"].to_pylist())
    assert table["p_churn"].null_count == pq.read_table(decisions(shell.data_dir), columns=["p_churn"],
                                                        partitioning=None)["p_churn"].null_count  # fmt: skip
    page = Path(answer["outputs"]["report"]).read_text(encoding="utf-8")
    assert "Before you act on this page:</strong> churn is predicted by the rule of recency" in page
    status = shell.answer("status", data_dir=tmp_path / "data")
    assert f"guards, {TINY_AS_OF}: {said}" in status["warnings"]
    explained = shell.run("explain", table["user_id"][0].as_py(), data_dir=tmp_path / "data")
    assert "instead   of the champion decides churn: rule of recency" in explained.stdout


@pytest.mark.parametrize("subject", ["churn", "redemption"])
def test_without_its_champion_nobody_is_scored_and_status_names_none(
    shell: Shell, tmp_path: Path, subject: str
) -> None:
    shutil.copytree(shell.data_dir, tmp_path / "data")
    with sqlite3.connect(tmp_path / "data" / "mlflow" / "mlflow.db") as store:  # as somebody does in MLflow's own page
        store.execute("DELETE FROM registered_model_aliases WHERE name = ?", (f"winback-{subject}",))
    before = decisions(tmp_path / "data").read_bytes()
    result = shell.run("score-users", data_dir=tmp_path / "data")
    assert result.exit_code == 2
    assert f"there is no champion of the {subject} model" in result.stderr
    assert "run winback train-models, or winback promote" in result.stderr
    assert decisions(tmp_path / "data").read_bytes() == before
    answer = shell.answer("status", data_dir=tmp_path / "data")
    found = answer["champions"][subject]
    assert (found["state"], found["champion"], found["version"], found["since"]) == ("no champion", None, None, None)
    assert answer["outputs"][f"champion {subject}"] == "none (no champion)"
    assert found["fault"] in answer["warnings"]


def test_status_knows_the_champions_whatever_became_of_the_log(shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(shell.data_dir / "mlflow", tmp_path / "data" / "mlflow")
    (tmp_path / "data" / "mlflow" / "promotions.jsonl").write_bytes(b"\xff garbage")
    answer = shell.answer("status", data_dir=tmp_path / "data")
    assert answer["champions"]["churn"]["champion"] is not None
    assert "promotions.jsonl is damaged: it is not what was written" in answer["warnings"][0]
    Lake(tmp_path / "data").files.accept("mlflow/promotions.jsonl")
    answer = shell.answer("status", data_dir=tmp_path / "data")
    assert "line 1 of" in answer["warnings"][0]
    result = shell.run("rollback", "churn", "--reason", "x", data_dir=tmp_path / "data")
    assert (result.exit_code, "is no promotion" in result.stderr) == (2, True)


def test_a_person_s_choice_is_told_until_it_is_unpinned(shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(shell.data_dir / "mlflow", tmp_path / "data" / "mlflow")
    first = shell.answer("status", data_dir=tmp_path / "data")["champions"]["churn"]["version"]
    other = next(version for version in (1, 2) if version != first)
    words = ("churn", str(other), "--reason", "a try")
    assert json.loads(shell.run("promote", *words, "--json", data_dir=tmp_path / "data").stdout)["version"] == other
    page = shell.run("status", data_dir=tmp_path / "data").stdout
    assert re.search(rf"champion churn since .*\(version {other}\): a try \(.+\); pinned by .+ since .+: a try", page)
    back = shell.run("rollback", "churn", "--reason", "no", "--json", data_dir=tmp_path / "data")
    assert json.loads(back.stdout)["version"] == first
    assert "may replace it" in shell.run("unpin", "churn", data_dir=tmp_path / "data").stdout
    again = shell.run("unpin", "churn", data_dir=tmp_path / "data")
    assert (again.exit_code, "is not pinned" in again.stderr) == (2, True)


def test_report_writes_the_page_of_the_newest_day_again(shell: Shell) -> None:
    path = next((shell.data_dir / "reports").glob("*.html"))
    before = path.read_bytes()
    path.unlink()
    assert Path(shell.answer("report")["outputs"]["report"]).read_bytes() == before


def test_catalogue_is_printed_from_the_code_with_the_traits_of_the_data(shell: Shell) -> None:
    page = shell.run("catalogue").stdout
    assert "spend_sum_28d" in page
    assert "trait_plan" in page
    rows = json.loads(shell.run("catalogue", "--json").stdout)
    assert {"name", "meaning", "window", "role", "view"} == set(rows[0])


def test_settings_describes_every_key(shell: Shell) -> None:
    page = shell.run("settings").stdout
    assert "churn.horizon_days = 28" in page
    assert "no activity, or the end of the contract, in this window is churn" in page
    assert json.loads(shell.run("settings", "--json").stdout)["churn"]["horizon_days"] == 28


def test_rollback_without_an_earlier_champion_says_so(shell: Shell) -> None:
    result = shell.run("rollback", "churn", "--reason", "looks odd")
    assert result.exit_code == 2
    assert "no earlier champion" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["explain", "nobody"], "there is no user 'nobody'"),
        (["rollback", "churm", "--reason", "x"], "'churm' is no model"),
        (["rollback", "effect on margin", "--reason", "x"], "follows from the newest training"),
        (["unpin", "propensity-bundle"], "follows from the newest training"),
        (["promote", "churn", "99", "--reason", "x"], "the churn model has no version 99; known are: 1 (churn-"),
        (["score-users", "--as-of", str(TINY_AS_OF - timedelta(days=1))], "decide days in their order, or, for a"),
        (["score-users", "--as-of", "2024-05-20"], "there is no snapshot of 2024-05-20; run winback build-features"),
        (["train-models", "--as-of", "2023-12-01"], "no event lies before as_of = 2023-12-01"),
        (["train-models", "--as-of", "2199-01-01"], "lies in the future"),
        (["report", "--as-of", "2024-05-20"], "there are no decisions of 2024-05-20"),
        (["plan-experiment", "no_such_offer"], "no_such_offer"),
        (["plan-experiment", "--as-of", "2024-05-20"], "2024-05-20"),
        (["ingest", "no_such_source"], "source 'no_such_source' was not found"),
        (["ingest", "--raw", "no_such_folder"], "is not a folder"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(shell: Shell, words: list[str], sentence: str) -> None:
    before = decisions(shell.data_dir).read_bytes()
    result = shell.run(*words)
    assert result.exit_code == 2, result.stderr
    steps, said = result.stderr.strip().splitlines()[:-1], result.stderr.strip().splitlines()[-1]
    assert sentence in said
    assert all(step.startswith("winback: ") and step.endswith(" …") for step in steps)
    assert decisions(shell.data_dir).read_bytes() == before


def test_bad_input_is_an_object_for_machines(shell: Shell) -> None:
    result = shell.run("explain", "nobody", "--json")
    assert result.exit_code == 2
    assert set(json.loads(result.stdout)) == {"command", "error"}


def strict(text: str) -> dict:
    """Read one object, as a reader does who knows no NaN."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status", "--as-of", "tomorrow"], 2),
        (["explain"], 2),
        (["explain", "nobody", "--profile", "no_such_app"], 2),
        (["ingest", "--from", "2024-01-01"], 2),
        (["no-such-command"], 2),
    ],
)
def test_every_refusal_is_an_object_for_machines(tmp_path: Path, words: list[str], code: int) -> None:
    where = ["--data-dir", str(tmp_path)] if words != ["no-such-command"] else []
    result = CliRunner().invoke(app, [*words, *where, "--json"])
    assert result.exit_code == code, result.output
    assert set(strict(result.stdout)) == {"command", "error"}
    assert result.stderr


@pytest.mark.parametrize("breaks", [RuntimeError("a fault\nof ours"), KeyboardInterrupt()], ids=["fault", "interrupt"])
def test_a_fault_of_ours_is_an_object_for_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: BaseException
) -> None:
    def fault(*_: object) -> None:
        raise breaks

    monkeypatch.setattr("flows.lookup.status", fault)
    result = CliRunner().invoke(app, ["status", "--data-dir", str(tmp_path), "--json"])
    assert result.exit_code == 1, result.output
    assert strict(result.stdout)["command"] == "status"


def test_what_is_no_number_is_null_in_every_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"decision": {"p_churn": float("nan"), "on": date(2024, 1, 1)}, "options": [{"value": float("inf")}]}
    monkeypatch.setattr("flows.lookup.explain", lambda *_: ("page", facts))
    result = CliRunner().invoke(app, ["explain", "u", "--data-dir", str(tmp_path), "--json"])
    assert strict(result.stdout) == {"decision": {"p_churn": None, "on": "2024-01-01"}, "options": [{"value": None}]}


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("training", {"min_users": 100_000, "holdout_days": 28}, "not enough data for the churn model"),
        ("churn", {"horizon_days": 1000}, "whose 1000 days are over"),
    ],
)
def test_a_history_that_cannot_teach_is_refused(
    shell: Shell, tmp_path: Path, section: str, values: dict, sentence: str
) -> None:
    before = decisions(shell.data_dir).parent.parent.parent / "training"
    kept = {path: path.read_bytes() for path in before.rglob("*.json")}
    tiny = App(load_settings(str(shell.profile)))
    other = Shell(write_profile(tiny, tmp_path / "tiny.toml", **{section: values}), shell.data_dir)
    result = other.run("train-models")
    assert result.exit_code == 2, result.stderr
    assert sentence in result.stderr
    assert {path: path.read_bytes() for path in before.rglob("*.json")} == kept


def test_a_history_without_activity_is_refused(tmp_path: Path) -> None:
    visits = [event(user, f"2024-0{month}-10 09:00", "view_item") for user in "abc" for month in range(1, 7)]
    idle_app = small_app(tmp_path, events=visits, overrides={"churn": {"lookback_days": 56, "horizon_days": 28}})
    profile = write_profile(idle_app, tmp_path / "idle.toml", roles={"activity": ["no_such_event"]})
    idle = Shell(profile, tmp_path / "data")
    for step in STEPS[:2]:
        idle.answer(step)
    result = idle.run("train-models")
    assert result.exit_code == 2, result.stderr
    assert "has no user active" in result.stderr


def test_a_data_folder_that_cannot_be_written_is_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    result = shell.run("ingest", data_dir=tmp_path / "file" / "data")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_commands_before_their_input_name_the_step_that_is_missing(shell: Shell, tmp_path: Path) -> None:
    for command, step in (("build-features", "ingest"), ("train-models", "ingest"), ("score-users", "ingest")):
        result = shell.run(command, data_dir=tmp_path / "empty")
        assert result.exit_code == 2, result.stderr
        assert f"run winback {step} first" in result.stderr


def test_a_guard_that_stops_ends_the_run_before_anything_is_written(shell: Shell, tmp_path: Path) -> None:
    text = shell.profile.read_text(encoding="utf-8")
    profile = tmp_path / "strict.toml"
    profile.write_text(text.replace('[guards.freshness]\nmode = "warn"', '[guards.freshness]\nmode = "stop"'), "utf-8")

    def decided() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (shell.data_dir / "decisions").rglob("*") if path.is_file()}

    before = decided()
    day = TINY_AS_OF + timedelta(days=9)
    result = CliRunner().invoke(
        app, ["score-users", "--profile", str(profile), "--data-dir", str(shell.data_dir), "--as-of", str(day)]
    )
    assert result.exit_code == 2, result.stderr
    assert f"{day} is not decided: there is no event for 9 days before {day}" in result.stderr
    assert "set guards.freshness.mode = 'warn' to go on" in result.stderr
    assert decided() == before


def test_help_loads_no_framework() -> None:
    heavy = {"prefect", "feast", "mlflow", "shap", "pandas", "lightgbm", "duckdb", "ibis"}
    code = "import sys, flows.cli; print(sorted(set(sys.modules) & set(sys.argv[1:])))"
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


HEAVY = "prefect feast mlflow shap sklearn scipy numba lightgbm pandas ibis matplotlib jinja2 pyspark"


@pytest.mark.parametrize("command", ["status", "explain", "segments", "rules", "catalogue", "settings", "check"])
def test_a_lookup_imports_no_framework(shell: Shell, command: str) -> None:
    code = (
        "import atexit, sys; from flows.cli import main; heavy = sys.argv.pop().split(); "
        "atexit.register(lambda: print(sorted(set(sys.modules) & set(heavy)), file=sys.stderr)); main()"
    )
    user = pq.read_table(decisions(shell.data_dir), columns=["user_id"], partitioning=None)["user_id"][0].as_py()
    words = [command, *([user] if command == "explain" else []), "--data-dir", str(shell.data_dir), HEAVY]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    # check reads templates of messages; rows of a source come as Arrow, for which DuckDB imports pyarrow.dataset, and
    # that pandas
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        0,
        "['jinja2', 'pandas']" if command == "check" else "[]",
    )


def test_check_names_every_fault_and_exits_with_2(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "broken.sql").write_text("CREATE VIEW users AS SELECT 1 AS user_id; SELEKT", encoding="utf-8")
    tiny = tiny_app(tmp_path / "app")
    faulty = {"ingest": {**tiny.settings.ingest.model_dump(), "source": str(tmp_path / "broken.sql")}}
    profile = write_profile(tiny, tmp_path / "faulty.toml", offers="no_such_catalogue", **faulty)
    result = Shell(profile, tmp_path / "empty").run("check", "--json")
    assert result.exit_code == 2, result.stderr
    answer = json.loads(result.stdout)
    assert [fault.split(" ")[0] for fault in answer["faults"]] == ["source", "offer"]
    assert "syntax error" in answer["faults"][0]


def test_check_says_what_is_missing_and_that_the_rest_can_work(shell: Shell, tmp_path: Path) -> None:
    tiny = tiny_app(tmp_path / "app")
    changes = {"ingest": {**tiny.settings.ingest.model_dump(), "raw": str(tmp_path / "nowhere")}}
    result = Shell(write_profile(tiny, tmp_path / "tiny.toml", **changes), tmp_path / "empty").run("check")
    assert result.exit_code == 0, result.stderr
    assert "can work" in result.stdout
    assert "is not a folder" in result.stdout


def test_check_of_an_unknown_profile_is_a_fault(tmp_path: Path) -> None:
    words = ["check", "--profile", "no_such_app", "--data-dir", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "profile 'no_such_app' was not found" in json.loads(result.stdout)["faults"][0]


def test_check_holds_the_roles_against_the_events_that_came(shell: Shell, tmp_path: Path) -> None:
    tiny = App(load_settings(str(shell.profile)))
    roles = {**tiny.settings.roles.model_dump(), "value": ["paid"]}
    other = Shell(write_profile(tiny, tmp_path / "tiny.toml", roles=roles), shell.data_dir)
    answer = other.answer("check")
    assert answer["faults"] == []
    assert any("plays roles.value (paid); the data has" in note for note in answer["notes"])


def test_json_has_no_word_for_an_unknown_number():
    unknown = Metric(float("nan"), float("-inf"), float("inf"), 3)
    found = json.loads(strict_json(Outcome("x", date(2024, 1, 1), {"policy.gain": unknown}).as_dict(1.0, 2)))
    assert found["metrics"] == {"policy.gain": {"value": None, "low": None, "high": None, "n": 3}}


def test_counts_are_shown_without_a_word_of_intervals_and_no_word_of_a_reason_is_cut():
    setting = "(response.assumed_redemption_rate_of_a_long_name)"
    row = {"model": "redemption", "is_trained": False, "why": "few", "meaning": f"as if all used it {setting}"}
    stream = io.StringIO()
    Outcome("ingest", date(2024, 1, 1), {"events.read": Metric.exact(7, 7)}, models=[row]).show(stream, 1.0, 2)
    assert "value" in stream.getvalue() and "interval" not in stream.getvalue()
    assert "…" not in stream.getvalue() and setting in re.sub(r"\s", "", stream.getvalue())
    stream = io.StringIO()
    Outcome("x", date(2024, 1, 1), {"churn.auc": Metric(0.7, 0.6, 0.8, 9)}).show(stream, 1.0, 2)
    assert "value [95% interval]" in stream.getvalue()


def test_names_of_figures_are_never_cut_and_only_their_meaning_is_where_a_terminal_is_narrow(monkeypatch):
    name = "ten_percent_off_everything.incremental_margin"
    outcome = Outcome("x", date(2024, 1, 1), {name: Metric(1.0, -2.5, 3.0, 9000)})
    for stream in (io.StringIO(), type("Terminal", (io.StringIO,), {"isatty": lambda _: True})()):
        monkeypatch.setenv("COLUMNS", "90")
        outcome.show(stream, 1.0, 2)
        (line,) = (line for line in stream.getvalue().splitlines() if "incremental_margin" in line)
        assert line.split()[0] == name and "1.000 [-2.500, 3.000]  9,000" in line
        assert ("account currency" in line) != stream.isatty()


def test_people_see_the_figures_that_they_need_in_groups_and_machines_see_all():
    figures = {name: Metric.exact(1, 9) for name in ("users.scored", "churn.auc", "churn.brier", "a.b")}
    outcome = Outcome(
        "x", date(2024, 1, 1), figures, groups={"users": ("users.*",), "none": ("c",), "models": ("*.auc",)}
    )
    stream = io.StringIO()
    outcome.show(stream, 1.0, 2)
    shown = [line.split()[0] for line in stream.getvalue().splitlines() if not line.startswith(" ")]
    assert shown == ["x", "metric", "users:", "users.scored", "models:", "churn.auc", "2"]
    assert "2 more figures with --json" in stream.getvalue()
    assert outcome.as_dict(1.0, 2)["metrics"].keys() == figures.keys()


def traces(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of change of every file."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def test_a_copied_data_folder_works_alone_and_leaves_the_original_alone(shell: Shell, tmp_path: Path) -> None:
    shell.answer("score-users")
    copy, away = tmp_path / "elsewhere" / "copy", tmp_path / "away"
    shutil.copytree(shell.data_dir, copy)
    before = traces(shell.data_dir)
    report, user_id = f"reports/{TINY_AS_OF}.html", pq.read_table(decisions(copy), partitioning=None)["user_id"][0]
    results = [decisions(copy).with_name(f"{name}.parquet") for name in ("predictions", "options", "decisions")]
    expected = {path: path.read_bytes() for path in [*results, copy / report]}
    told = shell.run("explain", str(user_id)).stdout

    def works() -> None:
        for path in expected:
            path.unlink()
        shell.answer("score-users", data_dir=copy)
        assert {path: path.read_bytes() for path in expected} == expected
        (copy / report).unlink()
        shell.answer("report", data_dir=copy)
        assert (copy / report).read_bytes() == expected[copy / report]
        assert shell.run("explain", str(user_id), data_dir=copy).stdout == told
        shell.answer("status", data_dir=copy)

    works()
    assert traces(shell.data_dir) == before
    shell.data_dir.rename(away)
    try:
        works()
        assert not shell.data_dir.exists()
    finally:
        away.rename(shell.data_dir)
    assert traces(shell.data_dir) == before


def test_a_data_folder_is_read_by_its_owner_alone(shell: Shell) -> None:
    below = [path for path in shell.data_dir.rglob("*") if not path.is_symlink()]
    assert len(below) > 50
    assert [str(path) for path in below if path.stat().st_mode & 0o077] == []


def test_no_file_of_a_data_folder_names_where_the_folder_is(shell: Shell) -> None:
    place, own = str(shell.data_dir).encode(), str(Path.cwd()).encode()
    files = [path for path in shell.data_dir.rglob("*") if path.is_file()]
    # Prefect's own record of runs; Feast's registry, which is written anew before every use
    others = {"prefect", "feast"}
    inside = [path for path in files if path.relative_to(shell.data_dir).parts[0] not in others]
    assert len(inside) > 50
    assert [str(path) for path in inside if place in path.read_bytes()] == []
    assert [str(path) for path in inside if own in path.read_bytes()] == []


def test_nights_that_are_made_up_for_in_time_end_as_if_all_had_gone_well(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In full in test_nightly_calendar.py: a night is missed, and its file comes late and twice."""
    without_prefect(monkeypatch)
    days = [TINY_AS_OF + timedelta(days=number) for number in (1, 2)]

    def copied(name: str) -> Nights:
        shutil.copytree(shell.profile.parent / "app", tmp_path / name)
        shutil.copytree(shell.data_dir, tmp_path / name / "data")
        own = load_settings(str(shell.profile), tmp_path / name / "data")
        app = App(own.model_copy(update={"ingest": own.ingest.model_copy(update={
            "source": str(tmp_path / name / "app.sql"), "raw": str(tmp_path / name / "raw"),
        })}))  # fmt: skip
        events = pq.read_table(tmp_path / name / "raw" / "events.parquet")
        delivers_daily(app, events, pq.read_table(tmp_path / name / "raw" / "treatments.parquet"))
        scoring = own.scoring.model_dump(mode="json")
        scoring["exploration"] |= {"share": 0.5, "budget_share": 1.0}
        scoring["batch_users"] = 1000
        profile = write_profile(app, tmp_path / name / "tiny.toml", scoring=scoring)
        return Nights(app, profile, {day - timedelta(days=1): lived_again(events, day) for day in days}).new_folder()

    clean, dirty = copied("clean").all_is_well(days), copied("dirty")
    for name in ("", "-again"):
        dirty.deliver(TINY_AS_OF, name)
    dirty.deliver(days[0])
    dirty.make_up_for(days[0], days[0])
    told = dirty.run(days[1])
    assert differing(clean, dirty, days) == []
    assert set(clean.results(days[0])["decisions"]["offer_id"].to_pylist()) > {"none"}
    assert not any("no decisions were made" in note for note in told)


def lived_again(events: pa.Table, as_of: date) -> pa.Table:
    """Events of the day before `as_of`: those of a week ago, once more."""
    happened = pc.add(events["occurred_at"], pa.scalar(timedelta(days=7)))
    ids = pc.binary_join_element_wise(events["event_id"], str(as_of), "/")
    table = events.set_column(events.schema.get_field_index("occurred_at"), "occurred_at", happened)
    table = table.set_column(table.schema.get_field_index("event_id"), "event_id", ids)
    table = table.set_column(table.schema.get_field_index("received_at"), "received_at", happened)
    return table.filter(pc.equal(happened.cast(pa.date32()), pa.scalar(as_of - timedelta(days=1))))


def test_a_profile_inside_a_data_folder_is_remembered_by_its_place_there(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "data")
    lake.files.write("own.toml", b'app = "my app"')
    remember_profile(lake, f"online_retail,{lake.path('own.toml')}")
    lake.root.rename(tmp_path / "moved")
    moved = Lake(tmp_path / "moved")
    assert kept_profile(moved).files == ["online_retail", "own.toml"]
    assert open_run(None, str(moved.root), TINY_AS_OF)[0].app == "my app"
    assert kept_profile(Lake(tmp_path / "nothing")) is None


def test_commands_that_are_killed_lose_nothing_and_leave_nothing(
    shell: Shell, tmp_path: Path, repository: Path, full: bool
) -> None:
    found, paths = tmp_path / "found.json", [str(repository), str(repository / "tests")]
    run = subprocess.run(
        [sys.executable, "-m", "chaos", "--app", str(shell.data_dir), "--raw", str(shell.profile.parent / "app/raw"),
         "--jobs", "2", "--json", str(found), *(["--more"] if full else [])],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    counts = json.loads(found.read_text())["counts"]["kill at a file operation"]
    assert counts["hit"] == counts["tries"] == (8 if full else 2)
    assert counts["same bytes"] == counts["tries"]
    assert not any(counts[kind] for kind in COLUMNS)


QUESTIONS = {str(each.name) for each in questions.commands.registered_commands} - {"evaluate-policy"}  # which is a run


@pytest.mark.parametrize("command", [*sorted(QUESTIONS), "export-user", "verify"])
def test_a_question_makes_no_data_folder_and_asks_for_none_that_may_be_written(tmp_path: Path, command: str) -> None:
    words = ["u001"] if command in ("explain", "export-user") else []
    asked = CliRunner().invoke(app, [command, *words, "--data-dir", str(tmp_path / "nowhere")])
    assert asked.exit_code in (0, 2), asked.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_hundred_forgotten_users_are_in_no_file_of_a_trained_folder_and_others_keep_their_decisions(
    shell: Shell, tmp_path: Path
) -> None:
    folder, named = tmp_path / "data", tmp_path / "asked.txt"
    shutil.copytree(shell.data_dir, folder)
    user_ids = [f"u{number:03d}" for number in np.random.default_rng(11).permutation(160)[:100]]
    named.write_text("\n".join(user_ids), encoding="utf-8")
    before, exported = pq.read_table(decisions(folder)), shell.answer("export-user", user_ids[0], data_dir=folder)
    told = {table: len(each["rows"]) for table, each in exported["tables"].items()}
    assert {"events", "users", "snapshots", "decisions", "options", "ledger", "treatments", "reports"} - {*told} <= {
        "reports"
    }
    assert all(set(each["rows"][0]) == set(each["columns"]) for each in exported["tables"].values())
    answer = shell.answer("forget", "--file", str(named), data_dir=folder)
    assert answer["left"] == [] and answer["rows"]["users"] == 100 and answer["raw"]
    token = re.compile(rf"\b({'|'.join(user_ids)})\b".encode())
    assert [path for path in folder.rglob("*") if path.is_file() and token.search(path.read_bytes())] == []
    others = before.filter(pc.invert(pc.is_in(before["user_id"], value_set=pa.array(user_ids))))
    assert pq.read_table(decisions(folder)).equals(others)
    again = shell.answer("ingest", data_dir=folder)["metrics"]
    assert again["events.added"]["value"] == 0 and again["users.left_out"]["value"] == 100
    assert shell.answer("verify", data_dir=folder)["faults"] == []
    cubes = pq.read_table(folder / "cubes" / f"day={TINY_AS_OF}" / "cubes.parquet")
    assert answer["added_up"] == [str(TINY_AS_OF)] and sum(cubes["users"].to_pylist()) == len(others)
    wrong = shell.run("forget", "nobody", data_dir=folder)
    assert wrong.exit_code == 2 and "nothing is held of 'nobody'" in wrong.stdout
    refused = shell.run("forget", "--listed", "u001", data_dir=folder)
    assert refused.exit_code == 2 and "takes no ids" in refused.stderr
    second = shell.answer("forget", "--file", str(named), data_dir=folder)
    assert len(second["before"]) == 100 and second["rows"] == {} and second["left"] == []
    assert "stood on the suppression list before" in shell.run("forget", user_ids[0], data_dir=folder).stdout
    assert shell.run("export-user", "nobody", data_dir=folder).exit_code == 2
    assert shell.answer("forget", "--new-consent", user_ids[0], data_dir=folder)["let_back"] == 1
    assert shell.answer("ingest", data_dir=folder)["metrics"]["users.left_out"]["value"] == 99
