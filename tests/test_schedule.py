"""The schedule on a real server: what the configuration says is served, and a schedule fires."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apps import App, tiny_app
from test_cli import write_profile

from configs.settings import load_settings
from features.storage.writer_lock import LOCK_FILE, PATIENCE_VARIABLE
from flows import schedule
from flows.schedule import deployments, is_outdated

SERVE_SOON = """
import sys
from datetime import timedelta
from flows.environment import prepare
prepare(sys.argv[2])
from flows.server import start_server
wait_for_server = start_server(is_scheduling=True)
from prefect import serve
from prefect.schedules import Interval
from flows.schedule import deployment, score_daily
wait_for_server()
serve(deployment(score_daily, Interval(timedelta(seconds=4)), sys.argv[1], sys.argv[2]), pause_on_shutdown=False)
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    return tiny_app(tmp_path / "app")


def test_a_schedule_a_few_seconds_away_fires(app: App, tmp_path: Path) -> None:
    profile, data_dir = write_profile(app, tmp_path / "tiny.toml"), tmp_path / "data"
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE_SOON, str(profile), str(data_dir)],
        env={**os.environ, **own},
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
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def test_both_deployments_follow_the_configuration() -> None:
    settings = load_settings(
        schedule={"time_zone": "Europe/Berlin", "score_cron": "15 6 * * *", "train_cron": "0 2 * * 0"}
    )
    daily, weekly = deployments(settings, "complete_journey", "somewhere")
    assert [daily.name, weekly.name] == ["winback", "winback"]
    assert [daily.flow_name, weekly.flow_name] == ["score-daily", "train-weekly"]
    assert [each.schedules[0].schedule.cron for each in (daily, weekly)] == ["15 6 * * *", "0 2 * * 0"]
    assert {each.schedules[0].schedule.timezone for each in (daily, weekly)} == {"Europe/Berlin"}
    assert all(each.parameters == {"profile": "complete_journey", "data_dir": "somewhere"} for each in (daily, weekly))
    assert all(each.concurrency_limit == 1 for each in (daily, weekly))


def test_a_run_gives_way_only_when_the_next_one_is_due() -> None:
    now = datetime.now(UTC)
    assert not is_outdated(None, timedelta(days=1))
    assert not is_outdated(now - timedelta(hours=23), timedelta(days=1))
    assert is_outdated(now - timedelta(hours=25), timedelta(days=1))


def test_scheduled_runs_write_alone_from_their_first_step_to_the_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[tuple[str, str, str]] = []
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    monkeypatch.setattr(schedule, "prepare", lambda data_dir: done.append(("prepare", data_dir, "")))

    def step(name: str) -> Callable[..., None]:
        def run(profile: str, data_dir: str, *_: object, **more: object) -> None:
            done.append((name, data_dir, json.loads((Path(data_dir) / LOCK_FILE).read_text())["command"]))

        return run

    for name in ("ingest", "build_features", "train_models", "score_users"):
        monkeypatch.setattr(schedule, name, step(name))
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    schedule.score_daily.fn(None, one)
    schedule.train_weekly.fn(None, other)
    daily = [(step, one, "winback score-daily") for step in ("ingest", "build_features", "score_users")]
    weekly = [(step, other, "winback train-weekly") for step in ("ingest", "build_features", "train_models")]
    assert done == [("prepare", one, ""), *daily, ("prepare", other, ""), *weekly]
