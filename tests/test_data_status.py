"""Status: who is champion since when, who pinned it, what the newest training said, and what is wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date

import pytest

from configs.offers import Option
from models.champion_gate.promotion_log import Promotion
from models.learn.paid_costs import CostRatios
from models.metrics.metric import Metric
from models.policy_value.policy_verdict import NO_TRIAL, Deployed, Ladder, PolicyValue, PolicyVerdict, Rung
from models.registry.artifact_digests import StoredVersion
from models.registry.registry_state import ModelState, Pin, RegisteredModel
from models.training_run.training_record import ModelRecord, TrainingRecord
from serving.lookups.data_status import DataStatus, ModelStatus, champion_lines, model_facts, policy_facts, policy_line

VERSIONS = {number: StoredVersion(None, None, {"name": f"churn-logistic-{number}"}) for number in (1, 2)}
GATE_SAID = "logistic stays: log loss gain -0.01 [-0.02, -0.00] over 99 test rows of lightgbm does not lie above 0"
PROMOTED = Promotion("churn", 2, "churn-logistic-2", "2024-07-01T08:00:00+00:00", GATE_SAID)
UNKNOWN = Metric(math.nan, math.nan, math.nan, 0)


def status_of(model: RegisteredModel, promotion: Promotion | None = PROMOTED, reason: str = GATE_SAID) -> DataStatus:
    metrics = {"churn.auc": Metric(0.8, 0.7, 0.9, 99), "churn.ece": UNKNOWN}
    training = TrainingRecord(date(2024, 7, 8), {"churn": ModelRecord("churn-logistic-2", reason, metrics)})
    return DataStatus({}, [ModelStatus(model, promotion)], training, [])


def test_the_champion_is_told_with_since_when_why_and_by_whom() -> None:
    found = status_of(RegisteredModel("churn", ModelState.READY, "", VERSIONS, 2))
    assert champion_lines(found) == {
        "champion churn since 2024-07-01 08:00 UTC": "churn-logistic-2 (version 2): logistic stays (the gate)"
    }
    facts = json.loads(json.dumps(model_facts(found)["churn"], allow_nan=False))
    assert facts | {"last_training": None} == {
        "state": "ready", "champion": "churn-logistic-2", "version": 2, "since": "2024-07-01T08:00:00+00:00",
        "reason": GATE_SAID, "by": "the gate", "pin": None, "fault": None, "last_training": None,
    }  # fmt: skip
    last = facts["last_training"]
    assert (last["as_of"], last["champion"], last["gate"]) == ("2024-07-08", "churn-logistic-2", GATE_SAID)
    assert last["metrics"]["churn.auc"] == {"value": 0.8, "low": 0.7, "high": 0.9, "n": 99}
    assert last["metrics"]["churn.ece"]["value"] is None


def test_what_a_person_gave_as_the_reason_is_told_whole() -> None:
    chosen = Promotion("churn", 2, "churn-logistic-2", "2024-07-01T08:00:00+00:00", "bug 7: wrong labels", "ana")
    line, _ = champion_lines(status_of(RegisteredModel("churn", ModelState.READY, "", VERSIONS, 2), chosen)).values()
    assert line == "churn-logistic-2 (version 2): bug 7: wrong labels (ana)"


def test_the_policy_that_decides_and_what_is_on_trial_is_told() -> None:
    found = status_of(RegisteredModel("churn", ModelState.READY, "", VERSIONS, 2))
    assert policy_line(found) == {}
    assert policy_facts(found) is None
    gain = PolicyValue(0.2, -0.1, math.inf, 900, 100.0)
    rungs = (
        Rung(Deployed("personal"), "on trial", gain, 0.9, 0.3),
        Rung(Deployed("constant", Option("mail", 0.1)), "retired", gain, 0.01),
    )
    verdict = PolicyVerdict(Deployed("nobody"), {"rule": gain}, gain, {}, Ladder(rungs, NO_TRIAL, 0.1, 0.2))
    judged = replace(found, training=replace(found.training, verdict=verdict))
    told = "on trial: personal for 30% of users; retired, as proven worse: mail at 10% for everybody"
    assert policy_line(judged) == {"policy": f"nobody gets an offer, as no policy is proven to bring more; {told}"}
    unpaid = PolicyVerdict(Deployed("nobody"), {}, gain, {})
    assert unpaid.who_decides.startswith("nobody gets an offer, as what effects are worth is not known, because no")
    corrected = replace(verdict, deployed=Deployed("personal"), ladder=None, costs=CostRatios(1.1, 2.0), believed=0.8)
    line = policy_line(replace(found, training=replace(found.training, verdict=corrected)))["policy"]
    assert line == (
        "personal decides; costs 110% of what is expected, and 200% where no own spend is known; "
        "80% of its effects promised"
    )
    facts = json.loads(json.dumps(policy_facts(judged), allow_nan=False))
    assert (facts["deployed"], facts["costs"], facts["believed"]) == ("nobody", {"own": 1.0, "others": 1.0}, 1.0)
    first = facts["ladder"][0]
    assert (first["policy"], first["state"], first["share"]) == ("personal", "on trial", 0.3)
    assert first["gain"]["high"] is None


def test_what_the_newest_training_said_is_told_where_it_did_not_make_the_champion() -> None:
    pin = Pin(2, "ana", "2024-07-02T08:00:00+00:00", "complaints")
    kept = "churn-logistic-2 stays champion, lightgbm is worse: log loss gain -0.01"
    found = status_of(RegisteredModel("churn", ModelState.READY, "", VERSIONS, 2, pin), reason=kept)
    title, last = champion_lines(found).items()
    assert title[1].endswith("(the gate); pinned by ana since 2024-07-02T08:00:00+00:00: complaints")
    assert last == ("last training of churn", "churn-logistic-2 stays champion, lightgbm is worse")
    assert model_facts(found)["churn"]["pin"] == {
        "version": 2, "by": "ana", "since": "2024-07-02T08:00:00+00:00", "reason": "complaints"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "number", "words"),
    [
        (ModelState.NO_CHAMPION, None, "none (no champion)"),
        (ModelState.WITHHELD, None, "none (not promoted)"),
        (ModelState.UNREADABLE, 2, "churn-logistic-2 (version 2): made champion outside of winback; unreadable"),
    ],
)
def test_a_champion_that_is_gone_or_cannot_be_read_is_not_named_as_if_it_could(
    state: ModelState, number: int | None, words: str
) -> None:
    found = status_of(RegisteredModel("churn", state, "what is wrong", VERSIONS, number), None)
    (line,) = (text for title, text in champion_lines(found).items() if title.startswith("champion churn"))
    assert line == words
    facts = model_facts(found)["churn"]
    assert (facts["state"], facts["version"], facts["since"]) == (str(state), number, None)
    assert facts["fault"] == "what is wrong"
