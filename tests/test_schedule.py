"""The schedule on a real server: what the configuration says is served, and a schedule fires."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from apps import App, tiny_app
from prefect import Flow
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.utilities.importtools import import_object
from prefect_server import own_server, with_tables
from test_cli import write_profile

from configs.errors import InputError
from configs.settings import load_settings
from features.publishing.lock_wait import WAIT_VARIABLE
from features.publishing.sealed_json import sealed
from features.storage.lake import Lake
from features.storage.writer_lock import LOCK_FILE
from flows import schedule, scheduled_runs
from flows.runs.opened_run import dated
from flows.runs.outcome import Outcome
from flows.runs.run_records import keep_record, run_records
from flows.runs.run_status import run_lines
from flows.schedule import deployments
from flows.scheduled_runs import is_outdated
from flows.serve_desk import health_lines
from serving.wording.rendering import words_of

SERVE_SOON = """
import sys
from datetime import timedelta
from flows.runs.environment import prepare
prepare(sys.argv[2])
from flows.server import start_server
wait_for_server = start_server(is_scheduling=True)
from prefect import serve
from prefect.schedules import Interval
from flows.runs.opened_run import open_run
from flows.schedule import deployment, score_daily
wait_for_server()
settings, lake, _ = open_run(sys.argv[1], sys.argv[2], None)
soon = deployment(score_daily, Interval(timedelta(seconds=4)), settings, sys.argv[1], str(lake.root))
serve(soon, pause_on_shutdown=False, limit=1)
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    return tiny_app(tmp_path / "app")


def test_a_schedule_a_few_seconds_away_fires(app: App, tmp_path: Path) -> None:
    profile, data_dir = write_profile(app, tmp_path / "tiny.toml"), tmp_path / "data"
    own = own_server(with_tables(tmp_path / "prefect")) | {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE_SOON, str(profile), str(data_dir)],
        env=own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        ends = time.monotonic() + 150
        while not (data_dir / "events").exists() and time.monotonic() < ends:
            assert process.poll() is None, process.stderr.read().decode()[-2000:]
            time.sleep(0.5)
        assert (data_dir / "events").exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_deployments_follow_the_configuration() -> None:
    crons = {"score_cron": "15 6 * * *", "train_cron": "0 2 * * 0", "measure_cron": "0 9 * * *"}
    settings = load_settings("complete_journey", schedule={"time_zone": "Europe/Berlin", **crons})
    served = deployments(settings, "complete_journey", "/somewhere")
    assert [each.name for each in served] == ["complete_journey"] * 3
    assert [each.flow_name for each in served] == ["score-daily", "train-weekly", "measure-daily"]
    assert [each.schedules[0].schedule.cron for each in served] == list(crons.values())
    assert {each.schedules[0].schedule.timezone for each in served} == {"Europe/Berlin"}
    for each in served:
        assert each.parameters == {"profile": "complete_journey", "data_dir": "/somewhere"}
        assert each.tags == ["winback", "The Complete Journey", "data: /somewhere"]
        assert each.concurrency_limit is None  # the slot of a killed run would cancel all later ones
        assert isinstance(import_object(str(each.entrypoint)), Flow)
        day = each._parameter_openapi_schema.properties["as_of"]
        assert {"type": "string", "format": "date"} in day["anyOf"]  # a calendar in Prefect's page


def test_a_cron_line_that_is_none_is_one_sentence() -> None:
    settings = load_settings(schedule={"score_cron": "every night"})
    with pytest.raises(InputError, match=r"'every night' is no cron line \(.+\); write one such as"):
        deployments(settings, None, "/somewhere")


def test_the_runner_keeps_its_files_in_the_data_folder_and_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    runner, place = schedule.StoppableRunner(), tmp_path / "prefect" / "runner"
    assert runner._tmp_dir.parent.name == "runner_storage", "Prefect has another place for them by now"
    (place / "left").mkdir(parents=True)
    runner.place(place)
    assert (runner._tmp_dir, place.exists()) == (place, False)


def test_a_data_folder_is_served_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with schedule.one_schedule(lake):
        (own,) = run_records(lake)
        assert own.outcome == "running"
    another = replace(own, run="another", host="another container")
    for number in range(60):  # runs that have come and gone since
        keep_record(lake, replace(own, run=str(number), started="9999-01-01", ended="9999-01-01", outcome="done"))
    with lake.files.write_held(another.file, sealed(another.file, asdict(another))):
        settings, now = load_settings(), datetime.now(UTC)
        assert run_lines(settings, lake, now.date(), now)[1]["schedule_is_served"]
        assert "if winback schedule" not in str(health_lines(settings, lake, now.date(), now, words_of(settings)))
        with pytest.raises(InputError, match=r"is served already \(run another, process"), schedule.one_schedule(lake):
            pass
    with schedule.one_schedule(lake):  # the other is gone, without a word
        pass


