"""Flow: policies are evaluated on logged randomised treatments."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.runs.opened_run import dated, open_run, writes_alone
from flows.runs.outcome import Outcome
from serving.policy_evaluation.policy_evaluation import Wanted, evaluate


@flow(name="evaluate-policy", flow_run_name=dated("evaluate-policy"), validate_parameters=False)
@writes_alone
def evaluate_policy(
    profile: str | None = None, data_dir: str | None = None, as_of: date | None = None,
    rules: tuple[str, ...] = (), files: tuple[str, ...] = (), first: date | None = None, last: date | None = None,
    which: str | None = None,
) -> Outcome:  # fmt: skip
    """Value policies on randomised treatments: nobody, constants, top risk, the champion's, and one's own."""
    settings, lake, day = open_run(profile, data_dir, as_of)
    found = evaluate(settings, lake, day, Wanted(tuple(rules), tuple(map(Path, files)), first, last, which))
    outcome = Outcome("evaluate-policy", day, found.metrics, found.outputs, found.notes, table=found.table)
    create_markdown_artifact(outcome.markdown(), key="evaluate-policy")
    return outcome
