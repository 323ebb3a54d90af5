"""Nights on PostgreSQL and S3 by commands, Prefect included: decisions as on files, also where the server restarts."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from apps import tiny_app
from store_servers import Postgres
from test_cli import write_profile

from configs.stores import DATABASE_VARIABLE, FILES_VARIABLE, Stores

psycopg = pytest.importorskip("psycopg", reason="tests of stores need psycopg; make test installs it")
pytestmark = pytest.mark.full
STEPS = ("ingest", "build-features", "train-models", "score-users", "measure-offers")
FACTS = ("decisions", "ledger", "treatments", "snapshots", "events")
CODE = "from flows.cli import main; main()"


@dataclass(frozen=True)
class Machine:
    """Runs commands on a data folder, with an environment of its own."""

    profile: Path
    root: Path
    environment: Mapping[str, str]

    def begin(self, command: str, *words: str) -> subprocess.Popen[str]:
        own = ["--profile", str(self.profile), "--data-dir", str(self.root), "--json"]
        line = [sys.executable, "-W", "ignore", "-c", CODE, command, *words, *own]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return subprocess.Popen(line, env={**inherited, **self.environment}, **pipes)

    def run(self, command: str, *words: str) -> dict:
        run = self.begin(command, *words)
        answer, said = run.communicate(timeout=600)
        assert run.returncode == 0, said
        assert "Traceback" not in said
        return json.loads(answer)

    def facts(self) -> dict[str, str]:
        """Digests of what was published, by name."""
        paths = [path for table in FACTS for path in sorted(self.root.glob(f"{table}/**/*.parquet"))]
        return {path.relative_to(self.root).as_posix(): _digest(path) for path in paths}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Data folder of one machine alone, with a night in it."""
    folder = tmp_path_factory.mktemp("alone")
    profile = write_profile(tiny_app(folder / "app"), folder / "tiny.toml")
    machine = Machine(profile, folder / "data", {})
    for step in STEPS:
        machine.run(step)
    return machine


def test_nights_on_postgresql_and_s3_decide_as_on_files_each_step_on_a_machine_of_its_own(
    alone: Machine, stores: Stores, tmp_path: Path
) -> None:
    secret = stores.database.replace("postgres@", "postgres:s3cret@")
    own = {DATABASE_VARIABLE: secret, FILES_VARIABLE: stores.files, "WINBACK_LOG": "json"}
    machines = [Machine(alone.profile, tmp_path / step, own) for step in STEPS]
    for machine, step in zip(machines, STEPS, strict=True):
        machine.run(step)
    assert machines[-1].facts() == alone.facts()
    status = machines[0].run("status")
    assert status["stores"]["is_answering"]
    assert status["stores"]["database"] == stores.database
    assert machines[0].facts() == alone.facts()  # who only looked has it all by now
    with psycopg.connect(stores.database) as session:
        kept = [name for (name,) in session.execute("SELECT state_type FROM prefect.flow_run")]
        rows = session.execute("SELECT count(*), count(DISTINCT user_id) FROM winback.ledger").fetchone()
        told = session.execute("SELECT count(*) FROM mlflow.params WHERE value LIKE '%s3cret%'").fetchone()
    assert kept == ["COMPLETED"] * len(STEPS)
    assert rows is not None and rows[0] == rows[1] > 100
    assert told == (0,)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if b"s3cret" in path.read_bytes()]


def test_runs_in_which_postgresql_stops_and_starts_lose_nothing_and_do_nothing_twice(
    alone: Machine, stores: Stores, postgres: Postgres, tmp_path: Path, record_property
) -> None:
    own = {DATABASE_VARIABLE: stores.database, FILES_VARIABLE: stores.files}
    machine, draws = Machine(alone.profile, tmp_path / "data", own), random.Random(3)
    codes, tracebacks, steps = [], 0, STEPS[:4]
    for step in steps:
        run = machine.begin(step)
        ended = threading.Event()

        def restart(ended: threading.Event = ended) -> None:
            while not ended.wait(draws.uniform(8.0, 40.0)):
                postgres.stop(is_killed=draws.random() < 0.5)
                ended.wait(draws.uniform(0.2, 3.0))
                postgres.start()

        restarts = threading.Thread(target=restart)
        restarts.start()
        _, said = run.communicate(timeout=600)
        ended.set()
        restarts.join()
        tracebacks += said.count("Traceback")
        codes.append(run.returncode)
        if run.returncode:
            sys.stderr.write(said)
            machine.run(step)
    record_property("told", f"PostgreSQL restarted within runs: exit codes {codes}, tracebacks {tracebacks}")
    assert set(codes) <= {0, 3}
    assert not tracebacks
    missing = {name: digest for name, digest in alone.facts().items() if machine.facts().get(name) != digest}
    assert not missing
    with psycopg.connect(stores.database) as session:
        twice = session.execute("SELECT count(*) - count(DISTINCT decision_id) FROM winback.ledger").fetchone()
    assert twice == (0,)