def test_a_run_gives_way_only_when_the_next_one_is_due() -> None:
    now = datetime.now(UTC)
    assert not is_outdated(None, timedelta(days=1))
    assert not is_outdated(now - timedelta(hours=23), timedelta(days=1))
    assert is_outdated(now - timedelta(hours=25), timedelta(days=1))


def test_scheduled_runs_write_alone_from_their_first_step_to_the_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[tuple[str, str, str]] = []
    days: list[object] = []
    monkeypatch.setenv(WAIT_VARIABLE, "0")
    monkeypatch.setattr(scheduled_runs, "prepare", lambda data_dir, profile: done.append(("prepare", data_dir, "")))
    monkeypatch.setattr(scheduled_runs, "shown", lambda outcome: outcome)

    def step(name: str, result: object) -> Callable[..., object]:
        def run(profile: str, data_dir: str, as_of: object, **more: object) -> object:
            days.append(as_of)
            done.append((name, data_dir, json.loads((Path(data_dir) / LOCK_FILE).read_text())["command"]))
            return result

        return run

    names = ("ingest", "build_features", "train_models", "score_users", "send_list", "measure_offers")
    for name in names:
        monkeypatch.setattr(scheduled_runs, name, step(name, Outcome(name, date(2024, 1, 1), warnings=[name])))
    monkeypatch.setattr(scheduled_runs, "catch_up", step("catch_up", ["two days were missed"]))
    of_flows = {
        scheduled_runs.score_daily: ["ingest", "catch_up", "build_features", "score_users", "send_list"],
        scheduled_runs.train_weekly: ["ingest", "build_features", "train_models"],
        scheduled_runs.measure_daily: ["measure_offers"],
    }
    asked: list[date] = []

    def after_midnight(*_: object) -> tuple[None, None, date]:  # it is another day whenever somebody asks
        asked.append(date(2024, 1, 1) + timedelta(days=len(asked)))
        return None, None, asked[-1]

    monkeypatch.setattr(scheduled_runs, "open_run", after_midnight)
    for flow, steps in of_flows.items():
        done.clear(), days.clear()
        folder = tmp_path / flow.name
        outcome = flow.fn(None, str(folder))
        assert done == [("prepare", str(folder), ""), *((step, str(folder), f"winback {flow.name}") for step in steps)]
        (record,) = run_records(Lake(folder))
        assert (record.command, record.outcome, outcome.command) == (flow.name, "done", flow.name)
        assert set(days) - {date(2024, 1, 1)} <= {asked[-1]}  # the send list is of the day that was decided
    assert scheduled_runs.score_daily.fn(None, str(tmp_path / "more")).warnings == [
        "two days were missed",
        "score_users",
    ]


def test_a_day_given_as_text_names_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.runtime import flow_run

    for text, name in (("2024-05-05", "score-daily 2024-05-05"), ("tomorrow", "score-daily tomorrow")):
        given = {"data_dir": str(tmp_path), "as_of": text}
        monkeypatch.setattr(flow_run, "parameters", given, raising=False)
        assert dated("score-daily")() == name


def test_the_file_for_a_work_pool_deploys_what_the_schedule_serves(repository: Path) -> None:
    text = yaml.safe_load((repository / "configs" / "prefect.yaml").read_text(encoding="utf-8"))
    parsed = PrefectYamlModel.model_validate(text)
    served = deployments(load_settings(), None, "/srv/winback/data")
    assert [each.entrypoint for each in parsed.deployments] == [each.entrypoint for each in served]
    for written, own in zip(parsed.deployments, served, strict=True):
        flow = import_object(str(written.entrypoint))
        assert isinstance(flow, Flow)
        assert flow.validate_parameters(written.parameters | {"as_of": "2024-05-05"})["as_of"] == date(2024, 5, 5)
        (cron,) = written.schedules
        assert (cron.cron, cron.timezone) == (own.schedules[0].schedule.cron, own.schedules[0].schedule.timezone)
        assert (written.parameters, own.tags[-1] in written.tags) == (own.parameters, True)
        assert (written.concurrency_limit, written.work_pool.name) == (None, "winback")
