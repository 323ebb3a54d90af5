"""Flow: the whole of winback on real households, from raw files to a report."""

from __future__ import annotations

from datetime import date

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.build_features import build_features
from flows.ingest import ingest
from flows.runs.opened_run import dated, writes_alone
from flows.runs.outcome import Outcome
from flows.score_users import score_users
from flows.train_models import train_models

PROFILE = "complete_journey"


@flow(name="demo", flow_run_name=dated("demo"), validate_parameters=False)
@writes_alone
def demo(profile: str | None = PROFILE, data_dir: str | None = None, as_of: date | None = None) -> Outcome:
    """Ingest, build features, train, score and report, one after the other."""
    steps = [step(profile or PROFILE, data_dir, as_of) for step in (ingest, build_features, train_models, score_users)]
    metrics = {name: metric for step in steps for name, metric in step.metrics.items()}
    places = {name: place for step in steps for name, place in step.outputs.items()}
    outputs = {name: places[name] for name in ("mlflow", "decisions", "users at risk", "report")}
    warnings = [warning for step in steps for warning in step.warnings]
    groups = {"rows": ("*.read", "snapshots.computed")} | dict(steps[-1].groups)
    outcome = Outcome("demo", steps[-1].as_of, metrics, outputs, warnings, groups=groups)
    create_markdown_artifact(outcome.markdown(), key="demo")
    return outcome
