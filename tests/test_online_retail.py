"""The same flows on dirty data without offers: UCI Online Retail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app

RAW = Path(__file__).parents[2] / "shared" / "data" / "online_retail"
# the demo is real data in every run, and test_sources.py accounts for the dirt of this one
pytestmark = [pytest.mark.skipif(not RAW.is_dir(), reason="no ../shared/data"), pytest.mark.full]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What each step printed for machines."""
    folder = tmp_path_factory.mktemp("retail") / "data"
    words = ["--profile", "online_retail", "--data-dir", str(folder), "--json"]
    collected = {}
    for step in ("ingest", "build-features", "train-models", "score-users"):
        result = CliRunner().invoke(app, [step, *(["--raw", str(RAW)] if step == "ingest" else []), *words])
        assert result.exit_code == 0, result.stderr
        collected[step] = json.loads(result.stdout)
    return collected


def test_dirty_rows_are_counted_and_kept_apart(answers: dict[str, dict]) -> None:
    metrics = answers["ingest"]["metrics"]
    counts = [metrics[f"events.{name}"]["value"] for name in ("read", "added", "duplicates", "quarantined")]
    assert counts == [541_909, 401_604, 5_225, 135_080]


def test_churn_is_ranked_without_a_leak(answers: dict[str, dict]) -> None:
    auc = answers["train-models"]["metrics"]["churn.auc"]
    assert auc["n"] == 3362
    assert 0.725 <= auc["value"] <= 0.85


def test_without_offers_nobody_gets_one_and_the_run_says_so(answers: dict[str, dict]) -> None:
    assert answers["score-users"]["metrics"]["users.with_offer"]["value"] == 0
    assert any("nobody gets one" in warning for warning in answers["score-users"]["warnings"])
    assert any("no model of redemption" in warning for warning in answers["train-models"]["warnings"])
