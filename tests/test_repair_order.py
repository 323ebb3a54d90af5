"""What is damaged is mended in an order in which each repair finds what it rests on, by commands that can be typed."""

from __future__ import annotations

import random
import shlex
import subprocess
from pathlib import Path

import pytest

from features.publishing.recovery import RECOVERY_HINTS
from features.storage.lake import Lake
from serving.lookups.data_verification import verify
from serving.lookups.repair_order import STEPS, repair_lines, repair_order

WRONG = [
    "reports/2024-07-02.html", "decisions/day=2024-07-02/options.parquet", "decisions/day=2024-07-01/spending.parquet",
    "training/day=2024-07-01/training.json", "snapshots/day=2024-07-02/snapshots.parquet",
    "aggregates/day=2024-07-01/aggregates.parquet", "users/users.parquet", "events/day=2024-06-30/events.parquet",
    "events/day=2024-07-01/events.parquet", "events/day=2024-06-01/events.parquet", "ledger/day=2024-07-01/a.parquet",
    "events/manifest.json", "runs/2024.json", "mlflow/mlflow.db", "something/else.txt", "time_zone.txt",
]  # fmt: skip


def test_repairs_come_in_the_order_of_what_rests_on_what_however_faults_were_found():
    shuffled = [*WRONG]
    random.Random(7).shuffle(shuffled)
    found = repair_order(shuffled, "my data", "my data")
    assert found == repair_order(WRONG, "my data", "my data")
    assert [file for repair in found for file in repair.files] == [
        "events/manifest.json", "ledger/day=2024-07-01/a.parquet", "mlflow/mlflow.db", "something/else.txt",
        "time_zone.txt", "events/day=2024-06-01/events.parquet", "events/day=2024-06-30/events.parquet",
        "events/day=2024-07-01/events.parquet", "users/users.parquet", "aggregates/day=2024-07-01/aggregates.parquet",
        "snapshots/day=2024-07-02/snapshots.parquet", "training/day=2024-07-01/training.json",
        "decisions/day=2024-07-01/spending.parquet", "decisions/day=2024-07-02/options.parquet",
        "reports/2024-07-02.html", "runs/2024.json",
    ]  # fmt: skip
    by_file = {repair.files[0].partition("/")[0]: repair.commands for repair in found}
    there = " --data-dir 'my data'"
    assert by_file["ledger"] == ()  # nothing can write it again
    assert by_file["events"] == (f"winback verify --accept events/manifest.json{there}",) or by_file["events"][-2:] == (
        f"winback ingest --replace --from 2024-06-01 --to 2024-06-01{there}",
        f"winback ingest --replace --from 2024-06-30 --to 2024-07-01{there}",  # days in a row are one command
    )
    assert by_file["decisions"][-2:] == tuple(f"winback score-users --as-of 2024-07-0{day}{there}" for day in (1, 2))
    name = "decisions/day=2024-07-02/options.parquet"  # whoever decides a day again reads what was decided before
    assert f"mv 'my data/{name}' 'my data.damaged.{name.replace('/', '.')}'" in by_file["decisions"]
    (users,) = (repair.commands for repair in found if repair.files == ("users/users.parquet",))
    aside = "mv 'my data/users/users.parquet' 'my data.damaged.users.users.parquet'"  # where nothing looks for files
    assert users == (aside, f"winback verify --accept users{there}", f"winback ingest{there}")
    assert by_file["runs"] == ("rm -f 'my data/runs/2024.json'",)


def test_nothing_is_to_be_mended_where_nothing_is_wrong_and_long_lists_are_cut():
    assert [*repair_lines(repair_order([], "data"))] == []
    many = [f"snapshots/day=2024-06-{day:02d}/snapshots.parquet" for day in range(1, 31)]
    lines = [*repair_lines(repair_order(many, "data"))]
    assert lines[0] == "to mend, in this order:"
    assert "and 27 more (--json names all): computed again" in lines[1]
    assert lines[-1] == "     winback verify"


def test_every_folder_that_has_a_way_back_of_its_own_has_a_step():
    assert RECOVERY_HINTS.keys() - {folder for step in STEPS for folder in step.folders} == set()


@pytest.mark.parametrize("name", ["runs/20240701T000000-0123456789ab.json"])
def test_a_record_of_a_run_that_is_damaged_is_found_by_verify(tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path)
    lake.files.write(name, b'{"sha256": "0", "run": "0123456789ab"}')
    found = verify(lake, str(tmp_path))
    assert found.faults == (f"{lake.path(name)} is damaged: it is no record of a run; delete it; nothing rests on it",)
    (command,) = found.repairs[0].commands
    subprocess.run(shlex.split(command), check=True)
    assert verify(lake).faults == ()
