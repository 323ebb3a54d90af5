"""What `make chaos` counts; `test_cli.py` runs some of its tries."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chaos.examination import NOTES, is_stood_in
from chaos.verdicts import Verdict, as_json, table_text


def test_every_finding_is_counted_and_told() -> None:
    verdicts = [Verdict("kill", "ingest 3", findings=["lost: a", "lost: b", "strays: c"], is_same=False)]
    verdicts += [Verdict("kill", "ingest 4", is_same=True), Verdict("disk full", "all", is_hit=False)]
    counts = as_json(verdicts, {"seconds": 1})["counts"]
    assert counts["kill"] == {
        "tries": 2, "hit": 2, "lost": 1, "double": 0, "partial": 0, "silent": 0, "traceback": 0, "strays": 1,
        "told": 0, "stand-in": 0, "same bytes": 1, "other bytes": 1,
    }  # fmt: skip
    assert counts["disk full"]["hit"] == 0
    assert "1x kill: lost: b [ingest 3]" in table_text(verdicts)


@pytest.mark.parametrize(
    ("told", "said", "is_said"),
    [
        (["churn: version 1"] * 2, "note: churn is predicted by version 1,\n  the last good champion", True),
        (["churn: version 1"] * 2, "done", False),
        (["churn: version 1", None], "churn is predicted by version 1", False),
        (["churn: version 1, effects: none"] * 2, "churn is predicted by version 1", False),
        (["churn: version 1, effects: none"] * 2, "churn is predicted by x; nothing is predicted of effects", True),
        ([None, None], "churn is predicted by version 1", False),
    ],
)
def test_another_than_the_champion_is_no_silence_where_the_run_and_every_decision_say_so(
    tmp_path: Path, told: list[str | None], said: str, is_said: bool
) -> None:
    path = tmp_path / "decisions/day=2024-07-19/decisions.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"fallback": pa.array(told, pa.string())}), path)
    assert is_stood_in(tmp_path, date(2024, 7, 19), said) is is_said


def test_what_is_remembered_of_sizes_and_times_of_files_is_compared_with_no_other_folder(repository: Path) -> None:
    told = [
        name
        for layer in ("features", "models", "serving", "flows")
        for path in sorted((repository / layer).rglob("*.py"))
        for name in re.findall(r'remembered\(lake, "([a-z_]+\.json)"', path.read_text(encoding="utf-8"))
    ]
    assert sorted(told) == sorted(NOTES)
