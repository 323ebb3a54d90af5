"""Stated propensities that the draws refute prove nothing, in training as in the evaluation of policies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from apps import App
from drawn_apps import AS_OF, Said, drawn_app, trained

from configs.errors import InputError
from models.policy_value.off_policy import Logged
from models.policy_value.policy_verdict import CONSTANT, NOBODY
from models.policy_value.propensity_check import propensity_misfits
from models.registry.response import load_response
from models.training_run.run_summary import training_metrics
from serving.policy_evaluation.policy_evaluation import Wanted, evaluate


def at_whim(_drawn: str, rng: np.random.Generator) -> float:
    return float(rng.choice([0.3333, 1e-5, 1.0]))


def mildly_wrong(drawn: str, _rng: np.random.Generator) -> float:
    return 0.05 if drawn == "a" else 0.475


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return drawn_app(tmp_path_factory.mktemp("right"))


def test_right_propensities_prove_the_better_offer(app):
    _, response = trained(app)
    assert response.misfits == ()
    assert response.verdict is not None
    assert response.verdict.deployed.name == CONSTANT
    assert "b.incremental_margin" in training_metrics(response.published, response)


@pytest.mark.parametrize("said", [at_whim, mildly_wrong])
def test_propensities_that_the_draws_refute_prove_nothing(tmp_path: Path, said: Said):
    app = drawn_app(tmp_path, said=said)
    _, response = trained(app)
    assert any(str(each).startswith("a was drawn") for each in response.misfits)
    assert response.verdict is not None
    assert response.verdict.deployed.name == NOBODY
    assert "as what was drawn refutes the stated propensities of none, a" in response.verdict.reason
    assert response.verdict.who_decides == response.verdict.reason
    assert response.verdict.trial.arms == ()
    assert training_metrics(response.published, response) == {}
    known = load_response(app.lake)
    assert known is not None
    assert known.personal is not None
    assert known.personal.deployed.name == NOBODY
    notes = evaluate(app.settings, app.lake, AS_OF, Wanted()).notes
    assert any(note.startswith("a was drawn") for note in notes)


def test_what_staying_is_not_known_of_teaches_nothing_of_it(app):
    _, response = trained(app)
    assert not [name for name in training_metrics(response.published, response) if "retention" in name]
    assert [each.subject for each in response.published] == ["effect on margin"]
    lacks = [lack.reason for lack in response.untrained if lack.subject == "effect on retention"]
    assert lacks == ["who stays is not known of treatments that state their outcome"]


def test_an_impossible_chance_that_an_earlier_winback_took_is_one_sentence(app, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("features.training_data.frames.LEAST_PROPENSITY", "0.4")
    with pytest.raises(InputError, match=r"800 treatments state a propensity below 0\.4, the least is 0\.333"):
        trained(app)


def log_of(days: int, a_day: int, *, chance: float = 0.3, off: float = 0.0) -> tuple[Logged, pd.Series]:
    """Draws of one offer on many days, on a share of which it is `off`, whose chance is stated as it is."""
    rng = np.random.default_rng(1)
    day = np.repeat(np.arange(days), a_day)
    could = rng.random(days)[day] >= off
    action = (rng.random(len(day)) < chance) & could
    propensity = np.where(action, chance, np.where(could, 1 - chance, 1.0))
    frame = pd.Series(day)
    return Logged(action.astype(int), propensity, np.zeros(len(day)), frame.astype(str)), frame


@pytest.mark.parametrize(
    ("days", "a_day", "chance", "off"), [(400, 3, 0.3, 0.0), (200, 10, 0.02, 0.0), (90, 30, 0.3, 0.5)]
)
def test_days_of_few_rows_and_days_without_an_offer_refute_nothing(days, a_day, chance, off):
    log, day = log_of(days, a_day, chance=chance, off=off)
    assert [each for each in propensity_misfits(log, day, ["none", "a"]) if each.is_refuted] == []
